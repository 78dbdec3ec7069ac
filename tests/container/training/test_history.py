"""Lines of a job's log that an interrupted run has written are not written again."""

from __future__ import annotations

import time

import pytest

from container.training.history import LinesWritten


def lines(count: LinesWritten, wanted: int, kind: str = "lines") -> int:
    """How many of so many lines are written."""
    told = 0
    for _ in range(wanted):
        if count.is_new(kind):
            told += 1
            count.wrote(kind)
    return told


def test_lines_after_a_checkpoint_that_were_written_are_not_written_again(tmp_path):
    first = LinesWritten()
    first.begin(tmp_path / "lines", None)
    lines(first, 5)
    at = first.counts()
    lines(first, 3)
    lines(first, 1, "train")
    second = LinesWritten()
    second.begin(tmp_path / "lines", at)
    assert lines(second, 2, "train") == 1
    assert lines(second, 10) == 7
    second.forget()
    third = LinesWritten()
    third.begin(tmp_path / "lines", at)
    assert lines(third, 10) == 10


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"lines": "9"}', b"\xff"])
def test_a_damaged_count_leaves_no_line_out(tmp_path, content):
    (tmp_path / "lines").write_bytes(content)
    count = LinesWritten()
    count.begin(tmp_path / "lines", None)
    assert lines(count, 4) == 4


def test_counting_a_line_takes_microseconds(tmp_path):
    count = LinesWritten()
    count.begin(tmp_path / "lines", None)
    began = time.process_time()
    lines(count, 2000)
    assert time.process_time() - began < 1
