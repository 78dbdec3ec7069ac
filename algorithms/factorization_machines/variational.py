"""A factorization machine by variational Bayes, where all rows are in memory: no rates, and no penalties to choose.

Weights and factors have normal priors, and a normal posterior each, independent of the others. With the others' means
and variances, that of one number has a closed form, so that a sweep sets one after the other, as alternating least
squares does; the variances are what keeps factors of features with few rows near 0. The precision of a prior is then
set to what its numbers show (empirical Bayes), and so is that of the labels' noise. A score is linear in each number
that it has, so that the posterior mean of a score is the score of the means: they are the model.

Factors are learned one after the other, each on what those before it have left, then all of them together. A factor
that rows do not support shrinks to 0 and is given up, and after two of those no more are tried: ``num_factors`` is
their most.

Classes follow the logistic function, whose logarithm is bounded from below by a parabola in the score, with the
tightest one for each row after each sweep. Labels are then (y - 1/2) / precision, with a precision for each row.

Sources: Rendle, "Factorization Machines with libFM", ACM TIST 3, 2012, section 3 (scores linear in each number,
sweeps); Lim and Teh, "Variational Bayesian Approach to Movie Rating Prediction", KDD Cup and Workshop 2007; Wang and
Stephens, "Empirical Bayes Matrix Factorization", JMLR 22, 2021 (one factor after the other); Jaakkola and Jordan,
"Bayesian parameter estimation via variational methods", Statistics and Computing 10, 2000 (classes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from algorithms.factorization_machines import steps
from recordio.batches import Features

FIRST, INNER, HELD, TOGETHER = 10, 40, 10, 10
"""Sweeps: of linear weights alone; of a new factor, of which the first hold its prior (of classes, all do); and of all
at the end."""
BETWEEN = 3
"""Sweeps of a new factor between two of the linear weights, which change little meanwhile."""
START, START_PRIOR = 0.1, 2.0
"""A new factor's deviation, and the precision of its prior while that is held: weak enough for a factor to grow where
a few rows a feature support it. While that is small, its variances outweigh its means, and a prior that is set to both
draws it to 0: of classes, whose rows tell little, for good. Of numbers, held longer it overfits, as of
MovieLens' ratings."""
GIVEN_UP = 2
"""So many factors without support end the search for more."""
SUPPORTED = 0.05
"""A factor whose squared means are a smaller share of its variances says nothing."""
WEAK = 0.01
"""What sums of squares are increased by, so that precisions are bounded where labels leave nothing to noise."""


def available() -> bool:
    """Whether the compiled sweeps are there: in NumPy, number by number, they would take minutes."""
    return steps.kernel() is not None


def fit(
    features: Features,
    labels: np.ndarray,
    factors: int,
    *,
    binary: bool,
    use_bias: bool,
    use_linear: bool,
    most: int,
    seed: int,
    stopped: Callable[[], bool],
    begun: Fit | None = None,
    offer: Offer = lambda steps, make: None,
) -> dict[str, np.ndarray]:
    """Posterior means: ``bias`` (1,), ``linear`` (d,) and ``factors`` (d, k), float32.

    Args:
        features: (n, d), n > 0, of values around 1. labels: (n,), of deviation 1, or classes 0 and 1.
        factors: k. most: sweeps of one factor, after which no more factors are added.
        stopped: whether to end as soon as may be, with what there is.
        begun: a fit of the same rows and options to go on from, to the same model, bit for bit.
        offer: is called wherever the fit could go on.
    """
    machine = _Machine(features, labels, factors, binary, use_bias, use_linear, np.random.default_rng(seed))
    if begun is None:
        machine.begin()
    else:
        machine.go_on(begun)
    machine.learn(most, stopped, offer)
    return {
        "bias": np.array([machine.bias], np.float32),
        "linear": machine.linear.astype(np.float32),
        "factors": np.ascontiguousarray(machine.factors.T, np.float32),
    }


@dataclass(frozen=True)
class Fit:
    """A fit between two factors, or two sweeps of all at the end.

    Attributes:
        numbers: what JSON can hold. arrays: by name, copies.
    """

    numbers: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


Offer = Callable[[int, Callable[[], Fit]], None]
"""Takes the number of factors that a fit has tried and of the last sweeps, and what makes a ``Fit`` of it at once."""

_COUNTS = "tried", "failed", "together", "sweeps"
_PRIORS = "bias", "bias_variance", "linear_prior"
_ARRAYS = "linear", "linear_variance", "factors", "precision", "target", "residual"


class _Machine:
    """Means and variances of the bias, of ``linear`` (d,), and of ``factors`` (k, d), float64.

    Attributes:
        precision: of each row's label, (n,). residual: of its ``target`` and its score, (n,).
        spread: variance of what each factor adds to the scores, by factor, (n,). found: the factors with support.
        sweeps: of one factor, so far. tried: factors that were added. failed: those of them that were given up.
        together: sweeps of all at the end.
    """

    def __init__(
        self,
        features: Features,
        labels: np.ndarray,
        factors: int,
        binary: bool,
        use_bias: bool,
        use_linear: bool,
        random: np.random.Generator,
    ) -> None:
        columns = sp.csc_array(features, dtype=np.float32)
        columns.sum_duplicates()
        self.cells = columns.data, columns.indices.astype(np.int64), columns.indptr.astype(np.int64)
        self.rows = sp.csr_array(columns, dtype=np.float64)
        self.squares = sp.csr_array((self.rows.data**2, self.rows.indices, self.rows.indptr), self.rows.shape)
        self.height, self.width = columns.shape
        self.occurs = np.diff(columns.indptr) > 0
        self.count = max(int(self.occurs.sum()), 1)
        self.labels, self.binary, self.random = labels.astype(np.float64), binary, random
        self.use_bias, self.use_linear = use_bias, use_linear
        self.bias, self.bias_variance = 0.0, 0.0
        self.linear, self.linear_variance, self.linear_prior = np.zeros(self.width), np.zeros(self.width), 1.0
        self.factors = np.zeros((factors, self.width))
        self.variances: dict[int, np.ndarray] = {}
        self.priors: dict[int, float] = {}
        self.spread: dict[int, np.ndarray] = {}
        self.found: list[int] = []
        self.sweeps = self.tried = self.failed = self.together = 0
        self._target(np.zeros(self.height), np.ones(self.height) if binary else np.zeros(self.height))

    def begin(self) -> None:
        """The sweeps of linear weights alone."""
        for _ in range(FIRST):
            self._sweep_linear()

    def learn(self, most: int, stopped: Callable[[], bool], offer: Offer) -> None:
        """All sweeps of factors."""
        while self.tried < len(self.factors) and self.failed < GIVEN_UP and self.sweeps < most and not stopped():
            self._try_one_more(stopped, offer)
        while self.found and self.together < TOGETHER and not stopped():
            self._sweep()
            self.together += 1
            offer(self.tried + self.together, self.state)
        for number in [one for one in self.found if not self._has_support(one)]:
            self._give_up(number)

    def _try_one_more(self, stopped: Callable[[], bool], offer: Offer) -> None:
        before = self.state()
        self.failed += not self._add(self.tried, stopped)
        self.tried += 1
        cut = stopped()  # a stop may have cut the factor short
        offer(self.tried - cut, lambda: before if cut else self.state())

    def state(self) -> Fit:
        """Where the fit is."""
        numbers = {name: getattr(self, name) for name in (*_COUNTS, *_PRIORS)}
        numbers |= {"found": list(self.found), "priors": [self.priors[one] for one in self.found]}
        arrays = {name: getattr(self, name).copy() for name in _ARRAYS}
        arrays["variances"] = np.array([self.variances[one] for one in self.found]).reshape(-1, self.width)
        arrays["spread"] = np.array([self.spread[one] for one in self.found]).reshape(-1, self.height)
        return Fit({**numbers, "random": self.random.bit_generator.state}, arrays)

    def go_on(self, fit: Fit) -> None:
        """Be where a fit of the same rows was."""
        for name in (*_COUNTS, *_PRIORS):
            setattr(self, name, fit.numbers[name])
        for name in _ARRAYS:
            setattr(self, name, np.array(fit.arrays[name]))
        self.found = list(fit.numbers["found"])
        self.priors = dict(zip(self.found, fit.numbers["priors"], strict=True))
        self.variances = dict(zip(self.found, np.array(fit.arrays["variances"]), strict=True))
        self.spread = dict(zip(self.found, np.array(fit.arrays["spread"]), strict=True))
        self.random.bit_generator.state = fit.numbers["random"]

    def _sweep(self) -> None:
        """Set all numbers once."""
        for number in self.found:
            self._sweep_factor(number)
        self._sweep_linear()

    def _add(self, number: int, stopped: Callable[[], bool]) -> bool:
        """Learn one more factor; whether rows support it."""
        mean = START * self.random.normal(size=self.width) * self.occurs
        self.residual -= self._pairs(mean)
        self.factors[number], self.variances[number] = mean, START**2 * self.occurs
        self.priors[number] = START_PRIOR
        self.found.append(number)
        for sweep in range(INNER):
            self._sweep_factor(number, held=self.binary or sweep < HELD)
            if sweep % BETWEEN == BETWEEN - 1:
                self._sweep_linear()
            if stopped():
                break
        if not self._has_support(number):
            self._give_up(number)
            return False
        self._sweep()
        return True

    def _pairs(self, mean: np.ndarray) -> np.ndarray:
        """What a factor of these means (d,) adds to the scores, (n,)."""
        return np.asarray(0.5 * (np.square(self.rows @ mean) - self.squares @ np.square(mean)))

    def _has_support(self, number: int) -> bool:
        squares = float(np.sum(self.factors[number] ** 2))
        return squares >= SUPPORTED * float(self.variances[number].sum())

    def _give_up(self, number: int) -> None:
        self.residual += self._pairs(self.factors[number])
        self.factors[number] = 0
        self.found.remove(number)
        del self.variances[number], self.priors[number], self.spread[number]

    def _sweep_factor(self, number: int, *, held: bool = False) -> None:
        """Set one factor of all features, and its prior unless that is ``held``."""
        mean, variance, spread = self.factors[number], self.variances[number], np.empty(self.height)
        steps.kernel().sweep_factor(
            *self.cells, self.precision, self.residual, mean, variance, self.priors[number], spread
        )
        self.spread[number] = spread
        self.sweeps += 1
        if not held:
            self.priors[number] = self._prior(mean, variance)

    def _sweep_linear(self) -> None:
        """Set the bias, the linear weights and their prior, then the precision of the labels."""
        if self.use_bias:
            weight = float(self.precision.sum())
            step = float(self.precision @ self.residual) / weight
            self.bias, self.bias_variance = self.bias + step, 1 / weight
            self.residual -= step
        if self.use_linear:
            mean, variance = self.linear, self.linear_variance
            steps.kernel().sweep_linear(*self.cells, self.precision, self.residual, mean, variance, self.linear_prior)
            self.linear_prior = self._prior(mean, variance)
        variance = self.squares @ self.linear_variance + self.bias_variance
        self._target(self.target - self.residual, variance + sum(self.spread.values()))

    def _prior(self, mean: np.ndarray, variance: np.ndarray) -> float:
        return (self.count + 1) / (float(mean @ mean + variance.sum()) + WEAK)

    def _target(self, scores: np.ndarray, variance: np.ndarray) -> None:
        """Set the precision of the labels by scores (n,) and their variance, and what scores are to come near."""
        if self.binary:
            width = np.sqrt(np.square(scores) + variance) + 1e-9
            self.precision = np.tanh(width / 2) / (2 * width)
            self.target = (self.labels - 0.5) / self.precision
        else:
            errors = float(np.sum(np.square(self.labels - scores) + variance))
            self.precision = np.full(self.height, (self.height + 1) / (errors + WEAK))
            self.target = self.labels
        self.residual = self.target - scores
