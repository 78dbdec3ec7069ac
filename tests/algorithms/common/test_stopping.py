"""Early stopping, by hand, and as Keras counts it."""

import math

import numpy as np
import pytest

from algorithms.common.stopping import EarlyStopping


def test_the_best_is_the_lowest_or_the_highest():
    low, high = EarlyStopping(), EarlyStopping(maximize=True)
    assert [low.take(value, 1 + step) for step, value in enumerate((5.0, 4.0, 4.5))] == [True, True, False]
    assert [high.take(value, 1 + step) for step, value in enumerate((0.1, 0.2, 0.2))] == [True, True, False]
    assert (low.best_step, low.best, low.waited) == (2, 4.0, 1)


def test_nan_is_the_worst_of_all_and_counts_once():
    stopping = EarlyStopping()
    values = (math.nan, math.nan, 3.0, math.nan, 2.0)
    assert [stopping.take(value, step) for step, value in enumerate(values)] == [True, False, True, False, True]


def test_small_gains_count_together():
    stopping = EarlyStopping(tolerance=0.012)
    improved = [stopping.take(value, step) for step, value in enumerate(np.linspace(1, 0.95, 11))]
    assert np.flatnonzero(improved).tolist() == [0, 3, 6, 9]
    assert stopping.best == pytest.approx(0.95)
