"""Newton's method for many small problems side by side, which are alike.

A step solves the equations of the second derivatives. These are taken of all rows, of which the problems are folds, and
serve until steps gain too little by them: the equations are then made and solved once for all problems, less the rows
that a fold lacks, and two to five steps from the minimum at a neighbouring penalty are enough. What the gradients tell
meanwhile of how second derivatives have changed is put in by BFGS' formula (Nocedal and Wright, "Numerical
Optimization", 2006, algorithm 7.4), so that they serve for half as many steps again. All problems take each step
together, in arrays with one row for each: of 20 rows in ten folds, calls cost more than arithmetic.

Where rows are few beside the weights, what a fold lacks matters: with the second derivatives of rows that it does not
know, steps hardly move their scores, and a search ends with those of a stronger penalty than the one that it is for.

Of several hosts each has its rows of the sums, and the leader solves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs, dtrtrs

from algorithms.common.hosts import ONE_HOST, of_leader
from algorithms.interface import Hosts

DESCENT, NOISE = 1e-4, 1e-12
"""A step has to gain this share of what the slope promises, less what rounding adds to a value."""
HALVINGS = 40
"""At most: from where all is all but straight, a step may be 1e10 times too long. A problem that they do not help stays
where it is."""
SLOW = 0.4
"""A step that promises more than this share of what the last one did asks for second derivatives of where it is."""
SMALLEST_CURVATURE, SMALLEST_SHARE = 1e-10, 1e-14
"""Added to all second derivatives by one weight, the latter times each: they vanish in directions in which all rows are
told apart beyond doubt, and beside weights of rows of 1e38 nothing less is left of a sum. A share of the largest would
hold a bias where it is, beside a strong penalty of a direction in which rows hardly differ."""

PRODUCTS, PAIRS, PRODUCTS_OF_OUTPUTS = 3e7, 1 << 20, 3
"""Up to so many products for the second derivatives and their equations, and of several outputs so many products of two
columns in all rows, Newton's method takes less time than L-BFGS, whose steps are many; of several outputs each product
counts so often for every fold: where classes have few rows or none, what L-BFGS leaves undone predicts better."""


def pays(rows: int, columns: int, outputs: int, folds: int) -> bool:
    """Whether Newton's method takes less time than L-BFGS for models of these sizes, the bias among the columns."""
    products = rows * (columns * outputs) ** 2 + (columns * outputs) ** 3
    if outputs == 1:
        return products <= PRODUCTS
    return PRODUCTS_OF_OUTPUTS * folds * products <= PRODUCTS and rows * columns**2 <= PAIRS


class Values(NamedTuple):
    """Values (m,) and gradients (m, p) of m problems, float64."""

    value: np.ndarray
    gradient: np.ndarray

    def of(self, chosen: np.ndarray) -> Values:
        """Those of the problems that are ``chosen``, (m,) bool."""
        return Values(self.value[chosen], self.gradient[chosen])


class Pair(NamedTuple):
    """A step of m problems (m, p), the change of their gradients (m, p), and (m,) one by the product of both."""

    move: np.ndarray
    change: np.ndarray
    inverse: np.ndarray

    @staticmethod
    def between(move: np.ndarray, change: np.ndarray) -> Pair:
        """Of a step that tells nothing, as no step of a straight function does, the last is 0."""
        curvature = np.vecdot(move, change)
        return Pair(move, change, 1 / np.where(curvature > 0, curvature, np.inf))

    def of(self, chosen: np.ndarray) -> Pair:
        """That of the problems that are ``chosen``, (m,) bool."""
        return Pair(*(part[chosen] for part in self))


Evaluate = Callable[[np.ndarray, np.ndarray], Values]
"""Of the problems of these numbers (m,) at these points (m, p)."""


class Curved(NamedTuple):
    """Second derivatives (p, p) that m problems nearly share, of which the upper triangle counts; and (m, h, p) what
    each of them lacks of these, as rows u whose sum of u u' is to be taken off, or None for nothing."""

    shared: np.ndarray
    lacking: np.ndarray | None = None


Curvature = Callable[[np.ndarray, np.ndarray], Curved]
"""Those of the problems of these numbers (m,) at these points (m, p)."""


def minimise_together(
    evaluate: Evaluate,
    curvature: Curvature,
    starts: np.ndarray,
    tolerance: float,
    steps: int,
    hosts: Hosts = ONE_HOST,
) -> np.ndarray:
    """The minimum of each convex problem, (m, p): after a step of which no more is to be gained than a share
    ``tolerance`` of its value, or of the mean of all where that is larger, or after so many steps.

    Args:
        evaluate, curvature: with the rows of all ``hosts``, which call them at the same time, and have the same values
            to the bit: they decide on each host which problem goes on.
        starts: (m, p) float64.
    """
    found, points = starts.copy(), starts
    running = np.arange(len(starts))
    at = evaluate(running, points)
    values = np.array(at.value)
    solve: Solve | None = None
    pairs: list[Pair] = []
    promised = 0.0
    for _ in range(steps):
        if solve is not None:
            direction, slope = _direction(solve, running, at.gradient, pairs, hosts)
        if solve is None or not -slope.sum() <= SLOW * promised:
            pairs = []
            solve = _solver(curvature(running, points), running, hosts)
            direction, slope = _direction(solve, running, at.gradient, pairs, hosts)
        near = -slope <= 2 * tolerance * np.maximum(np.abs(at.value), _level(values))
        if np.count_nonzero(near):
            found[running[near]] = points[near] + direction[near]
            running, points, direction, slope = running[~near], points[~near], direction[~near], slope[~near]
            at, pairs = at.of(~near), [pair.of(~near) for pair in pairs]
        if not len(running):
            return found
        promised = -float(slope.sum())
        move, gain = direction, DESCENT * slope
        least = at.value + NOISE * np.abs(at.value)
        for _ in range(HALVINGS):
            there = points + move
            new = evaluate(running, there)
            high = ~(new.value <= least + gain)
            if not np.count_nonzero(high):
                break
            move, gain = np.where(high[:, None], move / 2, move), np.where(high, gain / 2, gain)
        else:
            found[running[high]] = points[high]
            running, points, there, move = running[~high], points[~high], there[~high], move[~high]
            at, new, pairs = at.of(~high), new.of(~high), [pair.of(~high) for pair in pairs]
            if not len(running):
                return found
        pairs.append(Pair.between(move, new.gradient - at.gradient))
        points, at = there, new
        values[running] = at.value
    found[running] = points
    return found


def _level(values: np.ndarray) -> float:
    """How large these values are in the mean, of those that are finite."""
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).sum()) / max(len(finite), 1)


Solve = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Solutions (m, p) of the equations of the problems of these numbers (m,), with these right-hand sides (m, p)."""


def _solver(curved: Curved, numbers: np.ndarray, hosts: Hosts) -> Solve:
    """Of the leader for the problems of these ``numbers``; the others' is not used."""
    if hosts.rank:
        return lambda _, right: np.zeros_like(right)
    hessian = curved.shared
    diagonal = np.einsum("pp->p", hessian)
    diagonal += SMALLEST_CURVATURE + SMALLEST_SHARE * diagonal
    factor, failed = dpotrf(hessian)
    if failed:  # beyond what float64 tells apart
        return lambda _, right: right / np.maximum(diagonal, SMALLEST_CURVATURE)
    apart = None if curved.lacking is None else _apart(factor, curved.lacking, numbers)
    return apart or (lambda _, right: np.asarray(dpotrs(factor, right.T)[0].T))


def _apart(factor: np.ndarray, lacking: np.ndarray, numbers: np.ndarray) -> Solve | None:
    """Of each problem by itself, by the Cholesky ``factor`` of what they share: Woodbury's identity (Golub and Van
    Loan, "Matrix Computations", 2013, section 2.1.4). None where float64 does not tell what they have left from none.
    """
    m, rows, size = lacking.shape
    halves = dtrtrs(factor, lacking.reshape(m * rows, size).T, trans=1)[0].T.reshape(m, rows, size)
    for problem, left in enumerate(np.eye(rows) - halves @ halves.transpose(0, 2, 1)):
        root, failed = dpotrf(left)
        if failed:  # by what is not positive definite a step may lead upwards
            return None
        halves[problem] = dtrtrs(root, halves[problem], trans=1)[0]  # w: the inverse is I + w' w between the factors'
    place = np.zeros(numbers.max() + 1, np.intp)
    place[numbers] = np.arange(m)

    def solve(asked: np.ndarray, right: np.ndarray) -> np.ndarray:
        half = dtrtrs(factor, right.T, trans=1)[0].T
        mine = halves if len(asked) == m else halves[place[asked]]
        along = mine @ half[:, :, None]  # (m, h, 1)
        half = half + (along.transpose(0, 2, 1) @ mine)[:, 0]
        return np.asarray(dtrtrs(factor, half.T)[0].T)

    return solve


def _direction(
    solve: Solve, numbers: np.ndarray, gradient: np.ndarray, pairs: list[Pair], hosts: Hosts
) -> tuple[np.ndarray, np.ndarray]:
    """Steps (m, p), by the second derivatives and the ``pairs`` of the steps since then, the oldest first; and the
    slopes (m,) along them."""
    right, shares = -gradient, []
    for pair in reversed(pairs):
        shares.append(np.vecdot(pair.move, right) * pair.inverse)
        right = right - shares[-1][:, None] * pair.change
    direction = solve(numbers, right)
    for pair, share in zip(pairs, reversed(shares), strict=True):
        direction = direction + (share - np.vecdot(pair.change, direction) * pair.inverse)[:, None] * pair.move
    slope = np.vecdot(direction, gradient)
    if hosts.size > 1:
        both = of_leader(hosts, np.column_stack([direction, slope]))
        direction, slope = both[:, :-1], both[:, -1]
    return direction, slope
