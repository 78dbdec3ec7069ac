import os
from pathlib import Path

import numpy as np
import pytest

from recordio.content_type import parse
from recordio.errors import DataError, EmptyDataError, WidthError
from recordio.readers import ChannelStream, RowFormat
from recordio.sources import FileSource
from tests.recordio.source_suite import BytesSource, SourceSuite


def fill(folder, files):
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return FileSource(folder)


def names(source):
    with source.epoch() as streams:
        return [name for name, _ in streams]


class TestFolder(SourceSuite):
    @pytest.fixture
    def make(self, tmp_path):
        def source(first, *later):
            middle = first.find(b"\n", len(first) // 2) + 1
            return fill(tmp_path, {"a/part-0": first[:middle], "b": first[middle:]} if middle else {"a": first})

        return source


class TestFile(SourceSuite):
    @pytest.fixture
    def make(self, tmp_path):
        def source(first, *later):
            (tmp_path / "data.csv").write_bytes(first)
            return FileSource(tmp_path / "data.csv")

        return source


class TestBytes(SourceSuite):
    @pytest.fixture
    def make(self):
        return lambda first, *later: BytesSource(first, "body")


def test_files_are_sorted_by_path_and_named_from_the_channel_on(tmp_path):
    (tmp_path / "train").mkdir()
    source = fill(tmp_path / "train", {"b/2.csv": b"1", "b/10.csv": b"1", "a.csv": b"1", "c": b"1"})
    assert names(source) == ["train/a.csv", "train/b/10.csv", "train/b/2.csv", "train/c"]


def test_hidden_marker_and_empty_files_are_passed_over(tmp_path):
    source = fill(
        tmp_path,
        {
            "part-0": b"1",
            ".amazon.manifest": b"{}",
            "_SUCCESS": b"x",
            "empty": b"",
            ".hidden/part-1": b"1",
            "_temporary/part-2": b"1",
            "deep/er/.part-3.crc": b"1",
            "deep/er/part-3": b"1",
        },
    )
    assert [name.partition("/")[2] for name in names(source)] == ["deep/er/part-3", "part-0"]


def test_links_are_followed_and_loops_end(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "one").write_bytes(b"1")
    source = fill(tmp_path / "train", {"sub/two": b"2"})
    (tmp_path / "train" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train" / "sub" / "up").symlink_to(tmp_path / "train")
    (tmp_path / "train" / "three").symlink_to(tmp_path / "elsewhere" / "one")
    (tmp_path / "train" / "nowhere").symlink_to(tmp_path / "missing")
    assert names(source) == ["train/link/one", "train/sub/two", "train/three"]


def test_what_is_not_a_file_is_passed_over(tmp_path):
    source = fill(tmp_path, {"part-0": b"1"})
    os.mkfifo(tmp_path / "fifo")
    assert len(names(source)) == 1


def test_nothing_there(tmp_path):
    with pytest.raises(EmptyDataError, match="no data files"):
        names(FileSource(tmp_path))
    with pytest.raises(EmptyDataError, match="nothing does not exist"):
        names(FileSource(tmp_path / "nothing"))


def test_a_file_is_closed_when_the_next_one_is_opened(tmp_path):
    source = fill(tmp_path, {"a": b"1", "b": b"2"})
    with source.epoch() as streams:
        first, second = next(streams).stream, next(streams).stream
        assert first.closed
        assert not second.closed
    assert second.closed


def test_files_of_different_widths_are_both_named(tmp_path):
    source = fill(tmp_path, {"a.csv": b"1,2\n", "b.csv": b"1,2,3\n"})
    with pytest.raises(WidthError) as caught:
        list(ChannelStream(source, parse("csv"), RowFormat()).batches())
    folder = tmp_path.name
    assert str(caught.value) == f"{folder}/b.csv: rows have 3 features, but those of {folder}/a.csv have 2"


def test_libsvm_rows_are_as_wide_as_the_widest_so_far(tmp_path):
    source = fill(tmp_path, {"a": b"1 4:1\n", "b": b"0 1:1\n", "c": b"0 9:1\n"})
    stream = ChannelStream(source, parse("libsvm"), RowFormat(labels="required"))
    assert [batch.feature_dim for batch in stream.batches()] == [5, 5, 10]
    (whole,) = stream.batches(3)
    np.testing.assert_array_equal(whole.features.toarray().argmax(axis=1), [4, 1, 9])


def test_a_file_that_may_not_be_read_is_the_datas_error(tmp_path, monkeypatch):
    """Not by its mode: root, as whom tests may run, reads everything."""
    (tmp_path / "a.csv").write_bytes(b"1")

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with (
        pytest.raises(DataError, match=r"'a\.csv' cannot be read: Permission denied"),
        FileSource(tmp_path).epoch() as streams,
    ):
        next(streams)
