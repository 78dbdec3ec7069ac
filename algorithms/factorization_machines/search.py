"""The learning rate of the factors where the job gives none, by trials on rows that are held out.

How large the factors grow is what keeps interactions from being fitted to chance, and the rate times the steps is how
large they can. The default suits few or noisy rows; a full matrix of low rank asks for a hundred times that, and labels
without interactions for none. A trial takes a tenth of the passes at ten times the rates, and so comes about as far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from algorithms.factorization_machines.schedule import Schedule

TIMES = (1.0, 3.0, 10.0, 30.0)
"""Multiples of the default rate that are tried, in this order, as long as they get better; where the second does not,
no interactions are."""
NONE = 0.0
SPEED = 10
"""A trial's rates are so many times those of a job, and its passes so many times fewer."""
FEWEST_PASSES = 3 * SPEED
"""Jobs of fewer passes have so many rows that trials would take long, and interactions no chance."""
FEWEST_ROWS = 20
"""Fewer tell nothing."""
FOLDS, MOST = 5, 3
"""Parts of the rows, and how many of them are held out, one after the other, until those are ``ENOUGH`` rows."""
ENOUGH = 1000
GROUPS = 64
"""Of held-out rows, whose losses are added up: enough to tell a difference from chance."""


@dataclass
class Search:
    """What trials have found, and which one is running.

    Attributes:
        folds: that each rate is tried on. schedule: of the job itself.
        times: the running trial's multiple of the default rate. fold: its fold.
        losses: by multiple, sums over the held-out rows of each group, (GROUPS,).
    """

    folds: int
    schedule: Schedule
    times: float = TIMES[0]
    fold: int = 0
    losses: dict[float, list[float]] = field(default_factory=dict)

    @property
    def position(self) -> str:
        """Which trial is running, for the log."""
        return f"trial of {self.times:g} times factors_lr on fold {self.fold}"

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {**asdict(self), "losses": list(map(list, self.losses.items()))}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Search:
        """What ``to_json`` gave."""
        losses = {times: list(values) for times, values in found["losses"]}
        return cls(**{**found, "schedule": Schedule(**found["schedule"]), "losses": losses})

    def take(self, losses: np.ndarray) -> None:
        """Losses of the held-out rows, (GROUPS,), after the running trial; the next one is then to run, if any."""
        known = np.array(self.losses.get(self.times, [0.0] * GROUPS))
        self.losses[self.times] = (known + losses).tolist()
        self.fold += 1

    def more(self) -> bool:
        """Whether there is another trial to run; then it is the running one."""
        if self.fold < self.folds:
            return True
        following = self._following()
        if following is None:
            return False
        self.times, self.fold = following, 0
        return True

    def _following(self) -> float | None:
        totals = {times: sum(losses) for times, losses in self.losses.items()}
        best = min(totals, key=totals.__getitem__)
        if len(totals) == 1:
            return TIMES[1]
        if best == TIMES[0] and NONE not in totals:
            return NONE
        higher = [times for times in TIMES if times > best]
        return higher[0] if best > TIMES[0] and higher and higher[0] not in totals else None

    def best(self) -> float:
        """The multiple with the least loss: others than the default only where that is less than the default's by
        more than its standard error."""
        default = np.array(self.losses[TIMES[0]])
        gains = {times: default - np.array(losses) for times, losses in self.losses.items()}
        times = max(gains, key=lambda times: float(gains[times].sum()))
        needed = float(np.sqrt(GROUPS) * gains[times].std())
        return times if gains[times].sum() > needed else TIMES[0]


def folds(rows: int) -> int:
    """How many folds a rate is tried on, for a job of so many rows."""
    return int(np.clip(np.ceil(ENOUGH * FOLDS / rows), 1, MOST))
