"""Rows that are kept in memory to compare models on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from algorithms.linear_learner.preprocessing import Problem, one_label
from algorithms.linear_learner.scaling import ScaledRows
from recordio.batches import Batch

HELD_OUT_SHARE = 0.1
HELD_OUT_ROWS = 10_000
"""Without a validation channel, this share of the first rows of each block is kept out of training, up to so many."""
LEAST_ROWS_TO_HOLD_OUT = 1000
"""Fewer training rows than this are all trained on, and models are then compared on them."""
EVALUATION_ROWS = 5000
"""Rows scored at once."""


@dataclass(frozen=True)
class Rows:
    """Rows kept for comparing models: scaled, in blocks, with their labels."""

    blocks: list[ScaledRows]
    labels: np.ndarray
    scaled_labels: np.ndarray

    @staticmethod
    def of(batch: Batch, problem: Problem, columns: int) -> Rows:
        """All of ``batch``, ready to be scored by parameters of so many columns."""
        starts = range(0, len(batch), EVALUATION_ROWS)
        blocks = [problem.scaler.rows(batch.rows(start, start + EVALUATION_ROWS).features, columns) for start in starts]
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

    Positions decide, not values, so that the stream needs no rewinding; the rows that remain are a view.
    """

    def __init__(self, mini_batch_size: int, active: bool) -> None:
        self.batches = HELD_OUT_ROWS // max(int(mini_batch_size * HELD_OUT_SHARE), 1) if active else 0

    def split(self, index: int, batch: Batch) -> tuple[Batch, Batch | None]:
        """The rows of batch number ``index`` to train on, and those held out."""
        cut = len(batch) - max(int(len(batch) * HELD_OUT_SHARE), 1)
        if index >= self.batches or cut < 1:
            return batch, None
        return batch.rows(0, cut), batch.rows(cut, len(batch))


class Kept:
    """Rows of the first epoch that are kept in memory for scores: those held out, or simply the first ones."""

    def __init__(self, held_out: HeldOut) -> None:
        self.held_out = held_out
        self.rows: list[Batch] = []
        self.full = False

    def take(self, index: int, batch: Batch) -> Batch:
        """Keep what is wanted of batch number ``index``; returns the rows to train on."""
        part, held = self.held_out.split(index, batch)
        candidate = held if self.held_out.batches else part
        if candidate is not None and not self.full:
            self.rows.append(candidate)
            self.full = sum(len(batch) for batch in self.rows) >= HELD_OUT_ROWS
        return part
