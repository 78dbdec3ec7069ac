"""The weights of a checkpoint: a running mean over the last updates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EVERY = 5
"""Updates between two additions to the mean, each of which takes some time."""
_KEPT, _SOON = 0.6, 10


class Average:
    """A running mean of weights, which evens out the noise of the last batches.

    An addition keeps 0.6 of the mean, so that the mean is seven updates old on average; less at first, when training is
    fast. B. Polyak, A. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM
    Journal on Control and Optimization 30(4), 1992.

    Args:
        means: those that an earlier run had come to, float32; none before the first look.
    """

    def __init__(self, means: Sequence[np.ndarray] = ()) -> None:
        self.means = list(means)

    def look(self, updates: int, weights: Sequence[np.ndarray]) -> None:
        """Add the weights after so many updates, a multiple of ``EVERY``, to the mean."""
        self.means = self._with(updates, weights)

    def at(self, updates: int, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The means after so many updates, at which the weights are ``weights``; not to be written to."""
        return self.means if self.means and updates % EVERY == 0 else self._with(updates, weights)

    def _with(self, updates: int, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        if not self.means:
            return [np.array(weight) for weight in weights]
        looks = updates / EVERY
        new = np.float32(1 - min(_KEPT, looks / (looks + _SOON)))
        return [mean + new * (weight - mean) for mean, weight in zip(self.means, weights, strict=True)]
