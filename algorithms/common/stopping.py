"""Early stopping: whether a value that should fall, or rise, still does."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Keeps the best value so far, and counts the values since the last improvement.

    A value improves on the last one that did where it is better by more than ``tolerance`` times its size, so that
    small gains in a row count together. The first does, whatever it is; a NaN after it does not.

    Attributes:
        maximize: more is better.
        best: the best value; NaN before the first. best_step: its step, as given.
        reference: the value of the last improvement.
        waited: values since then.

    >>> losses = EarlyStopping(tolerance=0.1)
    >>> [losses.take(value, step) for step, value in enumerate([1.0, 0.95, 0.85, 0.84])]
    [True, False, True, False]
    >>> losses.best, losses.best_step, losses.reference, losses.waited
    (0.84, 3, 0.85, 1)
    """

    maximize: bool = False
    tolerance: float = 0.0
    best: float = math.nan
    best_step: int | None = None
    reference: float = math.nan
    waited: int = 0

    def take(self, value: float, step: int) -> bool:
        """Record the value of a step; whether it is an improvement."""
        value, first = float(value), self.best_step is None  # a checkpoint cannot hold NumPy's numbers
        if first or self._gain(value, self.best) > 0:
            self.best, self.best_step = value, step
        least = 0.0 if math.isnan(self.reference) else self.tolerance * abs(self.reference)
        improved = first or self._gain(value, self.reference) > least
        self.reference, self.waited = (value, 0) if improved else (self.reference, self.waited + 1)
        return improved

    def _gain(self, value: float, than: float) -> float:
        """By how much ``value`` is better; any number is infinitely better than NaN."""
        if math.isnan(than) and not math.isnan(value):
            return math.inf
        return value - than if self.maximize else than - value
