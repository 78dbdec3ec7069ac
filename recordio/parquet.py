"""``application/x-parquet``: a row group at a time, columns in the order of the schema.

Labels come first, then the weight where there is one, then features, as in CSV. Columns must be numbers or booleans;
decimals, as databases write them, and pandas' categories of numbers are, and a column of nulls alone is missing values.
The index that pandas adds to a table is left out, as it is when pandas reads the file back.

Parquet ends with its table of contents and so cannot be read from a FIFO as it comes. A FIFO's bytes go to an unnamed
temporary file first: memory stays bounded, and the disk must have room for one epoch of the channel.
"""

from __future__ import annotations

import contextlib
import mmap
import shutil
import tempfile
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recordio.batches import Batch
from recordio.column_order import ColumnOrder
from recordio.content_type import ContentType
from recordio.errors import DataError, ParseError
from recordio.rows import RowFormat, checked, columns, label_columns

_READ_VALUES = 1 << 23  # that Arrow is asked for at a time: each time costs it some microseconds a column
_READ_ROWS = 1 << 18  # at most: of few columns, so many cost far more than that, and more would only take memory
_BATCH_VALUES = 1 << 20  # of a batch, 4 MB: malloc gives larger blocks back to the system, which clears them anew
_BUFFER_BYTES = 1 << 20
_THREADED_ROWS = 1 << 16  # that Arrow is asked for: of fewer, waking a thread a column costs more than it decodes
_BLOCK_COLUMNS = 64  # that are made rows at once, while they are in the processor's cache
_APART = 16  # numbers beyond a power of two between columns, which would share few lines of the cache
_MAGIC = b"PAR1"


def read_parquet(
    stream: BinaryIO,
    name: str,
    rows: RowFormat,
    content_type: ContentType,
    order: ColumnOrder | None = None,
) -> Generator[Batch, None, None]:
    """Read rows from a file, from bytes, or from a FIFO in which one or more files follow each other.

    Parameters
    ----------
    stream
        open binary stream.
    name
        what error messages call it.
    order
        in which all files of the channel are read; the first file settles it. None where there are no other files.

    Raises
    ------
    ParseError, WidthError, ValueRangeError
        each names the file, and the column or row.
    """
    labels, order = label_columns(content_type, rows), order or ColumnOrder()
    with contextlib.closing(_parts(stream, name)) as parts:
        for part_name, part in parts:
            yield from _read(part, part_name, rows, labels, order)


def column_names(stream: BinaryIO, name: str) -> list[str]:
    """The columns of the (first) file of a stream, in the order of its schema; none where there is no file.

    Raises
    ------
    ParseError
        it names the file, and the column that cannot be read.
    """
    with contextlib.closing(_parts(stream, name)) as parts:
        for part_name, part in parts:
            with _as_parse_error(part_name):
                return _column_names(pq.ParquetFile(part).schema_arrow, part_name)
    return []


def _parts(stream: BinaryIO, name: str) -> Generator[tuple[str, Any], None, None]:
    """The files of a stream, and what error messages call them."""
    if stream.seekable():
        yield name, stream
        return
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(stream, spool, _BUFFER_BYTES)
        if spool.tell() == 0:
            return
        spool.flush()
        whole = mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ)
        files = list(_files(whole))
        for number, (start, stop) in enumerate(files, 1):
            part_name = name if len(files) == 1 else f"{name}, file {number} of {len(files)}"
            yield part_name, pa.BufferReader(pa.py_buffer(whole).slice(start, stop - start))


def _files(whole: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Bounds of Parquet files that follow each other: each begins and ends with the magic word."""
    start = 0
    while (seam := whole.find(_MAGIC + _MAGIC, start)) >= 0:
        yield start, seam + len(_MAGIC)
        start = seam + len(_MAGIC)
    yield start, len(whole)


def _read(file: Any, name: str, rows: RowFormat, labels: int | None, order: ColumnOrder) -> Iterator[Batch]:
    with _as_parse_error(name):
        parquet = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES)
        names = order.of_file(_column_names(parquet.schema_arrow, name), name)
    layout = columns(len(names), labels, rows, name)
    first_row = 0
    # Part by part even where a row group is small: read at once, it takes what its columns claim to have.
    count = max(1, min(_READ_VALUES // len(names), _READ_ROWS))
    parts = parquet.iter_batches(batch_size=count, columns=names, use_threads=count >= _THREADED_ROWS)
    step = max(1, _BATCH_VALUES // len(names))
    while True:
        with _as_parse_error(name):
            part = next(parts, None)
            if part is None:
                return
            found, missing = _columns(part.select(names))
        for start in range(0, part.num_rows, step):
            stop = min(start + step, part.num_rows)
            head = _rows(found[: layout.features], start, stop)
            features = _rows(found[layout.features :], start, stop)
            nulls = _nulls(missing, len(names), start, stop)
            yield checked(head, features, nulls, layout, rows, partial(_place, name, first_row + start, names))
        first_row += part.num_rows


def _place(name: str, first_row: int, names: list[str], row: int, column: int) -> str:
    return f"{name}, row {first_row + row + 1}, column '{names[column]}'"


@contextlib.contextmanager
def _as_parse_error(name: str) -> Iterator[None]:
    """Whatever Arrow says of bytes that it cannot read is the fault of the bytes."""
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise ParseError(f"{name}: cannot be read as Parquet: {error}") from error


def _column_names(schema: pa.Schema, name: str) -> list[str]:
    """The columns of numbers, in order.

    Raises
    ------
    ParseError
        a column has another type, or two have the same name.
    """
    chosen = without_index(schema)
    if not chosen:
        raise ParseError(f"{name}: the table has no columns")
    for field in chosen:
        if not is_numeric(field.type):
            raise ParseError(f"{name}: column '{field.name}' is of type {field.type}; columns must be numbers")
    if len({field.name for field in chosen}) != len(chosen):
        raise ParseError(f"{name}: two columns have the same name")
    return [field.name for field in chosen]


def without_index(schema: pa.Schema) -> list[pa.Field]:
    """The columns of a table but for the index that pandas added."""
    index = {column for column in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(column, str)}
    return [field for field in schema if field.name not in index]


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column of this type has numbers; one of nulls alone, which has no other type, may have."""
    if pa.types.is_dictionary(kind):
        return is_numeric(kind.value_type)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    return any(is_kind(kind) for is_kind in kinds)


def float32(column: pa.Array) -> np.ndarray:
    """The numbers of a column, (n,), with NaN for nulls, and infinity for what is beyond float32."""
    column = _plain(column)
    if not column.null_count:
        with np.errstate(over="ignore"):
            return np.asarray(column.to_numpy(zero_copy_only=False), np.float32)
    numbers = column if column.type == pa.float32() else column.cast(pa.float32(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), np.float32)


def _plain(column: pa.Array) -> pa.Array:
    """The column as numbers, one a row: categories by their values, decimals as float64."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column


def _columns(part: pa.RecordBatch) -> tuple[list[np.ndarray], dict[int, np.ndarray]]:
    """The columns, each (n,), float32 with NaN for nulls; and where those are, (n,), by the columns' numbers."""
    missing, found = {}, part.columns
    for number, column in enumerate(found):
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()  # a category may be a null
        if column.null_count:
            missing[number] = column.is_null().to_numpy(zero_copy_only=False)
    return [float32(column) for column in found], missing


def _rows(found: list[np.ndarray], start: int, stop: int) -> np.ndarray:
    """Some rows of d columns, (stop - start, d), a few columns at a time: of one alone, each number would write a line
    of the cache."""
    count = stop - start
    values = np.empty((count, len(found)), np.float32)
    block = np.empty((_BLOCK_COLUMNS, -(-count // _APART) * _APART + _APART), np.float32)[:, :count]
    for first in range(0, len(found), _BLOCK_COLUMNS):
        some = found[first : first + _BLOCK_COLUMNS]
        for number, column in enumerate(some):
            block[number] = column[start:stop]
        values[:, first : first + len(some)] = block[: len(some)].T
    return values


def _nulls(missing: dict[int, np.ndarray], width: int, start: int, stop: int) -> np.ndarray | None:
    """Where some rows of so many columns have nulls, (stop - start, width); None for nowhere."""
    if not missing:
        return None
    nulls = np.zeros((width, stop - start), np.bool_)
    for number, column in missing.items():
        nulls[number] = column[start:stop]
    return nulls.T
