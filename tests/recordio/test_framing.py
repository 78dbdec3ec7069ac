"""RecordIO frames against hand-made bytes, a plain reading loop, and streams that give little at a time."""

import io
import mmap
import os
import struct
import threading
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recordio import framing
from recordio.errors import BadMagicError, FrameError, TruncatedRecordError
from recordio.framing import frames, write_frame

MAGIC = b"\x0a\x23\xd7\xce"


def frame(body, flag=0):
    return MAGIC + struct.pack("<I", flag << 29 | len(body)) + body + bytes(-len(body) % 4)


def read(data):
    return list(frames(io.BytesIO(data), "x.rec"))


class Dripping(io.RawIOBase):
    """A stream that gives at most ``size`` bytes a call, as a FIFO may."""

    def __init__(self, data, size):
        self._data = io.BytesIO(data)
        self._size = size

    def readable(self):
        return True

    def readinto(self, target):
        return self._data.readinto(memoryview(target)[: self._size])


class OnlyRead:
    """A stream with nothing but ``read``."""

    def __init__(self, data):
        self.read = io.BytesIO(data).read


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 255])
def test_a_frame_is_magic_length_body_and_padding(length):
    body = bytes(range(length))
    out = io.BytesIO()
    write_frame(out, body)
    assert out.getvalue() == frame(body)
    assert len(out.getvalue()) % 4 == 0


@given(bodies=st.lists(st.binary(max_size=50)), size=st.integers(1, 60))
def test_what_is_written_is_read_however_little_a_read_gives(bodies, size):
    out = io.BytesIO()
    for body in bodies:
        write_frame(out, body)
    assert read(out.getvalue()) == bodies
    assert list(frames(Dripping(out.getvalue(), size), "x")) == bodies
    assert list(frames(OnlyRead(out.getvalue()), "x")) == bodies


def test_parts_of_a_record_are_joined_with_the_magic_word_that_cut_them():
    data = frame(b"abcd", 1) + frame(b"", 2) + frame(b"efgh", 2) + frame(b"ij", 3) + frame(b"next")
    assert read(data) == [b"abcd" + MAGIC + b"" + MAGIC + b"efgh" + MAGIC + b"ij", b"next"]


def test_a_body_that_holds_the_magic_word_stays_one_frame():
    body = b"1234" + MAGIC + b"5678"
    assert read(frame(body)) == [body]


def test_reading_starts_where_the_stream_stands():
    stream = io.BytesIO(b"head" + frame(b"body"))
    stream.seek(4)
    assert list(frames(stream, "x")) == [b"body"]
    assert stream.read() == b""


def test_a_mapped_file_is_read_in_place_and_can_be_closed_afterwards(tmp_path):
    path = tmp_path / "x.rec"
    path.write_bytes(frame(b"one") + frame(b"two"))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        reader = frames(mapped, "x")
        assert next(reader) == b"one"
        reader.close()


def test_a_fifo_is_read_to_its_end(tmp_path):
    path = tmp_path / "train_0"
    os.mkfifo(path)
    bodies = [bytes([i % 256]) * (i % 97) for i in range(5000)]

    def write():
        with path.open("wb") as fifo:
            for body in bodies:
                write_frame(fifo, body)

    writer = threading.Thread(target=write)
    writer.start()
    with path.open("rb", buffering=0) as fifo:
        assert list(frames(fifo, "train_0")) == bodies
    writer.join()


@pytest.mark.parametrize("drip", [io.BytesIO, lambda data: Dripping(data, 3)])
def test_a_record_longer_than_the_buffer_makes_it_grow(monkeypatch, drip):
    bodies = [os.urandom(n) for n in (10, 100_000, 3, 5000)]
    data = b"".join(map(frame, bodies))
    monkeypatch.setattr(framing.Window.__init__, "__defaults__", (16,))
    assert list(frames(drip(data), "x")) == bodies


@pytest.mark.parametrize("stop", range(1, 48))
def test_a_stream_cut_anywhere_but_between_frames_is_an_error(stop):
    data = frame(b"0123456789") + frame(b"abcd", 1) + frame(b"ef", 3)  # 20, 12 and 12 bytes
    if stop in (20, 44):
        assert len(read(data[:stop])) == (1 if stop == 20 else 2)
    elif stop < 44:
        with pytest.raises(TruncatedRecordError, match=f"x.rec: record {int(stop > 20)}, at byte {20 * (stop > 20)}:"):
            read(data[:stop])


def test_a_wrong_magic_word_names_file_record_and_byte():
    with pytest.raises(BadMagicError, match=r"x\.rec: record 1, at byte 12: .* at byte 12 there are 6e 6f 20 6d"):
        read(frame(b"ok") + b"no magic")
    with pytest.raises(BadMagicError, match="at byte 0 there are 69 64 3b"):
        read(b"id;")
    with pytest.raises(BadMagicError, match="record 0, at byte 0: .* at byte 12 there are 00 00 00 00"):
        read(frame(b"part", 1) + bytes(12))


@pytest.mark.parametrize("flags", [(2,), (3,), (1, 0), (1, 1), (1, 2, 1), (4,), (7,), (1, 5)])
def test_continuation_flags_out_of_order_are_an_error(flags):
    with pytest.raises(FrameError, match=f"continuation flag {flags[-1]}"):
        read(b"".join(frame(b"part", flag) for flag in flags))


@pytest.mark.parametrize("word", [0xFFFFFFFF, framing.MAX_LENGTH, 0x3FFFFFFF])
def test_a_length_of_gigabytes_takes_no_memory(word):
    data = MAGIC + struct.pack("<I", word) + bytes(100)
    tracemalloc.start()
    for stream in (io.BytesIO(data), Dripping(data, 64)):
        with pytest.raises(FrameError, match="x: record 0, at byte 0"):
            list(frames(stream, "x"))
    assert tracemalloc.get_traced_memory()[1] < 4 * framing.CHUNK
    tracemalloc.stop()


def test_a_body_too_long_for_a_length_is_refused(monkeypatch):
    monkeypatch.setattr(framing, "MAX_LENGTH", 7)
    with pytest.raises(ValueError, match="at most 7 bytes, got 8"):
        write_frame(io.BytesIO(), bytes(8))
