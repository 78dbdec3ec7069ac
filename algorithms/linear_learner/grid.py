"""The settings of models that are trained side by side: the given one, and its neighbours.

The stated values are the centre of the grid and the first model; for ``auto`` the centre is chosen here. Source:
Liberty et al., "Elastic Machine Learning Algorithms in Amazon SageMaker" (SIGMOD 2020), section 4: one pass over the
data trains many models, so regularisation and learning rate need no search of their own.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from algorithms.hyperparameters import AUTO

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

NUM_MODELS = 32
MEMORY = 1 << 30
"""Most bytes of parameters and optimizer state with ``num_models=auto``; fewer than 32 models if these need more."""

NARROW, LEAST_MODELS = 2048, 8
"""With more weights in a model than the first number, ``num_models=auto`` trains fewer than 32 models, so that a step
costs no more; the second is the fewest."""

BYTES_A_WEIGHT = 16
"""Arrays for each weight (it, its gradient, two moments) and for each score of a batch (it, its loss, its slope)."""

LEARNING_RATES = {
    "adam": (0.05, 0.01, 0.2, 0.002),
    "sgd": (0.1, 0.02, 0.5, 0.004),
    "rmsprop": (0.01, 0.002, 0.05, 5e-4),
}
SPARSE_RATES = (100.0, 30.0, 400.0, 10.0)
"""Learning rate of SGD on sparse rows, to be divided by the size of a row: the mean gradient of a batch moves a rare
column by a row's share of it."""
REACH = 100.0
"""Sizes of a row up to which automatic learning rates, and penalties, are not adapted to it."""
L2_PENALTIES = (0.0, 1e-5, 1e-4, 1e-3)
L1_PENALTIES = (0.0, 1e-5)


@dataclass(frozen=True)
class Setting:
    """The values in which the models of a job differ. ``positive_weight`` is None if it is the same for all."""

    learning_rate: float
    wd: float
    l1: float
    positive_weight: float = 1.0


def optimizer_name(hp: LinearLearnerHyperparameters, sparse: bool) -> str:
    """The optimizer, ``auto`` resolved: Adam, or for sparse rows SGD, with which rare columns get small weights."""
    if hp.optimizer == AUTO:
        return "sgd" if sparse else "adam"
    return hp.optimizer


def model_count(hp: LinearLearnerHyperparameters, feature_dim: int, outputs: int) -> int:
    """The number of models to train: as stated, but no two alike; with ``auto`` as many as memory allows, 1 in a tuning
    job."""
    if hp.tuning_objective_metric:
        return 1
    different = _different(hp)
    if hp.num_models != AUTO:
        return min(hp.num_models, different)
    bytes_each = (feature_dim + 1 + hp.mini_batch_size) * outputs * BYTES_A_WEIGHT
    wide = max(LEAST_MODELS, NUM_MODELS * NARROW // (feature_dim * outputs))
    return max(1, min(NUM_MODELS, wide, different, MEMORY // bytes_each))


def models_memory(hp: LinearLearnerHyperparameters, feature_dim: int, outputs: int) -> int:
    """Bytes of weights, gradients and moments of all models."""
    return model_count(hp, feature_dim, outputs) * outputs * (feature_dim + 1) * BYTES_A_WEIGHT


def settings(
    hp: LinearLearnerHyperparameters,
    count: int,
    positive_weights: tuple[float, ...],
    row_size: float = 1.0,
    sparse: bool = False,
) -> list[Setting]:
    """``count`` settings, the nearest to the centre first; fewer, where there are not so many different ones.

    Args:
        positive_weights: weights of positive examples to try, the centre's first.
        row_size: sum of the absolute values of a scaled row. A step of Adam or RMSProp moves every weight by about the
            learning rate, and a score by that times the row's size, so that automatic rates are smaller for wide rows,
            and automatic penalties larger.
    """
    axes = (*_step_axes(hp, row_size, sparse), positive_weights)
    steps = itertools.product(*(range(len(axis)) for axis in axes))
    nearest = sorted(steps, key=lambda step: (sum(step), step))
    return [Setting(*(axis[index] for axis, index in zip(axes, step, strict=True))) for step in nearest[:count]]


def _step_axes(hp: LinearLearnerHyperparameters, row_size: float, sparse: bool) -> tuple[tuple[float, ...], ...]:
    """Learning rates, ``wd`` and ``l1`` to try."""
    wide = max(row_size / REACH, 1.0)
    rates = tuple(rate / wide for rate in LEARNING_RATES[optimizer_name(hp, sparse)])
    if sparse and hp.optimizer == AUTO:
        rates = tuple(rate / (row_size or 1.0) for rate in SPARSE_RATES)  # rows may have no values
    return (
        _axis(hp.learning_rate, rates, (1, 1 / 3, 3, 0.1)),
        _axis(hp.wd, tuple(penalty * wide for penalty in L2_PENALTIES), (1, 0.1, 10)),
        _axis(hp.l1, L1_PENALTIES, (1, 0.1, 10)),
    )


def _different(hp: LinearLearnerHyperparameters) -> int:
    """The number of different settings. As all models start at the same point, more models would be copies."""
    return math.prod(map(len, _step_axes(hp, 1.0, False))) * (3 if hp.positive_example_weight_mult == AUTO else 1)


def _axis(given: float | str, auto: tuple[float, ...], factors: tuple[float, ...]) -> tuple[float, ...]:
    """Values to try: ``auto``'s own, or neighbours of the given one; 0 has none."""
    if given == AUTO:
        return auto
    value = float(given)
    return tuple(value * factor for factor in factors) if value else (0.0,)
