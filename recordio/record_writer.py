"""Rows to RecordIO-protobuf: requests and training data as the SageMaker SDK writes them, and responses.

Rows of one width have frames of one length, so the frames of all rows are one structured array: the bytes that rows
have in common are set once, the numbers column by column. Sparse rows differ in length; compiled code (``_kernel.c``)
writes them one after the other, and where that was not built, each part of all frames is written at once. Integers,
which protobuf writes with 1 to 10 bytes each, go message by message.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import chain
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from recordio.batches import Features
from recordio.framing import HEADER, MAGIC, MAGIC_BYTES, MAX_LENGTH, frames, write_frame
from recordio.record_message import VALUES, identity, message, tensor_field
from recordio.text import REQUEST

kernel: ModuleType | None
try:
    from recordio import _kernel as kernel  # type: ignore[attr-defined,no-redef]  # built where there is a compiler
except ImportError:
    kernel = None

FEATURES, LABEL = 1, 2
"""Field numbers of the maps in Record."""

_FIELD_NUMBERS = {"float32_tensor": 2, "float64_tensor": 3}
"""Field numbers in Value of the tensors whose numbers have a fixed size."""


def encode_records(features: Features, labels: np.ndarray | None = None) -> bytes:
    """A record a row, byte for byte as the SageMaker SDK writes it.

    Parameters
    ----------
    features
        shape (n, d), dense or CSR. float32 and float64 keep their type; integers become int32 tensors.
    labels
        shape (n,) or (n, m), of the same types.

    Raises
    ------
    ValueError
        shapes or types do not fit.

    >>> encode_records(np.float32([[1.0, 2.0]])).hex(" ")
    '0a 23 d7 ce 18 00 00 00 0a 16 0a 06 76 61 6c 75 65 73 12 0c 12 0a 0a 08 00 00 80 3f 00 00 00 40'
    """
    if features.ndim != 2:
        raise ValueError(f"features must have shape (n, d), got {features.shape}")
    if labels is not None:
        labels = _two_dimensions(np.asarray(labels), len_of=features.shape[0], what="labels")
    if features.shape[0] == 0:
        return b""
    fixed = all(a is None or tensor_field(a.dtype) in _FIELD_NUMBERS for a in (features, labels))
    if sp.issparse(features):
        features = sp.csr_array(features)
    if not fixed or features.shape[1] == 0:
        return _encode_messages(features, labels)
    if isinstance(features, sp.csr_array):
        return _encode_sparse(features, labels)
    columns = [Column(FEATURES, VALUES, features)]
    if labels is not None:
        columns.append(Column(LABEL, VALUES, labels))
    return _encode_dense(columns)


def encode_columns(columns: Mapping[str, np.ndarray]) -> bytes:
    """A record a row, with results as named float32 tensors in its label map: the form of SageMaker's responses.

    Parameters
    ----------
    columns
        arrays of shape (n,) or (n, m), at least one.

    Raises
    ------
    ValueError
        the arrays differ in length, or there is none.

    >>> encode_columns({"projection": np.array([[0.5, -2.0]])}).hex(" ", 4)
    '0a23d7ce 1c000000 121a0a0a 70726f6a 65637469 6f6e120c 120a0a08 0000003f 000000c0'
    """
    if not columns:
        raise ValueError("a response needs at least one column")
    length = len(next(iter(columns.values())))
    return _encode_dense(
        [
            Column(LABEL, name, _two_dimensions(np.asarray(values, np.float32), len_of=length, what=name))
            for name, values in columns.items()
        ]
    )


def identified(answers: bytes, asked: bytes) -> bytes:
    """Answers, a record for each of those that were ``asked``, with their ``uid`` and ``metadata``.

    Both are RecordIO. Where the first record asked has neither, nothing is looked for in the others: most clients write
    neither, and small requests are many.
    """
    requests = frames(io.BytesIO(asked), REQUEST)
    if (first := identity(next(requests, b""), REQUEST)) == b"":
        return answers
    out = io.BytesIO()
    identities = chain([first], (identity(body, REQUEST) for body in requests))
    for body, own in zip(frames(io.BytesIO(answers), "answer"), identities, strict=True):
        write_frame(out, body + own)
    return out.getvalue()


class Column(NamedTuple):
    """A tensor of every record: the map it is in, its key there, and its numbers, shape (n, m)."""

    map: int
    key: str
    values: np.ndarray


def _two_dimensions(values: np.ndarray, *, len_of: int, what: str) -> np.ndarray:
    """``values`` with shape (n, m), checked to have as many rows as there are records."""
    if values.ndim not in (1, 2) or len(values) != len_of:
        raise ValueError(f"{what} must have shape ({len_of},) or ({len_of}, m), got {values.shape}")
    return values.reshape(len_of, -1) if values.size else values.reshape(len_of, 0)


# ---- dense rows ------------------------------------------------------------------------------------------------------


def _template(columns: Sequence[Column]) -> np.ndarray:
    """The frame of a record with these tensors, all numbers zero: a structured array of shape ().

    Its fields are the bytes before the numbers of column i (``head<i>``), the numbers (``values<i>``), and what pads
    the frame to a multiple of 4 bytes (``pad``). Only key, map, type and width of the columns are looked at.
    """
    heads = []
    length = 0
    for column in columns:
        size = column.values.itemsize * column.values.shape[1]
        head = _head(column, size)
        heads.append(head)
        length += len(head) + size
    if length > MAX_LENGTH:
        raise ValueError(f"a RecordIO frame holds at most {MAX_LENGTH} bytes, a row needs {length}")
    heads[0] = HEADER.pack(MAGIC, length) + heads[0]
    fields: list[tuple[Any, ...]] = []
    for i, (column, head) in enumerate(zip(columns, heads, strict=True)):
        fields.append((f"head{i}", np.uint8, (len(head),)))
        fields.append((f"values{i}", column.values.dtype.newbyteorder("<"), (column.values.shape[1],)))
    fields.append(("pad", np.uint8, (-length % 4,)))
    frame = np.zeros((), np.dtype(fields))
    for i, head in enumerate(heads):
        frame[f"head{i}"] = np.frombuffer(head, np.uint8)
    return frame


def _head(column: Column, size: int) -> bytes:
    """The bytes of a map entry before its ``size`` bytes of numbers, which end it."""
    key = column.key.encode()
    head = b"\x0a" + _varint(size)  # Tensor.values
    for field in (_FIELD_NUMBERS[tensor_field(column.values.dtype)], 2):  # Value.*_tensor, then the entry's value
        head = _tag(field) + _varint(len(head) + size) + head
    head = b"\x0a" + _varint(len(key)) + key + head  # the entry's key
    return _tag(column.map) + _varint(len(head) + size) + head


def _tag(field: int) -> bytes:
    """The tag of a field that holds bytes."""
    return bytes([field << 3 | 2])


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the upper bit says that there are more.

    >>> _varint(300)
    b'\\xac\\x02'
    """
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _encode_dense(columns: Sequence[Column]) -> bytes:
    frame = _template(columns)
    frames = np.empty(len(columns[0].values), frame.dtype)
    frames[:] = frame
    for i, column in enumerate(columns):
        frames[f"values{i}"] = column.values
    return frames.tobytes()


# ---- sparse rows -----------------------------------------------------------------------------------------------------


def _encode_sparse(features: sp.csr_array, labels: np.ndarray | None) -> bytes:
    """Frames of sparse rows. All lengths are known before a byte is written, from the innermost to the frame's own."""
    if (written := _compiled(features, labels)) is not None:
        return written
    counts = np.diff(features.indptr).astype(np.int64)
    filled = np.flatnonzero(counts)
    kind = _tag(_FIELD_NUMBERS[tensor_field(features.dtype)])
    shape = _varint(features.shape[1])
    key_sizes = _varint_sizes(features.indices)
    key_ends = np.concatenate([[0], np.cumsum(key_sizes)])
    value_bytes = counts * features.dtype.itemsize
    key_bytes = key_ends[features.indptr[1:]] - key_ends[features.indptr[:-1]]
    label = b""
    if labels is not None:
        label = _head(Column(LABEL, VALUES, labels), labels.itemsize * labels.shape[1])

    packed = 2 + _varint_sizes(value_bytes) + value_bytes + _varint_sizes(key_bytes) + key_bytes
    tensor = np.where(counts > 0, packed, 0) + 2 + len(shape)
    value = 1 + _varint_sizes(tensor) + tensor
    entry = len(VALUES) + 3 + _varint_sizes(value) + value
    body = 1 + _varint_sizes(entry) + entry + len(label)
    if labels is not None:
        body += labels.itemsize * labels.shape[1]
    if body.max() > MAX_LENGTH:
        raise ValueError(f"a RecordIO frame holds at most {MAX_LENGTH} bytes, a row needs {body.max()}")
    frames = HEADER.size + (body + 3) // 4 * 4
    ends = np.cumsum(frames)

    out = _Frames(int(ends[-1]), ends - frames)
    out.constant(MAGIC_BYTES)
    out.numbers(body.astype("<u4")[:, None])
    out.constant(_tag(FEATURES))
    out.varints(entry)
    out.constant(b"\x0a" + _varint(len(VALUES)) + VALUES.encode() + b"\x12")
    out.varints(value)
    out.constant(kind)
    out.varints(tensor)
    out.constant(b"\x0a", filled)
    out.varints(value_bytes, filled)
    out.ragged(features.data.astype(features.dtype.newbyteorder("<"), copy=False)[:, None].view(np.uint8), counts)
    out.constant(b"\x12", filled)
    out.varints(key_bytes, filled)
    out.ragged_varints(features.indices, key_sizes, key_bytes)
    out.constant(b"\x1a" + _varint(len(shape)) + shape)
    if labels is not None:
        out.constant(label)
        out.numbers(labels)
    return out.bytes.tobytes()


def _compiled(features: sp.csr_array, labels: np.ndarray | None) -> bytes | None:
    """The same by compiled code; None where there is none, and where a row is too large for a frame."""
    if kernel is None or features.shape[1] > 1 << 31 or features.nnz == 0:
        return None
    head = b"" if labels is None else _head(Column(LABEL, VALUES, labels), labels.itemsize * labels.shape[1])
    return kernel.sparse(
        _little_endian(features.data),
        features.dtype.itemsize,
        np.ascontiguousarray(features.indices, np.int32),
        np.ascontiguousarray(features.indptr, np.int64),
        features.shape[1],
        head,
        b"" if labels is None else _little_endian(labels),
        MAX_LENGTH,
    )


def _little_endian(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<"))


def _varint_sizes(numbers: np.ndarray) -> np.ndarray:
    """Bytes of each number as a varint."""
    sizes = np.ones(len(numbers), np.int64)
    limit, largest = 1 << 7, int(numbers.max(initial=0))
    while limit <= largest:
        sizes += numbers >= limit
        limit <<= 7
    return sizes


class _Frames:
    """Frames of many rows in one array of bytes, all written at the same time; ``at`` is where each row goes on."""

    def __init__(self, size: int, at: np.ndarray) -> None:
        self.bytes = np.zeros(size, np.uint8)
        self.at = at

    def constant(self, data: bytes, rows: np.ndarray | slice = slice(None)) -> None:
        """The same bytes to each of ``rows``."""
        at = self.at[rows]
        for i, byte in enumerate(data):
            self.bytes[at + i] = byte
        self.at[rows] += len(data)

    def numbers(self, values: np.ndarray) -> None:
        """Numbers of shape (n, m), little-endian: m to each row."""
        data = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        raw = data.view(np.uint8).reshape(len(data), -1)
        self.bytes[self.at[:, None] + np.arange(raw.shape[1])] = raw
        self.at += raw.shape[1]

    def varints(self, numbers: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        """One varint to each of ``rows``; ``numbers`` has one for every row."""
        self.at[rows] += self._write_varints(self.at[rows], numbers[rows])

    def ragged(self, items: np.ndarray, counts: np.ndarray) -> None:
        """Items of equal size, shape (sum of counts, size): ``counts[i]`` of them to row i."""
        size = items.shape[1]
        before = np.cumsum(counts) - counts
        at = np.repeat(self.at - before * size, counts) + np.arange(len(items)) * size
        for i in range(size):
            self.bytes[at + i] = items[:, i]
        self.at += counts * size

    def ragged_varints(self, numbers: np.ndarray, sizes: np.ndarray, row_bytes: np.ndarray) -> None:
        """Varints of ``sizes`` bytes, as many to row i as fill ``row_bytes[i]``."""
        ends = np.cumsum(sizes)
        row_ends = np.cumsum(row_bytes)
        counts = np.diff(np.searchsorted(ends, row_ends, side="right"), prepend=0)
        at = np.repeat(self.at - (row_ends - row_bytes), counts) + ends - sizes
        self._write_varints(at, numbers)
        self.at += row_bytes

    def _write_varints(self, at: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Write one varint at each position; their sizes."""
        left = numbers.astype(np.int64)
        sizes = np.zeros(len(left), np.int64)
        going = np.arange(len(left))
        while len(going):
            low, left = left & 0x7F, left >> 7
            more = left > 0
            self.bytes[at[going] + sizes[going]] = low | more.astype(np.int64) << 7
            sizes[going] += 1
            going, left = going[more], left[more]
        return sizes


# ---- any rows --------------------------------------------------------------------------------------------------------


def _encode_messages(features: Features, labels: np.ndarray | None) -> bytes:
    """Row by row, through protobuf messages."""
    width = features.shape[1]
    keys: np.ndarray | None
    stream = io.BytesIO()
    for i in range(features.shape[0]):
        if isinstance(features, np.ndarray):
            values, keys = features[i], None
        else:
            part = slice(features.indptr[i], features.indptr[i + 1])
            values, keys = features.data[part], features.indices[part]
        record = message(
            values, keys=keys, width=None if keys is None else width, labels=None if labels is None else labels[i]
        )
        write_frame(stream, record.SerializeToString())
    return stream.getvalue()
