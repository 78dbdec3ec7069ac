"""Rows that are kept in memory to compare models on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from algorithms.linear_learner.preprocessing import Problem, one_label
from algorithms.linear_learner.scaling import ScaledRows
from recordio.batches import Batch

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

HELD_OUT_SHARE = 0.1
HELD_OUT_ROWS = 10_000
"""Without a validation channel, this share of the first rows of each block is kept out of training, up to so many."""
SMALL_ROWS, SMALL_SHARE = 5000, 0.2
"""With fewer rows than these it is this share: a tenth of them tells models apart too badly."""
LEAST_ROWS_TO_HOLD_OUT = 100
"""Fewer training rows than this are all trained on, and models are then compared on them."""
EVALUATION_CELLS = 1 << 22
"""Scores computed at once: rows times columns, so that many classes take no more memory than few."""
FOLDS = ((100, 10), (1000, 5))
"""Up to so many rows, the number of folds of cross-validation; beyond, one fifth of the rows is held out once."""
RARE, RARE_ROWS = 400, 100_000
"""With fewer rows of the rarer class, up to so many rows, every row is needed to find a threshold on: five folds."""


def fold_count(rows: int) -> int:
    """The number of folds of so many rows."""
    return next((count for most, count in FOLDS if rows <= most), 1)


def folds(labels: np.ndarray, hp: LinearLearnerHyperparameters, seed: int) -> np.ndarray:
    """Which rows are held out of which fold, (n, k) bool; every label is spread evenly over the folds.

    A single row is held out of none.
    """
    rows = len(labels)
    count = fold_count(rows)
    if hp.criterion is not None and rows <= RARE_ROWS and min(labels.sum(), rows - labels.sum()) < RARE:
        count = max(count, 5)
    every = max(count, 5)
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(rows), labels))
    turn = np.empty(rows, np.int64)
    turn[order] = np.arange(rows) % every
    held = turn[:, None] == np.arange(count)
    if count == 1:
        held[np.flatnonzero(held)[HELD_OUT_ROWS:]] = False
    return np.asarray(held[:, held.any(axis=0) & ~held.all(axis=0)])


@dataclass(frozen=True)
class Rows:
    """Rows kept for comparing models: scaled, in blocks, with their labels."""

    blocks: list[ScaledRows]
    labels: np.ndarray
    scaled_labels: np.ndarray

    @staticmethod
    def of(batch: Batch, problem: Problem, columns: int) -> Rows:
        """All of ``batch``, ready to be scored by parameters of so many columns."""
        size = max(EVALUATION_CELLS // columns, 1)
        starts = range(0, len(batch), size)
        blocks = [problem.scaler.rows(batch.rows(start, start + size).features, columns) for start in starts]
        labels = one_label(batch)
        return Rows(blocks, labels, problem.label_scaler.apply(labels))

    def scores(self, parameters: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Row ranges and their scores (n, m c)."""
        start = 0
        for block in self.blocks:
            scores = block.scores(parameters[:-1]) + parameters[-1]
            yield slice(start, start + len(scores)), scores
            start += len(scores)


class HeldOut:
    """Takes the last rows of each batch out of training, the same ones in each epoch, until it has enough.

    Positions decide, not values, so that the stream needs no rewinding; the rows that remain are a view. Of batches
    that are too small for a share of each, one row of every few is taken.
    """

    def __init__(self, mini_batch_size: int, rows: int) -> None:
        """``rows``: how many there are as far as is known; 0 to hold none out."""
        share = SMALL_SHARE if rows < SMALL_ROWS else HELD_OUT_SHARE
        self.share = share if rows >= LEAST_ROWS_TO_HOLD_OUT else 0.0
        self.every = max(round(1 / (share * mini_batch_size)), 1)
        self.batches = HELD_OUT_ROWS * self.every // max(int(mini_batch_size * share), 1) if self.share else 0

    def split(self, index: int, batch: Batch) -> tuple[Batch, Batch | None]:
        """The rows of batch number ``index`` to train on, which may be none, and those held out."""
        if index >= self.batches or (index + 1) % self.every:
            return batch, None
        cut = len(batch) - max(int(len(batch) * self.share), 1)
        return batch.rows(0, cut), batch.rows(cut, len(batch))


class Kept:
    """Rows of the first epoch that are kept in memory for scores: those held out, or simply the first ones."""

    def __init__(self, held_out: HeldOut) -> None:
        self.held_out = held_out
        self.rows: list[Batch] = []
        self.count = 0
        self.full = False

    def take(self, index: int, batch: Batch) -> Batch:
        """Keep what is wanted of batch number ``index``; returns the rows to train on, which may be none."""
        part, held = self.held_out.split(index, batch)
        candidate = held if self.held_out.batches else part
        if candidate is not None and not self.full:
            self.rows.append(candidate)
            self.count += len(candidate)
            self.full = self.count >= HELD_OUT_ROWS
        return part
