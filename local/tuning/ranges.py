"""The three kinds of range of a hyperparameter, their scales, and how their values are written.

>>> ContinuousRange("momentum", 0.5, 0.999, "ReverseLogarithmic").distribution()
FloatDistribution(high=0.5, log=True, low=0.001..., step=None)
>>> IntegerRange("k", 5, 50).written(7), CategoricalRange("optimizer", ("sgd", "adam")).written("adam")
('7', 'adam')
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

AUTO, LINEAR, LOGARITHMIC, REVERSE_LOGARITHMIC = "Auto", "Linear", "Logarithmic", "ReverseLogarithmic"
SCALINGS = (AUTO, LINEAR, LOGARITHMIC, REVERSE_LOGARITHMIC)
_WIDE = 100
"""With ``Auto`` the scale is logarithmic if the ends of a range differ by at least this factor."""


@dataclass(frozen=True)
class IntegerRange:
    """Whole numbers from ``low`` to ``high``, both included."""

    name: str
    low: int
    high: int
    scaling: str = AUTO

    def distribution(self) -> BaseDistribution:
        """Optuna's distribution."""
        return IntDistribution(self.low, self.high, log=_logarithmic(self))

    def suggest(self, trial: Trial, name: str) -> Any:
        """A value of the distribution."""
        return trial.suggest_int(name, self.low, self.high, log=_logarithmic(self))

    def written(self, value: Any) -> str:
        """A value of the distribution as a hyperparameter."""
        return str(int(value))

    def read(self, text: str) -> Any:
        """The value of the distribution for a hyperparameter's text. Raises ValueError if it is outside of the
        range."""
        return _inside(self, int(float(text)))

    def problems(self) -> list[str]:
        """Problems of the range by itself, a sentence each."""
        least = 1 if self.scaling == LOGARITHMIC else None
        problems = _end_problems(self, least)
        if self.scaling == REVERSE_LOGARITHMIC:
            problems.append(f"'{self.name}': ReverseLogarithmic scaling is for continuous ranges within [0, 1)")
        return problems

    def count(self) -> int | None:
        """How many values there are."""
        return self.high - self.low + 1


@dataclass(frozen=True)
class ContinuousRange:
    """Numbers from ``low`` to ``high``. A reverse logarithmic scale is logarithmic in 1 - value."""

    name: str
    low: float
    high: float
    scaling: str = AUTO

    def distribution(self) -> BaseDistribution:
        """Optuna's distribution; of 1 - value if the scale is reversed."""
        return FloatDistribution(*self._ends(), log=self._log())

    def suggest(self, trial: Trial, name: str) -> Any:
        """A value of the distribution."""
        return trial.suggest_float(name, *self._ends(), log=self._log())

    def _ends(self) -> tuple[float, float]:
        return (1 - self.high, 1 - self.low) if self.scaling == REVERSE_LOGARITHMIC else (self.low, self.high)

    def _log(self) -> bool:
        return self.scaling == REVERSE_LOGARITHMIC or _logarithmic(self)

    def written(self, value: Any) -> str:
        """A value of the distribution as a hyperparameter; within the range, whatever rounding did."""
        number = 1 - value if self.scaling == REVERSE_LOGARITHMIC else value
        return repr(min(max(float(number), self.low), self.high))

    def read(self, text: str) -> Any:
        """The value of the distribution for a hyperparameter's text. Raises ValueError if it is outside of the
        range."""
        number = _inside(self, float(text))
        if self.scaling == REVERSE_LOGARITHMIC:
            low, high = self._ends()
            return min(max(1 - number, low), high)
        return number

    def problems(self) -> list[str]:
        """Problems of the range by itself, a sentence each."""
        problems = _end_problems(self, math.ulp(0.0) if self.scaling == LOGARITHMIC else None)
        if self.scaling == REVERSE_LOGARITHMIC and not 0 <= self.low <= self.high < 1:
            problems.append(
                f"'{self.name}': ReverseLogarithmic scaling needs a range within [0, 1), not {self.low} to {self.high}"
            )
        return problems

    def count(self) -> int | None:
        """None: more than can be tried."""
        return None


@dataclass(frozen=True)
class CategoricalRange:
    """One of some words."""

    name: str
    values: tuple[str, ...]

    def distribution(self) -> BaseDistribution:
        """Optuna's distribution."""
        return CategoricalDistribution(self.values)

    def suggest(self, trial: Trial, name: str) -> Any:
        """One of the words."""
        return trial.suggest_categorical(name, self.values)

    def written(self, value: Any) -> str:
        """A value of the distribution as a hyperparameter."""
        return str(value)

    def read(self, text: str) -> Any:
        """The word itself. Raises ValueError where it is none of them."""
        if text not in self.values:
            raise ValueError(f"'{text}' is not one of {', '.join(self.values)}")
        return text

    def problems(self) -> list[str]:
        """Problems of the range by itself, a sentence each."""
        if not self.values:
            return [f"'{self.name}': there are no values to choose from"]
        twice = sorted({value for value in self.values if self.values.count(value) > 1})
        return [f"'{self.name}': the value '{twice[0]}' is given twice"] if twice else []

    def count(self) -> int | None:
        """How many words there are."""
        return len(self.values)


Range: TypeAlias = IntegerRange | ContinuousRange | CategoricalRange


def _logarithmic(one: IntegerRange | ContinuousRange) -> bool:
    if one.scaling == AUTO:
        return one.low > 0 and one.high >= _WIDE * one.low
    return one.scaling == LOGARITHMIC


def _inside(one: IntegerRange | ContinuousRange, number: Any) -> Any:
    if not one.low <= number <= one.high:
        raise ValueError(f"{number} is not from {one.low} to {one.high}")
    return number


def _end_problems(one: IntegerRange | ContinuousRange, least: float | None) -> list[str]:
    if one.scaling not in SCALINGS:
        return [f"'{one.name}': scaling '{one.scaling}' is not one of {', '.join(SCALINGS)}"]
    if not (math.isfinite(one.low) and math.isfinite(one.high)):
        return [f"'{one.name}': the range {one.low} to {one.high} is not finite"]
    if one.low > one.high:
        return [f"'{one.name}': MinValue {one.low} is larger than MaxValue {one.high}"]
    if least is not None and one.low < least:
        return [f"'{one.name}': Logarithmic scaling needs a range above 0, not {one.low} to {one.high}"]
    return []
