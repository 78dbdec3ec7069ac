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

from typing import NamedTuple

import numpy as np

from algorithms.kmeans.lloyd import Points
from recordio.batches import Batch, Features, concatenate

CAPACITY = 256 << 20
"""Bytes of rows that a sample may hold before it is cut back to its size. Rows are held where the reader put them, not
copied, so the fewer cuts the better."""
_PART_BYTES = 1 << 20
"""Parts smaller than this are joined, so that small batches do not make a long list."""


class Part(NamedTuple):
    """Rows that are kept together."""

    features: Features  # (n, d)
    keys: np.ndarray  # (n,), float64
    log_weights: np.ndarray  # (n,), float64, on a scale that does not move with time

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return _size(self.features) + self.keys.nbytes + self.log_weights.nbytes


class Sample:
    """``size`` rows of all that were added, or more while they fit into ``CAPACITY``.

    Attributes:
        parts: the rows; where they are cut decides how sums over them are rounded.
        limit: the smallest key that is not kept.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self.rng = rng
        self.parts: list[Part] = []
        self.limit = np.inf

    def __len__(self) -> int:
        return sum(len(part.keys) for part in self.parts)

    def add(self, features: Features, log_weights: np.ndarray) -> None:
        """Offer rows (n, d) with the logarithms of their weights (n,), all on one scale for the whole stream."""
        keys = np.log(self.rng.exponential(size=len(log_weights))) - log_weights
        self._append(_below(Part(features, keys, log_weights), self.limit))
        if self._bytes() > CAPACITY:
            self._cut()

    def merge(self, other: Sample, shift: float) -> None:
        """Take in another sample, whose log weights are ``shift`` below ours on the common scale."""
        theirs = [Part(part.features, part.keys - shift, part.log_weights + shift) for part in other.parts]
        self.limit = min(self.limit, other.limit - shift)
        self.parts = [_below(part, self.limit) for part in self.parts + theirs]
        if self._bytes() > CAPACITY:
            self._cut()

    def _append(self, part: Part) -> None:
        """Joins equal sizes as a binary counter carries, so that a row is copied a logarithmic number of times."""
        while self.parts and self.parts[-1].nbytes <= part.nbytes < _PART_BYTES:
            part = _joined(self.parts.pop(), part)
        self.parts.append(part)

    def _bytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    def _cut(self) -> None:
        self.limit = self._limit_of(self.size)
        self.parts = [_below(part, self.limit) for part in self.parts]

    def _limit_of(self, size: int) -> float:
        if len(self) <= size:
            return self.limit
        keys = np.concatenate([part.keys for part in self.parts])
        return float(np.partition(keys, size)[size])

    def points(self, size: int, log_scale: float) -> Points:
        """The ``size`` rows of smallest key (all, where there are fewer), with unbiased weights.

        Args:
            log_scale: logarithm of the weight that counts as 1.
        """
        limit = self._limit_of(min(size, self.size))
        kept = [_below(part, limit) for part in self.parts]
        return Points.join([(part.features, _unbiased(part, limit, log_scale)) for part in kept if len(part.keys)])


def _size(features: Features) -> int:
    if isinstance(features, np.ndarray):
        return features.nbytes
    return features.data.nbytes + features.indices.nbytes + features.indptr.nbytes


def _joined(first: Part, second: Part) -> Part:
    features = concatenate([Batch(first.features), Batch(second.features)]).features
    return Part(features, np.append(first.keys, second.keys), np.append(first.log_weights, second.log_weights))


def _below(part: Part, limit: float) -> Part:
    kept = part.keys < limit
    return part if kept.all() else Part(part.features[kept], part.keys[kept], part.log_weights[kept])


def _unbiased(part: Part, limit: float, log_scale: float) -> np.ndarray:
    """Weights over their probabilities of having been kept; 1 for a row that was certain to be."""
    rates = np.exp(np.clip(part.log_weights + limit, -700, 700))
    return np.exp(part.log_weights - log_scale) / -np.expm1(-rates)
