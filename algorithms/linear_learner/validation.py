"""Rows that are held out, or kept in memory, to compare models on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from algorithms.common.copies import agreement, row_keys, units
from algorithms.common.hosts import ONE_HOST, total
from algorithms.interface import Hosts
from algorithms.linear_learner.preprocessing import Problem, one_label
from algorithms.linear_learner.scaling import ScaledRows
from recordio.batches import Batch, concatenate

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

HELD_OUT_SHARE = 0.1
HELD_OUT_ROWS = 10_000
"""The share of the first rows of each block that is held out without a validation channel, and the most such rows."""
SMALL_ROWS, SMALL_SHARE = 5000, 0.2
"""With fewer rows than these it is this share: a tenth of them tells models apart too badly."""
LEAST_ROWS_TO_HOLD_OUT = 100
"""With fewer training rows none are held out, and models are compared on the training rows."""
EVALUATION_CELLS = 1 << 22
"""Most scores (rows times columns) that are computed at once, so that many classes take no more memory than few."""
FOLDS = ((100, 10), (1000, 5))
"""Up to so many rows, the number of folds of cross-validation; beyond, one fifth of the rows is held out once."""
FEW_OF_CLASS = 3
"""Where most of several classes have no more rows than these, there are as many folds: then each model has lost a row
of every class. Of more folds it would have lost one of some classes, which it then says of fewer rows than of the
others, to the very rows of these that it is asked for."""
RARE, RARE_ROWS, TARGET_ROWS = 400, 100_000, 25_000
"""With fewer rows of the rarer class, up to so many rows, every row is needed to find a threshold on: five folds. With
a target that it is to hold, that is so up to the latter number of rows, whatever their classes."""


def fold_count(rows: int) -> int:
    """The number of folds for so many rows."""
    return next((count for most, count in FOLDS if rows <= most), 1)


class Folds(NamedTuple):
    """The folds of the rows of all hosts, of which this one has n.

    Attributes:
        held: (n, k) bool: which of this host's rows are held out of which fold.
        rows: number of rows of all hosts, copies counted once.
        copies: (n,) the number of copies of each of this host's rows on all hosts, itself included.
        halves: whether most classes have two rows, one of which is in each fold.
    """

    held: np.ndarray
    rows: int
    copies: np.ndarray
    halves: bool = False


def no_folds(batch: Batch, hosts: Hosts) -> Folds:
    """No folds: all rows are trained on, and other rows judge the models."""
    return Folds(np.empty((len(batch), 0), bool), total(hosts, len(batch)), np.ones(len(batch), np.int64))


def folds(
    batch: Batch, hp: LinearLearnerHyperparameters, seed: int, hosts: Hosts = ONE_HOST, *, even: bool = True
) -> Folds:
    """Which rows are held out of which fold; every label is spread evenly over the folds. With ``even``, if classes
    have two or three rows, each fold lacks one of each class.

    A row's fold depends neither on the order of the rows nor on how they are spread over hosts. A single row is never
    held out, nor is the only one of its class among many, of which a model without it would know nothing. Copies of a
    row are held out together; see ``copies.units``.
    """
    labels, keys = one_label(batch), row_keys(batch.features, seed)
    parts = hosts.gather([labels, keys])
    every, every_key = (np.concatenate(of_hosts) for of_hosts in zip(*parts, strict=True))
    alike = partial(agreement, batch.features, labels, keys, hosts)
    unit = units(every, every_key, alike, classes=hp.predictor_type != "regressor")
    held, rows, halves = _folds(every, unit, hp, even=even)
    start = sum(len(part[0]) for part in parts[: hosts.rank])
    mine = slice(start, start + len(labels))
    return Folds(held[mine], rows, np.bincount(unit)[unit[mine]], halves)


def _folds(
    labels: np.ndarray, unit: np.ndarray, hp: LinearLearnerHyperparameters, *, even: bool
) -> tuple[np.ndarray, int, bool]:
    """Which rows of all hosts are held out of which fold, how many stand for themselves, and whether they are halves,
    by the number (n,) of what each belongs to; see ``Folds``."""
    rows = int(unit.max(initial=-1)) + 1
    of_units = np.empty(rows, labels.dtype)
    of_units[unit] = labels
    count = fold_count(rows)
    if hp.criterion is not None and rows <= RARE_ROWS and min(of_units.sum(), rows - of_units.sum()) < RARE:
        count = max(count, 5)
    if hp.target is not None and rows <= TARGET_ROWS:
        count = max(count, 5)
    every = max(count, 5, -(-rows // HELD_OUT_ROWS) if count == 1 else 0)
    halves = False
    if hp.predictor_type == "multiclass_classifier":
        of_classes = np.bincount(of_units.astype(np.int64))
        usual = int(np.median(of_classes[of_classes > 0]))
        if even and usual <= FEW_OF_CLASS:
            every = max(usual, 2)
            count, halves = min(count, every), usual == 2
    held = (unit % every)[:, None] == np.arange(count)
    if hp.predictor_type == "multiclass_classifier":
        held &= (of_classes[labels.astype(np.int64)] > 1)[:, None]
    return np.asarray(held[:, held.any(axis=0) & ~held.all(axis=0)]), rows, halves


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
        starts = range(0, max(len(batch), 1), size)
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
    """Holds out the last rows of each batch, the same ones in each epoch, until there are enough.

    Rows are chosen by their positions, so that the stream is read once; the rows that remain are a view. If batches are
    too small for a share of each, one row of every few is taken.
    """

    def __init__(self, mini_batch_size: int, rows: int, hosts: int = 1) -> None:
        """
        Args:
            mini_batch_size: of a host.
            rows: how many all hosts have as far as is known; 0 to hold none out.
            hosts: their number.
        """
        self.most = HELD_OUT_ROWS // hosts
        share = SMALL_SHARE if rows < SMALL_ROWS else HELD_OUT_SHARE
        self.share = share if rows >= LEAST_ROWS_TO_HOLD_OUT else 0.0
        self.every = max(round(1 / (share * mini_batch_size)), 1)
        self.batches = self.most * self.every // max(int(mini_batch_size * share), 1) if self.share else 0

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
        """Keep the rows of batch number ``index`` that are for scores; returns those to train on, which may be none."""
        part, held = self.held_out.split(index, batch)
        candidate = held if self.held_out.batches else part
        if candidate is not None and not self.full:
            self.rows.append(candidate)
            self.count += len(candidate)
            self.full = self.count >= self.held_out.most
        return part

    def batch(self) -> Batch:
        """All of them."""
        return concatenate(self.rows)
