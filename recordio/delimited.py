"""``text/csv``: rows of comma-separated numbers without a header.

The delimiter is the comma and nothing else. It is never sniffed: a row of one column, or numbers with a decimal
comma, would be read wrongly without a word. Numbers are those of C (``1``, ``-2.5``, ``1e-3``), with ``nan`` and
``inf`` where the algorithm takes them; fields may be quoted and padded with blanks; blank lines are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import BinaryIO, NamedTuple

import numpy as np

from recordio import plain
from recordio.batches import Batch
from recordio.content_type import ContentType
from recordio.errors import ParseError, RaggedRowError
from recordio.prefetch import parallel
from recordio.rows import RowFormat, check_values, columns, label_columns, take
from recordio.text import Block, NotNumberError, blocks, body_block, is_number, numbers, shown, trim

# A quoted field without comma, quote or line end in it. What else has quotes is no number, and fails as one.
_QUOTED = re.compile(rb'(^|,)([ \t]*)"([^",\n]*)"(?=[ \t]*(?:,|$))', re.MULTILINE)
_LETTER = re.compile(rb"[A-Za-z]")
_DELIMITER = re.compile(rb"[;|\t ]")


def read_csv(stream: BinaryIO, name: str, rows: RowFormat, content_type: ContentType) -> Generator[Batch, None, None]:
    """Read rows from a file or FIFO, a block at a time; blocks are parsed in several threads and come in order.

    Args:
        stream: open binary stream.
        name: what error messages call it.

    Raises:
        ParseError, RaggedRowError, WidthError, ValueRangeError, ContentTypeError: each names file and line.
    """
    parse = partial(_parse, rows=rows, labels=label_columns(content_type, rows))
    yield from _same_width(parallel(parse, blocks(stream, name, content_type)))


def decode_csv(body: bytes, rows: RowFormat, content_type: ContentType) -> Iterator[Batch]:
    """Read the rows of a request: the same parser, on one block."""
    parsed = _parse(body_block(body, content_type), rows, label_columns(content_type, rows))
    if parsed is not None:
        yield parsed.batch


class _Parsed(NamedTuple):
    """The rows of a block; ``width`` is the number of columns."""

    batch: Batch
    block: Block
    width: int


def _same_width(parsed: Iterable[_Parsed | None]) -> Iterator[Batch]:
    """The batches of blocks that have rows, which must have equally many columns."""
    width = None
    for part in parsed:
        if part is None:
            continue
        if width not in (None, part.width):
            first = _fields(part.block.text).starts[0]
            raise _ragged(part.block.place(first), part.width, width)
        width = part.width
        yield part.batch


def _ragged(place: str, width: int, before: int | None) -> RaggedRowError:
    return RaggedRowError(f"{place}: {width} fields, but the rows before it have {before}")


def _parse(block: Block, rows: RowFormat, labels: int | None) -> _Parsed | None:
    """The rows of a block; None where all lines are blank."""
    table = plain.table(block.text) or _table(block)
    if table is None:
        return None
    values, missing = table
    width = values.shape[1]

    def place(row: int, column: int) -> str:
        return f"{block.place(_fields(block.text).starts[row * width + column])}, column {column + 1}"

    layout = columns(width, labels, rows, block.place(0))
    check_values(values, missing, layout, rows, place)
    return _Parsed(take(values, layout, rows), block, width)


def _table(block: Block) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Values, shape (n, width), float32, with NaN for empty fields; and where those are, or None for nowhere.

    None where all lines are blank.

    Raises:
        ParseError, RaggedRowError: it is none.
    """
    fields = _fields(block.text)
    if not len(fields.starts):
        return None
    width = _width(fields, block)
    values, empty = _values(fields, block)
    return values.reshape(-1, width), None if empty is None else empty.reshape(-1, width)


class _Fields(NamedTuple):
    """The fields of a block in their order, blank lines left out.

    Attributes:
        text: the block's text, quotes replaced by blanks, so that positions stay what they are.
        starts, ends: bounds without surrounding blanks; equal for an empty field.
        last: the field is the last of its row.
    """

    text: bytes
    starts: np.ndarray
    ends: np.ndarray
    last: np.ndarray


def _fields(text: bytes) -> _Fields:
    if b'"' in text:
        text = _QUOTED.sub(rb"\1\2 \3 ", text)
    code = np.frombuffer(text, np.uint8)
    newline = code == ord("\n")
    ends = np.flatnonzero(newline | (code == ord(",")))
    last = newline[ends]
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    if b" " in text or b"\t" in text:
        starts, ends = trim(code, starts, ends)
    blank = last & (starts == ends)
    blank[1:] &= last[:-1]
    if blank.any():
        starts, ends, last = starts[~blank], ends[~blank], last[~blank]
    return _Fields(text, starts, ends, last)


def _width(fields: _Fields, block: Block) -> int:
    """Number of fields of each row.

    Raises:
        RaggedRowError: rows differ in it.
        ParseError: a row before the first such row has a field that is not a number. So a header is called a header.
    """
    stops = np.flatnonzero(fields.last) + 1
    widths = np.diff(stops, prepend=0)
    wrong = widths != widths[0]
    if wrong.any():
        row = int(wrong.argmax())
        before = stops[row - 1]
        _values(fields._replace(starts=fields.starts[:before], ends=fields.ends[:before]), block)
        raise _ragged(block.place(fields.starts[before]), int(widths[row]), int(widths[0]))
    return int(widths[0])


def _values(fields: _Fields, block: Block) -> tuple[np.ndarray, np.ndarray | None]:
    """Values, shape (fields,), float32, with NaN for empty fields; and where those are, or None for nowhere.

    Raises:
        ParseError: a field is not a number.
    """
    text, starts, ends, _ = fields
    empty = starts == ends
    if not empty.any():
        return np.ascontiguousarray(_numbers(text, starts, ends, block)), None
    values = np.full(len(ends), np.nan, np.float32)
    values[~empty] = _numbers(text, starts[~empty], ends[~empty], block)
    return values, empty


def _numbers(text: bytes, starts: np.ndarray, ends: np.ndarray, block: Block) -> np.ndarray:
    try:
        return numbers(text, starts, ends)
    except NotNumberError as error:
        raise _not_number(block, int(starts[error.index]), text[starts[error.index] : ends[error.index]]) from None


def _not_number(block: Block, position: int, field: bytes) -> ParseError:
    line = block.line_at(position)
    if block.line == 1 and b"\n" not in block.text[:position].lstrip() and _is_header(line):
        return ParseError(
            f"{block.place(position)}: {shown(line)} looks like a header; "
            "CSV must have no header line, only rows of numbers"
        )
    column = block.text.count(b",", block.text.rfind(b"\n", 0, position) + 1, position) + 1
    hint = "; fields must be separated by commas" if _DELIMITER.search(field) else ""
    return ParseError(f"{block.place(position)}, column {column}: {shown(field)} is not a number{hint}")


def _is_header(line: bytes) -> bool:
    fields = [field.strip(b' \t"') for field in line.split(b",")]
    return all(_LETTER.search(field) and not is_number(field) for field in fields)
