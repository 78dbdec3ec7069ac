"""The weights of a checkpoint: a running mean of those of the last updates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EVERY = 5
"""Updates between two looks at the weights, which take time of their own."""
_KEPT, _SOON = 0.6, 10


class Average:
    """A running mean of weights: what the last batches did to them by chance is not in it.

    A look at the weights keeps 0.6 of the mean, so that it is seven updates old, and less of the first means, after
    which training goes fast. B. Polyak, A. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM
    Journal on Control and Optimization 30(4), 1992.

    Args:
        means: those that an earlier run had come to, float32; none before the first look.
    """

    def __init__(self, means: Sequence[np.ndarray] = ()) -> None:
        self.means = list(means)

    def look(self, updates: int, weights: Sequence[np.ndarray]) -> None:
        """Take in the weights after so many updates, a multiple of ``EVERY``."""
        self.means = self._with(updates, weights)

    def at(self, updates: int, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The means as of after so many updates, at which the weights are these; not to be written to."""
        return self.means if self.means and updates % EVERY == 0 else self._with(updates, weights)

    def _with(self, updates: int, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        if not self.means:
            return [np.array(weight) for weight in weights]
        looks = updates / EVERY
        new = np.float32(1 - min(_KEPT, looks / (looks + _SOON)))
        return [mean + new * (weight - mean) for mean, weight in zip(self.means, weights, strict=True)]
