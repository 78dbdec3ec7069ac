"""Steps of the optimizers, by hand and by their papers."""

from __future__ import annotations

import numpy as np
import pytest

from algorithms.linear_learner.optimizers import SGD, Adam, RMSProp, threshold


def test_steps_by_hand():
    w, g = np.array([[1.0, 2.0]], np.float32), np.array([[0.5, -4.0]], np.float32)
    rate = np.array([0.1, 0.01], np.float32)
    sgd, moved = SGD((1, 2), 0.9), w.copy()
    sgd.step(moved, g.copy(), rate)  # u = -rate g
    np.testing.assert_allclose(moved, [[0.95, 2.04]], rtol=1e-6)
    sgd.step(moved, g.copy(), rate)  # u = 0.9 u - rate g
    np.testing.assert_allclose(moved, [[0.95 - 0.095, 2.04 + 0.076]], rtol=1e-6)
    moved = w.copy()
    Adam((1, 2), 0.9, 0.999).step(moved, g.copy(), rate)  # the first step is rate * sign(g)
    np.testing.assert_allclose(moved, [[0.9, 2.01]], rtol=1e-5)
    moved = w.copy()
    RMSProp((1, 2)).step(moved, g.copy(), rate)  # n = 0.1 g^2, so rate * g / sqrt(n) = rate * sign(g) / sqrt(0.1)
    np.testing.assert_allclose(moved, [[1 - 0.1 / 0.1**0.5, 2 + 0.01 / 0.1**0.5]], rtol=1e-5)


def test_second_step_of_adam_by_the_paper():
    w, m, v = 1.0, 0.0, 0.0
    moved, adam = np.array([[w]], np.float32), Adam((1, 1), 0.9, 0.999)
    for t, g in ((1, 0.5), (2, -0.2), (3, 0.1)):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        adam.step(moved, np.array([[g]], np.float32), np.array([0.1], np.float32))
    assert moved[0, 0] == pytest.approx(w, rel=1e-4)


def test_soft_threshold():
    w = np.array([[0.5, -0.2, 0.1]], np.float32)
    threshold(w, np.float32(0.2))
    np.testing.assert_allclose(w, [[0.3, 0, 0]], atol=1e-7)
