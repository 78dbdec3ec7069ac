"""RecordIO-protobuf to batches, a chunk of records at a time.

Records that are laid out as every protobuf library lays them out become arrays all at once; each frame and each tag is
checked on the way. A record that is laid out otherwise is not refused: it takes the way through ``framing`` and
``record_message``, which know all that a record may be, alone, and the rows come out in their order. Whatever is wrong
with a record is found and named there too.

The fast way is compiled code (``_kernel.c``). Where that was not built, every record goes the other way: the same rows
and errors, at a hundredth of the speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import BinaryIO

import numpy as np
import scipy.sparse as sp

from recordio import framing, record_message
from recordio.batches import Batch, Features, without_zeros
from recordio.errors import RecordError
from recordio.rows import RowFormat

kernel: ModuleType | None
try:
    from recordio import _kernel as kernel  # type: ignore[attr-defined,no-redef]  # built where there is a compiler
except ImportError:
    kernel = None

_SLOW_START = 1 << 12
"""Bytes to try at once after a record that is out of the ordinary; more with each success. So a stream full of such
records is not looked at over and over."""

_LEAST_SPARSE = 24
"""Bytes of a sparse record without a value, its frame included; a label has one at least."""
_SPARSE_VALUE = 5
"""Bytes of a value of a sparse row and its key, where values are not the varints of integers. Of those fewer are read
at a time."""


def read_records(stream: BinaryIO, name: str, rows: RowFormat) -> Iterator[Batch]:
    """The rows of a stream, in batches as they come: each of about ``framing.CHUNK`` bytes of the stream.

    A batch is CSR where any of its records is sparse, with each row's columns sorted and unique. Its zeros, of sparse
    rows and of dense ones among them, are stored where ``rows.missing`` says that what is absent is missing, and left
    out elsewhere. Labels have shape (n,) where a record has one, else (n, m).

    Parameters
    ----------
    stream
        read from where it stands to its end; short reads are no trouble.
    name
        what error messages call it.
    rows
        what is expected of a row.

    Raises
    ------
    FrameError
        the framing is broken or cut short.
    RecordError
        a record is not what it should be.
    WidthError
        a row is not as wide as expected, or as the rows before it.
    ValueRangeError
        a label is NaN or infinite, or a feature where that is not allowed.
    """
    window = framing.Window(stream)
    reader = _Reader(window, name, rows)
    try:
        while window.start < window.stop or window.more():
            parts = reader.parts()
            if parts:
                yield _batch(parts, reader.layout, keep_zeros=rows.missing)
            elif not window.more():
                raise framing.truncated(window, reader.place)
    finally:
        window.close()


@dataclass
class _Layout:
    """What all rows of a stream have in common.

    Attributes
    ----------
    width
        number of features; -1 until the first record tells.
    labels
        number of labels of a record; -1 until the first record tells, 0 where they are left out.
    """

    width: int
    labels: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows that were read together.

    Attributes
    ----------
    values
        shape (n, width), float32; (nnz,) where the rows are sparse.
    indices
        shape (nnz,); None where the rows are dense.
    indptr
        shape (n + 1,); None where the rows are dense.
    labels
        shape (n, m), float32; None where they are left out.
    unsorted
        the indices of some row do not rise.
    """

    values: np.ndarray
    indices: np.ndarray | None
    indptr: np.ndarray | None
    labels: np.ndarray | None
    unsorted: bool

    def __len__(self) -> int:
        return len(self.values) if self.indptr is None else len(self.indptr) - 1


class _Reader:
    """Turns what is in a window into rows, the fast way or the slow way."""

    def __init__(self, window: framing.Window, name: str, rows: RowFormat) -> None:
        self._window = window
        self._name = name
        self._rows = rows
        self._done = 0
        self._pace = framing.CHUNK
        self.layout = _Layout(
            width=-1 if rows.feature_dim is None else rows.feature_dim, labels=-1 if rows.labels == "required" else 0
        )

    @property
    def place(self) -> framing.Place:
        """Where the next record stands."""
        return framing.Place(self._name, self._done, self._window.offset)

    def parts(self) -> list[_Part]:
        """Whole records up to a chunk's worth of bytes; none where the window holds only a piece of one."""
        parts: list[_Part] = []
        target = self._window.start + framing.CHUNK
        while self._window.start < min(target, self._window.stop):
            limit = min(target - self._window.start, self._pace)
            part = None if kernel is None else self._compiled(limit)
            if part is not None:
                self._pace = min(2 * self._pace, framing.CHUNK)
            else:
                part = self._slow()
                if part is None:  # what is out of the ordinary is the end of what has been read
                    break
                self._pace = _SLOW_START
            parts.append(part)
            self._done += len(part)
        return parts

    def _compiled(self, limit: int) -> _Part | None:
        """Records in the usual layout; None where the next one is not, or is not whole."""
        assert kernel is not None
        window, layout = self._window, self.layout
        with window.view[: window.stop] as view:
            first = kernel.first(view, window.start, layout.width, layout.labels)
            if first is None:
                return None
            stop, size, sparse, width, label_size = first
            limit = min(limit, window.stop - window.start)
            if sparse:  # room for as much as the bytes can hold: to count it first would take a quarter of the time
                count = 1 + limit // (_LEAST_SPARSE + label_size)
                values = np.empty(size + limit // _SPARSE_VALUE, np.float32)
                indices, indptr = np.empty(len(values), np.int32), np.empty(count + 1, np.int32)
            else:  # as many rows as there can be where all are like the first
                count = -(-limit // (stop - window.start))
                values, indices, indptr = np.empty((count, width), np.float32), None, None
            labels = np.empty((count, label_size), np.float32) if label_size else None
            filled, stop, unsorted = kernel.fill(
                view, window.start, limit, count, width, label_size, self._rows.finite, values, indices, indptr, labels
            )
        if not filled:
            return None
        self.layout = _Layout(width, label_size)
        window.start = stop
        if filled < count:
            values, indices, indptr, labels = _cut(filled, values, indices, indptr, labels)
        return _Part(values, indices, indptr, labels, unsorted)

    def _slow(self) -> _Part | None:
        """The next record, whatever its layout; None where it is not whole.

        Raises
        ------
        DataError
            there is something wrong with it.
        """
        window, layout, place = self._window, self.layout, self.place
        frame = framing.next_record(window.view, window.start, window.stop, place)
        if frame is None:
            return None
        record = record_message.parse(frame.body, place)
        row = record_message.row(record, self._rows, None if layout.width < 0 else layout.width, place)
        labels = None if row.labels is None else row.labels[None, :]
        if labels is not None and layout.labels not in (-1, labels.shape[1]):
            raise RecordError(f"{place}: has {labels.shape[1]} labels, the records before it have {layout.labels}")
        self.layout = _Layout(row.width, 0 if labels is None else labels.shape[1])
        window.start = frame.stop
        if row.keys is None:
            return _Part(row.values[None, :], None, None, labels, unsorted=False)
        indices = row.keys.astype(_index_dtype(row.width))
        return _Part(row.values, indices, np.array([0, len(indices)], np.int32), labels, unsorted=True)


def _cut(
    rows: int,
    values: np.ndarray,
    indices: np.ndarray | None,
    indptr: np.ndarray | None,
    labels: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """The first rows, in arrays that are given their unused memory back: rows are kept long after they were read."""
    if indices is not None and indptr is not None:
        indptr.resize(rows + 1, refcheck=False)
        indices.resize(int(indptr[-1]), refcheck=False)
        values.resize(int(indptr[-1]), refcheck=False)
    else:
        values.resize((rows, values.shape[1]), refcheck=False)
    if labels is not None:
        labels.resize((rows, labels.shape[1]), refcheck=False)
    return values, indices, indptr, labels


def _index_dtype(width: int) -> type[np.signedinteger]:
    return np.int32 if width < 1 << 31 else np.int64


def _batch(parts: list[_Part], layout: _Layout, *, keep_zeros: bool) -> Batch:
    """Parts in a row as one batch."""
    labels = _joined([part.labels for part in parts if part.labels is not None]) if layout.labels else None
    if labels is not None and labels.shape[1] == 1:
        labels = labels[:, 0]
    features: Features
    if any(part.indices is not None for part in parts):
        stored = _csr([_sparse(part) for part in parts], layout.width)
        features = stored if keep_zeros else without_zeros(stored)
    else:
        features = _joined([part.values for part in parts])
    return Batch(features, labels)


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _sparse(part: _Part) -> _Part:
    """Dense rows as sparse ones with every value stored, zeros too: absent and zero are not the same to all."""
    if part.indices is not None:
        return part
    count, width = part.values.shape
    indices = np.tile(np.arange(width, dtype=_index_dtype(width)), count)
    indptr = np.arange(count + 1, dtype=np.int64) * width
    return _Part(part.values.ravel(), indices, indptr, part.labels, unsorted=False)


def _csr(parts: list[_Part], width: int) -> sp.csr_array:
    """Sparse parts as one array with sorted and unique columns."""
    values = _joined([part.values for part in parts])
    indices = _joined([part.indices for part in parts if part.indices is not None])
    pointers = [part.indptr for part in parts if part.indptr is not None]
    indptr = pointers[0]
    if len(pointers) > 1:
        counts = [len(pointer) - 1 for pointer in pointers]
        sizes = np.array([pointer[-1] for pointer in pointers], np.int64)
        starts = np.concatenate([pointer[:-1] for pointer in pointers])
        indptr = np.append(starts + np.repeat(np.cumsum(sizes) - sizes, counts), sizes.sum())
        indptr = indptr.astype(indices.dtype if sizes.sum() < 1 << 31 else np.int64)
    features = sp.csr_array((values, indices, indptr), shape=(len(indptr) - 1, width))
    if any(part.unsorted for part in parts):
        features.sum_duplicates()
    else:
        features.has_canonical_format = True
    return features
