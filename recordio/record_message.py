"""One Record message to one row, and back: the reference, and the path of records that are out of the ordinary.

What a record means is said here once; the fast paths of ``record_reader`` and ``record_writer`` are tested to agree
with it.

* Features are the entry ``values`` of the feature map, labels that of the label map; other entries are skipped.
* A tensor with keys is sparse: ``keys[i]`` is the position of ``values[i]``, in any order. A key that comes twice adds
  up, as in any product with a sparse matrix. Without keys and values, but with a shape, it is an all-zero sparse row.
* A tensor with values and no keys is dense. A shape, where given, must agree with the number of values.
* The width of a row is the product of its shape. A sparse row may leave the shape out where the width is known
  otherwise, from the number of features that is expected or from the records before it.
* float64 and int32 tensors are rounded to float32.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from recordio import record_pb2
from recordio.errors import RecordError, WidthError
from recordio.framing import Place
from recordio.rows import RowFormat, not_finite

Record: Any = record_pb2.Record  # type: ignore[attr-defined]  # made when the module is imported
"""The message class. Its fields are those of ``record.proto``."""

VALUES = "values"
"""The key of the feature and label maps that training data use."""

_FIELDS: dict[str, np.dtype] = {
    "float32_tensor": np.dtype(np.float32),
    "float64_tensor": np.dtype(np.float64),
    "int32_tensor": np.dtype(np.int32),
}


class Tensor(NamedTuple):
    """The numbers of one map entry, as they stand in the message.

    Attributes
    ----------
    values
        shape (k,), float32, float64 or int32.
    keys
        shape (k,), uint64, positions of the values; empty where the tensor is dense.
    shape
        empty where the message has none.
    """

    values: np.ndarray
    keys: np.ndarray
    shape: tuple[int, ...]


class Row(NamedTuple):
    """One row.

    Attributes
    ----------
    values
        shape (k,), float32.
    keys
        shape (k,), int64, unsorted; None where the row is dense and k is its width.
    width
        number of features.
    labels
        shape (m,), float32; None where they were not asked for.
    """

    values: np.ndarray
    keys: np.ndarray | None
    width: int
    labels: np.ndarray | None


def parse(body: bytes, place: Place | str) -> Any:
    """The message in the bytes of a record.

    Raises
    ------
    RecordError
        the bytes are not a Record message.
    """
    record = Record()
    try:
        record.ParseFromString(body)
    except DecodeError:
        raise RecordError(
            f"{place}: its {len(body)} bytes cannot be read as SageMaker's protobuf message Record"
        ) from None
    return record


def identity(body: bytes, place: Place | str) -> bytes:
    """The fields ``uid`` and ``metadata`` of a record, as they stand in the message; empty where it has neither.

    Raises
    ------
    RecordError
        the bytes are not a Record message.

    >>> identity(Record(uid="abc", configuration="{}").SerializeToString(), "here")
    b'\\x1a\\x03abc'
    """
    record = parse(body, place)
    for field in ("features", "label", "configuration"):
        record.ClearField(field)
    record.DiscardUnknownFields()
    found: bytes = record.SerializeToString()
    return found


def tensor(value: Any, what: str, place: Place) -> Tensor:
    """The numbers of a map entry.

    Raises
    ------
    RecordError
        there are none, because the entry is empty or holds bytes.
    """
    field = value.WhichOneof("value")
    if field not in _FIELDS:
        holds = "bytes" if field == "bytes" else "nothing"
        raise RecordError(f"{place}: {what} holds {holds}, expected a tensor of numbers ({', '.join(_FIELDS)})")
    message = getattr(value, field)
    return Tensor(
        np.array(message.values, _FIELDS[field]),
        np.array(message.keys, np.uint64),
        tuple(int(n) for n in message.shape),
    )


def row(record: Any, rows: RowFormat, width: int | None, place: Place) -> Row:
    """The row of a record; ``width`` is that of the records before it, None where there are none.

    Raises
    ------
    RecordError
        it has no features or lacks its labels, or its tensors contradict themselves.
    WidthError
        it has another width than ``rows.feature_dim`` or ``width``, or a key lies outside of it.
    ValueRangeError
        a label is NaN or infinite, or a feature where that is not allowed.
    """
    if VALUES not in record.features:
        names = ", ".join(sorted(map(repr, record.features)))  # protobuf gives names that are not UTF-8 as bytes
        found = f"only {names}" if names else "no features at all"
        raise RecordError(f"{place}: expected features['values'], found {found}")
    features = _features(tensor(record.features[VALUES], "features['values']", place), rows, width, place)
    if rows.finite and not np.isfinite(features.values).all():
        at = _first_non_finite(features.values)
        number = at if features.keys is None else features.keys[at]
        raise not_finite(str(place), features.values[at], f"feature {number}")
    if rows.labels != "required":
        return features
    labels = _labels(record, place)
    if not np.isfinite(labels).all():
        at = _first_non_finite(labels)
        raise not_finite(str(place), labels[at], "the label" if len(labels) == 1 else f"label {at}")
    return features._replace(labels=labels)


def _first_non_finite(values: np.ndarray) -> int:
    return int(np.argmin(np.isfinite(values)))


def _features(found: Tensor, rows: RowFormat, width: int | None, place: Place) -> Row:
    """The features of a row. Errors as for ``row``."""
    count = len(found.values)
    sparse = bool(len(found.keys)) or (count == 0 and bool(found.shape))
    if sparse and len(found.keys) != count:
        raise RecordError(f"{place}: features['values'] has {len(found.keys)} keys for {count} values")
    own = math.prod(found.shape) if found.shape else None
    if not sparse:
        if count == 0:
            raise RecordError(f"{place}: features['values'] is empty: it has neither values nor a shape")
        if own is not None and own != count:
            raise RecordError(f"{place}: features['values'] has {count} values for the shape {list(found.shape)}")
        own = count
    expected = width if rows.feature_dim is None else rows.feature_dim
    if own is None and expected is None:
        raise RecordError(
            f"{place}: features['values'] is sparse and has no shape, so the number of features is unknown"
        )
    if own is None:
        own = expected
    assert own is not None
    if expected is not None and own != expected:
        wanted = "as in the records before it" if rows.feature_dim is None else "as feature_dim says"
        raise WidthError(f"{place}: has {own} features, expected {expected}, {wanted}")
    if not 0 < own < 1 << 63:
        raise RecordError(f"{place}: features['values'] has the shape {list(found.shape)}, which is not usable")
    if not sparse:
        return Row(_float32(found.values), None, own, None)
    if count and int(found.keys.max()) >= own:
        raise WidthError(f"{place}: the key {found.keys.max()} is out of range: there are {own} features, from 0")
    return Row(_float32(found.values), found.keys.astype(np.int64), own, None)


def _labels(record: Any, place: Place) -> np.ndarray:
    """The labels of a record, of which there must be one at least."""
    if VALUES not in record.label:
        raise RecordError(f"{place}: has no label['values'], and labels are required")
    found = tensor(record.label[VALUES], "label['values']", place)
    if len(found.keys):
        raise RecordError(f"{place}: label['values'] is sparse, expected a dense tensor")
    if len(found.values) == 0:
        raise RecordError(f"{place}: label['values'] is empty, and labels are required")
    if found.shape and math.prod(found.shape) != len(found.values):
        raise RecordError(f"{place}: label['values'] has {len(found.values)} values for the shape {list(found.shape)}")
    return _float32(found.values)


def _float32(values: np.ndarray) -> np.ndarray:
    """Rounded to float32; what is too large becomes infinite."""
    if values.dtype == np.float32:
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def message(
    values: np.ndarray, *, keys: np.ndarray | None = None, width: int | None = None, labels: np.ndarray | None = None
) -> Any:
    """The Record message of a row, as the SageMaker SDK makes it.

    Parameters
    ----------
    values
        shape (k,), float32, float64 or an integer type; its type decides the kind of tensor.
    keys
        shape (k,), positions of the values; None makes a dense tensor.
    width
        number of features, written as the shape.
    labels
        shape (m,), of the same types.

    Raises
    ------
    ValueError
        a type or an integer has no place in a Record.

    >>> message(np.float32([0.5]), keys=np.array([7]), width=9).features["values"].float32_tensor
    values: 0.5
    keys: 7
    shape: 9
    <BLANKLINE>
    """
    record = Record()
    features = _put(record.features[VALUES], values)
    if keys is not None:
        features.keys.extend(keys.tolist())
    if width is not None:
        features.shape.append(width)
    if labels is not None:
        _put(record.label[VALUES], labels)
    return record


def _put(value: Any, numbers: np.ndarray) -> Any:
    """Put numbers into a map entry; the tensor message that holds them."""
    field = tensor_field(numbers.dtype)
    found = getattr(value, field)
    found.SetInParent()
    found.values.extend(numbers.tolist())
    return found


def tensor_field(dtype: np.dtype) -> str:
    """The field of Value that holds numbers of a type.

    >>> tensor_field(np.dtype("int64"))
    'int32_tensor'

    Raises
    ------
    ValueError
        there is none.
    """
    if dtype.name in ("float32", "float64"):
        return f"{dtype.name}_tensor"
    if dtype.kind in "iu":
        return "int32_tensor"
    raise ValueError(f"a Record holds float32, float64 or integers, not {dtype}")
