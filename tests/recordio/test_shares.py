"""The shares of several hosts are together the whole stream, each row once."""

import os
import threading

import numpy as np
import pytest

from recordio import content_type
from recordio.errors import EmptyDataError
from recordio.framing import write_frame
from recordio.readers import ChannelRecords, ChannelStream, RowFormat
from recordio.shares import Share
from recordio.sources import FileSource, PipeSource

CSV = content_type.parse("text/csv")
LABELLED = RowFormat(labels="required", label_size=1)


def rows_of(stream, size=None):
    return [np.column_stack([batch.labels, np.asarray(batch.features)]) for batch in stream.batches(size)]


@pytest.mark.parametrize("of", [1, 2, 3, 12])
def test_each_row_is_in_one_share_and_batches_together_are_one_readers_larger_batch(tmp_path, of):
    table = np.arange(300, dtype=np.float32).reshape(100, 3)
    (tmp_path / "a.csv").write_text("\n".join(",".join(map(str, row)) for row in table[:37]))
    (tmp_path / "b.csv").write_text("\n".join(",".join(map(str, row)) for row in table[37:]))
    shares = [
        rows_of(ChannelStream(FileSource(tmp_path), CSV, LABELLED, share=Share(rank, of)), 5) for rank in range(of)
    ]
    assert sorted(np.concatenate(sum(shares, []))[:, 0]) == table[:, 0].tolist()
    first = np.concatenate([share[0] for share in shares])
    assert sorted(first[:, 0]) == table[: 5 * of, 0].tolist()


def test_query_groups_stay_together(tmp_path):
    text = "".join(f"{row} qid:{query} 0:{row}\n" for row, query in enumerate(np.repeat(np.arange(20), 7)))
    (tmp_path / "a").write_text(text)
    seen = []
    for rank in range(3):
        stream = ChannelStream(FileSource(tmp_path), content_type.parse("text/libsvm"), LABELLED, share=Share(rank, 3))
        groups = np.concatenate([batch.groups for batch in stream.batches(10)])
        assert set(groups) == set(range(rank, 20, 3))
        assert (np.bincount(groups, minlength=20)[rank::3] == 7).all()
        seen += groups.tolist()
    assert len(seen) == 140


def test_a_pipe_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "train_0")
    text = b"".join(b"%d,1\n" % row for row in range(200_000))
    writer = threading.Thread(target=(tmp_path / "train_0").write_bytes, args=(text,))
    writer.start()
    stream = ChannelStream(PipeSource(tmp_path, "train"), CSV, LABELLED, share=Share(1, 4))
    assert sum(map(len, rows_of(stream))) == 50_000
    writer.join(60)
    assert not writer.is_alive()


def test_nothing_is_an_error_only_where_there_is_nobody_else(tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank" / "a.csv").write_text("\n\n")
    for folder in ("none", "blank"):
        source = FileSource(tmp_path / folder)
        assert rows_of(ChannelStream(source, CSV, LABELLED, may_be_empty=True)) == []
        with pytest.raises(EmptyDataError):
            rows_of(ChannelStream(source, CSV, LABELLED))
    assert list(ChannelRecords(FileSource(tmp_path / "none"), CSV, may_be_empty=True).records()) == []


def test_images_of_a_manifest_stay_with_their_labels(tmp_path):
    with (tmp_path / "data").open("wb") as file:
        for number in range(6):
            write_frame(file, b"%d" % number)
    for wrapped, mine in ((True, [b"2", b"3"]), (False, [b"1", b"4"])):
        records = ChannelRecords(FileSource(tmp_path), CSV, wrapped=wrapped, share=Share(1, 3))
        assert list(records.records()) == mine
        assert len(list(records.records(whole=True))) == 6
