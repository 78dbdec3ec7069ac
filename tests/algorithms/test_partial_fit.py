"""``partial_fit``: k-means, PCA, linear learner, factorization machines and XGBoost on batches, as they come."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import xgboost as xgb
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, make_classification
from sklearn.decomposition import PCA as TheirPCA  # noqa: N811
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge, SGDClassifier, SGDRegressor
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.preprocessing import StandardScaler

import algorithms
from algorithms import estimators

ROWS = load_digits(return_X_y=True)[0].astype(np.float32)
MAKE = [
    lambda: estimators.KMeans(k=10, random_state=0),
    lambda: estimators.PCA(num_components=5, random_state=0),
    lambda: estimators.PCA(num_components=5, algorithm_mode="randomized", random_state=0),
]
streaming = pytest.mark.parametrize("make", MAKE, ids=["kmeans", "pca", "pca-randomized"])


def in_batches(estimator: Any, rows: Any, size: int) -> Any:
    for start in range(0, rows.shape[0], size):
        estimator.partial_fit(rows[start : start + size])
    return estimator


@pytest.mark.parametrize("size", [1, 37, 1000])
def test_components_are_those_of_all_rows_by_scikit_learn(size: int) -> None:
    found = in_batches(estimators.PCA(num_components=5), ROWS[:400], size)
    their = TheirPCA(5, svd_solver="full").fit(ROWS[:400].astype(np.float64))
    np.testing.assert_allclose(np.abs(found.components_), np.abs(their.components_), atol=1e-5)
    np.testing.assert_allclose(found.singular_values_, their.singular_values_, rtol=1e-5)
    np.testing.assert_allclose(found.mean_[0], their.mean_, atol=1e-5)


def test_wide_rows_that_are_held_and_then_added_up() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(700, 300)) * np.linspace(3, 0.1, 300)
    found = in_batches(estimators.PCA(num_components=4), rows, 100)
    their = TheirPCA(4, svd_solver="full").fit(rows)
    np.testing.assert_allclose(np.abs(found.components_ @ their.components_.T), np.eye(4), atol=1e-4)


@pytest.mark.parametrize("size", [1, 100])
def test_clusters_are_as_good_as_scikit_learns_of_a_stream(size: int) -> None:
    found = in_batches(estimators.KMeans(k=10, random_state=0), ROWS, size)
    their = in_batches(MiniBatchKMeans(10, random_state=0, n_init=1), ROWS, max(size, 100))
    assert found.score(ROWS) >= their.score(ROWS)
    assert set(found.predict(ROWS)) == set(range(10))


def test_mini_batches_of_a_stream_are_those_of_fit() -> None:
    found = in_batches(estimators.KMeans(k=10, random_state=0), ROWS, 100)
    whole = estimators.KMeans(k=10, random_state=0, mini_batch_size=100).fit(ROWS)
    assert found.cluster_centers_.tolist() == whole.cluster_centers_.tolist()


@streaming
def test_the_model_follows_the_stream(make: Any) -> None:
    """Dense rows, then sparse ones, then one; asked between, pickled between, and the caller's array used again."""
    buffer = ROWS[:600].copy()
    found = make().partial_fit(buffer)
    buffer[:] = 1e6
    early = found.transform(ROWS)
    found.partial_fit(sp.csr_array(ROWS[600:1200]))
    found = pickle.loads(pickle.dumps(found))  # noqa: S301 - its own
    found.partial_fit(ROWS[1200:1201]).partial_fit(ROWS[1201:])
    assert not np.allclose(found.transform(ROWS), early, rtol=0.01)
    if isinstance(found, estimators.KMeans):
        assert found.score(ROWS) == pytest.approx(make().fit(ROWS).score(ROWS), rel=0.01)
    else:
        np.testing.assert_allclose(found.transform(ROWS), make().fit(ROWS).transform(ROWS), atol=1e-3)


@streaming
def test_what_cannot_go_on_is_told(make: Any, tmp_path: Path) -> None:
    found = make().partial_fit(ROWS[:1])
    with pytest.raises(NotFittedError, match="partial_fit has seen 1 of the (5|10) rows"):
        found.transform(ROWS)
    found.partial_fit(ROWS[:50])
    with pytest.raises(ValueError, match="X has 5 features, but .* is expecting 64"):
        found.partial_fit(ROWS[:5, :5])
    with pytest.raises(ValueError, match="0 sample"):
        found.partial_fit(ROWS[:0])
    with pytest.raises(ValueError, match="NaN"):
        found.partial_fit(np.full((2, 64), np.nan))
    found.save(tmp_path / "model.tar.gz")
    assert len(algorithms.load(tmp_path / "model.tar.gz").predict(ROWS[:3])) in (1, 2)
    for other in (type(found).load(tmp_path / "model.tar.gz"), make().fit(ROWS)):
        with pytest.raises(ValueError, match="from fit or load"):
            other.partial_fit(ROWS)
    anew = found.fit(ROWS[:, :40]).transform(ROWS[:9, :40])
    np.testing.assert_allclose(anew, make().fit(ROWS[:, :40]).transform(ROWS[:9, :40]))
    assert not hasattr(clone(found).partial_fit(ROWS[:1]), "model_")


@streaming
def test_a_shallow_copy_goes_its_own_way(make: Any) -> None:
    found = make().partial_fit(ROWS[:600])
    copy.copy(found).partial_fit(ROWS[600:] * 7)
    again = pickle.loads(pickle.dumps(make().partial_fit(ROWS[:600])))  # noqa: S301 - its own
    np.testing.assert_array_equal(found.transform(ROWS), again.transform(ROWS))


@streaming
def test_memory_does_not_grow_with_the_stream(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("algorithms.kmeans.state.CAPACITY", 1 << 19)
    monkeypatch.setattr("algorithms.kmeans.fit.sample_rows", lambda k, numbers: 1000)
    found = in_batches(make(), ROWS, 100)
    before = len(pickle.dumps(found))
    for _ in range(10):
        in_batches(found, ROWS, 100)
    assert len(pickle.dumps(found)) < 1.6 * before


def labelled(load: Any) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = load(return_X_y=True)
    return StandardScaler().fit_transform(rows), labels


def passes(estimator: Any, rows: Any, labels: Any, times: int, **options: Any) -> Any:
    for _ in range(times):
        for start in range(0, len(labels), 20):
            estimator.partial_fit(rows[start : start + 20], labels[start : start + 20], **options)
    return estimator


def test_classes_are_learned_as_well_as_by_scikit_learns_steps() -> None:
    rows, numbers = labelled(load_breast_cancer)
    labels = np.array(["malign", "benign"])[numbers]
    machine = estimators.FactorizationMachinesClassifier(num_factors=4, random_state=0)
    found = passes(machine, rows[:400], labels[:400], 3, classes=["benign", "malign"])
    their = passes(SGDClassifier(random_state=0), rows[:400], labels[:400], 3, classes=["benign", "malign"])
    assert found.score(rows[400:], labels[400:]) >= their.score(rows[400:], labels[400:]) - 0.02
    assert found.predict_proba(rows[:2]).sum(axis=1) == pytest.approx(1)
    other = pickle.loads(pickle.dumps(found))  # noqa: S301 - its own
    one, other = (passes(machine, rows, labels, 1).predict_proba(rows) for machine in (found, other))
    assert one.tolist() == other.tolist()


def test_numbers_are_learned_as_well_as_by_scikit_learns_steps() -> None:
    rows, numbers = labelled(load_diabetes)
    found = passes(
        estimators.FactorizationMachinesRegressor(num_factors=4, random_state=0), rows[:350], numbers[:350], 10
    )
    their = passes(SGDRegressor(random_state=0), rows[:350], numbers[:350], 10)
    assert found.score(rows[350:], numbers[350:]) >= their.score(rows[350:], numbers[350:]) - 0.03
    sparse = estimators.FactorizationMachinesRegressor(num_factors=4, random_state=0)
    sparse = passes(sparse, sp.csr_array(rows[:350]), numbers[:350], 10)
    np.testing.assert_allclose(sparse.predict(rows), found.predict(rows), rtol=0.01, atol=0.5)


def test_classes_that_cannot_be_are_told() -> None:
    rows, numbers = labelled(load_breast_cancer)
    machine = estimators.FactorizationMachinesClassifier(num_factors=2, epochs=1)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        machine.partial_fit(rows, numbers)
    with pytest.raises(ValueError, match="binary"):
        machine.partial_fit(rows, numbers, classes=[0, 1, 2])
    machine.partial_fit(rows[:1], numbers[:1], classes=[0, 1])
    with pytest.raises(ValueError, match="y has 7, which is none of the classes"):
        machine.partial_fit(rows[:1], [7])
    with pytest.raises(ValueError, match="not the same as on last call"):
        machine.partial_fit(rows[:1], numbers[:1], classes=[1, 2])
    assert machine.fit(rows, numbers).classes_.tolist() == [0, 1]
    with pytest.raises(ValueError, match="from fit or load"):
        machine.partial_fit(rows, numbers)


@pytest.mark.parametrize("before", [0, 1])
def test_rows_that_no_step_can_take_do_not_spoil_what_comes_after(before: int) -> None:
    """A batch that fails leaves no model of before, which the state no longer is of, and no numbers that are none."""
    rows, labels = labelled(load_breast_cancer)
    options: dict[str, Any] = {"classes": [0, 1]}
    machine = estimators.FactorizationMachinesClassifier(num_factors=2, random_state=0)
    for _ in range(before):
        machine.partial_fit(rows, labels, **options).predict(rows)
    with pytest.raises(ValueError, match="scores are not finite.*starts anew"):
        machine.partial_fit(np.full_like(rows[:2], 3e38), labels[:2], **options)
    with pytest.raises(NotFittedError):
        machine.predict(rows)
    machine.partial_fit(rows, labels, **options)
    anew = clone(machine).partial_fit(rows, labels, **options)
    np.testing.assert_array_equal(machine.predict_proba(rows), anew.predict_proba(rows))


# ---- the linear learner ---------------------------------------------------------------------------------------------


def texts() -> tuple[Any, np.ndarray]:
    """Counts of 600 words, Zipf's law, with a tenth of the words favoured by each class; rows of length 1."""
    random = np.random.default_rng(0)
    chances = np.exp(random.normal(size=(2, 600)) * (random.random((2, 600)) < 0.1)) / np.arange(1, 601)
    chances /= chances.sum(axis=1, keepdims=True)
    labels = random.integers(2, size=2000)
    rows = np.array([random.multinomial(20, chances[label]) for label in labels], np.float64)
    return sp.csr_array(rows / np.linalg.norm(rows, axis=1, keepdims=True)), labels


STREAMS = {
    "digits": lambda: load_digits(return_X_y=True),
    "digits-scaled": lambda: labelled(load_digits),
    "breast-cancer": lambda: labelled(load_breast_cancer),
    "rare": lambda: make_classification(3000, 20, weights=[0.95], flip_y=0.02, random_state=0),
    "noisy": lambda: make_classification(3000, 10, n_informative=4, flip_y=0.3, random_state=1),
    "four-classes": lambda: make_classification(3000, 20, n_informative=6, n_classes=4, random_state=2),
    "text": texts,
}


@pytest.mark.parametrize(("name", "size"), [("breast-cancer", 1), *((name, 20) for name in STREAMS)])
def test_linear_classes_have_the_loss_of_scikit_learns_steps_or_less(name: str, size: int) -> None:
    """One pass; theirs is given rows as they are."""
    rows, labels = STREAMS[name]()
    classes, losses = np.unique(labels), []
    order = np.random.default_rng(0).permutation(len(labels))
    known, asked = order[:-300], order[-300:]
    for model in (estimators.LinearLearnerClassifier(random_state=0), SGDClassifier("log_loss", random_state=0)):
        for start in range(0, len(known), size):
            part = known[start : start + size]
            model.partial_fit(rows[part], labels[part], classes=classes)
        losses.append(log_loss(labels[asked], model.predict_proba(rows[asked]), labels=classes))
    assert losses[0] <= 1.05 * losses[1]


@pytest.mark.parametrize("scaled", [True, False])
def test_linear_numbers_have_the_error_of_scikit_learns_steps_or_less(scaled: bool) -> None:
    rows, numbers = labelled(load_diabetes) if scaled else load_diabetes(return_X_y=True)
    models = estimators.LinearLearnerRegressor(random_state=0), SGDRegressor(random_state=0)
    for times in (1, 3):
        ours, theirs = (
            mean_squared_error(numbers[350:], passes(clone(one), rows[:350], numbers[:350], times).predict(rows[350:]))
            for one in models
        )
        assert ours <= 1.05 * theirs


def test_the_first_rows_of_a_linear_stream_are_learned_as_fit_learns_them() -> None:
    """In whatever order: of rows in the order of their classes steps know the last class best."""
    for load in (load_iris, load_digits):
        rows, labels = labelled(load)
        known, asked = np.arange(len(labels)) % 5 > 0, np.arange(len(labels)) % 5 == 0
        order = np.argsort(labels[known], kind="stable")
        stream = estimators.LinearLearnerClassifier(random_state=0)
        for start in range(0, len(order), 20):
            part = order[start : start + 20]
            stream.partial_fit(rows[known][part], labels[known][part], classes=np.unique(labels))
        whole = estimators.LinearLearnerClassifier(random_state=0).fit(rows[known], labels[known])
        np.testing.assert_allclose(stream.predict_proba(rows), whole.predict_proba(rows), atol=1e-3)
        peer = SGDClassifier("log_loss", random_state=0)
        peer.partial_fit(rows[known][order], labels[known][order], classes=np.unique(labels))
        assert stream.score(rows[asked], labels[asked]) >= peer.score(rows[asked], labels[asked])


def test_a_linear_stream_goes_on_by_steps_from_the_model_of_its_first_rows() -> None:
    rows, labels = make_classification(6000, 20, n_informative=6, n_classes=4, random_state=2)
    stream, losses = estimators.LinearLearnerClassifier(random_state=0), []
    for start in range(0, 5000, 500):
        stream.partial_fit(rows[start : start + 500], labels[start : start + 500], classes=range(4))
        losses.append(log_loss(labels[5000:], stream.predict_proba(rows[5000:])))
    again = pickle.loads(pickle.dumps(stream))  # noqa: S301 - its own
    np.testing.assert_array_equal(again.predict_proba(rows), stream.predict_proba(rows))
    whole = estimators.LinearLearnerClassifier(random_state=0).fit(rows[:5000], labels[:5000])
    assert max(losses[4:]) <= 1.05 * losses[3]
    assert losses[-1] <= 1.05 * log_loss(labels[5000:], whole.predict_proba(rows[5000:]))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_stream_whose_first_rows_are_of_one_class_learns_the_others(classes: int) -> None:
    shares = [0.8, *[0.2 / (classes - 1)] * (classes - 1)]
    rows, labels = make_classification(2600, 10, n_informative=5, n_classes=classes, weights=shares, random_state=3)
    order = np.argsort(labels, kind="stable")
    stream = estimators.LinearLearnerClassifier(random_state=0)
    stream.partial_fit(rows[order], labels[order], classes=range(classes))
    assert len(np.unique(stream.predict(rows))) == classes


@pytest.mark.parametrize(("at", "times"), [(2100, 100), (2100, 1e6), (4000, 100)])
def test_labels_of_a_linear_stream_that_become_larger_are_learned(at: int, times: float) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(7000, 10)).astype(np.float32)
    numbers = features @ rng.normal(size=10) + rng.normal(size=7000)
    labels = np.where(np.arange(7000) < at, numbers, times * numbers)
    regressor = estimators.LinearLearnerRegressor(random_state=0)
    for start in range(0, 7000, 500):
        regressor.partial_fit(features[start : start + 500], labels[start : start + 500])
    ridge = Ridge(1.0).fit(features, labels)
    found, expected = (mean_squared_error(times * numbers, one.predict(features)) for one in (regressor, ridge))
    assert found < expected


def test_a_linear_stream_is_copied_saved_and_goes_on(tmp_path: Path) -> None:
    rows, numbers = load_digits(return_X_y=True)
    labels = np.array(list("abcdefghij"))[numbers]
    found = estimators.LinearLearnerClassifier(random_state=0)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        found.partial_fit(rows, labels)
    found.partial_fit(rows[:1], labels[:1], classes=list("abcdefghij"))
    assert found.predict(rows[1:3]).tolist() == [labels[0]] * 2  # it knows no other
    with pytest.raises(ValueError, match="y has 'z', which is none of the classes"):
        found.partial_fit(rows[:1], ["z"])
    with pytest.raises(ValueError, match="X has 5 features, but .* is expecting 64"):
        found.partial_fit(rows[:2, :5], labels[:2])
    found.partial_fit(rows[1:600], labels[1:600]).predict(rows)
    before = found.predict_proba(rows)
    for other in (copy.copy(found), pickle.loads(pickle.dumps(found))):  # noqa: S301 - its own
        other.partial_fit(rows[600:900], labels[600:900])
    np.testing.assert_array_equal(found.predict_proba(rows), before)
    again = found.partial_fit(sp.csr_array(rows[600:900]), labels[600:900])
    np.testing.assert_allclose(again.predict_proba(rows), other.predict_proba(rows), rtol=1e-4, atol=1e-6)
    found.save(tmp_path / "model.tar.gz")
    loaded = estimators.LinearLearnerClassifier.load(tmp_path / "model.tar.gz", classes=found.classes_)
    np.testing.assert_allclose(loaded.predict_proba(rows), found.predict_proba(rows), atol=1e-6)
    estimators.LinearLearnerClassifier(random_state=0).fit(rows[:100], labels[:100]).save(tmp_path / "few.tar.gz")
    loaded = estimators.LinearLearnerClassifier.load(tmp_path / "few.tar.gz", classes=found.classes_)
    loss = [log_loss(labels[900:], loaded.predict_proba(rows[900:]))]
    for start in range(100, 900, 20):
        loaded.partial_fit(rows[start : start + 20], labels[start : start + 20])
    loss.append(log_loss(labels[900:], loaded.predict_proba(rows[900:])))
    assert loss[1] < loss[0]
    with pytest.raises(ValueError, match="X has 5 features, but .* is expecting 64"):
        loaded.partial_fit(rows[:2, :5], labels[:2])


def test_a_linear_stream_goes_on_from_what_fit_found() -> None:
    """A model that steps would make worse stays, in its units whatever scales the first rows of a stream have."""
    rows, numbers = load_diabetes(return_X_y=True)
    found = estimators.LinearLearnerRegressor(random_state=0).fit(rows[:200] * 1e3 + 7, numbers[:200])
    error = mean_squared_error(numbers[350:], found.predict(rows[350:] * 1e3 + 7))
    for start in range(200, 350, 10):
        found.partial_fit(rows[start : start + 10] * 1e3 + 7, numbers[start : start + 10])
        assert mean_squared_error(numbers[350:], found.predict(rows[350:] * 1e3 + 7)) <= 1.1 * error


def test_a_linear_stream_refuses_what_it_cannot_learn() -> None:
    rows, labels = labelled(load_breast_cancer)
    found = estimators.LinearLearnerClassifier(binary_classifier_model_selection_criteria="f_beta")
    with pytest.raises(ValueError, match="no rows to find a threshold on"):
        found.partial_fit(rows, labels, classes=[0, 1])
    found = passes(estimators.LinearLearnerClassifier(random_state=0), rows, labels, 4, classes=[0, 1])
    with pytest.raises(ValueError, match="losses are not finite.*starts anew"):
        found.partial_fit(np.full_like(rows, 3e38), labels)
    with pytest.raises(NotFittedError):
        found.predict(rows)
    assert passes(found, rows, labels, 1, classes=[0, 1]).score(rows, labels) > 0.9


def in_rounds(parameters: dict[str, Any], rows: np.ndarray, labels: np.ndarray, size: int) -> xgb.Booster:
    """Batches by XGBoost itself, each continuing the booster of those before it for five rounds."""
    booster = None
    for start in range(0, len(rows), size):
        matrix = xgb.DMatrix(rows[start : start + size], label=labels[start : start + size])
        booster = xgb.train({"nthread": 1, **parameters}, matrix, 5, xgb_model=booster)
    return booster


def test_trees_of_a_stream_are_those_that_xgboost_adds() -> None:
    rows, numbers = load_breast_cancer(return_X_y=True)
    rows, order = rows.astype(np.float32), np.argsort(numbers, kind="stable")  # the first batch is of one class
    rows, numbers = rows[order], numbers[order]
    labels = np.array(["malign", "benign"])[numbers]
    found = estimators.XGBoostClassifier(num_round=5, nthread=1)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        found.partial_fit(rows, labels)
    for start in range(0, len(rows), 190):
        found.partial_fit(rows[start : start + 190], labels[start : start + 190], classes=["benign", "malign"])
        found = pickle.loads(pickle.dumps(found))  # noqa: S301 - its own
    their = in_rounds({"objective": "binary:logistic", "base_score": 0.5}, rows, 1 - numbers, 190)
    np.testing.assert_array_equal(found.predict_proba(rows)[:, 1], their.predict(xgb.DMatrix(rows)))
    with pytest.raises(ValueError, match="y has 'unknown', which is none of the classes"):
        found.partial_fit(rows[:1], ["unknown"])
    with pytest.raises(ValueError, match="X has 5 features"):
        found.partial_fit(rows[:, :5], labels)


def test_trees_go_on_from_fit_and_load(tmp_path: Path) -> None:
    rows, numbers = load_diabetes(return_X_y=True)
    rows, numbers = rows.astype(np.float32), numbers.astype(np.float32)
    found = estimators.XGBoostRegressor(num_round=5, nthread=1).fit(rows[:221], numbers[:221])
    found.save(tmp_path / "model.tar.gz")
    loaded = estimators.XGBoostRegressor.load(tmp_path / "model.tar.gz").set_params(num_round=5, nthread=1)
    before = loaded.predict(rows)
    with pytest.raises(ValueError, match="objective is reg:gamma, and the model's is reg:squarederror"):
        clone(loaded).fit(rows, numbers).set_params(objective="reg:gamma").partial_fit(rows, numbers)
    for other in ({"booster": "dart"}, {"kfold": 3}):
        with pytest.raises(ValueError, match="is of gbtree|exclude each other"):
            loaded.set_params(**other).partial_fit(rows, numbers)
        loaded.set_params(booster="gbtree", kfold=None)
    assert loaded.predict(rows).tolist() == before.tolist()
    their = in_rounds({}, rows, numbers, 221).predict(xgb.DMatrix(rows))
    for one in (found, loaded):
        np.testing.assert_array_equal(one.partial_fit(rows[221:], numbers[221:]).predict(rows), their)
