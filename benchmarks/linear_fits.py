"""Fits of the linear learner with only its required hyperparameters beside scikit-learn's, on small sets.

Processor seconds of ``fit`` alone on one thread, the least of three: one ``LogisticRegression`` of rows as they are and
one of standardised rows, each of the default penalty, and ``LogisticRegressionCV``, which looks for a penalty by
cross-validation, as ours does. Quality is the log loss on a fifth of the rows.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn import datasets, linear_model
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler
from threadpoolctl import threadpool_limits

from algorithms.estimators import LinearLearnerClassifier
from benchmarks.common import digits, table
from benchmarks.linear_defaults import zipf_text
from recordio.batches import Features

ROUNDS = 3
COLUMNS = ("", "rows", "ours, ms", "one", "of scaled", "CV", "times one", "times of scaled", "times CV", "loss", "CV's")
LEGEND = """
ours: LinearLearnerClassifier(); one: LogisticRegression; of scaled: the same of standardised rows; CV:
LogisticRegressionCV of these, all in ms of the processor on one thread. times: our time by theirs, below 1 is faster.
Losses: of held-out rows."""


def fits(seed: int = 0) -> str:
    """The table; in the last columns the log losses of ours and of ``LogisticRegressionCV``."""
    rows = [_row(name, features, labels, seed) for name, features, labels in _sets()]
    return table("fits on small sets, processor time", COLUMNS, rows) + "\n" + LEGEND


def _sets() -> list[tuple[str, Features, np.ndarray]]:
    cancer, wine, iris = datasets.load_breast_cancer(), datasets.load_wine(), datasets.load_iris()
    numbers = digits()
    found = [
        ("digits", numbers.features, numbers.labels),
        ("digits, 0 against the rest", numbers.features, numbers.labels == 0),
        ("breast cancer", cancer.data, cancer.target),
        ("wine", wine.data, wine.target),
        ("iris", iris.data, iris.target),
    ]
    for rows, classes in ((250, 2), (1250, 2), (2500, 2), (250, 8)):
        found.append((f"made text, {classes} classes", *zipf_text(rows, 5000, classes, 1)))
    return found


def _row(name: str, rows: Features, labels: np.ndarray, seed: int) -> tuple[object, ...]:
    order = np.random.default_rng(seed).permutation(len(labels))
    cut = len(order) * 4 // 5
    train, test = (rows[part].astype(np.float32) for part in (order[:cut], order[cut:]))
    known, asked = labels[order[:cut]].astype(int), labels[order[cut:]].astype(int)
    scaler = MaxAbsScaler() if sp.issparse(rows) else StandardScaler()
    search = linear_model.LogisticRegressionCV(cv=5, scoring="neg_log_loss", max_iter=1000)
    models: list[Callable[[], Any]] = [
        LinearLearnerClassifier,
        linear_model.LogisticRegression,
        lambda: make_pipeline(scaler, linear_model.LogisticRegression()),
        lambda: make_pipeline(scaler, search),
    ]
    fitted, seconds = zip(*(_fit(model, train, known) for model in models), strict=True)
    mine, *theirs = seconds
    losses = [log_loss(asked, model.predict_proba(test), labels=model.classes_) for model in (fitted[0], fitted[3])]
    size = "{:,} x {:,}".format(*train.shape)
    return (name, size, *(1e3 * one for one in seconds), *(mine / one for one in theirs), *losses)


def _fit(make: Callable[[], Any], rows: Features, labels: np.ndarray) -> tuple[Any, float]:
    """The model, and the least processor seconds of a fit."""
    spent = []
    with warnings.catch_warnings(), threadpool_limits(1):  # threads that wait for each other cost time of the processor
        warnings.simplefilter("ignore")
        for _ in range(ROUNDS):
            started = time.process_time()
            model = make().fit(rows, labels)
            spent.append(time.process_time() - started)
    return model, min(spent)
