"""What the first rows of the training data tell, and what their labels must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from algorithms.common.hosts import ONE_HOST, first_of_all
from algorithms.common.labels import check_size
from algorithms.errors import TrainingDataError
from algorithms.hyperparameters import AUTO
from algorithms.interface import Hosts
from algorithms.linear_learner.scaling import DenseRows, LabelScaler, Scaler, feature_scaler, stays_sparse
from recordio.batches import Batch

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

SIZED_ROWS = 256
"""Rows that tell how large a row is."""


@dataclass(frozen=True)
class Problem:
    """What the first rows of the training data tell, fixed before the first step.

    Attributes:
        outputs: scores of one model: the number of classes, or 1.
        scaler, label_scaler: statistics of the first ``num_point_for_scaler`` rows.
        class_weights: (c,) weights of rows by their class, of all rows that were read; None where all are 1.
        positive_weights: weights of positive examples to try, the given one first.
        row_size: mean sum of the absolute values of a scaled row, of the first ``SIZED_ROWS``; 0 where it is not asked
            for.
        sparse: whether rows stay sparse, and are not shifted.
    """

    feature_dim: int
    outputs: int
    scaler: Scaler
    label_scaler: LabelScaler
    class_weights: np.ndarray | None
    positive_weights: tuple[float, ...]
    row_size: float
    sparse: bool


def _row_size(batch: Batch, scaler: Scaler, hosts: Hosts) -> float:
    features = batch.rows(0, first_of_all(hosts, len(batch), SIZED_ROWS)).features
    if isinstance(features, np.ndarray):
        sizes = np.abs(DenseRows(features, scaler).features)
    else:
        sizes = np.abs(features.data * scaler.inverse[features.indices])
    size, rows = hosts.sum(np.array([sizes.sum(dtype=np.float64), features.shape[0]]))[0]
    return float(size / rows)


def study(
    batch: Batch,
    hp: LinearLearnerHyperparameters,
    hosts: Hosts = ONE_HOST,
    scaled: int | None = None,
    *,
    distinct: int | None = None,
    sized: bool = True,
) -> Problem:
    """Learn class weights from the first rows, of which ``batch`` are this host's, and scales from the first ``scaled``
    of these: where rows are in the order of their classes, those may all be of one. ``distinct`` is the number
    of all hosts' rows that are no copies, if that is known, and ``sized`` asks for ``row_size``, by which steps are
    taken."""
    every = one_label(batch)
    check_labels(every, hp)
    batch = batch if scaled is None else batch.rows(0, scaled)
    labels = one_label(batch)
    unbias = hp.use_bias if hp.unbias_data == AUTO else hp.unbias_data
    scaler = feature_scaler(
        batch,
        unbias=bool(unbias and hp.use_bias),
        normalize=hp.normalize_data is not False,
        stated=hp.states("normalize_data") and hp.normalize_data != AUTO,
        hosts=hosts,
        distinct=distinct,
    )
    label_scaler, class_weights = LabelScaler(), None
    positive_weights: tuple[float, ...] = (1.0,)
    if hp.predictor_type == "regressor":
        unbias_label = hp.use_bias if hp.unbias_label == AUTO else hp.unbias_label and hp.use_bias
        normalize = hp.normalize_label is not False
        label_scaler = LabelScaler.fit(labels, unbias=bool(unbias_label), normalize=normalize, hosts=hosts)
    elif hp.predictor_type == "binary_classifier":
        positive_weights = _positive_weights(every, hp, hosts)
    elif hp.balance_multiclass_weights:
        (counts,) = hosts.sum(np.bincount(every.astype(np.int64), minlength=hp.outputs))
        class_weights = (counts.sum() / (hp.outputs * np.maximum(counts, 1))).astype(np.float32)
    return Problem(
        batch.feature_dim,
        hp.outputs,
        scaler,
        label_scaler,
        class_weights,
        positive_weights,
        _row_size(batch, scaler, hosts) if sized else 0.0,
        stays_sparse(batch.features, hosts),
    )


def _positive_weights(labels: np.ndarray, hp: LinearLearnerHyperparameters, hosts: Hosts) -> tuple[float, ...]:
    """The weights to try. ``auto`` tries none, full and half-way balancing, and lets the criterion choose."""
    given = hp.positive_example_weight_mult
    if given not in ("balanced", AUTO):
        return (float(given),)
    found, rows = hosts.sum(np.array([np.count_nonzero(labels > 0.5), len(labels)]))[0].tolist()
    positives = max(found, 1)
    balanced = max(rows - positives, 1) / positives
    return (balanced,) if given == "balanced" else (1.0, balanced, balanced**0.5)


def row_weights(problem: Problem, labels: np.ndarray, hp: LinearLearnerHyperparameters) -> np.ndarray | None:
    """What rows with these scaled labels count, (n,) by their class, by the first weight to try; None for all alike."""
    if problem.class_weights is not None:
        return np.asarray(problem.class_weights[labels.astype(np.int64)])
    if hp.predictor_type == "binary_classifier" and problem.positive_weights[0] != 1:
        return np.where(labels > 0.5, np.float32(problem.positive_weights[0]), np.float32(1))
    return None


def one_label(batch: Batch) -> np.ndarray:
    """The labels of a batch as (n,).

    Raises:
        TrainingDataError: rows have several labels.
    """
    labels = batch.labels
    assert labels is not None, "the channel is declared with labels"
    if labels.ndim > 1 and labels.shape[1] != 1:
        raise TrainingDataError(f"each row needs one label, but rows have {labels.shape[1]}")
    return labels.reshape(-1)


def check_labels(labels: np.ndarray, hp: LinearLearnerHyperparameters) -> None:
    """Raise TrainingDataError where classification labels (n,) are not class numbers, or others beyond float32's
    predictions."""
    if hp.predictor_type == "regressor":
        check_size(labels)
        return
    classes = hp.num_classes if hp.predictor_type == "multiclass_classifier" else 2
    wrong = (labels < 0) | (labels >= classes) | (labels != np.floor(labels))
    if wrong.any():
        raise TrainingDataError(
            f"labels of a {hp.predictor_type} must be whole numbers from 0 to {classes - 1}, but one is "
            f"{labels[wrong][0]:g}"
        )
