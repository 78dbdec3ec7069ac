"""L-BFGS for many small problems that are evaluated together.

Nocedal and Wright, "Numerical Optimization" (2006), algorithms 7.4 and 7.5, with a line search that halves and doubles
until the weak Wolfe conditions hold (Lewis and Overton, "Nonsmooth optimization via quasi-Newton methods", Mathematical
Programming 141, 2013). Each problem is a generator that asks for its value at one point after the other, so that one
matrix product can answer all of them at once.

Of several hosts the leader searches, and the others evaluate where it asks: on another processor the same numbers may
round differently, and two searches that diverge would wait for each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence

import numpy as np

from algorithms.common.hosts import ONE_HOST
from algorithms.interface import Hosts

HISTORY = 8
"""Most pairs of steps and changes of the gradient that are remembered."""
DESCENT, CURVATURE = 1e-4, 0.9
"""Constants of the Wolfe conditions."""
LINE_STEPS = 20
NOISE = 1e-6
"""Relative error of a value that is a mean of float32 losses; smaller increases are ignored."""

Value = tuple[float, np.ndarray]
Evaluate = Callable[[list[int], list[np.ndarray]], Sequence[Value]]
"""Values and gradients of the problems of these numbers at these points."""


def minimise(
    start: np.ndarray, inverse: np.ndarray, tolerance: float, steps: int, l1: np.ndarray | None = None
) -> Generator[np.ndarray, Value, np.ndarray]:
    """Ask for values and gradients until the value falls by less than a share ``tolerance`` of it; returns the point.

    Args:
        start: (p,), float32 or float64, as all that is computed.
        inverse: (p,) approximate inverse of the diagonal of the second derivatives, the preconditioner.
        steps: at most so many.
        l1: (p,) penalties of absolute values, which the values and gradients asked for leave out. A search then stays
            where no weight changes its sign, except to 0 (OWL-QN: Andrew and Gao, "Scalable Training of L1-Regularized
            Log-Linear Models", ICML 2007).
    """
    point = start
    value, gradient = yield point
    value += _size(point, l1)
    pairs: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=HISTORY)
    idle = 0
    for _ in range(steps):
        steepest = gradient if l1 is None else _with_kinks(point, gradient, l1)
        direction = _direction(steepest, pairs, inverse)
        if l1 is not None:
            direction[direction * steepest >= 0] = 0  # at 0 a weight without a slope stays
        slope = float(direction @ steepest)
        if not slope < 0 or -slope <= min(NOISE, tolerance) * abs(value):
            break
        found = yield from _line_search(point, value, direction, slope, l1)
        if found is None:
            break
        there, new_value, new_gradient = found
        move, change = there - point, new_gradient - gradient
        curvature = float(move @ change)
        if curvature > 0:
            pairs.append((move, change, curvature))
        fall, point, value, gradient = value - new_value, there, new_value, new_gradient
        idle = idle + 1 if fall <= tolerance * abs(value) else 0
        if idle and (l1 is None or idle > 1):
            break
        if idle:
            pairs.clear()  # what they tell may be of weights that have changed their signs since
    return point


def _line_search(
    point: np.ndarray, value: float, direction: np.ndarray, slope: float, l1: np.ndarray | None
) -> Generator[np.ndarray, Value, tuple[np.ndarray, float, np.ndarray] | None]:
    """A point along ``direction`` that meets the weak Wolfe conditions, with its value and gradient; None if there is
    none within ``LINE_STEPS``. With ``l1`` sufficient decrease is enough.

    Args:
        value: at ``point``, with the penalty.
        slope: derivative of the value along ``direction``, below 0.
    """
    size, low, high = 1.0, 0.0, np.inf
    for _ in range(LINE_STEPS):
        there = point + point.dtype.type(size) * direction
        if l1 is not None:
            there[(l1 > 0) & (there * np.where(point == 0, direction, point) < 0)] = 0
        new_value, new_gradient = yield there
        new_value += _size(there, l1)
        if not new_value <= value + DESCENT * size * slope + NOISE * abs(value):
            high = size
        elif l1 is None and float(direction @ new_gradient) < CURVATURE * slope:
            low = size
        else:
            return there, new_value, new_gradient
        size = (low + high) / 2 if np.isfinite(high) else 2 * low
    return None


def _size(point: np.ndarray, l1: np.ndarray | None) -> float:
    """The L1 penalty at a point."""
    return 0.0 if l1 is None else float(np.vdot(l1, np.abs(point)))


def _with_kinks(point: np.ndarray, gradient: np.ndarray, l1: np.ndarray) -> np.ndarray:
    """The gradient with that of the penalty; at 0, where it has a kink, the subgradient of the smallest size."""
    away = gradient - np.clip(gradient, -l1, l1)
    return np.where(point == 0, away, gradient + np.sign(point) * l1)


def _direction(
    gradient: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray, float]], inverse: np.ndarray
) -> np.ndarray:
    """Minus the approximate inverse Hessian times ``gradient``: the two loops of algorithm 7.4."""
    q = -gradient
    shares = []
    for move, change, curvature in reversed(pairs):
        share = q.dtype.type((move @ q) / curvature)
        shares.append(share)
        q -= share * change
    scale = 1.0
    if pairs:
        _, change, curvature = pairs[-1]
        size = float(change @ (inverse * change))
        scale = curvature / size if size > 0 else 1.0  # the squares of the last steps may be below float32's least
    q *= q.dtype.type(scale) * inverse
    for (move, change, curvature), share in zip(pairs, reversed(shares), strict=True):
        q += (share - q.dtype.type((change @ q) / curvature)) * move
    return q


def minimise_all(
    evaluate: Evaluate,
    starts: list[np.ndarray],
    inverse: np.ndarray,
    tolerance: float,
    steps: int,
    l1: np.ndarray | None = None,
    hosts: Hosts = ONE_HOST,
) -> list[np.ndarray]:
    """The minimum of each problem; those that have ended are evaluated no more.

    Args:
        evaluate: with the rows of all ``hosts``, which call it at the same time.
        starts: all of one size.
    """
    if hosts.rank:
        return _followed(evaluate, starts, hosts)
    found = list(starts)
    running = {number: minimise(start, inverse, tolerance, steps, l1) for number, start in enumerate(starts)}
    asked = {number: next(search) for number, search in running.items()}
    while asked:
        numbers = list(asked)
        points = [asked[number] for number in numbers]
        _announce(hosts, len(starts), numbers, points)
        values = evaluate(numbers, points)
        for number, value in zip(numbers, values, strict=True):
            try:
                asked[number] = running[number].send(value)
            except StopIteration as ended:
                found[number] = ended.value
                del asked[number]
    _announce(hosts, len(starts), [], found)
    return found


def _announce(hosts: Hosts, problems: int, numbers: list[int], points: list[np.ndarray]) -> None:
    """Send the other hosts the points of the problems of these ``numbers``; if it is empty, of all, as the end."""
    if hosts.size > 1:
        message = np.zeros((problems, 1 + len(points[0])), points[0].dtype)
        message[numbers, 0] = 1
        message[numbers or slice(None), 1:] = points
        hosts.sum(message)


def _followed(evaluate: Evaluate, starts: list[np.ndarray], hosts: Hosts) -> list[np.ndarray]:
    """``minimise_all`` on a host that is not the leader: evaluate where it asks; its result."""
    nothing = np.zeros((len(starts), 1 + len(starts[0])), starts[0].dtype)
    while True:
        (message,) = hosts.sum(nothing)
        numbers = np.flatnonzero(message[:, 0]).tolist()
        if not numbers:
            return list(message[:, 1:])
        evaluate(numbers, list(message[numbers, 1:]))


def ahead(*found: np.ndarray) -> np.ndarray:
    """Where the minima (k, p) at the next penalty may be, by those at the last three, penalties being evenly spaced: as
    far on as from the last but one to the last, or less, where that was less than the step before it.

    A search that starts there takes half the steps.
    """
    if len(found) < 3:
        return found[-1]
    step, before = found[2] - found[1], found[1] - found[0]
    size, now = np.linalg.norm(before, axis=1), np.linalg.norm(step, axis=1)
    share = np.divide(now, size, out=np.zeros_like(now), where=size > 0)
    return np.asarray(found[2] + np.minimum(share, 1)[:, None] * step)
