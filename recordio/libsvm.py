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
from functools import partial
from typing import BinaryIO, NamedTuple

import numpy as np
import scipy.sparse as sp

from recordio.batches import Batch
from recordio.content_type import ContentType
from recordio.errors import ParseError, WidthError
from recordio.prefetch import parallel
from recordio.rows import RowFormat, first_non_finite, not_finite
from recordio.text import Block, NotNumberError, blocks, body_block, is_number, numbers, shown

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
    parse = partial(_parse, rows=rows)
    for batch in parallel(parse, blocks(stream, name, content_type)):
        if batch is not None:
            yield batch


def decode_libsvm(body: bytes, rows: RowFormat, content_type: ContentType) -> Iterator[Batch]:
    """Read the rows of a request: the same parser, on one block."""
    batch = _parse(body_block(body, content_type), rows)
    if batch is not None:
        yield batch


class _Tokens(NamedTuple):
    """The tokens of a block in their order; each array has one entry for each of them.

    Attributes:
        text: the block's text, blanks in the place of comments, so that positions stay what they are.
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

    def numbers(self, chosen: np.ndarray, kind: type[np.generic] = np.float32) -> np.ndarray:
        """The tokens at the chosen positions as numbers, shape (count,).

        Raises:
            _WrongError: one is not a number of that type.
        """
        try:
            return np.ascontiguousarray(numbers(self.text, self.starts[chosen], self.ends[chosen], kind))
        except NotNumberError as error:
            raise _WrongError(int(self.starts[chosen[error.index]])) from None

    def check(self, wrong: np.ndarray, chosen: np.ndarray | None = None) -> None:
        """Raise _WrongError for the first of the (chosen) tokens that is wrong."""
        if wrong.any():
            first = int(wrong.argmax())
            raise _WrongError(int(self.starts[first if chosen is None else chosen[first]]))


class _WrongError(Exception):
    """Something is wrong with the line at a position in the text."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def _parse(block: Block, rows: RowFormat) -> Batch | None:
    """The rows of a block; None where it has none."""
    try:
        tokens = _tokens(block.text)
        if tokens is None:
            return None
        entries = _entries(tokens, rows)
        heads = np.flatnonzero(tokens.heads if rows.labels == "required" else tokens.heads & ~tokens.names)
        labels = tokens.numbers(heads)  # labels that are left out must be numbers too
        weights = _weights(tokens) if rows.labels == "required" else None
        groups = _groups(tokens, entries)
        values = tokens.numbers(entries.tokens + 1)
    except _WrongError as error:
        raise _explained(block, error.position, rows) from None
    _check_values(block, rows, tokens, entries, values)
    if rows.labels == "none":
        return Batch(_csr(values, entries, rows), None, None, groups)
    for part, what in ((labels, "the label"), (weights, "the weight")):
        if part is not None and (found := first_non_finite(part)):
            raise not_finite(block.place(tokens.starts[heads[found[0]]]), float(part[found]), what)
    return Batch(_csr(values, entries, rows), labels, weights, groups)


def _tokens(text: bytes) -> _Tokens | None:
    """Cut a block into tokens; None where there are none.

    Raises:
        _WrongError: a colon stands elsewhere than between two tokens, or a token has two.
    """
    if b"#" in text:
        text = _COMMENT.sub(lambda comment: b" " * len(comment.group()), text)
    code = np.frombuffer(text, np.uint8)
    newline = code == ord("\n")
    colon = code == ord(":")
    ends = np.flatnonzero(newline | colon | (code == ord(" ")) | (code == ord("\t")))
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    closes = newline[ends]
    line = np.cumsum(closes) - closes  # a newline belongs to the line that it ends
    full = starts < ends  # False between two separators
    if not full.all():
        starts, ends, line = starts[full], ends[full], line[full]
    if np.count_nonzero(names := colon[ends]) != np.count_nonzero(colon):
        raise _WrongError(int(np.setdiff1d(np.flatnonzero(colon), ends[names])[0]))
    if not len(starts):
        return None

    values = colon[starts - 1]  # the text ends with a newline, and so position -1 is no colon
    heads = np.empty(len(line), np.bool_)
    heads[0] = True
    heads[1:] = line[1:] != line[:-1]
    tokens = _Tokens(text, starts, ends, np.cumsum(heads) - 1, heads, names, values)
    wrong = names & values
    wrong[:-1] |= names[:-1] & (starts[1:] != ends[:-1] + 1)
    wrong[-1] |= names[-1]
    tokens.check(wrong)
    return tokens


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
        _WrongError: a token has no colon and is no label, an index is not one, or a row has an index twice.
    """
    tokens.check(~(tokens.heads | tokens.names | tokens.values))
    pairs = np.flatnonzero(tokens.names & ~tokens.heads if rows.labels == "required" else tokens.names)
    queries = pairs[:0]
    if b"qid:" in tokens.text:
        code, starts = np.frombuffer(tokens.text, np.uint8), tokens.starts[pairs]
        asks = tokens.ends[pairs] - starts == len(b"qid")
        for offset, letter in enumerate(b"qid"):  # a pair and the newline are longer: the offset is within the text
            asks &= code[starts + offset] == letter
        pairs, queries = pairs[~asks], pairs[asks]
    indices = tokens.numbers(pairs, np.int32)
    tokens.check((indices < 0) | (indices > _LARGEST_INDEX), pairs)
    row = tokens.row[pairs]
    _check_order(tokens, pairs, indices, row)
    return _Entries(pairs, indices, row, queries, int(tokens.row[-1]) + 1)


def _check_order(tokens: _Tokens, pairs: np.ndarray, indices: np.ndarray, row: np.ndarray) -> None:
    """Raise _WrongError for a row that has an index twice. Rows in order, as most are, need no sorting to see it."""
    if not ((row[1:] == row[:-1]) & (indices[1:] <= indices[:-1])).any():
        return
    order = np.lexsort((indices, row))
    row, indices = row[order], indices[order]
    tokens.check((row[1:] == row[:-1]) & (indices[1:] == indices[:-1]), pairs[order[1:]])


def _weights(tokens: _Tokens) -> np.ndarray | None:
    """Instance weights, shape (n,); None where no label has one.

    Raises:
        _WrongError: only some labels have one, or one is not a number.
    """
    heads = np.flatnonzero(tokens.heads)
    weighted = tokens.names[heads]
    if not weighted.any():
        return None
    tokens.check(~weighted, heads)
    return tokens.numbers(heads + 1)


def _groups(tokens: _Tokens, entries: _Entries) -> np.ndarray | None:
    """Query ids, shape (n,), int64; None where no row has one.

    Raises:
        _WrongError: only some rows have one, a row has two, or one is not an integer.
    """
    if not len(entries.queries):
        return None
    groups = tokens.numbers(entries.queries + 1, np.int64)
    count = np.bincount(tokens.row[entries.queries], minlength=entries.rows)
    tokens.check(count != 1, np.flatnonzero(tokens.heads))
    return groups


def _csr(values: np.ndarray, entries: _Entries, rows: RowFormat) -> sp.csr_array:
    width = rows.feature_dim or int(entries.indices.max(initial=-1)) + 1
    bounds = np.zeros(entries.rows + 1, np.int32)
    np.cumsum(np.bincount(entries.row, minlength=entries.rows), out=bounds[1:])
    return sp.csr_array((values, entries.indices, bounds), shape=(entries.rows, width))


def _check_values(block: Block, rows: RowFormat, tokens: _Tokens, entries: _Entries, values: np.ndarray) -> None:
    """Raise for an index beyond ``feature_dim`` and for a value that is NaN or infinite where that is not allowed."""
    if rows.feature_dim is not None and entries.indices.max(initial=-1) >= rows.feature_dim:
        entry = int(np.argmax(entries.indices >= rows.feature_dim))
        raise WidthError(
            f"{block.place(tokens.starts[entries.tokens[entry]])}: index {entries.indices[entry]} is beyond "
            f"feature_dim {rows.feature_dim}; indices count from 0"
        )
    if rows.finite and (found := first_non_finite(values)):
        place = block.place(tokens.starts[entries.tokens[found[0]]])
        raise not_finite(place, float(values[found]), f"feature {entries.indices[found[0]]}")


def _explained(block: Block, position: int, rows: RowFormat) -> ParseError:
    """What is wrong with the line at a position, in words."""
    tokens = re.split(rb"[ \t]+", block.line_at(position).partition(b"#")[0].strip(b" \t"))
    label = tokens.pop(0) if rows.labels == "required" or b":" not in tokens[0] else None
    problem = _label_problem(label) if label is not None else None
    problem = problem or next(filter(None, map(_pair_problem, tokens)), None) or _row_problem(tokens)
    return ParseError(f"{block.place(position)}: {problem}")


def _label_problem(label: bytes) -> str | None:
    parts = label.split(b":")
    if len(parts) <= 2 and all(part and is_number(part) for part in parts):
        return None
    return f"{shown(label)} is not a label; a row begins with 'label' or 'label:weight'"


def _pair_problem(pair: bytes) -> str | None:
    index, colon, value = pair.partition(b":")
    if not colon:
        return f"{shown(pair)} has no colon; features look like 'index:value'"
    if index == b"qid":
        return None if value and is_number(value, np.int64) else f"the query id {shown(value)} is not an integer"
    if not index or not is_number(index, np.int32) or not 0 <= int(index) <= _LARGEST_INDEX:
        return f"the index {shown(index)} is not an integer from 0 to {_LARGEST_INDEX}"
    if not value or not is_number(value):
        return f"the value {shown(value)} of feature {int(index)} is not a number"
    return None


def _row_problem(pairs: list[bytes]) -> str:
    """What is wrong with a row of which every token is right."""
    seen: set[bytes | int] = set()
    for pair in pairs:
        index = pair.partition(b":")[0]
        key = index if index == b"qid" else int(index)
        if key in seen:
            return f"{shown(index)} appears twice"
        seen.add(key)
    return "all rows must have a weight (label:weight) and a qid, or none of them"
