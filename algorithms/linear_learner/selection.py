"""Which of many models is best, and at which threshold: the criteria of binary classification."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import betainc, betaincinv, expit, logit, ndtri

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
CONTRADICTED = 0.1
"""A curve's promise of a precision counts for nothing where rows of that very precision had so few hits in fewer than
this share of jobs."""
FEWEST_HITS = 5
"""Nor does it where the rows above a cut have fewer hits than these: a few rows far out may be the only ones there."""
BENDS = (0.33, 0.75)
"""A curve's bends, as shares of the positives: one misses where scores stop telling, and more promise little of what is
beyond the last one."""
CURVE_STEPS, CURVE_TOLERANCE = 100, 1e-12
"""Steps of the search for a curve, at the most (it takes some ten), and the relative fall of its loss that ends it."""
CURVE_CUTS = 6
"""As many cuts whose curve errs independently of each other are as lucky as the luckiest of all."""
SLOPE_PRIOR, BEND_PRIOR = 0.01, 0.25
"""Precision of the normal priors of a curve's slope and of its bends, by scores of deviation 1: without them the curve
of classes that scores tell apart without error would be infinitely steep."""
RUN_ROWS, RUN_SHARE = 5, 0.001
"""Rows of one score that are a run: so many, and such a share of all. What fewer are taken for changes little."""
ROUNDING = 1e-5
"""Scores of equal rows may differ by this share of their size, some hundred times float32's precision: a product rounds
each row by its place, by how many there are, and by whether they are sparse."""
SMOOTH = ("accuracy", "f_beta")
"""Criteria whose curve over the threshold has one broad top, so that its middle is a steadier choice than its peak."""


class Calibration(NamedTuple):
    """For each of m models: the best value of the criterion, and the score from which a row is positive; (m,)."""

    value: np.ndarray
    threshold: np.ndarray


def calibrate(
    scores: np.ndarray, labels: np.ndarray, hp: LinearLearnerHyperparameters, copies: np.ndarray | None = None
) -> Calibration:
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
        copies: (n,) how many of these rows are copies of one, itself counted, that were held out together: such rows
            promise no more than one of them, as far as a target is to hold. None where all are 1.

    Cost: a sort of n scores for each model.
    """
    n, m = scores.shape
    order = np.argsort(-scores, axis=0, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=0)
    hits = np.vstack([np.zeros((1, m)), np.cumsum(labels[order] > 0.5, axis=0)])  # (n + 1, m): the first i are positive
    claimed = np.arange(n + 1)[:, None]
    # A cut inside a run of equal scores cannot be made.
    differ = np.column_stack([_differ(scores) for scores in ranked.T])
    possible = np.vstack([np.ones((1, m), bool), differ, np.ones((1, m), bool)])
    share, alike = np.ones((n + 1, 1)), 1.0
    if copies is not None and (copies > 1).any():
        share, alike = _independent(copies[order], labels[order] > 0.5)
    value = np.where(possible, _values(hits, claimed, ranked, hp, share, alike), -np.inf)
    column = np.arange(m)
    peak = best = value.argmax(axis=0)
    counted = counted_rows(labels, hp)
    if hp.binary_classifier_model_selection_criteria in SMOOTH:
        best = _middle_of_best(value, value[best, column], counted)
    above = ranked[np.maximum(best - 1, 0), column]
    below = ranked[np.minimum(best, n - 1), column]
    threshold = _between(above, below, best == 0, best == n, _usual_size(ranked))
    if hp.binary_classifier_model_selection_criteria == "accuracy":
        even = (scores >= 0).sum(axis=0)
        gain = n * (value[peak, column] - value[even, column])
        threshold = np.where(gain > BEYOND_CHANCE * np.sqrt(np.abs(peak - even)), threshold, 0)
    reached = value[best, column]
    if hp.binary_classifier_model_selection_criteria == "recall_at_target_precision":
        of_best = np.broadcast_to(share, hits.shape)[best, column]
        alone = _safe_share(hits[best, column] * of_best, best * of_best)
        reached = np.where(reached < 0, alone - hp.target_precision - 1, reached)
    return Calibration(reached, threshold.astype(np.float32))


def aligned(
    threshold: float, held_out: np.ndarray, finished: np.ndarray, copies: np.ndarray, hp: LinearLearnerHyperparameters
) -> float:
    """The threshold at which the finished model takes runs of rows as they were taken when they were held out.

    Rows of few categories have one score in the finished model, which takes all of them for positive or none. Of the
    models of the folds, each of which knows other rows, they have several scores around that one, and the best
    threshold may lie among these. For a recall a run is then taken of which any row was, for a precision one of which
    all rows were, and else one of which most were. It stays where it is unless it has to pass a run.

    Args:
        threshold: of ``calibrate``, by ``held_out``.
        held_out: (n,) raw scores by models that do not know these rows. finished: (n,) those of the finished model.
        copies: (n,) see ``calibrate``; of copies, which were held out together, the finished model knows more than
            the others: they say nothing here.
    """
    criterion = hp.binary_classifier_model_selection_criteria
    alone = copies == 1
    if not alone.any() or (criterion == "accuracy" and threshold == 0):
        return threshold
    order = np.argsort(-finished[alone], kind="stable")
    scores, taken = finished[alone][order], (held_out >= threshold)[alone][order]
    starts = np.flatnonzero(np.append(True, _differ(scores)))
    size = np.diff(np.append(starts, len(scores)))
    share = np.add.reduceat(taken, starts, dtype=np.float64) / size
    match criterion:
        case "precision_at_target_recall":
            gain = np.where(share > 0, len(scores) * size, -size)
        case "recall_at_target_precision":
            gain = np.where(share == 1, size, -len(scores) * size)
        case _:
            gain = size * (2 * share - 1)
    gain = np.append(0, np.cumsum(np.where(size >= max(RUN_ROWS, RUN_SHARE * len(scores)), gain, 0)))
    now = int(np.sum(scores[starts] >= threshold))
    best = np.flatnonzero(gain == gain.max())  # of equal ones the cut that is nearest
    cut = max(int(best[np.abs(best - now).argmin()]), int(taken.any()))
    if cut == now:
        return threshold
    above, below = scores[starts[max(cut - 1, 0)]], scores[starts[min(cut, len(starts) - 1)]]
    return float(_between(above, below, cut == 0, cut == len(starts), _usual_size(scores)))


def _between(
    above: np.ndarray,
    below: np.ndarray,
    is_first: np.ndarray | bool,
    is_last: np.ndarray | bool,
    usual: np.ndarray,
) -> np.ndarray:
    """The score (m,) from which a row is positive, for cuts between these neighbours, (m,) float32; before the first
    row and after the last one there is one of them, from which the cut is as far as rounding may move it. ``usual``
    (m,) is of all scores, see ``_usual_size``."""
    with np.errstate(over="ignore", invalid="ignore"):  # scores at the end of float32, or beyond it
        middle = above + (below - above) / 2
        beyond = np.maximum(above + _rounding(above, usual), np.nextafter(above, np.float32(np.inf)))
        before = below - _rounding(below, usual)
    middle = np.where(middle > below, middle, above)  # neighbours with no float between them: >= keeps the upper
    most = np.finfo(np.float32).max
    return np.clip(np.where(is_first, beyond, np.where(is_last, before, middle)), -most, most)


def _differ(ranked: np.ndarray) -> np.ndarray:
    """Whether neighbours among scores (n,), the highest first, are of rows that differ, (n - 1,).

    Scores that lie within rounding of each other are taken for those of equal rows: a cut among them would tell these
    apart by where they stand. Unless so many rows lie so close that they reach further: of those few are equal, and
    a cut falls on hardly any.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # scores at the end of float32, or beyond it
        gap = ranked[:-1] - ranked[1:]
        rounding = _rounding(ranked, _usual_size(ranked))
        apart = gap > rounding[:-1]
        starts = np.flatnonzero(np.append(True, apart))
        ends = np.append(starts[1:], len(ranked))
        crowded = np.repeat(ranked[starts] - ranked[ends - 1] > rounding[starts], ends - starts)
    return np.asarray(apart | (crowded[:-1] & (gap > 0)))


def _usual_size(ranked: np.ndarray) -> np.ndarray:
    """The size of most of the scores (n,) or (n, m), sorted, without those far out: a number, or (m,)."""
    n = len(ranked)
    return np.asarray(np.abs(ranked[[n // 4, n // 2, 3 * n // 4]]).max(axis=0))


def _rounding(scores: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """By how much rounding may move each of the scores, where most have the size ``usual``; finite."""
    return np.asarray(np.minimum(ROUNDING * np.abs(scores) + ROUNDING * usual, np.finfo(np.float32).max), np.float32)


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


def _independent(copies: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """What a row counts of a precision above each cut, (n + 1, m), and of a recall, by the numbers of copies and the
    labels of all rows (n, m), the highest score first.

    A share p of c rows varies by the sum of (n_u (y_u - p))^2 over what there are n_u copies of, by c^2: as that of
    fewer rows without copies (linearization of a ratio: Cochran, "Sampling Techniques", 1977, section 2.9). One more
    positive and one more negative, with the copies that they usually have, stand for those that chance kept away. Of
    positives alone these are (sum n_u)^2 / sum n_u^2 (Kish, "Survey Sampling", 1965, section 8.2).
    """
    squares = np.array([np.cumsum(copies * of_class, axis=0) for of_class in (truth, ~truth)], np.float64)
    rows = np.array([np.cumsum(of_class, axis=0) for of_class in (truth, ~truth)], np.float64)
    usual = squares[:, -1] / np.maximum(rows[:, -1], 1)  # (2, m)
    usual = np.maximum(usual, 1)[:, None]
    hits, misses = rows + usual
    of_hits, of_misses = squares + usual**2  # each of n_u copies has added n_u
    every = hits + misses
    found = hits * misses * every**2 / (misses**2 * of_hits + hits**2 * of_misses) - 2
    share = np.clip(found / np.arange(1, len(copies) + 1)[:, None], 1 / usual.max(), 1)
    return np.vstack([np.ones((1, copies.shape[1])), share]), float(1 / usual[0, 0, 0])


def _values(
    hits: np.ndarray,
    claimed: np.ndarray,
    ranked: np.ndarray,
    hp: LinearLearnerHyperparameters,
    share: np.ndarray,
    alike: float,
) -> np.ndarray:
    """The criterion at each cut, shape (n + 1, m). What rows promise for a target is that of a ``share`` of those above
    each cut, (n + 1, m) or (n + 1, 1), or of the positives, ``alike``; see ``_independent``."""
    n, positives = len(ranked), hits[-1]
    precision = hits / np.maximum(claimed, 1)
    recall = hits / np.maximum(positives, 1)
    match hp.binary_classifier_model_selection_criteria:
        case "f_beta":
            square = hp.f_beta**2
            return (1 + square) * hits / np.maximum(square * positives + claimed, 1e-12)
        case "precision_at_target_recall":
            return _at_target(precision, _safe_recall(hits, int(positives[0]), alike), hp.target_recall)
        case "recall_at_target_precision":
            safe = _safe_precision(hits, claimed, ranked, hp.target_precision, share)
            sure = _confidence(hits * share, claimed * share, hp.target_precision)
            nearest = sure + HOPELESS * _safe_share(hits * share, claimed * share) - 2
            return np.where(safe >= hp.target_precision, recall, nearest)
        case _:
            return (hits + (n - claimed) - (positives - hits)) / n


def _safe_precision(
    hits: np.ndarray, claimed: np.ndarray, ranked: np.ndarray, target: float, share: np.ndarray
) -> np.ndarray:
    """The precision on new rows that a cut has with ``CONFIDENCE``, (n + 1, m): the better of what its own rows and a
    curve through all rows promise.

    Of rows that share a precision whatever their score, the luckiest cut passes one cut's bound in 15 to 40 % of jobs.
    Cuts of up to twice as many rows are much alike, so that all count as the doublings, and half as many again. The few
    rows above a high cut promise little by themselves; the others tell what is to be expected there.
    """
    few, of = hits * share, claimed * share
    of_rows = _safe_share(few, of, 1.5 * np.log2(len(claimed)))
    if not 0 < hits[-1, 0] < len(ranked) or not np.isfinite(ranked).all():
        return of_rows  # where no model's scores are finite, training says so afterwards
    models = zip(ranked.T, np.diff(hits, axis=0).T, np.broadcast_to(share[1:], ranked.shape).T, strict=True)
    of_curve = np.column_stack([_curve(*model) for model in models])
    believed = (_confidence(few, of, target) >= CONTRADICTED) & (few >= FEWEST_HITS)
    return np.where(believed, np.maximum(of_rows, of_curve), of_rows)


def _curve(ranked: np.ndarray, truth: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The precision with ``CONFIDENCE`` at each cut, (n + 1,), by a curve through all rows: the probability of a row
    of a score, whose logit is straight with two bends.

    The first is Platt's ("Probabilistic outputs for support vector machines", 1999); the bends are for scores that
    tell less, or more, of the highest rows than of others. The bound is that of the mean probability of the rows above
    a cut, by the normal approximation of its logit.

    Args:
        ranked: (n,) scores, the highest first. truth: (n,) 1 for positives, 0 for others, of which there are both.
        share: (n,) what a row above each cut counts.
    """
    scores = ranked.astype(np.float64)
    scores = (scores - scores.mean()) / (scores.std() or 1.0)
    bends = np.quantile(scores[truth > 0], BENDS)
    rows = np.column_stack([np.ones_like(scores), scores, np.maximum(scores[:, None] - bends, 0)])
    prior = np.array([0.0, SLOPE_PRIOR, *[BEND_PRIOR] * len(bends)])

    def value(weights: np.ndarray) -> tuple[float, np.ndarray]:
        found = rows @ weights
        loss = np.sum(np.logaddexp(0, found) - truth * found) + 0.5 * prior @ weights**2
        return float(loss), rows.T @ (expit(found) - truth) + prior * weights

    def curvature(weights: np.ndarray) -> np.ndarray:
        chance = expit(rows @ weights)
        return np.asarray((rows.T * (chance * (1 - chance))) @ rows + np.diag(prior))

    start = np.zeros(rows.shape[1])
    start[0] = logit(truth.mean())
    weights = _minimise(value, curvature, start)
    chance = expit(rows @ weights)
    claimed = np.arange(1, len(rows) + 1)
    mean = np.cumsum(chance) / claimed
    slopes = np.cumsum((chance * (1 - chance))[:, None] * rows, axis=0) / claimed[:, None]
    variance = np.einsum("np,np->n", slopes @ np.linalg.pinv(curvature(weights), hermitian=True), slopes)
    spread = np.sqrt(variance / share) / np.maximum(mean * (1 - mean), np.finfo(float).tiny)
    return np.append(0.0, expit(logit(mean) + ndtri((1 - CONFIDENCE) / CURVE_CUTS) * spread))


def _minimise(
    value: Callable[[np.ndarray], tuple[float, np.ndarray]],
    curvature: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
) -> np.ndarray:
    """Where a convex function of a few numbers is least, by Newton's steps, each halved until the value falls (Boyd and
    Vandenberghe, "Convex Optimization", 2004, algorithm 9.5). ``scipy.optimize`` would be 20 MB more in each image.

    Args:
        value: the function's value and gradient, (p,). curvature: its second derivatives, (p, p).
    """
    point = start
    best, gradient = value(point)
    for _ in range(CURVE_STEPS):
        step = np.linalg.pinv(curvature(point), hermitian=True) @ gradient
        slope = float(gradient @ step)
        length = 1.0
        while (found := value(point - length * step))[0] > best - 1e-4 * length * slope and length > CURVE_TOLERANCE:
            length /= 2
        if not found[0] < best - CURVE_TOLERANCE * abs(best):
            break
        point, (best, gradient) = point - length * step, found
    return point


def _safe_recall(hits: np.ndarray, positives: int, share: float) -> np.ndarray:
    """The recall on new rows that a cut has with ``CONFIDENCE``, of the same shape as ``hits``.

    The share of new positives above the j-th highest of k positives is distributed as Beta(j, k + 1 - j), whatever the
    scores' distribution is (Wilks, "Determination of sample sizes for setting tolerance limits", Annals of Mathematical
    Statistics 12, 1941). Where each positive counts only as a ``share``, k is as much smaller.
    """
    count = np.arange(1, positives + 1)
    bounds = np.append(0.0, betaincinv(share * count, share * (positives - count) + 1, 1 - CONFIDENCE))
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
    return None if hp.target is None or value >= 0 else value + hp.target[1] + 1
