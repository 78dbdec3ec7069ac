"""Rows that occur again and again, as in tables of few answers or ratings: each once, with the weight of its copies.

The clustering problem stays the same, and has fewer rows: more starts are affordable, and no two starting centers are
copies of each other.
"""

from __future__ import annotations

import numpy as np

from algorithms.common.copies import row_keys
from algorithms.kmeans.lloyd import squared_norms
from recordio.batches import Batch, Features, concatenate

_PROBE = 512  # rows that tell whether most are copies
_SEED = 0  # of the keys by which rows are told apart: any will do
MOST_MERGED = 128
"""Rows up to which ``merged`` takes some milliseconds."""


def without_copies(parts: list[tuple[Features, np.ndarray]]) -> list[tuple[Features, np.ndarray]]:
    """The distinct rows with the sums of their weights, in the same order whether dense or sparse; the parts as they
    are where fewer than half of some of their rows are copies of others.

    Args:
        parts: rows (n, d), dense float32 or CSR, with their weights (n,); one part at least.
    """
    step = -(-sum(features.shape[0] for features, _ in parts) // _PROBE)
    probe = np.concatenate([row_keys(features[::step], _SEED) for features, _ in parts])
    if 2 * len(np.unique(probe)) > len(probe):
        return parts
    keys = np.concatenate([row_keys(features, _SEED) for features, _ in parts])
    _, firsts, numbers = np.unique(keys, return_index=True, return_inverse=True)
    weights = np.bincount(numbers, np.concatenate([weights for _, weights in parts]))
    rows = concatenate([Batch(features) for features, _ in parts]).features
    return [(rows[firsts], weights)]


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
