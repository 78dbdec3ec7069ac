"""Newton's method for many small problems side by side, which are alike.

A step solves the equations of the second derivatives. These are taken as a mean of all problems, which are folds of the
same rows, and serve until steps gain too little by them: the equations are then made and solved once for all problems,
and two to five steps from the minimum at a neighbouring penalty are enough. All problems take each step together, in
arrays with one row for each: of 20 rows in ten folds, calls cost more than arithmetic.

Of several hosts each has its rows of the sums, and the leader solves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from algorithms.common.hosts import ONE_HOST, of_leader
from algorithms.interface import Hosts

DESCENT, NOISE = 1e-4, 1e-12
"""A step has to gain this share of what the slope promises, less what rounding adds to a value."""
HALVINGS = 40
"""At most: from where all is all but straight, a step may be 1e10 times too long. A problem that they do not help stays
where it is."""
SLOW = 0.25
"""A step that promises more than this share of what the last one did asks for second derivatives of where it is."""
SMALLEST_CURVATURE, SMALLEST_SHARE = 1e-10, 1e-14
"""Added to all second derivatives, the latter times the largest: they vanish in directions in which all rows are told
apart beyond doubt, and beside weights of rows of 1e38 nothing less is left of a sum."""


class Values(NamedTuple):
    """Values (m,) and gradients (m, p) of m problems, float64."""

    value: np.ndarray
    gradient: np.ndarray


Evaluate = Callable[[np.ndarray, np.ndarray], Values]
"""Of the problems of these numbers (m,) at these points (m, p)."""
Curvature = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""The mean of their second derivatives there, (p, p), of which the upper triangle counts."""


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
            direction, slope = _direction(solve, at.gradient, hosts)
        if solve is None or not -slope.sum() <= SLOW * promised:
            solve = _solver(curvature(running, found[running]), hosts)
            direction, slope = _direction(solve, at.gradient, hosts)
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


Solve = Callable[[np.ndarray], np.ndarray]
"""Solutions (m, p) of the equations with these right-hand sides (m, p)."""


def _solver(hessian: np.ndarray, hosts: Hosts) -> Solve:
    """Of the leader; the others' is not used."""
    if hosts.rank:
        return np.zeros_like
    diagonal = np.einsum("pp->p", hessian)
    diagonal += SMALLEST_CURVATURE + SMALLEST_SHARE * diagonal.max()
    factor, failed = dpotrf(hessian)
    if failed:  # beyond what float64 tells apart
        return lambda right: right / np.maximum(diagonal, SMALLEST_CURVATURE)
    return lambda right: np.asarray(dpotrs(factor, right.T)[0].T)


def _direction(solve: Solve, gradient: np.ndarray, hosts: Hosts) -> tuple[np.ndarray, np.ndarray]:
    """Newton's steps (m, p), and the slopes (m,) along them."""
    direction = -solve(gradient)
    slope = np.einsum("mp,mp->m", direction, gradient)
    if hosts.size > 1:
        both = of_leader(hosts, np.column_stack([direction, slope]))
        direction, slope = both[:, :-1], both[:, -1]
    return direction, slope
