"""Metrics that SageMaker offers besides XGBoost's own, by their definitions; instance weights count in all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xgboost as xgb

from algorithms.common.hosts import OneHost, any_host
from algorithms.interface import Hosts
from algorithms.xgb.outputs import predicted_classes


def _counts(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, hosts: Hosts) -> np.ndarray:
    """Weight of each (class, predicted class) pair, shape (k, k), for the k classes that occur on either side."""
    size = max(hosts.gather(int(max(labels.max(initial=0), predicted.max(initial=0))))) + 1
    pairs = labels.astype(np.int64) * size + predicted.astype(np.int64)
    table = _weighed(pairs, weights, size * size).reshape(size, size)
    occurring = np.bincount(labels.astype(np.int64), minlength=size) + np.bincount(
        predicted.astype(np.int64), minlength=size
    )
    table, occurring = hosts.sum(table, occurring)
    return table[np.ix_(occurring > 0, occurring > 0)]


def _weighed(numbers: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """The weight of each number below ``size``, (size,) float64: NumPy gives integers where there are no rows, and what
    hosts sum must be of one dtype."""
    return np.bincount(numbers, weights, size).astype(np.float64)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, and 0 where the whole is empty."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)


def _precision(table: np.ndarray) -> np.ndarray:
    return _share(np.diag(table), table.sum(axis=0))


def _recall(table: np.ndarray) -> np.ndarray:
    return _share(np.diag(table), table.sum(axis=1))


def _f1(table: np.ndarray) -> np.ndarray:
    return _share(2 * np.diag(table), table.sum(axis=0) + table.sum(axis=1))


def _accuracy(table: np.ndarray) -> float:
    return float(np.trace(table) / table.sum())


def _balanced_accuracy(table: np.ndarray) -> float:
    """Mean recall of the classes that have rows."""
    return float(_recall(table)[table.sum(axis=1) > 0].mean())


_OF_CLASSES: dict[str, Callable[[np.ndarray], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": lambda table: float(_f1(table).mean()),
    "f1_macro": lambda table: float(_f1(table).mean()),
    "precision_macro": lambda table: float(_precision(table).mean()),
    "precision_micro": _accuracy,  # every row has one class and one prediction, so all micro averages are accuracy
    "recall_macro": lambda table: float(_recall(table).mean()),
    "recall_micro": _accuracy,
}


def _positive(
    score: Callable[[np.ndarray], np.ndarray],
    labels: np.ndarray,
    predicted: np.ndarray,
    weights: np.ndarray,
    hosts: Hosts,
) -> float:
    """``score`` of class 1 alone, 0 where it does not occur."""
    (table,) = hosts.sum(_weighed((labels * 2 + predicted).astype(np.int64), weights, 4).reshape(2, 2))
    return float(score(table)[1])


_OF_POSITIVES = {"f1_binary": _f1, "precision": _precision, "recall": _recall}


def _average(values: np.ndarray, weights: np.ndarray, hosts: Hosts) -> float:
    total, whole = hosts.sum(np.array([np.dot(values, weights), weights.sum()]))[0]
    return float(total / whole)


def _mse(labels: np.ndarray, values: np.ndarray, weights: np.ndarray, hosts: Hosts) -> float:
    return _average((labels - values) ** 2, weights, hosts)


def _r2(labels: np.ndarray, values: np.ndarray, weights: np.ndarray, hosts: Hosts) -> float:
    """1 - residual / variance; for constant labels 1 where they are met and 0 elsewhere."""
    spread = _average((labels - _average(labels, weights, hosts)) ** 2, weights, hosts)
    error = _mse(labels, values, weights, hosts)
    if spread == 0:
        return 1.0 if error == 0 else 0.0
    return 1 - error / spread


_OF_NUMBERS = {"mse": _mse, "r2": _r2}
OF_CLASSES = frozenset([*_OF_CLASSES, *_OF_POSITIVES])
"""Metrics that labels must be the numbers of classes for."""
CUSTOM = frozenset([*OF_CLASSES, *_OF_NUMBERS])


def score(
    name: str,
    objective: str,
    labels: np.ndarray,
    predictions: np.ndarray,
    weights: np.ndarray | None = None,
    hosts: Hosts | None = None,
) -> float:
    """The metric ``name`` of ``CUSTOM`` on the rows of all hosts; NaN for no rows.

    Args:
        labels: shape (n,); class numbers for the metrics of classes.
        predictions: shape (n,) or (n, k), as ``Booster.predict`` gives them for ``objective``.
        weights: shape (n,); ones by default.
        hosts: which all call this; this one alone by default.
    """
    hosts = hosts or OneHost()
    if not any_host(hosts, len(labels) > 0):
        return float("nan")
    weights = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    if name in _OF_NUMBERS:
        return _OF_NUMBERS[name](labels.astype(np.float64), predictions.astype(np.float64), weights, hosts)
    predicted = predicted_classes(objective, predictions)
    if name in _OF_POSITIVES:
        return _positive(_OF_POSITIVES[name], labels, predicted, weights, hosts)
    return _OF_CLASSES[name](_counts(labels, predicted, weights, hosts))


def _weights(matrix: xgb.DMatrix) -> np.ndarray | None:
    """The weights of the rows, (n,), of which XGBoost keeps one for each query if it ranks; None if there are none."""
    weights = matrix.get_weight()
    if not len(weights):
        return None
    return weights if len(weights) == matrix.num_row() else np.repeat(weights, matrix.get_group())


def evaluator(
    names: Sequence[str], objective: str, hosts: Hosts
) -> Callable[[np.ndarray, xgb.DMatrix], list[tuple[str, float]]] | None:
    """A ``custom_metric``, as ``xgboost.train`` takes it, of those of ``names`` that are custom; None where none is."""
    custom = [name for name in names if name in CUSTOM]
    if not custom:
        return None

    def evaluate(predictions: np.ndarray, matrix: xgb.DMatrix) -> list[tuple[str, float]]:
        labels, weights = matrix.get_label(), _weights(matrix)
        return [(name, score(name, objective, labels, predictions, weights, hosts)) for name in custom]

    return evaluate
