"""Which rows are copies of each other, and must be held out together: models are to be judged by rows that they have
not seen.

If a minority was oversampled, or a table repeated, every fold has copies of its rows, and a model that has memorised
them wins. Rows of few categories, however, are equal by chance, and their different labels tell the probabilities of
labels: there each row counts by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.sparse as sp

from algorithms.common.hosts import packed, unpacked
from algorithms.interface import Hosts
from recordio.batches import Batch, Features, concatenate

CELLS = 1 << 22
"""Most values whose bits are summed at once."""
SURE = np.log(1000)
"""A common divisor of the numbers of copies is taken for a repetition of the table if its log odds against chance are
at least these."""
DISPUTED = 0.1
"""If at least this share of the rows with copies also have another label, rows are taken to be of few categories."""
LIKELY = 0.05
"""So they are if this share of the copies is expected from how often columns agree; columns that depend on each other
agree more often than that."""
MOST_OF_ALL, MOST_OF_MEAN = 0.2, 10
"""A distinct row with a larger share of its class, or more copies than so many times the mean, counts by itself each
time: it is a category or an empty row, not an oversampled one. If such copies were held out together, models would not
know their class. In a class of few distinct rows, where every share is larger, it is one with ``MOST_OF_FEW`` times the
share of equally frequent rows."""
MOST_OF_FEW = 2
COMPARED, NEIGHBOURS = 256, 4
"""Most distinct rows that are compared to find how often columns agree, and the number of others that each is compared
with."""


def row_keys(features: Features, seed: int) -> np.ndarray:
    """A random number for each row, (n,) uint64, that its values alone decide.

    It is the sum of the values' bits, each times a random number of its column, modulo 2^64 (multilinear hashing:
    Lemire and Kaser, "Strongly universal string hashing is fast", The Computer Journal 57, 2014); zeros add nothing.
    """
    rows, width = features.shape
    factors = np.random.default_rng(seed).integers(1 << 64, size=(width,), dtype=np.uint64)
    if not isinstance(features, np.ndarray):
        products = _bits(features.data) * factors[features.indices]
        sums = np.zeros(len(products) + 1, np.uint64)
        np.cumsum(products, out=sums[1:])  # differences are right modulo 2^64, too
        return np.asarray(np.diff(sums[features.indptr]))
    keys = np.empty(rows, np.uint64)
    size = max(CELLS // width, 1)
    for start in range(0, rows, size):
        keys[start : start + size] = _bits(features[start : start + size]) @ factors
    return keys


def _bits(values: np.ndarray) -> np.ndarray:
    """Those of float32 values as uint64; -0 has those of 0."""
    return (values.astype(np.float32, copy=False) + np.float32(0)).view(np.uint32).astype(np.uint64)


Chance = Callable[[float | None], float]
"""How likely two distinct rows of this label, or any two for None, would be equal in all columns."""


def units(labels: np.ndarray, keys: np.ndarray, chance: Chance, *, classes: bool) -> np.ndarray:
    """The number of the group that each row belongs to, (n,) int64: rows of one group are copies, to be held out
    together. Groups are numbered in the order of labels and then keys.

    Args:
        labels, keys: (n,) of all rows. keys: ``row_keys``.
        chance: of rows of a class, or of all.
        classes: whether labels are, each of which may have been repeated on its own.
    """
    order = np.lexsort((keys, labels))
    sorted_labels, sorted_keys = labels[order], keys[order]
    other_label = np.append(True, sorted_labels[1:] != sorted_labels[:-1])
    begins = other_label | np.append(True, sorted_keys[1:] != sorted_keys[:-1])
    found = np.empty(len(labels), np.int64)
    if begins.all():
        found[order] = np.arange(len(labels))
        return found
    starts = np.flatnonzero(begins)
    counts = np.diff(np.append(starts, len(labels)))
    _, inverse, times = np.unique(sorted_keys[starts], return_inverse=True, return_counts=True)
    disputed = times[inverse] > 1
    parts = np.append(np.flatnonzero(other_label[starts]), len(starts)) if classes else np.array([0, len(starts)])
    size = np.full(len(starts), _times(counts))
    if size[0] > 1:
        parts = parts[:1]  # the whole table was repeated
    for first, last in zip(parts[:-1], parts[1:], strict=True):
        part = slice(first, last)
        label = float(sorted_labels[starts[first]]) if classes and last - first > NEIGHBOURS else None
        size[part] = _sizes(counts[part], disputed[part], partial(chance, label))
    group = np.cumsum(begins) - 1
    place = np.arange(len(labels)) - starts[group]
    found[order] = np.cumsum(place % size[group] == 0) - 1
    return found


def _sizes(counts: np.ndarray, disputed: np.ndarray, chance: Callable[[], float]) -> np.ndarray | int:
    """How many of the copies of each distinct row, ``counts`` (g,), form one group; some rows are ``disputed``."""
    if counts.max() == 1 or (common := _common(counts)).all():
        return 1
    if (times := _times(counts)) > 1:
        return times
    if disputed[counts > 1].mean() >= DISPUTED:
        return 1
    copied = 1 - len(counts) / counts.sum()
    together = min(len(counts) * chance(), 1.0) < LIKELY * copied
    return np.where(common, 1, counts) if together else 1


def _times(counts: np.ndarray) -> int:
    """How often the table was repeated, whatever its rows are; 1 where chance may have made its ``counts`` (g,)."""
    times = int(np.gcd.reduce(counts))
    # One number is always its own divisor.
    sure = times > 1 and (len(counts) - 1) * np.log(times) >= SURE and not _common(counts).all()
    return times if sure else 1


def _common(counts: np.ndarray) -> np.ndarray:
    """Which distinct rows count by themselves each time, by their ``counts`` (g,): see ``MOST_OF_ALL``."""
    share = max(MOST_OF_ALL, MOST_OF_FEW / len(counts)) if len(counts) > 1 else MOST_OF_ALL
    return np.asarray(counts > min(share * counts.sum(), MOST_OF_MEAN * counts.mean()))


def agreement(
    features: Features, labels: np.ndarray, keys: np.ndarray, hosts: Hosts, label: float | None = None
) -> float:
    """How likely two distinct rows of all hosts would be equal in all columns, were these independent of each other;
    or in those alone where one of them is not 0, where that is less.

    Columns of sparse rows are not independent: just one of those of a user is 1 in each row, and rows of zeros, by
    which independent columns are mostly equal, do not occur.

    Rows (n, d), labels and keys (n,) are of this host; of ``label``, or all, those of the lowest keys are compared.
    """
    asked = np.arange(len(keys)) if label is None else np.flatnonzero(labels == label)
    _, first = np.unique(keys[asked], return_index=True)
    lowest = asked[first[:COMPARED]]
    parts = hosts.gather([keys[lowest], packed(features[lowest])])
    together = concatenate([Batch(unpacked(rows)) for _, rows in parts]).features
    _, first = np.unique(np.concatenate([of_host for of_host, _ in parts]), return_index=True)
    rows = together[first[:COMPARED]]
    return min(_in_all_columns(rows), _where_not_zero(rows))


def _in_all_columns(rows: Features) -> float:
    pairs, differ = 0, np.zeros(rows.shape[1])
    for step in range(1, NEIGHBOURS + 1):
        if rows.shape[0] > step:
            one, other = rows[:-step], rows[step:]
            pairs += one.shape[0]
            differ += np.asarray((one != other).sum(axis=0)).ravel()
    return float(np.exp(np.log1p(-differ / (pairs + 1)).sum()))


def _where_not_zero(rows: Features) -> float:
    """The mean over rows (n, d) of the product of how many of the others have each of its values that are not 0."""
    sparse = sp.csr_array(rows)
    count = sparse.shape[0]
    cells = np.stack([sparse.indices.astype(np.uint64), _bits(sparse.data)])
    _, inverse, times = np.unique(cells, axis=1, return_inverse=True, return_counts=True)
    shares = (times - 1 + 1 / count) / (count - 1 + 1 / count)
    sums = np.bincount(np.repeat(np.arange(count), np.diff(sparse.indptr)), np.log(shares)[inverse.ravel()], count)
    return float(np.exp(sums).mean())
