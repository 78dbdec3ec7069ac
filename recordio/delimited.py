"""``text/csv``: rows of comma-separated numbers without a header.

The delimiter is the comma and nothing else. It is never sniffed: a row of one column, or numbers with a decimal
comma, would be read wrongly without a word. Numbers are those of C (``1``, ``-2.5``, ``1e-3``), with ``nan`` and
``inf`` where the algorithm takes them; fields may be quoted and padded with blanks; blank lines are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import BinaryIO, NoReturn

import numpy as np

from recordio.batches import Batch
from recordio.content_type import ContentType
from recordio.errors import ParseError, RaggedRowError
from recordio.prefetch import parallel
from recordio.rows import RowFormat, check_values, columns, label_columns, take
from recordio.text import REQUEST, Block, blocks, body_block, number, numbers, shown, trim

_COMMA, _NEWLINE = ord(","), ord("\n")
_BLANK_LINE = re.compile(rb"^[ \t]*\n", re.MULTILINE)
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
    parse = partial(_parse, name=name, rows=rows, labels=label_columns(content_type, rows))
    yield from _same_width(parallel(parse, blocks(stream, name, content_type)), name)


def decode_csv(body: bytes, rows: RowFormat, content_type: ContentType) -> Iterator[Batch]:
    """Read the rows of a request: the same parser, on one block."""
    _, batch, _ = _parse(body_block(body, content_type), REQUEST, rows, label_columns(content_type, rows))
    if batch is not None:
        yield batch


def _same_width(parsed: Iterable[tuple[Block, Batch | None, int]], name: str) -> Iterator[Batch]:
    """The batches of blocks that have rows, which must have equally many columns."""
    width = None
    for block, batch, found in parsed:
        if batch is None:
            continue
        if width not in (None, found):
            line = next(_rows(block))[0]
            raise RaggedRowError(f"{name}, line {line}: {found} fields, but the rows before it have {width}")
        width = found
        yield batch


def _parse(block: Block, name: str, rows: RowFormat, labels: int | None) -> tuple[Block, Batch | None, int]:
    """The rows of a block and their number of columns; no batch where all lines are blank."""
    text = _plain(block.text)
    if not text:
        return block, None, 0
    try:
        values, empty = _table(text)
    except ParseError:
        _explain(block, name, rows)
    width = values.shape[1]
    layout = columns(width, labels, rows, name)
    check_values(values, empty, layout, rows, partial(_place, block, name))
    return block, take(values, layout, rows), width


def _plain(text: bytes) -> bytes:
    """The text without blank lines and quotes."""
    if b"\n\n" in text or text[:1] in b" \t\n" or b"\n " in text or b"\n\t" in text:
        text = _BLANK_LINE.sub(b"", text)
    if b'"' in text:
        text = _QUOTED.sub(rb"\1\2\3", text)
    return text


def _table(text: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Values, shape (n, width), float32, with NaN for empty fields; and where those are, or None for nowhere.

    Raises:
        ParseError: rows differ in width, or a field is not a number.
    """
    code = np.frombuffer(text, np.uint8)
    newline = code == _NEWLINE
    ends = np.flatnonzero(newline | (code == _COMMA))
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    count = np.count_nonzero(newline)
    width = len(ends) // count
    if width * count != len(ends) or not newline[ends[width - 1 :: width]].all():
        raise ParseError("rows differ in width")
    if b" " in text or b"\t" in text:
        starts, ends = trim(code, starts, ends)
    empty = starts == ends
    if not empty.any():
        return np.ascontiguousarray(numbers(text, starts, ends)).reshape(count, width), None
    values = np.full(len(ends), np.nan, np.float32)
    values[~empty] = numbers(text, starts[~empty], ends[~empty])
    return values.reshape(count, width), empty.reshape(count, width)


def _rows(block: Block) -> Iterator[tuple[int, list[bytes]]]:
    """Line number and fields of each row of the block: slow, and only for error messages."""
    for offset, line in enumerate(block.text.split(b"\n")[:-1]):
        if line.strip(b" \t"):
            yield block.line + offset, [field.strip(b" \t") for field in _plain(line + b"\n")[:-1].split(b",")]


def _place(block: Block, name: str, row: int, column: int) -> str:
    line, _ = next(islice(_rows(block), row, None))
    return f"{name}, line {line}, column {column + 1}"


def _explain(block: Block, name: str, rows: RowFormat) -> NoReturn:
    """Find what is wrong with a block that could not be parsed, and raise it."""
    width = None
    for line, fields in _rows(block):
        for column, field in enumerate(fields):
            if not field or number(field) is not None:
                continue
            if line == 1 and all(_LETTER.search(other) and number(other) is None for other in fields):
                raise ParseError(
                    f"{name}, line 1: {shown(b','.join(fields))} looks like a header; "
                    "CSV must have no header line, only rows of numbers"
                )
            hint = "; fields must be separated by commas" if _DELIMITER.search(field) else ""
            raise ParseError(f"{name}, line {line}, column {column + 1}: {shown(field)} is not a number{hint}")
        if width not in (None, len(fields)):
            raise RaggedRowError(f"{name}, line {line}: {len(fields)} fields, but the rows before it have {width}")
        width = len(fields)
    raise ParseError(f"{name}, line {block.line}: not rows of comma-separated numbers")
