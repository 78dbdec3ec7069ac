"""Losses and their slopes, beside scikit-learn and numerical differentiation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from algorithms.linear_learner import losses

RNG = np.random.default_rng(11)

BY_NAME = {
    "logistic": losses.logistic,
    "hinge": lambda z, y: losses.hinge(z, y, 0.7),
    "squared": losses.squared,
    "absolute": losses.eps_insensitive_absolute,
    "eps_squared": lambda z, y: losses.eps_insensitive_squared(z, y, 0.3),
    "eps_absolute": lambda z, y: losses.eps_insensitive_absolute(z, y, 0.3),
    "quantile": lambda z, y: losses.pinball(z, y, 0.8),
    "huber": lambda z, y: losses.huber(z, y, 0.4),
}


@pytest.mark.parametrize("name", BY_NAME)
def test_slopes_are_those_of_numerical_differentiation(name):
    z = RNG.normal(size=(40, 3))
    y = (RNG.random((40, 1)) < 0.5).astype(float)
    h = 1e-6
    numeric = (BY_NAME[name](z + h, y)[0] - BY_NAME[name](z - h, y)[0]) / (2 * h)
    np.testing.assert_allclose(BY_NAME[name](z, y)[1], numeric, atol=1e-4)


def test_softmax_is_scikit_learns_log_loss_and_its_slope_is_numerical():
    z, y = RNG.normal(size=(20, 2, 4)), RNG.integers(0, 4, 20)
    loss, slope = losses.softmax(z, y)
    for model in range(2):
        exponentials = np.exp(z[:, model])
        expected = reference.log_loss(y, exponentials / exponentials.sum(axis=1, keepdims=True), labels=range(4))
        assert loss[:, model].mean() == pytest.approx(expected)
    for c in range(4):
        h = np.zeros(4)
        h[c] = 1e-6
        numeric = (losses.softmax(z + h, y)[0] - losses.softmax(z - h, y)[0]) / 2e-6
        np.testing.assert_allclose(slope[:, :, c], numeric, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 4), (1, 3, 4), (5, 1, 4)])
def test_softmax_leaves_the_scores_as_they_are(shape):
    """Of one row and one model they were overwritten, by which that row was judged afterwards."""
    z = RNG.normal(size=shape)
    before = z.copy()
    losses.softmax(z, np.zeros(len(z), np.int64))
    np.testing.assert_array_equal(z, before)
