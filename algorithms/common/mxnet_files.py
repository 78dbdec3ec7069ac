"""NDArray files, the artifact format of SageMaker's streaming algorithms, without MXNet.

``mx.nd.save`` writes a list or a dictionary of arrays; so does ``save``, byte for byte, and ``load`` reads every
version of the format that MXNet 1.9.1 reads. All numbers are little endian:

    file  = u64 0x112, u64 0, u64 count, array * count, u64 count of names (0 for a list), (u64 length, UTF-8) * names
    array = u32 magic, i32 storage, [shape of the values], shape, i32 device type, i32 device id, i32 dtype,
            [(i32 dtype, shape) of each index array], values in C order, [index arrays]     brackets: sparse only
    shape = i32 ndim, i64 dimension * ndim

Two older forms of an array have no storage field: V1 (own magic), and V0 (no magic, u32 dimensions).
Source: src/ndarray/ndarray.cc of apache/mxnet 1.9.1.

    >>> import io
    >>> file = io.BytesIO()
    >>> save(file, {"s": np.float32([1, 2])})
    >>> load(file.getvalue())
    {'s': array([1., 2.], dtype=float32)}
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np

from algorithms.errors import ModelError
from recordio.limits import LEAST_MODEL_MEMORY, MODEL_MEMORY_PER_BYTE

Arrays: TypeAlias = "list[np.ndarray] | dict[str, np.ndarray]"
Shape: TypeAlias = "tuple[int, ...]"

MODEL_FILE = "model_algo-1"
"""The name under which SageMaker's users expect the artifact, whatever the host that wrote it was called."""

_FILE_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DENSE, _ROW_SPARSE, _CSR = 0, 1, 2
_CPU = (1, 0)  # device type and id
_INDEX_ARRAYS = {_DENSE: 0, _ROW_SPARSE: 1, _CSR: 2}
_DTYPES = [np.dtype(f"<{code}") for code in ("f4", "f8", "f2", "u1", "i4", "i1", "i8", "?")]
_PART = 1 << 20  # numbers that are checked at a time
_MAX_NDIM = 32


def save(target: Path | str | BinaryIO, arrays: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> None:
    """Write arrays as ``mx.nd.save`` does: a mapping with its names in order, a sequence without names.

    Raises:
        ValueError: an array has no dimension, or a dtype that the format lacks.
    """
    if isinstance(target, (str, Path)):
        with Path(target).open("wb") as file:
            save(file, arrays)
        return
    names = [name.encode() for name in arrays] if isinstance(arrays, Mapping) else []
    values = list(arrays.values()) if isinstance(arrays, Mapping) else list(arrays)
    target.write(struct.pack("<QQQ", _FILE_MAGIC, 0, len(values)))
    for array in values:
        target.write(_header(array))
        target.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
    target.write(struct.pack("<Q", len(names)))
    for name in names:
        target.write(struct.pack("<Q", len(name)) + name)


def _header(array: np.ndarray) -> bytes:
    if array.ndim == 0 or array.dtype.newbyteorder("<") not in _DTYPES:
        raise ValueError(f"an NDArray file cannot hold an array of shape {array.shape} and dtype {array.dtype}")
    dtype = _DTYPES.index(array.dtype.newbyteorder("<"))
    return struct.pack(f"<Iii{array.ndim}qiii", _V2, _DENSE, array.ndim, *array.shape, *_CPU, dtype)


def load(source: Path | str | bytes) -> Arrays:
    """The arrays of an NDArray file, given by its path or its bytes. Sparse arrays are returned dense.

    Raises:
        ModelError: the file cannot be read, or is not a complete, consistent NDArray file.
    """
    with _naming(source):
        return _dense(*_parse(source, values=True))


def load_from(file: BinaryIO, size: int) -> Arrays:
    """As ``load``, of ``size`` bytes that are read once from the start, into the arrays themselves.

    Raises:
        ModelError: as ``load``.
    """
    with _naming(b""):
        return _dense(*_parse_file(_Cursor(file, size, values=True)))


def _dense(stored: list[_Stored], names: list[str]) -> Arrays:
    _refuse_expansion(stored)
    arrays = [item.dense() for item in stored]
    return dict(zip(names, arrays, strict=True)) if names else arrays


def shapes(source: Path | str | bytes) -> list[Shape] | dict[str, Shape]:
    """As ``load``, with the shape of each array in its place: reads headers only, however large the arrays.

    Raises:
        ModelError: as ``load``.
    """
    with _naming(source):
        stored, names = _parse(source, values=False)
    found = [item.shape for item in stored]
    return dict(zip(names, found, strict=True)) if names else found


def float32(array: np.ndarray, what: str) -> np.ndarray:
    """A parameter of a model as float32, in C order.

    Raises:
        ModelError: it has values that are NaN, infinite, or beyond float32, or are truth values.
    """
    if array.dtype == bool:
        raise ModelError(f"{what} holds truth values instead of numbers")
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, np.float32)
    flat = converted.reshape(-1)  # a part at a time: a model may fill most of the memory
    if not all(np.isfinite(flat[start : start + _PART]).all() for start in range(0, flat.size, _PART)):
        raise ModelError(f"{what} has values that are NaN, infinite or beyond float32")
    return converted


def find(directory: Path) -> Path:
    """The artifact in a model folder: ``model_algo-1``, or else the first file whose name starts with ``model_``.

    Each host of a training job writes one, and all of them are the whole model; notebooks take the first as well.

    Raises:
        ModelError: there is none.
    """
    named = directory / MODEL_FILE
    if named.is_file():
        return named
    candidates = sorted(path for path in directory.glob("model_*") if path.is_file())
    if not candidates:
        present = ", ".join(sorted(path.name for path in directory.iterdir())) if directory.is_dir() else ""
        raise ModelError(f"the model folder has no file '{MODEL_FILE}'; it holds: {present or 'nothing'}")
    return candidates[0]


@contextlib.contextmanager
def _naming(source: Path | str | bytes) -> Iterator[None]:
    """Makes what goes wrong inside a ModelError that names the file."""
    name = "NDArray data" if isinstance(source, bytes) else f"'{Path(source).name}'"
    try:
        yield
    except _Malformed as error:
        raise ModelError(f"{name} is not an MXNet NDArray file that can be used: {error}") from None
    except OSError as error:
        raise ModelError(f"{name} cannot be read: {error.strerror}") from error


class _Malformed(Exception):  # noqa: N818 - becomes a ModelError
    pass


def _parse(source: Path | str | bytes, *, values: bool) -> tuple[list[_Stored], list[str]]:
    """The arrays and their names; where ``values`` is False, only the shapes of the arrays mean something."""
    with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
        size = len(source) if isinstance(source, bytes) else os.fstat(file.fileno()).st_size
        if not size:
            raise _Malformed("it is empty")
        return _parse_file(_Cursor(file, size, values=values))


def _parse_file(cursor: _Cursor) -> tuple[list[_Stored], list[str]]:
    magic, _reserved, count = cursor.numbers("QQQ")
    if magic != _FILE_MAGIC:
        raise _Malformed(f"it starts with 0x{magic:X} instead of 0x{_FILE_MAGIC:X}")
    stored = [_parse_array(cursor) for _ in cursor.counted(count, "arrays")]
    (count_of_names,) = cursor.numbers("Q")
    if count_of_names not in (0, count):
        raise _Malformed(f"it has {count} arrays, but {count_of_names} names")
    names = [_parse_name(cursor) for _ in range(count_of_names)]
    if len(set(names)) != len(names):
        raise _Malformed(f"a name occurs twice among {names}")
    if cursor.left:
        raise _Malformed(f"{cursor.left} bytes follow its end at byte {cursor.at}")
    return stored, names


def _refuse_expansion(stored: Sequence[_Stored]) -> None:
    """Sparse arrays are returned dense, and their shapes come from outside: the bytes that the file has bound them."""
    sparse = [item for item in stored if item.storage != _DENSE]
    claimed = sum(math.prod(item.shape) * item.values.itemsize for item in sparse)
    present = sum(array.nbytes for item in sparse for array in (item.values, *item.indices))
    if claimed > LEAST_MODEL_MEMORY + MODEL_MEMORY_PER_BYTE * present:
        shapes_of = ", ".join(str(item.shape) for item in sparse[:3])
        raise _Malformed(
            f"its sparse arrays, of shape {shapes_of}, hold {present} bytes and would take {claimed} when used dense, "
            "which is too much for so few"
        )


def _parse_name(cursor: _Cursor) -> str:
    (length,) = cursor.numbers("Q")
    raw = cursor.take(length)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _Malformed(f"the name {raw[:40]!r} is not UTF-8") from None


@dataclass(frozen=True)
class _Stored:
    """One array as it lies in the file."""

    shape: Shape
    storage: int
    values: np.ndarray
    indices: list[np.ndarray]

    def dense(self) -> np.ndarray:
        """As a dense array in native byte order."""
        if self.storage == _DENSE:
            return self.values.astype(self.values.dtype.newbyteorder("="), copy=False)
        return self._row_sparse() if self.storage == _ROW_SPARSE else self._csr()

    def _zeros(self) -> np.ndarray:
        try:
            return np.zeros(self.shape, self.values.dtype.newbyteorder("="))
        except ValueError:  # no element, and dimensions beyond any memory
            raise _Malformed(f"a sparse array has the shape {self.shape}") from None

    def _row_sparse(self) -> np.ndarray:
        (rows,) = self.indices
        if rows.size and not 0 <= rows.min() <= rows.max() < self.shape[0]:
            raise _Malformed(f"a row-sparse array of {self.shape[0]} rows stores rows {rows.min()} to {rows.max()}")
        dense = self._zeros()
        dense[rows] = self.values
        return dense

    def _csr(self) -> np.ndarray:
        if len(self.shape) != 2:
            raise _Malformed(f"a CSR array has the shape {self.shape}")
        bounds, columns = self.indices
        if bounds.shape != (self.shape[0] + 1,) or bounds[0] != 0 or bounds[-1] != len(columns):
            raise _Malformed(f"a CSR array of shape {self.shape} has {len(bounds)} bounds for {len(columns)} values")
        outside = columns.size and not 0 <= columns.min() <= columns.max() < self.shape[1]
        if outside or (bounds[1:] < bounds[:-1]).any():
            raise _Malformed(f"the row bounds or columns of a CSR array of shape {self.shape} are inconsistent")
        dense = self._zeros()
        dense[np.repeat(np.arange(self.shape[0]), np.diff(bounds)), columns] = self.values
        return dense


def _parse_array(cursor: _Cursor) -> _Stored:
    (magic,) = cursor.numbers("I")
    if magic in (_V2, _V3):
        return _parse_with_storage(cursor, scalars=magic == _V3)
    shape = _parse_shape(cursor) if magic == _V1 else _checked_shape(magic, cursor, "I")
    return _Stored(shape, _DENSE, cursor.array(_parse_device_and_dtype(cursor), shape), [])


def _parse_with_storage(cursor: _Cursor, *, scalars: bool) -> _Stored:
    (storage,) = cursor.numbers("i")
    if storage not in _INDEX_ARRAYS:
        raise _Malformed(f"the storage type {storage} before byte {cursor.at} is unknown")
    if storage != _DENSE:
        _parse_shape(cursor)  # of the values: 0 where MXNet had not yet computed them, so the index arrays decide
    shape = _parse_shape(cursor, scalars=scalars)
    dtype = _parse_device_and_dtype(cursor)
    described = [(_dtype(cursor), _parse_shape(cursor)) for _ in range(_INDEX_ARRAYS[storage])]
    if any(len(index_shape) != 1 or index_dtype.kind != "i" for index_dtype, index_shape in described):
        raise _Malformed(f"an array before byte {cursor.at} has index arrays that are no lists of integers")
    values_shape = shape
    if storage == _ROW_SPARSE:
        values_shape = described[0][1] + shape[1:]
    elif storage == _CSR:
        values_shape = described[1][1]
    values = cursor.array(dtype, values_shape)
    return _Stored(shape, storage, values, [cursor.array(*index) for index in described])


def _parse_device_and_dtype(cursor: _Cursor) -> np.dtype:
    cursor.numbers("ii")  # the device that held the array does not matter: its values are here
    return _dtype(cursor)


def _dtype(cursor: _Cursor) -> np.dtype:
    (code,) = cursor.numbers("i")
    if not 0 <= code < len(_DTYPES):
        raise _Malformed(f"the data type {code} before byte {cursor.at} is unknown")
    return _DTYPES[code]


def _parse_shape(cursor: _Cursor, *, scalars: bool = False) -> Shape:
    (ndim,) = cursor.numbers("i")
    return () if scalars and ndim == 0 else _checked_shape(ndim, cursor, "q")


def _checked_shape(ndim: int, cursor: _Cursor, kind: str) -> Shape:
    if not 0 < ndim <= _MAX_NDIM:
        raise _Malformed(f"an array before byte {cursor.at} has {ndim} dimensions instead of 1 to {_MAX_NDIM}")
    shape = cursor.numbers(f"{ndim}{kind}")
    if min(shape) < 0:
        raise _Malformed(f"an array before byte {cursor.at} has the shape {shape}")
    return shape


class _Cursor:
    """Reads forward through a file; refuses lengths that the file does not have before memory is taken for them.

    It reads rather than maps: a file that is cut short by someone else meanwhile ends a process that has mapped it.
    """

    def __init__(self, file: BinaryIO, size: int, *, values: bool) -> None:
        self._file, self._size, self._values = file, size, values
        self.at = 0

    @property
    def left(self) -> int:
        return self._size - self.at

    def take(self, length: int) -> bytes:
        self._pass(length)
        data = self._file.read(length)
        self._check_read(len(data), length)
        return data

    def numbers(self, kinds: str) -> tuple[int, ...]:
        return struct.unpack(f"<{kinds}", self.take(struct.calcsize(f"<{kinds}")))

    def counted(self, count: int, what: str) -> Iterable[int]:
        if count > self.left:  # each takes several bytes
            raise _Malformed(f"{count} {what} are announced at byte {self.at}, and {self.left} bytes are left")
        return range(count)

    def array(self, dtype: np.dtype, shape: Shape) -> np.ndarray:
        """The next array; where values are not wanted, one of its shape that takes no memory."""
        length = math.prod(shape) * dtype.itemsize
        self._pass(length)
        try:
            if not self._values:
                self._file.seek(self.at)
                return np.broadcast_to(np.zeros((), dtype), shape)
            values = np.empty(length, np.uint8)
            self._check_read(self._file.readinto(values), length)  # type: ignore[attr-defined]
            return values.view(dtype).reshape(shape)
        except ValueError:  # no element, and dimensions beyond any memory
            raise _Malformed(f"an array before byte {self.at} has the shape {shape}") from None

    def _pass(self, length: int) -> None:
        if length > self.left:
            raise _Malformed(f"{length} bytes are announced at byte {self.at}, and {self.left} are left")
        self.at += length

    def _check_read(self, read: int, length: int) -> None:
        if read != length:
            raise _Malformed(f"it had {self._size} bytes when it was opened, and ends before byte {self.at} now")
