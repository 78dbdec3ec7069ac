"""Statistics of the first rows of the training data, and checks of their labels."""

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
"""Rows from which ``row_size`` is estimated."""


@dataclass(frozen=True)
class Problem:
    """Statistics of the first rows of the training data, which do not change in training.

    Attributes:
        outputs: scores of one model: the number of classes, or 1.
        scaler, label_scaler: statistics of the first ``num_point_for_scaler`` rows.
        class_weights: (c,) weights of rows by their class, of all rows that were read; None where all are 1.
        positive_weights: weights of positive examples to try, the given one first.
        row_size: mean sum of the absolute values of a scaled row, over the first ``SIZED_ROWS``; 0 if it is not needed.
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
    """Learn class weights from the first rows, and scales from fewer of them.

    Args:
        batch: this host's rows.
        scaled: how many of these, the first ones, give the scales; None for all. If rows are sorted by class, they may
            all be of one.
        distinct: number of all hosts' rows without copies, if it is known.
        sized: whether ``row_size`` is needed, as it is for steps.

    Raises:
        TrainingDataError: labels are not those of the predictor type.
    """
    every = one_label(batch)
    check_labels(every, hp)
    batch = batch if scaled is None else batch.rows(0, scaled)
    unbias = hp.use_bias if hp.unbias_data == AUTO else hp.unbias_data
    scaler = feature_scaler(
        batch,
        unbias=bool(unbias and hp.use_bias),
        normalize=hp.normalize_data is not False,
        stated=hp.states("normalize_data") and hp.normalize_data != AUTO,
        hosts=hosts,
        distinct=distinct,
    )
    return Problem(
        batch.feature_dim,
        hp.outputs,
        scaler,
        _label_scaler(one_label(batch), hp, hosts),
        _class_weights(every, hp, hosts),
        _positive_weights(every, hp, hosts),
        _row_size(batch, scaler, hosts) if sized else 0.0,
        stays_sparse(batch.features, hosts),
    )


def _label_scaler(labels: np.ndarray, hp: LinearLearnerHyperparameters, hosts: Hosts) -> LabelScaler:
    if hp.predictor_type != "regressor":
        return LabelScaler()
    unbias = hp.use_bias if hp.unbias_label == AUTO else hp.unbias_label and hp.use_bias
    return LabelScaler.fit(labels, unbias=bool(unbias), normalize=hp.normalize_label is not False, hosts=hosts)


def _class_weights(labels: np.ndarray, hp: LinearLearnerHyperparameters, hosts: Hosts) -> np.ndarray | None:
    """Weights of rows by their class, (c,) float32, by which all classes count alike; None if all weights are 1."""
    if hp.predictor_type != "multiclass_classifier" or not hp.balance_multiclass_weights:
        return None
    (counts,) = hosts.sum(np.bincount(labels.astype(np.int64), minlength=hp.outputs))
    return (counts.sum() / (hp.outputs * np.maximum(counts, 1))).astype(np.float32)


def _positive_weights(labels: np.ndarray, hp: LinearLearnerHyperparameters, hosts: Hosts) -> tuple[float, ...]:
    """The weights of positive rows to try. ``auto`` tries no, full and half-way balancing; the criterion will
    choose."""
    if hp.predictor_type != "binary_classifier":
        return (1.0,)
    given = hp.positive_example_weight_mult
    if given not in ("balanced", AUTO):
        return (float(given),)
    found, rows = hosts.sum(np.array([np.count_nonzero(labels > 0.5), len(labels)]))[0].tolist()
    positives = max(found, 1)
    balanced = max(rows - positives, 1) / positives
    return (balanced,) if given == "balanced" else (1.0, balanced, balanced**0.5)


def row_weights(problem: Problem, labels: np.ndarray, hp: LinearLearnerHyperparameters) -> np.ndarray | None:
    """The weights of rows with these scaled labels, (n,), by their class and the first weight to try; None if all are
    1."""
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
