"""From bytes to the model, in every format and mode: the model of the library's own readers, or of the same numbers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
import xgboost as xgb

from algorithms.xgb import XGBoost
from container.training.channels import row_format
from recordio import content_type
from recordio.readers import ChannelStream
from recordio.record_writer import encode_records
from recordio.sources import FileSource, PipeSource
from tests.algorithms.xgb.jobs import dumped, fit, library, parse, round_by_round, rows
from tests.opt_ml import FifoWriter

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
TRAIN = XGBoost.channels[0]


def stream(source: FileSource | PipeSource, media: str, **given: str) -> ChannelStream:
    """The channel as the container opens it."""
    return ChannelStream(source, content_type.parse(media), row_format(XGBoost, parse(**given), TRAIN))


def shown(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))


def as_csv(features: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> bytes:
    first = [labels] if weights is None else [labels, weights]
    return b"".join(",".join(map(shown, row)).encode() + b"\n" for row in np.column_stack([*first, features]))


def as_libsvm(features: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> bytes:
    lines = []
    for number, row in enumerate(features):
        head = f"{labels[number]:g}" + ("" if weights is None else f":{float(weights[number])!r}")
        pairs = [f"{at}:{float(value)!r}" for at, value in enumerate(row) if not np.isnan(value)]
        lines.append(" ".join([head, *pairs]) + "\n")
    return "".join(lines).encode()


def as_parquet(features: np.ndarray, labels: np.ndarray) -> bytes:
    columns = {"label": labels} | {f"f{at}": pa.array(column, from_pandas=True) for at, column in enumerate(features.T)}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def as_records(features: np.ndarray, labels: np.ndarray) -> bytes:
    return encode_records(features, labels)


def as_sparse_records(features: np.ndarray, labels: np.ndarray) -> bytes:
    held = ~np.isnan(features)
    return encode_records(sp.csr_array((features[held], np.nonzero(held)), shape=features.shape), labels)


FORMATS = {
    "text/csv": as_csv,
    "text/csv; label_size=1": as_csv,
    "libsvm": as_libsvm,
    "application/x-parquet": as_parquet,
    "application/x-recordio-protobuf": as_records,
    "recordio-protobuf": as_sparse_records,
}


@pytest.mark.parametrize("mode", ["File", "Pipe"])
@pytest.mark.parametrize("media", FORMATS)
def test_every_format_and_mode_gives_the_model_of_the_same_numbers(tmp_path, media, mode):
    features, labels = rows()
    parts = [FORMATS[media](features[:200], labels[:200]), FORMATS[media](features[200:], labels[200:])]
    if mode == "Pipe":
        whole = FORMATS[media](features, labels)
        writer = FifoWriter(tmp_path, "train", [whole])
        writer.start()
        source: FileSource | PipeSource = PipeSource(tmp_path, "train")
    else:
        for number, part in enumerate(parts):
            (tmp_path / f"part-{number}").write_bytes(part)
        source = FileSource(tmp_path)
    model = fit(stream(source, media), objective="binary:logistic")
    expected = library({"objective": "binary:logistic"}, xgb.DMatrix(features, label=labels))
    assert dumped(model.boosters[0]) == dumped(expected)


@pytest.mark.parametrize(("media", "write"), [("text/csv", as_csv), ("text/libsvm", as_libsvm)])
def test_weights_come_from_the_second_column_or_behind_the_label(tmp_path, media, write):
    features, labels = rows()
    weights = np.random.default_rng(1).random(len(labels)).astype(np.float32)
    (tmp_path / "part").write_bytes(write(features, labels, weights))
    given = {"csv_weights": "1"} if media == "text/csv" else {}
    model = fit(stream(FileSource(tmp_path), media, **given), **given)
    assert dumped(model.boosters[0]) == dumped(library({}, xgb.DMatrix(features, label=labels, weight=weights)))


def test_queries_come_from_libsvm(tmp_path):
    features, labels = rows()
    text = as_libsvm(features, labels).decode().splitlines()
    lines = [line.replace(" ", f" qid:{number // 10} ", 1) for number, line in enumerate(text)]
    (tmp_path / "part").write_text("\n".join(lines))
    model = fit(stream(FileSource(tmp_path), "text/libsvm"), objective="rank:pairwise")
    matrix = xgb.DMatrix(features, label=labels, qid=np.arange(300) // 10)
    assert dumped(model.boosters[0]) == dumped(library({"objective": "rank:pairwise"}, matrix))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["agaricus/agaricus.txt.train", "a9a/a9a"])
def test_libsvm_files_give_the_model_of_the_librarys_own_reader(tmp_path, name):
    content = real(name)
    if name == "a9a/a9a":  # labels of binary:logistic are 0 and 1
        content = content.replace(b"-1 ", b"0 ").replace(b"+1 ", b"1 ")
    (tmp_path / "part").write_bytes(content)
    parameters = {"objective": "binary:logistic", "max_depth": 3, "eta": 1}
    expected = library(parameters, xgb.DMatrix(f"{tmp_path / 'part'}?format=libsvm"))
    model = fit(stream(FileSource(tmp_path), "libsvm"), **parameters)
    assert dumped(model.boosters[0]) == dumped(expected)


def test_csv_files_give_the_model_of_the_numbers_in_them(tmp_path):
    """XGBoost's own CSV reader would not do: it misses the nearest float by one unit in some places."""
    records = [line.split(",") for line in real("abalone/abalone.csv").decode().splitlines() if line]
    lines = [",".join([fields[-1], str("MFI".index(fields[0])), *fields[1:-1]]) for fields in records]
    (tmp_path / "part").write_text("\n".join(lines))
    table = np.loadtxt(tmp_path / "part", delimiter=",").astype(np.float32)
    expected = round_by_round({"subsample": 0.7}, xgb.DMatrix(table[:, 1:], label=table[:, 0]), 5)
    model = fit(stream(FileSource(tmp_path), "csv"), subsample=0.7)
    assert dumped(model.boosters[0]) == dumped(expected)


def real(name: str) -> bytes:
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not beside this checkout")
    return (SHARED / name).read_bytes()
