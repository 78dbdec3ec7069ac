"""The linear learner with only its required hyperparameters beside the best of scikit-learn's linear models.

Peers have defaults, too, and rows as they are and, where dense, standardised. Goals: log loss (mean squared error) at
most 1.1 times their lowest, accuracy 0.995 of their highest, in 5 times the seconds of the slower of those two.

Seconds are of the processor, the least of three: of ``fit`` on rows in memory on both sides. What a whole job takes,
which also reads files and writes its log, report and model, stands beside; models are a job's.

A second table has each peer alone beside the same best one: it is chosen from up to ten by the very rows that all are
scored on, and of few rows by chance, so that no single model reaches it in every form.
"""

from __future__ import annotations

import csv
import logging
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn import datasets, linear_model, svm
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from algorithms.estimators import LinearLearnerClassifier, LinearLearnerRegressor
from algorithms.linear_learner import LinearLearner
from benchmarks.common import SHARED_DATA, covertype, digits, mnist, table, train, write_job
from recordio.batches import Batch, Features
from recordio.record_writer import encode_records

SVM_CELLS = 1 << 23
"""Dense data of more cells than this takes LinearSVC many minutes, without being the best of the peers."""
LOSS_GOAL, ACCURACY_GOAL, SECONDS_GOAL = 1.1, 0.995, 5.0
ROUNDS, LONG = 3, 1.0
"""Fits of which the fastest counts, and the seconds from which on one is enough."""


class Split(NamedTuple):
    """Rows to train on and rows to score: features (n, d) float32, labels (n,) float32; classes is 0 in regression."""

    name: str
    train: Features
    train_labels: np.ndarray
    test: Features
    test_labels: np.ndarray
    classes: int

    @property
    def hyperparameters(self) -> dict[str, object]:
        """The required ones."""
        if self.classes > 2:
            return {"predictor_type": "multiclass_classifier", "num_classes": self.classes}
        return {"predictor_type": "binary_classifier" if self.classes else "regressor"}


class Score(NamedTuple):
    """What a model reached: log loss (None without probabilities) and accuracy, or in regression the mean squared and
    the mean absolute error; and processor seconds of ``fit``."""

    name: str
    loss: float | None
    second: float
    seconds: float


def splits() -> Iterator[Callable[[], list[Split]]]:
    """One function for each set of data, each gives its dense, sparse, small and wide forms."""
    yield _digits
    yield _package_sets
    yield _synthetic_text
    yield _wide
    yield _rare
    if (SHARED_DATA / "breast-cancer-wisconsin").is_dir():
        yield _wisconsin
    if (SHARED_DATA / "abalone").is_dir():
        yield _abalone
    if (SHARED_DATA / "covertype-20k").is_dir():
        yield _covertype
    if (SHARED_DATA / "adult").is_dir():
        yield _adult
    if (SHARED_DATA / "a9a").is_dir():
        yield lambda: _libsvm("a9a", "a9a", "a9a.t", 123)
    if (SHARED_DATA / "agaricus").is_dir():
        yield lambda: _libsvm("agaricus", "agaricus.txt.train", "agaricus.txt.test", 127)
    if (SHARED_DATA / "20newsgroups").is_dir():
        yield _newsgroups
    if (SHARED_DATA / "octis-dblp").is_dir():
        yield _titles
    if (SHARED_DATA / "mnist").is_dir():
        yield _mnist


def _make(name: str, rows: Features, labels: np.ndarray, classes: int, sizes: tuple[int, ...] = ()) -> list[Split]:
    """A split of shuffled rows, four fifths to train on, and one more for each smaller number of rows."""
    order = np.random.default_rng(0).permutation(rows.shape[0])
    cut = len(order) * 4 // 5
    return _cut(name, rows, labels, rows[order[cut:]], labels[order[cut:]], classes, order[:cut], sizes)


def _cut(
    name: str,
    rows: Features,
    labels: np.ndarray,
    test: Features,
    test_labels: np.ndarray,
    classes: int,
    order: np.ndarray,
    sizes: tuple[int, ...],
) -> list[Split]:
    labels, test_labels = labels.astype(np.float32), test_labels.astype(np.float32)
    made = []
    for size in (len(order), *sizes):
        chosen = order[:size]
        title = name if size == len(order) else f"{name}, {size} rows"
        made.append(Split(title, _float(rows[chosen]), labels[chosen], _float(test), test_labels, classes))
    return made


def _float(rows: Any) -> Features:
    if not sp.issparse(rows):
        return np.ascontiguousarray(rows, np.float32)
    rows = sp.csr_array(rows)
    parts = (rows.data.astype(np.float32), rows.indices.astype(np.int32), rows.indptr.astype(np.int32))
    return sp.csr_array(parts, shape=rows.shape)


def _digits() -> list[Split]:
    data = digits()
    return _make("digits", data.features, data.labels, 10, (20, 200)) + _make(
        "digits, 0 against the rest", data.features, data.labels == 0, 2, (20, 200)
    )


def _package_sets() -> list[Split]:
    cancer, wine, iris = datasets.load_breast_cancer(), datasets.load_wine(), datasets.load_iris()
    diabetes = datasets.load_diabetes()
    return [
        *_make("breast cancer", cancer.data, cancer.target, 2, (20, 200)),
        *_make("wine", wine.data, wine.target, 3, (20,)),
        *_make("iris", iris.data, iris.target, 3, (20,)),
        *_make("diabetes", diabetes.data, diabetes.target, 0, (20, 200)),
    ]


def zipf_text(rows: int, words: int, classes: int, seed: int) -> tuple[sp.csr_array, np.ndarray]:
    """Documents of 20 to 120 words: frequencies by Zipf's law, each class with favourite words of its own; TF-IDF rows
    of length 1, as scikit-learn makes them."""
    rng = np.random.default_rng(seed)
    base = 1 / np.arange(1, words + 1)
    favour = np.exp(rng.normal(size=(classes, words)) * (rng.random((classes, words)) < 0.15) * 1.2)
    chances = base * favour
    chances /= chances.sum(axis=1, keepdims=True)
    labels = rng.integers(0, classes, rows)
    counts = [np.bincount(rng.choice(words, rng.integers(20, 120), p=chances[c]), minlength=words) for c in labels]
    matrix = sp.csr_array(np.array(counts, np.float32))
    share = np.asarray((matrix > 0).sum(axis=0)).ravel()
    matrix = sp.csr_array(matrix.multiply(np.log((1 + rows) / (1 + share)) + 1))
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sp.csr_array(matrix.multiply(1 / length[:, None])), labels.astype(np.float32)


def _synthetic_text() -> list[Split]:
    two, eight = zipf_text(2500, 5000, 2, 1), zipf_text(5000, 5000, 8, 2)
    return [
        *_make("made text, 2 classes", *two, 2, (20, 200)),
        *_make("made text, 8 classes", *eight, 8, (200,)),
        *_make("made text, 2 classes, dense", two[0].toarray(), two[1], 2, (200,)),
    ]


def _wide() -> list[Split]:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(1250, 10_000)) + rng.normal(size=(1250, 30)) @ rng.normal(size=(30, 10_000))
    clear = rows[:, :300].sum(axis=1) > 0
    labels = np.arange(1250) % 2
    apart = rng.normal(size=(1250, 10_000)) + (labels[:, None] - 0.5) * 0.6 * (np.arange(10_000) < 200)
    return [
        *_make("wide, 30 factors", rows, clear, 2, (20, 200)),
        *_make("wide, 200 useful columns", apart, labels, 2, (200,)),
        *_make("wide, regression", rows, rows[:, :300].sum(axis=1) / 30 + rng.normal(size=1250), 0, (200,)),
    ]


def _rare() -> list[Split]:
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(12_400, 30))
    labels = rng.random(12_400) < 1 / (1 + np.exp(5.6 - rows[:, :3].sum(axis=1)))
    return _cut("rare positives", rows, labels, rows[2400:], labels[2400:], 2, np.arange(2400), (200,))


def _read(path: Path) -> list[list[str]]:
    with path.open() as file:
        return [[cell.strip() for cell in row] for row in csv.reader(file) if row]


def _wisconsin() -> list[Split]:
    rows = _read(SHARED_DATA / "breast-cancer-wisconsin" / "breast-cancer-wisconsin.data")
    values = np.array([[float(cell) if cell != "?" else 1.0 for cell in row] for row in rows])
    return _make("wisconsin", values[:, 1:-1], values[:, -1] == 4, 2, (20, 200))


def _one_hot(cells: list[str], names: list[str]) -> np.ndarray:
    return np.array(cells)[:, None] == np.array(names)


def _abalone() -> list[Split]:
    rows = _read(SHARED_DATA / "abalone" / "abalone.csv")
    values = np.hstack(
        [_one_hot([row[0] for row in rows], ["F", "I", "M"]), np.array([row[1:] for row in rows], float)]
    )
    return _make("abalone", values[:, :-1], values[:, -1], 0, (20, 200))


def _covertype() -> list[Split]:
    data = covertype()
    assert data is not None
    return _make("covertype", data.features, data.labels - 1, 7, (200, 2000)) + _make(
        "covertype, sparse", sp.csr_array(data.features), data.labels - 1, 7
    )


def _adult() -> list[Split]:
    train_rows, test_rows = (_read(SHARED_DATA / "adult" / f"adult-{part}.csv") for part in ("train", "test"))

    def encode(rows: list[list[str]]) -> np.ndarray:
        parts = []
        for at in range(14):
            names = sorted({row[at] for row in train_rows})
            cells = [row[at] for row in rows]
            numeric = all(name.lstrip("-").isdigit() for name in names)
            parts.append(np.array(cells, float)[:, None] if numeric else _one_hot(cells, names))
        return np.hstack(parts)

    rows, test = encode(train_rows), encode(test_rows)
    labels, test_labels = (np.array([">50K" in row[-1] for row in part]) for part in (train_rows, test_rows))
    order = np.random.default_rng(0).permutation(len(rows))
    dense = _cut("adult", rows, labels, test, test_labels, 2, order, (20, 200))
    return dense + _cut("adult, sparse", sp.csr_array(rows), labels, sp.csr_array(test), test_labels, 2, order, ())


def _libsvm(folder: str, train_file: str, test_file: str, columns: int) -> list[Split]:
    load = datasets.load_svmlight_file
    rows, labels = load(str(SHARED_DATA / folder / train_file), n_features=columns)
    test, test_labels = load(str(SHARED_DATA / folder / test_file), n_features=columns)
    order = np.random.default_rng(0).permutation(rows.shape[0])
    return _cut(folder, sp.csr_array(rows), labels > 0, sp.csr_array(test), test_labels > 0, 2, order, (20, 200))


def _newsgroups() -> list[Split]:
    texts: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    with tarfile.open(SHARED_DATA / "20newsgroups" / "20news-bydate.tar.xz") as archive:
        for member in archive:
            if member.isfile():
                part, group, _ = member.name.rsplit("/", 2)
                file = archive.extractfile(member)
                assert file is not None
                texts[part.rsplit("-", 1)[-1]].append((group, file.read().decode("latin-1")))
    vectors = TfidfVectorizer(max_features=10_000)
    rows = vectors.fit_transform(text for _, text in texts["train"])
    test = vectors.transform(text for _, text in texts["test"])
    names = sorted({group for group, _ in texts["train"]})
    group, test_group = (np.array([names.index(name) for name, _ in texts[part]]) for part in ("train", "test"))
    science = np.array([name.startswith("sci.") for name in names])
    order = np.random.default_rng(0).permutation(rows.shape[0])
    few = order[:2000]
    return [
        *_cut("newsgroups, sci", rows, science[group], test, science[test_group], 2, order, (20, 200)),
        *_cut("newsgroups, 20 classes", rows, group, test, test_group, 20, order, (200, 2000)),
        *_dense_news(rows[few], science[group][few], test[::4], science[test_group][::4]),
    ]


def _dense_news(rows: Any, labels: np.ndarray, test: Any, test_labels: np.ndarray) -> list[Split]:
    name = "newsgroups, sci, dense, 2000 rows"
    return _cut(name, rows.toarray(), labels, test.toarray(), test_labels, 2, np.arange(2000), (200,))


def _titles() -> list[Split]:
    parts: dict[str, list[tuple[str, int]]] = {"train": [], "val": [], "test": []}
    for line in (SHARED_DATA / "octis-dblp" / "corpus.tsv").read_text().splitlines():
        text, part, label = line.split("\t")[:3]
        parts[part].append((text, int(label)))
    vectors = TfidfVectorizer()
    rows = vectors.fit_transform(text for text, _ in parts["train"])
    test = vectors.transform(text for text, _ in parts["test"])
    labels, test_labels = (np.array([label for _, label in parts[part]]) for part in ("train", "test"))
    order = np.random.default_rng(0).permutation(rows.shape[0])
    return _cut("titles", rows, labels, test, test_labels, 4, order, (200, 2000))


def _mnist() -> list[Split]:
    rows, test = mnist(), mnist("t10k")
    order = np.arange(len(rows.labels))
    return [
        *_cut("mnist", rows.features, rows.labels, test.features, test.labels, 10, order, (200, 2000)),
        *_cut(
            "mnist, 0 against the rest", rows.features, rows.labels == 0, test.features, test.labels == 0, 2, order, ()
        ),
    ]


def _estimator(split: Split) -> Any:
    return LinearLearnerClassifier() if split.classes else LinearLearnerRegressor()


def _seconds(model: Any, split: Split) -> float:
    """Processor seconds of the fastest fit, on one thread: several that wait for each other cost time of it, too."""
    spent: list[float] = []
    logging.disable(logging.INFO)  # jobs in this process have left a handler
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        while len(spent) < ROUNDS and sum(spent) < LONG:
            started = time.process_time()
            model.fit(split.train, split.train_labels)
            spent.append(time.process_time() - started)
    logging.disable(logging.NOTSET)
    return min(spent)


def ours(split: Split) -> Score:
    """A whole training job of ours: its model's score, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.pbr"
        file.write_bytes(encode_records(split.train, split.train_labels))
        write_job(Path(folder) / "job", split.hyperparameters, {"train": file})
        started = time.process_time()
        trained = train(Path(folder) / "job", "linear-learner")
        seconds = time.process_time() - started
        result = LinearLearner.load(trained.model).predict(Batch(split.test))
    if not split.classes:
        return _errors("ours", split, result["score"], seconds)
    accuracy = float(np.mean(result["predicted_label"] == split.test_labels))
    return Score("ours", _log_loss(split, result["score"], range(split.classes)), accuracy, seconds)


def _errors(name: str, split: Split, predicted: np.ndarray, seconds: float) -> Score:
    error = predicted.astype(float) - split.test_labels
    return Score(name, float(np.mean(error**2)), float(np.mean(np.abs(error))), seconds)


def _log_loss(split: Split, probability: np.ndarray, classes: Any) -> float:
    """Of probabilities (n,) of class 1, or (n, c) of the classes that the model knows."""
    probability = probability.astype(float)
    if probability.ndim == 1:
        return float(log_loss(split.test_labels, probability, labels=[0, 1]))
    every = np.zeros((len(probability), split.classes))
    every[:, np.asarray(list(classes), int)] = probability
    true = every[np.arange(len(every)), split.test_labels.astype(int)]
    return float(-np.log(np.clip(true, np.finfo(float).eps, 1)).mean())


def peers(split: Split) -> list[Score]:
    """The scores of scikit-learn's linear models."""
    models: list[Any] = [
        linear_model.LogisticRegression(),
        linear_model.SGDClassifier(random_state=0),
        linear_model.SGDClassifier("log_loss", random_state=0),
        linear_model.RidgeClassifier(),
        svm.LinearSVC(random_state=0),
    ]
    if not split.classes:
        models = [linear_model.LinearRegression(), linear_model.Ridge(), linear_model.SGDRegressor(random_state=0)]
        models += [] if sp.issparse(split.train) else [linear_model.HuberRegressor()]
    if not sp.issparse(split.train) and split.train.size > SVM_CELLS:
        models = [model for model in models if not isinstance(model, svm.LinearSVC)]
    found = [peer(split, model) for model in models]
    if not sp.issparse(split.train):
        found += [peer(split, make_pipeline(StandardScaler(), model)) for model in models]
    return found


def peer(split: Split, model: Any) -> Score:
    """The score of a scikit-learn model of these rows."""
    seconds = _seconds(model, split)
    *scaled, fitted = getattr(model, "named_steps", {"": model}).values()
    name = f"{type(fitted).__name__}{_loss_of(fitted)}{', scaled rows' if scaled else ''}"
    if not split.classes:
        return _errors(name, split, model.predict(split.test), seconds)
    loss = None
    if hasattr(model, "predict_proba"):
        probability = model.predict_proba(split.test)
        known = np.asarray(model.classes_, int)
        loss = _log_loss(split, probability[:, 1] if split.classes == 2 else probability, known)
    return Score(name, loss, float(np.mean(model.predict(split.test) == split.test_labels)), seconds)


def _loss_of(model: Any) -> str:
    """The loss of those of which there are several."""
    return f", {model.loss}" if isinstance(model, linear_model.SGDClassifier) else ""


class Form(NamedTuple):
    """One form of a set, without its rows: a job of ours, the seconds of its fit alone, and the scores of the peers."""

    name: str
    shape: tuple[int, int]
    classes: int
    mine: Score
    fitted: float
    theirs: list[Score]

    @property
    def best(self) -> tuple[Score, Score]:
        """The peers of the lowest loss and of the highest accuracy, or in regression of the lowest absolute error."""
        loss = min((peer for peer in self.theirs if peer.loss is not None), key=lambda peer: peer.loss or 0.0)
        return loss, (max if self.classes else min)(self.theirs, key=lambda peer: peer.second)

    def beside(self, score: Score) -> tuple[float | None, float]:
        """Its loss by that of the best peer, and its share of the best accuracy, or of the lowest absolute error."""
        loss, second = self.best
        assert loss.loss is not None, "a peer of each set has probabilities, or numbers"
        ratio = None if score.loss is None else score.loss / max(loss.loss, 1e-12)
        return ratio, score.second / second.second if self.classes else second.second / score.second

    def short(self, score: Score) -> list[str]:
        """In what it is short of the best peer."""
        ratio, share = self.beside(score)
        least, name = (ACCURACY_GOAL, "accuracy") if self.classes else (1 / LOSS_GOAL, "absolute error")
        worse = ["loss"] if ratio is not None and ratio > LOSS_GOAL else []
        return [*worse, *([name] if share < least else [])]


def measured(split: Split) -> Form:
    """Ours and all peers on these rows."""
    scores = (ours(split), _seconds(_estimator(split), split), peers(split))
    return Form(split.name, split.train.shape, split.classes, *scores)


def row(form: Form) -> tuple[object, ...]:
    """One row of the table, with what misses its goal: a job of ours, and what a fit alone takes."""
    loss, second = form.best
    ratio, share = form.beside(form.mine)
    times = form.fitted / max(loss.seconds, second.seconds, 1e-9)
    missed = [*form.short(form.mine), *(["seconds"] if times > SECONDS_GOAL else [])]
    size = "{:,} x {:,}".format(*form.shape)
    figures = (form.mine.loss, loss.loss, ratio, form.mine.second, second.second, share)
    return (form.name, size, *figures, form.mine.seconds, form.fitted, times, ", ".join(missed))


COLUMNS = ("", "rows", "loss", "best", "ratio", "accuracy", "best", "share", "job, s", "fit, s", "times", "misses")


def peer_rows(forms: list[Form]) -> Iterator[tuple[object, ...]]:
    """A row for each peer: in how many of the forms that it was tried in it is short of the best peer, and in how many
    of the same ones ours is."""
    names = dict.fromkeys(score.name for form in forms for score in form.theirs)
    for name in names:
        tried = [(form, score) for form in forms for score in form.theirs if score.name == name]
        of_peer = [form.short(score) for form, score in tried]
        of_ours = [form.short(form.mine) for form, _ in tried]
        with_loss = any(score.loss is not None for _, score in tried)
        yield name, len(tried), *_counts(of_peer, with_loss=with_loss), *_counts(of_ours, with_loss=True)


def _counts(short: list[list[str]], *, with_loss: bool) -> tuple[object, object]:
    loss = sum("loss" in names for names in short)
    return loss if with_loss else "", sum(names not in ([], ["loss"]) for names in short)


PEER_COLUMNS = ("", "forms", "its loss", "its accuracy", "our loss", "our accuracy")


def defaults() -> str:
    """The table of all sets, in regression of the mean squared and mean absolute errors; and that of single peers."""
    forms = [measured(split) for make in splits() for split in make()]
    title = "in how many forms each peer alone, and ours in the same, is short of the best peer of the form"
    return "\n".join(
        [
            table("defaults, beside the best of scikit-learn's linear models", COLUMNS, [row(form) for form in forms]),
            table(title, PEER_COLUMNS, list(peer_rows(forms))),
        ]
    )
