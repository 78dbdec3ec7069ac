"""What the text formats share: blocks of whole lines, and numbers parsed a block at a time.

Numbers are written as in C, without its hexadecimal ones: ``1``, ``-2.5``, ``.5e-3``, ``nan``, ``inf``. Every float is
the nearest float32, ties to even, for any number of digits. The compiled code (``_float32.h``) reads all but the words;
the code here is the reference, and serves where there is no compiler.
"""

from __future__ import annotations

import codecs
import io
import math
import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, NamedTuple

import numpy as np

from recordio import text_kernel
from recordio.compression import compression
from recordio.content_type import ContentType
from recordio.errors import ParseError
from recordio.limits import LARGEST_EXPONENT, LINE_LIMIT, LONGEST_INTEGER, LONGEST_NUMBER

BLOCK_BYTES = 1 << 20
"""Bytes of text read and parsed at once: small enough for the cache, large enough that calls cost nothing."""

REQUEST = "request"
"""What error messages call the body of a request."""

# Possessive (``++``): a run of digits is looked at once, however long it is and whatever comes after it.
_REAL = re.compile(
    rb"([+-]?)(?:(?:([0-9]++)(?:\.([0-9]*+))?|\.([0-9]++))(?:[eE]([+-]?[0-9]++))?|(?i:(nan)|inf|infinity))"
)
_INTEGER = re.compile(rb"(-?)0*+([0-9]*+)")
_OVERFLOW = math.ldexp(2 - 2.0**-24, 127)  # half between the largest float32 and the power of two after it
# The bits of a float64 that a float32 has not; they are _HALF just between two float32 of the usual sizes.
_BEHIND, _HALF = (1 << 29) - 1, 1 << 28
_TINY, _HUGE = 1.2e-38, 3.4e38
_DOUBLE, _BITS = struct.Struct("<d"), struct.Struct("<Q")
_UTF8_BOM = codecs.BOM_UTF8
_SHOWN = 40


class Block(NamedTuple):
    """Whole lines of text.

    Attributes
    ----------
    text
        ASCII-compatible, ends with a newline.
    line
        number of the first line, counted from 1.
    name
        of the stream it comes from.
    """

    text: bytes
    line: int
    name: str

    def place(self, position: int) -> str:
        """The line of ``text[position]``, for error messages."""
        line = self.line + self.text.count(b"\n", 0, position)
        return f"{self.name}, line {line}"

    def line_at(self, position: int) -> bytes:
        """The whole line around ``text[position]``, without its end."""
        return self.text[self.text.rfind(b"\n", 0, position) + 1 : self.text.index(b"\n", position)]


def blocks(stream: BinaryIO, name: str, content_type: ContentType, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """Cut a stream into blocks of whole lines, about ``size`` bytes each, whatever the length of the stream.

    A byte order mark is dropped, UTF-16 and UTF-32 are recoded, CRLF becomes LF.

    Raises
    ------
    ParseError
        the text is compressed, not in its charset, or has a line longer than ``LINE_LIMIT``.
    """
    line = 1
    for text in _whole_lines(_ascii_based(stream, name, content_type, size), name):
        yield Block(_unix(text), line, name)
        line += text.count(b"\n")


def body_block(body: bytes, content_type: ContentType) -> Block:
    """The body of a request as one block.

    Raises
    ------
    ParseError
        as ``blocks``.
    """
    text = b"".join(_ascii_based(io.BytesIO(body), REQUEST, content_type, len(body) + 1))
    return Block(_unix(text if text.endswith(b"\n") else text + b"\n"), 1, REQUEST)


def _unix(text: bytes) -> bytes:
    """Text that ends with a newline, with LF for CRLF."""
    return text.replace(b"\r\n", b"\n") if b"\r" in text else text


def no_byte_order_mark(error: UnicodeError) -> str:
    """What to state for UTF-16 and UTF-32 without a byte order mark; nothing where the text has another fault."""
    if isinstance(error, UnicodeDecodeError):  # of bytes in a known order
        return ""
    return "; bytes without that mark have a charset that says their order, as utf-16-le or utf-16-be"


def _ascii_based(stream: BinaryIO, name: str, content_type: ContentType, size: int) -> Iterator[bytes]:
    recoding = content_type.recoding
    decoder = codecs.getincrementaldecoder(recoding)() if recoding else None
    first = True
    while True:
        chunk = stream.read(size)
        if first and (compressed := compression(chunk)) is not None:  # files and FIFOs are decompressed already, once
            problem = "requests must not be" if name == REQUEST else "it is compressed twice, and once is undone"
            raise ParseError(f"{name}: the data is {compressed}; {problem}")
        if decoder is None:
            text = chunk
        else:
            try:
                text = decoder.decode(chunk, final=not chunk).encode()
            except UnicodeError as error:
                problem = f"the text is not in charset {recoding}: {error}{no_byte_order_mark(error)}"
                raise ParseError(f"{name}: {problem}") from error
        yield text.removeprefix(_UTF8_BOM) if first else text
        if not chunk:
            return
        first = False


def _whole_lines(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    held: list[bytes] = []  # the parts of a line whose end has not come yet
    length = 0
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            held.append(chunk[:end])
            yield b"".join(held)
            held, length = [], 0
        held.append(chunk[end:])
        length += len(chunk) - end
        if length > LINE_LIMIT:
            raise ParseError(f"{name}: no line end within {LINE_LIMIT} bytes")
    if length:
        yield b"".join(held) + b"\n"


class NotNumberError(ParseError):
    """The token at ``index`` is not a number; who knows where it stands says so."""

    def __init__(self, index: int) -> None:
        super().__init__(f"token {index} is not a number")
        self.index = index


def numbers(text: bytes, starts: np.ndarray, ends: np.ndarray, kind: type[np.generic] = np.float32) -> np.ndarray:
    """The numbers at ``text[starts[i]:ends[i]]``, shape (n,), of type ``kind`` (float32, int32, int64).

    Tokens must be apart from each other by at least one byte, not empty, and before the end of the text.

    Raises
    ------
    NotNumberError
        one of them, the first of which is named, is not a number of that type.
    """
    values = np.empty(len(starts), kind)
    index = 0
    while (index := text_kernel.tokens(text, starts, ends, values, index)) < len(starts):
        try:
            values[index] = number(text[starts[index] : ends[index]], kind)
        except ValueError:
            raise NotNumberError(index) from None
        index += 1
    return values


def number(token: bytes, kind: type[np.generic] = np.float32) -> np.generic:
    """The number that a token is, of type ``kind``; a real number is the nearest float32, or infinite beyond them.

    >>> number(b"-2.5e-1")
    np.float32(-0.25)

    Raises
    ------
    ValueError
        it is none.
    """
    return _real(token) if kind is np.float32 else _integer(token, kind)


def _integer(token: bytes, kind: type[np.generic]) -> np.generic:
    found = _INTEGER.fullmatch(token)
    if not found or token in (b"", b"-") or len(found[2]) > LONGEST_INTEGER:
        raise ValueError(token)
    bounds = np.iinfo(np.dtype(kind))
    value = int(found[1] + (found[2] or b"0"))
    if not bounds.min <= value <= bounds.max:
        raise ValueError(token)
    return np.dtype(kind).type(value)


def _real(token: bytes) -> np.float32:
    found = _REAL.fullmatch(token)
    if not found:
        raise ValueError(token)
    if len(token) <= LONGEST_NUMBER:
        wide = float(token)
        if _TINY < abs(wide) < _HUGE and _BITS.unpack(_DOUBLE.pack(wide))[0] & _BEHIND != _HALF:
            return np.float32(wide)
    sign, whole, tail, fraction, exponent, nan = found.groups(b"")
    if nan:
        return np.float32(np.nan)
    if not (whole or fraction):
        return np.float32(-np.inf if sign == b"-" else np.inf)
    size = _nearest(whole + tail + fraction, len(tail) + len(fraction), _exponent(exponent))
    return -size if sign == b"-" else size


def _exponent(text: bytes) -> int:
    """The exponent of ten; beyond ``LARGEST_EXPONENT`` its digits make no difference any more."""
    digits = text.lstrip(b"+-0")
    size = int(digits or b"0") if len(digits) <= len(str(LARGEST_EXPONENT)) else LARGEST_EXPONENT
    return -size if text.startswith(b"-") else size


def _nearest(digits: bytes, behind: int, exponent: int) -> np.float32:
    """The float32 nearest to a number, ties to even.

    Parameters
    ----------
    digits
        all of its digits, ``behind`` of them behind the point. No more than ``LONGEST_NUMBER`` significant ones are
        looked at: the half between two float32 has at most 113. Of the rest it matters only whether one is not zero; a
        digit 1 stands for them.
    """
    significant = digits.lstrip(b"0")
    if not significant:
        return np.float32(0)
    power = exponent - behind
    kept, rest = significant[:LONGEST_NUMBER], significant[LONGEST_NUMBER:]
    power += len(rest)
    if rest.strip(b"0"):
        kept, power = kept + b"1", power - 1
    if not -46 < len(kept) + power < 41:  # below half of the smallest float32, or beyond the largest
        return np.float32(0 if len(kept) + power < 0 else np.inf)
    wide = float(b"%se%d" % (kept, power))
    with np.errstate(over="ignore", under="ignore"):
        near = np.float32(wide)
    if float(near) == wide or not _is_half(wide, near):
        return near
    exact = int(kept) * Fraction(10) ** power
    if exact == Fraction(wide):
        return near  # a tie, which the conversion has settled as IEEE 754 asks for
    return _beside(near, wide) if (exact > wide) != (float(near) > wide) else near


def _is_half(wide: float, near: np.float32) -> bool:
    """Whether a float64 lies just between ``near`` and the next float32, so that rounding it may be rounding twice."""
    other = float(_beside(near, wide))
    if math.isinf(other) or math.isinf(near):
        return abs(wide) == _OVERFLOW
    return wide - float(near) == other - wide


def _beside(near: np.float32, wide: float) -> np.float32:
    """The float32 next to ``near`` on the side of ``wide``."""
    with np.errstate(over="ignore", under="ignore"):
        return np.nextafter(near, np.float32(np.inf if wide > float(near) else -np.inf))


def real(text: str) -> float:
    """The float32 nearest to a number of JSON, as Python's float: what its parser calls for each.

    >>> real("16777217.0000000001")
    16777218.0
    """
    value = text_kernel.real(text)
    return float(_real(text.encode())) if value is None else value


def integer(text: str) -> int | float:
    """An integer of JSON; one of more digits than an int64 has becomes the nearest float32."""
    return int(text) if len(text) <= LONGEST_INTEGER else real(text)


def is_number(token: bytes, kind: type[np.generic] = np.float32) -> bool:
    """Whether ``numbers`` takes a token."""
    try:
        number(token, kind)
    except ValueError:
        return False
    return True


def trim(code: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of tokens without the blanks around them; ``code`` is the text, shape (bytes,), uint8.

    Linear in the length of the text however long the runs of blanks are.
    """
    solid = np.flatnonzero((code != ord(" ")) & (code != ord("\t")))
    after = solid[np.searchsorted(solid, starts)]
    before = solid[np.searchsorted(solid, ends) - 1] + 1
    blank = after >= ends
    return np.where(blank, ends, after), np.where(blank, ends, before)


def shown(token: bytes) -> str:
    """A token for an error message: readable whatever it is, and not endless."""
    text = token.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
