"""Pairs of token sequences in Records: the data of sequence-to-sequence learning.

A Record has the features ``source`` and ``target``, each an ``int32_tensor`` whose values are the ids of tokens, of any
length. In requests the target is empty or absent; in answers there is nothing but the target.

Many short records are decoded at once: all that is the same in every record (tags, keys, lengths of one byte) is
checked with array operations, and all numbers are decoded together. A record that is written in any other way that
protobuf allows takes the path of the generated message class, which also finds the words for what is wrong.
"""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from recordio.errors import EmptyDataError, RecordError
from recordio.framing import frames, write_frame
from recordio.record_message import Record, parse

SOURCE, TARGET = "source", "target"

_BLOCK = 1 << 15  # records that are decoded together
_MOST_ID = (1 << 31) - 1
_KEYS = {name: np.frombuffer(b"\x0a\x06" + name.encode() + b"\x12", np.uint8) for name in (SOURCE, TARGET)}
_MOST_VARINT = 10  # bytes of a negative int32


@dataclass(frozen=True)
class Ragged:
    """Sequences of numbers, one after the other.

    Attributes:
        values: shape (total length,), int32.
        offsets: shape (n + 1,), int64; sequence i is ``values[offsets[i]:offsets[i + 1]]``.

    >>> [list(map(int, part)) for part in Ragged.of([[7, 8], [], [9]])]
    [[7, 8], [], [9]]
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int] | np.ndarray]) -> Ragged:
        """From sequences of integers."""
        parts = [np.asarray(sequence, np.int32) for sequence in sequences]
        values = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        return cls(values, _offsets(np.array([len(part) for part in parts], np.int64)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """Shape (n,), int64."""
        return np.diff(self.offsets)


class Pairs(NamedTuple):
    """Sources and targets, of the same number."""

    source: Ragged
    target: Ragged


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


# ---- reading --------------------------------------------------------------------------------------------------------


def decode(records: Iterable[bytes], name: str, *, targets: bool = True) -> Pairs:
    """The pairs in the bodies of records; ``name`` is what error messages call the data.

    Without ``targets`` a record need not have one, and those that there are count as empty.

    Raises:
        EmptyDataError: there are no records.
        RecordError: a record is no Record message, lacks a feature, or has one that holds no integers.
    """
    blocks: list[Pairs] = []
    bodies, done = iter(records), 0
    while block := list(itertools.islice(bodies, _BLOCK)):
        blocks.append(_decode_block(block, name, done, targets))
        done += len(block)
    if not blocks:
        raise EmptyDataError(f"{name}: there are no records")
    return Pairs(_joined([block.source for block in blocks]), _joined([block.target for block in blocks]))


def decode_body(body: bytes, name: str, *, targets: bool = True) -> Pairs:
    """The same for framed records in memory: the body of a request.

    Raises:
        FrameError: the framing is broken. EmptyDataError, RecordError: as ``decode``.
    """
    return decode(frames(io.BytesIO(body), name), name, targets=targets)


def _joined(parts: list[Ragged]) -> Ragged:
    lengths = np.concatenate([part.lengths for part in parts])
    return Ragged(np.concatenate([part.values for part in parts]), _offsets(lengths))


def _decode_block(bodies: list[bytes], name: str, first: int, targets: bool) -> Pairs:
    data = np.frombuffer(b"".join(bodies) + bytes(_MOST_VARINT + len(_KEYS[SOURCE])), np.uint8)
    stops = np.cumsum([len(body) for body in bodies], dtype=np.int64)
    usual, spans = _walk(data, stops - [len(body) for body in bodies], stops)
    for index in np.flatnonzero(~usual).tolist():
        spans[:, index] = 0  # nothing to decode here
    found = {key: _decode_varints(data, spans[row]) for row, key in enumerate((SOURCE, TARGET))}
    usual &= ~(found[SOURCE].bad | found[TARGET].bad)
    unusual = np.flatnonzero(~usual if targets else ~usual | (found[TARGET].counts > 0)).tolist()
    if not unusual:
        return Pairs(*(Ragged(found[key].values, _offsets(found[key].counts)) for key in (SOURCE, TARGET)))
    plain = [list(Ragged(found[key].values, _offsets(found[key].counts))) for key in (SOURCE, TARGET)]
    for index in unusual:
        source, target = _decode_message(bodies[index], f"{name}: record {first + index}", targets)
        plain[0][index], plain[1][index] = source, target
    return Pairs(Ragged.of(plain[0]), Ragged.of(plain[1]))


def _walk(data: np.ndarray, at: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which records are written in the usual way, (n,), and where their packed values are.

    The usual way: two map entries, each one of the two keys with an ``int32_tensor`` that has values and nothing else,
    or is empty.

    Returns:
        usual: (n,). spans: (2, n, 2), start and stop of the values of source and target.
    """
    usual = np.ones(len(at), bool)
    spans = np.zeros((2, len(at), 2), np.int64)
    seen = np.zeros((2, len(at)), bool)
    limit = len(data) - 1
    for _ in range(2):
        length, inner = _length(data, np.minimum(at + 1, limit))
        usual &= (data[np.minimum(at, limit)] == 0x0A) & (inner + length <= stops)
        end = np.where(usual, inner + length, 0)
        key = data[np.minimum(inner[:, None] + np.arange(9), limit)]
        which = (key == _KEYS[TARGET]).all(axis=1).astype(np.int64)
        usual &= (which == 1) | (key == _KEYS[SOURCE]).all(axis=1)
        at = np.minimum(inner + 9, limit)
        for tag in (None, 0x3A, 0x0A):  # Value (whose tag was part of the key), int32_tensor, values
            empty = at >= end
            length, inner = _length(data, np.minimum(at + (tag is not None), limit))
            right = (data[np.minimum(at, limit)] == tag) if tag is not None else True
            usual &= empty & (tag is not None) & (at == end) | ~empty & right & (inner + length == end)
            at = np.where(empty, at, np.minimum(inner, limit))
        rows = np.arange(len(at))
        usual &= ~seen[which, rows]
        seen[which, rows] = True
        spans[which, rows] = np.stack([at, end], axis=1)
        at = end
    return usual & (at == stops), spans


def _length(data: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of up to four bytes at ``at``, and where what they measure begins; a longer one becomes too long."""
    length = np.zeros(len(at), np.int64)
    more = np.ones(len(at), bool)
    for position in range(4):
        byte = data[np.minimum(at, len(data) - 1)].astype(np.int64)
        length += np.where(more, (byte & 0x7F) << (7 * position), 0)
        at = at + more
        more &= byte >= 0x80
    return np.where(more, len(data), length), at


class _Varints(NamedTuple):
    values: np.ndarray  # (total,), int32
    counts: np.ndarray  # (n,), values of each record
    bad: np.ndarray  # (n,), records whose numbers cannot be decoded so


def _decode_varints(data: np.ndarray, spans: np.ndarray) -> _Varints:
    """The varints in the spans, (n, 2), of ``data``."""
    lengths = spans[:, 1] - spans[:, 0]
    offsets = _offsets(lengths)
    record = np.repeat(np.arange(len(spans)), lengths)
    packed = data[np.arange(offsets[-1]) - offsets[record] + spans[record, 0]]
    last = packed < 0x80
    bad = np.zeros(len(spans), bool)
    if not len(packed):
        return _Varints(np.zeros(0, np.int32), np.zeros(len(spans), np.int64), bad)
    ends_inside = ~last[offsets[1:] - 1] & (lengths > 0)
    if ends_inside.any() or not last.all() and not _short(last):
        # a number that is cut off or is longer than an id can be: these records are looked at one by one
        bad |= ends_inside | np.isin(np.arange(len(spans)), record[_inside_long(last)])
        return _decode_varints(data, np.where(bad[:, None], 0, spans))._replace(bad=bad)
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    place = np.arange(len(packed)) - np.repeat(starts, np.diff(np.append(starts, len(packed))))
    parts = (packed & 0x7F).astype(np.int64) << (7 * place)
    values = np.add.reduceat(parts, starts)
    counts = np.bincount(record[starts], minlength=len(spans))
    too_large = values > _MOST_ID
    if too_large.any():
        bad[record[starts[too_large]]] = True
        return _decode_varints(data, np.where(bad[:, None], 0, spans))._replace(bad=bad)
    return _Varints(values.astype(np.int32), counts, bad)


def _short(last: np.ndarray) -> bool:
    """Whether no number has more than five bytes."""
    return not _inside_long(last).any()


def _inside_long(last: np.ndarray) -> np.ndarray:
    """(total,): the bytes that are the fifth or a later one in a row with their upper bit set."""
    more = ~last
    found = more.copy()
    for shift in range(1, 5):
        found[shift:] &= more[:-shift]
        found[:shift] = False
    return found


def _decode_message(body: bytes, place: str, targets: bool) -> tuple[np.ndarray, np.ndarray]:
    """One record through the generated message class.

    Raises:
        RecordError: see ``decode``.
    """
    record = parse(body, place)
    source = _ids(record, SOURCE, place, required=True)
    return source, _ids(record, TARGET, place, required=True) if targets else np.zeros(0, np.int32)


def _ids(record: Record, key: str, place: str, *, required: bool) -> np.ndarray:
    if key not in record.features:
        names = ", ".join(sorted(map(repr, record.features)))
        raise RecordError(f"{place}: has no features['{key}'], only {names or 'nothing'}")
    value = record.features[key]
    field = value.WhichOneof("value")
    if field is None:
        return np.zeros(0, np.int32)
    if field != "int32_tensor":
        raise RecordError(f"{place}: features['{key}'] holds {field}, expected an int32_tensor of the ids of tokens")
    if len(value.int32_tensor.keys):
        raise RecordError(f"{place}: features['{key}'] is sparse, expected the ids of tokens one after the other")
    return np.array(value.int32_tensor.values, np.int32)


# ---- writing --------------------------------------------------------------------------------------------------------


def encode(pairs: Pairs) -> bytes:
    """Framed records, byte for byte as the generated message class writes them (its map entries in this order).

    >>> encode(Pairs(Ragged.of([[4, 300]]), Ragged.of([[5]])))[8:].hex(" ")
    '0a 11 0a 06 73 6f 75 72 63 65 12 07 3a 05 0a 03 04 ac 02 0a 0f 0a 06 74 61 72 67 65 74 12 05 3a 03 0a 01 05'
    """
    stream = io.BytesIO()
    for source, target in zip(pairs.source, pairs.target, strict=True):
        write_frame(stream, _entry(SOURCE, source) + _entry(TARGET, target))
    return stream.getvalue()


def encode_targets(targets: Iterable[Sequence[int] | np.ndarray]) -> bytes:
    """Framed records that have a target and nothing else: an answer."""
    stream = io.BytesIO()
    for target in targets:
        write_frame(stream, _entry(TARGET, target))
    return stream.getvalue()


def _entry(key: str, ids: Sequence[int] | np.ndarray) -> bytes:
    values = b"".join(_varint(int(number)) for number in ids)
    tensor = b"\x0a" + _varint(len(values)) + values if values else b""
    value = b"\x3a" + _varint(len(tensor)) + tensor
    inner = b"\x0a\x06" + key.encode() + b"\x12" + _varint(len(value)) + value
    return b"\x0a" + _varint(len(inner)) + inner


@functools.lru_cache(1 << 16)
def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # a negative int32 is written as 64 bits
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
