"""The rows that are trained on, pass after pass, and those of them that a trial leaves out."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np

from algorithms.factorization_machines.scaling import Scaling
from algorithms.interface import Stream
from recordio.batches import Batch

MEMORY = 32 << 20
"""Bytes of rows that stay in memory: reading, cutting and scaling small batches takes three times what a step does."""


class Rows:
    """Batches that are made anew for each pass, unless those of all of it fit into ``MEMORY``."""

    def __init__(self, make: Callable[[], Generator[Batch]], *, repeats: bool = True, keep: bool = True) -> None:
        self._make, self.repeats, self._limit = make, repeats, MEMORY if keep else 0
        self._kept: list[Batch] | None = None

    def batches(self) -> Generator[Batch]:
        """One pass."""
        if self._kept is not None:
            yield from self._kept
            return
        kept, size = [], 0
        for batch in self._make():
            size += sum(array.nbytes for array in batch.arrays())
            if size <= self._limit:
                kept.append(batch)
            yield batch
        if size <= self._limit:
            self._kept = kept


def of_channel(stream: Stream, size: int, scaling: Scaling | None) -> Rows:
    """The rows of a channel in batches of ``size``; their features scaled, their labels as they are."""

    def make() -> Generator[Batch]:
        for batch in stream.batches(size):
            yield batch if scaling is None else scaling.batch(batch)

    return Rows(make, repeats=stream.repeats, keep=scaling is not None)


def parted(rows: Rows, fold: int, folds: int, seed: tuple[int, ...]) -> tuple[Rows, Rows]:
    """All but a fold of the rows, and the fold: one of so many, to which rows belong by chance."""

    def make(held_out: bool) -> Generator[Batch]:
        random = np.random.default_rng(seed)
        for batch in rows.batches():
            chosen = np.flatnonzero((random.integers(folds, size=len(batch)) == fold) == held_out)
            if chosen.size:
                labels = None if batch.labels is None else batch.labels[chosen]
                yield Batch(batch.features[chosen], labels)

    return Rows(lambda: make(False)), Rows(lambda: make(True))
