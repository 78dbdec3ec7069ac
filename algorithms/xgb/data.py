"""Streams of batches to XGBoost's matrices, holding the rows once."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import xgboost as xgb

from algorithms.common.hosts import any_host
from algorithms.common.labels import LARGEST
from algorithms.errors import ChannelError, TrainingDataError
from algorithms.interface import Hosts, Stream
from algorithms.xgb.metrics import OF_CLASSES
from algorithms.xgb.names import MULTI, OF_QUERIES, OF_ROWS
from algorithms.xgb.parameters import XGBoostHyperparameters
from recordio.batches import Batch, concatenate

GIB = 1 << 30
BINS = 1.25
"""Memory of the rows and of XGBoost's bins, in bytes for each byte of the rows: a value takes 4, its bin at least 1."""


def read(stream: Stream, channel: str, hosts: Hosts, memory: int | None = None) -> Batch:
    """All rows of a channel that this host has, of the width that they have on all hosts.

    Args:
        memory: bytes that the job may take; None where nobody says.

    Raises:
        ChannelError: there are none on any host.
        TrainingDataError: they have no labels, or rows of one query lie apart, or memory cannot hold them.
    """
    batches = _held(stream, channel, memory)
    rows = _checked(batches, channel) if batches else None
    kinds = hosts.gather(None if rows is None else [rows.feature_dim, rows.is_sparse, rows.groups is not None])
    known = [kind for kind in kinds if kind is not None]
    if not known:
        raise ChannelError(f"Channel '{channel}' has no rows")
    width = max(kind[0] for kind in known)
    if any(kind[0] != width and not kind[1] for kind in known):
        widths = sorted({kind[0] for kind in known})
        raise TrainingDataError(f"Rows have different numbers of features: {' and '.join(map(str, widths))}")
    if rows is None:
        _, sparse, grouped = known[0]
        nothing = np.zeros(0, np.float32)
        features: Any = sp.csr_array((0, width), dtype=np.float32) if sparse else np.zeros((0, width), np.float32)
        return Batch(features, nothing, None, np.zeros(0, np.int64) if grouped else None)
    return of_width(rows, width)


def _held(stream: Stream, channel: str, memory: int | None) -> list[Batch]:
    """The batches that have rows, as long as memory can hold them: few megabytes, compressed or as Parquet's runs, may
    stand for billions of rows."""
    batches, size, count = [], 0, 0
    with closing(stream.batches()) as read_ahead:
        for batch in read_ahead:
            if not len(batch):
                continue
            batches.append(batch)
            count += len(batch)
            size += sum(array.nbytes for array in batch.arrays())
            if memory is not None and BINS * size > memory:
                raise TrainingDataError(
                    f"Channel '{channel}': its first {count} rows take at least {BINS * size / GIB:,.1f} GiB of memory "
                    "together with XGBoost's bins of them, and this machine or container, or this host's share of it, "
                    f"has {memory / GIB:,.1f} GiB: train on fewer rows, on several hosts, or on an instance with more"
                )
    return batches


def _checked(batches: list[Batch], channel: str) -> Batch:
    if any(batch.labels is None for batch in batches):
        raise TrainingDataError(f"Channel '{channel}' has rows without a label")
    if any(batch.labels is not None and batch.labels.size != len(batch) for batch in batches):
        raise TrainingDataError(f"Channel '{channel}' has rows with several labels, and XGBoost takes one")
    return join(batches)


def join(batches: list[Batch]) -> Batch:
    """One batch of all; empties the list, so that dense rows are never held twice.

    Raises:
        TrainingDataError: the batches differ in their number of features.
    """
    if len(batches) == 1 or any(batch.is_sparse for batch in batches):
        return _join_sparse(batches) if len(batches) > 1 else batches.pop()
    widths = {batch.feature_dim for batch in batches}
    if len(widths) > 1:
        raise TrainingDataError(f"Rows have different numbers of features: {' and '.join(map(str, sorted(widths)))}")
    rest = concatenate([Batch(batch.features[:, :0], batch.labels, batch.weights, batch.groups) for batch in batches])
    features = np.empty((len(rest), widths.pop()), np.float32)
    batches.reverse()
    start = 0
    while batches:
        part = batches.pop().features
        features[start : start + len(part)] = part
        start += len(part)
    return Batch(features, rest.labels, rest.weights, rest.groups)


def _join_sparse(batches: list[Batch]) -> Batch:
    """Rows of different widths become as wide as the widest: what is absent is missing."""
    whole = concatenate(batches, keep_zeros=True)
    batches.clear()
    return whole


def of_both(train: Batch, validation: Batch) -> Batch:
    """The rows of two channels as one batch. A channel without weights gets 1 for each row; queries stay apart.

    Raises:
        TrainingDataError: rows of one channel belong to queries, and those of the other do not.
    """
    both = [train, validation]
    if (train.groups is None) != (validation.groups is None):
        raise TrainingDataError(
            "Of channels 'train' and 'validation', which _kfold joins, one has query ids and one none"
        )
    if train.weights is not None or validation.weights is not None:
        weights = [np.ones(len(rows), np.float32) if rows.weights is None else rows.weights for rows in both]
        both = [replace(rows, weights=own) for rows, own in zip(both, weights, strict=True)]
    if train.groups is not None and validation.groups is not None:
        queries = [_numbered(train.groups), _numbered(validation.groups)]
        queries[1] += len(train)  # one id in both channels stands for two queries
        both = [replace(rows, groups=own) for rows, own in zip(both, queries, strict=True)]
    return join(both)


def _numbered(groups: np.ndarray) -> np.ndarray:
    """The number of each row's query, counted from 0 in their order."""
    starts = np.zeros(len(groups), np.int64)
    starts[group_starts(groups)] = 1
    return np.cumsum(starts) - 1


def widened(rows: sp.csr_array, width: int) -> sp.csr_array:
    """The same rows with more columns at the end."""
    return sp.csr_array((rows.data, rows.indices, rows.indptr), shape=(rows.shape[0], width))


def of_width(rows: Batch, width: int) -> Batch:
    """The batch with its sparse rows widened; as it is where it has that width."""
    if rows.feature_dim == width:
        return rows
    return Batch(widened(rows.features, width), rows.labels, rows.weights, rows.groups)


def are_same(some: Batch, others: Batch) -> bool:
    """Whether two batches hold the same rows with the same labels, in the same order."""
    if some.features.shape != others.features.shape or some.is_sparse != others.is_sparse:
        return False
    pairs = zip(_parts(some), _parts(others), strict=True)
    return all(np.array_equal(one, other, equal_nan=True) for one, other in pairs)


def _parts(rows: Batch) -> list[np.ndarray]:
    """The arrays by which batches of the same shape and kind are compared; the labels first, which differ soonest."""
    features: Any = rows.features
    parts = [features.indptr, features.indices, features.data] if rows.is_sparse else [features]
    return [np.asarray(rows.labels), *parts]


def check_labels(labels: np.ndarray, channel: str, hyperparameters: XGBoostHyperparameters, hosts: Hosts) -> None:
    """Refuse labels that the objective cannot learn, naming the first of this host's.

    Raises:
        TrainingDataError: there is one.
    """
    objective = hyperparameters.target
    rules: dict[str, tuple[np.ndarray, str]] = {
        "finite": (np.abs(labels) <= LARGEST, f"a number from -{LARGEST:g} to {LARGEST:g}"),
        "binary:hinge": ((labels == 0) | (labels == 1), "0 or 1"),
        **dict.fromkeys(("binary:log", "reg:logistic"), ((labels >= 0) & (labels <= 1), "from 0 to 1")),
        "count:poisson": (labels >= 0, "0 or more"),
        "reg:tweedie": (labels >= 0, "0 or more"),
        "reg:gamma": (labels > 0, "above 0"),
        "reg:squaredlogerror": (labels > -1, "above -1"),
        "survival:aft": (labels != 0, "a time, or minus the time until which a row was seen"),
        "rank:map": ((labels == 0) | (labels == 1), "0 or 1"),
        "rank:": ((labels >= 0) & (labels == np.floor(labels)) & (labels <= 31), "a whole number from 0 to 31"),
    }
    if objective in MULTI:
        last = (hyperparameters.num_class or 0) - 1
        whole = (labels >= 0) & (labels <= last) & (labels == np.floor(labels))
        rules[objective] = (whole, f"a whole number from 0 to {last} (num_class is {last + 1})")
    if of_classes := [metric for metric in hyperparameters.metrics if metric in OF_CLASSES]:
        rules[""] = (labels == np.floor(labels), f"the number of a class for its metric {of_classes[0]}")
    without_base = objective == "reg:tweedie" and hyperparameters.base_score is None
    if without_base and not any_host(hosts, bool(labels.any())):
        raise TrainingDataError(
            f"Channel '{channel}' has no label above 0, and the objective reg:tweedie starts from the logarithm "
            "of their mean; set base_score to start from another"
        )
    for start, (right, expected) in rules.items():
        if (start == "finite" or objective.startswith(start)) and not right.all():
            row = int(np.argmin(right))
            raise TrainingDataError(
                f"Channel '{channel}', row {row + 1}: the label is {labels[row]:g}, "
                f"and objective {objective} needs {expected}"
            )


def check_weights(weights: np.ndarray | None, channel: str, hosts: Hosts) -> None:
    """Refuse weights that are negative, naming the first of this host's, and those that are all 0.

    Raises:
        TrainingDataError: there are such.
    """
    if weights is not None and (weights < 0).any():
        row = int(np.argmax(weights < 0))
        raise TrainingDataError(
            f"Channel '{channel}', row {row + 1}: the weight is {weights[row]:g}, and 0 is the least"
        )
    if not any_host(hosts, weights is None or bool(weights.any())):
        raise TrainingDataError(f"Channel '{channel}': the weights of all rows are 0, so that none counts")


def check_weighed_metrics(weights: np.ndarray | None, channel: str, hyperparameters: XGBoostHyperparameters) -> None:
    """Refuse metrics that need weights of rows if XGBoost is given weights of queries, and the other way round.

    XGBoost would look for more weights than there are and end the process, or fail only in the middle of the job.

    Raises:
        TrainingDataError: there is one.
    """
    if weights is None:
        return
    ranks = hyperparameters.target.startswith("rank:")
    wrong, taken, weighed = (OF_ROWS, "queries", "rows") if ranks else (OF_QUERIES, "rows", "queries")
    for metric in hyperparameters.metrics:
        if metric.partition("@")[0] in wrong:
            raise TrainingDataError(
                f"Channel '{channel}' has weights, which with objective {hyperparameters.target} are those of {taken}, "
                f"and metric '{metric}' weighs {weighed}: leave out the weights or the metric"
            )


def matrix(
    rows: Batch,
    hyperparameters: XGBoostHyperparameters,
    *,
    start: xgb.Booster | None = None,
    quantized: bool = False,
) -> xgb.DMatrix:
    """XGBoost's matrix of ``rows``; absent entries of sparse rows and NaN are missing values.

    Args:
        start: the booster to continue; the features get its names and types, which XGBoost compares.
        quantized: keep the bins of each value instead of the value. Half the memory of a DMatrix or less, and the
            same trees as long as nothing but the hist method looks at the rows.
    """
    assert rows.labels is not None
    labels = np.ravel(rows.labels)
    settings: dict[str, Any] = {"label": labels, "weight": rows.weights, "nthread": hyperparameters.nthread}
    if start is not None:
        settings |= {"feature_names": start.feature_names, "feature_types": start.feature_types}
        settings["enable_categorical"] = "c" in (start.feature_types or ())
    if hyperparameters.target == "survival:aft":
        # SageMaker has no column for the two ends of an interval: read as survival:cox reads its labels.
        settings["label_lower_bound"] = np.abs(labels)
        settings["label_upper_bound"] = np.where(labels > 0, labels, np.inf)
    if hyperparameters.target.startswith("rank:") and (rows.groups is not None or rows.weights is not None):
        # Without ids all rows are one query.
        starts = group_starts(np.zeros(len(labels)) if rows.groups is None else rows.groups)
        settings["group"] = np.diff(np.append(starts, len(labels)))
        settings["weight"] = None if rows.weights is None else _group_weights(rows.weights, starts)
    if quantized:
        return xgb.QuantileDMatrix(rows.features, max_bin=hyperparameters.max_bin or 256, **settings)
    return xgb.DMatrix(rows.features, **settings)


def group_starts(groups: np.ndarray) -> np.ndarray:
    """Number of the first row of each query, (queries,), by the query ids of rows (n,).

    Raises:
        TrainingDataError: rows of one query lie apart.
    """
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]][: len(groups)])
    if len(np.unique(groups[starts])) != len(starts):
        values, counts = np.unique(groups[starts], return_counts=True)
        raise TrainingDataError(f"Rows of query qid:{values[counts > 1][0]} lie apart; put them together")
    return starts


def _group_weights(weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """XGBoost weighs queries, not rows: each query's weight, which all its rows must share."""
    sizes = np.diff(np.append(starts, len(weights)))
    if not np.array_equal(np.repeat(weights[starts], sizes), weights):
        raise TrainingDataError("Rows of one query have different weights; ranking weighs whole queries")
    return weights[starts]
