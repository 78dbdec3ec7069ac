"""What is read once is read again only as long as it must be."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from recordio import readers
from recordio.batches import Batch
from recordio.content_type import parse
from recordio.readers import ChannelStream, RowFormat
from recordio.sources import FileSource, PipeSource

CSV = parse("text/csv; label_size=1")
ROWS = np.arange(40, dtype=np.float32).reshape(10, 4)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.csv"
    np.savetxt(path, ROWS, delimiter=",")
    return path


def stream(file) -> ChannelStream:
    return ChannelStream(FileSource(file), CSV, RowFormat(labels="required"))


def values(batches: list[Batch]) -> np.ndarray:
    return np.concatenate([np.column_stack([batch.labels, batch.features]) for batch in batches])


def epochs(channel: ChannelStream, sizes: list[int | None], file) -> list[np.ndarray]:
    """What each epoch gives; after the second one the file says something else."""
    found = []
    for number, size in enumerate(sizes):
        if number == 2:
            np.savetxt(file, -ROWS, delimiter=",")
        found.append(values(list(channel.batches(size))))
    return found


@pytest.mark.parametrize("later", [3, 4, 100, None])
def test_from_the_third_epoch_on_files_are_not_read(file, later):
    for rows in epochs(stream(file), [4, 4, later, later], file):
        np.testing.assert_array_equal(rows, ROWS)


def test_batches_of_a_kept_epoch_have_the_size_asked_for(file):
    channel = stream(file)
    for size, expected in ((4, [4, 4, 2]), (4, [4, 4, 2]), (4, [4, 4, 2]), (3, [3, 3, 3, 1]), (7, [7, 3])):
        assert [len(batch) for batch in channel.batches(size)] == expected


def test_what_does_not_fit_is_read_again(file, monkeypatch):
    monkeypatch.setattr(readers, "KEPT_BYTES", 100)
    found = epochs(stream(file), [4, 4, 4], file)
    np.testing.assert_array_equal(found[2], -ROWS)


def test_an_epoch_left_early_is_not_kept(file):
    channel = stream(file)
    list(channel.batches(4))
    batches = channel.batches(4)
    next(batches)
    batches.close()
    np.testing.assert_array_equal(values(list(channel.batches(4))), ROWS)


def test_kept_rows_cannot_be_changed(file):
    channel = stream(file)
    list(channel.batches())
    for batch in channel.batches(4):
        with pytest.raises(ValueError, match="read-only"):
            batch.features[0] = 0


def test_every_epoch_of_a_pipe_is_its_own(tmp_path):
    def write() -> None:
        for epoch in range(4):
            text = "\n".join(",".join(map(str, row)) for row in ROWS + epoch)
            (tmp_path / f"train_{epoch}").write_text(text)  # np.savetxt opens a file twice, a pipe must be opened once

    for epoch in range(4):
        os.mkfifo(tmp_path / f"train_{epoch}")
    writer = threading.Thread(target=write)
    writer.start()
    channel = ChannelStream(PipeSource(tmp_path, "train"), CSV, RowFormat(labels="required"))
    for epoch in range(4):
        np.testing.assert_array_equal(values(list(channel.batches(4))), ROWS + epoch)
    writer.join()
