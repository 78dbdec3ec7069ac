"""What the factors say: features that stand for alike things have factors that point the same way."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from algorithms.figures import Sample, Table

_ROWS, _NEAREST = 12, 5
_MOST_CANDIDATES = 2000
_LEAST_SEEN = 2
"""Rows of the sample that have a feature; the factors of others have hardly been trained."""


def nearest(factors: np.ndarray, sample: Sample | None) -> Table | None:
    """The most frequent features of ``sample``, each with those whose factors have the largest cosine with its own.

    Where each row has one feature of each of several ranges, such as a user and an item, features are compared within
    their range. None where no two features can be.

    Args:
        factors: (d, k).
    """
    if sample is None:
        return None
    features = sp.csr_array(sample.rows.features, copy=True)
    features.eliminate_zeros()
    seen = np.bincount(features.indices, minlength=features.shape[1])
    known = np.flatnonzero(seen >= _LEAST_SEEN)  # a few of millions
    order = known[np.argsort(-seen[known], kind="stable")[:_MOST_CANDIDATES]]
    candidates = order[np.linalg.norm(factors[order], axis=1) > 0]
    if len(candidates) < 2:
        return None
    unit = factors[candidates] / np.linalg.norm(factors[candidates], axis=1, keepdims=True)
    ranges = _ranges(features)[candidates]
    if len(np.unique(ranges)) == len(ranges):  # each row has every feature: all of them are compared
        ranges = np.zeros_like(ranges)
    called = sample.names or range(len(factors))
    rows = []
    for position in _first_of_each(ranges):
        cosines = unit @ unit[position]
        cosines[position] = -np.inf
        cosines[ranges != ranges[position]] = -np.inf
        best = [one for one in np.argsort(-cosines, kind="stable")[:_NEAREST] if cosines[one] > -1.5]
        if best:
            named = ", ".join(f"{called[candidates[one]]} ({cosines[one]:.2f})" for one in best)
            rows.append([str(called[candidates[position]]), f"{seen[candidates[position]]:,}", named])
    return Table(
        title="Nearest features by their factors",
        columns=("feature", "rows", "nearest features, with the cosine"),
        rows=rows,
        note=f"The most frequent features in {len(sample.rows):,} rows of {sample.dataset}"
        + ("." if sample.names else ", numbered from 0."),
    )


def _ranges(features: sp.csr_array) -> np.ndarray:
    """The number of the range that each feature is in, (d,): zeros unless every row has one feature of each range."""
    numbers = np.zeros(features.shape[1], np.int64)
    sizes = np.diff(features.indptr)
    if not len(sizes) or sizes.min() != sizes.max() or sizes[0] < 2:
        return numbers
    each = np.sort(features.indices.reshape(len(sizes), -1), axis=1)
    starts = each.min(axis=0)[1:]
    if np.any(each.max(axis=0)[:-1] >= starts):
        return numbers
    numbers[starts] = 1
    return numbers.cumsum()


def _first_of_each(ranges: np.ndarray) -> np.ndarray:
    """Positions of the first of each range, as many of one as of another; at most so many in all as are shown."""
    found = np.unique(ranges)
    each = max(1, _ROWS // len(found))
    return np.concatenate([np.flatnonzero(ranges == one)[:each] for one in found[:_ROWS]])
