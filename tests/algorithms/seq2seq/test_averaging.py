"""Running means of weights, by hand."""

import numpy as np
import pytest

from algorithms.seq2seq.averaging import EVERY, Average


def of(*numbers: float) -> list[np.ndarray]:
    return [np.array(numbers, np.float32)]


def test_before_the_first_look_the_mean_is_the_weights_as_they_are() -> None:
    weights = of(1, 2)
    (mean,) = Average().at(3, weights)
    weights[0] += 1
    assert mean.tolist() == [1, 2]


def test_of_many_updates_a_mean_keeps_three_fifths_and_of_few_less() -> None:
    few, many = Average(of(0)), Average(of(0))
    few.look(2 * EVERY, of(1))
    many.look(1000 * EVERY, of(1))
    assert few.means[0] == pytest.approx(10 / 12)
    assert many.means[0] == pytest.approx(0.4)


def test_between_two_looks_the_mean_is_told_and_not_changed() -> None:
    average = Average(of(0))
    assert average.at(1000 * EVERY + 1, of(1))[0] == pytest.approx(0.4)
    assert average.means[0] == 0
    assert average.at(1000 * EVERY, of(1)) is average.means  # a look has just been taken


def test_it_is_nearer_to_where_noisy_weights_are_than_the_last_of_them() -> None:
    random, average, last = np.random.default_rng(0), Average(), []
    for update in range(EVERY, 400 * EVERY, EVERY):
        last.append(random.normal(size=3).astype(np.float32))
        average.look(update, last[-1:])
    assert np.square(average.means).mean() < np.square(last[-50:]).mean() / 2
