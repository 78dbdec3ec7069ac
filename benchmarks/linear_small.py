"""The linear learner with only its required hyperparameters on 20 to 200 rows, beside each of three peers.

Each set is drawn from many times: what one draw says of so few rows is chance. Differences are paired, draw by draw,
and averaged over draws and sets, with 95 % intervals. Peers have standardised rows, where these are dense.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn import datasets, linear_model
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.common import digits, table
from benchmarks.linear_defaults import Score, Split, ours, peer, zipf_text
from recordio.batches import Features

SIZES, DRAWS, TEST_ROWS = (20, 50, 100, 200), 20, 1500


def small() -> str:
    """The table: ours less each peer's accuracy, and the logarithm of the ratio of log losses, below 0 where ours is
    lower."""
    rows = []
    for size in SIZES:
        pairs: dict[str, list[tuple[float, float]]] = {}
        for split in _draws(size):
            mine = ours(split)
            for name, theirs in _peers(split).items():
                ratio = np.nan if theirs.loss is None else np.log((mine.loss or 0.0) / theirs.loss)
                pairs.setdefault(name, []).append((mine.second - theirs.second, ratio))
        for name, found in pairs.items():
            accuracy, loss = np.array(found).T
            rows.append((size, name, len(found), _interval(accuracy), _interval(loss)))
    return table("defaults on few rows", ("rows", "peer", "draws", "accuracy", "log of the loss's ratio"), rows)


def _interval(values: np.ndarray) -> str:
    if not np.isfinite(values).all():
        return ""
    return f"{values.mean():+.4f} +- {1.96 * values.std(ddof=1) / np.sqrt(len(values)):.4f}"


def _sets() -> Iterator[tuple[str, Features, np.ndarray, int]]:
    cancer, wine, iris = datasets.load_breast_cancer(), datasets.load_wine(), datasets.load_iris()
    numbers, rng = digits(), np.random.default_rng(4)
    yield "breast cancer", cancer.data, cancer.target, 2
    yield "wine", wine.data, wine.target, 3
    yield "iris", iris.data, iris.target, 3
    yield "digits, 0 against the rest", numbers.features, numbers.labels == 0, 2
    yield "made text", *zipf_text(2500, 3000, 2, 1), 2
    rows = rng.normal(size=(3000, 10))
    yield "noise", rows, rng.random(3000) < 1 / (1 + np.exp(-0.5 * rows @ rng.normal(size=10))), 2
    marks = sp.csr_array((rng.random((3000, 100)) < 0.1).astype(float))
    yield "sparse marks", marks, rng.random(3000) < 1 / (1 + np.exp(-(marks @ rng.normal(size=100)))), 2
    yield "sparse noise", sp.random_array((3000, 5000), density=0.01, format="csr", rng=rng), rng.random(3000) < 0.5, 2


def _draws(size: int) -> Iterator[Split]:
    """Those with two rows of each of two classes at least."""
    for name, rows, labels, classes in _sets():
        if size > len(labels) - 100:
            continue
        for draw in range(DRAWS):
            order = np.random.default_rng(draw).permutation(len(labels))
            known, asked = order[:size], order[size : size + TEST_ROWS]
            if np.sort(np.bincount(labels[known].astype(int), minlength=classes))[-2] >= 2:
                parts = [part.astype(np.float32) for part in (rows[known], labels[known], rows[asked], labels[asked])]
                train, train_labels, test, test_labels = parts
                yield Split(name, train, train_labels, test, test_labels, classes)


def _peers(split: Split) -> dict[str, Score]:
    rarest = int(np.unique(split.train_labels, return_counts=True)[1].min())
    by_loss = {"cv": min(max(rarest, 2), 5), "scoring": "neg_log_loss"}
    models: dict[str, Any] = {
        "LogisticRegression": linear_model.LogisticRegression(max_iter=1000),
        "LogisticRegressionCV": linear_model.LogisticRegressionCV(**by_loss),
        "RidgeClassifierCV": linear_model.RidgeClassifierCV(np.logspace(-3, 3, 13)),
    }
    scores = {}
    for name, model in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scaled = model if sp.issparse(split.train) else make_pipeline(StandardScaler(), model)
            try:
                scores[name] = peer(split, scaled)
            except ValueError:  # a fold without one of the classes
                continue
    return scores
