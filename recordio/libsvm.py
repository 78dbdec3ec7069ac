"""``text/libsvm``: ``label[:weight] [qid:group] index:value index:value ... # comment``.

**Index base.** An index is the number of the feature, counted from 0, in training and in requests alike. This is how
XGBoost itself reads LIBSVM text. Files whose indices begin with 1 work too: feature 0 is then absent from every row,
when training and when predicting. Nothing is ever shifted, since a shift that depends on the rows at hand gives the
same row another meaning in another request.

**Absent features** are absent, not zero: rows become CSR arrays with exactly the entries written. A pair without a
value (``8:``, as in AWS's own test data) is absent too. **Width**: that of ``RowFormat.feature_dim``; without it, the
largest index of the block plus one.

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

from recordio import text_kernel
from recordio.batches import Batch
from recordio.content_type import ContentType
from recordio.errors import ParseError, WidthError
from recordio.prefetch import parallel
from recordio.rows import RowFormat, first_non_finite, not_finite
from recordio.text import Block, NotNumberError, blocks, body_block, is_number, numbers, shown

_COMMENT = re.compile(rb"#[^\n]*")
_NO_VALUE = re.compile(rb"(?<=[ \t])[0-9]+:(?=[ \t\n])")
_LARGEST_INDEX = 2**31 - 2  # so that the width is an int32 too


def read_libsvm(
    stream: BinaryIO, name: str, rows: RowFormat, content_type: ContentType
) -> Generator[Batch, None, None]:
    """Read rows from a file or FIFO, a block at a time; blocks are parsed in several threads and come in order.

    Parameters
    ----------
    stream
        open binary stream.
    name
        what error messages call it.

    Raises
    ------
    ParseError, WidthError, ValueRangeError
        each names file and line.
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

    Attributes
    ----------
    text
        the block's text, blanks in the place of comments and of pairs without a value, so that positions stay what they
        are.
    starts, ends
        bounds in the text.
    row
        number of its row in the block; lines without tokens are no rows.
    heads
        it is the first of its row.
    names
        it stands before a colon, as an index or as a label with a weight.
    values
        it stands after a colon.
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

        Raises
        ------
        _WrongError
            one is not a number of that type.
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
    labelled = rows.labels == "required"
    found, groups = text_kernel.sparse_rows(block.text, labelled), None
    if found is None:
        try:
            tokens = _tokens(block.text)
            if tokens is None:
                return None
            found, groups = _sparse_rows(tokens, labelled)
        except _WrongError as error:
            raise _explained(block, error.position, labelled) from None
    _check(block, found, rows, labelled)
    width = rows.feature_dim or int(found.indices.max(initial=-1)) + 1
    features = sp.csr_array((found.values, found.indices, found.bounds), shape=(len(found.labels), width))
    return Batch(features, found.labels if labelled else None, found.weights, groups)


def _tokens(text: bytes) -> _Tokens | None:
    """Cut a block into tokens; None where there are none.

    Raises
    ------
    _WrongError
        a colon stands elsewhere than between two tokens, or a token has two.
    """
    if b"#" in text:
        text = _COMMENT.sub(lambda comment: b" " * len(comment.group()), text)
    if b": " in text or b":\n" in text or b":\t" in text:
        text = _NO_VALUE.sub(lambda pair: b" " * len(pair.group()), text)
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


def _sparse_rows(tokens: _Tokens, labelled: bool) -> tuple[text_kernel.SparseRows, np.ndarray | None]:
    """The rows of a block, and their query ids, shape (n,), int64, or None for none.

    Raises
    ------
    _WrongError
        a token is not what its place asks for, or a row has an index twice.
    """
    tokens.check(~(tokens.heads | tokens.names | tokens.values))
    heads = np.flatnonzero(tokens.heads)
    labels = tokens.numbers(heads if labelled else heads[~tokens.names[heads]])  # those left out are numbers too
    pairs = np.flatnonzero(tokens.names & ~tokens.heads if labelled else tokens.names)
    asks = _is_query(tokens, pairs)
    pairs, queries = pairs[~asks], pairs[asks]
    indices = tokens.numbers(pairs, np.int32)
    tokens.check((indices < 0) | (indices > _LARGEST_INDEX), pairs)
    row = tokens.row[pairs]
    _check_order(tokens, pairs, indices, row)
    bounds = np.zeros(len(heads) + 1, np.int32)
    np.cumsum(np.bincount(row, minlength=len(heads)), out=bounds[1:])
    weights = _weights(tokens, heads) if labelled else None
    values = tokens.numbers(pairs + 1)
    if not labelled:
        labels = np.empty(len(heads), np.float32)
    return text_kernel.SparseRows(labels, weights, values, indices, bounds), _groups(tokens, heads, queries)


def _is_query(tokens: _Tokens, pairs: np.ndarray) -> np.ndarray:
    """Which of the pairs begin with the word ``qid``; shape (pairs,)."""
    if b"qid:" not in tokens.text:
        return np.zeros(len(pairs), np.bool_)
    code, starts = np.frombuffer(tokens.text, np.uint8), tokens.starts[pairs]
    asks = tokens.ends[pairs] - starts == len(b"qid")
    for offset, letter in enumerate(b"qid"):  # a pair and the newline are longer: the offset is within the text
        asks &= code[starts + offset] == letter
    return asks


def _check_order(tokens: _Tokens, pairs: np.ndarray, indices: np.ndarray, row: np.ndarray) -> None:
    """Raise _WrongError for a row that has an index twice. Rows in order, as most are, need no sorting to see it."""
    if not ((row[1:] == row[:-1]) & (indices[1:] <= indices[:-1])).any():
        return
    order = np.lexsort((indices, row))
    row, indices = row[order], indices[order]
    tokens.check((row[1:] == row[:-1]) & (indices[1:] == indices[:-1]), pairs[order[1:]])


def _weights(tokens: _Tokens, heads: np.ndarray) -> np.ndarray | None:
    """Instance weights, shape (n,); None where no label has one.

    Raises
    ------
    _WrongError
        only some labels have one, or one is not a number.
    """
    weighted = tokens.names[heads]
    if not weighted.any():
        return None
    tokens.check(~weighted, heads)
    return tokens.numbers(heads + 1)


def _groups(tokens: _Tokens, heads: np.ndarray, queries: np.ndarray) -> np.ndarray | None:
    """Query ids, shape (n,), int64; None where no row has one.

    Raises
    ------
    _WrongError
        only some rows have one, a row has two, or one is not an integer.
    """
    if not len(queries):
        return None
    groups = tokens.numbers(queries + 1, np.int64)
    tokens.check(np.bincount(tokens.row[queries], minlength=len(heads)) != 1, heads)
    return groups


def _check(block: Block, found: text_kernel.SparseRows, rows: RowFormat, labelled: bool) -> None:
    """Raise for an index beyond ``feature_dim``, and for NaN and infinity where they are not allowed."""

    def place(row: int) -> str:
        tokens = _tokens(block.text)
        assert tokens is not None
        return block.place(tokens.starts[np.flatnonzero(tokens.heads)[row]])

    def row_of(entry: int) -> int:
        return int(np.searchsorted(found.bounds, entry, "right")) - 1

    if rows.feature_dim is not None and found.indices.max(initial=-1) >= rows.feature_dim:
        entry = int(np.argmax(found.indices >= rows.feature_dim))
        raise WidthError(
            f"{place(row_of(entry))}: index {found.indices[entry]} is beyond feature_dim {rows.feature_dim}; "
            "indices count from 0"
        )
    if rows.finite and (wrong := first_non_finite(found.values)):
        raise not_finite(place(row_of(wrong[0])), float(found.values[wrong]), f"feature {found.indices[wrong]}")
    if labelled:
        for part, what in ((found.labels, "the label"), (found.weights, "the weight")):
            if part is not None and (wrong := first_non_finite(part)):
                raise not_finite(place(wrong[0]), float(part[wrong]), what)


def _explained(block: Block, position: int, labelled: bool) -> ParseError:
    """What is wrong with the line at a position, in words."""
    tokens = re.split(rb"[ \t]+", block.line_at(position).partition(b"#")[0].strip(b" \t"))
    label = tokens.pop(0) if labelled or b":" not in tokens[0] else None
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
    if value and not is_number(value):
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
