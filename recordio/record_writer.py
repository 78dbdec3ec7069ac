"""Rows to RecordIO-protobuf: requests and training data as the SageMaker SDK writes them, and responses.

Rows of one width have frames of one length, so the frames of all rows are one structured array: the bytes that rows
have in common are set once, the numbers column by column. Sparse rows differ in length: compiled code (``_kernel.c``)
writes them one after the other. Where that was not built they go message by message, as integers do, which protobuf
writes with 1 to 10 bytes each.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from itertools import chain
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from recordio.batches import Features
from recordio.framing import HEADER, MAGIC, MAX_LENGTH, frames, write_frame
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
        return _compiled(features, labels) or _encode_messages(features, labels)
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
    head = b"\x0a" + varint(size)  # Tensor.values
    for field in (_FIELD_NUMBERS[tensor_field(column.values.dtype)], 2):  # Value.*_tensor, then the entry's value
        head = _tag(field) + varint(len(head) + size) + head
    head = b"\x0a" + varint(len(key)) + key + head  # the entry's key
    return _tag(column.map) + varint(len(head) + size) + head


def _tag(field: int) -> bytes:
    """The tag of a field that holds bytes."""
    return bytes([field << 3 | 2])


@functools.lru_cache(1 << 16)
def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the upper bit says that there are more. A negative number has 64 bits.

    >>> varint(300)
    b'\\xac\\x02'
    """
    number &= (1 << 64) - 1
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


def _compiled(features: sp.csr_array, labels: np.ndarray | None) -> bytes | None:
    """Frames of sparse rows by compiled code; None where there is none, and where a row is too large for a frame."""
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
