import itertools
import os
import subprocess
import sys
import threading
import time

import pytest

from recordio.content_type import parse
from recordio.errors import EmptyDataError
from recordio.readers import ChannelStream, RowFormat
from recordio.sources import PipeSource, ReadingStopped
from tests.recordio.source_suite import SourceSuite, no_threads_left

CSV = parse("text/csv")


class Writer(threading.Thread):
    """Writes each epoch to its own FIFO, as SageMaker does; a FIFO comes into being when the one before is done."""

    def __init__(self, folder, epochs):
        super().__init__(daemon=True)
        self.folder = folder
        self.epochs = epochs
        self.left_early = []

    def run(self):
        for number, body in enumerate(self.epochs):
            path = self.folder / f"train_{number}"
            os.mkfifo(path)
            try:
                with path.open("wb", buffering=0) as fifo:
                    view = memoryview(body)
                    while view:
                        view = view[fifo.write(view) :]
            except BrokenPipeError:
                self.left_early.append(number)


class TestPipe(SourceSuite):
    @pytest.fixture
    def make(self, tmp_path):
        writers = []

        def source(*epochs):
            writers.append(Writer(tmp_path, epochs))
            writers[-1].start()
            return PipeSource(tmp_path, "train")

        yield source
        for writer in writers:
            for number in range(len(writer.epochs)):  # lets go of a writer whose FIFO nobody read
                if (tmp_path / f"train_{number}").exists():
                    os.close(os.open(tmp_path / f"train_{number}", os.O_RDONLY | os.O_NONBLOCK))

    def test_a_writer_whose_reader_leaves_is_not_left_hanging(self, tmp_path):
        writer = Writer(tmp_path, [b"1,2\n" * 2_000_000, b"5,6\n"])
        writer.start()
        stream = ChannelStream(PipeSource(tmp_path, "train"), CSV, RowFormat())
        for _ in stream.batches(10):
            break
        assert [len(batch) for batch in stream.batches()] == [1]
        writer.join(60)
        assert writer.left_early == [0]


def stopping(folder, looks):
    """A source whose job is asked to stop when the source has looked for that so many times."""
    asked = itertools.count()
    return PipeSource(folder, "train", stopped=lambda: next(asked) >= looks)


def test_a_fifo_that_comes_late(tmp_path):
    source = PipeSource(tmp_path, "train")
    timer = threading.Timer(0.3, Writer(tmp_path, [b"1,2\n"]).start)
    timer.start()
    assert len(next(ChannelStream(source, CSV, RowFormat()).batches())) == 1


def test_a_fifo_that_never_comes(tmp_path):
    source = PipeSource(tmp_path, "train", patience=0.1)
    with pytest.raises(EmptyDataError, match=r"train_0 did not come into being within 0\.1 seconds"):
        list(ChannelStream(source, CSV, RowFormat()).batches())


def test_a_stop_ends_the_wait_for_a_fifo(tmp_path):
    with pytest.raises(ReadingStopped, match="train_0"):
        list(ChannelStream(stopping(tmp_path, 3), CSV, RowFormat()).batches())
    assert no_threads_left()


def test_a_stop_ends_the_wait_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "train_0")
    with pytest.raises(ReadingStopped, match="waiting for data"):
        list(ChannelStream(stopping(tmp_path, 3), CSV, RowFormat()).batches())
    assert no_threads_left()


def test_a_stop_ends_the_wait_for_a_writer_that_pauses(tmp_path):
    os.mkfifo(tmp_path / "train_0")
    writer = os.open(tmp_path / "train_0", os.O_RDWR)
    try:
        os.write(writer, b"1,2\n")
        with pytest.raises(ReadingStopped, match="waiting for data"):
            list(ChannelStream(stopping(tmp_path, 3), CSV, RowFormat()).batches())
    finally:
        os.close(writer)


def test_leaving_ends_the_wait_for_a_writer_that_pauses(tmp_path):
    os.mkfifo(tmp_path / "train_0")
    writer = os.open(tmp_path / "train_0", os.O_RDWR)
    try:
        os.write(writer, b"1,2\n" * 4096)
        (tmp_path / "train_0").rename(tmp_path / "now_0")
        with PipeSource(tmp_path, "now").epoch() as streams:
            assert next(streams).stream.read(4) == b"1,2\n"
    finally:
        os.close(writer)


def test_a_writer_that_writes_nothing(tmp_path):
    Writer(tmp_path, [b""]).start()
    with pytest.raises(EmptyDataError):
        list(ChannelStream(PipeSource(tmp_path, "train"), CSV, RowFormat()).batches())


def test_a_slow_writer(tmp_path):
    def write():
        with (tmp_path / "train_0").open("wb", buffering=0) as fifo:
            for piece in (b"1,", b"2\n3", b",4\n"):
                fifo.write(piece)
                time.sleep(0.1)

    os.mkfifo(tmp_path / "train_0")
    threading.Thread(target=write, daemon=True).start()
    (batch,) = ChannelStream(PipeSource(tmp_path, "train"), CSV, RowFormat()).batches()
    assert batch.features.tolist() == [[1, 2], [3, 4]]


def test_a_file_in_the_place_of_a_fifo(tmp_path):
    (tmp_path / "train_0").write_bytes(b"1,2\n")
    (tmp_path / "train_1").write_bytes(b"3,4\n")
    stream = ChannelStream(PipeSource(tmp_path, "train"), CSV, RowFormat())
    assert [next(stream.batches()).features.tolist() for _ in range(2)] == [[[1, 2]], [[3, 4]]]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_stream(tmp_path):
    """Ten times the rows, read from a FIFO in a process of its own, within 30 MB of the same peak."""
    script = """
import re, sys
from pathlib import Path
from recordio.content_type import parse
from recordio.readers import ChannelStream, RowFormat
from recordio.sources import PipeSource
stream = ChannelStream(PipeSource(sys.argv[1], "train"), parse("csv"), RowFormat())
rows = sum(len(batch) for batch in stream.batches(1000))
peak = re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text()).group(1)
print(rows, int(peak) // 1024)
"""
    peaks = []
    for name, rows in (("short", 1_000_000), ("long", 10_000_000)):
        (tmp_path / name).mkdir()
        Writer(tmp_path / name, [b"1.5,2.5,3.5\n" * rows]).start()
        command = [sys.executable, "-c", script, str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        count, peak = map(int, done.stdout.split())
        assert count == rows
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 30
