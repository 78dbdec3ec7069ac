"""Files of safetensors: named arrays and nothing that could be run, unlike the pickles of PyTorch.

    file = u64 length of the header, JSON header, bytes of the arrays             all little endian
    header = {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …, "__metadata__": {…}}

Source: the README of github.com/huggingface/safetensors.

    >>> header = b'{"w": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}'
    >>> load(len(header).to_bytes(8, "little") + header + np.float16([1, 2]).tobytes(), "a file")
    {'w': array([1., 2.], dtype=float32)}

The arrays lie one after the other and leave no byte out, as that README asks for: so each byte is read once, whatever
the header claims, and of two arrays of one name, of which JSON keeps the last, the other's bytes are missed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from algorithms.common.documents import read_json
from algorithms.errors import ModelError
from recordio.limits import LONGEST_ARRAYS_HEADER

_LENGTH = 8
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_MOST_DIMENSIONS = 8
_SHOWN = 80
_SIXTEEN = 16
"""Bits that a bfloat16 lacks at the end of a float32."""


def load(content: bytes, name: str) -> dict[str, np.ndarray]:
    """The arrays of floating point numbers, as float32; those of integers, such as counters, are left out.

    Args:
        name: what errors call the file.

    Raises:
        ModelError: it is no such file, is cut short, or has arrays that overlap or leave bytes out.
    """
    length = int.from_bytes(content[:_LENGTH], "little")
    start = _LENGTH + length
    if len(content) < _LENGTH or start > len(content):
        raise ModelError(f"'{name}' is not a safetensors file, or is cut short")
    if length > LONGEST_ARRAYS_HEADER:
        raise ModelError(f"'{name}' has a header of {length:,} bytes; {LONGEST_ARRAYS_HEADER:,} are the most here")
    header = read_json(content[_LENGTH:start], f"{name}: header")
    if not isinstance(header, dict):
        raise ModelError(f"'{name}' is not a safetensors file: its header is no object")
    data = memoryview(content)[start:]
    entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
    try:
        _check_places(entries, len(data))
        return {key: _array(entry, data) for key, entry in entries.items() if entry["dtype"] in _FLOATS}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"'{name}' is not a safetensors file that can be used: {error!r}") from None


def _check_places(entries: Mapping[str, Mapping[str, Any]], size: int) -> None:
    at = 0
    for begin, end in sorted(entry["data_offsets"] for entry in entries.values()):
        if type(begin) is not int or type(end) is not int or begin != at or end < begin:
            raise ValueError(f"an array from byte {str(begin)[:_SHOWN]} to {str(end)[:_SHOWN]}, not from byte {at}")
        at = end
    if at != size:
        raise ValueError(f"arrays up to byte {str(at)[:_SHOWN]}, and there are {size}")


def _array(entry: Mapping[str, Any], data: memoryview) -> np.ndarray:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    stored = np.dtype(_FLOATS[dtype])
    if len(shape) > _MOST_DIMENSIONS or any(type(number) is not int or number < 0 for number in shape):
        raise ValueError(f"a shape of {str(shape)[:_SHOWN]}")
    if end - begin != math.prod(shape) * stored.itemsize:
        raise ValueError(f"bytes {begin} to {end} are not {str(shape)[:_SHOWN]} of {dtype}")
    values = np.frombuffer(data[begin:end], stored)
    if dtype == "BF16":
        return (values.astype("<u4") << _SIXTEEN).view("<f4").reshape(shape)
    with np.errstate(over="ignore"):
        return values.astype(np.float32).reshape(shape)
