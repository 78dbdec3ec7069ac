"""The linear learner beside its peers, on the same rows: score on held-back rows, and seconds.

    python -m benchmarks.linear_learner                    # all data sets, all peers that are here
    python -m benchmarks.linear_learner --only mnist-0     # one
    python -m benchmarks.linear_learner --only aws         # AWS's published job: 32 models, 15 epochs, batch 200
    python -m benchmarks.linear_learner --only defaults    # dense, sparse, wide and small sets; see linear_defaults.py
    python -m benchmarks.linear_learner --only small       # 20 to 200 rows, many draws; see linear_small.py
    python -m benchmarks.linear_learner --only fits        # small sets beside one fit and CV of scikit-learn's
    python -m benchmarks.linear_learner --only processes   # small sets as whole processes; see linear_processes.py

Ours is a whole training job with only the required hyperparameters (and the loss, where the table names one): reading,
choice among models, log lines, artifact. scikit-learn and scikit-learn-intelex are given the rows in memory, scale
them, and fit one model each; Vowpal Wabbit reads its own text format, 15 passes, one model. Each is run once, being
slow. The score is accuracy; for regression RMSE, or the mean absolute error where that is the loss. A share of the
BLAS limit compares the products of 32 models with a square product of matrices that fill the cache, on one thread.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import logging
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.datasets import load_svmlight_file
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from algorithms.linear_learner import LinearLearner
from benchmarks.common import SHARED_DATA, covertype, digits, mnist, race, table, train, write_job
from benchmarks.linear_defaults import defaults
from benchmarks.linear_fits import fits
from benchmarks.linear_processes import processes
from benchmarks.linear_small import small
from benchmarks.lines import Line, Quality, raced
from recordio.batches import Batch, Features
from recordio.record_writer import encode_records


class Case(NamedTuple):
    """One comparison: rows to train on, rows to score, and the required hyperparameters."""

    name: str
    train: Features
    train_labels: np.ndarray
    test: Features
    test_labels: np.ndarray
    hyperparameters: dict[str, object]


ROUNDS = 3
"""Of each line, after one that is not measured: in that one ours pays for its imports, and peers had theirs before."""
BINARY: dict[str, object] = {"predictor_type": "binary_classifier"}
REGRESSOR: dict[str, object] = {"predictor_type": "regressor"}


def main() -> None:
    """Run the data sets named on the command line and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="the name of one data set, aws, defaults, small, fits, or processes")
    arguments = parser.parse_args()
    for case in cases():
        if arguments.only in (None, case.name):
            print(compare(case), flush=True)
    if arguments.only in (None, "aws"):
        print(published_job(), flush=True)
    if arguments.only in (None, "defaults"):
        print(defaults(), flush=True)
    if arguments.only in (None, "small"):
        print(small(), flush=True)
    if arguments.only in (None, "fits"):
        print(fits(), flush=True)
    if arguments.only in (None, "small", "processes"):
        print(processes(), flush=True)


def cases() -> Iterator[Case]:
    """The data sets, split in the same way for all."""
    tenth = {"predictor_type": "multiclass_classifier", "num_classes": 10}
    small = digits()
    yield _split("digits", small.features, small.labels, tenth)
    if forest := covertype():
        seven = {"predictor_type": "multiclass_classifier", "num_classes": 7}
        yield _split("covertype-20k", forest.features, forest.labels - 1, seven)
    if (path := SHARED_DATA / "abalone" / "abalone.csv").is_file():
        rows = _one_hot(_csv(path))
        yield _split("abalone", *rows, REGRESSOR)
        yield _split("abalone, absolute loss", *rows, REGRESSOR | {"loss": "absolute_loss"})
        yield _split("abalone, huber loss", *rows, REGRESSOR | {"loss": "huber_loss"})
    if (folder := SHARED_DATA / "adult").is_dir():
        yield _adult(folder)
    if (folder := SHARED_DATA / "a9a").is_dir():
        rows, labels = load_svmlight_file(str(folder / "a9a"), n_features=123, dtype=np.float32)
        test, test_labels = load_svmlight_file(str(folder / "a9a.t"), n_features=123, dtype=np.float32)
        yield Case("a9a", _csr(rows), _float(labels > 0), _csr(test), _float(test_labels > 0), BINARY)
    if (SHARED_DATA / "mnist").is_dir():
        rows, test = mnist(), mnist("t10k")
        zero = _float(rows.labels == 0), _float(test.labels == 0)
        yield Case("mnist-0", rows.features, zero[0], test.features, zero[1], BINARY)
        yield Case("mnist-10", rows.features, rows.labels, test.features, test.labels, tenth)


def lines(quick: bool) -> Iterator[Line]:
    """At defaults, beside the fastest peer that is about as good, where none takes minutes; and AWS's job."""
    wanted = ("digits",) if quick else ("digits", "covertype-20k", "a9a")
    for case in cases():
        if case.name in wanted:
            runs = {"ours": partial(_trained, case)}
            runs |= {
                f"{type(peer).__name__} of {_package(peer)}": partial(_fitted, case, peer) for peer in _peers(case)
            }
            if importlib.util.find_spec("vowpalwabbit"):
                runs["Vowpal Wabbit"] = lambda case=case: _vowpal_wabbit(case)[0]
            entered = race(runs, 1 if quick else ROUNDS)
            what = f"linear learner, {case.name} {case.train.shape[0]:,} x {case.train.shape[1]}, defaults"
            quality = Quality(_measure(case), float, higher=_measure(case) == "accuracy")
            yield raced(what, entered, quality=quality)
    if not quick and (SHARED_DATA / "mnist").is_dir():
        done = published()
        yield Line(
            "linear learner, AWS's job: mnist, 0 against the rest, 32 models, 15 epochs",
            *(done.cpu, "processor s", "AWS's log (4 vCPU, seconds)", 77.0, 77.0 / done.cpu),
            *("its products at BLAS's speed", done.products / done.cpu, f"F1 {done.f1:.4f}", "F1 0.9653"),
        )


def _trained(case: Case) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return _score(case, _predicted(case, Path(folder)))


def _predicted(case: Case, folder: Path) -> np.ndarray:
    """Of a job from a file of the rows."""
    file = folder / "train.pbr"
    file.write_bytes(encode_records(case.train, case.train_labels))
    write_job(folder / "job", case.hyperparameters, {"train": file})
    result = LinearLearner.load(train(folder / "job", "linear-learner").model).predict(Batch(case.test))
    return result.get("predicted_label", result["score"])


def _fitted(case: Case, peer: Any) -> float:
    pipeline = make_pipeline(StandardScaler(with_mean=not sp.issparse(case.train)), peer)
    return _score(case, pipeline.fit(case.train, case.train_labels).predict(case.test))


def _package(peer: Any) -> str:
    return type(peer).__module__.partition(".")[0]


def _float(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _csr(rows: Any) -> sp.csr_array:
    """With 32-bit indices, which scikit-learn's SGD asks for."""
    return sp.csr_array((rows.data, rows.indices.astype(np.int32), rows.indptr.astype(np.int32)), shape=rows.shape)


def _csv(path: Path) -> list[list[str]]:
    with path.open() as file:
        return [[cell.strip() for cell in row] for row in csv.reader(file) if row]


def _one_hot(
    rows: list[list[str]], columns: list[dict[str, int] | None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers as they are, words as one column for each; the last column is the label."""
    columns = columns or _columns(rows)
    parts = []
    for at, words in enumerate(columns):
        cells = [row[at] for row in rows]
        if words is None:
            parts.append(np.array(cells, np.float32)[:, None])
        else:
            chosen = np.array([words.get(cell, len(words)) for cell in cells])
            parts.append(_float(chosen[:, None] == np.arange(len(words))))
    last = [row[-1].rstrip(".") for row in rows]
    labels = [float(">50K" in cell) if "50K" in cell else float(cell) for cell in last]
    return np.concatenate(parts, axis=1), np.array(labels, np.float32)


def _columns(rows: list[list[str]]) -> list[dict[str, int] | None]:
    def words(at: int) -> dict[str, int] | None:
        cells = sorted({row[at] for row in rows})
        numeric = all(cell.replace(".", "", 1).replace("-", "", 1).isdigit() for cell in cells)
        return None if numeric else {cell: number for number, cell in enumerate(cells)}

    return [words(at) for at in range(len(rows[0]) - 1)]


def _adult(folder: Path) -> Case:
    rows, test = _csv(folder / "adult-train.csv"), _csv(folder / "adult-test.csv")
    columns = _columns(rows)
    return Case("adult", *_one_hot(rows, columns), *_one_hot(test, columns), BINARY)


def _split(name: str, rows: np.ndarray, labels: np.ndarray, hyperparameters: dict[str, object]) -> Case:
    """80 % of the rows, shuffled, to train on."""
    order = np.random.default_rng(0).permutation(len(rows))
    cut = len(rows) * 4 // 5
    first, rest = order[:cut], order[cut:]
    return Case(name, rows[first], labels[first], rows[rest], labels[rest], hyperparameters)


def compare(case: Case) -> str:
    """A table of ours and the peers on one data set."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        predicted = _predicted(case, Path(folder))
        rows.append(("ours", _score(case, predicted), time.perf_counter() - started))
    for peer in _peers(case):
        started = time.perf_counter()
        score = _fitted(case, peer)
        rows.append((f"{type(peer).__name__} ({_package(peer)})", score, time.perf_counter() - started))
    if importlib.util.find_spec("vowpalwabbit"):
        rows.append(("Vowpal Wabbit", *_vowpal_wabbit(case)))
    title = f"{case.name}, {case.train.shape[0]:,} x {case.train.shape[1]}"
    return table(title, ("", _measure(case), "seconds"), rows)


def _measure(case: Case) -> str:
    """What the scores are called."""
    if case.hyperparameters["predictor_type"] != "regressor":
        return "accuracy"
    return "mean absolute error" if case.hyperparameters.get("loss") == "absolute_loss" else "RMSE"


def _score(case: Case, predicted: np.ndarray) -> float:
    match _measure(case):
        case "RMSE":
            return float(np.sqrt(np.mean((predicted - case.test_labels) ** 2)))
        case "mean absolute error":
            return float(np.mean(np.abs(predicted - case.test_labels)))
        case _:
            return float(np.mean(predicted == case.test_labels))


def _peers(case: Case) -> list[Any]:
    if case.hyperparameters["predictor_type"] == "regressor":
        match case.hyperparameters.get("loss"):
            case "absolute_loss":
                return [linear_model.QuantileRegressor(alpha=0), _sgd_regressor("epsilon_insensitive", epsilon=0)]
            case "huber_loss":
                return [linear_model.HuberRegressor(max_iter=1000), _sgd_regressor("huber", epsilon=1)]
            case _:
                return [linear_model.LinearRegression(), linear_model.SGDRegressor(random_state=0)]
    peers = [linear_model.LogisticRegression(max_iter=300), linear_model.SGDClassifier("log_loss", random_state=0)]
    if importlib.util.find_spec("sklearnex"):
        from sklearnex.linear_model import LogisticRegression

        logging.getLogger("sklearnex").setLevel(logging.WARNING)

        peers.append(LogisticRegression(max_iter=300))
    return peers


def _sgd_regressor(loss: str, epsilon: float) -> Any:
    return linear_model.SGDRegressor(loss, epsilon=epsilon, random_state=0)


VOWPAL_WABBIT = {
    "binary_classifier": "--loss_function logistic --link identity",
    "multiclass_classifier": "--loss_function logistic --oaa {num_classes}",
    "squared_loss": "--loss_function squared",
    "absolute_loss": "--loss_function quantile --quantile_tau 0.5",
    "huber_loss": "--loss_function squared",
}


def _vowpal_wabbit(case: Case) -> tuple[float, float]:
    """Score and seconds of 15 passes over a text file, with Vowpal Wabbit's own normalised and adaptive steps."""
    from vowpalwabbit import Workspace

    kind = str(case.hyperparameters["predictor_type"])
    kind = str(case.hyperparameters.get("loss", "squared_loss")) if kind == "regressor" else kind
    options = VOWPAL_WABBIT[kind].format(**case.hyperparameters)
    with tempfile.TemporaryDirectory() as folder:
        train_file, test_file = (Path(folder) / name for name in ("train.txt", "test.txt"))
        _write_text(train_file, case.train, _vowpal_labels(case.train_labels, kind))
        _write_text(test_file, case.test, _vowpal_labels(case.test_labels, kind))
        predictions, model = Path(folder) / "predictions", Path(folder) / "model"
        started = time.perf_counter()
        Workspace(f"{options} -d {train_file} --cache_file {folder}/cache -k --passes 15 -f {model} --quiet").finish()
        seconds = time.perf_counter() - started
        Workspace(f"-t -i {model} -d {test_file} -p {predictions} --quiet").finish()
        scores = np.loadtxt(predictions, dtype=np.float32)
    if kind == "binary_classifier":
        scores = _float(scores > 0)
    elif kind == "multiclass_classifier":
        scores = scores - 1
    return _score(case, scores), seconds


def _vowpal_labels(labels: np.ndarray, kind: str) -> np.ndarray:
    """-1 and 1 for two classes, 1 to c for more."""
    return {"binary_classifier": 2 * labels - 1, "multiclass_classifier": labels + 1}.get(kind, labels)


def _write_text(path: Path, features: Features, labels: np.ndarray) -> None:
    """Rows as Vowpal Wabbit reads them: ``label | number:value ...``, zeros left out."""
    rows = sp.csr_array(features)
    with path.open("w") as file:
        for row, label in enumerate(labels):
            part = slice(rows.indptr[row], rows.indptr[row + 1])
            cells = zip(rows.indices[part].tolist(), rows.data[part].tolist(), strict=True)
            file.write(f"{label:g} | {' '.join(f'{column}:{value:g}' for column, value in cells)}\n")


class Published(NamedTuple):
    """What the job took here, a peer, and its products alone, in seconds; and its scores in training."""

    title: str
    seconds: float
    cpu: float
    peer: float
    products: float
    accuracy: float
    f1: float


def published() -> Published:
    """AWS's run of 2021 on ml.c4.xlarge (4 vCPU): 77 s, train accuracy 0.99318, F1 0.96527."""
    rows = mnist()
    features, labels = rows.features[:50_000], _float(rows.labels[:50_000] == 0)
    given = BINARY | {"num_models": 32, "epochs": 15, "mini_batch_size": 200}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.pbr"
        file.write_bytes(encode_records(features, labels))
        write_job(Path(folder) / "job", given, {"train": file})
        started, cpu = time.perf_counter(), time.process_time()
        trained = train(Path(folder) / "job", "linear-learner")
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        predicted = LinearLearner.load(trained.model).predict(Batch(features))["predicted_label"]
    started = time.perf_counter()
    linear_model.SGDClassifier("log_loss", max_iter=15, tol=None, random_state=0).fit(features, labels)
    peer = time.perf_counter() - started
    work = 15 * 2 * 2.0 * len(features) * features.shape[1] * 32
    accuracy, f1 = float(np.mean(predicted == labels)), float(f1_score(labels, predicted))
    title = f"{rows.name}, 0 against the rest, {len(features):,} rows, 32 models, 15 epochs, mini_batch_size 200"
    return Published(title, seconds, cpu, 32 * peer, work / _blas_limit(), accuracy, f1)


def published_job() -> str:
    """The table of AWS's job."""
    done = published()
    return table(
        done.title,
        ("", "seconds", "CPU seconds", "train accuracy", "train F1"),
        [
            ("ours", done.seconds, done.cpu, done.accuracy, done.f1),
            ("AWS's log (ml.c4.xlarge)", 77.0, "", 0.99318, 0.96527),
            ("32 fits of SGDClassifier, 15 passes (one timed, times 32)", done.peer, "", "", ""),
            ("the products alone at the BLAS limit of one thread", done.products, "", "", ""),
        ],
    )


def _blas_limit() -> float:
    """Operations a second of a square float32 product on one thread."""
    square = np.ones((1024, 1024), np.float32)
    with threadpool_limits(1, "blas"):
        square @ square
        started = time.perf_counter()
        for _ in range(5):
            square @ square
        return 5 * 2 * 1024**3 / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
