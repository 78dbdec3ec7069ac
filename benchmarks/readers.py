"""The readers beside their peers, on the same bytes: RecordIO-protobuf, CSV, LIBSVM and Parquet.

    python -m benchmarks.readers                   # or one table: --only recordio

RecordIO's peers are loops that make a Python message of each record, as the SageMaker SDK does (which stops there) and
as AWS's XGBoost container does (which goes on to arrays). "Copy" is what the memory allows: the same bytes into fresh
arrays, a chunk at a time. "FIFO" is what a FIFO allows: the same bytes read and dropped. Ours reads from memory with
``read_records``, and from the FIFO as a training job in Pipe mode does, background thread included. Writing is
measured beside the SDK's own way, a message a row.

Each figure is the median over the rounds, in which all contenders run in turn; ratios are taken within each round.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import scipy.sparse as sp

from benchmarks.common import SHARED_DATA, Contender, copied, covertype, digits, mnist, race, table
from benchmarks.lines import LIMIT, Line, raced
from recordio.batches import Features
from recordio.content_type import parse
from recordio.framing import CHUNK
from recordio.readers import ChannelStream, RowFormat
from recordio.record_message import Record, message
from recordio.record_reader import read_records
from recordio.record_writer import encode_records
from recordio.sources import FileSource, PipeSource

ROWS = RowFormat(labels="required")
PIPE_BYTES = 1 << 20
FIFO_BYTES = 64 << 20  # less, and starting the process that writes would be most of what is measured


class Rows(NamedTuple):
    """Rows to write and read."""

    name: str
    features: Features
    labels: np.ndarray


def main() -> None:
    """Run the benchmarks named on the command line and print their tables."""
    tables = {"recordio": recordio_table, "text": text_table}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=tables)
    arguments = parser.parse_args()
    for name, make in tables.items():
        if arguments.only in (None, name):
            print(make(arguments.rounds), flush=True)


def lines(quick: bool) -> Iterator[Line]:
    """RecordIO from memory, from a FIFO and written, beside the usual loop; text and Parquet beside their readers."""
    rounds = 1 if quick else 5
    few = a9a()
    few = Rows("2,000 rows of a9a", few.features[:2000], few.labels[:2000])
    for rows in [few] if quick else recordio_rows():
        data = encode(rows)
        size = len(data) / 1e6
        runs = {"ours": partial(ours, data), "SDK's loop": partial(sdk_loop, data), LIMIT: partial(copied, data, CHUNK)}
        yield raced(f"reading RecordIO, {rows.name}", race(runs, rounds), limit="a copy", megabytes=size)
        with tempfile.NamedTemporaryFile() as file:
            times = 1 if quick else -(-FIFO_BYTES // len(data))
            file.write(data * times)
            file.flush()
            path = Path(file.name)
            size = len(data) * times / 1e6
            runs = {"ours": partial(through_fifo, path, pipe_mode), "SDK's loop": partial(through_fifo, path, looped)}
            runs[LIMIT] = partial(through_fifo, path, drain)
            yield raced(f"RecordIO from a FIFO, {rows.name}", race(runs, rounds), limit="a plain read", megabytes=size)
        size = len(data) / 1e6
        runs = {"ours": partial(encode, rows), "a message a row": partial(write_by_message, rows)}
        runs[LIMIT] = partial(copied, data, CHUNK)
        yield raced(f"writing RecordIO, {rows.name}", race(runs, 1), limit="a copy", megabytes=size)
    with tempfile.TemporaryDirectory() as folder:
        for path, content_type, peers in text_files(Path(folder), quick):
            runs = {"ours": partial(channel, path, content_type), **peers, LIMIT: partial(read_and_copied, path)}
            megabytes = path.stat().st_size / 1e6
            yield raced(f"reading {path.name}", race(runs, rounds), limit="a copy of the file", megabytes=megabytes)


def read_and_copied(path: Path) -> int:
    """The file's bytes, copied."""
    return copied(path.read_bytes(), CHUNK)


def looped(folder: Path) -> int:
    """The usual loop over what comes through the FIFO."""
    with (folder / "train_0").open("rb") as fifo:
        return sum(1 for _ in frame_by_frame(fifo))


# ---- data ------------------------------------------------------------------------------------------------------------


def recordio_rows() -> Iterator[Rows]:
    """Wide dense, narrow dense and sparse rows; real ones where they are at hand."""
    images = mnist()
    yield Rows(f"{images.name}, dense {images.features.shape[1]} wide", images.features, images.labels)
    random = np.random.default_rng(0)
    yield Rows("random, dense 8 wide", random.normal(size=(200_000, 8)).astype("f4"), np.zeros(200_000, np.float32))
    yield a9a()
    kos = kos_words()
    if kos is not None:
        yield kos


def a9a() -> Rows:
    """The a9a data, 32,561 rows of 123 features, 14 of them 1; random rows of that form where it is absent."""
    path = SHARED_DATA / "a9a" / "a9a"
    if not path.is_file():
        features = sp.random_array((32_561, 123), density=14 / 123, format="csr", dtype=np.float32)
        return Rows("random, 14 of 123", features, np.zeros(32_561, np.float32))
    from sklearn.datasets import load_svmlight_file

    features, labels = load_svmlight_file(str(path), n_features=123, dtype=np.float32)
    return Rows("a9a, 14 of 123", sp.csr_array(features), labels.astype(np.float32))


def kos_words() -> Rows | None:
    """The bags of words of 3,430 blog entries, 6,906 words, ten times over; None where they are absent."""
    path = SHARED_DATA / "uci-bow-kos" / "docword.kos.txt.gz"
    if not path.is_file():
        return None
    entries = np.loadtxt(path, skiprows=3, dtype=np.int64)
    words = sp.csr_array((entries[:, 2].astype(np.float32), (entries[:, 0] - 1, entries[:, 1] - 1)), shape=(3430, 6906))
    words = sp.csr_array(sp.vstack([words] * 10, format="csr"))
    return Rows("KOS words, 100 of 6,906", words, np.zeros(words.shape[0], np.float32))


# ---- RecordIO-protobuf -----------------------------------------------------------------------------------------------


def frame_by_frame(stream: IO[bytes]) -> Iterator[Record]:
    """The usual loop: a header, a body and its padding from the stream, and a message made of the body."""
    while header := stream.read(8):
        _, length = struct.unpack("<II", header)
        record = Record()
        record.ParseFromString(stream.read(length))
        stream.read(-length % 4)
        yield record


def sdk_loop(data: bytes) -> int:
    """All records as a list of messages, as the SDK gives them."""
    return len(list(frame_by_frame(io.BytesIO(data))))


def container_loop(data: bytes) -> int:
    """Messages to one array or matrix, row by row, as AWS's XGBoost container makes them."""
    features, labels = [], []
    for record in frame_by_frame(io.BytesIO(data)):
        tensor = record.features["values"].float32_tensor
        values = np.array(tensor.values, dtype=np.float32)
        if tensor.keys:
            keys = np.array(tensor.keys, dtype=np.uint64).astype(np.int64)
            features.append(sp.csr_matrix((values, keys, [0, len(keys)]), shape=(1, tensor.shape[0])))
        else:
            features.append(values.reshape(1, -1))
        labels.append(np.array(record.label["values"].float32_tensor.values, dtype=np.float32))
    joined = sp.vstack(features).tocsr() if sp.issparse(features[0]) else np.vstack(features)
    return joined.shape[0] + len(np.concatenate(labels)) - len(labels)


def ours(data: bytes) -> int:
    """All rows, batch by batch."""
    return sum(len(batch) for batch in read_records(io.BytesIO(data), "memory", ROWS))


def write_by_message(rows: Rows) -> int:
    """A message and a frame a row, as the SDK writes them."""
    out = io.BytesIO()
    for i in range(rows.features.shape[0]):
        if isinstance(rows.features, np.ndarray):
            record = message(rows.features[i], labels=rows.labels[i : i + 1])
        else:
            row = rows.features[[i], :]
            record = message(row.data, keys=row.indices, width=row.shape[1], labels=rows.labels[i : i + 1])
        body = record.SerializeToString()
        out.write(struct.pack("<II", 0xCED7230A, len(body)) + body + bytes(-len(body) % 4))
    return out.tell()


def through_fifo(path: Path, read: Callable[[Path], int]) -> int:
    """What ``read`` gives for a folder whose FIFO ``train_0`` another process fills with the file."""
    with tempfile.TemporaryDirectory() as folder:
        fifo = Path(folder) / "train_0"
        os.mkfifo(fifo)
        with subprocess.Popen(["dd", f"if={path}", f"of={fifo}", "bs=1M", "status=none"]):
            return read(Path(folder))


def drain(folder: Path) -> int:
    """Read the FIFO and drop the bytes."""
    import fcntl

    count, buffer = 0, bytearray(CHUNK)
    with (folder / "train_0").open("rb", buffering=0) as fifo:
        fcntl.fcntl(fifo, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        while got := fifo.readinto(buffer):
            count += got
    return count


def pipe_mode(folder: Path) -> int:
    """Read the FIFO as a training job does."""
    channel = ChannelStream(PipeSource(folder, "train"), parse("application/x-recordio-protobuf"), ROWS)
    return sum(len(batch) for batch in channel.batches())


def recordio_table(rounds: int) -> str:
    """Megabytes of RecordIO a second, and how they compare."""
    lines = []
    for rows in recordio_rows():
        data = encode_records(rows.features, rows.labels)
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            path = Path(file.name)
            sdk, container, plain, mine, fifo, pipe = race(
                {
                    "SDK": lambda data=data: sdk_loop(data),
                    "XGBoost container": lambda data=data: container_loop(data),
                    "copy": lambda data=data: copied(data, CHUNK),
                    "ours": lambda data=data: ours(data),
                    "FIFO": lambda path=path: through_fifo(path, drain),
                    "pipe mode": lambda path=path: through_fifo(path, pipe_mode),
                },
                rounds,
            )
        assert sdk.result == container.result == mine.result == pipe.result == rows.features.shape[0]
        by_message, written = race(
            {"by message": lambda rows=rows: write_by_message(rows), "ours": lambda rows=rows: len(encode(rows))}, 1
        )
        assert by_message.result == written.result == len(data)

        def rate(contender: Contender, size: int = len(data)) -> str:
            return f"{size / contender.median / 1e6:,.0f}"

        lines.append(
            (
                rows.name,
                f"{len(data) / 1e6:.0f}",
                *map(rate, (sdk, container, mine)),
                f"{sdk.times_slower_than(mine):.0f} x",
                f"{container.times_slower_than(mine):.0f} x",
                rate(plain),
                f"{100 * plain.times_slower_than(mine):.0f} %",
                rate(fifo),
                rate(pipe),
                f"{100 * fifo.times_slower_than(pipe):.0f} %",
                rate(by_message),
                rate(written),
            )
        )
    return table(
        "RecordIO-protobuf, MB/s",
        ("data", "MB", "SDK loop", "container loop", "ours", "/ SDK", "/ container", "copy", "of copy")
        + ("FIFO", "ours from FIFO", "of FIFO", "write by message", "ours writes"),
        lines,
    )


def encode(rows: Rows) -> bytes:
    """What ``encode_records`` writes."""
    return encode_records(rows.features, rows.labels)


# ---- text and Parquet ------------------------------------------------------------------------------------------------


def channel(path: Path, content_type: str) -> int:
    """The rows of a file, read as a training job reads them."""
    stream = ChannelStream(FileSource(path), parse(content_type), ROWS)
    return sum(len(batch) for batch in stream.batches())


def pyarrow_csv(path: Path, threads: bool) -> int:
    """The rows as pyarrow reads them, and as one float32 array."""
    options = pyarrow.csv.ReadOptions(use_threads=threads, autogenerate_column_names=True)
    return len(matrix(pyarrow.csv.read_csv(path, read_options=options)))


def matrix(columns: pa.Table) -> np.ndarray:
    """The columns of a table as one array, shape (n, d), float32."""
    return np.column_stack([column.to_numpy().astype(np.float32) for column in columns.columns])


def polars_csv(path: Path) -> int:
    """The rows as polars reads them, and as one float32 array."""
    import polars

    with path.open() as file:
        types = [polars.Float32] * (file.readline().count(",") + 1)
    return len(polars.read_csv(path, has_header=False, schema_overrides=types).to_numpy())


def sklearn_libsvm(path: Path) -> int:
    """The rows as scikit-learn reads them."""
    from sklearn.datasets import load_svmlight_file

    return load_svmlight_file(str(path), dtype=np.float32)[0].shape[0]


def text_table(rounds: int) -> str:
    """Megabytes of text and Parquet a second, and how they compare."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for path, content_type, peers in text_files(Path(folder)):
            ours_first = {"ours": lambda path=path, kind=content_type: channel(path, kind)}
            mine, *others = race(ours_first | peers, rounds)
            size = path.stat().st_size / 1e6
            for other in others:
                assert other.result == mine.result
                ratio = f"{other.times_slower_than(mine):.2f} x"
                rates = (f"{size / side.median:,.0f}" for side in (other, mine))
                lines.append((path.name, f"{size:.0f}", other.name, *rates, ratio))
    return table("Text and Parquet, MB/s", ("data", "MB", "peer", "peer reads", "ours", "ours / peer"), lines)


def text_files(folder: Path, quick: bool = False) -> Iterator[tuple[Path, str, dict[str, Callable[[], int]]]]:
    """Files to read, and who else reads them."""
    images, forest = (digits(), None) if quick else (mnist("t10k"), covertype())
    sets = [images] if forest is None else [images, forest._replace(features=np.tile(forest.features, (10, 1)))]
    for rows in sets:
        repeats = len(rows.features) // len(rows.labels)
        joined = np.column_stack([np.tile(rows.labels, repeats), rows.features])
        path = folder / f"{rows.name}.csv"
        np.savetxt(path, joined, fmt="%.6g", delimiter=",")
        peers = {
            "pyarrow, all threads": lambda path=path: pyarrow_csv(path, threads=True),
            "pyarrow, 1 thread": lambda path=path: pyarrow_csv(path, threads=False),
        }
        if importlib.util.find_spec("polars") is not None:
            peers["polars"] = lambda path=path: polars_csv(path)
        yield path, "text/csv; label_size=1", peers

        path = folder / f"{rows.name}.parquet"
        pyarrow.parquet.write_table(pa.table({f"c{i}": column for i, column in enumerate(joined.T)}), path)
        yield (
            path,
            "application/x-parquet",
            {"pyarrow": lambda path=path: len(matrix(pyarrow.parquet.read_table(path)))},
        )
    rows = a9a()
    path = folder / "a9a.libsvm"
    from sklearn.datasets import dump_svmlight_file

    times = 1 if quick else 10
    tenfold = sp.csr_matrix(sp.vstack([rows.features] * times, format="csr"))
    tenfold.indices, tenfold.indptr = tenfold.indices.astype(np.int32), tenfold.indptr.astype(np.int32)
    dump_svmlight_file(tenfold, np.tile(rows.labels, times), str(path))
    yield path, "text/libsvm", {"scikit-learn": lambda path=path: sklearn_libsvm(path)}


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"\n{time.perf_counter() - started:.0f} s")
