"""``text/libsvm``: ``label[:weight] [qid:group] index:value index:value ... # comment``.

**Index base.** An index is the number of the feature, counted from 0, in training and in requests alike. This is how
XGBoost itself reads LIBSVM text. Files whose indices begin with 1 work too: feature 0 is then absent from every row,
when training and when predicting. Nothing is ever shifted, since a shift that depends on the rows at hand gives the
same row another meaning in another request.

**Absent features** are absent, not zero: rows become CSR arrays with exactly the entries written. **Width**: that of
``RowFormat.feature_dim``; without it, the largest index of the block plus one.

**Labels.** Where labels are required, the first token of a line is ``label`` or ``label:weight``. Where there are
none, a first token without a colon is a label to be left out, and one with a colon is a feature.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import BinaryIO, NamedTuple, NoReturn

import numpy as np
import scipy.sparse as sp

from recordio.batches import Batch
from recordio.content_type import ContentType
from recordio.errors import ParseError, WidthError
from recordio.prefetch import parallel
from recordio.rows import RowFormat, first_non_finite, not_finite
from recordio.text import REQUEST, Block, blocks, body_block, number, numbers, shown

_COMMENT = re.compile(rb"#[^\n]*")
_LARGEST_INDEX = 2**31 - 2  # so that the width is an int32 too


def read_libsvm(
    stream: BinaryIO, name: str, rows: RowFormat, content_type: ContentType
) -> Generator[Batch, None, None]:
    """Read rows from a file or FIFO, a block at a time; blocks are parsed in several threads and come in order.

    Args:
        stream: open binary stream.
        name: what error messages call it.

    Raises:
        ParseError, WidthError, ValueRangeError: each names file and line.
    """
    parse = partial(_parse, name=name, rows=rows)
    for batch in parallel(parse, blocks(stream, name, content_type)):
        if batch is not None:
            yield batch


def decode_libsvm(body: bytes, rows: RowFormat, content_type: ContentType) -> Iterator[Batch]:
    """Read the rows of a request: the same parser, on one block."""
    batch = _parse(body_block(body, content_type), REQUEST, rows)
    if batch is not None:
        yield batch


@dataclass(frozen=True)
class _Tokens:
    """The tokens of a block in their order; each array has one entry for each of them.

    Attributes:
        starts, ends: bounds in the text.
        row: number of its row in the block; lines without tokens are no rows.
        heads: it is the first of its row.
        names: it stands before a colon, as an index or as a label with a weight.
        values: it stands after a colon.
    """

    text: bytes
    starts: np.ndarray
    ends: np.ndarray
    row: np.ndarray
    heads: np.ndarray
    names: np.ndarray
    values: np.ndarray

    def token(self, index: np.integer) -> bytes:
        """The bytes of one token."""
        return self.text[self.starts[index] : self.ends[index]]

    def numbers(self, chosen: np.ndarray, kind: type[np.generic] = np.float32) -> np.ndarray:
        """The chosen tokens (a mask or positions) as numbers, shape (count,)."""
        return np.ascontiguousarray(numbers(self.text, self.starts[chosen], self.ends[chosen], kind))


def _parse(block: Block, name: str, rows: RowFormat) -> Batch | None:
    """The rows of a block; None where it has none."""
    try:
        tokens = _tokens(block.text)
        if tokens is None:
            return None
        entries = _entries(tokens, rows)
        labels: np.ndarray | None = tokens.numbers(tokens.heads & ~(tokens.names & (rows.labels == "none")))
        weights = _weights(tokens, entries) if rows.labels == "required" else None
        groups = _groups(tokens, entries)
        values = tokens.numbers(entries.tokens + 1)
    except ParseError:
        _explain(block, name, rows)
    if rows.labels == "none":
        labels = None  # they were read only to be sure that they are numbers
    _check(block, name, rows, entries, (values, labels, weights))
    return Batch(_csr(values, entries, rows), labels, weights, groups)


def _tokens(text: bytes) -> _Tokens | None:
    """Cut a block into tokens; None where there are none.

    Raises:
        ParseError: a colon stands elsewhere than between two tokens, or a token has two.
    """
    if b"#" in text:
        text = _COMMENT.sub(b"", text)
    code = np.frombuffer(text, np.uint8)
    newline = code == ord("\n")
    ends = np.flatnonzero(newline | (code == ord(" ")) | (code == ord(":")) | (code == ord("\t")))
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    line = np.cumsum(newline[ends])
    full = starts < ends  # False between two separators
    if not full.any():
        return None
    starts, ends, line = starts[full], ends[full], line[full]
    line -= newline[ends]  # a newline belongs to the line that it ends

    names = code[ends] == ord(":")
    values = code[starts - 1] == ord(":")  # the text ends with a newline, and so position -1 is none
    bound = names[:-1]
    well_formed = (
        not names[-1]
        and np.array_equal(bound, values[1:])
        and not (names & values).any()
        and np.array_equal(starts[1:][bound], ends[:-1][bound] + 1)
        and np.count_nonzero(names) == text.count(b":")
    )
    if not well_formed:
        raise ParseError("a colon stands elsewhere than between two tokens")
    heads = np.empty(len(line), bool)
    heads[0] = True
    heads[1:] = line[1:] != line[:-1]
    return _Tokens(text, starts, ends, np.cumsum(heads) - 1, heads, names, values)


class _Entries(NamedTuple):
    """The ``index:value`` pairs of a block.

    Attributes:
        tokens: which tokens are the indices; the values follow them. Shape (nnz,).
        indices: shape (nnz,), int32.
        row: shape (nnz,).
        queries: which tokens are the word ``qid``.
        rows: number of rows.
    """

    tokens: np.ndarray
    indices: np.ndarray
    row: np.ndarray
    queries: np.ndarray
    rows: int


def _entries(tokens: _Tokens, rows: RowFormat) -> _Entries:
    """Find the pairs.

    Raises:
        ParseError: a token has no colon and is no label, an index is not one, or a row has an index twice.
    """
    if not (tokens.heads | tokens.names | tokens.values).all():
        raise ParseError("a feature has no colon")
    pairs = np.flatnonzero(tokens.names & ~tokens.heads if rows.labels == "required" else tokens.names)
    queries = pairs[:0]
    if b"qid:" in tokens.text:
        asks = np.array([tokens.token(i) == b"qid" for i in pairs], np.bool_)
        pairs, queries = pairs[~asks], pairs[asks]
    indices = tokens.numbers(pairs, np.int32)
    row = tokens.row[pairs]
    if len(indices) and (indices.min() < 0 or indices.max() > _LARGEST_INDEX):
        raise ParseError("an index is negative or too large")
    if _repeats(row, indices):
        raise ParseError("a row has an index twice")
    return _Entries(pairs, indices, row, queries, int(tokens.row[-1]) + 1)


def _repeats(row: np.ndarray, indices: np.ndarray) -> bool:
    """Whether a row has an index twice. In sorted rows, as most files have them, there is nothing to sort."""
    same_row = row[1:] == row[:-1]
    if not (same_row & (indices[1:] <= indices[:-1])).any():
        return False
    order = np.lexsort((indices, row))
    row, indices = row[order], indices[order]
    return bool(((row[1:] == row[:-1]) & (indices[1:] == indices[:-1])).any())


def _weights(tokens: _Tokens, entries: _Entries) -> np.ndarray | None:
    """Instance weights, shape (n,); None where no label has one.

    Raises:
        ParseError: only some labels have one, or one is not a number.
    """
    weighted = np.flatnonzero(tokens.heads & tokens.names)
    if not len(weighted):
        return None
    if len(weighted) != entries.rows:
        raise ParseError("only some labels have weights")
    return tokens.numbers(weighted + 1)


def _groups(tokens: _Tokens, entries: _Entries) -> np.ndarray | None:
    """Query ids, shape (n,), int64; None where no row has one.

    Raises:
        ParseError: only some rows have one, a row has two, or one is not an integer.
    """
    if not len(entries.queries):
        return None
    if not np.array_equal(tokens.row[entries.queries], np.arange(entries.rows)):
        raise ParseError("only some rows have a query id, or a row has two")
    return tokens.numbers(entries.queries + 1, np.int64)


def _csr(values: np.ndarray, entries: _Entries, rows: RowFormat) -> sp.csr_array:
    width = rows.feature_dim or int(entries.indices.max(initial=-1)) + 1
    bounds = np.zeros(entries.rows + 1, np.int32)
    np.cumsum(np.bincount(entries.row, minlength=entries.rows), out=bounds[1:])
    return sp.csr_array((values, entries.indices, bounds), shape=(entries.rows, width))


def _check(
    block: Block,
    name: str,
    rows: RowFormat,
    entries: _Entries,
    parsed: tuple[np.ndarray, np.ndarray | None, np.ndarray | None],
) -> None:
    """Raise for an index beyond ``feature_dim`` and for NaN and infinity where they are not allowed."""
    values, labels, weights = parsed
    if rows.feature_dim is not None and entries.indices.max(initial=-1) >= rows.feature_dim:
        entry = int(np.argmax(entries.indices >= rows.feature_dim))
        raise WidthError(
            f"{_place(block, name, int(entries.row[entry]))}: index {entries.indices[entry]} is beyond feature_dim "
            f"{rows.feature_dim}; indices count from 0"
        )
    if rows.finite and (found := first_non_finite(values)):
        place = _place(block, name, int(entries.row[found]))
        raise not_finite(place, float(values[found]), f"feature {entries.indices[found]}")
    for part, what in ((labels, "the label"), (weights, "the weight")):
        if part is not None and (found := first_non_finite(part)):
            raise not_finite(_place(block, name, found[0]), float(part[found]), what)


def _lines(block: Block) -> Iterator[tuple[int, list[bytes]]]:
    """Number and tokens of each line that is a row: slow, and only for error messages."""
    for offset, line in enumerate(block.text.split(b"\n")[:-1]):
        if tokens := [token for token in re.split(rb"[ \t]+", line.partition(b"#")[0]) if token]:
            yield block.line + offset, tokens


def _place(block: Block, name: str, row: int) -> str:
    return f"{name}, line {next(islice(_lines(block), row, None))[0]}"


def _explain(block: Block, name: str, rows: RowFormat) -> NoReturn:
    """Find what is wrong with a block that could not be parsed, and raise it."""
    first: tuple[bool, bool] | None = None
    for line, tokens in _lines(block):
        place = f"{name}, line {line}"
        label = tokens.pop(0) if rows.labels == "required" or b":" not in tokens[0] else None
        if label is not None:
            _explain_label(label, place)
        has = label is not None and b":" in label, _explain_pairs(tokens, place)
        if first not in (None, has):
            raise ParseError(f"{place}: all rows must have a weight (label:weight) and a qid, or none of them")
        first = has
    raise ParseError(f"{name}, line {block.line}: not rows of 'label index:value index:value ...'")


def _explain_label(label: bytes, place: str) -> None:
    parts = label.split(b":")
    if len(parts) > 2 or any(not part or number(part) is None for part in parts):
        raise ParseError(f"{place}: {shown(label)} is not a label; a row begins with 'label' or 'label:weight'")


def _explain_pairs(pairs: list[bytes], place: str) -> bool:
    """Raise for a pair that is wrong; whether there is a query id."""
    seen = set()
    for pair in pairs:
        index, colon, value = pair.partition(b":")
        if not colon:
            raise ParseError(f"{place}: {shown(pair)} has no colon; features look like 'index:value'")
        if index == b"qid":
            if number(value, np.int64) is None:
                raise ParseError(f"{place}: the query id {shown(value)} is not an integer")
        elif number(index, np.int32) is None or not 0 <= int(index) <= _LARGEST_INDEX:
            raise ParseError(f"{place}: the index {shown(index)} is not an integer from 0 to {_LARGEST_INDEX}")
        elif number(value) is None:
            raise ParseError(f"{place}: the value {shown(value)} of feature {int(index)} is not a number")
        key = b"qid" if index == b"qid" else int(index)
        if key in seen:
            raise ParseError(f"{place}: {shown(index)} appears twice")
        seen.add(key)
    return b"qid" in seen
