"""K-means beside its peers, from the same RecordIO file to a saved model: seconds, and loss against the best of 20.

    python -m benchmarks.kmeans                 # all that is installed; faiss where `pip install faiss-cpu` was run
    python -m benchmarks.kmeans --rounds 3 --only mnist:10 --best 39.2137

Ours is a whole training job: configuration, reading, training, log lines and artifact. The peers are given the rows by
the same reader as one matrix, and save their centers with numpy. Loss is the mean squared distance of all rows to the
saved centers, in excess of the best of 20 runs of scikit-learn's KMeans from one start each.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans

from algorithms.kmeans import KMeans as KMeansAlgorithm
from algorithms.kmeans import KMeansHyperparameters, KMeansModel
from algorithms.kmeans.model import load
from benchmarks.common import Data, copied, covertype, digits, kept, mnist, race, table, train, write_job
from benchmarks.lines import LIMIT, Line, Quality, raced
from recordio.batches import concatenate
from recordio.content_type import parse
from recordio.readers import ChannelStream, RowFormat
from recordio.record_writer import encode_records
from recordio.sources import FileSource
from tests.algorithms.fakes import FakeJob, MemoryStream

RECORDIO = "application/x-recordio-protobuf"


def main() -> None:
    """Run the benchmark named on the command line and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=10, help="runs of ours whose losses are compared")
    parser.add_argument("--only", help="one data set and k, as in mnist:10")
    parser.add_argument("--best", type=float, help="with --only: best of 20 from an earlier run, which takes long")
    arguments = parser.parse_args()
    for data, k in _cases():
        if arguments.only in (None, f"{data.name}:{k}"):
            print(*_compare(data, k, arguments.rounds, arguments.seeds, arguments.best), sep="\n", flush=True)
    if arguments.only in (None, "throughput"):
        print(_throughput(arguments.rounds))


def _cases() -> list[tuple[Data, int]]:
    sets = {data.name: data for data in (mnist(), covertype(), digits()) if data is not None}
    return [(data, k) for data in sets.values() for k in (10, 100)]


def _compare(data: Data, k: int, rounds: int, seeds: int, best: float | None) -> list[str]:
    best = best or kept(f"k-means, k = {k}", [data.features], lambda: _best_of_20(data.features, k))
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        file = base / "train.pbr"
        file.write_bytes(encode_records(data.features))
        contenders = race({"ours": partial(_centers, base, file, data, k)} | _peers(file, k, base), rounds)
    rows = [
        (one.name, one.median, one.times_slower_than(contenders[0]), f"{_excess(data, one.result, best):+.2%}")
        for one in contenders
    ]
    title = f"{data.name}, {data.features.shape[0]:,} x {data.features.shape[1]}, k = {k}; best of 20: {best:.6g}"
    losses = [_excess(data, _with_seed(data, k, seed), best) for seed in range(seeds)]
    spread = (
        f"\nOurs with {seeds} seeds: median {np.median(losses):+.2%}, largest {max(losses):+.2%}; "
        f"within 1 %: {sum(excess <= 0.01 for excess in losses)} of {seeds}."
    )
    return [table(title, ("", "seconds", "times ours", "loss over best"), rows), spread]


def lines(quick: bool) -> Iterator[Line]:
    """Time and loss on MNIST, and on data so small that most peers' whole runs are shorter than a job."""
    loss = Quality("loss", lambda result: float(KMeansModel(result).nearest(data.features)[1].mean()))
    for data, k in [(digits(), 10)] if quick else [(mnist(), 10), (mnist(), 100), (digits(), 10)]:
        centers = data.features[:k].copy()
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder)
            file = base / "train.pbr"
            file.write_bytes(encode_records(data.features))
            runs = {"ours": partial(_centers, base, file, data, k), **_peers(file, k, base)}
            runs[LIMIT] = lambda data=data, file=file, centers=centers: (
                copied(file.read_bytes()) and data.features @ centers.T
            )
            entered = race(runs, 1 if quick else 5)
        what = f"k-means, {data.name} {data.features.shape[0]:,} x {data.features.shape[1]}, k = {k}"
        yield raced(what, entered, limit="a copy of the file, one product with the centers", quality=loss)


def _centers(base: Path, file: Path, data: Data, k: int) -> np.ndarray:
    return _job(base, file, data, k)[0]


def _best_of_20(features: np.ndarray, k: int) -> float:
    runs = (KMeans(k, n_init=1, random_state=seed).fit(features).inertia_ for seed in range(20))
    return min(runs) / len(features)


def _job(base: Path, file: Path, data: Data, k: int) -> tuple[np.ndarray, str]:
    """Centers of a whole training job below ``base``, with which its folder is deleted, and its log."""
    job = Path(tempfile.mkdtemp(dir=base))
    write_job(job, {"k": k, "feature_dim": data.features.shape[1]}, {"train": file}, RECORDIO)
    trained = train(job, "kmeans")
    return load(trained.model).centers, trained.log


def _with_seed(data: Data, k: int, seed: int) -> np.ndarray:
    """Centers from the same rows, with a seed that jobs do not let one choose."""
    values = KMeansHyperparameters(k=k, feature_dim=data.features.shape[1])
    return KMeansAlgorithm.fit(values, {"train": MemoryStream(data.features)}, FakeJob(seed=seed)).centers


def _stream(file: Path) -> ChannelStream:
    return ChannelStream(FileSource(file), parse(RECORDIO), RowFormat())


def _peers(file: Path, k: int, base: Path) -> dict[str, Callable[[], np.ndarray]]:
    def run(fit: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        features = concatenate(list(_stream(file).batches())).features
        centers = fit(features)
        np.save(base / "peer.npy", centers)
        return centers

    fits: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "sklearn KMeans": lambda X: KMeans(k, random_state=0).fit(X).cluster_centers_,
        "sklearn MiniBatchKMeans": lambda X: MiniBatchKMeans(k, random_state=0).fit(X).cluster_centers_,
    }
    if importlib.util.find_spec("faiss"):
        fits["faiss.Kmeans"] = lambda X: _faiss(X, k)
        fits["faiss.Kmeans, all rows"] = lambda X: _faiss(X, k, max_points_per_centroid=len(X))
    return {name: (lambda fit=fit: run(fit)) for name, fit in fits.items()}


def _faiss(features: np.ndarray, k: int, **options: int) -> np.ndarray:
    import faiss

    clustering = faiss.Kmeans(features.shape[1], k, seed=1, **options)
    clustering.train(features)
    return clustering.centroids


def _excess(data: Data, centers: np.ndarray, best: float) -> float:
    squared = KMeansModel(centers).nearest(data.features)[1]
    return float(squared.mean() / best - 1)


def _throughput(rounds: int) -> str:
    """The shape of a job whose log Amazon published: 341,305 records/second on an ml.c4.xlarge."""
    features = np.random.default_rng(0).normal(size=(92_184, 2)).astype(np.float32)
    data = Data("points", features, np.zeros(len(features), np.float32))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.pbr"
        file.write_bytes(encode_records(features))
        rates = []
        for _ in range(rounds):
            log = _job(Path(folder), file, data, 10)[1]
            rates.append(float(re.findall(r"train throughput=(\S+) records/second", log)[0]))
    rows = [("ours", float(np.median(rates))), ("Amazon's log", 341_305.0)]
    return table("92,184 x 2, k = 10, RecordIO file, 1 epoch", ("", "records/second"), rows)


if __name__ == "__main__":
    main()
