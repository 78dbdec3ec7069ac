"""Which of many models is best, and at which threshold: the criteria of binary classification."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

SMOOTH = ("accuracy", "f_beta")
"""Criteria whose curve over the threshold has one broad top, so that its middle is a steadier choice than its peak."""


class Calibration(NamedTuple):
    """For each of m models: the best value of the criterion, and the score from which a row is positive; (m,)."""

    value: np.ndarray
    threshold: np.ndarray


def calibrate(scores: np.ndarray, labels: np.ndarray, hp: LinearLearnerHyperparameters) -> Calibration:
    """The threshold of each model that is best for ``hp.binary_classifier_model_selection_criteria``.

    A model may put its threshold between any two neighbouring scores, or beyond the ends; the middle of the gap is
    taken, since it is what generalises. Where a target (say a recall of 0.8) leaves several thresholds, the best
    value among them wins; where no threshold meets it, the one that comes nearest.

    Args:
        scores: shape (n, m), raw scores; any monotone scale.
        labels: shape (n,), 0 or 1.

    Cost: a sort of n scores for each model.
    """
    n, m = scores.shape
    order = np.argsort(-scores, axis=0, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=0)
    hits = np.vstack([np.zeros((1, m)), np.cumsum(labels[order] > 0.5, axis=0)])  # (n + 1, m): the first i are positive
    claimed = np.arange(n + 1)[:, None]
    # A cut inside a run of equal scores cannot be made.
    possible = np.vstack([np.ones((1, m), bool), ranked[1:] < ranked[:-1], np.ones((1, m), bool)])
    value = np.where(possible, _values(hits, claimed, hits[-1], n, hp), -np.inf)
    column = np.arange(m)
    best = value.argmax(axis=0)
    if hp.binary_classifier_model_selection_criteria in SMOOTH:
        best = _middle_of_best(value, value[best, column])
    above = ranked[np.maximum(best - 1, 0), column]
    below = ranked[np.minimum(best, n - 1), column]
    middle = above + (below - above) / 2
    middle = np.where(middle > below, middle, above)  # neighbours with no float between them: >= keeps the upper
    threshold = np.where(best == 0, np.nextafter(above, np.float32(np.inf)), np.where(best == n, below, middle))
    return Calibration(value[best, column], threshold.astype(np.float32))


def half_standard_error(share: float, rows: int) -> float:
    """Half the standard error of a share that was measured on so many rows."""
    share = min(max(share, 0.0), 1.0)
    return 0.5 * float(np.sqrt(share * (1 - share) / rows))


def _middle_of_best(value: np.ndarray, best: np.ndarray) -> np.ndarray:
    """The middle one of the cuts, by rank, that lie within half a standard error of the best; (m,)."""
    near = value >= best - np.array([half_standard_error(float(share), len(value)) for share in best])
    rank = np.cumsum(near, axis=0)
    return (rank >= (rank[-1] + 1) // 2).argmax(axis=0)


def _values(
    hits: np.ndarray, claimed: np.ndarray, positives: np.ndarray, n: int, hp: LinearLearnerHyperparameters
) -> np.ndarray:
    """The criterion at each cut, shape (n + 1, m)."""
    precision = hits / np.maximum(claimed, 1)
    recall = hits / np.maximum(positives, 1)
    match hp.binary_classifier_model_selection_criteria:
        case "f_beta":
            square = hp.f_beta**2
            return (1 + square) * hits / np.maximum(square * positives + claimed, 1e-12)
        case "precision_at_target_recall":
            return _at_target(precision, recall, hp.target_recall)
        case "recall_at_target_precision":
            return _at_target(recall, precision, hp.target_precision)
        case _:
            return (hits + (n - claimed) - (positives - hits)) / n


def _at_target(value: np.ndarray, constraint: np.ndarray, target: float) -> np.ndarray:
    """``value`` where the constraint is met; elsewhere below zero by how far it is missed."""
    return np.where(constraint >= target, value, constraint - target - 1)
