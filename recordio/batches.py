"""Batches of rows: what every reader yields and every algorithm takes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

Features: TypeAlias = "np.ndarray | sp.csr_array"
"""Rows of features, shape (n, d), float32: a C-contiguous array or a CSR array with sorted or unsorted columns."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows that travel together.

    Attributes
    ----------
    features
        shape (n, d), float32, dense (C order) or CSR. Never modified by who receives it.
    labels
        shape (n,) or (n, label_size), float32; None where the data has none.
    weights
        shape (n,), float32, instance weights; None where the data has none.
    groups
        shape (n,), int64, query ids of ranking data (libsvm ``qid``); None where the data has none.
    """

    features: Features
    labels: np.ndarray | None = None
    weights: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.features.shape[0])

    @property
    def feature_dim(self) -> int:
        """Number of features of each row."""
        return int(self.features.shape[1])

    @property
    def is_sparse(self) -> bool:
        """Whether the features are a CSR array."""
        return sp.issparse(self.features)

    def arrays(self) -> list[np.ndarray]:
        """All arrays that make up the batch."""
        features = self.features
        parts = [features] if isinstance(features, np.ndarray) else [features.data, features.indices, features.indptr]
        return parts + [part for part in (self.labels, self.weights, self.groups) if part is not None]

    def rows(self, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop``, as views except the row pointers of sparse features."""

        def cut(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[start:stop]

        features = self.features
        part = features[start:stop] if isinstance(features, np.ndarray) else _csr_rows(features, start, stop)
        return Batch(part, cut(self.labels), cut(self.weights), cut(self.groups))

    def taken(self, rows: np.ndarray) -> Batch:
        """The rows of these numbers, (m,) integers, or those for which a mask, (n,), is true; as copies."""
        parts = (None if part is None else part[rows] for part in (self.labels, self.weights, self.groups))
        return Batch(self.features[rows], *parts)


def _csr_rows(features: sp.csr_array, start: int, stop: int) -> sp.csr_array:
    """``features[start:stop]`` without a copy of the values, in a quarter of the time: small batches are many."""
    rows, width = features.shape
    start, stop = min(start, rows), min(stop, rows)
    first, last = features.indptr[start], features.indptr[stop]
    part = copy.copy(features)
    part.data, part.indices = features.data[first:last], features.indices[first:last]
    part.indptr = features.indptr[start : stop + 1] - first
    part.resize(stop - start, width)
    return part


def check_sparse(rows: Any) -> None:
    """See that a sparse array or matrix names no place outside of its shape: compiled code, of which turning it into
    another form is some, would read and write there.

    Raises
    ------
    ValueError
        It does.
    """
    if rows.format in ("csr", "csc", "bsr"):  # whoever makes one of another form is checked
        try:
            rows.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(f"the sparse rows are damaged: {error}") from error


def canonical(rows: sp.csr_array) -> sp.csr_array:
    """CSR rows in which each feature of a row stands once, and whose arrays are contiguous, as the readers give them:
    entries of the same place are summed. A copy where that changes anything; XGBoost's own reading of repeated entries
    is undefined, and it reads what lies between those of a slice, such as the columns that ``np.nonzero`` gives."""
    is_contiguous = all(part.flags.c_contiguous for part in (rows.data, rows.indices, rows.indptr))
    if is_contiguous and rows.has_canonical_format:
        return rows
    rows = rows.copy()
    rows.sum_duplicates()
    return rows


def without_zeros(rows: sp.csr_array) -> sp.csr_array:
    """CSR rows without the zeros that they store, where what is absent is 0: how many values are stored is to say
    how sparse rows are. A copy where there are some."""
    if rows.data.all():
        return rows
    rows = rows.copy()
    rows.eliminate_zeros()
    return rows


def concatenate(batches: list[Batch], *, keep_zeros: bool = False) -> Batch:
    """Join batches row-wise. Dense and sparse parts together become sparse, and as wide as the widest of them.

    Parameters
    ----------
    keep_zeros
        those of the dense parts are stored: what is absent is missing, and not 0.

    Raises
    ------
    ValueError
        where ``batches`` is empty or only some of them have labels, weights or groups.
    """
    if not batches:
        raise ValueError("concatenate needs at least one batch")
    if len(batches) == 1:
        return batches[0]

    def join(parts: list[np.ndarray | None], name: str) -> np.ndarray | None:
        present = [part for part in parts if part is not None]
        if not present:
            return None
        if len(present) != len(parts):
            raise ValueError(f"only some batches have {name}")
        return np.concatenate(present)

    features: Features
    if any(batch.is_sparse for batch in batches):
        width = max(batch.feature_dim for batch in batches)
        as_csr = _every_entry if keep_zeros else sp.csr_array
        parts = [batch.features if batch.is_sparse else as_csr(batch.features) for batch in batches]
        features = sp.vstack([widened(part, width) for part in parts], format="csr")
    else:
        features = np.concatenate([np.asarray(batch.features) for batch in batches])
    return Batch(
        features,
        join([batch.labels for batch in batches], "labels"),
        join([batch.weights for batch in batches], "weights"),
        join([batch.groups for batch in batches], "groups"),
    )


def _every_entry(dense: np.ndarray) -> sp.csr_array:
    """Dense rows as sparse ones that keep their zeros."""
    n, d = dense.shape
    return sp.csr_array((dense.ravel(), np.tile(np.arange(d), n), np.arange(n + 1) * d), shape=(n, d))


def widened(rows: sp.csr_array, width: int) -> sp.csr_array:
    """The same entries in rows of ``width`` features: LIBSVM's are only known to be as wide as the widest so far."""
    if rows.shape[1] == width:
        return rows
    return sp.csr_array((rows.data, rows.indices, rows.indptr), shape=(rows.shape[0], width))


def rebatch(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Cut a stream of batches of any sizes into batches of exactly ``size`` rows; the last may be shorter."""
    return cut(in_multiples(batches, size), size)


def in_multiples(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Batches of about the sizes they come in, made a whole number of times ``size`` rows; the last may have any.

    Never an empty batch: who computes means need not ask whether there are rows.
    """
    held: list[Batch] = []
    count = 0
    for batch in filter(len, batches):
        count += len(batch)
        rest = count % size
        if rest == count:
            held.append(batch)
        else:
            end = len(batch) - rest
            yield concatenate([*held, batch.rows(0, end) if rest else batch])
            held = [batch.rows(end, len(batch))] if rest else []
            count = rest
    if held:
        yield concatenate(held)


def cut(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Cut each batch into batches of ``size`` rows, the last of each the rest, without copying rows."""
    for batch in batches:
        if len(batch) <= size:
            yield batch
        else:
            yield from (batch.rows(start, start + size) for start in range(0, len(batch), size))
