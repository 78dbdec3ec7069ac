"""Detects models whose steps were so large that they moved away from the minimum, with losses that are still finite."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from algorithms.common.hosts import total
from algorithms.interface import Hosts
from algorithms.linear_learner.losses import make_loss
from algorithms.linear_learner.preprocessing import Problem, row_weights
from algorithms.linear_learner.scaling import mean_and_deviation
from algorithms.linear_learner.trainer import Winner
from algorithms.linear_learner.validation import Rows

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

STARTS = ("init_scale", "init_sigma", "init_bias")
"""Hyperparameters of the starting point, which the warning names."""
ERRORS = 3
"""Standard errors by which a loss must exceed that of a constant, compared row by row, so that chance does not warn."""
SHARES = np.linspace(0, 1, 21)
"""Quantiles of the labels that are tried as constant predictions of a regression."""


def diverged(
    winner: Winner, problem: Problem, rows: Rows, hp: LinearLearnerHyperparameters, hosts: Hosts
) -> str | None:
    """What to say of a model that is worse than the best one without features, on ``rows`` kept of the training data:
    a descent begins near that, and comes to worse only by steps that are too long. None of another model."""
    problem = replace(problem, positive_weights=(winner.setting.positive_weight,))
    scores = np.concatenate([part for _, part in rows.scores(winner.parameters)])
    own = _losses(scores[:, None, :], rows.scaled_labels, problem, hp)
    constants = _losses(_constants(problem, rows.scaled_labels, hp, hosts), rows.scaled_labels, problem, hp)
    best = int(mean_and_deviation(constants, hosts)[0].argmin())
    without = constants[:, best]
    excess, deviation = (float(found) for found in mean_and_deviation(own[:, 0] - without, hosts))
    if excess <= ERRORS * deviation / total(hosts, len(without)) ** 0.5:
        return None
    usual = float(mean_and_deviation(without, hosts)[0])
    start = "".join(f", {name} {getattr(hp, name):g}" for name in STARTS if name in hp.given)
    return (
        f"The model is worse than one without features: its {hp.loss_name} on rows of the training data is "
        f"{usual + excess:.4g}, that of the best constant {usual:.4g}. With learning_rate "
        f"{winner.setting.learning_rate:g}{start} training has diverged, or ended far from the minimum: set a smaller "
        "learning_rate, or none, so that several are tried."
    )


def _losses(scores: np.ndarray, labels: np.ndarray, problem: Problem, hp: LinearLearnerHyperparameters) -> np.ndarray:
    """Weighted losses (n, m) of scores (n, m, c), of which n may be 1 for the same of all rows, with scaled labels
    (n,)."""
    scores = np.broadcast_to(scores, (len(labels), *scores.shape[1:])).astype(np.float32)
    loss, weights = make_loss(hp.loss_name, hp), row_weights(problem, labels, hp)
    losses = loss(scores, labels.astype(np.int64)) if problem.outputs > 1 else loss(scores[:, :, 0], labels[:, None])
    return losses[0] if weights is None else losses[0] * weights[:, None]


def _constants(problem: Problem, labels: np.ndarray, hp: LinearLearnerHyperparameters, hosts: Hosts) -> np.ndarray:
    """Scores that models without features may give to every row, (1, m, c); only 0 without a bias."""
    if not hp.use_bias:
        return np.zeros((1, 1, problem.outputs))
    every = np.concatenate(hosts.gather(labels))
    if hp.predictor_type == "regressor":
        return np.append(np.quantile(every, np.append(SHARES, hp.quantile)), every.mean())[None, :, None]
    weights = row_weights(problem, every, hp)
    shares = np.bincount(every.astype(np.int64), weights, minlength=max(problem.outputs, 2)) + 0.5
    logs = np.log(shares / shares.sum())
    if problem.outputs > 1:
        return np.asarray(logs[None, None, :])
    return np.array([0.0, logs[1] - logs[0], hp.margin, -hp.margin])[None, :, None]
