"""A factorization machine by variational Bayes, where all rows are in memory: no rates, and no penalties to choose.

Weights and factors have normal priors, and a normal posterior each, independent of the others. With the others' means
and variances, that of one number has a closed form, so that a sweep sets one after the other, as alternating least
squares does; the variances are what keeps factors of features with few rows near 0. The precision of a prior is then
set to what its numbers show (empirical Bayes), and so is that of the labels' noise. A score is linear in each number
that it has, so that the posterior mean of a score is the score of the means: they are the model.

Factors are learned one after the other, each on what those before it have left, then all of them together. A factor
that rows do not support shrinks to 0 and is given up, and after two of those no more are tried: ``num_factors`` is
their most. Of numbers, where rows are pairs of features of two kinds, as of a user and an item, and surely support
that many, up to twice as many are learned, and of these the ``num_factors`` that come nearest to all of them are the
model: what others leave out, each has to make up for. Of rows of more pairs, which are nearest depends on which
features come together, and as many as were asked for are learned as such.

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

FIRST, INNER, TOGETHER = 10, {True: 39, False: 24}, {True: 10, False: 40}
"""Sweeps: of linear weights alone; of a new factor, which hold its prior; and, at the most, of all at the end. Of
classes and of numbers."""
SETTLED = 0.002
"""A sweep of all that changes the precision of numbers by a smaller share of it is the last one."""
BETWEEN = 3
"""Sweeps of a new factor between two of the linear weights, which change little meanwhile."""
START, START_PRIOR = 0.1, 2.0
"""A new factor's deviation, and the precision of its prior while that is held, of classes: weak enough for a factor to
grow where a few rows a feature support it. While that is small, its variances outweigh its means, and a prior that is
set to both draws it to 0: of classes, whose rows tell little, for good."""
SHARE, NEARER = 0.62, 8
"""Of numbers, the prior that is held has this share of a feature's precision, on the average over values, before a
factor has learned anything; and steps in which it is found. With half of it factors overfit, as of MovieLens' ratings:
sweeps take the others' means for more certain than they are. With a larger one those of few rows do not grow."""
HALF = 0.5
"""The share after a first factor that rows did not support: one of a few columns among many, or of few rows, may grow
with it alone, and whether it is any good is for held-out rows to say."""
ROUNDING = 1e-9
"""What is left of a sum by less than this share of it is nothing."""
MORE, WIDE, NARROW = 2, 0.9, 0.6
"""What a factor of numbers shows at the end of its own sweeps is a prior, too, by which that which was held is divided.
As long as the quotient is ``WIDE``, and rows are pairs of two kinds of features, up to so many times the factors that
are asked for are learned. A factor of one below ``NARROW`` is given up: it is fitted to chance, of which sweeps of all
leave a part."""
GIVEN_UP = 2
"""So many factors without support end the search for more."""
SUPPORTED = 0.05
"""A factor whose squared means are a smaller share of its variances says nothing."""
HOPE, MANY_ROWS = 2.0, 1000
"""From so many rows on a new factor that has shrunk, and whose share would have to grow by as much between each two of
the sweeps of linear weights that are left, is swept no more: what grows from nothing does so by less. It stays for
those sweeps, as linear weights are learned beside the variance that it gives to scores. Fewer rows take no time."""
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
    weights: np.ndarray | None = None,
    binary: bool,
    use_bias: bool,
    use_linear: bool,
    alone: np.ndarray | None = None,
    most: int,
    seed: int,
    stopped: Callable[[], bool],
    enough: Enough | None = None,
    begun: Fit | None = None,
    offer: Offer = lambda steps, make: None,
) -> dict[str, np.ndarray]:
    """Posterior means: ``bias`` (1,), ``linear`` (d,) and ``factors`` (d, k), float32.

    Args:
        features: (n, d), n > 0, of values around 1. labels: (n,), of deviation 1, or classes 0 and 1.
        weights: of rows, (n,), of mean 1; None where all are 1.
        alone: the columns (d,), bool, that have no factors; None for none.
        factors: k. most: sweeps of one factor, after which no more factors are added.
        stopped: whether to end as soon as may be, with what there is.
        enough: is asked after each factor, and ends the fit.
        begun: a fit of the same rows and options to go on from, to the same model, bit for bit.
        offer: is called wherever the fit could go on.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    alone = np.zeros(features.shape[1], bool) if alone is None else alone
    machine = _Machine(features, labels, weights, alone, factors, binary, use_bias, use_linear, seed)
    if begun is not None:
        machine.go_on(begun)
    else:
        machine.begin()
    machine.learn(most, stopped, enough, offer)
    return machine.means()


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

Enough = Callable[[dict[str, np.ndarray]], bool]
"""Whether a machine of these means needs no more factors."""

_COUNTS = "tried", "failed", "together", "sweeps", "is_enough", "is_wide", "is_settled"
_PRIORS = "bias", "bias_variance", "linear_prior", "start_prior"
_ARRAYS = "linear", "linear_variance", "precision", "target", "residual"
_OF_FACTORS = "factors", "variances", "spread"


class _Machine:
    """Means and variances of the bias, of ``linear`` (d,), and of ``factors``, (d,) each by its number, float64.

    Attributes:
        precision: of each row's label, (n,). residual: of its ``target`` and its score, (n,).
        spread: variance of what each factor adds to the scores, by factor, (n,). found: the factors with support.
        sweeps: of one factor, so far. tried: factors that were added. failed: those of them that were given up.
        together: sweeps of all at the end. is_enough: the caller needs no more factors. is_settled: nor more sweeps.
        is_wide: so are all factors so far. start_prior: the precision of a factor's prior while it is learned.
        occurs, in_pairs: the columns (d,) that rows have, and those of them that have factors.
    """

    def __init__(
        self,
        features: Features,
        labels: np.ndarray,
        weights: np.ndarray,
        alone: np.ndarray,
        factors: int,
        binary: bool,
        use_bias: bool,
        use_linear: bool,
        seed: int,
    ) -> None:
        if not isinstance(features, np.ndarray):
            order = _by_first_column(features)
            features, labels, weights = features[order], labels[order], weights[order]
        columns = sp.csc_array(features, dtype=np.float32)
        columns.sum_duplicates()
        self.cells = columns.data, columns.indices.astype(np.int32), columns.indptr.astype(np.int64)
        self.paired = _without(self.cells, alone) if alone.any() else self.cells
        self.rows = sp.csr_array(columns, dtype=np.float64)
        self.squares = sp.csr_array((self.rows.data**2, self.rows.indices, self.rows.indptr), self.rows.shape)
        self.height, self.width = columns.shape
        self.occurs, self.in_pairs = (np.diff(cells[2]) > 0 for cells in (self.cells, self.paired))
        self.weights, self.lengths = weights, self.squares.T @ weights
        self.labels, self.binary, self.random = labels.astype(np.float64), binary, np.random.default_rng(seed)
        self.use_bias, self.use_linear = use_bias, use_linear
        self.bias, self.bias_variance = 0.0, 0.0
        self.linear, self.linear_variance = np.zeros(self.width), np.zeros(self.width)
        self.linear_prior, self.start_prior = 1.0, START_PRIOR
        self.most = factors
        self.factors: dict[int, np.ndarray] = {}
        self.variances: dict[int, np.ndarray] = {}
        self.priors: dict[int, float] = {}
        self.spread: dict[int, np.ndarray] = {}
        self.found: list[int] = []
        self.is_enough, self.is_settled = False, False
        self.is_wide = not binary and _are_pairs(self.rows)
        self.sweeps = self.tried = self.failed = self.together = 0
        self.target, self.residual = self.labels, self.labels.copy()
        self._see(np.ones(self.height) if binary else 0.0)

    def begin(self) -> None:
        """The sweeps of linear weights alone, and the prior that new factors have."""
        for _ in range(FIRST):
            self._sweep_linear()
        if not self.binary:
            self.start_prior = self._prior_by_share(SHARE)

    def _prior_by_share(self, wanted: float) -> float:
        """The precision of a factor's prior that has the ``wanted`` share of that of its numbers, were their means all
        0: the rest is by the others' variances, which are wide where that of the prior is small."""
        values, fourth = np.diff(self.paired[2]), self.squares.power(2).T @ self.precision
        prior, variances = START_PRIOR, START**2 * self.in_pairs
        for _ in range(NEARER):
            whole, own = self.squares.T @ (self.precision * (self.squares @ variances)), fourth * variances
            told = np.where(self.in_pairs & (whole - own > ROUNDING * whole), whole - own, 0)
            if not told.any():  # no row has a pair
                return START_PRIOR
            weights = values * (told > 0)
            share, others = weights @ (prior / (prior + told)), weights @ (told / (prior + told))
            prior *= float(wanted / (1 - wanted) * others / share)
            variances = np.sqrt(variances / (prior + told))
        return prior

    def learn(self, most: int, stopped: Callable[[], bool], enough: Enough | None, offer: Offer) -> None:
        """All sweeps of factors."""
        while self._may_have_more(most) and not stopped():
            self._try_one_more(stopped, enough, offer)
        while self.found and self._may_be_better() and not stopped():
            before = float(self.precision.mean())
            self._sweep()
            self.together += 1
            self.is_settled = not self.binary and abs(float(self.precision.mean()) / before - 1) < SETTLED
            offer(self.tried + self.together, self.state)
        for number in [one for one in self.found if not self._has_support(one)]:
            self._give_up(number)

    def _may_have_more(self, most: int) -> bool:
        is_open = not self.is_enough and self.failed < GIVEN_UP
        return is_open and len(self.found) < self.most * (MORE if self.is_wide else 1) and self.sweeps < most

    def _may_be_better(self) -> bool:
        return not (self.is_enough or self.is_settled) and self.together < TOGETHER[self.binary]

    def _try_one_more(self, stopped: Callable[[], bool], enough: Enough | None, offer: Offer) -> None:
        before = self.state()
        found = self._add(self.tried, stopped)
        self.failed += not found
        self.tried += 1
        if not self.found and not self.binary:
            self.start_prior = self._prior_by_share(HALF)
        cut = stopped()  # a stop may have cut the factor short
        self.is_enough = found and not cut and enough is not None and enough(self.means())
        offer(self.tried - cut, lambda: before if cut else self.state())

    def means(self) -> dict[str, np.ndarray]:
        """What was learned, float32."""
        found = np.array([self.factors[one] for one in self.found]).reshape(-1, self.width)
        if len(found) > self.most:
            found = self._nearest(found)
        factors = np.zeros((self.width, self.most), np.float32)
        factors[:, : len(found)] = found.T
        return {
            "bias": np.array([self.bias], np.float32),
            "linear": self.linear.astype(np.float32),
            "factors": factors,
        }

    def _nearest(self, factors: np.ndarray) -> np.ndarray:
        """As many as were asked for, (k, d), whose products of pairs of features come nearest to those of more (f, d),
        by squares that weigh as much as the features do in the rows."""
        _, vectors = np.linalg.eigh((factors * self.lengths) @ factors.T)
        return np.asarray(vectors[:, -self.most :].T @ factors)

    def state(self) -> Fit:
        """Where the fit is."""
        numbers = {name: getattr(self, name) for name in (*_COUNTS, *_PRIORS)}
        numbers |= {"found": list(self.found), "priors": [self.priors[one] for one in self.found]}
        arrays = {name: getattr(self, name).copy() for name in _ARRAYS}
        for name in _OF_FACTORS:
            arrays[name] = np.array([getattr(self, name)[one] for one in self.found])
        return Fit({**numbers, "random": self.random.bit_generator.state}, arrays)

    def go_on(self, fit: Fit) -> None:
        """Be where a fit of the same rows was."""
        for name in (*_COUNTS, *_PRIORS):
            setattr(self, name, fit.numbers[name])
        for name in _ARRAYS:
            setattr(self, name, np.array(fit.arrays[name]))
        self.found = list(fit.numbers["found"])
        self.priors = dict(zip(self.found, fit.numbers["priors"], strict=True))
        for name in _OF_FACTORS:
            setattr(self, name, dict(zip(self.found, np.array(fit.arrays[name]), strict=True)))
        self.random.bit_generator.state = fit.numbers["random"]

    def _sweep(self) -> None:
        """Set all numbers once."""
        for number in self.found:
            self._sweep_factor(number)
        self._sweep_linear()

    def _add(self, number: int, stopped: Callable[[], bool]) -> bool:
        """Learn one more factor; whether rows support it."""
        mean = START * self.random.normal(size=self.width) * self.in_pairs
        self.residual -= self._pairs(mean)
        self.factors[number], self.variances[number] = mean, START**2 * self.in_pairs
        self.priors[number] = self.start_prior
        self.found.append(number)
        is_hopeless = False
        for left in reversed(range(INNER[self.binary] // BETWEEN)):
            before = self._support(number)
            if not is_hopeless:
                self._sweep_factor(number, BETWEEN, held=True)
            self._sweep_linear()
            if stopped():
                break
            is_hopeless = is_hopeless or self._is_hopeless(number, before, left)
        width = self._width(number)
        self.is_wide = self.is_wide and width >= WIDE
        if not self._has_support(number) or (width < NARROW and not self.binary):
            self._give_up(number)
            return False
        self._sweep()
        return True

    def _pairs(self, mean: np.ndarray) -> np.ndarray:
        """What a factor of these means (d,) adds to the scores, (n,)."""
        return np.asarray(0.5 * (np.square(self.rows @ mean) - self.squares @ np.square(mean)))

    def _is_hopeless(self, number: int, before: float, left: int) -> bool:
        """Whether a factor, whose support was so large ``before``, will have none after the sweeps that are left."""
        support = self._support(number)
        return self.height >= MANY_ROWS and support < before and support * HOPE**left < SUPPORTED

    def _has_support(self, number: int) -> bool:
        return self._support(number) >= SUPPORTED

    def _support(self, number: int) -> float:
        """The squared means of a factor, as a multiple of its variances; without a column that has any, 1."""
        variance = float(self.variances[number].sum())
        return float(np.sum(self.factors[number] ** 2)) / variance if variance else 1.0

    def _width(self, number: int) -> float:
        """The precision of the prior that is held while a factor is learned, by that which its numbers show."""
        squares = float(np.sum(self.factors[number] ** 2) + self.variances[number].sum())
        return self.start_prior * squares / max(float(self.in_pairs.sum()), 1.0)

    def _give_up(self, number: int) -> None:
        self.residual += self._pairs(self.factors[number])
        self.found.remove(number)
        del self.factors[number], self.variances[number], self.priors[number], self.spread[number]

    def _sweep_factor(self, number: int, sweeps: int = 1, *, held: bool = False) -> None:
        """Set one factor of all features so many times, and its prior after each unless that is ``held``.

        That of the first factor of numbers becomes no stronger than it was held: where few of many columns have
        interactions, the others' numbers draw it, and all factors with it, to 0 sweep by sweep. Held-out rows say
        whether a machine of such factors is better than none."""
        pairs = np.empty(self.height)
        self.priors[number] = steps.kernel().sweep_factor(
            *self.paired,
            self.precision,
            self.residual,
            self.factors[number],
            self.variances[number],
            self.priors[number],
            self.in_pairs.sum(),
            WEAK,
            sweeps,
            held,
            pairs,
        )
        if not self.binary and number == self.found[0]:
            self.priors[number] = min(self.priors[number], self.start_prior)
        self.spread[number] = pairs if self.binary else np.array([self.weights @ pairs])
        self.sweeps += sweeps

    def _sweep_linear(self) -> None:
        """Set the bias, the linear weights and their prior, then the precision of the labels."""
        if self.use_bias:
            weight = float(self.precision.sum())
            step = float(self.precision @ self.residual) / weight
            self.bias, self.bias_variance = self.bias + step, 1 / weight
            self.residual -= step
        if self.use_linear:
            self.linear_prior = steps.kernel().sweep_linear(
                *self.cells,
                self.precision,
                self.residual,
                self.linear,
                self.linear_variance,
                self.linear_prior,
                self.occurs.sum(),
                WEAK,
            )
        spread = sum(self.spread.values())
        if self.binary:
            self._see(self.squares @ self.linear_variance + self.bias_variance + spread)
        else:
            self._see(float(self.lengths @ self.linear_variance + self.height * self.bias_variance + np.sum(spread)))

    def _see(self, variance: np.ndarray | float) -> None:
        """Set the precision of the labels by the residual and the variance of the scores: of classes each row's, (n,),
        whose target follows, and of numbers the sum."""
        if self.binary:
            scores = self.target - self.residual
            width = np.sqrt(np.square(scores) + variance) + 1e-9
            precision = np.tanh(width / 2) / (2 * width)
            self.target = (self.labels - 0.5) / precision
            self.precision, self.residual = self.weights * precision, self.target - scores
        else:
            errors = float(self.weights @ np.square(self.residual)) + float(variance)
            self.precision = self.weights * ((self.height + 1) / (errors + WEAK))


_Cells = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Values, row numbers, and where columns start."""


def _without(cells: _Cells, columns: np.ndarray) -> _Cells:
    """With these columns (d,) empty."""
    values, rows, starts = cells
    sizes = np.diff(starts)
    kept = np.repeat(~columns, sizes)
    return values[kept], rows[kept], np.concatenate([[0], np.cumsum(np.where(columns, 0, sizes))])


def _are_pairs(rows: sp.csr_array) -> bool:
    """Whether rows have two features at the most, of which no first one, by its column, is a second one elsewhere."""
    sizes = np.diff(rows.indptr)
    if sizes.max(initial=0) > 2:
        return False
    starts = rows.indptr[:-1][sizes == 2]
    return not np.intersect1d(rows.indices[starts], rows.indices[starts + 1]).size


def _by_first_column(rows: sp.csr_array) -> np.ndarray:
    """The order (n,) of rows (n, d) by their first columns: those of one column are then near each other in memory."""
    if not rows.nnz:
        return np.arange(rows.shape[0])
    return np.argsort(rows.indices[np.minimum(rows.indptr[:-1], rows.nnz - 1)], kind="stable")
