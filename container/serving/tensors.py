"""Tensors of the open inference protocol to what models take, and named values to tensors.

A tensor comes as JSON, nested or flat, or as raw bytes (the binary extension): little-endian numbers in C order, and
for BYTES a length of four bytes before each element.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from algorithms.interface import IMAGES, TEXTS, Items, Serving
from container.serving import media
from recordio.batches import Batch
from recordio.errors import ParseError, WidthError
from recordio.rows import first_non_finite, not_finite

BYTES = "BYTES"
DTYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""NumPy's types by the protocol's names."""

_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Tensor:
    """Attributes:
    values: of the tensor's shape; for BYTES a list of bytes, flat.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Any


def read(described: Any, raw: bytes | None) -> Tensor:
    """A tensor of a request. ``raw`` is its content where that is binary, else it is in ``described["data"]``.

    Raises:
        ParseError: it is not what it claims to be.
    """
    name, datatype, shape = described.get("name"), described.get("datatype"), described.get("shape")
    if not isinstance(name, str):
        raise ParseError('an input has no "name"')
    place = f"input '{name[:100]}'"
    if datatype != BYTES and datatype not in DTYPES:
        raise ParseError(f"{place}: datatype {json.dumps(datatype)[:40]} is not one of {', '.join(DTYPES)}, {BYTES}")
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(map(_is_length, shape)):
        raise ParseError(f'{place}: "shape" must be a list of up to {_MOST_DIMENSIONS} lengths')
    count = math.prod(shape)
    if raw is None:
        values = _of_json(described.get("data"), datatype, count, place)
    else:
        values = _of_bytes(raw, datatype, count, place)
    if datatype != BYTES:
        values = values.reshape(shape)
    return Tensor(name, datatype, tuple(shape), values)


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _of_json(data: Any, datatype: str, count: int, place: str) -> Any:
    if not isinstance(data, list):
        raise ParseError(f'{place}: "data" must be a list')
    for _ in range(_MOST_DIMENSIONS):
        if not data or not isinstance(data[0], list):
            break
        if not all(isinstance(part, list) for part in data):
            raise ParseError(f'{place}: "data" mixes lists and values')
        data = list(chain.from_iterable(data))
    if len(data) != count:
        raise ParseError(f"{place}: {len(data)} values for a shape of {count}")
    kinds = set(map(type, data))
    if datatype == BYTES:
        if not kinds <= {str}:
            raise ParseError(f"{place}: elements of {BYTES} are texts in JSON")
        return [value.encode("utf-8", "surrogatepass") for value in data]
    if not kinds <= ({bool} if datatype == "BOOL" else {int, float}):
        raise ParseError(f"{place}: a value is not of {datatype}")
    try:
        with np.errstate(over="ignore"):
            return np.array(data, DTYPES[datatype])
    except (OverflowError, ValueError):
        raise ParseError(f"{place}: a value is beyond {datatype}") from None


def _of_bytes(raw: bytes, datatype: str, count: int, place: str) -> Any:
    if datatype != BYTES:
        dtype = DTYPES[datatype]
        if len(raw) != count * dtype.itemsize:
            raise ParseError(f"{place}: {len(raw)} bytes for {count} values of {dtype.itemsize}")
        return np.frombuffer(raw, dtype)
    found: list[bytes] = []
    position = 0
    while position < len(raw):
        length = int.from_bytes(raw[position : position + 4], "little")
        if position + 4 + length > len(raw):
            raise ParseError(f"{place}: element {len(found)} is cut short")
        found.append(raw[position + 4 : position + 4 + length])
        position += 4 + length
    if len(found) != count:
        raise ParseError(f"{place}: {len(found)} elements for a shape of {count}")
    return found


def batch(tensor: Tensor, serving: Serving, feature_dim: int | None) -> Batch | Items:
    """The rows, images or texts of a tensor, for a model to predict.

    Raises:
        DataError: the tensor is of another kind or shape, or has a value that rows may not have.
    """
    if serving.takes == TEXTS:
        if tensor.datatype != BYTES:
            raise ParseError(f"input '{tensor.name}' must be {BYTES}, a text an element, and is {tensor.datatype}")
        return Items([_decoded(value, tensor.name) for value in tensor.values])
    if serving.takes == IMAGES:
        return Items(_images(tensor))
    if tensor.datatype == BYTES or len(tensor.shape) != 2:
        raise ParseError(
            f"input '{tensor.name}' must be numbers of shape (rows, features), and is {_described(tensor)}"
        )
    if feature_dim not in (None, tensor.shape[1]):
        raise WidthError(f"input '{tensor.name}' has {tensor.shape[1]} features, but feature_dim is {feature_dim}")
    with np.errstate(over="ignore"):
        rows = Batch(np.ascontiguousarray(tensor.values, np.float32))
    missing = np.isnan(rows.features) if serving.missing_values else None
    if wrong := first_non_finite(rows.features, missing):
        raise not_finite(f"row {wrong[0]}", float(rows.features[wrong]), f"feature {wrong[1]}")
    media.check_finite(rows, serving)
    return rows


def _decoded(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ParseError(f"input '{name}' has a text that is not UTF-8") from None


def _images(tensor: Tensor) -> Sequence[Any]:
    """Files, or pixels from 0 to 255 in the order rows, columns, channels."""
    if tensor.datatype == BYTES:
        return [bytes(value) for value in tensor.values]
    if len(tensor.shape) != 4 or tensor.datatype not in ("UINT8", "FP32"):
        raise ParseError(
            f"input '{tensor.name}' must be {BYTES}, a file an element, or UINT8 or FP32 of shape (images, height, "
            f"width, channels), and is {_described(tensor)}"
        )
    values = tensor.values
    if tensor.datatype == "FP32":
        if not ((values >= 0) & (values <= 255)).all():
            raise ParseError(f"input '{tensor.name}' has pixels that are not from 0 to 255")
        values = np.rint(values).astype(np.uint8)
    return list(values)


def _described(tensor: Tensor) -> str:
    return f"{tensor.datatype} of shape {list(tensor.shape)}"


def written(name: str, values: Any) -> Tensor:
    """Named values of a model as a tensor: numbers as they are; texts, and what has another length in each item, as
    BYTES, the latter in JSON."""
    if isinstance(values, np.ndarray):
        datatype = next((known for known, dtype in DTYPES.items() if dtype == values.dtype), None)
        if datatype is None:
            datatype, values = "FP32", values.astype(np.float32)
        return Tensor(name, datatype, values.shape, values)
    plain = [
        value if isinstance(value, str) else json.dumps(None if value is None else value.tolist()) for value in values
    ]
    return Tensor(name, BYTES, (len(plain),), [text.encode() for text in plain])


def to_json(tensor: Tensor) -> list[Any]:
    """The values as JSON has them, flat; NaN and infinities as Python writes them."""
    if tensor.datatype == BYTES:
        return [value.decode("utf-8", "replace") for value in tensor.values]
    if tensor.datatype == "FP32":  # the fewest digits that give the same number back
        return [float(text) for text in tensor.values.ravel().astype(str)]
    flat: list[Any] = tensor.values.ravel().tolist()
    return flat


def to_bytes(tensor: Tensor) -> bytes:
    """The values in the binary form."""
    if tensor.datatype == BYTES:
        return b"".join(len(value).to_bytes(4, "little") + value for value in tensor.values)
    return bytes(np.ascontiguousarray(tensor.values, DTYPES[tensor.datatype]).tobytes())


def columns(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """All named values of a model as tensors."""
    return {name: written(name, value) for name, value in values.items()}
