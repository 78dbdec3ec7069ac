"""gzip in every input mode and format, beside Python's gzip module."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import resource
import threading
import zipfile

import numpy as np
import pyarrow as pa
import pytest

from recordio.batches import concatenate
from recordio.content_type import parse
from recordio.errors import CompressedDataError, DataError, ParseError
from recordio.readers import ChannelRecords, ChannelStream, RowFormat, decode
from recordio.record_writer import encode_records
from recordio.sources import FileSource, PipeSource

LABELLED = RowFormat(labels="required")
TABLE = np.random.default_rng(0).normal(size=(4000, 6)).astype("f4")
CSV = "".join(",".join(map(repr, row)) + "\n" for row in TABLE.tolist()).encode()
LIBSVM = "".join(
    f"{row[0]!r} " + " ".join(f"{i}:{value!r}" for i, value in enumerate(row[1:])) + "\n" for row in TABLE.tolist()
).encode()
RECORDS = encode_records(TABLE[:, 1:], TABLE[:, 0])
FORMATS = [("text/csv", CSV), ("text/libsvm", LIBSVM), ("application/x-recordio-protobuf", RECORDS)]


def rows(source, content_type):
    batch = concatenate(list(ChannelStream(source, parse(content_type), LABELLED).batches()))
    features = batch.features.toarray() if batch.is_sparse else batch.features
    return np.column_stack([batch.labels, features])


def pipe(folder, data):
    os.mkfifo(folder / "train_0")

    def write():
        with contextlib.suppress(BrokenPipeError):  # whoever refuses what it reads does not read all of it
            (folder / "train_0").write_bytes(data)

    threading.Thread(target=write, daemon=True).start()
    return PipeSource(folder, "train")


@pytest.mark.parametrize(("content_type", "data"), FORMATS)
@pytest.mark.parametrize("mode", ["File", "Pipe"])
def test_every_format_in_every_mode(tmp_path, content_type, data, mode):
    half = len(data) // 2
    packed = gzip.compress(data[:half]) + gzip.compress(data[half:])  # two members are read as one
    (tmp_path / "data.gz").write_bytes(packed)
    source = FileSource(tmp_path) if mode == "File" else pipe(tmp_path, packed)
    np.testing.assert_array_equal(rows(source, content_type), TABLE)


def test_compressed_parquet(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({f"c{i}": TABLE[:, i] for i in range(6)}), tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    np.testing.assert_array_equal(rows(FileSource(tmp_path), "application/x-parquet"), TABLE)


def test_plain_and_compressed_files_side_by_side(tmp_path):
    half = CSV[: CSV.index(b"\n", len(CSV) // 2) + 1]
    (tmp_path / "a.csv").write_bytes(half)
    (tmp_path / "b.csv").write_bytes(gzip.compress(CSV[len(half) :]))
    np.testing.assert_array_equal(rows(FileSource(tmp_path), "text/csv"), TABLE)


def test_records(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(RECORDS))
    stream = ChannelRecords(FileSource(tmp_path), parse("application/x-recordio-protobuf"))
    assert len(list(stream.records())) == len(TABLE)


@pytest.mark.parametrize(("content_type", "data"), FORMATS)
def test_data_that_ends_early(tmp_path, content_type, data):
    packed = gzip.compress(data)
    for stop in (3, 15, len(packed) // 2, len(packed) - 5):
        (tmp_path / "a").write_bytes(packed[:stop])
        with pytest.raises(CompressedDataError, match=r"/a: the gzip data ends early; was the file cut short\?"):
            rows(FileSource(tmp_path), content_type)


@pytest.mark.parametrize(("content_type", "data"), FORMATS)
def test_data_that_is_damaged(tmp_path, content_type, data):
    packed = bytearray(gzip.compress(data))
    packed[-6] ^= 1  # the checksum
    (tmp_path / "a").write_bytes(packed)
    with pytest.raises(CompressedDataError, match="/a: the gzip data is damaged: CRC check failed"):
        rows(FileSource(tmp_path), content_type)
    (tmp_path / "a").write_bytes(gzip.compress(data) + b"and more")
    with pytest.raises(CompressedDataError, match="damaged"):
        rows(FileSource(tmp_path), content_type)


def test_twice(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(gzip.compress(CSV)))
    with pytest.raises(ParseError, match="compressed with gzip; it is compressed twice"):
        rows(FileSource(tmp_path), "text/csv")


@pytest.mark.parametrize("mode", ["File", "Pipe", "request"])
@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (bz2.compress, "compressed with bzip2"),
        (lzma.compress, "compressed with xz"),
        (lambda data: pa.compress(data, "zstd", asbytes=True), "compressed with zstd"),
        (lambda data: zipped(data), "a ZIP archive, as spreadsheets are"),
    ],
)
@pytest.mark.parametrize("content_type", ["text/csv", "text/libsvm"])
def test_what_else_compresses_is_named(tmp_path, mode, pack, words, content_type):
    """It "looks like a header", said the readers."""
    with pytest.raises(DataError, match=f"the data is {words}; "):
        if mode == "request":
            decode(pack(CSV), parse(content_type), LABELLED)
        elif mode == "File":
            (tmp_path / "a").write_bytes(pack(CSV))
            rows(FileSource(tmp_path), content_type)
        else:
            rows(pipe(tmp_path, pack(CSV)), content_type)


def zipped(data):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", data)
    return packed.getvalue()


def test_a_request(tmp_path):
    with pytest.raises(ParseError, match="request: the data is compressed with gzip; requests must not be"):
        decode(gzip.compress(CSV), parse("text/csv"), LABELLED)


def test_a_high_ratio_takes_no_memory(tmp_path):
    """256 MB of blank lines and one row in a quarter of a megabyte."""
    with gzip.open(tmp_path / "a.csv", "wb", compresslevel=1) as file:
        for _ in range(32):
            file.write(b"\n" * (8 << 20))
        file.write(b"1,2\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert rows(FileSource(tmp_path), "text/csv").tolist() == [[1, 2]]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # kilobytes
