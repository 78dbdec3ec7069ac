"""Factorization machines: rows a second on AWS's retail shape, and RMSE on MovieLens beside myfm and xLearn.

    python -m benchmarks.factorization_machines            # the peers that are installed

The retail shape is that of AWS's published log (219,500 rows, 9,284 sparse columns, 64 factors, batches of 1000;
125,330 rows a second on ml.c5.xlarge, 4 vCPU); its rows are random, 8 non-zeros each. Ten million features show the
memory that a job takes. MovieLens: 90 % of the ratings of latest-small to train on, one column for each user and each
film.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file

from algorithms.factorization_machines import FactorizationMachines
from benchmarks.common import SHARED_DATA, peak_memory, table, train, write_job
from benchmarks.lines import Line
from recordio.batches import Batch
from recordio.record_writer import encode_records

STATED, DEFAULTS = "stated rates, 58 factors, 6 epochs", "defaults, 8 factors"
RATES = {
    "num_factors": 58,
    "epochs": 6,
    "mini_batch_size": 233,
    "linear_lr": 0.0075,
    "linear_wd": 0.00012,
    "factors_lr": 0.0056,
    "factors_wd": 0.00042,
    "factors_init_sigma": 0.0085,
    "bias_lr": 0.02,
    "bias_wd": 0,
}
"""Hyperparameters for MovieLens, found by a search on splits of the ratings that are trained on."""


def main() -> None:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(retail_shape(), flush=True)
    print(wide(), flush=True)
    if (SHARED_DATA / "movielens-latest-small").is_dir():
        print(movielens())


def lines(quick: bool) -> Iterator[Line]:
    """Rows a second of AWS's retail shape beside its log, and MovieLens beside myfm and xLearn."""
    speeds = _retail_speeds(20_000 if quick else 219_500)[0]
    yield Line(
        "factorization machines, AWS's retail shape, 64 factors",
        *(speeds, "rows/s", "AWS's log (4 vCPU)", 125_330.0, speeds / 125_330),
    )
    if quick or not (SHARED_DATA / "movielens-latest-small").is_dir():
        return
    found = {name: (rmse, seconds) for name, rmse, seconds in _movielens()}
    peers = {name: one for name, one in found.items() if not name.startswith("ours")}
    for options in (STATED, DEFAULTS):
        mine = found[f"ours, {options}"]
        for peer, (rmse, seconds) in peers.items():
            yield Line(
                f"factorization machines, MovieLens latest-small, {options}",
                *(mine[1], "s", peer, seconds, seconds / mine[1], "", None),
                *(f"RMSE {mine[0]:.4f}", f"RMSE {rmse:.4f}"),
            )


def retail_shape(rows: int = 219_500, features: int = 9_284, nonzeros: int = 8) -> str:
    """Rows a second of an epoch, the median of five, as SageMaker's log counts them, and of the whole job."""
    speed, whole = _retail_speeds(rows, features, nonzeros)
    return table(
        f"{rows:,} x {features:,}, {nonzeros} non-zeros a row, 64 factors, batch 1000",
        ("", "rows a second", "times AWS's log"),
        [
            ("epochs, median", speed, speed / 125_330),
            ("whole job of 5 epochs, start and artifact included", whole, whole / 125_330),
        ],
    )


def _retail_speeds(rows: int, features: int = 9_284, nonzeros: int = 8) -> tuple[float, float]:
    """Of the epochs and of the whole job."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, 4300, rows)
    items = 4300 + rng.zipf(1.3, rows) % 3600
    words = rng.integers(7900, features, (rows, nonzeros - 2))
    columns = np.column_stack([users, items, words]).astype(np.int32)
    starts = np.arange(0, rows * nonzeros + 1, nonzeros, dtype=np.int32)
    matrix = sp.csr_array((np.ones(columns.size, np.float32), columns.reshape(-1), starts), shape=(rows, features))
    given = {"feature_dim": features, "num_factors": 64, "predictor_type": "regressor", "epochs": 5}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.pbr"
        file.write_bytes(encode_records(matrix, rng.random(rows).astype(np.float32)))
        write_job(Path(folder) / "job", given, {"train": file})
        started = time.perf_counter()
        log = train(Path(folder) / "job", "factorization-machines").log
        seconds = time.perf_counter() - started
    speeds = [float(value) for value in re.findall(r"train throughput=(\S+) records/second", log)]
    return float(np.median(speeds)), 5 * rows / seconds


def wide(rows: int = 200_000, features: int = 10_000_000, nonzeros: int = 8, factors: int = 64) -> str:
    """Peak memory of a job with ten million features, beside what its parameters and Adam's two moments need.

    The job takes 8 GB of memory, and 3 GB of disk for its artifact.
    """
    columns = np.random.default_rng(0).integers(0, features, rows * nonzeros).astype(np.int32)
    starts = np.arange(0, rows * nonzeros + 1, nonzeros, dtype=np.int32)
    matrix = sp.csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(rows, features))
    given = {"feature_dim": features, "num_factors": factors, "predictor_type": "regressor", "epochs": 1}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.pbr"
        file.write_bytes(encode_records(matrix, np.ones(rows, np.float32)))
        write_job(Path(folder) / "job", given, {"train": file})
        started = time.perf_counter()
        peak = peak_memory(train, Path(folder) / "job", "factorization-machines")
        seconds = time.perf_counter() - started
        artifact = (Path(folder) / "job" / "model" / "model_algo-1").stat().st_size
    once = 4 * features * (factors + 1)
    return table(
        f"{rows:,} x {features:,}, {nonzeros} non-zeros a row, {factors} factors, one epoch",
        ("", "GB", "times the parameters"),
        [
            ("parameters, float32", once / 1e9, 1.0),
            ("with Adam's two moments", 3 * once / 1e9, 3.0),
            ("peak of the job", peak / 1e9, peak / once),
            (f"artifact, after {seconds:.0f} s", artifact / 1e9, artifact / once),
        ],
    )


def movielens() -> str:
    """RMSE on a tenth of the ratings, and seconds from file to model."""
    return table("MovieLens latest-small, nine tenths of the ratings", ("", "RMSE", "seconds"), _movielens())


def _movielens() -> list[tuple[str, float, float]]:
    """Name, RMSE and seconds of each, ours first."""
    ratings = np.loadtxt(
        SHARED_DATA / "movielens-latest-small" / "ratings.csv", delimiter=",", skiprows=1, usecols=(0, 1, 2)
    )
    users = np.unique(ratings[:, 0], return_inverse=True)[1]
    films = np.unique(ratings[:, 1], return_inverse=True)[1]
    count, width = users.max() + 1, int(users.max() + films.max() + 2)
    columns = np.column_stack([users, count + films]).astype(np.int32).reshape(-1)
    starts = np.arange(0, len(columns) + 1, 2, dtype=np.int32)
    matrix = sp.csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(len(ratings), width))
    labels = ratings[:, 2].astype(np.float32)
    order = np.random.default_rng(0).permutation(len(labels))
    first, rest = np.split(order, [len(order) * 9 // 10])
    given = {"feature_dim": width, "num_factors": 8, "predictor_type": "regressor"}
    rows = []
    for name, rates in (
        (f"ours, {STATED}", RATES),
        ("ours, 8 factors, default rates, 20 epochs", {"epochs": 20}),
        (f"ours, {DEFAULTS}", {}),
        ("ours, 48 factors, defaults", {"num_factors": 48}),
    ):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "train.pbr"
            file.write_bytes(encode_records(matrix[first], labels[first]))
            write_job(Path(folder) / "job", given | rates, {"train": file})
            started = time.perf_counter()
            model = train(Path(folder) / "job", "factorization-machines").model
            seconds = time.perf_counter() - started
            score = FactorizationMachines.load(model).predict(Batch(matrix[rest]))["score"]
        rows.append((name, float(np.sqrt(np.mean((score - labels[rest]) ** 2))), seconds))
    groups = np.repeat([0, 1], [count, width - count])
    for peer, score in (("myfm", _myfm), ("xlearn", _xlearn)):
        if importlib.util.find_spec(peer):
            name, predicted, seconds = score(matrix[first], labels[first], matrix[rest], groups)
            rows.append((name, float(np.sqrt(np.mean((predicted - labels[rest]) ** 2))), seconds))
    return rows


Scored = tuple[str, np.ndarray, float]
"""Name of a peer, its predictions, and the seconds that its training took."""


def _myfm(train: sp.csr_array, labels: np.ndarray, test: sp.csr_array, groups: np.ndarray) -> Scored:
    """Bayesian factorization machines by Gibbs sampling, with the options of myfm's own MovieLens example."""
    import myfm

    started = time.perf_counter()
    peer = myfm.MyFMRegressor(rank=8, random_seed=0)
    peer.fit(sp.csr_matrix(train, dtype=float), labels, n_iter=100, n_kept_samples=95, grouping=groups)
    seconds = time.perf_counter() - started
    return "myfm, 8 factors, 100 Gibbs samples", peer.predict(sp.csr_matrix(test, dtype=float)), seconds


def _xlearn(train: sp.csr_array, labels: np.ndarray, test: sp.csr_array, groups: np.ndarray) -> Scored:
    """libFM's model by AdaGrad, 10 epochs, on all threads."""
    os.environ.setdefault("USER", "benchmark")  # xLearn crashes without it
    import xlearn

    options = {"task": "reg", "lr": 0.05, "lambda": 0.01, "k": 8, "epoch": 10, "metric": "rmse"}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        files = [Path(folder) / name for name in ("train.txt", "test.txt", "model", "predictions")]
        dump_svmlight_file(_narrow(train), labels, str(files[0]))
        dump_svmlight_file(_narrow(test), np.zeros(test.shape[0]), str(files[1]))
        peer = xlearn.create_fm()
        peer.setQuiet()
        peer.setTrain(str(files[0]))
        started = time.perf_counter()
        peer.fit(options, str(files[2]))
        seconds = time.perf_counter() - started
        peer.setTest(str(files[1]))
        peer.predict(str(files[2]), str(files[3]))
        return "xLearn, 8 factors, 10 epochs", np.loadtxt(files[3], dtype=np.float32), seconds


def _narrow(rows: sp.csr_array) -> sp.csr_matrix:
    """With 32-bit indices, as scikit-learn's writer wants them."""
    arrays = (rows.data, rows.indices.astype(np.int32), rows.indptr.astype(np.int32))
    return sp.csr_matrix(arrays, shape=rows.shape)


if __name__ == "__main__":
    main()
