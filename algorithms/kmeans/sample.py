"""A sample of bounded size of a stream of rows whose weights decay: what the final centers are refined on.

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

from typing import Any, NamedTuple

import numpy as np

from algorithms.common.hosts import packed, unpacked
from algorithms.kmeans.lloyd import Points
from recordio.batches import Batch, Features, concatenate

CAPACITY = 256 << 20
"""Bytes of rows that a sample may hold before it is cut back to its size. Rows are held where the reader put them, not
copied, so the fewer cuts the better."""
_PART_BYTES = 1 << 20
"""Parts smaller than this are joined, so that small batches do not make a long list."""


class _Part(NamedTuple):
    features: Features  # (n, d)
    keys: np.ndarray  # (n,), float64
    log_weights: np.ndarray  # (n,), float64, on a scale that does not move with time

    @property
    def nbytes(self) -> int:
        return _size(self.features) + self.keys.nbytes + self.log_weights.nbytes


class Sample:
    """``size`` rows of all that were added, or more while they fit into ``CAPACITY``."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self._rng = rng
        self._parts: list[_Part] = []
        self._limit = np.inf  # smallest key that is not kept

    def __len__(self) -> int:
        return sum(len(part.keys) for part in self._parts)

    def add(self, features: Features, log_weights: np.ndarray) -> None:
        """Offer rows (n, d) with the logarithms of their weights (n,), all on one scale for the whole stream."""
        keys = np.log(self._rng.exponential(size=len(log_weights))) - log_weights
        self._append(_below(_Part(features, keys, log_weights), self._limit))
        if self._bytes() > CAPACITY:
            self._cut()

    def merge(self, other: Sample, shift: float) -> None:
        """Take in another sample, whose log weights are ``shift`` below ours on the common scale."""
        theirs = [_Part(part.features, part.keys - shift, part.log_weights + shift) for part in other._parts]
        self._limit = min(self._limit, other._limit - shift)
        self._parts = [_below(part, self._limit) for part in self._parts + theirs]
        if self._bytes() > CAPACITY:
            self._cut()

    def keys(self) -> np.ndarray:
        """The keys of the rows that are kept (n,), in no order."""
        return np.concatenate([part.keys for part in self._parts] or [np.empty(0)])

    def limit(self, key: float) -> None:
        """Keep no row whose key is not below ``key``."""
        self._limit = min(self._limit, key)
        self._parts = [_below(part, self._limit) for part in self._parts]

    def packed(self) -> dict[str, Any]:
        """What ``unpacked`` takes: numbers, lists and arrays."""
        parts = [[packed(part.features), part.keys, part.log_weights] for part in self._parts]
        return {"size": self.size, "limit": self._limit, "parts": parts}

    @classmethod
    def unpacked(cls, packed: dict[str, Any], rng: np.random.Generator) -> Sample:
        """The sample that was packed."""
        sample = cls(packed["size"], rng)
        sample._limit = packed["limit"]
        sample._parts = [_Part(unpacked(rows), keys, weights) for rows, keys, weights in packed["parts"]]
        return sample

    def _append(self, part: _Part) -> None:
        """Joins equal sizes as a binary counter carries, so that a row is copied a logarithmic number of times."""
        while self._parts and self._parts[-1].nbytes <= part.nbytes < _PART_BYTES:
            part = _joined(self._parts.pop(), part)
        self._parts.append(part)

    def _bytes(self) -> int:
        return sum(part.nbytes for part in self._parts)

    def _cut(self) -> None:
        self._limit = self._limit_of(self.size)
        self._parts = [_below(part, self._limit) for part in self._parts]

    def _limit_of(self, size: int) -> float:
        if len(self) <= size:
            return self._limit
        keys = np.concatenate([part.keys for part in self._parts])
        return float(np.partition(keys, size)[size])

    def points(self, size: int, log_scale: float) -> Points:
        """The ``size`` rows of smallest key (all, where there are fewer), with unbiased weights.

        Args:
            log_scale: logarithm of the weight that counts as 1.
        """
        limit = self._limit_of(min(size, self.size))
        kept = [_below(part, limit) for part in self._parts]
        return Points.join([(part.features, _unbiased(part, limit, log_scale)) for part in kept if len(part.keys)])


def _size(features: Features) -> int:
    if isinstance(features, np.ndarray):
        return features.nbytes
    return features.data.nbytes + features.indices.nbytes + features.indptr.nbytes


def _joined(first: _Part, second: _Part) -> _Part:
    features = concatenate([Batch(first.features), Batch(second.features)]).features
    return _Part(features, np.append(first.keys, second.keys), np.append(first.log_weights, second.log_weights))


def _below(part: _Part, limit: float) -> _Part:
    kept = part.keys < limit
    return part if kept.all() else _Part(part.features[kept], part.keys[kept], part.log_weights[kept])


def _unbiased(part: _Part, limit: float, log_scale: float) -> np.ndarray:
    """Weights over their probabilities of having been kept; 1 for a row that was certain to be."""
    rates = np.exp(np.clip(part.log_weights + limit, -700, 700))
    return np.exp(part.log_weights - log_scale) / -np.expm1(-rates)
