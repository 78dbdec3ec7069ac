"""Stated penalties of the linear learner are those of the model, whatever else a job states; and what it warns of."""

from __future__ import annotations

import json
import re
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog
from sklearn import datasets, linear_model
from sklearn.linear_model import RidgeCV
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from algorithms.errors import TrainingDataError
from algorithms.linear_learner import losses
from recordio.batches import Batch
from tests.algorithms.linear_learner.test_defaults import fit, hyperparameters, text


def classes(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.make_classification(rows, width, n_informative=5, random_state=1, class_sep=0.6, flip_y=0.1)
    return StandardScaler().fit_transform(x).astype(np.float32), y.astype(np.float32)


def used(job) -> dict:
    """What the log's last line says."""
    line = next(line for line in job.messages if line.startswith("Best model found"))
    return json.loads(line.partition(": ")[2])


@pytest.mark.parametrize("l1", [0.01, 0.02])
@pytest.mark.parametrize(("rows", "width"), [(300, 12), (150, 400), (2000, 50)])
def test_l1_gives_scikit_learns_weights(rows, width, l1):
    x, y = classes(rows, width)
    model, job = fit(hyperparameters("binary_classifier", wd=0, l1=l1), x, y)
    how = {"solver": "saga", "l1_ratio": 1, "tol": 1e-6, "max_iter": 20_000, "random_state": 0}
    peer = linear_model.LogisticRegression(C=1 / (rows * l1), **how).fit(x, y)
    np.testing.assert_allclose(model.weight[0], peer.coef_[0], atol=0.005)
    assert np.sum((model.weight[0] == 0) != (peer.coef_[0] == 0)) <= 1
    assert used(job)["l1"] == l1


def least(loss: str, x, y, l1: float) -> float:
    """The least mean loss with an l1 penalty, by linear programming."""
    n, d = x.shape
    weights = np.full(2 * d, l1)
    if loss == "hinge_loss":
        sign = (2 * y - 1)[:, None]
        parts = [-sign * x, sign * x, -sign, sign, -np.eye(n)]
        return linprog(np.r_[weights, 0, 0, np.full(n, 1 / n)], A_ub=np.hstack(parts), b_ub=-np.ones(n)).fun
    below, above = {"absolute_loss": (1, 1), "quantile_loss": (0.9, 0.1)}[loss]
    costs = np.r_[weights, 0, 0, np.full(n, below / n), np.full(n, above / n)]
    ones = np.ones((n, 1))
    return linprog(costs, A_eq=np.hstack([x, -x, ones, -ones, np.eye(n), -np.eye(n)]), b_eq=y).fun


@pytest.mark.parametrize("loss", ["hinge_loss", "absolute_loss", "quantile_loss"])
@pytest.mark.parametrize(("rows", "width", "l1"), [(300, 12, 0.01), (150, 300, 0.02)])
def test_l1_beside_a_loss_with_kinks_is_within_a_hundredth_of_the_least(loss, rows, width, l1):
    if loss == "hinge_loss":
        x, y = classes(rows, width)
        kind, more = "binary_classifier", {}
    else:
        x, y = datasets.make_regression(rows, width, n_informative=6, noise=30, random_state=1)
        x, y = (StandardScaler().fit_transform(part.reshape(rows, -1)).astype(np.float32) for part in (x, y))
        y = y[:, 0]
        kind, more = "regressor", {"normalize_label": "false", "quantile": 0.9}
    model, _ = fit(hyperparameters(kind, wd=0, l1=l1, loss=loss, **more), x, y)
    scores = x.astype(float) @ model.weight[0] + model.bias[0]
    error = y - scores
    losses = {
        "hinge_loss": np.maximum(1 - (2 * y - 1) * scores, 0),
        "absolute_loss": np.abs(error),
        "quantile_loss": np.maximum(0.9 * error, -0.1 * error),
    }
    found = losses[loss].mean() + l1 * np.abs(model.weight).sum()
    assert found <= 1.005 * least(loss, x.astype(float), y.astype(float), l1)
    assert (model.weight == 0).mean() > (0.3 if width > rows else 0)


@pytest.mark.parametrize("loss", [partial(losses.hinge, margin=0.7), losses.eps_insensitive_absolute,
                                  partial(losses.pinball, quantile=0.8)])  # fmt: skip
def test_a_rounded_kink_is_smooth_and_near_the_loss(loss):
    z, y = np.random.default_rng(0).normal(size=(200, 3)), np.float32([[0.0], [1.0]] * 100)
    smooth, slope = loss(z, y, width=0.1)
    numeric = (loss(z + 1e-5, y, width=0.1)[0] - loss(z - 1e-5, y, width=0.1)[0]) / 2e-5
    np.testing.assert_allclose(slope, numeric, atol=1e-4)
    less = loss(z, y)[0] - smooth
    assert less.min() > -1e-6
    assert 0.01 < less.max() < 0.05 + 1e-6


@pytest.mark.parametrize("stored", [np.asarray, sp.csr_array])
def test_l1_alone_learns_beside_columns_without_values(stored):
    """Neither a penalty nor a row says anything of such a column: its weight is 0, and the others are learned."""
    words, y = text(200, 100, 2, 0)
    plain, _ = fit(hyperparameters("binary_classifier", wd=0, l1=0.002), words.toarray(), y)
    wide = np.hstack([words.toarray(), np.zeros((200, 20), np.float32)])
    model, _ = fit(hyperparameters("binary_classifier", wd=0, l1=0.002), stored(wide), y)
    assert (plain.weight != 0).sum() > 10
    np.testing.assert_allclose(model.weight[0, :100], plain.weight[0], atol=0.02)
    assert not model.weight[0, 100:].any()


def test_one_model_has_the_wd_that_is_stated():
    x, y = classes(300, 12)
    one, job = fit(hyperparameters("binary_classifier", num_models=1, wd=0.1), x, y)
    peer = linear_model.LogisticRegression(C=1 / (300 * 0.1), tol=1e-8, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(one.weight, peer.coef_, atol=0.002)
    assert used(job)["wd"] == pytest.approx(0.1)
    assert not any("num_models" in line for line in job.messages)
    _, job = fit(hyperparameters("binary_classifier", num_models=3, wd=0.1), x, y)
    assert 0.01 <= used(job)["wd"] <= 1
    assert any("num_models cannot change it" in line for line in job.messages)


@pytest.mark.parametrize("kind", ["binary_classifier", "regressor"])
def test_weights_beyond_float32_are_refused(kind):
    x, y = classes(300, 8)
    for size in (1e-36, 1e30):
        model, _ = fit(hyperparameters(kind), x * np.float32(size), y)
        assert np.isfinite(model.weight).all()
    with pytest.raises(TrainingDataError, match="weights of [1-8] of 8 features are beyond float32"):
        fit(hyperparameters(kind), x * np.float32(1e-40), y)


@pytest.mark.parametrize(
    ("criterion", "said"),
    [
        ({"binary_classifier_model_selection_criteria": "precision_at_target_recall", "target_recall": 0.9},
         r"takes (9[0-9]{2}|1000) of 1000 rows for positive, and 50 are: no other serves a target_recall of 0.9 that"),
        ({"binary_classifier_model_selection_criteria": "precision_at_target_recall", "target_recall": 0.98},
         "No threshold reaches a target_recall of 0.98 that holds on rows to come with 98%"),
        ({"binary_classifier_model_selection_criteria": "recall_at_target_precision", "target_precision": 0.9},
         r"No threshold reaches a target_precision of 0.9 that holds on rows to come with 98%: .* promise 0.0[0-9]+\."),
    ],
)  # fmt: skip
def test_a_threshold_that_serves_nobody_is_warned_of(criterion, said):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1000, 5)).astype(np.float32)
    y = (np.arange(1000) < 50).astype(np.float32)  # nothing tells of it
    _, job = fit(hyperparameters("binary_classifier", **criterion), x, y)
    assert len(job.warnings) == 1
    assert re.search(said, job.warnings[0]), job.warnings
    for chosen, features in (
        ({}, x),
        (criterion | {"target_recall": 0.8, "target_precision": 0.6}, x + 6 * y[:, None]),
    ):
        _, job = fit(hyperparameters("binary_classifier", **chosen), features, y)
        assert not job.warnings


@pytest.mark.parametrize("kind", ["binary_classifier", "multiclass_classifier", "regressor"])
def test_many_rows_in_blocks_give_the_model_of_all_at_once(kind, monkeypatch):
    """Among them columns of other sizes, and two that are nearly one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 10)) * np.geomspace(0.01, 100, 10) + 3
    x = np.hstack([x, x[:, :1] + 1e-4 * rng.normal(size=(1500, 1))]).astype(np.float32)
    scores = StandardScaler().fit_transform(x)[:, :3] @ rng.normal(size=(3, 3)) + rng.normal(size=(1500, 3))
    y = {
        "binary_classifier": scores[:, 0] > 0,
        "multiclass_classifier": scores.argmax(axis=1),
        "regressor": scores[:, 0],
    }
    more = {"num_classes": 3} if kind == "multiclass_classifier" else {}
    for stated in ({}, {"wd": 0.01, "num_models": 1}):
        hp = hyperparameters(kind, **more, **stated)
        plain, _ = fit(hp, x, y[kind].astype(np.float32))
        with monkeypatch.context() as patch:
            patch.setattr("algorithms.linear_learner.design.EXACT_CELLS", 0)
            patch.setattr("algorithms.linear_learner.design.BLOCK_CELLS", 2000)
            blocks, _ = fit(hp, x, y[kind].astype(np.float32))
        found, expected = (model.predict(Batch(x))["score"] for model in (blocks, plain))
        off = np.abs(found - expected)
        assert off.max() < 0.005 if stated else off.mean() < 0.01  # a penalty that is chosen may be a neighbour


@pytest.mark.parametrize("noise", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("rows", [20, 40, 150])
def test_few_rows_of_labels_with_little_noise_are_fitted_as_closely_as_by_a_ridge_of_cross_validation(rows, noise):
    """The error of a job without noise was hundreds of times the peer's: a penalty that is usual for noisy labels had
    been taken for the likelier one."""
    ratios = []
    for draw in range(4):
        rng = np.random.default_rng([rows, draw])
        x = rng.normal(size=(rows + 500, 8)).astype(np.float32)
        exact = x @ rng.normal(size=8)
        y = (exact / exact.std() + noise * rng.normal(size=rows + 500)).astype(np.float32)
        model, _ = fit(hyperparameters("regressor"), x[:rows], y[:rows])
        peer = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-4, 4, 17))).fit(x[:rows], y[:rows])
        errors = [
            np.mean((found - y[rows:]) ** 2)
            for found in (model.predict(Batch(x[rows:]))["score"], peer.predict(x[rows:]))
        ]
        ratios.append(np.divide(*(np.array(errors) + 1e-6)))
    assert np.exp(np.mean(np.log(ratios))) <= 1.1


@pytest.mark.parametrize("stored", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_copies_of_rare_rows_do_not_pass_for_rows_that_no_model_knows(stored):
    """Positives copied 30 times: beside the best penalty on other rows, in which positives weigh as much."""
    ratios = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(5000, 40)).astype(np.float32)
        y = (rng.random(5000) < 1 / (1 + np.exp(4 - 1.2 * x[:, :3].sum(axis=1)))).astype(np.float32)
        rows = np.concatenate([np.arange(1000), np.repeat(np.flatnonzero(y[:1000]), 29)])
        model, _ = fit(hyperparameters("binary_classifier"), stored(x[rows]), y[rows])
        loss = partial(log_loss, y[1000:], sample_weight=np.where(y[1000:] > 0, 30, 1))
        peers = [linear_model.LogisticRegression(C=c).fit(x[rows], y[rows]) for c in (1e-3, 1e-2, 0.1, 1)]
        best = min(loss(peer.predict_proba(x[1000:])) for peer in peers)
        ratios.append(loss(model.predict(Batch(stored(x[1000:])))["score"].astype(float)) / best)
    assert np.mean(ratios) <= 1.1


def test_a_repeated_table_trains_as_the_table_does():
    x, y = classes(200, 30)
    one, many = (fit(hyperparameters("binary_classifier"), np.tile(x, (n, 1)), np.tile(y, n))[0] for n in (1, 20))
    np.testing.assert_allclose(many.weight, one.weight, atol=0.1 * np.abs(one.weight).max())
