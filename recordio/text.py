"""What the text formats share: blocks of whole lines, and numbers parsed a block at a time.

Numbers are written as in C, without its hexadecimal ones: ``1``, ``-2.5``, ``.5e-3``, ``nan``, ``inf``. The compiled
code reads the plain ones; what needs more care is read one by one, and every float is the nearest one.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import BinaryIO, NamedTuple

import numpy as np

from recordio import plain
from recordio.content_type import ContentType
from recordio.errors import ParseError

BLOCK_BYTES = 1 << 20
"""Bytes of text read and parsed at once: small enough for the cache, large enough that calls cost nothing."""

LINE_LIMIT = 1 << 28
"""Longest line in bytes. Text without line ends is not rows, and must not fill the memory."""

REQUEST = "request"
"""What error messages call the body of a request."""

_REAL = re.compile(rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:nan|inf|infinity))")
_INTEGER = re.compile(rb"-?[0-9]+")
_LONGEST_INTEGER = 100
_GZIP = b"\x1f\x8b"
_UTF8_BOM = codecs.BOM_UTF8
_SHOWN = 40


class Block(NamedTuple):
    """Whole lines of text.

    Attributes:
        text: ASCII-compatible, ends with a newline.
        line: number of the first line, counted from 1.
        name: of the stream it comes from.
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

    Raises:
        ParseError: the text is compressed, not in its charset, or has a line longer than ``LINE_LIMIT``.
    """
    line = 1
    for text in _whole_lines(_ascii_based(stream, name, content_type, size), name):
        yield Block(_unix(text), line, name)
        line += text.count(b"\n")


def body_block(body: bytes, content_type: ContentType) -> Block:
    """The body of a request as one block.

    Raises:
        ParseError: as ``blocks``.
    """
    text = b"".join(_ascii_based(io.BytesIO(body), REQUEST, content_type, len(body) + 1))
    return Block(_unix(text if text.endswith(b"\n") else text + b"\n"), 1, REQUEST)


def _unix(text: bytes) -> bytes:
    """Text that ends with a newline, with LF for CRLF."""
    return text.replace(b"\r\n", b"\n") if b"\r" in text else text


def _ascii_based(stream: BinaryIO, name: str, content_type: ContentType, size: int) -> Iterator[bytes]:
    recoding = content_type.recoding
    decoder = codecs.getincrementaldecoder(recoding)() if recoding else None
    first = True
    while True:
        chunk = stream.read(size)
        if first and chunk.startswith(_GZIP):
            raise ParseError(f"{name}: the data is gzip-compressed; set the channel's CompressionType to Gzip")
        if decoder is None:
            text = chunk
        else:
            try:
                text = decoder.decode(chunk, final=not chunk).encode()
            except UnicodeError as error:
                raise ParseError(f"{name}: the text is not in charset {recoding}: {error}") from error
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

    Raises:
        NotNumberError: one of them, the first of which is named, is not a number of that type.
    """
    values = np.empty(len(starts), kind)
    index = 0
    while (index := plain.tokens(text, starts, ends, values, index)) < len(starts):
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

    Raises:
        ValueError: it is none.
    """
    if kind is not np.float32:
        if not _INTEGER.fullmatch(token):
            raise ValueError(token)
        bounds = np.iinfo(np.dtype(kind))
        value = int(token[:_LONGEST_INTEGER])
        if len(token) > _LONGEST_INTEGER or not bounds.min <= value <= bounds.max:
            raise ValueError(token)
        return np.dtype(kind).type(value)
    if not _REAL.fullmatch(token):
        raise ValueError(token)
    with np.errstate(over="ignore", under="ignore"):
        return _nearest(token, float(token))


def _nearest(token: bytes, wide: float) -> np.float32:
    """The float32 nearest to a token, whose nearest float64 is ``wide``.

    Rounding twice goes wrong only where ``wide`` lies just between two float32: then the token's digits decide.
    """
    near = np.float32(wide)
    if not np.isfinite(near) or float(near) == wide:
        return near
    other = np.nextafter(near, np.float32(np.inf if wide > near else -np.inf))
    if wide - float(near) != float(other) - wide:
        return near
    exact, between = Fraction(Decimal(token.decode())), Fraction(wide)
    if exact == between:
        return near  # a tie, which the conversion has settled as IEEE 754 asks for
    return max(near, other) if exact > between else min(near, other)


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
