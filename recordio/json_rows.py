"""``application/json`` and ``application/jsonlines``: the request forms of SageMaker's built-in algorithms.

JSON is ``{"instances": [instance, ...]}``; JSON Lines has an instance on each line. An instance is one of

    {"features": [1.5, 16.0, 14.0]}
    {"data": {"features": {"values": [1.5, 16.0, 14.0]}}}
    {"data": {"features": {"keys": [0, 26], "shape": [2000], "values": [1.5, 14.0]}}}

The last is sparse; without keys, or with ``[]`` for them, its values are those of a dense row, as in RecordIO-protobuf.
What stands for ``features`` may be either, a list or an object, with or without ``data`` around it. Source: "Common
data formats for inference" of the SageMaker developer guide. An object has the form of the protocol buffers' tensor, it
says: keys and shape may be text, as protobuf's own JSON writes 64-bit integers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import numpy as np
import scipy.sparse as sp

from recordio import text_kernel
from recordio.batches import Batch
from recordio.content_type import ContentType
from recordio.errors import DataError, ParseError, RaggedRowError, ValueRangeError, WidthError
from recordio.rows import RowFormat, first_non_finite, not_finite
from recordio.text import REQUEST, integer, real, shown

_COUNT = re.compile("[0-9]{1,10}")
_EXACT = 1 << 53
"""Integers up to here are float64."""

_FORMS = (
    '{"features": [...]}, {"data": {"features": {"values": [...]}}} or '
    '{"data": {"features": {"keys": [...], "shape": [n], "values": [...]}}}'
)


def decode_json(body: bytes, rows: RowFormat, content_type: ContentType) -> Iterator[Batch]:
    """Read the instances of a JSON request; ``content_type`` says nothing, since JSON is Unicode.

    Raises
    ------
    ParseError, RaggedRowError, WidthError, ValueRangeError
        each names the instance, counted from 0.
    """
    if (plain := _plain(body, rows, lines=False)) is not None:
        yield plain
        return
    document = _loads(body, REQUEST)
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list):
        keys = f" with {_entries(document)}" if isinstance(document, dict) else ""
        raise ParseError(f'{REQUEST}: expected {{"instances": [...]}}, found {_shown(document)}{keys}')
    yield from _decode((_instance(f"instance {number}", instance) for number, instance in enumerate(instances)), rows)


def decode_json_lines(body: bytes, rows: RowFormat, content_type: ContentType) -> Iterator[Batch]:
    """Read the instances of a JSON Lines request; blank lines are skipped. Errors as for ``decode_json``."""
    if (plain := _plain(body, rows, lines=True)) is not None:
        yield plain
        return
    lines = ((f"line {number}", line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip())
    yield from _decode((_instance(place, _loads(line, f"{REQUEST}, {place}")) for place, line in lines), rows)


def _plain(body: bytes, rows: RowFormat, *, lines: bool) -> Batch | None:
    """The rows of a request of dense numbers alone, by compiled code; None for any other, right or wrong."""
    values = text_kernel.instances(body, lines)
    return None if values is None or rows.feature_dim not in (None, values.shape[1]) else Batch(values)


def _loads(text: bytes, place: str) -> Any:
    """What a JSON text says; each number with a point or exponent is the nearest float32."""
    try:
        try:
            return json.loads(text, parse_float=real)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of more digits than Python takes: seldom, and a call for each is slow
            return json.loads(text, parse_float=real, parse_int=integer)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"{place}: {shown(text)} is not JSON: {error}") from error


class _Instance(NamedTuple):
    """One row: its place for messages, its values, and for a sparse one its keys and width."""

    place: str
    values: list[Any]
    keys: list[Any] | None
    width: int | None


def _instance(place: str, instance: Any) -> _Instance:
    """Find the lists in an instance."""
    place = f"{REQUEST}, {place}"
    features = _features(instance)
    if features is None:
        features = _features(instance.get("data")) if isinstance(instance, dict) else None
    if isinstance(features, list):
        return _Instance(place, features, None, None)
    values = features.get("values") if isinstance(features, dict) else None
    if not isinstance(features, dict) or not isinstance(values, list):
        raise ParseError(f"{place}: an instance must be {_FORMS}")
    keys, shape = features.get("keys"), features.get("shape")
    if keys is not None and not isinstance(keys, list):
        raise ParseError(f"{place}: 'keys' must be a list of integers and is {_shown(keys)}")
    if keys == [] and values:
        keys = None
    return _Instance(place, values, keys, None if shape in (None, []) else _width(shape, place))


def _features(instance: Any) -> Any:
    """What an object has under this name; None where it has nothing, or is none."""
    return instance.get("features") if isinstance(instance, dict) else None


def _count(value: Any) -> Any:
    """The number that a text such as ``"130"`` says; anything else as it is."""
    return int(value) if isinstance(value, str) and _COUNT.fullmatch(value) else value


def _width(shape: Any, place: str) -> int:
    """The number in a shape."""
    size = _count(shape[0]) if isinstance(shape, list) and len(shape) == 1 else None
    if type(size) is not int or not 0 < size < 2**31:
        raise ParseError(f"{place}: 'shape' must be a list of one positive integer and is {_shown_list(shape)}")
    return size


def _decode(instances: Iterable[_Instance], rows: RowFormat) -> Iterator[Batch]:
    found = list(instances)
    if not found:
        return
    widths = [_own_width(instance, rows) for instance in found]
    for instance, width in zip(found, widths, strict=True):
        if width != widths[0]:
            raise RaggedRowError(f"{instance.place}: {width} features, but the instances before it have {widths[0]}")
    values = _values(found, rows)
    if all(instance.keys is None for instance in found):
        yield Batch(values.reshape(len(found), widths[0]))
    else:
        yield Batch(_sparse(found, values, widths[0]))


def _own_width(instance: _Instance, rows: RowFormat) -> int:
    """Number of features of an instance; its lists fit each other."""
    place, values, keys, stated = instance
    width = stated if stated is not None else len(values) if keys is None else rows.feature_dim
    if width is None:
        raise ParseError(f"{place}: a sparse instance needs 'shape'")
    if len(values) != (width if keys is None else len(keys)):
        raise ParseError(f"{place}: {len(values)} values for {width if keys is None else len(keys)} places")
    if width == 0:
        raise ParseError(f"{place}: there are no features")
    if rows.feature_dim not in (None, width):
        raise WidthError(f"{place}: {width} features, but feature_dim is {rows.feature_dim}")
    return width


def _values(instances: list[_Instance], rows: RowFormat) -> np.ndarray:
    """The values of all instances one after the other, float32, with NaN for null."""
    flat = list(chain.from_iterable(instance.values for instance in instances))
    kinds = set(map(type, flat))
    missing = None
    if rows.missing and type(None) in kinds:
        missing = np.array([value is None for value in flat])
        flat = [float("nan") if value is None else value for value in flat]
        kinds.remove(type(None))
    try:
        if not kinds <= {int, float}:
            raise ParseError("a value is not a number")
        values = _float32(flat, int in kinds)
    except ParseError:
        _explain(instances, rows)
    if rows.finite and (wrong := first_non_finite(values, missing)):
        place, index = _locate(instances, wrong[0])
        raise not_finite(place, float(values[wrong]), f"value {index}")
    return values


def _float32(numbers: list[int | float], integers: bool) -> np.ndarray:
    """Numbers, each an integer or a float32, as float32. Integers beyond float64's are rounded once, from their digits;
    NumPy makes them float64 first, and takes none beyond its range."""
    with np.errstate(over="ignore"):
        try:
            values = np.array(numbers, np.float32)
        except OverflowError:
            return np.array([real(str(one)) if type(one) is int else one for one in numbers], np.float32)
        if integers:
            for index in np.flatnonzero(np.abs(values) >= _EXACT).tolist():
                if type(numbers[index]) is int:
                    values[index] = real(str(numbers[index]))
    return values


def _sparse(instances: list[_Instance], values: np.ndarray, width: int) -> sp.csr_array:
    """CSR rows; dense instances among sparse ones keep their zeros as entries."""
    keys = [range(width) if instance.keys is None else _keys(instance, width) for instance in instances]
    bounds = np.zeros(len(keys) + 1, np.int32)
    np.cumsum([len(row) for row in keys], out=bounds[1:])
    indices = np.fromiter(chain.from_iterable(keys), np.int32, int(bounds[-1]))
    return sp.csr_array((values, indices, bounds), shape=(len(keys), width))


def _keys(instance: _Instance, width: int) -> list[int]:
    keys = instance.keys or []
    if str in set(map(type, keys)):
        keys = list(map(_count, keys))
    for key in keys:
        if type(key) is not int or not 0 <= key < width:
            raise ParseError(f"{instance.place}: the key {_shown(key)} is not an integer from 0 to {width - 1}")
    if len(set(keys)) != len(keys):
        raise ParseError(f"{instance.place}: a key appears twice")
    return keys


def _locate(instances: list[_Instance], position: int) -> tuple[str, int]:
    """The instance and the index within it of a position in the values of all."""
    for instance in instances:
        if position < len(instance.values):
            return instance.place, position
        position -= len(instance.values)
    raise IndexError(position)


def _explain(instances: list[_Instance], rows: RowFormat) -> NoReturn:
    """Find the value that is not a number, and raise for it."""
    for place, values, _, _ in instances:
        for index, value in enumerate(values):
            if value is None and not rows.missing:
                raise ValueRangeError(f"{place}: value {index} is missing (null)")
            if value is not None and type(value) not in (int, float):
                raise ParseError(f"{place}: value {index} is {_shown(value)}, not a number")
    raise DataError(f"{REQUEST}: a value is not a number")


def _shown_list(value: Any) -> str:
    """A short list with what is in it, for an error message."""
    return f"[{_shown(value[0])}]" if isinstance(value, list) and len(value) == 1 else _shown(value)


def _entries(document: dict[str, Any]) -> str:
    """What an object without a list ``instances`` has instead, for an error message."""
    if "instances" in document:
        return f"instances that are {_shown(document['instances'])}"
    first = next(iter(document), None)
    return "no keys" if first is None else f"the key {shown(first.encode('utf-8', 'replace'))}"


def _shown(value: Any) -> str:
    """A JSON value for an error message."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    return shown(json.dumps(value).encode())
