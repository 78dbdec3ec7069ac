"""The readers of every format: a DataError or rows, and the same from the compiled and the plain code."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp

from recordio import record_reader, record_writer, sequences, text_kernel
from recordio.batches import Batch
from recordio.content_type import parse
from recordio.errors import DataError
from recordio.framing import frames, write_frame
from recordio.images import RecordFile, encode_record, image_records, manifest_records, parse_label, read_list
from recordio.readers import ChannelStream, RowFormat, decode
from recordio.record_writer import encode_records
from recordio.sequences import Pairs, Ragged, decode_body, encode
from recordio.sources import FileSource
from tests.fuzz.engine import Target

ROWS = (
    RowFormat(),
    RowFormat(labels="required"),
    RowFormat(labels="required", missing=True, finite=False, weights=True),
    RowFormat(feature_dim=4, missing=True),
)
_random = np.random.default_rng(0)
TABLE = _random.normal(size=(5, 5)).astype("f4")
SPARSE = sp.csr_array(np.where(_random.random((6, 40)) < 0.1, 1.5, 0).astype("f4"))


def _outcome(read: Callable[[], Any]) -> Any:
    """What comes of it: arrays as bytes, or the error. Anything but a DataError is raised."""
    try:
        return [_plainly(part) for part in read()]
    except DataError as error:
        return type(error).__name__, str(error)


def _plainly(part: Any) -> Any:
    if isinstance(part, Batch):
        return [(array.dtype.str, array.shape, array.tobytes()) for array in part.arrays()]
    return part.tobytes() if isinstance(part, np.ndarray) else part


def _both_ways(module: ModuleType, reads: list[Callable[[], Any]]) -> None:
    """The compiled and the plain code agree on rows and on errors, word for word."""
    kernel = module.kernel
    for read in reads:
        with_kernel = _outcome(read)
        module.kernel = None
        try:
            without = _outcome(read)
        finally:
            module.kernel = kernel
        assert with_kernel == without, f"compiled: {with_kernel}\nplain: {without}"


def _rows(content_type: str, module: ModuleType, seeds: list[bytes]) -> Target:
    declared = parse(content_type)

    def check(data: bytes) -> None:
        _both_ways(module, [lambda rows=rows: [decode(data, declared, rows)] for rows in ROWS])  # type: ignore[misc]

    return Target(seeds, check)


def _csv(delimiter: str) -> Target:
    rows = [delimiter.join(f"{value:g}" for value in row) for row in TABLE]
    quoted = [delimiter.join(f'"{value}"' for value in row) for row in TABLE]
    seeds = ["\n".join(rows), "\r\n".join(quoted), f"1{delimiter}{delimiter}3\n\n4{delimiter}5{delimiter}6\n", "1\n2"]
    return _rows(f'text/csv; delimiter="{delimiter}"', text_kernel, [seed.encode() for seed in seeds])


def _libsvm() -> Target:
    seeds = [
        b"1 0:1.5 3:2\n0 1:2 7:-1e-3 # words\n",
        b"1:0.5 qid:1 0:1\n0:2 qid:1 5:1\n",
        b"1\n0 00012:4\n",
        b"0:1 2:3\n",
    ]
    return _rows("text/libsvm", text_kernel, seeds)


_INSTANCES: list[Any] = [
    [{"features": [1.5, -2, 1e-3]}, {"features": [0, 16777217, 3]}],
    [{"data": {"features": {"values": [1.5, 2]}}}],
    [{"data": {"features": {"keys": [0, 26], "shape": [2000], "values": [1.5, 14.0]}}}] * 2,
]


def _json() -> Target:
    return _rows(
        "application/json", text_kernel, [json.dumps({"instances": instances}).encode() for instances in _INSTANCES]
    )


def _json_lines() -> Target:
    seeds = ["\n".join(map(json.dumps, instances)).encode() for instances in _INSTANCES]
    return _rows("application/jsonlines", text_kernel, seeds)


def _recordio() -> Target:
    labels = np.arange(6, dtype=np.float32)
    seeds = [
        encode_records(TABLE, labels[:5]), encode_records(TABLE.astype("f8")), encode_records(SPARSE, labels),
        encode_records(SPARSE.astype("f8")), encode_records(SPARSE.astype(np.int32), labels.astype(np.int64)),
    ]  # fmt: skip
    return _rows("application/x-recordio-protobuf", record_reader, seeds)


_WIDTHS = (1, 127, 128, 129, 1 << 14, (1 << 14) + 1, 1 << 21, 1 << 28, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, 1 << 40)
"""Where keys and shapes come to need another byte, or another type."""


def _sparse_rows(data: bytes) -> tuple[sp.csr_array, np.ndarray | None]:
    """Sparse rows, and labels or none, that any bytes stand for."""
    width, kind, of_labels, *counts = data[:9].ljust(9, b"\2")
    size = _WIDTHS[width % len(_WIDTHS)]
    bounds = np.append(0, np.cumsum(counts[: 1 + kind % 6]))
    keys = np.resize(np.frombuffer(data.ljust(16, b"\7")[: len(data) // 4 * 4 or 16], np.uint32), bounds[-1])
    values = (keys.astype("f8") - 1e9).astype("f8" if kind & 64 else "f4")
    index = np.int64 if kind & 128 or size > 1 << 31 else np.int32
    rows = sp.csr_array(
        (values, (keys.astype(np.int64) % size).astype(index), bounds.astype(index)), (len(bounds) - 1, size)
    )
    labels = np.resize(values if len(values) else np.ones(1, "f4"), (rows.shape[0], of_labels % 40))
    return rows, labels if of_labels & 64 else None


def _recordio_writer() -> Target:
    """What compiled code writes is what the plain code does, and what protobuf messages are."""

    def check(data: bytes) -> None:
        rows, labels = _sparse_rows(data)
        _both_ways(record_writer, [lambda: [encode_records(rows, labels)]])
        assert encode_records(rows, labels) == record_writer._encode_messages(rows, labels)

    keys = _random.integers(0, 1 << 32, 100, np.uint32).tobytes()
    heads = [
        bytes([width, kind, of_labels, 3, 0, 40, 1, 2, 7])
        for width in range(12)
        for kind, of_labels in ((5, 0), (196, 75))
    ]
    return Target([head + keys for head in heads], check)


def _parquet() -> Target:
    import pyarrow as pa
    import pyarrow.parquet as pq

    seeds = []
    for compression in ("none", "snappy"):
        stream = io.BytesIO()
        table = pa.table({"a": [1.5, None, 3.0], "b": [1, 2, 3], "c": pa.array([1, 2, 3], pa.float32())})
        pq.write_table(table, stream, compression=compression)
        seeds.append(stream.getvalue())
    declared = parse("application/x-parquet")
    return Target(seeds, lambda data: [_outcome(lambda: [decode(data, declared, rows)]) for rows in ROWS] and None)  # noqa: B023


def _images() -> Target:
    bodies = [encode_record(b"\x89PNG" * 8, labels) for labels in ([1], [0, 1, 1], [0.5] * 200)]
    stream = io.BytesIO()
    for body in bodies:
        write_frame(stream, body)
    split = b"\x0a\x23\xd7\xce" + (1 << 29 | 24).to_bytes(4, "little") + bodies[0][:24]
    split += b"\x0a\x23\xd7\xce" + (3 << 29 | 32).to_bytes(4, "little") + bodies[0][24:56]

    def check(data: bytes) -> None:
        _outcome(lambda: (record.image for record in image_records(frames(io.BytesIO(data), "a.rec"), "train")))
        _outcome(lambda: (record.image for record in manifest_records(frames(io.BytesIO(data), "a.rec"), "train")))
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            _outcome(lambda: _read_file(Path(file.name)))

    return Target([stream.getvalue(), split], check)


def _read_file(path: Path) -> Iterator[bytes]:
    records = RecordFile(path, "a.rec")
    return (records.read(number) for number in range(len(records)))


def _lists() -> Target:
    def check(data: bytes) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            _outcome(lambda: (entry.path for entry in read_list(Path(file.name), "train_lst/a.lst")))
        _outcome(lambda: [parse_label(data, "here")])

    return Target([b"1\t0\ta/b.png\n2\t1.5\tc.jpg\n", b'"1"', b"[0, 1, 0.5]"], check)


def _sequences() -> Target:
    seeds = [
        encode(Pairs(Ragged.of([[4, 300, 5], [70000]]), Ragged.of([[1], [2, 3]]))),
        encode(Pairs(Ragged.of([[4], [5]]), Ragged.of([[], []]))),
    ]

    def read(data: bytes, targets: bool) -> list[np.ndarray]:
        pairs = decode_body(data, "request", targets=targets)
        return [array for part in pairs for array in (part.values, part.offsets)]

    def check(data: bytes) -> None:
        _both_ways(sequences, [lambda targets=targets: read(data, targets) for targets in (True, False)])  # type: ignore[misc]

    return Target(seeds, check)


def _gzip() -> Target:
    import gzip

    seeds = [gzip.compress(b"1,2\n3,4\n", mtime=0), gzip.compress(b"1,2\n" * 5000, mtime=0), b"1,2\n"]
    seeds.append(seeds[0] + seeds[1])

    def check(data: bytes) -> None:
        if not data:
            return
        with tempfile.NamedTemporaryFile(dir=_FOLDER.name) as file:
            file.write(data)
            file.flush()
            _outcome(lambda: ChannelStream(FileSource(file.name), parse("text/csv"), RowFormat()).batches())

    return Target(seeds, check)


_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz")

MAKERS: dict[str, Callable[[], Target]] = {
    "csv": partial(_csv, ","),
    "csv-semicolon": partial(_csv, ";"),
    "csv-tab": partial(_csv, "\t"),
    "csv-space": partial(_csv, " "),
    "libsvm": _libsvm,
    "json": _json,
    "json-lines": _json_lines,
    "recordio": _recordio,
    "recordio-writer": _recordio_writer,
    "parquet": _parquet,
    "images": _images,
    "image-lists": _lists,
    "sequences": _sequences,
    "gzip": _gzip,
}
