"""Figures beside scikit-learn's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, confusion_matrix
from sklearn.preprocessing import StandardScaler

from algorithms import figures
from algorithms.figures import Sample
from recordio.batches import Batch


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_confusion_is_scikit_learns(random):
    labels, predicted = random.choice([1, 3, 7], 200), random.choice([1, 3, 9], 200)
    drawn = figures.confusion(labels, predicted)
    np.testing.assert_array_equal(drawn.values, confusion_matrix(labels, predicted))
    assert drawn.rows == drawn.columns == ["1", "3", "7", "9"]


def test_calibration_is_scikit_learns(random):
    probabilities = random.random(500)
    labels = (random.random(500) < probabilities).astype(float)
    drawn = figures.calibration(labels, probabilities)
    share, mean = calibration_curve(labels, probabilities, n_bins=10)
    np.testing.assert_allclose(drawn.series["model"], np.column_stack([mean, share]))
    assert f"{brier_score_loss(labels, probabilities):.4f}" in drawn.note


def test_a_certain_prediction_is_in_the_last_bin():
    assert figures.calibration(np.array([1.0]), np.array([1.0])).series["model"] == [(1.0, 1.0)]


def test_every_row_of_a_regression_is_on_the_grid(random):
    labels = random.normal(size=1000)
    assert figures.against(labels, labels + 0.1).values.sum() == 1000
    assert figures.against(np.ones(3), np.ones(3)).values.sum() == 3


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
