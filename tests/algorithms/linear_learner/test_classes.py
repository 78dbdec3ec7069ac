"""Many classes with a few rows each: beside scikit-learn's linear models at their defaults."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from sklearn import linear_model
from sklearn import metrics as reference
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from algorithms.common.hosts import ONE_HOST
from algorithms.interface import Hosts
from algorithms.linear_learner import LinearLearner
from algorithms.linear_learner.model import LinearModel
from algorithms.linear_learner.temperature import PRIOR, temperature
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream, on_hosts
from tests.algorithms.linear_learner.test_defaults import fit, hyperparameters, text

Rows = tuple[np.ndarray | sp.csr_array, np.ndarray]


def around_middles(classes: int, each: int, columns: int, apart: float, *, alike: bool, seed: int) -> Rows:
    """``each`` rows of each class, then 2,000 more: normal values around the middles of their classes. These deviate in
    all directions ``alike``, or in some much more than in others."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([rng.permutation(np.repeat(np.arange(classes), each)), rng.integers(0, classes, 2000)])
    noise = rng.normal(size=(len(labels), columns))
    if not alike:
        noise = 1.3 * noise @ rng.normal(size=(columns, columns)) / np.sqrt(columns)
    rows = apart * rng.normal(size=(classes, columns))[labels] + noise
    return rows.astype(np.float32), labels.astype(np.float32)


def of_words(classes: int, each: int, seed: int) -> Rows:
    """The same of texts."""
    rows, labels = text(classes * each * 2 + 1200, 2000, classes, seed)
    first = np.concatenate([np.flatnonzero(labels == one)[:each] for one in range(classes)])
    first = np.random.default_rng(seed).permutation(first)
    order = np.append(first, np.setdiff1d(np.arange(len(labels)), first))
    return rows[order], labels[order]


def scores(model: LinearModel, rows: np.ndarray | sp.csr_array, labels: np.ndarray) -> tuple[float, float]:
    """Log loss and accuracy."""
    answer = model.predict(Batch(rows))
    chances = answer["score"].astype(float)
    loss = -np.log(np.maximum(chances[np.arange(len(labels)), labels.astype(int)], 1e-15)).mean()
    return float(loss), float(np.mean(answer["predicted_label"] == labels))


@pytest.mark.filterwarnings("ignore:The number of unique classes")
@pytest.mark.parametrize(
    ("data", "train"),
    [
        (around_middles(200, 6, 20, 1.2, alike=True, seed=0), 1200),
        (around_middles(50, 6, 20, 0.8, alike=False, seed=1), 300),
        (around_middles(20, 10, 40, 0.5, alike=True, seed=2), 200),
        (of_words(20, 10, 3), 200),
        (of_words(50, 2, 4), 100),
        (around_middles(50, 2, 20, 1.0, alike=True, seed=5), 100),
    ],
    ids=["200 x 6", "50 x 6, deviating unlike", "20 x 10, wide", "text", "text, 50 x 2", "50 x 2"],
)
def test_classes_of_few_rows_are_told_apart_as_by_the_best_of_scikit_learns(data: Rows, train: int) -> None:
    rows, labels = data
    classes = int(labels.max()) + 1
    model, _ = fit(hyperparameters("multiclass_classifier", num_classes=classes), rows[:train], labels[:train])
    loss, accuracy = scores(model, rows[train:], labels[train:])
    scaler = StandardScaler(with_mean=isinstance(rows, np.ndarray)).fit(rows[:train])
    for scaled in (rows, scaler.transform(rows)):
        peer = linear_model.LogisticRegression().fit(scaled[:train], labels[:train])
        expected = reference.log_loss(labels[train:], peer.predict_proba(scaled[train:]), labels=peer.classes_)
        assert loss <= expected
        for other in (peer, linear_model.RidgeClassifier().fit(scaled[:train], labels[:train])):
            assert accuracy >= 0.995 * other.score(scaled[train:], labels[train:])


def test_a_validation_channel_judges_what_rows_within_classes_tell() -> None:
    rows, labels = around_middles(50, 6, 20, 0.8, alike=False, seed=1)
    hp = hyperparameters("multiclass_classifier", num_classes=50)
    model, _ = fit(hp, rows[:300], labels[:300], validation=(rows[300:900], labels[300:900]))
    peer = linear_model.LogisticRegression().fit(rows[:300], labels[:300])
    expected = reference.log_loss(labels[900:], peer.predict_proba(rows[900:]), labels=peer.classes_)
    assert scores(model, rows[900:], labels[900:])[0] <= 0.5 * expected


@pytest.mark.filterwarnings("ignore:The number of unique classes")
@pytest.mark.parametrize(("apart", "most"), [(0.5, 1.4), (1.0, 1.15), (3.0, 1.0)])
def test_classes_of_one_row_each_are_told_apart_neither_too_surely_nor_too_little(apart: float, most: float) -> None:
    """Nothing tells how far rows scatter around these: scores without a penalty had 2.6 times the loss where classes
    are near each other, those of scikit-learn's penalty of scaled rows 2.4 times where they are far apart."""
    rows, labels = around_middles(60, 1, 8, apart, alike=True, seed=0)
    model, _ = fit(hyperparameters("multiclass_classifier", num_classes=60), rows[:60], labels[:60])
    loss, accuracy = scores(model, rows[60:], labels[60:])
    peer = linear_model.LogisticRegression().fit(rows[:60], labels[:60])
    assert loss <= most * reference.log_loss(labels[60:], peer.predict_proba(rows[60:]), labels=peer.classes_)
    assert accuracy >= 0.93 * peer.score(rows[60:], labels[60:])


def test_scores_of_many_classes_in_one_column_are_no_longer_than_rows_support() -> None:
    rows, labels = around_middles(60, 3, 1, 10.0, alike=True, seed=0)
    model, _ = fit(hyperparameters("multiclass_classifier", num_classes=60), rows[:180], labels[:180])
    peer = LinearDiscriminantAnalysis().fit(rows[:180], labels[:180])
    expected = reference.log_loss(labels[180:], peer.predict_proba(rows[180:]), labels=peer.classes_)
    assert scores(model, rows[180:], labels[180:])[0] <= 1.05 * expected


def test_copies_tell_no_more_of_the_covariance_within_classes_than_one_of_them() -> None:
    """Six copies of a row: taken for six, they showed how rows scatter in all of ten directions."""
    rows, labels = around_middles(3, 5, 10, 1.5, alike=True, seed=13)
    hp = hyperparameters("multiclass_classifier", num_classes=3)
    once, _ = fit(hp, rows[:15], labels[:15])
    copied, _ = fit(hp, np.tile(rows[:15], (6, 1)), np.tile(labels[:15], 6))
    loss, expected = (scores(model, rows[15:], labels[15:])[0] for model in (copied, once))
    assert loss <= 1.1 * expected


@pytest.mark.parametrize("known", [1, 0.1, 1 / 3])
def test_rows_that_are_alike_within_their_classes_are_told_apart(known: float) -> None:
    """A column that has the class, or some number for each: nothing deviates within classes."""
    labels = (np.arange(30) % 3).astype(np.float32)
    model, _ = fit(hyperparameters("multiclass_classifier", num_classes=3), known * labels[:, None], labels)
    assert scores(model, np.float32(known) * np.arange(3, dtype=np.float32)[:, None], np.arange(3))[1] == 1


def test_a_stated_penalty_is_that_of_scikit_learns_model_without_a_factor() -> None:
    rows, labels = around_middles(20, 10, 10, 0.7, alike=False, seed=4)
    rows = StandardScaler().fit_transform(rows[:200]).astype(np.float32)
    hp = hyperparameters("multiclass_classifier", num_classes=20, wd=0.1, num_models=1)
    model, _ = fit(hp, rows, labels[:200])
    peer = linear_model.LogisticRegression(C=1 / (200 * 0.1), tol=1e-9, max_iter=1000).fit(rows, labels[:200])
    np.testing.assert_allclose(model.predict(Batch(rows))["score"], peer.predict_proba(rows), atol=0.005)


def test_the_factor_is_where_the_loss_of_these_rows_is_least() -> None:
    rng = np.random.default_rng(0)
    z, y, counts = 0.1 * rng.normal(size=(300, 5)), rng.integers(0, 5, 300), rng.random(300) + 0.5
    z[np.arange(300), y] += 0.15

    def loss(logarithm: float) -> float:
        of_rows = np.log(np.exp(np.exp(logarithm) * z).sum(axis=1)) - np.exp(logarithm) * z[np.arange(300), y]
        return float(counts @ of_rows + PRIOR / 2 * logarithm**2)

    expected = np.exp(minimize_scalar(loss, (0, 2)).x)
    assert temperature(z, y, counts, 0.0, ONE_HOST) == pytest.approx(expected, rel=1e-3)
    assert expected > 5
    assert temperature(z, y, counts, 0.1, ONE_HOST) < expected


def test_hosts_find_the_factor_that_one_finds_of_however_many_scores() -> None:
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(1100, 1000)).astype(np.float32), rng.integers(0, 1000, 1100)
    z[np.arange(1100), y] += 2

    def of_rows(hosts: Hosts) -> float:
        mine = slice(hosts.rank, None, hosts.size)
        return temperature(z[mine], y[mine], np.ones(len(y[mine])), 0.01, hosts)

    assert on_hosts(2, of_rows) == pytest.approx([of_rows(ONE_HOST)] * 2, rel=1e-9)


def test_rows_that_are_all_told_rightly_ask_for_no_endless_scores() -> None:
    z = np.eye(3)[np.arange(12) % 3]
    assert 1 < temperature(z, np.arange(12) % 3, np.ones(12), 0.0, ONE_HOST) < 20


@pytest.mark.parametrize("hosts", [1, 3])
def test_a_host_with_one_validation_row_scores_it_as_the_model_does(hosts: int) -> None:
    """Three rows of three hosts, or one of one; no row was classified rightly."""
    rows, labels = around_middles(3, 5, 2, 5.0, alike=True, seed=0)
    x, y, known, told = rows[:15], labels[:15], rows[15 : 15 + hosts], labels[15 : 15 + hosts]
    hp = hyperparameters("multiclass_classifier", num_classes=3)

    def run(one: Hosts) -> tuple[LinearModel, FakeJob]:
        job, part = FakeJob(hosts=one), slice(one.rank, None, hosts)
        train = MemoryStream(x[part], y[part], epochs_left=hp.epochs)
        return LinearLearner.fit(hp, {"train": train, "validation": MemoryStream(known[part], told[part])}, job), job

    model, job = on_hosts(hosts, run)[0]
    loss, accuracy = scores(model, known, told)
    assert job.last("validation", "multiclass_log_loss") == pytest.approx(loss, rel=1e-3)
    assert job.last("validation", "multiclass_accuracy") == accuracy == 1
