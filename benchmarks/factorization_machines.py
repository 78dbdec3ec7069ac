"""Factorization machines: rows a second on AWS's retail shape, and RMSE on MovieLens beside myfm.

    python -m benchmarks.factorization_machines            # myfm where `pip install myfm` was run

The retail shape is that of AWS's published log (219,500 rows, 9,284 sparse columns, 64 factors, batches of 1000;
125,330 rows a second on ml.c5.xlarge, 4 vCPU); its rows are random, 8 non-zeros each. MovieLens: 90 % of the ratings
of latest-small to train on, one column for each user and each film.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from algorithms.factorization_machines import FactorizationMachines
from benchmarks.common import SHARED_DATA, table, train, write_job
from recordio.batches import Batch
from recordio.records import encode_records

RATES = {
    "epochs": 12,
    "mini_batch_size": 100,
    "linear_lr": 0.01,
    "linear_wd": 0.001,
    "factors_lr": 0.001,
    "factors_wd": 0.001,
    "factors_init_sigma": 0.01,
    "bias_lr": 0.02,
    "bias_wd": 0,
}
"""Hyperparameters for MovieLens besides the required ones; found by a search of some fifty runs."""


def main() -> None:
    """Print both tables."""
    print(retail_shape(), flush=True)
    if (SHARED_DATA / "movielens-latest-small").is_dir():
        print(movielens())


def retail_shape(rows: int = 219_500, features: int = 9_284, nonzeros: int = 8) -> str:
    """Rows a second of the last of five epochs, as SageMaker's log counts them, and of the whole job."""
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
    return table(
        f"{rows:,} x {features:,}, {nonzeros} non-zeros a row, 64 factors, batch 1000",
        ("", "rows a second", "times AWS's log"),
        [
            ("epochs, median", float(np.median(speeds)), float(np.median(speeds)) / 125_330),
            ("whole job of 5 epochs, start and artifact included", 5 * rows / seconds, 5 * rows / seconds / 125_330),
        ],
    )


def movielens() -> str:
    """RMSE on a tenth of the ratings, and seconds from file to model."""
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
    for name, rates in (("ours, tuned rates", RATES), ("ours, defaults, 20 epochs", {"epochs": 20})):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "train.pbr"
            file.write_bytes(encode_records(matrix[first], labels[first]))
            write_job(Path(folder) / "job", given | rates, {"train": file})
            started = time.perf_counter()
            model = train(Path(folder) / "job", "factorization-machines").model
            seconds = time.perf_counter() - started
            score = FactorizationMachines.load(model).predict(Batch(matrix[rest]))["score"]
        rows.append((name, float(np.sqrt(np.mean((score - labels[rest]) ** 2))), seconds))
    if importlib.util.find_spec("myfm"):
        import myfm

        groups = np.repeat([0, 1], [count, width - count])
        started = time.perf_counter()
        peer = myfm.MyFMRegressor(rank=8, random_seed=0)
        peer.fit(
            sp.csr_matrix(matrix[first], dtype=float), labels[first], n_iter=100, n_kept_samples=95, grouping=groups
        )
        seconds = time.perf_counter() - started
        score = peer.predict(sp.csr_matrix(matrix[rest], dtype=float))
        rows.append(("myfm, 100 Gibbs samples", float(np.sqrt(np.mean((score - labels[rest]) ** 2))), seconds))
    return table(f"MovieLens latest-small, {len(first):,} ratings, 8 factors", ("", "RMSE", "seconds"), rows)


if __name__ == "__main__":
    main()
