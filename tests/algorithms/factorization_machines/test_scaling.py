"""Factorization machines with `epochs` left open: no worse than a linear model, whatever the scale of the data."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_diabetes, make_classification, make_friedman1, make_regression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from algorithms import hyperparameters
from algorithms.errors import TrainingDataError
from algorithms.factorization_machines import FactorizationMachines, schedule
from algorithms.factorization_machines.scaling import Measure
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream

SEEDS = range(3)


def fitted(features, labels, predictor_type="regressor", job=None, **given):
    given = {"feature_dim": str(features.shape[1]), "num_factors": "8", "predictor_type": predictor_type} | given
    values = hyperparameters.parse(FactorizationMachines.hyperparameters, given)
    stream = MemoryStream(features.astype(np.float32), labels)
    return FactorizationMachines.fit(values, {"train": stream}, job or FakeJob())


def halves(features, labels, seed):
    order = np.random.default_rng(seed).permutation(len(labels))
    known, asked = np.split(order, [len(order) * 4 // 5])
    features, labels = features.astype(np.float32), labels.astype(np.float32)
    return features[known], labels[known], features[asked], labels[asked]


REGRESSION = {
    "diabetes as it is": lambda: load_diabetes(return_X_y=True, scaled=False),
    "diabetes of small features": lambda: load_diabetes(return_X_y=True),
    "interactions": lambda: make_friedman1(1000, noise=1, random_state=0),
    "scales far apart": lambda: _far_apart(),
}


def _far_apart():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(800, 5)) * [1e-4, 1, 100, 1e4, 40] + [0, 5, 300, 5e5, 2000]
    return features, 1e5 + features @ [1e8, 3e3, 50, 1, 25] + rng.normal(size=800) * 1e3


@pytest.mark.parametrize("name", REGRESSION)
def test_a_regressor_is_no_worse_than_a_linear_one(name):
    ours, linear = [], []
    for seed in SEEDS:
        known, labels, asked, truth = halves(*REGRESSION[name](), seed)
        ours.append(np.mean((fitted(known, labels).predict(Batch(asked))["score"] - truth) ** 2))
        peer = make_pipeline(StandardScaler(), Ridge(1.0)).fit(known.astype(float), labels)
        linear.append(np.mean((peer.predict(asked) - truth) ** 2))
    assert np.sqrt(np.mean(ours)) <= 1.03 * np.sqrt(np.mean(linear))


def test_a_classifier_is_no_worse_than_a_linear_one():
    ours, linear = [], []
    for seed in SEEDS:
        known, labels, asked, truth = halves(*load_breast_cancer(return_X_y=True), seed)
        ours.append(log_loss(truth, fitted(known, labels, "binary_classifier").predict(Batch(asked))["score"]))
        peer = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(known, labels)
        linear.append(log_loss(truth, peer.predict_proba(asked)[:, 1]))
    assert np.mean(ours) <= 1.03 * np.mean(linear)


def by_hand(features, bias, linear, factors):
    """The score of each row, pair by pair."""
    scores = bias + features @ linear
    for one in range(features.shape[1]):
        for other in range(one + 1, features.shape[1]):
            scores = scores + (factors[one] @ factors[other]) * features[:, one] * features[:, other]
    return scores


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_the_machine_on_scaled_rows_is_restored_to_one_on_the_rows_as_they_are(sparse, shifted):
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(100, 4)) * [1, 10, 0.1, 0] + [3, -20, 0, 7]).astype(np.float32)
    labels = (rng.normal(size=100) * 30 + 100).astype(np.float32)
    rows = sp.csr_array(features) if sparse else features
    measure = Measure(4)
    for part in (slice(0, 20), slice(20, 100)):
        measure.add(rows[part], labels[part])
    scaling = measure.scaling(shifted=shifted, labels=True)
    scaled = scaling.batch(Batch(rows)).features
    scaled = scaled.toarray() if sparse else scaled
    if not sparse and shifted:
        np.testing.assert_allclose(scaled[:, :3].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(scaled[:, :3].std(axis=0), 1, atol=1e-5)
        np.testing.assert_allclose(scaling.labels(labels).std(), 1, atol=1e-5)
    machine = rng.normal(size=1), rng.normal(size=4), rng.normal(size=(4, 3))
    expected = scaling.scores(by_hand(scaled.astype(float), *machine))
    found = by_hand(features.astype(float), *scaling.restored(*machine))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3 * np.abs(expected).max())


def test_rare_words_are_not_made_to_weigh_as_much_as_common_ones():
    measure = Measure(2)
    measure.add(sp.csr_array(np.float32([[0.01, 500], [0, 300], [0, 0]])), np.float32([0, 1, 1]))
    scaling = measure.scaling(shifted=True, labels=False)
    assert scaling.shift is None
    length = np.sqrt((0.01**2 + 1 + 1) / 3)  # of rows whose large values are 1
    np.testing.assert_allclose(scaling.scale, [length, np.sqrt((500**2 + 300**2) / 2)])


@pytest.mark.parametrize(
    ("predictor_type", "size"), [("regressor", 1e-15), ("regressor", 0.1), ("binary_classifier", 0.01)]
)
def test_the_unit_of_sparse_values_does_not_matter(predictor_type, size):
    """Users and items, one of each a row, whose effects add up."""
    rng = np.random.default_rng(0)
    pairs, effects = rng.integers(0, 30, (900, 2)) + [0, 30], rng.normal(size=60)
    labels = effects[pairs].sum(axis=1) + 0.3 * rng.normal(size=900)
    values = np.full(1800, size, np.float32)
    rows = sp.csr_array((values, pairs.ravel(), np.arange(0, 1801, 2)), shape=(900, 60))
    if predictor_type == "regressor":
        found = error(fitted(rows[:700], labels[:700]), rows[700:], labels[700:])
        assert found < 0.4 * labels.std()  # of ones 0.3; all but the noise would be 0.2, and nothing 1
        return
    model = fitted(rows[:700], labels[:700] > 0, predictor_type)
    assert np.mean(model.predict(Batch(rows[700:]))["predicted_label"] == (labels[700:] > 0)) > 0.85


@pytest.mark.parametrize("size", [1e-42, 1e-20, 1e30])
@pytest.mark.parametrize("form", ["all", "one column", "sparse"])
def test_features_that_float32_cannot_answer_on_are_named(size, form, monkeypatch):
    monkeypatch.setattr(schedule, "SMALL_STEPS", 1000)
    monkeypatch.setattr(schedule, "PASSES", 100)
    features, labels = make_classification(200, 5, n_informative=4, n_redundant=0, random_state=0)
    features *= np.where(np.arange(5) == 2, size, 1) if form == "one column" else size
    rows = sp.csr_array((features * (features > 0)).astype(np.float32)) if form == "sparse" else features
    try:
        model = fitted(rows, labels, "binary_classifier")
    except TrainingDataError as refused:
        named = (
            rf"beyond float32 on the features as they are: features \(from 0\) {2 if form == 'one column' else 0} \("
        )
        assert re.search(named, str(refused))
    else:  # what is not refused is answered as if it were of another size
        assert np.mean(model.predict(Batch(rows.astype(np.float32)))["predicted_label"] == labels) > 0.6


@pytest.mark.parametrize("rows", [20, 50, 100, 200])
def test_few_rows_are_learned_as_a_linear_model_learns_them(rows):
    features, labels = make_regression(rows + 200, 3, noise=1, random_state=1)
    job = FakeJob()
    model = fitted(features[:rows], labels[:rows], job=job, num_factors="2")
    peer = Ridge(0.1).fit(features[:rows], labels[:rows]).predict(features[rows:])
    assert error(model, features[rows:], labels[rows:]) <= 1.5 * np.sqrt(np.mean((peer - labels[rows:]) ** 2))
    assert not job.warnings


@pytest.mark.parametrize("offset", [100, 400, 3000, 1e4])
def test_columns_far_from_0_are_learned_as_a_linear_model_learns_them(offset):
    features, labels = make_regression(400, 10, noise=5, random_state=1)
    features = (features + offset).astype(np.float32)
    model = fitted(features[:280], labels[:280], num_factors="4")
    peer = make_pipeline(StandardScaler(), Ridge(1e-3)).fit(features[:280].astype(float), labels[:280])
    expected = np.sqrt(np.mean((peer.predict(features[280:]) - labels[280:]) ** 2))
    assert error(model, features[280:], labels[280:]) <= 1.05 * expected


def test_interactions_of_columns_far_from_0_are_learned_where_they_can_be_and_the_others_are_named():
    rng = np.random.default_rng(2)
    features, vectors = rng.normal(size=(1500, 10)), rng.normal(size=(10, 3)) / 2
    pairs = (np.square(features @ vectors) - np.square(features) @ np.square(vectors)).sum(axis=1) / 2
    labels = features[:, 0] + pairs + rng.normal(size=1500) / 2
    job = FakeJob()
    near = fitted(features[:1000] + 300, labels[:1000], job=job)
    assert not job.warnings
    assert error(near, features[1000:] + 300, labels[1000:]) < 0.5 * labels.std()
    mixed = features + np.where(np.arange(10) == 3, 2000, 0)
    far = fitted(mixed[:1000], labels[:1000], job=job)
    assert ["Columns (from 0) 3 lie 500 " in line for line in job.warnings] == [True]
    assert not far.factors[3].any()
    assert error(far, mixed[1000:], labels[1000:]) < 0.8 * labels.std()


def test_classes_and_tables_of_columns_far_from_0_are_learned():
    features, classes = make_classification(600, 10, random_state=0)
    features = (features + 1e4).astype(np.float32)
    model = fitted(features[:400], classes[:400], "binary_classifier")
    peer = make_pipeline(StandardScaler(), LogisticRegression()).fit(features[:400].astype(float), classes[:400])
    found = np.mean(model.predict(Batch(features[400:]))["predicted_label"] == classes[400:])
    assert found >= peer.score(features[400:], classes[400:]) - 0.02
    rng = np.random.default_rng(0)
    columns = (
        rng.integers(1990, 2024, 600),
        rng.normal(1e5, 2e4, 600),
        rng.normal(40, 0.5, 600),
        rng.normal(-74, 0.5, 600),
    )
    table = np.column_stack([*columns, np.full(600, 7e5)])  # years, prices, latitudes, longitudes, a constant
    labels = (table[:, :4] - table[:, :4].mean(axis=0)) / table[:, :4].std(axis=0) @ [1, 2, -1, 0.5]
    labels += 0.1 * rng.normal(size=600)
    assert error(fitted(table[:400], labels[:400]), table[400:], labels[400:]) <= 0.115


def error(model, features, labels):
    """Root mean square."""
    return np.sqrt(np.mean((model.predict(Batch(features.astype(np.float32)))["score"] - labels) ** 2))


@pytest.mark.parametrize("stored", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_labels_whose_gradients_are_beyond_float32_are_named_where_epochs_are_given(stored):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5)).astype(np.float32)
    y = (1e24 * x.sum(axis=1)).astype(np.float32)
    with pytest.raises(TrainingDataError, match=r"labels are of about 2\.\de\+24.*give no epochs"):
        fitted(stored(x), y, epochs="5", mini_batch_size="50")
    found = fitted(stored(x), y).predict(Batch(stored(x)))["score"].astype(float)
    assert np.mean((found / 1e24 - y / 1e24) ** 2) < 0.1


def test_users_items_and_hours_as_dense_columns_have_the_interactions_of_sparse_ones():
    rng = np.random.default_rng(71)
    rows, columns = np.arange(3500), rng.integers(150, size=(3, 3500)) + [[0], [150], [300]]
    features = np.zeros((3500, 450), np.float32)  # more than a million values
    features[rows, columns] = 1
    tastes = 0.7 * rng.normal(size=(450, 3)).astype(np.float32)
    sums = features @ tastes
    labels = (0.5 * (sums**2 - features @ tastes**2).sum(axis=1) + 0.3 * rng.normal(size=3500)).astype(np.float32)
    known, asked = slice(2800), Batch(features[2800:])
    errors = fitted(features[known], labels[known]).predict(asked)["score"] - labels[2800:]
    ridge = Ridge(1.0).fit(features[known], labels[known])
    assert np.mean(errors**2) < 0.5 * np.mean((ridge.predict(features[2800:]) - labels[2800:]) ** 2)
