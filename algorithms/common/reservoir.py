"""A sample of bounded size of a stream of rows, weighted or not.

Each row draws a key, log(E) - log(weight) with E from the standard exponential distribution, and the rows of smallest
key are kept: a weighted sample without replacement. Samples of parts of a stream merge into one of the whole, and the
rows of smallest key in a sample are themselves a smaller sample. Given the smallest key that was not kept, a row of
weight w was kept with probability 1 - exp(-w exp(key)); dividing by it makes sums over the sample unbiased, and exact
where every row was kept.

References:
    P. Efraimidis and P. Spirakis, "Weighted random sampling with a reservoir", Inf. Process. Lett. 97(5), 2006.
    E. Cohen and H. Kaplan, "Summarizing data using bottom-k sketches", PODC 2007.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from algorithms.checkpoints import rows_from_arrays, rows_to_arrays
from recordio.batches import Batch, Features, concatenate

_PART_BYTES, _MOST_SMALL = 1 << 20, 64
"""Smaller parts are joined once they have so many bytes together, or are so many: small batches make no long list."""

_ROOM, _LEAST_ROOM = 3, 16 << 20
"""Times what a cut leaves, and bytes, that are held before it at least: cuts are few, and what is read later finds
memory that was used before, where fresh memory is cleared by the kernel first."""


class _Part(NamedTuple):
    rows: Batch  # n of them
    keys: np.ndarray  # (n,), float64
    log_weights: np.ndarray  # (n,), float64, on a scale that does not move with time

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (*self.rows.arrays(), self.keys, self.log_weights))


class Reservoir:
    """A sample of the rows that were added: all of them while they fit into ``capacity`` bytes, fewer from then on.

    Rows are not copied until the sample is cut back.

    Args:
        capacity: most bytes of rows and keys that are held before a cut.
        size: rows that a cut leaves, however large they are; it is made once several times as many are held. If it is
            None, a cut leaves half, until they fit.
    """

    def __init__(self, rng: np.random.Generator, capacity: int, size: int | None = None) -> None:
        self.size = size
        self._capacity = capacity
        self._rng = rng
        self._parts: list[_Part] = []
        self._bytes = 0  # of the parts
        self._small: list[int] = []  # bytes of the parts at the end of the list that are small
        self._limit = np.inf  # smallest key that is not kept

    def __len__(self) -> int:
        return sum(len(part.keys) for part in self._parts)

    def add(self, rows: Batch, log_weights: np.ndarray | None = None) -> None:
        """Offer n rows with the logarithms of their weights (n,), on one scale for the whole stream; equal weights if
        it is None."""
        draws = self._rng.exponential(size=len(rows))
        if log_weights is None:
            kept = draws < np.exp(self._limit)
            rows, draws = rows if kept.all() else rows.taken(kept), draws[kept]
            log_weights = np.zeros(len(draws))
        self._append(_below(_Part(rows, np.log(draws) - log_weights, log_weights), self._limit))
        self._fit()

    def merge(self, other: Reservoir, shift: float) -> None:
        """Add another sample, whose log weights are lower by ``shift`` than this one's on the common scale."""
        theirs = [_Part(part.rows, part.keys - shift, part.log_weights + shift) for part in other._parts]
        self._limit = min(self._limit, other._limit - shift)
        self._hold(_below(part, self._limit) for part in self._parts + theirs)
        self._fit()

    def keys(self) -> np.ndarray:
        """The keys of the rows that are kept (n,), unordered."""
        return np.concatenate([part.keys for part in self._parts] or [np.empty(0)])

    def limit(self, key: float) -> None:
        """Keep no row whose key is not below ``key``."""
        self._limit = min(self._limit, key)
        self._hold(_below(part, self._limit) for part in self._parts)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The features and keys that are kept, for a checkpoint or for other hosts."""
        arrays = {"sample.limit": np.array([self._limit])}
        for number, part in enumerate(self._parts):
            arrays |= rows_to_arrays(f"sample.rows{number}", part.rows.features)
            arrays |= {f"sample.keys{number}": part.keys, f"sample.log_weights{number}": part.log_weights}
        return arrays

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Become the sample that ``to_arrays`` was asked of."""
        self._limit = float(arrays["sample.limit"][0])
        parts: list[_Part] = []
        while f"sample.keys{len(parts)}" in arrays:
            number = len(parts)
            rows = Batch(rows_from_arrays(f"sample.rows{number}", arrays))
            parts.append(_Part(rows, arrays[f"sample.keys{number}"], arrays[f"sample.log_weights{number}"]))
        self._hold(parts)

    def rows(self, most: int | None = None) -> Batch | None:
        """The rows that are kept, at most ``most``, in the order of the stream; None if there are none."""
        self._join()
        limit = np.inf if most is None else self._limit_of(most)
        kept = [_below(part, limit).rows for part in self._parts]
        return concatenate(kept) if any(map(len, kept)) else None

    def weighted(self, size: int, log_scale: float) -> list[tuple[Features, np.ndarray]]:
        """The ``size`` rows of smallest key (all, where there are fewer) with unbiased weights, in parts.

        Args:
            log_scale: logarithm of the weight that counts as 1.
        """
        self._join()  # fewer parts, each of which costs the caller some calls
        limit = self._limit_of(size if self.size is None else min(size, self.size))
        kept = [_below(part, limit) for part in self._parts]
        return [(part.rows.features, _unbiased(part, limit, log_scale)) for part in kept if len(part.keys)]

    def smaller(self, size: int) -> Reservoir:
        """The sample of the ``size`` rows of smallest key, dense ones in one part; itself where it has no more."""
        limit = self._limit_of(size)
        if limit >= self._limit:
            return self
        made = Reservoir(self._rng, self._capacity, self.size)
        made._limit = limit
        made._hold(_gathered(self._parts, limit))
        return made

    def _append(self, part: _Part) -> None:
        size = part.nbytes
        self._parts.append(part)
        self._bytes += size
        if size >= _PART_BYTES:
            self._small = []
            return
        self._small.append(size)
        if len(self._small) == _MOST_SMALL or sum(self._small) >= _PART_BYTES:
            self._join()

    def _join(self) -> None:
        """Make one part of the small ones at the end of the list."""
        if (count := len(self._small)) > 1:
            joined = _joined(self._parts[-count:])
            self._parts[-count:] = [joined]
            self._bytes += joined.nbytes - sum(self._small)
            self._small = [size] if (size := joined.nbytes) < _PART_BYTES else []

    def _hold(self, parts: Iterable[_Part]) -> None:
        """Replace the parts."""
        self._parts = list(parts)
        sizes = [part.nbytes for part in self._parts]
        self._bytes = sum(sizes)
        self._small = list(itertools.takewhile(lambda size: size < _PART_BYTES, reversed(sizes)))[::-1]

    def _room(self) -> int:
        """Bytes that may be held before a cut."""
        if self.size is None or not (held := len(self)):
            return self._capacity
        return min(self._capacity, max(_LEAST_ROOM, _ROOM * self.size * self._bytes // held))

    def _fit(self) -> None:
        while self._bytes > self._room() and len(self) > 1:
            self._limit = self._limit_of(self.size or len(self) // 2)
            self._hold(_below(part, self._limit) for part in self._parts)
            if self.size is not None:
                break

    def _limit_of(self, size: int) -> float:
        if len(self) <= size:
            return self._limit
        keys = np.concatenate([part.keys for part in self._parts])
        return float(np.partition(keys, size)[size])


def _joined(parts: list[_Part]) -> _Part:
    keys, log_weights = (np.concatenate(arrays) for arrays in zip(*(part[1:] for part in parts), strict=True))
    return _Part(concatenate([part.rows for part in parts]), keys, log_weights)


def _gathered(parts: list[_Part], limit: float) -> list[_Part]:
    """The rows whose keys are below ``limit``: each copied once to where all of them are together, if they are dense
    and come with nothing else."""
    if any(len(part.rows.arrays()) > 1 for part in parts):
        return [_below(part, limit) for part in parts]
    kept = [np.flatnonzero(part.keys < limit) for part in parts]
    ends = np.cumsum([len(rows) for rows in kept])
    dense: list[Any] = [part.rows.features for part in parts]
    features = np.empty((ends[-1], *dense[0].shape[1:]), dense[0].dtype)
    for rows, taken, end in zip(dense, kept, ends, strict=True):
        np.take(rows, taken, axis=0, out=features[end - len(taken) : end], mode="clip")  # "raise" would copy twice
    keys = np.concatenate([part.keys[taken] for part, taken in zip(parts, kept, strict=True)])
    log_weights = np.concatenate([part.log_weights[taken] for part, taken in zip(parts, kept, strict=True)])
    return [_Part(Batch(features), keys, log_weights)]


def _below(part: _Part, limit: float) -> _Part:
    kept = part.keys < limit
    return part if kept.all() else _Part(part.rows.taken(kept), part.keys[kept], part.log_weights[kept])


def _unbiased(part: _Part, limit: float, log_scale: float) -> np.ndarray:
    """Weights divided by the rows' probabilities of having been kept, which are 1 if every row was kept."""
    rates = np.exp(np.clip(part.log_weights + limit, -700, 700))
    return np.exp(part.log_weights - log_scale) / -np.expm1(-rates)
