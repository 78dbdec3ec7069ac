"""Pairs of token sequences in Records: the data of sequence-to-sequence learning.

A Record has the features ``source`` and ``target``, each an ``int32_tensor`` whose values are the ids of tokens, of any
length. In requests the target is empty or absent; in answers there is nothing but the target.

Many records are decoded at once by compiled code (``_sequences.c``), where they are written as every protobuf library
writes them. A record that is written in any other way that protobuf allows takes the path of the generated message
class, which also finds the words for what is wrong. Where the code was not compiled, all do.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import numpy as np

from recordio.errors import EmptyDataError, RecordError
from recordio.framing import frames, write_frame
from recordio.record_message import Record, parse
from recordio.record_writer import varint

kernel: ModuleType | None
try:
    from recordio import _sequences as kernel  # type: ignore[attr-defined,no-redef]  # built where there is a compiler
except ImportError:
    kernel = None

SOURCE, TARGET = "source", "target"

_BLOCK = 1 << 15  # records that are decoded together


@dataclass(frozen=True)
class Ragged:
    """Sequences of numbers, one after the other.

    Attributes
    ----------
    values
        shape (total length,), int32.
    offsets
        shape (n + 1,), int64; sequence i is ``values[offsets[i]:offsets[i + 1]]``.

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

    Raises
    ------
    EmptyDataError
        there are no records.
    RecordError
        a record is no Record message, lacks a feature, or has one that holds no integers.
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

    Raises
    ------
    FrameError
        the framing is broken.
    EmptyDataError, RecordError
        as ``decode``.
    """
    return decode(frames(io.BytesIO(body), name), name, targets=targets)


def _joined(parts: list[Ragged]) -> Ragged:
    lengths = np.concatenate([part.lengths for part in parts])
    return Ragged(np.concatenate([part.values for part in parts]), _offsets(lengths))


def _decode_block(bodies: list[bytes], name: str, first: int, targets: bool) -> Pairs:
    usual, found = _compiled(bodies)
    unusual = np.flatnonzero(~usual if targets else ~usual | (found.target.lengths > 0)).tolist()
    if not unusual:
        return found
    sources, all_targets = list(found.source), list(found.target)
    for index in unusual:
        place = f"{name}: record {first + index}"
        sources[index], all_targets[index] = _decode_message(bodies[index], place, targets)
    return Pairs(Ragged.of(sources), Ragged.of(all_targets))


def _compiled(bodies: list[bytes]) -> tuple[np.ndarray, Pairs]:
    """Which records are written in the usual way, (n,), and the pairs in these; empty ones in the others' places."""
    usual, counts = np.zeros(len(bodies), bool), np.zeros((2, len(bodies)), np.int64)
    if kernel is None:
        empty = Ragged(np.zeros(0, np.int32), _offsets(counts[0]))
        return usual, Pairs(empty, empty)
    data = b"".join(bodies)
    stops = np.cumsum([len(body) for body in bodies], dtype=np.int64)
    ids = [np.empty(len(data), np.int32) for _ in range(2)]  # a number takes a byte at least
    written = kernel.pairs(data, stops, usual.view(np.uint8), *ids, counts)
    return usual, Pairs(*(Ragged(ids[i][: written[i]].copy(), _offsets(counts[i])) for i in range(2)))


def _decode_message(body: bytes, place: str, targets: bool) -> tuple[np.ndarray, np.ndarray]:
    """One record through the generated message class.

    Raises
    ------
    RecordError
        see ``decode``.
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
    values = b"".join(varint(int(number)) for number in ids)
    tensor = b"\x0a" + varint(len(values)) + values if values else b""
    value = b"\x3a" + varint(len(tensor)) + tensor
    inner = b"\x0a\x06" + key.encode() + b"\x12" + varint(len(value)) + value
    return b"\x0a" + varint(len(inner)) + inner
