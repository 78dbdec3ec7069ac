"""Learning rates, and when to stop: what changes with the updates and checkpoints of a job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MAXIMIZED = ("accuracy", "bleu")


class Rate:
    """The learning rate of each update.

    ``plateau_reduce``: multiplied by a factor after so many checkpoints in a row without improvement.
    ``fixed_rate_inv_t``: rate / (1 + t / h), and ``fixed_rate_inv_sqrt_t``: rate / sqrt(1 + 3 t / h), where t counts
    updates and h is the half life, in updates: after it both are half of what they were.
    """

    def __init__(self, values: Any) -> None:
        self._kind = values.lr_scheduler_type
        self._rate = values.learning_rate
        self._half_life = values.fixed_rate_lr_half_life * values.checkpoint_frequency_num_batches
        self._factor, self._patience = values.plateau_reduce_lr_factor, values.plateau_reduce_lr_threshold
        self._waited = 0

    def state(self) -> dict[str, float]:
        """The state, for a checkpoint."""
        return {"rate": self._rate, "waited": self._waited}

    def resume(self, state: Mapping[str, float]) -> None:
        """Restore ``state``."""
        self._rate, self._waited = state["rate"], int(state["waited"])

    def at(self, updates: int) -> float:
        """The rate after so many updates."""
        if self._kind == "fixed_rate_inv_t":
            return self._rate / (1 + updates / self._half_life)
        if self._kind == "fixed_rate_inv_sqrt_t":
            return self._rate / math.sqrt(1 + 3 * updates / self._half_life)
        return self._rate

    def checkpoint(self, *, improved: bool) -> str | None:
        """Take note of a checkpoint; a sentence for the log where that changes the rate."""
        self._waited = 0 if improved else self._waited + 1
        if self._kind != "plateau_reduce" or self._waited < self._patience:
            return None
        before, waited = self._rate, self._waited
        self._rate, self._waited = self._rate * self._factor, 0
        return (
            f"{waited} checkpoints since improvement or rate scaling, "
            f"lowering learning rate: {before:1.2e} -> {self._rate:1.2e}"
        )
