"""Where growth hurt: many topics, millions of sparse features, large factor models, beside the peer of each.

    python -m benchmarks.wide                      # all; tomotopy where `make bench` installed it
    python -m benchmarks.wide --only kmeans pca    # or: lda, factorization-machines, xgboost
    python -m benchmarks.wide --quick              # the same, a tenth as large

Each side runs in a process of its own, on the same rows in memory: seconds of the processor, the peak of memory beyond
the rows, and a loss or score of what it found (lower is better for ``loss``, higher for ``variance`` and ``NPMI``).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from algorithms import hyperparameters, registry
from benchmarks.common import Cost, apart, cost, table
from benchmarks.growth import sparse
from benchmarks.lines import Line
from tests.algorithms.fakes import FakeJob, MemoryStream

_ROUNDS = 3  # in turn: what memory costs that is used for the first time, the machine's other work changes
CASES = ("lda", "kmeans", "pca", "factorization-machines", "xgboost")
Side = Callable[[], tuple[Cost, str]]


class Shape(NamedTuple):
    """What a job is made of; ``parts`` are its clusters, components or factors."""

    rows: int
    features: int
    parts: int


def main() -> None:
    """Run the cases named on the command line and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    for case in arguments.only:
        print(compared(case, 10 if arguments.quick else 1), flush=True)


def lines(quick: bool) -> Iterator[Line]:
    """Millions of sparse features, and hundreds of topics: processor seconds of each beside its peers."""
    for case in ("kmeans", "pca") if quick else ("kmeans", "pca", "lda"):
        runs: dict[tuple[str, str], list[tuple[float, str]]] = {}
        for _ in range(1 if quick or case == "lda" else _ROUNDS):
            for title, name, side in _SIDES[case](200 if quick else 1):
                with contextlib.suppress(ModuleNotFoundError):
                    measured, quality = apart(side)
                    runs.setdefault((title, name), []).append((measured.seconds, quality))
        for title, names in itertools.groupby(runs, key=lambda run: run[0]):
            (_, mine), *peers = names
            ours = statistics.median(seconds for seconds, _ in runs[title, mine])
            for _, name in peers:
                theirs = statistics.median(seconds for seconds, _ in runs[title, name])
                figures = (ours, "processor s", name, theirs, theirs / ours, "", None)
                yield Line(f"{case}, {title}", *figures, runs[title, mine][0][1], runs[title, name][0][1])


def compared(case: str, smaller: int) -> str:
    """The table of one case, on rows and features that are so many times fewer."""
    titles_and_sides = _SIDES[case](smaller)
    rows = []
    for title, name, side in titles_and_sides:
        try:
            measured, quality = apart(side)
        except ModuleNotFoundError as error:
            rows.append([title, name, f"needs {error.name}", "", ""])
            continue
        rows.append([title, name, measured.seconds, measured.memory / 1e6, quality])
    return table(case, ("", "", "processor seconds", "MB", "quality"), rows)


def _counts(shape: Shape, nonzeros: int = 20) -> tuple[sp.csr_array, np.ndarray]:
    """Rows of made counts, and labels of 0 and 1."""
    return sparse({"rows": shape.rows, "features": shape.features, "non-zeros": nonzeros})


def _fitted(name: str, rows: Any, labels: np.ndarray | None = None, **given: object) -> Any:
    """A model of these rows; who measures it calls ``registry.find`` before, since peers are imported before, too."""
    algorithm = registry.find(name)
    strings = {key: str(value) for key, value in given.items()}
    values = hyperparameters.parse(algorithm.hyperparameters, {"feature_dim": str(rows.shape[1]), **strings})
    return algorithm.fit(values, {"train": MemoryStream(rows, labels)}, FakeJob())


# ---- LDA ------------------------------------------------------------------------------------------------------------


def _lda(smaller: int) -> list[tuple[str, str, Side]]:
    sizes = [(5_000, 100), (5_000, 200), (50_000, 200), (50_000, 500)] if smaller == 1 else [(1_000, 20)]
    return [
        (f"{words:,} words, {k} topics", name, partial(_topics, name, words, k, smaller))
        for words, k in sizes
        for name in ("ours", "tomotopy")
    ]


def _topics(name: str, words: int, k: int, smaller: int) -> tuple[Cost, str]:
    """Of 20 newsgroups, or of made documents where it is absent."""
    from algorithms.common import topics
    from benchmarks import topics as beside

    corpus = beside.newsgroups(words) if smaller == 1 else None
    train = _counts(Shape(20_000 // smaller, words, k), 50)[0] if corpus is None else corpus.train
    test = train if corpus is None else corpus.test
    measured = cost({"ours": beside.ours, "tomotopy": beside.tomotopy}[name], train, k, 0)
    coherence = topics.npmi(topics.top_words(measured.result.beta), train).mean()
    return measured._replace(result=None), f"loss {beside.perplexity(test, measured.result):.1f}, NPMI {coherence:.3f}"


# ---- k-means and PCA on a million sparse features -------------------------------------------------------------------


def _kmeans(smaller: int) -> list[tuple[str, str, Side]]:
    shape = Shape(20_000 // smaller, 1_000_000 // smaller, 10)
    title = f"{shape.rows:,} x {shape.features:,}, 20 non-zeros, k = 10"
    return [(title, name, partial(_clusters, name, shape)) for name in ("ours", "sklearn MiniBatchKMeans")]


def _clusters(name: str, shape: Shape) -> tuple[Cost, str]:
    from sklearn.cluster import MiniBatchKMeans

    from algorithms.kmeans.model import KMeansModel

    rows = _narrow(_counts(shape)[0])
    registry.find("kmeans")
    if name == "ours":
        measured = cost(lambda: _fitted("kmeans", rows, k=shape.parts).centers)
    else:
        measured = cost(lambda: MiniBatchKMeans(shape.parts, random_state=0).fit(rows).cluster_centers_)
    loss = KMeansModel(measured.result.astype(np.float64)).nearest(rows)[1].mean()
    return measured._replace(result=None), f"loss {loss:.4f}"


def _pca(smaller: int) -> list[tuple[str, str, Side]]:
    found: list[tuple[str, str, Side]] = []
    for features, nonzeros in ((1_000_000, 20), (50_000, 100)):
        shape = Shape(20_000 // smaller, features // smaller, 10)
        title = f"{shape.rows:,} x {shape.features:,}, {nonzeros} non-zeros, 10 components"
        peers = ("ours, randomized", "sklearn TruncatedSVD", "sklearn PCA, arpack")
        found += [(title, name, partial(_components, name, shape, nonzeros)) for name in peers]
    return found


def _components(name: str, shape: Shape, nonzeros: int) -> tuple[Cost, str]:
    from sklearn.decomposition import PCA, TruncatedSVD

    rows, k = _narrow(_counts(shape, nonzeros)[0]), shape.parts
    registry.find("pca")
    runs: dict[str, Callable[[], np.ndarray]] = {
        "ours, randomized": lambda: (
            _fitted("pca", rows, num_components=k, mini_batch_size=500, algorithm_mode="randomized").v
        ),
        "sklearn TruncatedSVD": lambda: TruncatedSVD(k, random_state=0).fit(rows).components_.T,
        "sklearn PCA, arpack": lambda: PCA(k, svd_solver="arpack", random_state=0).fit(rows).components_.T,
    }
    measured = cost(runs[name])
    basis = np.linalg.qr(measured.result.astype(np.float64))[0]
    mean = np.asarray(rows.mean(axis=0, dtype=np.float64)).reshape(-1)
    projected = rows @ basis - mean @ basis
    total = float(np.square(rows.data, dtype=np.float64).sum()) - rows.shape[0] * float(mean @ mean)
    return measured._replace(result=None), f"variance {np.vdot(projected, projected) / total:.6f}"


def _narrow(rows: sp.csr_array) -> sp.csr_array:
    """With indices of 32 bits, which are all that scikit-learn takes."""
    return sp.csr_array((rows.data, rows.indices.astype(np.int32), rows.indptr.astype(np.int32)), shape=rows.shape)


# ---- factorization machines, XGBoost --------------------------------------------------------------------------------


def _machines(smaller: int) -> list[tuple[str, str, Side]]:
    shape = Shape(20_000 // smaller, 10_000_000 // smaller, 64)
    title = f"{shape.features:,} x {shape.parts}, a model of {4 * shape.features * shape.parts / 1e6:,.0f} MB"
    return [(title, name, partial(_machine, name, shape)) for name in ("training", "loading")]


def _machine(name: str, shape: Shape) -> tuple[Cost, str]:
    from algorithms.factorization_machines import model as machines

    rows, labels = _counts(shape)
    registry.find("factorization-machines")
    given = {"num_factors": shape.parts, "epochs": 1, "predictor_type": "binary_classifier"}
    if name == "training":
        return cost(lambda: _fitted("factorization-machines", rows, labels, **given) is None), ""
    empty = machines.FactorizationMachine(
        np.zeros(1, np.float32),
        np.zeros(shape.features, np.float32),
        np.zeros((shape.features, shape.parts), np.float32),
        machines.BINARY,
    )
    with tempfile.TemporaryDirectory() as folder:
        empty.save(Path(folder))
        del empty
        return cost(lambda: machines.load(Path(folder)) is None), ""


def _xgboost(smaller: int) -> list[tuple[str, str, Side]]:
    del smaller
    plain = "import xgboost"
    ours = "from container.imports import without_unused_packages as lean\nwith lean():\n    import algorithms.xgb"
    sides = (("ours", ours), ("xgboost", plain))
    return [("start of a process", name, partial(_started, code)) for name, code in sides]


def _started(code: str) -> tuple[Cost, str]:
    import resource

    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, after.ru_maxrss * 1024, None), f"{time.perf_counter() - started:.2f} s of the clock"


_SIDES: dict[str, Callable[[int], list[tuple[str, str, Side]]]] = {
    "lda": _lda,
    "kmeans": _kmeans,
    "pca": _pca,
    "factorization-machines": _machines,
    "xgboost": _xgboost,
}


if __name__ == "__main__":
    main()
