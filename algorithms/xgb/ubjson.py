"""Universal Binary JSON (https://ubjson.org, draft 12): the format of XGBoost's models, read without trust.

XGBoost's own reader does not check all that it reads: a damaged file can end the process. So every model is read here
first; what passes is well-formed.

    >>> loads(b"{i\\x01a[$i#i\\x03\\x01\\x02\\x03i\\x01bSi\\x02hi}")
    {'a': array([1, 2, 3], dtype=int8), 'b': 'hi'}
    >>> bytes(dumps({"b": ["hi", 5]}))
    b'{L\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01b[SL\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02hiL\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x05]}'
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from recordio.quoting import quoted

_NUMBERS = {"i": "b", "U": "B", "I": "h", "u": "H", "l": "i", "m": "I", "L": "q", "M": "Q", "d": "f", "D": "d"}
_FORMATS = {marker: struct.Struct(f">{code}") for marker, code in _NUMBERS.items()}
_LENGTHS = frozenset("iUIulmLM")
_CONSTANTS = {"Z": None, "T": True, "F": False}
_MARKERS = {np.dtype(f">{code}"): marker for marker, code in _NUMBERS.items() if marker in "iUIlLdD"}
_DEEPEST = 32  # XGBoost's documents are 9 deep
_FEW_VALUES, _BYTES_PER_VALUE = 10_000, 8
"""Most values outside of arrays: so many, and one more for each so many bytes of the document. A value takes up to 200
bytes of memory; a tree of one node has 23 values in 600 bytes."""


class UBJSONError(ValueError):
    """Bytes are not a UBJSON document."""


def loads(data: bytes | bytearray, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The document that ``data`` starts with: dicts, lists, strings, numbers, and typed arrays as numpy arrays.

    ``object_hook`` gives what stands for a dict, as for ``json.loads``.

    Raises:
        UBJSONError: ``data`` is cut off or malformed.
    """
    reader = _Reader(data, object_hook)
    return reader.value(reader.marker(), 0)


def dumps(document: Any) -> bytearray:
    """The document in UBJSON as XGBoost writes it: lengths and single integers in 8 bytes, and arrays with their type.

    Raises:
        TypeError: a value has no form in UBJSON.
    """
    out = bytearray()
    _write(document, out)
    return out


def float_arrays(data: bytes) -> Iterator[np.ndarray]:
    """The arrays of float32 in a document that ``dumps`` or XGBoost wrote, found by their headers, in a tenth of the
    time that reading the document takes. Other bytes that look like such a header may be among them.

        >>> [*float_arrays(dumps({"a": np.ones(2, np.float32), "b": [1.0]}))]
        [array([1., 1.], dtype='>f4')]
    """
    header, at = b"[$d#L", 0
    while (at := data.find(header, at)) >= 0:
        at += len(header)
        size = int.from_bytes(data[at : at + 8])
        if size <= (len(data) - at - 8) // 4:
            yield np.frombuffer(data, ">f4", size, at + 8)
            at += 8 + 4 * size


def _write(value: Any, out: bytearray) -> None:
    if isinstance(value, np.ndarray):
        big_endian = value.astype(value.dtype.newbyteorder(">"), copy=False)
        out += b"[$" + _MARKERS[big_endian.dtype].encode() + b"#" + _length(len(value))
        out += big_endian.tobytes()
    elif isinstance(value, dict):
        out += b"{"
        for key, inner in value.items():
            out += name(key)
            _write(inner, out)
        out += b"}"
    elif isinstance(value, list):
        out += b"["
        for inner in value:
            _write(inner, out)
        out += b"]"
    elif isinstance(value, str):
        encoded = value.encode()
        out += b"S" + _length(len(encoded)) + encoded
    elif value is None or isinstance(value, bool):
        out += {None: b"Z", True: b"T", False: b"F"}[value]
    elif isinstance(value, int):
        out += _length(value)
    elif isinstance(value, float):
        out += b"D" + struct.pack(">d", value)
    else:
        raise TypeError(f"a {type(value).__name__} has no form in UBJSON")


def name(text: str) -> bytes:
    """The name of a member of an object, as it is written before its value."""
    encoded = text.encode()
    return _length(len(encoded)) + encoded


def _length(number: int) -> bytes:
    try:
        return b"L" + struct.pack(">q", number)
    except struct.error:
        raise OverflowError(f"an integer of {number.bit_length()} bits") from None


class _Reader:
    def __init__(self, data: bytes | bytearray, object_hook: Callable[[dict[str, Any]], Any] | None) -> None:
        self._data, self._hook = data, object_hook
        self._at = 0
        self._loose = _FEW_VALUES + len(data) // _BYTES_PER_VALUE

    def _take(self, size: int) -> bytes | bytearray:
        start, end = self._at, self._at + size
        if size < 0 or end > len(self._data):
            raise UBJSONError(f"{size} bytes are announced at byte {start}, and {len(self._data) - start} are left")
        self._at = end
        return self._data[start:end]

    def marker(self) -> str:
        """The next type marker; no-op markers are skipped."""
        while (marker := chr(self._take(1)[0])) == "N":
            pass
        return marker

    def _peek(self) -> str:
        return chr(self._data[self._at]) if self._at < len(self._data) else ""

    def _number(self, marker: str) -> Any:
        form = _FORMATS[marker]
        return form.unpack(self._take(form.size))[0]

    def _length(self) -> int:
        marker = self.marker()
        if marker not in _LENGTHS:
            raise UBJSONError(f"byte {self._at - 1} is {marker!r}, and not the type of a length")
        return int(self._number(marker))

    def _string(self) -> str:
        start = self._at
        try:
            return self._take(self._length()).decode()
        except UnicodeDecodeError:
            raise UBJSONError(f"the string at byte {start} is not UTF-8") from None

    def value(self, marker: str, depth: int) -> Any:
        """The value whose marker was just read."""
        if depth > _DEEPEST:
            raise UBJSONError(f"the document is more than {_DEEPEST} levels deep")
        self._loose -= 1
        if self._loose < 0:
            raise UBJSONError(f"its {len(self._data)} bytes have more values outside of arrays than any model")
        if marker in _FORMATS:
            return self._number(marker)
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker in "SH":
            return self._string()
        if marker == "C":
            return chr(self._take(1)[0])
        if marker == "[":
            return self._array(depth + 1)
        if marker == "{":
            return self._object(depth + 1)
        raise UBJSONError(f"byte {self._at - 1} is {marker!r}, which no value starts with")

    def _container(self) -> tuple[str | None, int | None]:
        """Type and count of a container's items, where they are declared."""
        kind = None
        if self._peek() == "$":
            self._at += 1
            kind = self.marker()
            if self._peek() != "#":
                raise UBJSONError(f"a typed container without a count at byte {self._at}")
        if self._peek() != "#":
            return kind, None
        self._at += 1
        count = self._length()
        if kind in _CONSTANTS:  # they take no bytes: a short file could announce any number of them
            raise UBJSONError(f"a list of constants is announced at byte {self._at}")
        if not 0 <= count <= len(self._data):
            raise UBJSONError(f"{count} items are announced at byte {self._at}, and {len(self._data)} bytes are all")
        return kind, count

    def _array(self, depth: int) -> Any:
        kind, count = self._container()
        if kind in _FORMATS and count is not None:
            kind_of = np.dtype(_FORMATS[kind].format)
            return np.frombuffer(self._take(count * kind_of.itemsize), kind_of).astype(kind_of.newbyteorder("="))
        if count is not None:
            return [self.value(kind or self.marker(), depth) for _ in range(count)]
        items = []
        while (marker := self.marker()) != "]":
            items.append(self.value(marker, depth))
        return items

    def _object(self, depth: int) -> Any:
        kind, count = self._container()
        items: dict[str, Any] = {}
        while len(items) != count if count is not None else self._peek() != "}":
            start = self._at
            name = self._string()
            if name in items:
                raise UBJSONError(f"{quoted(name)} is given twice at byte {start}")
            items[name] = self.value(kind or self.marker(), depth)
        if count is None:
            self._at += 1
        return items if self._hook is None else self._hook(items)
