"""Which of many models is best, and at which threshold: the criteria of binary classification."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import betainc, betaincinv

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

CONFIDENCE = 0.98
"""A target is to hold on rows to come, with this probability; on the rows at hand it is exceeded accordingly."""
BEYOND_CHANCE = 2.5
"""Standard errors of the rows gained over a probability of 0.5 from which on another threshold is taken: the best of
all thresholds gains two by chance alone in one of seven trials, and these in one of thirty."""
HOPELESS = 1e-6
"""Where no cut holds a target precision with more confidence than this, the highest precision that one does hold
decides."""
SMOOTH = ("accuracy", "f_beta")
"""Criteria whose curve over the threshold has one broad top, so that its middle is a steadier choice than its peak."""


class Calibration(NamedTuple):
    """For each of m models: the best value of the criterion, and the score from which a row is positive; (m,)."""

    value: np.ndarray
    threshold: np.ndarray


def calibrate(scores: np.ndarray, labels: np.ndarray, hp: LinearLearnerHyperparameters) -> Calibration:
    """The threshold of each model that is best for ``hp.binary_classifier_model_selection_criteria``.

    A model may put its threshold between any two neighbouring scores, or beyond the ends; the middle of the gap is
    taken, since it is what generalises; for accuracy a score of 0 is, unless the rows between it and the best threshold
    speak against it beyond chance, as in McNemar's test (Psychometrika 12, 1947). Where a
    target (say a recall of 0.8) leaves several thresholds, the best value among those that hold it with
    ``CONFIDENCE`` wins; where no threshold does, the one that comes nearest: for precision the one that holds it with
    the highest confidence.

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
    peak = best = value.argmax(axis=0)
    counted = counted_rows(labels, hp)
    if hp.binary_classifier_model_selection_criteria in SMOOTH:
        best = _middle_of_best(value, value[best, column], counted)
    above = ranked[np.maximum(best - 1, 0), column]
    below = ranked[np.minimum(best, n - 1), column]
    middle = above + (below - above) / 2
    middle = np.where(middle > below, middle, above)  # neighbours with no float between them: >= keeps the upper
    with np.errstate(over="ignore"):
        beyond = np.nextafter(above, np.float32(np.inf))
    threshold = np.where(best == 0, beyond, np.where(best == n, below, middle))
    if hp.binary_classifier_model_selection_criteria == "accuracy":
        even = (scores >= 0).sum(axis=0)
        gain = n * (value[peak, column] - value[even, column])
        threshold = np.where(gain > BEYOND_CHANCE * np.sqrt(np.abs(peak - even)), threshold, 0)
    reached = value[best, column]
    if hp.binary_classifier_model_selection_criteria == "recall_at_target_precision":
        alone = _safe_share(hits[best, column], best)
        reached = np.where(reached < 0, alone - hp.target_precision - 1, reached)
    most = np.finfo(np.float32).max
    return Calibration(reached, np.clip(threshold, -most, most).astype(np.float32))


def counted_rows(labels: np.ndarray, hp: LinearLearnerHyperparameters) -> int:
    """How many of the rows the criterion is a share of: all for accuracy, the positives for what ignores the others."""
    if hp.binary_classifier_model_selection_criteria == "accuracy":
        return max(len(labels), 1)
    return max(int((labels > 0.5).sum()), 1)


def half_standard_error(share: float, rows: int) -> float:
    """Half the standard error of a share that was measured on so many rows.

    By Laplace's rule of succession, so that a share of 0 or 1 of a few rows is not taken for certain.
    """
    share = (min(max(share, 0.0), 1.0) * rows + 1) / (rows + 2)
    return 0.5 * float(np.sqrt(share * (1 - share) / rows))


def _middle_of_best(value: np.ndarray, best: np.ndarray, counted: int) -> np.ndarray:
    """The middle one of the cuts, by rank, that lie within half a standard error of the best; (m,)."""
    near = value >= best - np.array([half_standard_error(float(share), counted) for share in best])
    rank = np.cumsum(near, axis=0)
    return (rank >= (rank[-1] + 1) // 2).argmax(axis=0)


def _values(
    hits: np.ndarray, claimed: np.ndarray, positives: np.ndarray, n: int, hp: LinearLearnerHyperparameters
) -> np.ndarray:
    """The criterion at each cut, shape (n + 1, m).

    Of rows that share a precision whatever their score, the luckiest cut passes one cut's bound in 15 to 40 % of jobs.
    Cuts of up to twice as many rows are much alike, so that all count as the doublings, and half as many again.
    """
    precision = hits / np.maximum(claimed, 1)
    recall = hits / np.maximum(positives, 1)
    match hp.binary_classifier_model_selection_criteria:
        case "f_beta":
            square = hp.f_beta**2
            return (1 + square) * hits / np.maximum(square * positives + claimed, 1e-12)
        case "precision_at_target_recall":
            return _at_target(precision, _safe_recall(hits, int(positives[0])), hp.target_recall)
        case "recall_at_target_precision":
            alone, of_all = _safe_share(hits, claimed), _safe_share(hits, claimed, 1.5 * np.log2(n + 1))
            nearest = _confidence(hits, claimed, hp.target_precision) + HOPELESS * alone - 2
            return np.where(of_all >= hp.target_precision, recall, nearest)
        case _:
            return (hits + (n - claimed) - (positives - hits)) / n


def _safe_recall(hits: np.ndarray, positives: int) -> np.ndarray:
    """The recall on new rows that a cut has with ``CONFIDENCE``, of the same shape as ``hits``.

    The share of new positives above the j-th highest of k positives is distributed as Beta(j, k + 1 - j), whatever the
    scores' distribution is (Wilks, "Determination of sample sizes for setting tolerance limits", Annals of Mathematical
    Statistics 12, 1941).
    """
    count = np.arange(1, positives + 1)
    bounds = np.append(0.0, betaincinv(count, positives + 1 - count, 1 - CONFIDENCE))
    return np.asarray(bounds[hits.astype(np.int64)])


def _safe_share(hits: np.ndarray, rows: np.ndarray, cuts: float = 1.0) -> np.ndarray:
    """The share that ``hits`` of ``rows`` stand for with ``CONFIDENCE``, where the luckiest of ``cuts`` is chosen: the
    lower end of Clopper and Pearson's interval (Biometrika 26, 1934)."""
    rows = np.maximum(rows, 1)
    bounds = betaincinv(np.maximum(hits, 1), rows - hits + 1, (1 - CONFIDENCE) / cuts)
    return np.asarray(np.where(hits > 0, bounds, 0.0))


def _confidence(hits: np.ndarray, rows: np.ndarray, share: float) -> np.ndarray:
    """With which confidence ``hits`` of ``rows`` stand for that share at least: how often rows of that very share would
    have fewer hits. Of cuts that hold no target, the lower end of an interval prefers those that claim many rows, nine
    of ten of which miss it; this is highest where few are wrong."""
    bounds = betainc(rows - hits + 1, np.maximum(hits, 1), 1 - share)
    return np.asarray(np.where(hits > 0, bounds, 0.0))


def _at_target(value: np.ndarray, constraint: np.ndarray, target: float) -> np.ndarray:
    """``value`` where the constraint is met; elsewhere below zero by how far it is missed."""
    return np.where(constraint >= target, value, constraint - target - 1)


def held(value: float, hp: LinearLearnerHyperparameters) -> float | None:
    """What a threshold that misses its target would hold with ``CONFIDENCE`` if it were the only one that is tried, by
    its ``Calibration.value``; None of others."""
    targets = {"precision_at_target_recall": hp.target_recall, "recall_at_target_precision": hp.target_precision}
    target = targets.get(str(hp.criterion))
    return None if target is None or value >= 0 else value + target + 1
