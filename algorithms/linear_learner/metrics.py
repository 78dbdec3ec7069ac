"""Scores of a final model on the rows of all hosts, under the names that SageMaker's logs give them."""

from __future__ import annotations

import numpy as np

from algorithms.common.hosts import ONE_HOST
from algorithms.interface import Hosts

EPSILON = 1e-15
"""Probabilities are clipped to this distance from 0 and 1 for logarithms, as by scikit-learn's log_loss in float64."""

MINIMIZED = ("mse", "absolute_loss", "rmse")
"""Metrics that the log prints as ``<loss>``, besides ``*_objective``; all others it prints as ``<score>``."""


def regression(prediction: np.ndarray, labels: np.ndarray, hosts: Hosts = ONE_HOST) -> dict[str, float]:
    """Metrics of predictions and labels (n,), in the label's unit."""
    error = prediction.astype(np.float64) - labels
    squares, sizes, rows = hosts.sum(np.array([np.sum(error * error), np.sum(np.abs(error)), len(error)]))[0].tolist()
    mse = squares / rows
    return {"mse": mse, "absolute_loss": sizes / rows, "rmse": float(np.sqrt(mse))}


def binary(
    scores: np.ndarray, labels: np.ndarray, threshold: float, beta: float, hosts: Hosts = ONE_HOST
) -> dict[str, float]:
    """Metrics of scores (n,) and labels (n,) in {0, 1}; rows with a score of at least ``threshold`` are positive."""
    parts = hosts.gather([scores, labels])
    scores, labels = (np.concatenate(of_hosts) for of_hosts in zip(*parts, strict=True))
    positive, predicted = labels > 0.5, scores >= threshold
    hits = int(np.sum(positive & predicted))
    precision = _ratio(hits, int(predicted.sum()))
    recall = _ratio(hits, int(positive.sum()))
    return {
        "binary_classification_accuracy": float(np.mean(positive == predicted)),
        f"binary_f_{beta:.3f}": f_score(precision, recall, beta),
        "precision": precision,
        "recall": recall,
        "roc_auc_score": roc_auc(scores, positive),
    }


def f_score(precision: float, recall: float, beta: float) -> float:
    """(1 + beta^2) P R / (beta^2 P + R); 0 where both are 0."""
    square = beta * beta
    return _ratio((1 + square) * precision * recall, square * precision + recall)


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of scores (n,) and truth values (n,): the rank sum of Mann and Whitney, ties at
    their mean rank.

    0.5 where only one class is present.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return 0.5
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def multiclass(
    probabilities: np.ndarray, labels: np.ndarray, top_k: int, beta: float, hosts: Hosts = ONE_HOST
) -> dict[str, float]:
    """Metrics of class probabilities (n, c) and integer labels (n,). Macro means are over the classes that occur."""
    rows, classes = probabilities.shape
    true = probabilities[np.arange(rows), labels]
    rank = np.sum(probabilities > true[:, None], axis=1)  # 0 for the most probable class
    predicted = probabilities.argmax(axis=1)
    hits, occurring, claimed = hosts.sum(
        *(np.bincount(found, minlength=classes) for found in (labels[predicted == labels], labels, predicted))
    )
    logs = np.log(np.clip(true.astype(np.float64), EPSILON, 1))
    top, gain, log, rows = hosts.sum(
        np.array([np.sum(rank < top_k), np.sum(1 / np.log2(rank + 2)), np.sum(logs), rows])
    )[0].tolist()
    present = (occurring > 0) | (claimed > 0)
    recall = hits[present] / np.maximum(occurring[present], 1)
    precision = hits[present] / np.maximum(claimed[present], 1)
    f = [f_score(p, r, beta) for p, r in zip(precision, recall, strict=True)]
    balanced = hits[occurring > 0] / occurring[occurring > 0]
    return {
        "multiclass_accuracy": float(hits.sum() / rows),
        f"multiclass_top_k_accuracy_{top_k}": top / rows,
        "dcg": gain / rows,
        "macro_recall": float(recall.mean()),
        "macro_precision": float(precision.mean()),
        f"macro_f_{beta:.3f}": float(np.mean(f)),
        "multiclass_balanced_accuracy": float(balanced.mean()),
        "multiclass_log_loss": -log / rows,
    }


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
