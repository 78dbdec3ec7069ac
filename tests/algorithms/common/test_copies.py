"""Copies of rows: which are of a table that was repeated, and which of few categories."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp

from algorithms.common.copies import agreement, row_keys, units
from algorithms.common.hosts import ONE_HOST


def stand_together(x: np.ndarray, y: np.ndarray, *, classes: bool = True, of: float | None = None) -> bool:
    """Whether no copy of a row (with its label, which may be ``of`` one value) is told from the others; in sparse form,
    too, and in any order."""
    found = []
    for rows in (x, sp.csr_array(x)):
        keys = row_keys(rows, 0)
        found.append(units(y, keys, partial(agreement, rows, y, keys, ONE_HOST), classes=classes))
    np.testing.assert_array_equal(*found)
    order = np.random.default_rng(1).permutation(len(y))
    counts = [
        np.sort(np.bincount(units(y[o], row_keys(x[o], 0), lambda _: 0.0, classes=classes))) for o in (order, ...)
    ]
    np.testing.assert_array_equal(*counts)
    asked = slice(None) if of is None else y == of
    return len(np.unique(found[0][asked])) == len(np.unique(np.column_stack([x, y])[asked], axis=0))


def drawn(rows: int, width: int = 8, levels: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of numbers, or one-hot of categories, and labels that follow them with noise; a tenth is positive."""
    rng = np.random.default_rng(seed)
    if levels is None:
        x = rng.normal(size=(rows, width))
        score = x[:, 0]
    else:
        chosen = rng.integers(levels, size=(rows, width))
        x = np.eye(levels)[chosen].reshape(rows, -1)
        score = (chosen[:, 0] - levels / 2) / levels
    y = score + rng.normal(size=rows)
    return x.astype(np.float32), (y > np.quantile(y, 0.9)).astype(np.float32)


@pytest.mark.parametrize("times", [2, 10, 50])
@pytest.mark.parametrize("levels", [None, 8])
@pytest.mark.parametrize("by_chance", [False, True])
def test_an_oversampled_class_is_held_out_row_by_row_of_the_first_table(times, levels, by_chance):
    x, y = drawn(600, 5, levels)
    rare = np.flatnonzero(y > 0)
    more = np.random.default_rng(2).choice(rare, len(rare) * (times - 1)) if by_chance else np.repeat(rare, times - 1)
    rows = np.concatenate([np.arange(len(y)), more])
    if by_chance or levels is None:
        assert stand_together(x[rows], y[rows], of=1)
    else:  # of categories some positives are equal by chance, and stand for themselves
        keys = row_keys(x[rows], 0)
        found = units(y[rows], keys, partial(agreement, x[rows], y[rows], keys, ONE_HOST), classes=True)
        assert (np.bincount(found)[np.unique(found[y[rows] > 0])] == times).all()


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize(("distinct", "times"), [(10, 100), (300, 5)])
def test_a_repeated_table_is_held_out_row_by_row(distinct, times, classes):
    x, y = drawn(distinct, 20)
    y = y if classes else x[:, 0]
    assert stand_together(np.repeat(x, times, axis=0), np.repeat(y, times), classes=classes)


def test_of_a_repeated_table_of_categories_each_row_of_the_first_stands_for_itself():
    x, y = drawn(300, 3, 4)
    keys = row_keys(np.repeat(x, 4, axis=0), 0)
    found = units(np.repeat(y, 4), keys, lambda _: 1.0, classes=True)
    assert (np.bincount(found) == 4).all()
    assert len(np.bincount(found)) == 300


@pytest.mark.parametrize(("rows", "width", "levels"), [(500, 3, 4), (1000, 3, 8), (500, 1, 10), (2000, 5, 8)])
def test_rows_of_few_categories_stand_for_themselves(rows, width, levels):
    x, y = drawn(rows, width, levels)
    keys = row_keys(x, 0)
    assert len(np.unique(units(y, keys, partial(agreement, x, y, keys, ONE_HOST), classes=True))) == rows
    sure = (x[:, 0] > 0).astype(np.float32)  # no row has another label
    assert len(np.unique(units(sure, keys, partial(agreement, x, sure, keys, ONE_HOST), classes=True))) == rows


@pytest.mark.parametrize(("users", "items"), [(400, 250), (3000, 100)])
def test_ratings_that_were_drawn_again_are_held_out_row_by_row_of_the_first_table(users, items):
    """Of sparse rows nearly all columns are 0 in any two; those of a user and an item are seldom the same."""
    rng = np.random.default_rng(0)
    cells = rng.choice(users * items, 400, replace=False)
    x = np.zeros((400, users + items), np.float32)
    x[np.arange(400), cells // items] = x[np.arange(400), users + cells % items] = 1
    drawn_again = rng.integers(400, size=3000)
    for y in (rng.normal(size=400), rng.integers(2, size=400)):
        assert stand_together(x[drawn_again], y[drawn_again].astype(np.float32), classes=False)


def test_entities_of_disputed_labels_stand_for_themselves():
    rng = np.random.default_rng(0)
    entity = rng.integers(50, size=1000)
    x, y = (
        rng.normal(size=(50, 20)).astype(np.float32)[entity],
        (entity < 25) ^ (rng.random(1000) < 0.1),
    )
    assert len(np.unique(units(y.astype(np.float32), row_keys(x, 0), lambda _: 0.0, classes=True))) == 1000


def test_columns_agree_as_often_as_independent_ones_do():
    x, y = drawn(2000, 3, 4)
    assert 64 * agreement(x, y, row_keys(x, 0), ONE_HOST) == pytest.approx(
        0.23, rel=0.3
    )  # 64 (1 - 2 / 4 * 3 / 4) ** 12
    numbers, _ = drawn(2000, 20)
    assert agreement(numbers, y, row_keys(numbers, 0), ONE_HOST) < 1e-40


@pytest.mark.parametrize("others", [0, 500])
def test_a_row_that_is_most_of_its_class_stands_for_itself(others):
    x = np.concatenate([drawn(1000 + others, 4)[0], np.zeros((1000, 4), np.float32)])
    y = np.repeat(np.array([0, 1], np.float32), 1000)
    y = np.concatenate([y[:1000], np.ones(others, np.float32), y[1000:]])
    keys = row_keys(x, 0)
    assert len(np.unique(units(y, keys, partial(agreement, x, y, keys, ONE_HOST), classes=True))) == len(y)


@pytest.mark.parametrize("positives", [2, 3, 5])
def test_a_few_positives_that_were_drawn_anew_are_held_out_with_their_copies(positives):
    """Each is a fifth of its class or more, as rows are that stand for themselves in classes of many."""
    rng = np.random.default_rng(positives)
    x = rng.normal(size=(200 + positives, 8)).astype(np.float32)
    rows = np.concatenate([np.arange(200 + positives), 200 + rng.choice(positives, 100 * positives)])
    y, keys = (rows >= 200).astype(np.float32), row_keys(x[rows], 0)
    found = units(y, keys, partial(agreement, x[rows], y, keys, ONE_HOST), classes=True)
    assert len(np.unique(found)) == 200 + positives
