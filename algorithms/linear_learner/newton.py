"""Newton's method for many small problems side by side, which are alike.

A step solves the equations of the second derivatives. These are taken of all rows, of which the problems are folds, and
serve until steps gain too little by them: the equations are then made and solved once for all problems, less the rows
that a fold lacks, and two to five steps from the minimum at a neighbouring penalty are enough. All problems take each
step together, in arrays with one row for each: of 20 rows in ten folds, calls cost more than arithmetic.

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


class Values(NamedTuple):
    """Values (m,) and gradients (m, p) of m problems, float64."""

    value: np.ndarray
    gradient: np.ndarray


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
    ``tolerance`` of the value, or after so many steps.

    Args:
        evaluate, curvature: with the rows of all ``hosts``, which call them at the same time, and have the same values
            to the bit: they decide on each host which problem goes on.
        starts: (m, p) float64.
    """
    found = starts.copy()
    running = np.arange(len(starts))
    at = evaluate(running, found)
    solve: Solve | None = None
    promised = 0.0
    for _ in range(steps):
        if solve is not None:
            direction, slope = _direction(solve, running, at.gradient, hosts)
        if solve is None or not -slope.sum() <= SLOW * promised:
            solve = _solver(curvature(running, found[running]), running, hosts)
            direction, slope = _direction(solve, running, at.gradient, hosts)
        near = -slope <= 2 * tolerance * np.abs(at.value)
        start = at.value
        if near.any():
            found[running[near]] += direction[near]
            running, direction, slope, start = running[~near], direction[~near], slope[~near], start[~near]
        if not len(running):
            break
        promised = -float(slope.sum())
        size = np.ones(len(running))
        for _ in range(HALVINGS):
            there = found[running] + size[:, None] * direction
            at = evaluate(running, there)
            high = ~(at.value <= start + DESCENT * size * slope + NOISE * np.abs(start))
            if not high.any():
                break
            size[high] /= 2
        low = ~high
        found[running[low]] = there[low]
        if high.any():
            running, at = running[low], Values(*(part[low] for part in at))
        if not len(running):
            break
    return found


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


def _direction(solve: Solve, numbers: np.ndarray, gradient: np.ndarray, hosts: Hosts) -> tuple[np.ndarray, np.ndarray]:
    """Newton's steps (m, p), and the slopes (m,) along them."""
    direction = -solve(numbers, gradient)
    slope = np.einsum("mp,mp->m", direction, gradient)
    if hosts.size > 1:
        both = of_leader(hosts, np.column_stack([direction, slope]))
        direction, slope = both[:, :-1], both[:, -1]
    return direction, slope
