"""The rows that are trained on, pass after pass, and those of them that a trial leaves out."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np

from algorithms.common.hosts import ONE_HOST
from algorithms.common.randomness import draws
from algorithms.factorization_machines.scaling import Scaling
from algorithms.interface import Hosts, Stream
from recordio.batches import Batch, Features

MEMORY, LEAST_MEMORY, SHARE = 256 << 20, 32 << 20, 64
"""Bytes of rows that stay in memory, at the most and at the least, and their share of the machine's: reading, cutting
and scaling small batches takes three times what a step does, and sweeps take a dozen times the memory of the rows."""


def most(memory: int | None) -> int:
    """Bytes of rows that stay in memory on a machine of so many bytes; None: it is not known of how many."""
    return LEAST_MEMORY if memory is None else min(max(memory // SHARE, LEAST_MEMORY), MEMORY)


class Rows:
    """Batches that are made anew for each pass, unless those of all of it take no more than ``limit`` bytes."""

    def __init__(self, make: Callable[[], Generator[Batch]], limit: int, *, repeats: bool = True) -> None:
        self._make, self.repeats, self.limit = make, repeats, limit
        self._kept: list[Batch] | None = None

    @property
    def in_memory(self) -> bool:
        """Whether a pass has found that all of them fit."""
        return self._kept is not None

    def batches(self) -> Generator[Batch]:
        """One pass."""
        if self._kept is not None:
            yield from self._kept
            return
        kept, size = [], 0
        for batch in self._make():
            size += sum(array.nbytes for array in batch.arrays())
            if size <= self.limit:
                kept.append(batch)
            yield batch
        if size <= self.limit:
            self._kept = kept


def of_channel(stream: Stream, size: int, scaling: Scaling | None, memory: int | None) -> Rows:
    """The rows of a channel in batches of ``size``; their features scaled, their labels as they are. Those that are not
    scaled are not kept.

    Args:
        memory: bytes that the machine has; None where that is not known.
    """

    def make() -> Generator[Batch]:
        for batch in stream.batches(size):
            yield batch if scaling is None else scaling.batch(batch)

    return Rows(make, 0 if scaling is None else most(memory), repeats=stream.repeats)


def parted(rows: Rows, fold: int, folds: int, seed: int, hosts: Hosts) -> tuple[Rows, Rows]:
    """All but a fold of the rows, and the fold: one of so many, to which rows belong by chance; dense rows by what is
    in them, so that copies of a row are together.

    Hosts to which rows were dealt one by one hold out the same rows as one host that has all.
    """

    def make(held_out: bool) -> Generator[Batch]:
        random = draws("folds", seed)
        for batch in rows.batches():
            chosen = np.flatnonzero((fold_numbers(batch.features, folds, seed, random, hosts) == fold) == held_out)
            if chosen.size:
                yield Batch(batch.features[chosen], None if batch.labels is None else batch.labels[chosen])

    return Rows(lambda: make(False), rows.limit), Rows(lambda: make(True), rows.limit)


def fold_numbers(
    features: Features, folds: int, seed: int, random: np.random.Generator, hosts: Hosts = ONE_HOST
) -> np.ndarray:
    """The fold (n,) of each row: by ``random``, that of dense rows by what is in them."""
    if isinstance(features, np.ndarray):
        return _numbers(features, seed) % folds
    return random.integers(folds, size=features.shape[0] * hosts.size)[hosts.rank :: hosts.size]


def _numbers(features: np.ndarray, seed: int) -> np.ndarray:
    """A number (n,) of each row (n, d), uint64, alike for equal rows: a sum of its bits times random numbers."""
    factors = np.random.default_rng(seed).integers(1 << 63, size=features.shape[1], dtype=np.uint64) * 2 + 1
    bits = (np.ascontiguousarray(features, np.float32) + 0).view(np.uint32)  # + 0: there is one zero
    return (bits * factors).sum(axis=1, dtype=np.uint64) >> np.uint64(33)
