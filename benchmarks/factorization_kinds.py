"""Factorization machines at their defaults on many kinds of made data, beside rates that are given and a linear model.

    python -m benchmarks.factorization_kinds [seed]

``factors_lr`` is looked for by trials where a job gives neither it nor ``epochs``. Here it is compared with the same
job at rates that are given, with one epoch (SageMaker's own way), and with the better choice of penalties of
scikit-learn's linear models, by the loss on rows that none has seen: mean squared error or log loss. It takes several
minutes, and says on standard error which kind is done; the table comes at the end, or at Ctrl-C of what there is.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from algorithms.estimators import FactorizationMachinesClassifier, FactorizationMachinesRegressor
from benchmarks.common import table
from benchmarks.linear_defaults import zipf_text
from recordio.batches import Features

FACTORS, TEST_ROWS = 8, 1500
WAYS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "0.0001": {"factors_lr": 0.00010001},  # an estimator hands on what is not the default
    "0.001": {"factors_lr": 0.001},
    "0.01": {"factors_lr": 0.01},
    "one epoch": {"epochs": 1},
}
LEGEND = """
Losses on held-out rows, less is better: of the defaults, of three rates that are given, of one epoch, and of RidgeCV or
LogisticRegressionCV (linear). by linear, by best: the defaults' loss by the linear model's, and by the least of the
rates' and the linear model's; 1 or less is as good. times the time: processor time of the defaults by 0.0001's."""
Kind = tuple[str, Features, np.ndarray, int, bool]
"""Name, rows and labels, of which the first are to train on, how many, and whether labels are classes."""


def kinds_of_data(seed: int) -> str:
    """The table of losses, and of processor seconds of the defaults by those of a given rate."""
    rows = []
    with contextlib.suppress(KeyboardInterrupt):
        for kind in _kinds(np.random.default_rng(seed), seed):
            rows.append(_row(*kind))
            print(f"{len(rows)}: {kind[0]}", file=sys.stderr, flush=True)
    columns = ("", "rows", *WAYS, "linear", "by linear", "by best", "times the time")
    return table(f"factorization machines on kinds of data, seed {seed}", columns, rows) + "\n" + LEGEND


def _row(name: str, features: Features, labels: np.ndarray, count: int, classes: bool) -> tuple[object, ...]:
    train, test = (features[part].astype(np.float32) for part in (slice(count), slice(count, None)))
    known, asked = labels[:count], labels[count:]
    make = FactorizationMachinesClassifier if classes else FactorizationMachinesRegressor
    losses, seconds = [], []
    for given in WAYS.values():
        started = time.process_time()
        model = make(num_factors=FACTORS, **given).fit(train, known)
        seconds.append(time.process_time() - started)
        losses.append(_loss(model, test, asked, classes))
    linear = _loss(_linear(train, known, classes), test, asked, classes)
    best = min(*losses[1:4], linear)
    return (name, count, *losses, linear, losses[0] / linear, losses[0] / best, seconds[0] / seconds[1])


def _loss(model: Any, rows: Features, labels: np.ndarray, classes: bool) -> float:
    if classes:
        return float(log_loss(labels, model.predict_proba(rows)[:, 1], labels=[0, 1]))
    return float(np.mean((model.predict(rows) - labels) ** 2))


def _linear(rows: Features, labels: np.ndarray, classes: bool) -> Any:
    folds = int(min(5, np.bincount(labels.astype(int)).min())) if classes else None
    scaler = MaxAbsScaler() if sp.issparse(rows) else StandardScaler()
    model = RidgeCV(np.logspace(-3, 3, 13)) if folds is None else LogisticRegressionCV(cv=folds, scoring="neg_log_loss")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_pipeline(scaler, model).fit(rows, labels)


def _kinds(rng: np.random.Generator, seed: int) -> Iterator[Kind]:
    for users, items, rank, count, noise in (
        *((80, 50, 2, 1200, 0.1), (300, 200, 5, 5000, 0.3), (200, 200, 3, 2000, 1.0), (60, 30, 2, 300, 0.3)),
    ):
        rows, scores = _ratings(rng, users, items, rank, count)
        yield f"rank {rank}, {users} x {items}", rows, scores + noise * rng.normal(size=len(scores)), count, False
    rows, scores = _ratings(rng, 100, 80, 3, 3000)
    yield "rank 3, 100 x 80, classes", rows, _classes(rng, 2 * scores), 3000, True
    rows, _ = _ratings(rng, 120, 90, 1, 3000)
    weights = rng.normal(size=rows.shape[1])
    yield "users and items without pairs", rows, rows @ weights + 0.5 * rng.normal(size=rows.shape[0]), 3000, False
    for count, levels, classes in ((500, 6, False), (5000, 8, False), (2000, 6, True)):
        rows, scores = _categories(rng, count, levels, pairs=True)
        labels = _classes(rng, scores) if classes else scores + 0.5 * rng.normal(size=len(scores))
        yield f"categories with pairs{', classes' * classes}", rows, labels, count, classes
    rows, scores = _categories(rng, 1000, 8, pairs=False)
    yield "categories without pairs", rows, scores + rng.normal(size=len(scores)), 1000, False
    rows, scores = _categories(rng, 3000, 6, pairs=True)
    yield "rare class, categories", rows, _classes(rng, scores - 4.5), 3000, True
    rows, scores = _categories(rng, 500, 6, pairs=False)
    yield "categories, noise, classes", rows, _classes(rng, 0 * scores), 500, True
    yield from _dense_kinds(rng)
    counts, labels = zipf_text(1900, 2000, 2, 100 + seed)
    yield "text, TF-IDF", counts, labels, 400, True
    yield "text, signs", (counts > 0).astype(np.float32), labels, 400, True
    rows, scores = _categories(rng, 1000, 1000, pairs=False)
    yield "wide categories", rows, scores + rng.normal(size=len(scores)), 1000, False


def _dense_kinds(rng: np.random.Generator) -> Iterator[Kind]:
    for count, width, noise in ((10, 3, 0.3), (25, 5, 1.0), (300, 20, 1.0), (200, 10, 1e3)):
        rows = rng.normal(size=(count + TEST_ROWS, width))
        yield f"dense, noise {noise}", rows, rows[:, :3].sum(axis=1) + noise * rng.normal(size=len(rows)), count, False
    for count, width, shift in ((10, 3, 0), (40, 5, 0), (1000, 20, 0), (2000, 30, 5)):
        rows = rng.normal(size=(count + TEST_ROWS, width))
        labels = _classes(rng, 2 * rows[:, :3].sum(axis=1) - shift)
        labels[:4] = (0, 1, 0, 1)
        yield f"dense, classes, shift {shift}", rows, labels, count, True
    rows = rng.normal(size=(1000 + TEST_ROWS, 10))
    product = rows[:, 0] * rows[:, 1] + rows[:, 2]
    yield "dense, a product", rows, product + 0.3 * rng.normal(size=len(rows)), 1000, False
    rows = rng.standard_t(2, size=(1000 + TEST_ROWS, 10))
    yield "dense, heavy tails, classes", rows, _classes(rng, rows[:, :3].sum(axis=1)), 1000, True


def _ratings(rng: np.random.Generator, users: int, items: int, rank: int, count: int) -> tuple[sp.csr_array, Any]:
    """Pairs of a user and an item, and scores of deviation 1 of that rank."""
    size = min(count + TEST_ROWS, users * items)
    user, item = np.divmod(rng.permutation(users * items)[:size], items)
    people, things = rng.normal(size=(users, rank)), rng.normal(size=(items, rank))
    scores = np.einsum("nr,nr->n", people[user], things[item]) / np.sqrt(rank)
    return _one_hot(np.column_stack([user, users + item]), users + items), scores


def _categories(rng: np.random.Generator, count: int, levels: int, *, pairs: bool) -> tuple[sp.csr_array, Any]:
    """Five columns of so many levels, and scores of levels, and of pairs of those of two of the columns."""
    values = rng.integers(levels, size=(count + TEST_ROWS, 5))
    scores = rng.normal(size=(5, levels))[np.arange(5), values].sum(axis=1) / np.sqrt(5)
    if pairs:
        scores = scores + rng.normal(size=(levels, levels))[values[:, 0], values[:, 1]]
    return _one_hot(values + levels * np.arange(5), 5 * levels), scores


def _one_hot(columns: np.ndarray, width: int) -> sp.csr_array:
    rows, each = columns.shape
    starts = np.arange(0, rows * each + 1, each, dtype=np.int32)
    return sp.csr_array((np.ones(rows * each, np.float32), columns.astype(np.int32).ravel(), starts), (rows, width))


def _classes(rng: np.random.Generator, scores: np.ndarray) -> np.ndarray:
    return (rng.random(len(scores)) < 1 / (1 + np.exp(-scores))).astype(int)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", nargs="?", type=int, default=0)
    logging.disable(logging.WARNING)  # of one epoch's few steps
    print(kinds_of_data(parser.parse_args().seed))
