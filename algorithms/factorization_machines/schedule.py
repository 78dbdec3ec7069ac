"""How many passes are made over the training rows, and in batches of how many."""

from __future__ import annotations

import math
from dataclasses import dataclass

STEPS = 30_000
"""Enough at the default rates, at which a weight moves by a thousandth a step: on the data sets of the benchmarks the
held-out loss no longer falls by more than a few thousandths beyond it."""

FEWEST_STEPS = 1000
"""A job of fewer steps is told so."""

PASSES, SMALL_STEPS = 300, 6000
"""At most so many passes, except where they are fewer steps than these, in which a weight still gets from 0 to the 1
that scaled features ask for. More passes fit the interactions of few rows to chance."""
_STEPS_A_PASS = 100  # at least, where there are rows enough for it: small data would be at its 300 passes too soon
_SMALLEST_BATCH = 32
_LOG_LINES = 50


@dataclass(frozen=True)
class Schedule:
    """Passes over the data, rows of a step, and every how many passes the log says how far training is; 0
    for not at all."""

    epochs: int
    batch_size: int
    log_every: int = 1

    def logs(self, epoch: int) -> bool:
        """Whether the scores of an epoch, from 0, are logged."""
        return self.log_every > 0 and (epoch % self.log_every == 0 or epoch == self.epochs - 1)


def enough(rows: int, mini_batch_size: int) -> Schedule:
    """The schedule for a job that leaves the number of passes open, known after the first pass over ``rows`` rows.

    >>> enough(100_000, 1000)
    Schedule(epochs=300, batch_size=1000, log_every=6)
    >>> enough(2_000, 1000)
    Schedule(epochs=300, batch_size=32, log_every=6)
    >>> enough(20, 1000)
    Schedule(epochs=6000, batch_size=32, log_every=120)
    >>> enough(50_000_000, 1000)
    Schedule(epochs=1, batch_size=1000, log_every=1)
    """
    batch_size = min(mini_batch_size, max(rows // _STEPS_A_PASS, _SMALLEST_BATCH))
    steps = math.ceil(rows / batch_size)
    epochs = min(max(PASSES, math.ceil(SMALL_STEPS / steps)), math.ceil(STEPS / steps))
    return Schedule(epochs, batch_size, math.ceil(epochs / _LOG_LINES))
