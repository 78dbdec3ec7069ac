"""Newton's method for many small problems side by side.

A step solves the equations of the second derivatives, which costs next to nothing where weights are few, and two or
three steps from the minimum at a neighbouring penalty are enough. All problems take each step together, in arrays with
one row for each: of 20 rows in ten folds, calls cost more than arithmetic.

Of several hosts each has its rows of the sums, and the leader solves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from algorithms.common.hosts import ONE_HOST, of_leader
from algorithms.interface import Hosts

DESCENT, NOISE = 1e-4, 1e-12
"""A step has to gain this share of what the slope promises, less what rounding adds to a value."""
HALVINGS = 40
"""At most: from where all is all but straight, a step may be 1e10 times too long. A problem that they do not help stays
where it is."""
SMALLEST_CURVATURE, SMALLEST_SHARE = 1e-10, 1e-14
"""Added to all second derivatives, the latter times the largest: they vanish in directions in which all rows are told
apart beyond doubt, and beside weights of rows of 1e38 nothing less is left of a sum."""


class Values(NamedTuple):
    """Values (m,), gradients (m, p) and second derivatives (m, p, p) of m problems, float64."""

    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray


Evaluate = Callable[[np.ndarray, np.ndarray], Values]
"""Of the problems of these numbers (m,) at these points (m, p)."""


def minimise_together(
    evaluate: Evaluate, starts: np.ndarray, tolerance: float, steps: int, hosts: Hosts = ONE_HOST
) -> np.ndarray:
    """The minimum of each convex problem, (m, p): after a step of which no more is to be gained than a share
    ``tolerance`` of the value, or after so many steps.

    Args:
        evaluate: with the rows of all ``hosts``, which call it at the same time, and have the same values to the bit:
            they decide on each host which problem goes on.
        starts: (m, p) float64.
    """
    found = starts.copy()
    running = np.arange(len(starts))
    at = evaluate(running, found)
    for _ in range(steps):
        direction, slope = _direction(at, hosts)
        near = -slope <= 2 * tolerance * np.abs(at.value)
        found[running[near]] += direction[near]
        if near.all():
            break
        running, direction, slope = running[~near], direction[~near], slope[~near]
        start = at.value[~near]
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
        running, at = running[low], Values(*(part[low] for part in at))
    return found


def _direction(at: Values, hosts: Hosts) -> tuple[np.ndarray, np.ndarray]:
    """Newton's steps (m, p), and the slopes (m,) along them."""
    both = np.zeros((len(at.value), at.gradient.shape[1] + 1))
    if hosts.rank == 0:
        largest = np.einsum("mpp->mp", at.hessian).max(axis=1)
        least = SMALLEST_CURVATURE + SMALLEST_SHARE * largest
        curved = at.hessian + least[:, None, None] * np.eye(at.gradient.shape[1])
        both[:, :-1] = np.linalg.solve(curved, -at.gradient[:, :, None])[:, :, 0]
        both[:, -1] = np.einsum("mp,mp->m", both[:, :-1], at.gradient)
    both = of_leader(hosts, both)
    return both[:, :-1], both[:, -1]
