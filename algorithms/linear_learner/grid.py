"""The settings of models that are trained side by side: the given one, and its neighbours.

What the user states is the centre of the grid and the first model; ``auto`` leaves the centre to us. The idea is of
Liberty et al., "Elastic Machine Learning Algorithms in Amazon SageMaker" (SIGMOD 2020), section 4: one pass over the
data trains many models, so regularisation and learning rate need no search of their own.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from algorithms.hyperparameters import AUTO

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

NUM_MODELS = 32
MEMORY = 1 << 30
"""Bytes that ``num_models=auto`` may use for parameters and optimizer state; fewer models where 32 need more."""

BYTES_A_WEIGHT = 16
"""A weight has a gradient and two moments beside it, a score in a batch a loss and a slope."""

LEARNING_RATES = {
    "adam": (0.05, 0.01, 0.2, 0.002),
    "sgd": (0.1, 0.02, 0.5, 0.004),
    "rmsprop": (0.01, 0.002, 0.05, 5e-4),
}
L2_PENALTIES = (0.0, 1e-5, 1e-4, 1e-3)
L1_PENALTIES = (0.0, 1e-5)


@dataclass(frozen=True)
class Setting:
    """What differs between the models of one job. ``positive_weight`` is None where it is the same for all."""

    learning_rate: float
    wd: float
    l1: float
    positive_weight: float = 1.0


def optimizer_name(hp: LinearLearnerHyperparameters) -> str:
    """The optimizer, ``auto`` resolved."""
    return "adam" if hp.optimizer == AUTO else hp.optimizer


def model_count(hp: LinearLearnerHyperparameters, feature_dim: int, outputs: int) -> int:
    """How many models to train: as asked, or as many as ``auto`` finds room for; 1 in a tuning job."""
    if hp.tuning_objective_metric:
        return 1
    if hp.num_models != AUTO:
        return hp.num_models
    bytes_each = (feature_dim + 1 + hp.mini_batch_size) * outputs * BYTES_A_WEIGHT
    return max(1, min(NUM_MODELS, MEMORY // bytes_each))


def settings(hp: LinearLearnerHyperparameters, count: int, positive_weights: tuple[float, ...]) -> list[Setting]:
    """``count`` settings, the nearest to the centre first.

    Args:
        positive_weights: weights of positive examples to try, the centre's first.
    """
    axes = (
        _axis(hp.learning_rate, LEARNING_RATES[optimizer_name(hp)], (1, 1 / 3, 3, 0.1)),
        _axis(hp.wd, L2_PENALTIES, (1, 0.1, 10)),
        _axis(hp.l1, L1_PENALTIES, (1, 0.1, 10)),
        positive_weights,
    )
    steps = itertools.product(*(range(len(axis)) for axis in axes))
    nearest = sorted(steps, key=lambda step: (sum(step), step))
    chosen = itertools.islice(itertools.cycle(nearest), count)
    return [Setting(*(axis[index] for axis, index in zip(axes, step, strict=True))) for step in chosen]


def _axis(given: float | str, auto: tuple[float, ...], factors: tuple[float, ...]) -> tuple[float, ...]:
    """Values to try: ``auto``'s own, or neighbours of the given one; 0 has none."""
    if given == AUTO:
        return auto
    value = float(given)
    return tuple(value * factor for factor in factors) if value else (0.0,)
