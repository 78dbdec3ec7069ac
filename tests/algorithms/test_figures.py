"""Figures beside scikit-learn's numbers."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)
from sklearn.preprocessing import StandardScaler

from algorithms import figures, quality
from algorithms.factorization_machines import neighbours
from algorithms.figures import Sample
from algorithms.image_classification import shown as image_shown
from recordio.batches import Batch


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_confusion_is_scikit_learns(random):
    labels, predicted = random.choice([1, 3, 7], 200), random.choice([1, 3, 9], 200)
    drawn = quality.confusion(labels, predicted)
    np.testing.assert_array_equal(drawn.values, confusion_matrix(labels, predicted))
    assert drawn.rows == drawn.columns == ["1", "3", "7", "9"]


def test_confusion_of_many_classes_is_that_of_their_neighbours(random):
    """Each cell is a block of scikit-learn's; a million classes take no memory for all of their pairs."""
    labels, predicted = random.integers(0, 700, (2, 4000)) * 3
    drawn = quality.confusion(labels, predicted)
    whole = confusion_matrix(labels, predicted)
    groups = np.arange(len(whole)) * 250 // len(whole)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    blocks = np.add.reduceat(np.add.reduceat(whole, starts, axis=0), starts, axis=1)
    np.testing.assert_array_equal(drawn.values, blocks)
    assert drawn.rows == [str(one) for one in np.unique([labels, predicted])[starts]]
    assert drawn.note.startswith(f"{np.trace(whole) / 4000:.1%} on the diagonal. Neighbouring classes")
    tracemalloc.start()
    quality.confusion(random.integers(0, 10**6, 4096).astype(np.float32), random.integers(0, 10**6, 4096))
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert quality.confusion(labels[:0], predicted[:0]).values.shape == (0, 0)


def test_calibration_is_scikit_learns(random):
    probabilities = random.random(500)
    labels = (random.random(500) < probabilities).astype(float)
    drawn = quality.calibration(labels, probabilities)
    share, mean = calibration_curve(labels, probabilities, n_bins=10)
    np.testing.assert_allclose(drawn.series["model"], np.column_stack([mean, share]))
    assert f"{brier_score_loss(labels, probabilities):.4f}" in drawn.note


def test_a_certain_prediction_is_in_the_last_bin():
    assert quality.calibration(np.array([1.0]), np.array([1.0])).series["model"] == [(1.0, 1.0)]


def test_every_row_of_a_regression_is_on_the_grid(random):
    labels = random.normal(size=1000)
    assert quality.against(labels, labels + 0.1).values.sum() == 1000
    assert quality.against(np.ones(3), np.ones(3)).values.sum() == 3


@pytest.mark.parametrize("sparse", [False, True])
def test_effects_are_those_of_standardised_features(random, sparse):
    features = np.abs(random.normal(size=(100, 4)) * [1, 5, 0.1, 0]).astype(np.float32)
    weights = np.array([1.0, -1.0, 3.0, 100.0])
    rows = Batch(sp.csr_array(features) if sparse else features)
    drawn = figures.effects("w", weights, Sample("train", rows))
    expected = weights * StandardScaler().fit(features).var_ ** 0.5
    order = np.argsort(-np.abs(expected))
    np.testing.assert_allclose(drawn.values, expected[order], rtol=1e-3, atol=1e-4)
    assert drawn.labels[0] == f"feature {order[0]}"


def test_no_more_bars_than_can_be_read():
    drawn = figures.largest("w", np.arange(100.0))
    assert len(drawn.labels) == figures.MOST_BARS
    assert drawn.values[0] == 99 and "30 largest of 100" in drawn.note


@pytest.mark.parametrize("decimals", [1, 8])  # with few, many rows have the same score
def test_roc_and_precision_recall_are_scikit_learns(random, decimals):
    scores = random.random(390).round(decimals)
    labels = (random.random(390) < scores**2).astype(int)
    predicted = (scores >= 0.7).astype(int)
    roc, precision = quality.separation(labels, scores, predicted)
    expected = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc.series["model"], np.column_stack(expected[:2]))
    assert f"{roc_auc_score(labels, scores):.4f}" in roc.note
    assert f"{average_precision_score(labels, scores):.4f}" in precision.note
    chosen = recall_score(labels, predicted), precision_score(labels, predicted)
    assert precision.marks["chosen threshold"] == pytest.approx(chosen)
    fall_out = (predicted[labels == 0] == 1).mean()
    assert roc.marks["chosen threshold"] == pytest.approx((fall_out, chosen[0]))


def test_curves_of_many_rows_have_as_many_points_as_are_drawn(random):
    scores = random.random(5000)
    labels = (random.random(5000) < scores).astype(int)
    roc, precision = quality.separation(labels, scores, (scores >= 0.5).astype(int))
    fall_out, recall, _ = roc_curve(labels, scores, drop_intermediate=False)
    points = np.array(roc.series["model"])
    assert len(points) <= 401 and len(precision.series["model"]) <= 400
    assert set(map(tuple, points)) <= set(zip(fall_out, recall, strict=True))
    np.testing.assert_array_equal(points[[0, -1]], [[0, 0], [1, 1]])
    assert np.abs(np.diff(points, axis=0)).max() < 0.02


def test_of_one_class_alone_there_is_no_roc():
    assert quality.separation(np.ones(3), np.arange(3.0), np.ones(3)) == []


def test_residuals_are_what_is_missing():
    drawn = quality.residuals(np.array([1.0, 2.0]), np.array([0.5, 4.0]))
    assert drawn.series["rows"] == [(0.5, 0.5), (4.0, -2.0)]
    assert "Mean -0.75" in drawn.note


def test_residuals_of_many_rows_are_as_many_points_as_are_drawn(random):
    labels, predicted = random.random(5000), random.random(5000)
    points = quality.residuals(labels, predicted).series["rows"]
    assert len(points) == 400
    assert set(points) <= set(zip(predicted.tolist(), (labels - predicted).tolist(), strict=True))


def test_worst_mistakes_come_first_and_all_images_are_counted():
    class Network:
        def probabilities(self, image):
            return np.array([1 - image.max() / 255, image.max() / 255])

    kept = image_shown.Kept()
    values, targets = np.uint8([255, 0, 230, 153]), np.array([0, 0, 1, 0])  # wrong, right, right, wrong
    kept.add(np.ones((4, 3, 2, 1), np.uint8) * values[:, None, None, None], targets)
    matrix, pictures = image_shown.figures(Network(), kept)
    np.testing.assert_array_equal(matrix.values, confusion_matrix(targets, [1, 0, 1, 1]))
    assert pictures.captions[:2] == ["1 (100%); is 0 (0%)", "1 (60%); is 0 (40%)"]
    assert pictures.captions[2:] == ["1, which is right (90%)", "0, which is right (100%)"]
    assert pictures.images.shape == (4, 3, 2, 3)
    assert pictures.images[:, 0, 0, 0].tolist() == [255, 153, 230, 0]


def test_images_are_an_even_sample_of_all(monkeypatch):
    monkeypatch.setattr(image_shown, "MOST_IMAGES", 100)
    kept = image_shown.Kept()
    for start in range(0, 5000, 50):
        numbers = np.arange(start, start + 50)
        kept.add(np.zeros((50, 1, 1, 1), np.uint8), numbers)
    assert len(kept.images) == len(set(map(int, kept.targets))) == 100
    assert np.mean(kept.targets) == pytest.approx(2500, abs=600)


def test_nearest_features_are_of_the_same_kind(random):
    """Users are features 0 to 4, items 5 to 9; 0 and 1 are alike, and so are 5 and 6."""
    factors = random.normal(size=(10, 8)).astype(np.float32)
    factors[[1, 5, 6]] = factors[0] * [[2.0], [1.0], [3.0]]
    users, items = random.integers(0, 5, 300), random.integers(5, 10, 300)
    rows = np.zeros((300, 10), np.float32)
    rows[np.arange(300), users] = rows[np.arange(300), items] = 1
    drawn = neighbours.nearest(factors, Sample("test", Batch(sp.csr_array(rows))))
    near = {row[0]: row[2] for row in drawn.rows}
    assert near["0"].startswith("1 (1.00)") and near["6"].startswith("5 (1.00)")
    listed = [int(part.split()[0]) for part in near["0"].split(", ")]
    assert sorted(listed) == [1, 2, 3, 4]
    assert neighbours.nearest(factors, None) is None


def test_features_that_every_row_has_are_compared_with_all_others(random):
    """As of a table of numbers, where each feature would else be a range of its own, without anything beside it."""
    factors = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]], np.float32)
    sample = Sample("train", Batch(random.random((6, 4)).astype(np.float32) + 1))
    table = neighbours.nearest(factors, sample)
    assert table is not None
    assert {row[0]: row[2].partition(" ")[0] for row in table.rows} == {"0": "1", "1": "0", "2": "3", "3": "2"}
