"""Several hosts of one core each beside one host of one core, from the same files to a saved model.

    python -m benchmarks.hosts                     # two hosts, all jobs
    python -m benchmarks.hosts --only pca --scale 0.1
    python -m benchmarks.hosts --only covertype --hosts 2 4
    python -m benchmarks.hosts --sizes --scale 0.1 # what two hosts exchange, and what that would cost more of them

Each host is a real ``train`` process with its own /opt/ml at a loopback address, bound to a core of its own where the
machine has enough. In the column "sharded" each host has its part of the files (ShardedByS3Key), in "replicated" all of
them. The score is that of the training rows, where the log has one. CPU is the processor time of the busiest host,
which is what a run would take on machines with nothing else to do; seconds are those of the clock, and mean nothing on
a machine that does. The ratio is of the CPU times.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_svmlight_file

from benchmarks.common import SHARED_DATA, covertype, mnist, table
from container.paths import Paths
from recordio.batches import Features
from recordio.record_writer import encode_records

RECORDIO = "application/x-recordio-protobuf"
FILES = 8
ADDRESS = "127.9.9.{}"
PREDICTED = (2, 4, 16, 64)
HOP, RATE = 1e-4, 1.25e9
"""Seconds for a message from host to host, and bytes a second, at 10 Gb/s in one data centre."""


class Job(NamedTuple):
    """An algorithm with its hyperparameters, rows (n, d) with labels (n,) or None, and the metric that is its score."""

    algorithm: str
    hyperparameters: Mapping[str, Any]
    rows: Features
    labels: np.ndarray | None = None
    metric: str = ""


class Run(NamedTuple):
    """Seconds by the clock, processor seconds of the busiest host, the last score, and what the leader's log says of
    its sums."""

    seconds: float
    cpu: float
    score: str
    exchanged: str


def _pca(scale: float, random: np.random.Generator) -> Job:
    rows = random.standard_normal((int(600_000 * scale), 2000), np.float32)
    return Job("pca", {"feature_dim": 2000, "num_components": 10, "mini_batch_size": 500}, rows)


def _kmeans(scale: float, random: np.random.Generator) -> Job:
    centers = random.uniform(-3, 3, (100, 100))
    count = int(3_000_000 * scale)
    rows = centers[random.integers(100, size=count)].astype(np.float32) + random.standard_normal(
        (count, 100), np.float32
    )
    return Job("kmeans", {"feature_dim": 100, "k": 100, "epochs": 4}, rows)


def _lda(scale: float, random: np.random.Generator) -> Job:
    topics = random.dirichlet(np.full(1000, 0.05), 20)
    mixtures = random.dirichlet(np.full(20, 0.1), int(100_000 * scale))
    rows = np.stack([random.multinomial(100, mixture @ topics) for mixture in mixtures]).astype(np.float32)
    return Job("lda", {"feature_dim": 1000, "num_topics": 20, "mini_batch_size": 500}, rows)


def _xgboost(scale: float, random: np.random.Generator) -> Job:
    rows = random.standard_normal((int(2_000_000 * scale), 30), np.float32)
    labels = (rows[:, 0] * rows[:, 1] + rows[:, 2] > random.standard_normal(len(rows))).astype(np.float32)
    return Job("xgboost", {"num_round": 100, "objective": "binary:logistic", "nthread": 1}, rows, labels)


def _ntm(scale: float, random: np.random.Generator) -> Job:
    rows = random.poisson(0.1, (int(100_000 * scale), 2000)).astype(np.float32)
    return Job("ntm", {"feature_dim": 2000, "num_topics": 20, "epochs": 2, "mini_batch_size": 256}, rows)


def _classes(rows: Features, labels: np.ndarray, **values: Any) -> Job:
    kind = "multiclass" if labels.max() > 1 else "binary"
    metric = "multiclass_accuracy" if kind == "multiclass" else "binary_classification_accuracy"
    classes = {"num_classes": int(labels.max()) + 1} if kind == "multiclass" else {}
    given = {"predictor_type": f"{kind}_classifier", **classes, **values}
    return Job("linear-learner", given, rows, labels.astype(np.float32), metric)


def _covertype(scale: float, random: np.random.Generator) -> Job:
    data = covertype()
    if data is None:
        raise SystemExit("covertype-20k is not here")
    count = int(len(data.labels) * scale)
    return _classes(data.features[:count], data.labels[:count] - 1)


def _a9a(scale: float, random: np.random.Generator) -> Job:
    rows, labels = load_svmlight_file(str(SHARED_DATA / "a9a" / "a9a"), n_features=123, dtype=np.float32)
    count = int(len(labels) * scale)
    return _classes(sp.csr_array(rows)[:count], labels[:count] > 0)


def _mnist(scale: float, random: np.random.Generator) -> Job:
    data = mnist()
    count = int(len(data.labels) * scale)
    return _classes(data.features[:count], data.labels[:count])


def _linear(scale: float, random: np.random.Generator) -> Job:
    """More than 256 MiB: by mini-batches, of a size that is stated, as the SageMaker Python SDK does."""
    rows = random.standard_normal((int(1_500_000 * scale), 100), np.float32)
    labels = rows @ np.linspace(-1, 1, 100, dtype=np.float32) > random.standard_normal(len(rows)) * 3
    return _classes(rows, labels, epochs=4, mini_batch_size=1000)


def _factorization_machines(scale: float, random: np.random.Generator) -> Job:
    """Rows of 20 of ten million features, as sparse as advertisements."""
    count, width = int(200_000 * scale), 10_000_000
    columns = (width * random.random((count, 20)) ** 4).astype(np.int32)
    columns.sort(axis=1)
    rows = sp.csr_array(
        (np.ones(columns.size, np.float32), columns.ravel(), np.arange(0, columns.size + 1, 20)), shape=(count, width)
    )
    rows.sum_duplicates()
    tastes = random.standard_normal(width).astype(np.float32)
    labels = (rows @ tastes > 0).astype(np.float32)
    values = {"feature_dim": width, "num_factors": 8, "predictor_type": "binary_classifier", "epochs": 2}
    return Job("factorization-machines", values, rows, labels, "binary_classification_accuracy")


JOBS: dict[str, Callable[[float, np.random.Generator], Job]] = {
    "pca": _pca,
    "kmeans": _kmeans,
    "lda": _lda,
    "xgboost": _xgboost,
    "ntm": _ntm,
    "covertype": _covertype,
    "a9a": _a9a,
    "mnist": _mnist,
    "linear-learner": _linear,
    "factorization-machines": _factorization_machines,
}


def main() -> None:
    """Run the benchmarks named on the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=JOBS)
    parser.add_argument("--scale", type=float, default=1.0, help="of the data; 1 takes one host a minute or so")
    parser.add_argument("--hosts", type=int, nargs="+", default=[2], help="how many hosts to compare with one")
    parser.add_argument("--sizes", action="store_true", help="what two hosts exchange, instead of how fast they are")
    arguments = parser.parse_args()
    rows = []
    if arguments.sizes:
        chosen = {name: make for name, make in JOBS.items() if arguments.only in (None, name)}
        rows = [_exchanged(name, make(arguments.scale, np.random.default_rng(0))) for name, make in chosen.items()]
        found = ("job", "sums", "MB", "kB a sum", "ms a sum, waiting too")
        print(table("What hosts exchange", (*found, *(f"{count} hosts, s" for count in PREDICTED)), rows))
        return
    for name, make in JOBS.items():
        if arguments.only in (None, name):
            found = _compared(name, make(arguments.scale, np.random.default_rng(0)), arguments.hosts)
            print(*found, sep="\n", file=sys.stderr, flush=True)
            rows += found
    print(
        table("Several hosts", ("job", "hosts", "seconds", "CPU of one", "ratio", "score", "sums of the leader"), rows)
    )


def _exchanged(name: str, job: Job) -> tuple[object, ...]:
    """What two hosts with half of the rows each have summed, and what the sums would take n hosts in all: of n each
    sends an n-th to its neighbour 2 (n - 1) times (a ring)."""
    with tempfile.TemporaryDirectory() as folder:
        data = _written(job, Path(folder))
        run = _run(job._replace(rows=job.rows[:0]), data, Path(folder) / "two", 2, sharded=True)
    found = re.match(r"(\d+) times over all hosts, (\S+) MB, in (\S+) s", run.exchanged)
    assert found, run.exchanged
    sums, size, seconds = int(found[1]), float(found[2]) * 1e6, float(found[3])
    predicted = (2 * (count - 1) * (sums * HOP + size / count / RATE) for count in PREDICTED)
    shape = f"{name}, {job.rows.shape[0]:,} x {job.rows.shape[1]:,}"
    return (shape, str(sums), size / 1e6, size / sums / 1e3, 1e3 * seconds / sums, *predicted)


def _written(job: Job, folder: Path) -> Path:
    """The folder with the files of a job."""
    data = folder / "data"
    data.mkdir()
    for number, part in enumerate(np.array_split(np.arange(job.rows.shape[0]), FILES)):
        labels = None if job.labels is None else job.labels[part]
        (data / f"part-{number}").write_bytes(encode_records(job.rows[part], labels))
    return data


def _compared(name: str, job: Job, sizes: list[int]) -> list[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        data = _written(job, Path(folder))
        shape = f"{name}, {job.rows.shape[0]:,} x {job.rows.shape[1]:,}"
        job = job._replace(rows=job.rows[:0])
        one = _run(job, data, Path(folder) / "one", 1, sharded=False)
        lines = [(shape, "1", f"{one.seconds:.1f}", f"{one.cpu:.1f}", "", one.score, "")]
        for size in sizes:
            for sharded in (True, False):
                way = "sharded" if sharded else "replicated"
                run = _run(job, data, Path(folder) / f"{size}-{way}", size, sharded=sharded)
                figures = f"{run.seconds:.1f}", f"{run.cpu:.1f}", f"{one.cpu / run.cpu:.2f}", run.score, run.exchanged
                lines.append((shape, f"{size}, {way}", *figures))
    return lines


def _run(job: Job, data: Path, base: Path, size: int, *, sharded: bool) -> Run:
    names = [ADDRESS.format(100 + host) for host in range(size)]
    started = time.perf_counter()
    processes = [_start(job, data, Paths(base / name), names, host, sharded) for host, name in enumerate(names)]
    ends = [os.wait4(process.pid, 0) for process in processes]
    seconds = time.perf_counter() - started
    logs = [(base / name / "log").read_text() for name in names]
    assert not any(status for _, status, _ in ends), "\n".join(logs)
    found = re.search(r"summed (.*) with waiting", logs[0])
    scores = re.findall(rf"train {job.metric} <\w+>=(\S+)", logs[0]) if job.metric else []
    cpu = max(use.ru_utime + use.ru_stime for *_, use in ends)
    return Run(seconds, cpu, f"{float(scores[-1]):.4f}" if scores else "", found[1] if found else "")


def _start(job: Job, data: Path, paths: Paths, names: list[str], host: int, sharded: bool) -> subprocess.Popen[bytes]:
    paths.config.mkdir(parents=True)
    paths.channel("train").mkdir(parents=True)
    for number, file in enumerate(sorted(data.iterdir())):
        if not sharded or number % len(names) == host:
            (paths.channel("train") / file.name).symlink_to(file)
    paths.hyperparameters.write_text(json.dumps({name: str(value) for name, value in job.hyperparameters.items()}))
    distribution = "ShardedByS3Key" if sharded else "FullyReplicated"
    channel = {"TrainingInputMode": "File", "ContentType": RECORDIO, "S3DistributionType": distribution}
    paths.input_data_config.write_text(json.dumps({"train": channel}))
    paths.resource_config.write_text(json.dumps({"current_host": names[host], "hosts": names}))
    cores = sorted(os.sched_getaffinity(0))
    variables = {"SAGEMAKER_BASE_DIR": str(paths.base), "ALGORITHM": job.algorithm, "OMP_NUM_THREADS": "1"}
    with (paths.base / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "container", "train"],
            env={**os.environ, **variables, "OPENBLAS_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    os.sched_setaffinity(process.pid, {cores[host % len(cores)]})
    return process


if __name__ == "__main__":
    main()
