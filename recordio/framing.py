"""RecordIO frames: records in a stream of bytes, one after another.

A frame is the magic word, a word whose upper 3 bits are a continuation flag and whose lower 29 bits are a length,
that many bytes, and padding up to a multiple of 4 bytes; words are little-endian. A record is one frame (flag 0), or
frames with flags 1, 2, ..., 2, 3 whose bytes are joined with a magic word between any two: writers of the format's
first home (dmlc's recordio, which MXNet uses) cut a record so wherever it holds an aligned magic word itself.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

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

    A stream that is memory already (``BytesIO``, ``mmap``) is looked at in place. Any other is read into one buffer
    that is used again and again, so that a view of it is good only until the next call of ``more``. It grows for a long
    record as the bytes of that record arrive, not as its length field promises.
    """

    def __init__(self, stream: BinaryIO, chunk: int = CHUNK) -> None:
        self._stream = stream
        self._chunk = chunk
        self._passed = 0  # bytes of the stream that lie before view[0]
        self.start = 0
        held = _memory(stream)
        self.in_memory = held is not None
        self.view = memoryview(bytearray(chunk)) if held is None else held
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
    """The rest of a stream that is memory already, without a copy; None for any other stream."""
    if isinstance(stream, io.BytesIO):
        held = memoryview(stream.getvalue())[stream.tell() :]
    elif isinstance(stream, mmap.mmap):
        with memoryview(stream) as whole:
            held = whole[stream.tell() :]
    else:
        return None
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

    Raises:
        BadMagicError: a frame does not start with the magic word.
        FrameError: continuation flags are unknown or out of order.
    """
    found = _parts(view, start, stop, place)
    if found is None:
        return None
    parts, end = found
    return Frame(MAGIC_BYTES.join([bytes(view[first:last]) for first, last in parts]), end)


def _parts(view: memoryview, start: int, stop: int, place: Place) -> tuple[list[tuple[int, int]], int] | None:
    """Where the bytes of the frames of a record are, and where the record stops; None and errors as ``next_record``."""
    parts: list[tuple[int, int]] = []
    at = start
    while True:
        if stop - at < HEADER.size:
            if view[at : min(stop, at + 4)] != MAGIC_BYTES[: min(stop - at, 4)]:
                raise _bad_magic(view, at, start, place)
            return None
        magic, word = HEADER.unpack_from(view, at)
        if magic != MAGIC:
            raise _bad_magic(view, at, start, place)
        flag, length = word >> 29, word & MAX_LENGTH
        if flag not in ((MIDDLE, LAST) if parts else (WHOLE, FIRST)):
            expected = "2 or 3 after one with 1 or 2" if parts else "0 or 1"
            raise FrameError(
                f"{place}: continuation flag {flag} in length word 0x{word:08X} (read plainly, {word} bytes) "
                f"where a frame with flag {expected} was expected"
            )
        at += HEADER.size
        end = at + (length + 3) // 4 * 4
        if end > stop:
            return None
        parts.append((at, at + length))
        if flag in (WHOLE, LAST):
            return parts, end
        at = end


def _bad_magic(view: memoryview, at: int, start: int, place: Place) -> BadMagicError:
    found = bytes(view[at : at + 4]).hex(" ")
    return BadMagicError(
        f"{place}: a frame must start with the bytes {MAGIC_BYTES.hex(' ')} (RecordIO's magic word 0x{MAGIC:X}), "
        f"but at byte {place.offset + at - start} there are {found}; is this really RecordIO?"
    )


def truncated(window: Window, place: Place) -> TruncatedRecordError:
    """The error for a stream that ends inside the record at the start of ``window``."""
    held = window.stop - window.start
    if held < HEADER.size:
        return TruncatedRecordError(f"{place}: the stream ends {held} bytes into a frame's header of {HEADER.size}")
    _, word = HEADER.unpack_from(window.view, window.start)
    return TruncatedRecordError(
        f"{place}: the stream ends inside a frame; its length is {word & MAX_LENGTH} bytes, "
        f"but only {held - HEADER.size} follow"
    )


def frames(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The records of a stream, one by one.

    Raises:
        FrameError: the framing is broken (``BadMagicError``) or cut short (``TruncatedRecordError``).
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


def spans(stream: BinaryIO | mmap.mmap, name: str) -> Iterator[tuple[int, int]]:
    """Where each record of a stream in memory (``BytesIO``, ``mmap``) starts and stops; its bytes are not looked at.

    Raises:
        FrameError: as ``frames``.
    """
    window = Window(cast(BinaryIO, stream))
    number = 0
    try:
        while window.start < window.stop:
            place = Place(name, number, window.offset)
            found = _parts(window.view, window.start, window.stop, place)
            if found is None:
                raise truncated(window, place)
            yield window.start, found[1]
            window.start = found[1]
            number += 1
    finally:
        window.close()


def write_frame(stream: BinaryIO, body: bytes) -> None:
    """Write one record as one frame, as the SageMaker SDK does.

    Raises:
        ValueError: the body does not fit the 29 bits of a length.
    """
    if len(body) > MAX_LENGTH:
        raise ValueError(f"a RecordIO frame holds at most {MAX_LENGTH} bytes, got {len(body)}")
    stream.write(HEADER.pack(MAGIC, len(body)) + body + bytes(-len(body) % 4))
