"""The metrics beside XGBoost's own, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk

from algorithms.xgb.metrics import CUSTOM, score
from tests.algorithms.fakes import on_hosts

REFERENCES = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "f1": lambda *a, **k: sk.f1_score(*a, average="macro", zero_division=0, **k),
    "f1_binary": lambda *a, **k: sk.f1_score(*a, average="binary", zero_division=0, **k),
    "f1_macro": lambda *a, **k: sk.f1_score(*a, average="macro", zero_division=0, **k),
    "precision": lambda *a, **k: sk.precision_score(*a, zero_division=0, **k),
    "precision_macro": lambda *a, **k: sk.precision_score(*a, average="macro", zero_division=0, **k),
    "precision_micro": lambda *a, **k: sk.precision_score(*a, average="micro", zero_division=0, **k),
    "recall": lambda *a, **k: sk.recall_score(*a, zero_division=0, **k),
    "recall_macro": lambda *a, **k: sk.recall_score(*a, average="macro", zero_division=0, **k),
    "recall_micro": lambda *a, **k: sk.recall_score(*a, average="micro", zero_division=0, **k),
    "mse": sk.mean_squared_error,
    "r2": sk.r2_score,
}
TWO_CLASSES = ("f1_binary", "precision", "recall")
NUMBERS = ("mse", "r2")


def test_every_metric_has_a_reference():
    assert sorted(REFERENCES) == sorted(CUSTOM)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", sorted(REFERENCES))
@pytest.mark.parametrize("seed", range(8))
def test_a_metric_is_scikit_learns(name, seed, weighted):
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 40))
    weights = random.random(count).astype(np.float32) + 0.01 if weighted else None
    if name in NUMBERS:
        objective, predictions = "reg:squarederror", random.normal(size=count).astype(np.float32)
        labels, predicted = random.normal(size=count).astype(np.float32), predictions
    elif name in TWO_CLASSES or seed % 2:
        objective, predictions = "binary:logistic", random.random(count).astype(np.float32)
        labels, predicted = random.integers(0, 2, count).astype(np.float32), predictions > 0.5
    else:  # six classes, of which few rows show only some
        objective, predictions = "multi:softprob", random.random((count, 6)).astype(np.float32)
        labels, predicted = random.integers(0, 6, count).astype(np.float32), predictions.argmax(axis=1)
    with np.errstate(all="ignore"), pytest.warns() if _warns(name, labels, predicted) else _quiet():
        expected = REFERENCES[name](labels, predicted, sample_weight=weights)
    assert score(name, objective, labels, predictions, weights) == pytest.approx(expected, abs=1e-6)


def _warns(name, labels, predicted):
    """scikit-learn warns where a class is predicted that has no rows."""
    return name == "balanced_accuracy" and set(np.unique(predicted)) - set(np.unique(labels))


def _quiet():
    import contextlib

    return contextlib.nullcontext()


@pytest.mark.parametrize(
    ("objective", "predictions"),
    [
        ("binary:logistic", [0.2, 0.5, 0.7, 0.9]),
        ("reg:logistic", [0.2, 0.5, 0.7, 0.9]),
        ("binary:logitraw", [-2, 0, 0.1, 3]),
        ("binary:hinge", [0, 0, 1, 1]),
        ("multi:softmax", [0, 0, 1, 1]),
        ("multi:softprob", [[0.8, 0.2], [0.5, 0.5], [0.3, 0.7], [0.1, 0.9]]),
    ],
)
def test_the_class_follows_from_the_objectives_kind_of_prediction(objective, predictions):
    labels = np.array([0, 1, 1, 1], np.float32)
    assert score("accuracy", objective, labels, np.array(predictions, np.float32)) == 0.75


def test_r2_of_constant_labels_is_scikit_learns():
    labels = np.ones(4, np.float32)
    assert score("r2", "reg:squarederror", labels, labels) == sk.r2_score(labels, labels) == 1
    assert score("r2", "reg:squarederror", labels, labels + 1) == sk.r2_score(labels, labels + 1) == 0


def test_no_rows_have_no_score():
    assert np.isnan(score("accuracy", "binary:logistic", np.zeros(0, np.float32), np.zeros(0, np.float32)))


@pytest.mark.parametrize("name", sorted(CUSTOM))
def test_a_host_without_rows(name):
    """NumPy counts nothing in integers, and hosts can add up only what is of one dtype."""
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 2, 50).astype(np.float32), rng.random(50).astype(np.float32)

    def on(hosts):
        mine = slice(50 * hosts.rank)  # the first host has none
        return score(name, "binary:logistic", labels[mine], predictions[mine], hosts=hosts)

    assert on_hosts(2, on) == [score(name, "binary:logistic", labels, predictions)] * 2
