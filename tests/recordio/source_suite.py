"""What every source must do, stated once; inherited by the tests of each."""

import contextlib
import io
import threading

import numpy as np
import pytest

from recordio.content_type import parse
from recordio.errors import EmptyDataError, ParseError
from recordio.readers import ChannelStream, RowFormat
from recordio.sources import Named, never

CSV = parse("text/csv")


def no_threads_left():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("read-ahead", "parse"))] == []


class BytesSource:
    """The same bytes in each epoch, in memory."""

    repeats = True

    def __init__(self, body, name):
        self._body, self.name = body, name

    @contextlib.contextmanager
    def epoch(self, stopped=never):
        yield iter([Named(self.name, io.BytesIO(self._body))])


class SourceSuite:
    """Subclasses have a fixture ``make``: given the bytes of each epoch, a source that yields them."""

    def stream(self, make, *epochs):
        return ChannelStream(make(*epochs), CSV, RowFormat())

    def test_an_epoch_is_all_bytes_in_their_order(self, make):
        source = make(b"1,2\n3,4\n")
        with source.epoch() as streams:
            assert b"".join(stream.read() for _, stream in streams) == b"1,2\n3,4\n"

    def test_iterate_again_for_the_next_epoch(self, make):
        stream = self.stream(make, b"1,2\n3,4\n", b"1,2\n3,4\n", b"1,2\n3,4\n")
        for _ in range(3):
            rows = np.concatenate([batch.features for batch in stream.batches()])
            np.testing.assert_array_equal(rows, [[1, 2], [3, 4]])
        assert no_threads_left()

    def test_batches_of_a_size_are_cut_from_a_longer_stream(self, make):
        body = b"".join(b"%d,%d\n" % (i, -i) for i in range(100_003))
        batches = list(self.stream(make, body).batches(1000))
        assert [len(batch) for batch in batches] == [1000] * 100 + [3]
        first = np.concatenate([batch.features[:, 0] for batch in batches])
        np.testing.assert_array_equal(first, np.arange(100_003))

    def test_leaving_early_closes_the_epoch_and_the_next_one_starts_anew(self, make):
        body = b"1,2\n" * 2_000_000
        stream = self.stream(make, body, b"5,6\n", body)
        epoch = stream.batches(10)
        assert len(next(epoch)) == 10
        epoch.close()
        assert no_threads_left()
        first = next(stream.batches(1))
        assert first.features[0, 0] in (1, 5)  # files are read from their start again, pipes from the next FIFO

    def test_an_iterator_that_is_dropped_leaves_no_thread(self, make):
        stream = self.stream(make, b"1,2\n" * 2_000_000, b"1,2\n")
        for _ in stream.batches(10):
            break
        assert no_threads_left()

    def test_an_error_comes_after_the_rows_before_it(self, make):
        stream = self.stream(make, b"1,2\n" * 1_000_000 + b"x,y\n")
        seen = 0
        with pytest.raises(ParseError, match=r"line \d+, column 1: 'x' is not a number"):
            for batch in stream.batches():
                seen += len(batch)
        assert seen > 400_000
        assert no_threads_left()

    def test_no_rows(self, make):
        with pytest.raises(EmptyDataError, match="no rows"):
            list(self.stream(make, b"\n\n").batches())
