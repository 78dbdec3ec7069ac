"""Rows that occur again and again, as in tables of few answers or ratings: each once, with the weight of its copies.

The clustering problem stays the same, and has fewer rows: more starts are affordable, and no two starting centers are
copies of each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from algorithms.kmeans.lloyd import squared_norms
from recordio.batches import Features

_PROBE = 512  # rows that tell whether most are copies
_ENTRIES = 1 << 20  # numbers of dense rows that are looked at together: some copies of 8 MiB
MOST_MERGED = 128
"""Rows up to which ``merged`` takes some milliseconds."""


def without_copies(parts: list[tuple[Features, np.ndarray]]) -> list[tuple[Features, np.ndarray]]:
    """The distinct rows with the sums of their weights, in the same order whether dense or sparse; the parts as they
    are where fewer than half of some of their rows are copies of others.

    Args:
        parts: rows (n, d), all dense float32 or all CSR, with their weights (n,); one part at least.
    """
    step = -(-sum(features.shape[0] for features, _ in parts) // _PROBE)
    probe = np.concatenate([_digests(features[::step]) for features, _ in parts])
    if 2 * len(np.unique(probe)) > len(probe):
        return parts
    digests = np.concatenate([_digests(features) for features, _ in parts])
    _, firsts, numbers = np.unique(digests, return_index=True, return_inverse=True)
    weights = np.bincount(numbers, np.concatenate([weights for _, weights in parts]))
    rows: list[Any] = [features for features, _ in parts]
    whole = sp.vstack(rows, format="csr") if sp.issparse(rows[0]) else np.concatenate(rows)
    return [(whole[firsts], weights)]


def _digests(rows: Any) -> np.ndarray:
    """A number for each row, (n,) uint64, the same for the same values: of 100,000 different rows, two have the same
    once in a billion times. Zeros say nothing, of either sign, stored or not."""
    if sp.issparse(rows):
        summed = np.concatenate([[np.uint64(0)], np.cumsum(_scattered(rows.indices, rows.data))])
        return summed[rows.indptr[1:]] - summed[rows.indptr[:-1]]
    step = max(1, _ENTRIES // max(rows.shape[1], 1))
    columns = np.arange(rows.shape[1])
    blocks = (rows[start : start + step] for start in range(0, len(rows), step))
    return np.concatenate([_scattered(columns, block).sum(axis=1) for block in blocks])


def _scattered(columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A number all over 64 bits for each value and its column: what SplitMix64 makes of the two."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    mixed = (columns.astype(np.uint64) << np.uint64(32)) + bits + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.where(values == 0, np.uint64(0), mixed ^ (mixed >> np.uint64(31)))


def merged(rows: np.ndarray, weights: np.ndarray, k: int) -> np.ndarray:
    """k centers, (k, d), of distinct rows (u, d), u >= k: two at a time become one, always those that lose least.

    Where k is not much smaller than u, Lloyd's iterations from drawn rows seldom find the pairs to be joined: their
    moves ignore that a heavy row draws its center along. Time O(u^3).

    Source: J. Ward, "Hierarchical grouping to optimize an objective function", JASA 58, 1963.
    """
    centers, masses = rows.astype(np.float64), weights.astype(np.float64)
    while len(centers) > k:
        norms = squared_norms(centers)
        apart = np.maximum(norms[:, None] + norms - 2 * centers @ centers.T, 0)
        losses = apart * (masses[:, None] * masses / (masses[:, None] + masses))
        np.fill_diagonal(losses, np.inf)
        one, other = sorted(divmod(int(losses.argmin()), len(losses)))
        mass = masses[one] + masses[other]
        centers[one] = (masses[one] * centers[one] + masses[other] * centers[other]) / mass
        masses[one] = mass
        centers, masses = np.delete(centers, other, axis=0), np.delete(masses, other)
    return centers
