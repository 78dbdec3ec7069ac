"""When a training job of a tuning job is stopped early, and when the tuning job itself is over."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

_LEAST_CURVES = 3
"""Fewest earlier jobs that a job is compared with; the median of fewer says little."""
_IMPROVED = 0.01
"""The share of the best objective by which a job has to be better."""
_LEAST_JOBS = 20
"""Fewest jobs of a search that counts as converged."""
_GAIN = 1e-3
"""The search has converged if the later half of the jobs gained less than this share of the spread of all results."""


def below_median(curve: Sequence[float], earlier: Sequence[Sequence[float]], *, maximize: bool) -> bool:
    """SageMaker's rule: the objective after this epoch is worse than the median, over the earlier jobs, of the average
    of their objective up to the same epoch.

    Source: Amazon SageMaker Developer Guide, "Stop Training Jobs Early".

    >>> below_median([3.0, 3.0], [[4, 2], [4, 1], [5, 2], [4, 0.5]], maximize=False)
    True
    >>> below_median([3.0, 2.0], [[4, 2], [4, 1], [5, 2], [4, 0.5]], maximize=False)
    False

    The average of a job that diverged, whose objective was no number, is worse than any other.
    """
    epoch, worst = len(curve), -math.inf if maximize else math.inf
    found = [sum(one[:epoch]) / epoch for one in earlier if len(one) >= epoch]
    averages = [worst if math.isnan(average) else average for average in found]
    if len(averages) < _LEAST_CURVES:
        return False
    median = statistics.median(averages)
    value = curve[-1]
    return math.isnan(value) or (value < median if maximize else value > median)


def jobs_without_gain(values: Sequence[float], *, maximize: bool) -> int:
    """How many of the last results, in the order in which jobs ended, were not better by 1 % than the best before.

    Source: the API reference, ``BestObjectiveNotImproving``.

    >>> jobs_without_gain([5.0, 3.0, 4.0, 2.99], maximize=False), jobs_without_gain([5.0, 3.0, 2.9], maximize=False)
    (2, 0)
    """
    best, count = -math.inf, 0
    for value in values:
        score = value if maximize else -value
        is_gain = score > best and (math.isinf(best) or score - best >= _IMPROVED * abs(best))
        best, count = max(best, score), 0 if is_gain else count + 1
    return count


def converged(values: Sequence[float], *, maximize: bool) -> bool:
    """Whether the later half of at least ``20`` jobs gained less than a thousandth of the spread of all results."""
    if len(values) < _LEAST_JOBS:
        return False
    scores = [value if maximize else -value for value in values]
    half = len(scores) // 2
    gain = max(scores) - max(scores[:half])
    return gain <= _GAIN * (max(scores) - min(scores))
