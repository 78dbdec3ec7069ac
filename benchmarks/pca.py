"""PCA beside its peers, from the same RecordIO file to a saved model: seconds, quality and memory.

    python -m benchmarks.pca                 # all that is installed; faiss where `pip install faiss-cpu` was run
    python -m benchmarks.pca --only mnist    # or: blas, long, wide

Ours is a whole training job: configuration, reading, training, log lines and artifact. The peers are given the rows by
the same reader as one matrix (IncrementalPCA batch by batch), and save their components with numpy. Quality is measured
on all rows: the share of the variance that the components hold, and the largest angle between their span and that of
the exact components. "Our sketch" is what the randomized mode uses from 1,025 features on. Peak memory is of a process
of its own that does nothing else.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy import linalg
from sklearn.decomposition import PCA, IncrementalPCA

from algorithms import pca
from algorithms.pca.covariance import Covariance
from algorithms.pca.sketch import Sketch
from benchmarks.common import Contender, digits, mnist, peak_memory, race, table, train, write_job
from benchmarks.lines import LIMIT, Line, Quality, raced
from recordio.batches import Batch, Features, concatenate
from recordio.content_type import parse
from recordio.readers import ChannelStream, RowFormat
from recordio.record_writer import encode_records
from recordio.sources import FileSource

RECORDIO = "application/x-recordio-protobuf"
CASES = ("blas", "mnist", "long", "wide")


class Job(NamedTuple):
    """A file of rows, and the model that is asked for."""

    file: Path
    feature_dim: int
    k: int


def main() -> None:
    """Run the benchmarks named on the command line and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=CASES)
    arguments = parser.parse_args()
    for case in CASES:
        if arguments.only in (None, case):
            print(globals()[f"_{case}"](arguments.rounds), flush=True)


def _blas(rounds: int) -> str:
    """Our sum of products beside the one call of BLAS that it cannot beat."""
    rows = next(_synthetic(65_536, 784))
    contenders = race({"X'X by BLAS": lambda: rows.T @ rows, "ours": lambda: _products(rows)}, 3 * rounds)
    work = 2 * rows.shape[0] * rows.shape[1] ** 2 / 1e9
    lines = [
        (one.name, one.median, work / one.median, f"{contenders[0].times_slower_than(one):.0%}") for one in contenders
    ]
    return table("65,536 x 784 in memory, centred by ours only", ("", "seconds", "GFLOP/s", "of the limit"), lines)


def _products(rows: np.ndarray) -> None:
    state = Covariance(rows.shape[1], centred=True)
    for start in range(0, len(rows), 4096):
        state.update(rows[start : start + 4096])


def _mnist(rounds: int) -> str:
    features = mnist().features
    solvers = ("covariance_eigh", "randomized", "arpack", "full")
    return "\n".join(_compare("MNIST", [features], k, solvers, rounds) for k in (10, 50))


def _long(rounds: int) -> str:
    """Many rows, and memory as their number grows."""
    compared = _compare("synthetic", _synthetic(200_000, 784), 50, ("covariance_eigh", "randomized"), min(rounds, 3))
    lines = []
    for mode in ("regular", "randomized"):
        for n in (50_000, 100_000, 200_000):
            with tempfile.TemporaryDirectory() as folder:
                job = Job(_written(Path(folder), _synthetic(n, 784)), 784, 50)
                lines.append((mode, f"{n:,}", peak_memory(_ours, job, mode) / 1e6))
    return compared + table("peak memory of a job, k = 50", ("algorithm_mode", "rows", "MB"), lines)


def _wide(rounds: int) -> str:
    """50,000 features, the shape of SageMaker's example of the randomized mode."""
    dense = _compare("synthetic", _synthetic(4_000, 50_000), 10, ("randomized", "arpack"), min(rounds, 3))
    rng = np.random.default_rng(0)
    rows = sp.random_array((20_000, 50_000), density=0.002, format="csr", dtype=np.float32, rng=rng)
    rows = sp.csr_array(rows @ sp.diags_array(np.arange(1.0, 50_001) ** -0.3)).astype(np.float32)
    return dense + _compare("sparse synthetic, 100 nonzeros a row", [rows], 10, ("arpack",), min(rounds, 3))


def _compare(title: str, parts: Any, k: int, solvers: tuple[str, ...], rounds: int) -> str:
    """One table: ours in both modes, scikit-learn's solvers, its IncrementalPCA, faiss."""
    with tempfile.TemporaryDirectory() as folder:
        file = _written(Path(folder), parts)
        features = _loaded(file)
        n, d = features.shape
        job = Job(file, d, k)
        dense = not sp.issparse(features)
        modes = ("regular", "randomized") if d < 10_000 else ("randomized",)
        runs: dict[str, Callable[[], np.ndarray]] = {f"ours, {mode}": partial(_ours, job, mode) for mode in modes}
        runs |= {f"sklearn PCA, {solver}": partial(_sklearn, job, solver) for solver in solvers}
        if dense and d < 10_000:
            runs["our sketch"] = partial(_sketch, job)
            runs["sklearn IncrementalPCA"] = partial(_incremental, job)
            if importlib.util.find_spec("faiss"):
                runs["faiss PCAMatrix"] = partial(_faiss, job)
        contenders = race(runs, rounds)
        held, exact = _quality(features, k)
        lines = [_line(one, contenders[0], held, exact, peak_memory(runs[one.name]) / 1e6) for one in contenders]
    columns = ("", "seconds", "times ours", "variance held", "angle, degrees", "peak MB")
    return table(f"{title}, {n:,} x {d:,}, k = {k}; exact components hold {held(exact):.5f}", columns, lines)


def lines(quick: bool) -> Iterator[Line]:
    """MNIST, and rows enough that the products of rows take all the time, with that product alone as the limit."""
    cases = [("digits", [digits().features], 10)]
    if not quick:
        cases = [("MNIST", [mnist().features], 10), ("synthetic", _synthetic(200_000, 784), 50)]
    for name, parts, k in cases:
        with tempfile.TemporaryDirectory() as folder:
            job = _job(Path(folder), parts, k)
            features = _loaded(job.file)
            held = _quality(features, k)[0]
            runs: dict[str, Callable[[], Any]] = {"ours, regular": partial(_ours, job, "regular")}
            solvers = ("covariance_eigh", "randomized")
            runs |= {f"sklearn PCA, {solver}": partial(_sklearn, job, solver) for solver in solvers}
            if importlib.util.find_spec("faiss"):
                runs["faiss PCAMatrix"] = partial(_faiss, job)
            runs[LIMIT] = lambda features=features: features.T @ features
            entered = race(runs, 1 if quick else 3)
        what = f"PCA, {name} {features.shape[0]:,} x {features.shape[1]}, {k} components"
        quality = Quality("variance held", held, higher=True)
        yield raced(what, entered, limit="X'X in one call of BLAS", quality=quality)


def _job(folder: Path, parts: Any, k: int) -> Job:
    file = _written(folder, parts)
    return Job(file, _loaded(file).shape[1], k)


def _line(one: Contender, ours: Contender, held: Callable, exact: np.ndarray, peak: float) -> tuple[object, ...]:
    angle = float(np.degrees(linalg.subspace_angles(one.result.astype(np.float64), exact).max()))
    return (one.name, one.median, one.times_slower_than(ours), f"{held(one.result):.5f}", angle, peak)


def _quality(features: Features, k: int) -> tuple[Callable[[np.ndarray], float], np.ndarray]:
    """A function from components (d, k) to the share of variance that they hold, and the exact ones, float64."""
    n, d = features.shape
    mean = features.mean(axis=0, dtype=np.float64)
    total = float((features * features).sum(dtype=np.float64)) - n * float(mean @ mean)

    def held(v: np.ndarray) -> float:
        basis = linalg.qr(v.astype(np.float64), mode="economic")[0]
        projected = features @ basis - mean @ basis
        return float(np.vdot(projected, projected)) / total

    if d < 10_000:
        scatter = sum((part.T @ part for part in _double(features - mean.astype(np.float32))), np.zeros((d, d)))
        return held, linalg.eigh(scatter, subset_by_index=(d - k, d - 1))[1]
    return held, PCA(k, svd_solver="arpack", random_state=0, tol=1e-9).fit(features).components_.T.astype(np.float64)


def _double(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), 4096):
        yield rows[start : start + 4096].astype(np.float64)


# ---- contenders: functions of a job to components (d, k), largest last or first -----------------------------------


def _ours(job: Job, mode: str) -> np.ndarray:
    hyperparameters = {
        "feature_dim": job.feature_dim,
        "num_components": job.k,
        "mini_batch_size": 500,
        "algorithm_mode": mode,
    }
    with tempfile.TemporaryDirectory(dir=job.file.parent) as folder:
        write_job(Path(folder), hyperparameters, {"train": job.file}, RECORDIO)
        return pca.PCA.load(train(Path(folder), "pca").model).v


def _sketch(job: Job) -> np.ndarray:
    state = Sketch(job.feature_dim, job.k + max(10, job.k), centred=True)
    for batch in _stream(job.file).batches(state.block_rows):
        state.update(batch.features)
    found = state.finalize(job.k)
    return _saved(job, found.v, found.s)


def _sklearn(job: Job, solver: str) -> np.ndarray:
    model = PCA(job.k, svd_solver=solver, random_state=0).fit(_loaded(job.file))
    return _saved(job, model.components_.T, model.mean_)


def _incremental(job: Job) -> np.ndarray:
    model = IncrementalPCA(job.k)
    for batch in _stream(job.file).batches(5 * job.feature_dim):  # its own choice of a batch
        if len(batch) >= job.k:
            model.partial_fit(batch.features)
    return _saved(job, model.components_.T, model.mean_)


def _faiss(job: Job) -> np.ndarray:
    import faiss

    model = faiss.PCAMatrix(job.feature_dim, job.k)
    model.max_points_per_d = 1 << 30  # all rows, not a sample of them
    model.train(_loaded(job.file))
    matrix = faiss.vector_to_array(model.A).reshape(job.k, job.feature_dim)
    return _saved(job, matrix.T, faiss.vector_to_array(model.mean))


def _saved(job: Job, components: np.ndarray, mean: np.ndarray) -> np.ndarray:
    np.savez(job.file.parent / "peer.npz", components=components, mean=mean)
    return components


# ---- rows ---------------------------------------------------------------------------------------------------------


def _synthetic(n: int, d: int) -> Iterator[np.ndarray]:
    """Rows of 100 factors of falling strength and noise, around a mean, in parts of bounded size."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((100, d), dtype=np.float32) * np.arange(1, 101, dtype=np.float32)[:, None] ** -0.5
    mean = rng.standard_normal(d, dtype=np.float32)
    size = min(n, max(1, (1 << 26) // d))
    for start in range(0, n, size):
        count = min(size, n - start)
        noise = rng.standard_normal((count, d), dtype=np.float32)
        yield rng.standard_normal((count, 100), dtype=np.float32) @ factors + 0.5 * noise + mean


def _written(folder: Path, parts: Any) -> Path:
    path = folder / "train.pbr"
    with path.open("wb") as file:
        for part in parts:
            for start in range(0, part.shape[0], 10_000):
                file.write(encode_records(part[start : start + 10_000]))
    return path


def _stream(file: Path) -> ChannelStream:
    return ChannelStream(FileSource(file), parse(RECORDIO), RowFormat())


def _loaded(file: Path) -> Features:
    batches: list[Batch] = list(_stream(file).batches())
    return concatenate(batches).features


if __name__ == "__main__":
    main()
