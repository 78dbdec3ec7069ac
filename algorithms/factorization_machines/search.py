"""The learning rate of the factors, and the decay of linear weights, where the job gives none, by trials on rows that
are held out.

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

NONE = 0.0
TIMES = (NONE, 1.0, 3.0, 10.0, 30.0)
"""Multiples of the default rate that are tried, in this order, as long as they get better. The first is a machine
without interactions, a linear model."""
SLOW = 2
"""So many of them say nothing of larger ones: at the default, factors of a dense column beside rare sparse ones have
learned its noise before those of the others have learned anything."""
DECAYS = (1.0, 10.0, 100.0)
"""Multiples of the default ``linear_wd``, tried after that in the same way: noise asks for more."""
SURE, LIKELY = 2.0, 1.0
"""Standard errors by which held-out rows have to show that interactions help, and that a change of them does."""
SPEED = 10
"""A trial's rates are so many times those of a job, and its passes so many times fewer."""
FEWEST_PASSES = 3 * SPEED
"""Jobs of fewer passes have so many rows that trials would take long, and interactions no chance."""
FEWEST_ROWS = 8
"""Fewer tell nothing."""
FOLDS, MOST = 5, 3
"""Parts of the rows, and how many of them are held out, one after the other, until those are ``ENOUGH`` rows."""
ENOUGH = 1000
GROUPS = 64
"""Of held-out rows, whose losses are added up: enough to tell a difference from chance."""


Setting = tuple[float, float]
"""Multiples of the default rate of the factors and of the default ``linear_wd``."""


@dataclass
class Search:
    """What trials have found, and which one is running.

    Attributes:
        folds: that each setting is tried on. schedule: of the job itself. decays: whether ``linear_wd`` is free, too.
        setting: of the running trial. fold: its fold.
        losses: by setting in the order of trials, sums over the held-out rows of each group, (GROUPS,).
    """

    folds: int
    schedule: Schedule
    decays: bool = False
    setting: Setting = (TIMES[0], DECAYS[0])
    fold: int = 0
    losses: dict[Setting, list[float]] = field(default_factory=dict)

    @property
    def position(self) -> str:
        """Which trial is running, for the log."""
        times, decay = self.setting
        return f"trial of {times:g} times factors_lr and {decay:g} times linear_wd on fold {self.fold}"

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {**asdict(self), "losses": list(map(list, self.losses.items()))}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Search:
        """What ``to_json`` gave."""
        losses = {(times, decay): list(values) for (times, decay), values in found["losses"]}
        times, decay = found["setting"]
        schedule = Schedule(**found["schedule"])
        return cls(**{**found, "setting": (times, decay), "schedule": schedule, "losses": losses})

    def take(self, losses: np.ndarray) -> None:
        """Losses of the held-out rows, (GROUPS,), after the running trial; the next one is then to run, if any."""
        known = np.array(self.losses.get(self.setting, [0.0] * GROUPS))
        self.losses[self.setting] = (known + losses).tolist()
        self.fold += 1

    def more(self) -> bool:
        """Whether there is another trial to run; then it is the running one."""
        if self.fold < self.folds:
            return True
        following = self._following()
        if following is None:
            return False
        self.setting, self.fold = following, 0
        return True

    def _following(self) -> Setting | None:
        if self.setting[1] == DECAYS[0]:
            rates = [(times, DECAYS[0]) for times in TIMES]
            if (higher := self._next_of(rates, SLOW)) is not None:
                return higher
        return self._next_of([(self.best()[0], decay) for decay in DECAYS]) if self.decays else None

    def _next_of(self, settings: list[Setting], fewest: int = 1) -> Setting | None:
        """The first that was not tried, where the last one tried is the best so far, or they are the ``fewest``."""
        totals = [sum(self.losses[setting]) for setting in settings if setting in self.losses]
        goes_on = min(totals) == totals[-1] or len(totals) <= fewest
        return settings[len(totals)] if goes_on and len(totals) < len(settings) else None

    def best(self) -> Setting:
        """The last of those that are better, beyond chance, than what would be taken without them: held-out rows have
        to show that interactions, and larger ones, and more decay help."""
        best, *others = self.losses
        for setting in others:
            gain = np.array(self.losses[best]) - np.array(self.losses[setting])
            needed = SURE if best[0] == NONE and setting[0] > NONE else LIKELY
            if gain.sum() > needed * np.sqrt(GROUPS) * gain.std():
                best = setting
        return best


def folds(rows: int) -> int:
    """How many folds a rate is tried on, for a job of so many rows."""
    return int(np.clip(np.ceil(ENOUGH * FOLDS / rows), 1, MOST))
