"""XGBoost as a SageMaker job beside the library itself, and loading beside what AWS's open container does.

    python -m benchmarks.xgboost_                       # all of it
    python -m benchmarks.xgboost_ --rounds 9 --only fit # fit, load, predict or busy

fit: the whole job (configuration, reading, training, log, artifact) and, apart from reading, the boosting alone,
against ``xgboost.train`` with the same parameters, threads and evaluation, and ``save_model``. Models must be equal.
load: bytes in files to a matrix. AWS's container gives CSV and LIBSVM files to XGBoost's own text readers, Parquet to
pyarrow's table reader, and parses RecordIO frame by frame; the frame loop here does the same work in the same way.
busy: a small job beside processes that want every core twice, with threads that sleep soon when they wait for each
other (``container.resources.sleep_soon``) and with those of OpenMP's default, which spin.
predict: a request's rows to scores on one thread, against building a DMatrix for each request as that container does.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import scipy.sparse as sp
import xgboost as xgb

from algorithms import hyperparameters
from algorithms.common.hosts import OneHost
from algorithms.xgb import XGBoost
from algorithms.xgb import data as ours
from algorithms.xgb.boost import boost
from algorithms.xgb.model import XGBModel
from benchmarks.common import SHARED_DATA, covertype, mnist, race, table, train, write_job
from benchmarks.lines import Line, raced
from container.resources import processes
from container.training.channels import row_format
from recordio.batches import Batch
from recordio.content_type import parse
from recordio.readers import ChannelStream
from recordio.record_pb2 import Record
from recordio.record_writer import encode_records
from recordio.sources import FileSource
from tests.algorithms.fakes import FakeJob

MAGIC = 0xCED7230A
MIDDLE = 0.5
"""A job starts each class from here; the library, from 3.1 on, from scores of their own, for which older versions have
no place: its model would be another."""


class Case(NamedTuple):
    """Rows, their labels, and the hyperparameters of a job on them."""

    name: str
    features: Any
    labels: np.ndarray
    parameters: dict[str, Any]


def cases() -> list[Case]:
    """Abalone, covertype, a9a and MNIST; digits where they are absent."""
    found = []
    if (path := SHARED_DATA / "abalone" / "abalone.csv").is_file():
        records = [line.split(",") for line in path.read_text().splitlines() if line]
        rows = np.array([["MFI".index(fields[0]), *map(float, fields[1:])] for fields in records], np.float32)
        found.append(Case("abalone", rows[:, :8], rows[:, 8], {"num_round": 100}))
    if (forest := covertype()) is not None:
        parameters = {"objective": "multi:softprob", "num_class": 7, "num_round": 20, "base_score": MIDDLE}
        found.append(Case("covertype-20k", forest.features, forest.labels - 1, parameters))
    if (path := SHARED_DATA / "a9a" / "a9a").is_file():
        lines = [line.split() for line in path.read_text().splitlines()]
        at = [[int(pair.partition(":")[0]) for pair in line[1:]] for line in lines]
        ends = np.concatenate([[0], np.cumsum([len(row) for row in at])])
        columns = np.concatenate([np.array(row, np.int32) for row in at])
        sparse = sp.csr_array((np.ones(len(columns), np.float32), columns, ends), shape=(len(at), 124))
        labels = np.array([line[0] == "+1" for line in lines], np.float32)
        found.append(Case("a9a", sparse, labels, {"objective": "binary:logistic", "num_round": 100}))
    pixels = mnist()
    # As AWS's MNIST notebook, for fewer rounds of its ten trees.
    parameters = {
        "objective": "multi:softmax",
        "num_class": 10,
        "max_depth": 5,
        "eta": 0.2,
        "num_round": 5,
        "base_score": MIDDLE,
    }
    found.append(Case(pixels.name, (pixels.features * 255).astype(np.float32), pixels.labels, parameters))
    return found


# ---- the formats ----------------------------------------------------------------------------------------------------


def as_csv(case: Case) -> bytes:
    """Label first, shortest exact decimals."""
    dense = case.features.toarray() if sp.issparse(case.features) else case.features
    sink = pa.BufferOutputStream()
    columns = [pa.array(column) for column in np.column_stack([case.labels, dense]).astype(np.float32).T]
    options = pyarrow.csv.WriteOptions(include_header=False)
    pyarrow.csv.write_csv(pa.table(columns, names=list(map(str, range(len(columns))))), sink, options)
    return sink.getvalue().to_pybytes()


def as_libsvm(case: Case) -> bytes:
    """Entries that are not zero."""
    rows = sp.csr_array(case.features)
    texts = [f"{column}:{value:g}" for column, value in zip(rows.indices.tolist(), rows.data.tolist(), strict=True)]
    ends = rows.indptr.tolist()
    lines = (
        " ".join([f"{label:g}", *texts[start:stop]])
        for label, start, stop in zip(case.labels.tolist(), ends, ends[1:], strict=False)
    )
    return "\n".join(lines).encode()


def as_parquet(case: Case) -> bytes:
    """A column a feature, after the label."""
    dense = case.features.toarray() if sp.issparse(case.features) else case.features
    sink = io.BytesIO()
    columns = [pa.array(column) for column in np.column_stack([case.labels, dense]).T]
    pq.write_table(pa.table(columns, names=list(map(str, range(len(columns))))), sink)
    return sink.getvalue()


def as_records(case: Case) -> bytes:
    """As the SageMaker SDK writes them."""
    return encode_records(case.features, case.labels)


FORMATS: dict[str, Callable[[Case], bytes]] = {
    "text/csv": as_csv,
    "text/libsvm": as_libsvm,
    "application/x-parquet": as_parquet,
    "application/x-recordio-protobuf": as_records,
}


# ---- loading --------------------------------------------------------------------------------------------------------


def load_ours(folder: Path, media: str, case: Case) -> xgb.DMatrix:
    """As a training job reads its channel."""
    values = parsed(case)
    return ours.matrix(ours.read(stream(folder, media, values), "train", OneHost()), values)


def stream(folder: Path, media: str, values: Any) -> ChannelStream:
    """The folder's rows."""
    return ChannelStream(FileSource(folder), parse(media), row_format(XGBoost, values, XGBoost.channels[0]))


def load_theirs(folder: Path, media: str) -> xgb.DMatrix:
    """With the means that AWS's container has for each format."""
    if media == "text/csv":
        return xgb.DMatrix(f"{folder}?format=csv&label_column=0&delimiter=,")
    if media == "text/libsvm":
        return xgb.DMatrix(f"{folder}?format=libsvm")
    if media == "application/x-parquet":
        values = np.column_stack([column.to_numpy() for column in pq.read_table(folder).columns])
        return xgb.DMatrix(values[:, 1:], label=values[:, 0])
    features, labels = frame_by_frame(next(folder.iterdir()).read_bytes())
    return xgb.DMatrix(features, label=labels)


def frame_by_frame(data: bytes) -> tuple[Any, np.ndarray]:
    """One protobuf message and one array a row, then one stack of them all."""
    rows, labels, start = [], [], 0
    while start < len(data):
        magic, size = struct.unpack_from("<II", data, start)
        if magic != MAGIC:
            raise ValueError(f"no frame at byte {start}")
        record = Record.FromString(data[start + 8 : start + 8 + size])
        start += 8 + (size + 3) // 4 * 4
        tensor = record.features["values"].float32_tensor
        values = np.array(tensor.values, np.float32)
        if tensor.keys:
            keys = np.array(tensor.keys, np.int64)
            rows.append(sp.csr_matrix((values, keys, [0, len(keys)]), shape=(1, tensor.shape[0])))
        else:
            rows.append(values.reshape(1, -1))
        labels.append(np.array(record.label["values"].float32_tensor.values, np.float32))
    return (sp.vstack(rows) if sp.issparse(rows[0]) else np.vstack(rows)), np.concatenate(labels)


def loading(rounds: int) -> str:
    """Seconds of both, and how many times faster ours is."""
    rows = []
    for case in cases():
        sparse = sp.issparse(case.features)
        for media, write in FORMATS.items():
            if sparse and media in ("text/csv", "application/x-parquet"):
                continue  # nobody writes a9a so
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "part").write_bytes(write(case))
                size = (Path(folder) / "part").stat().st_size / 1e6

                def mine(folder: Path = Path(folder), media: str = media, case: Case = case) -> xgb.DMatrix:
                    return load_ours(folder, media, case)

                def theirs(folder: Path = Path(folder), media: str = media) -> xgb.DMatrix:
                    return load_theirs(folder, media)

                first, second = race({"ours": mine, "theirs": theirs}, rounds)
            ratio = second.times_slower_than(first)
            rows.append([case.name, media, size, first.median, size / first.median, second.median, f"{ratio:.1f}"])
    columns = ["data", "format", "MB", "ours, s", "ours, MB/s", "AWS's way, s", "times faster"]
    return table("Loading: files to a DMatrix", columns, rows)


# ---- training -------------------------------------------------------------------------------------------------------


def parsed(case: Case) -> Any:
    """The typed hyperparameters."""
    return hyperparameters.parse(XGBoost.hyperparameters, {name: str(value) for name, value in case.parameters.items()})


def library(case: Case, load: Callable[[], xgb.DMatrix], *, logged: bool = False) -> xgb.Booster:
    """What a user of XGBoost writes for the same; ``logged`` with a line of each round, as a job has it."""
    parameters = dict(case.parameters)
    rounds = parameters.pop("num_round")
    matrix = load()
    return xgb.train(parameters, matrix, rounds, evals=[(matrix, "train")], verbose_eval=logged)


def fitting(rounds: int) -> str:
    """Seconds of ours relative to the library, for the whole job and for boosting alone."""
    rows = []
    for case in cases():
        media = "text/libsvm" if sp.issparse(case.features) else "text/csv"
        batch = Batch(case.features, case.labels.astype(np.float32))
        values = parsed(case)

        def alone(batch: Batch = batch, values: Any = values) -> xgb.Booster:
            return boost(values, batch, None, FakeJob()).booster

        def plain(case: Case = case) -> xgb.Booster:
            return library(case, lambda: xgb.DMatrix(case.features, label=case.labels))

        boosted, called = race({"ours": alone, "library": plain}, rounds)
        with tempfile.TemporaryDirectory() as folder:
            job, written = race(_from_files(Path(folder), case, media), rounds)
        same = bytes(boosted.result.save_raw("json")) == bytes(called.result.save_raw("json"))
        rows.append(
            [case.name, called.median, f"{boosted.times_slower_than(called):.3f}", "yes" if same else "NO"]
            + [written.median, f"{job.times_slower_than(written):.3f}"]
        )
    columns = ["data", "library fit, s", "ours / library", "same model", "library, file to model, s", "job / library"]
    return table("Training: ours relative to calling the library", columns, rows)


# ---- predicting -----------------------------------------------------------------------------------------------------


def predicting(rounds: int) -> str:
    """Microseconds a request, on one thread."""
    case = next(case for case in cases() if case.name in ("abalone", "digits"))
    booster = library(case, lambda: xgb.DMatrix(case.features, label=case.labels))
    booster.set_param({"nthread": 1})
    model = XGBModel([booster])
    rows = []
    for count in (1, 100, 4000):
        batch = Batch(np.ascontiguousarray(case.features[:count]))
        repeats = 20_000 // (count + 100)

        def mine(batch: Batch = batch, repeats: int = repeats) -> np.ndarray:
            return [model.predict(batch)["score"] for _ in range(repeats)][-1]

        def theirs(batch: Batch = batch, repeats: int = repeats) -> np.ndarray:
            return [booster.predict(xgb.DMatrix(batch.features), validate_features=False) for _ in range(repeats)][-1]

        first, second = race({"ours": mine, "theirs": theirs}, rounds)
        micro = [contender.median / repeats * 1e6 for contender in (first, second)]
        same = np.array_equal(first.result, second.result)
        rows.append([count, *micro, f"{second.times_slower_than(first):.1f}", "yes" if same else "NO"])
    columns = ["rows", "ours, us", "a DMatrix a request, us", "times faster", "same scores"]
    return table(f"Predicting {case.name} with {booster.num_boosted_rounds()} rounds", columns, rows)


# ---- beside other work ----------------------------------------------------------------------------------------------

_DEFAULT_SPINS = "300000"  # libgomp's, where OMP_WAIT_POLICY does not say otherwise
_BUSY = "while True: pass"


def busy(rounds: int) -> str:
    """Seconds of a whole job of 100 rounds on 4,177 made rows."""
    random = np.random.default_rng(0)
    features = random.normal(size=(4177, 8))
    rows = np.column_stack([features[:, 0] * features[:, 1] + features[:, 2], features])
    ways: dict[str, dict[str, str]] = {"ours": {}, "OpenMP's default": {"GOMP_SPINCOUNT": _DEFAULT_SPINS}}
    found: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.csv"
        np.savetxt(data, rows, "%.5g", ",")
        for name, others in (("nothing beside", 0), ("busy processes beside", 2 * processes())):
            with _busy(others):
                for way, variables in ways.items():
                    seconds = [_whole(Path(folder) / f"{others}-{way}-{i}", data, variables) for i in range(rounds)]
                    found.append([name, way, statistics.median(seconds), max(seconds)])
    return table("100 rounds on 4,177 x 8, the whole process", ["", "waiting", "s, median", "most"], found)


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def _whole(base: Path, data: Path, variables: dict[str, str]) -> float:
    write_job(base, {"num_round": 100, "objective": "reg:squarederror"}, {"train": data}, "text/csv")
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(base), "ALGORITHM": "xgboost", **variables}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "container", "train"], env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def lines(quick: bool) -> Iterator[Line]:
    """Files to a saved model beside a script with the same calls of the library, reading, and requests."""
    warnings.filterwarnings("ignore", message=r"(?s).*WARNING", category=UserWarning)
    few = [case._replace(parameters=case.parameters | {"num_round": 5}) for case in cases()[:1]]
    for case in few if quick else cases():
        media = "text/libsvm" if sp.issparse(case.features) else "text/csv"
        with tempfile.TemporaryDirectory() as folder:
            entered = race(_from_files(Path(folder), case, media), 1 if quick else 5)
        rounds = case.parameters["num_round"]
        yield raced(f"XGBoost, {case.name}, {rounds} rounds, {media} to saved model", entered)


def _from_files(folder: Path, case: Case, media: str) -> dict[str, Callable[[], Any]]:
    """A job, and a script that makes the same model of the same file."""
    data, model = folder / "data", folder / "saved.ubj"
    data.mkdir()
    (data / "part").write_bytes(FORMATS[media](case))

    def whole() -> Path:
        base = Path(tempfile.mkdtemp(dir=folder))  # deleted with ``folder``: no part of what is timed
        with contextlib.redirect_stdout(io.StringIO()):
            write_job(base, case.parameters, {"train": data}, media)
            return train(base, "xgboost").model / "xgboost-model"

    def script() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            library(case, lambda: load_theirs(data, media), logged=True).save_model(model)

    return {"ours": whole, "the library's calls": script}


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["fit", "load", "predict", "busy"])
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=r"(?s).*WARNING", category=UserWarning)
    began = time.perf_counter()
    for name, run in {"fit": fitting, "load": loading, "predict": predicting, "busy": busy}.items():
        if arguments.only in (None, name):
            print(run(arguments.rounds), flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s in all; xgboost {xgb.__version__}")


if __name__ == "__main__":
    main()
