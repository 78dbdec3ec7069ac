"""Valid input made wrong: bits flipped, parts cut out, doubled or exchanged, numbers made huge, nesting made deep."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from random import Random

_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PAIR = re.compile(rb'"[^"]*"\s*:\s*(?:"[^"]*"|[^,{}\[\]]+)')
_WORDS = (
    b"nan", b"NaN", b"inf", b"-Infinity", b"Infinity", b"null", b"true", b"[]", b"{}", b'""', b"-1", b"0", b"1e999",
    b"-0", b"1e-999", b"2147483647", b"2147483648", b"4294967296", b"9223372036854775807", b"18446744073709551616",
    b"1" * 400, b"0." + b"0" * 400 + b"1", b"0" * 120 + b"7", b"1.0000000596046447753906251", b"9" * 5000, b"\xff\xfe",
    b"\x00", b'"', b",", b":", b";", b"\t", b"\n", b"\r\n", b"#", b"qid:1", b"e", b".", b"+",
)  # fmt: skip
_INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xCED7230A, 3 << 28, 1 << 29)


def mutate(random: Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with one to six changes."""
    data = random.choice(seeds)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        data = random.choice(_CHANGES)(random, data, seeds)
    return data


def _place(random: Random, data: bytes) -> int:
    return random.randrange(len(data) + 1)


def _flip(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8)) if data else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _truncate(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    return data[: _place(random, data)]


def _cut_out(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start = _place(random, data)
    return data[:start] + data[start + random.choice((1, 2, 4, 8, 100)) :]


def _repeat(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start = _place(random, data)
    part = data[start : start + random.choice((1, 4, 30, 300))]
    return data[:start] + part * random.choice((2, 3, 50)) + data[start + len(part) :]


def _splice(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = random.choice(seeds)
    return data[: _place(random, data)] + other[_place(random, other) :]


def _word(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start = _place(random, data)
    return data[:start] + random.choice(_WORDS) + data[start + random.choice((0, 0, 1, 5)) :]


def _number(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    found = list(_NUMBER.finditer(data[:50_000]))
    if not found:
        return _word(random, data, seeds)
    chosen = random.choice(found)
    return data[: chosen.start()] + random.choice(_WORDS) + data[chosen.end() :]


def _integer(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Another little- or big-endian integer: a length, a count, a size."""
    start, kind = _place(random, data), random.choice(("<I", ">I", "<Q", "<H"))
    value = random.choice(_INTEGERS) & ((1 << 8 * struct.calcsize(kind)) - 1)
    return data[:start] + struct.pack(kind, value) + data[start + struct.calcsize(kind) :]


def _varint(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start = _place(random, data)
    return data[:start] + b"\xff" * random.choice((1, 4, 5, 9, 11)) + b"\x01" + data[start + 1 :]


def _nest(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start, depth = _place(random, data), random.choice((3, 100, 20_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return data[:start] + opening * depth + b"1" + closing * depth + data[start:]


def _double_key(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    found = list(_PAIR.finditer(data[:50_000]))
    if not found:
        return _repeat(random, data, seeds)
    chosen = random.choice(found)
    return data[: chosen.end()] + b"," + random.choice(found).group() + data[chosen.end() :]


_CHANGES: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    _flip, _flip, _truncate, _cut_out, _repeat, _splice, _word, _number, _number, _integer, _varint, _nest, _double_key,
)  # fmt: skip
