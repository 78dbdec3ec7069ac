"""RecordIO frames: records in a stream of bytes, one after another.

A frame is the magic word, a word whose upper 3 bits are a continuation flag and whose lower 29 bits are a length,
that many bytes, and padding up to a multiple of 4 bytes; words are little-endian. A record is one frame (flag 0), or
frames with flags 1, 2, ..., 2, 3 whose bytes are joined with a magic word between any two: writers of the format's
first home (dmlc's recordio, which MXNet uses) cut a record so wherever it holds an aligned magic word itself.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from recordio.errors import BadMagicError, FrameError, TruncatedRecordError

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
HEADER = struct.Struct("<II")
MAX_LENGTH = (1 << 29) - 1

WHOLE, FIRST, MIDDLE, LAST = range(4)
"""Continuation flags."""

CHUNK = 1 << 20
"""Bytes that a window reads at a time: it fits the cache beside what is decoded from it."""


class Place(NamedTuple):
    """Where a record stands, for error messages: ``train.pbr: record 12, at byte 4096``."""

    name: str
    record: int
    offset: int

    def __str__(self) -> str:
        return f"{self.name}: record {self.record}, at byte {self.offset}"


class Window:
    """The part of a stream that is in memory: ``view[start:stop]`` has been read and not yet been used.

    A stream that is memory already (``BytesIO``) is looked at in place. Any other is read into one buffer
    that is used again and again, so that a view of it is good only until the next call of ``more``. It grows for a long
    record as the bytes of that record arrive, not as its length field promises.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._passed = 0  # bytes of the stream that lie before view[0]
        self.start = 0
        held = _memory(stream)
        self.in_memory = held is not None
        self.view = memoryview(bytearray(CHUNK)) if held is None else held
        self.stop = 0 if held is None else len(held)

    @property
    def offset(self) -> int:
        """Position of ``view[start]`` in the stream, counted from where reading began."""
        return self._passed + self.start

    def more(self) -> bool:
        """Read on, up to the size of the buffer; False where the stream has ended."""
        if self.in_memory:
            return False
        kept = self.stop - self.start
        target = self.view
        if 2 * kept > len(target):
            target = memoryview(bytearray(2 * len(target)))
        target[:kept] = self.view[self.start : self.stop]
        self._passed += self.start
        self.view, self.start, self.stop = target, 0, kept
        while self.stop < len(target):
            count = _read_into(self._stream, target[self.stop :])
            if not count:
                break
            self.stop += count
        return self.stop > kept

    def close(self) -> None:
        """Let go of the stream's memory, so that it can be closed."""
        self.view.release()


def _memory(stream: BinaryIO) -> memoryview | None:
    """The rest of a stream that is memory already, without a copy; None for any other stream.

    A file that is mapped into memory is not taken as memory: where somebody else cuts it short, looking at it kills the
    process (SIGBUS).
    """
    if not isinstance(stream, io.BytesIO):
        return None
    held = memoryview(stream.getvalue())[stream.tell() :]
    stream.seek(0, io.SEEK_END)
    return held


def _read_into(stream: BinaryIO, target: memoryview) -> int:
    """Read at most ``len(target)`` bytes, in one call; 0 at the end of the stream."""
    readinto = getattr(stream, "readinto", None)
    if readinto is not None:
        return readinto(target)
    data = stream.read(len(target))
    target[: len(data)] = data
    return len(data)


class Frame(NamedTuple):
    """One record: its bytes, and the position after its last frame."""

    body: bytes
    stop: int


def next_record(view: memoryview, start: int, stop: int, place: Place) -> Frame | None:
    """The record that starts at ``view[start]``; None where it does not end before ``stop``.

    Raises
    ------
    BadMagicError
        a frame does not start with the magic word.
    FrameError
        continuation flags are unknown or out of order.
    """
    if usual := _whole(view, start, stop):
        return usual
    found = _parts(view, start, stop, place)
    if found is None:
        return None
    parts, end = found
    return Frame(MAGIC_BYTES.join([bytes(view[first:last]) for first, last in parts]), end)


def _whole(view: memoryview, start: int, stop: int) -> Frame | None:
    """The record that starts at ``view[start]``, where it is one frame and is here; None for any other."""
    first = start + HEADER.size
    if first > stop:
        return None
    magic, length = HEADER.unpack_from(view, start)  # with the flag of a whole record, 0, the word is the length
    end = first + (length + 3) // 4 * 4
    if magic != MAGIC or length > MAX_LENGTH or end > stop:
        return None
    return Frame(bytes(view[first : first + length]), end)


def _parts(view: memoryview, start: int, stop: int, place: Place) -> tuple[list[tuple[int, int]], int] | None:
    """Where the bytes of the frames of a record are, and where the record stops; None and errors as ``next_record``."""
    parts: list[tuple[int, int]] = []
    at = start
    while True:
        header = bytes(view[at : min(stop, at + HEADER.size)])
        word = _length_word(header, bool(parts), place, at - start)
        if word is None:
            return None
        at += HEADER.size
        length = word & MAX_LENGTH
        end = at + (length + 3) // 4 * 4
        if end > stop:
            return None
        parts.append((at, at + length))
        if word >> 29 in (WHOLE, LAST):
            return parts, end
        at = end


def _length_word(header: bytes, begun: bool, place: Place, behind: int) -> int | None:
    """The word after the magic word: continuation flag and length; None where the header is cut off.

    Parameters
    ----------
    begun
        the record has parts before this one.
    behind
        bytes between the start of the record and this header.

    Raises
    ------
    FrameError
        see ``next_record``.
    """
    if header[:4] != MAGIC_BYTES[: len(header[:4])]:
        raise _bad_magic(header[:4], place, behind)
    if len(header) < HEADER.size:
        return None
    _, word = HEADER.unpack(header)
    flag = word >> 29
    if flag not in ((MIDDLE, LAST) if begun else (WHOLE, FIRST)):
        expected = "2 or 3 after one with 1 or 2" if begun else "0 or 1"
        raise FrameError(
            f"{place}: continuation flag {flag} in length word 0x{word:08X} (read plainly, {word} bytes) "
            f"where a frame with flag {expected} was expected"
        )
    return word


def _bad_magic(found: bytes, place: Place, behind: int) -> BadMagicError:
    return BadMagicError(
        f"{place}: a frame must start with the bytes {MAGIC_BYTES.hex(' ')} (RecordIO's magic word 0x{MAGIC:X}), "
        f"but at byte {place.offset + behind} there are {found.hex(' ')}; is this really RecordIO?"
    )


def truncated(window: Window, place: Place) -> TruncatedRecordError:
    """The error for a stream that ends inside the record at the start of ``window``."""
    return _ends_inside(
        bytes(window.view[window.start : window.start + HEADER.size]), window.stop - window.start, place
    )


def _ends_inside(header: bytes, held: int, place: Place) -> TruncatedRecordError:
    """The error for a stream of which ``held`` bytes are left where a frame with that header starts."""
    if held < HEADER.size:
        return TruncatedRecordError(f"{place}: the stream ends {held} bytes into a frame's header of {HEADER.size}")
    _, word = HEADER.unpack(header)
    return TruncatedRecordError(
        f"{place}: the stream ends inside a frame; its length is {word & MAX_LENGTH} bytes, "
        f"but only {held - HEADER.size} follow"
    )


def frames(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The records of a stream, one by one.

    Raises
    ------
    FrameError
        the framing is broken (``BadMagicError``) or cut short (``TruncatedRecordError``).
    """
    window = Window(stream)
    number = 0
    try:
        while window.start < window.stop or window.more():
            place = Place(name, number, window.offset)
            frame = next_record(window.view, window.start, window.stop, place)
            if frame is not None:
                window.start = frame.stop
                number += 1
                yield frame.body
            elif not window.more():
                raise truncated(window, place)
    finally:
        window.close()


class Span(NamedTuple):
    """Where a record of a file is: its first byte, the one after its last, and whether it is one frame."""

    start: int
    stop: int
    whole: bool


def spans(descriptor: int, name: str) -> Iterator[Span]:
    """Where each record of an open file is; only the headers of its frames are read.

    Raises
    ------
    FrameError
        as ``frames``.
    """
    size = os.fstat(descriptor).st_size
    at = number = 0
    while at < size:
        place, start, begun = Place(name, number, at), at, False
        while True:
            header = os.pread(descriptor, HEADER.size, at)
            word = _length_word(header, begun, place, at - start)
            end = at + HEADER.size + ((word or 0) & MAX_LENGTH) + (-(word or 0) & 3)
            if word is None or end > size:
                raise _ends_inside(os.pread(descriptor, HEADER.size, start), size - start, place)
            at, begun = end, True
            if word >> 29 in (WHOLE, LAST):
                break
        yield Span(start, at, word >> 29 == WHOLE)
        number += 1


def write_frame(stream: BinaryIO, body: bytes) -> None:
    """Write one record as one frame, as the SageMaker SDK does.

    Raises
    ------
    ValueError
        the body does not fit the 29 bits of a length.
    """
    if len(body) > MAX_LENGTH:
        raise ValueError(f"a RecordIO frame holds at most {MAX_LENGTH} bytes, got {len(body)}")
    stream.write(HEADER.pack(MAGIC, len(body)) + body + bytes(-len(body) % 4))
