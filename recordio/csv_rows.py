"""``text/csv``: rows of comma-separated numbers without a header.

The delimiter is the comma, or what the content type says: ``text/csv; delimiter=";"`` (or ``|``, a tab, a space, or
these in words). It is never sniffed: a row of one column, or numbers with a decimal comma, would be read wrongly
without a word. Where it is the space, several of them count as one, as in columns that were aligned by eye.

Numbers are those of C (``1``, ``-2.5``, ``1e-3``), with ``nan`` and ``inf`` where the algorithm takes them; fields may
be quoted and padded with blanks; blank lines are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import BinaryIO, NamedTuple

import numpy as np

from recordio import text_kernel
from recordio.batches import Batch
from recordio.content_type import ContentType
from recordio.errors import ParseError, RaggedRowError
from recordio.prefetch import parallel
from recordio.rows import RowFormat, checked, columns, label_columns
from recordio.text import Block, NotNumberError, blocks, body_block, is_number, numbers, shown, trim

# A quoted field without comma, quote or line end in it. What else has quotes is no number, and fails as one.
_QUOTED = re.compile(rb'(^|,)([ \t]*)"([^",\n]*)"(?=[ \t]*(?:,|$))', re.MULTILINE)
_LETTER = re.compile(rb"[A-Za-z]")
_OTHER_DELIMITERS = re.compile(rb"[;|\t ]")
_FIRST_SPACE = re.compile(rb"(?<=[^ \n]) (?= *[^ \n])")


class _Delimiter:
    """Text with another delimiter as text with commas, byte for byte, so that positions stay what they are.

    A comma becomes a semicolon, which no number has: a number with a decimal comma must not become two.
    """

    def __init__(self, byte: bytes) -> None:
        self.byte = byte
        self._table = bytes.maketrans(byte + b",", b",;")

    def to_commas(self, text: bytes) -> bytes:
        """The text that is parsed."""
        if self.byte == b",":
            return text
        if self.byte == b" ":  # the first of several between two fields; the others are blanks around a field
            return _FIRST_SPACE.sub(b",", text.replace(b",", b";"))
        return text.translate(self._table)


_DELIMITERS = {byte: _Delimiter(byte) for byte in (b",", b";", b"|", b"\t", b" ")}


def read_csv(stream: BinaryIO, name: str, rows: RowFormat, content_type: ContentType) -> Generator[Batch, None, None]:
    """Read rows from a file or FIFO, a block at a time; blocks are parsed in several threads and come in order.

    Parameters
    ----------
    stream
        open binary stream.
    name
        what error messages call it.

    Raises
    ------
    ParseError, RaggedRowError, WidthError, ValueRangeError, ContentTypeError
        each names file and line.
    """
    parse = partial(
        _parse, rows=rows, labels=label_columns(content_type, rows), delimiter=_DELIMITERS[content_type.delimiter]
    )
    yield from _same_width(parallel(parse, blocks(stream, name, content_type)))


def decode_csv(body: bytes, rows: RowFormat, content_type: ContentType) -> Iterator[Batch]:
    """Read the rows of a request: the same parser, on one block."""
    labels, delimiter = label_columns(content_type, rows), _DELIMITERS[content_type.delimiter]
    parsed = _parse(body_block(body, content_type), rows, labels, delimiter)
    if parsed is not None:
        yield parsed.batch


class _Parsed(NamedTuple):
    """The rows of a block (as text with commas); ``width`` is the number of columns."""

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


def _parse(original: Block, rows: RowFormat, labels: int | None, delimiter: _Delimiter) -> _Parsed | None:
    """The rows of a block; None where all lines are blank."""
    block = original._replace(text=delimiter.to_commas(original.text))
    table = text_kernel.table(block.text) or _table(block, original)
    if table is None:
        return None
    values, missing = table
    width = values.shape[1]

    def place(row: int, column: int) -> str:
        return f"{block.place(_fields(block.text).starts[row * width + column])}, column {column + 1}"

    layout = columns(width, labels, rows, block.place(0))
    head, features = values[:, : layout.features], np.ascontiguousarray(values[:, layout.features :])
    return _Parsed(checked(head, features, missing, layout, rows, place), block, width)


def _table(block: Block, original: Block) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Values, shape (n, width), float32, with NaN for empty fields; and where those are, or None for nowhere.

    None where all lines are blank.

    Raises
    ------
    ParseError, RaggedRowError
        it is none.
    """
    fields = _fields(block.text)
    if not len(fields.starts):
        return None
    width = _width(fields, block, original)
    values, empty = _values(fields, original)
    return values.reshape(-1, width), None if empty is None else empty.reshape(-1, width)


class _Fields(NamedTuple):
    """The fields of a block in their order, blank lines left out.

    Attributes
    ----------
    text
        the block's text, quotes replaced by blanks, so that positions stay what they are.
    starts, ends
        bounds without surrounding blanks; equal for an empty field.
    last
        the field is the last of its row.
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


def _width(fields: _Fields, block: Block, original: Block) -> int:
    """Number of fields of each row.

    Raises
    ------
    RaggedRowError
        rows differ in it.
    ParseError
        a row before the first such row has a field that is not a number. So a header is called a header.
    """
    stops = np.flatnonzero(fields.last) + 1
    widths = np.diff(stops, prepend=0)
    wrong = widths != widths[0]
    if wrong.any():
        row = int(wrong.argmax())
        before = stops[row - 1]
        _values(fields._replace(starts=fields.starts[:before], ends=fields.ends[:before]), original)
        raise _ragged(block.place(fields.starts[before]), int(widths[row]), int(widths[0]))
    return int(widths[0])


def _values(fields: _Fields, original: Block) -> tuple[np.ndarray, np.ndarray | None]:
    """Values, shape (fields,), float32, with NaN for empty fields; and where those are, or None for nowhere.

    Raises
    ------
    ParseError
        a field is not a number.
    """
    starts, ends = fields.starts, fields.ends
    empty = starts == ends
    if not empty.any():
        return np.ascontiguousarray(_numbers(fields, starts, ends, original)), None
    values = np.full(len(ends), np.nan, np.float32)
    values[~empty] = _numbers(fields, starts[~empty], ends[~empty], original)
    return values, empty


def _numbers(fields: _Fields, starts: np.ndarray, ends: np.ndarray, original: Block) -> np.ndarray:
    try:
        return numbers(fields.text, starts, ends)
    except NotNumberError as error:
        raise _not_number(fields, original, int(starts[error.index]), int(ends[error.index])) from None


def _not_number(fields: _Fields, original: Block, start: int, end: int) -> ParseError:
    """The error for the field at ``text[start:end]``, with the text as it came."""
    line, field = original.line_at(start), original.text[start:end]
    begin = original.text.rfind(b"\n", 0, start) + 1
    columns = fields.text[begin : begin + len(line)].split(b",")
    if original.line == 1 and b"\n" not in original.text[:start].lstrip() and all(map(_is_heading, columns)):
        return ParseError(
            f"{original.place(start)}: {shown(line)} looks like a header; "
            "CSV must have no header line, only rows of numbers"
        )
    column = fields.text.count(b",", begin, start) + 1
    return ParseError(f"{original.place(start)}, column {column}: {shown(field)} is not a number{_hint(field)}")


def _hint(field: bytes) -> str:
    """What to do about a field that has another delimiter in it."""
    found = _OTHER_DELIMITERS.search(field)
    if found is None:
        return ""
    name = {b";": "semicolon", b"|": "pipe", b"\t": "tab", b" ": "space"}[found[0]]
    return (
        f"; fields are separated by commas, or by what the content type says: 'text/csv; delimiter={name}' if they are "
        f"separated by {found[0].decode()!r} here"
    )


def _is_heading(column: bytes) -> bool:
    column = column.strip(b' \t"')
    return bool(_LETTER.search(column)) and not is_number(column)
