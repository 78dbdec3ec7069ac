"""Temperature scaling: one factor for the scores of several classes, fitted on rows that the models have not seen."""

from __future__ import annotations

import numpy as np

from algorithms.common.hosts import of_leader
from algorithms.interface import Hosts

PRIOR = 1.0
"""Precision of the normal prior of the factor's logarithm. Without it, for a few rows that are all classified rightly,
the best factor would be infinite."""
STEPS, MOST, TOLERANCE = 30, 3.0, 1e-3
"""Newton's steps, how many times larger or smaller one makes the factor at the most, and the change that ends them:
after it about its square is left."""
CELLS = 1 << 20
"""Most scores that are processed together, which bounds their memory in float64."""


def temperature(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray, doubt: float, hosts: Hosts) -> float:
    """The factor of scores at which the softmax loss of all hosts' rows, with that of the prior, is least.

    If classes have a few rows each, a penalty that gives weights the right directions makes them too short, and one
    that leaves them long enough fits them to chance (Guo et al., "On Calibration of Modern Neural Networks", ICML
    2017). The loss is convex in the factor.

    Args:
        scores: (n, c) of this host's rows, by models that were trained without them.
        labels: (n,) class numbers.
        counts: (n,) the weight of each row.
        doubt: what the loss grows by with the distance of the true class's score from the mean; see ``path.DOUBT``.
    """
    factor, size = 1.0, max(CELLS // scores.shape[1], 1)
    parts = [slice(start, start + size) for start in range(0, len(scores), size)]
    shifted = _shifted(scores, labels, doubt) if len(parts) == 1 else None
    for _ in range(STEPS):
        sums = np.zeros(2)
        for part in parts:
            rows = shifted or _shifted(scores[part], labels[part], doubt)
            sums += _derivatives(factor, *rows, counts[part])
        slope, curvature = hosts.sum(sums)[0].tolist()
        slope, curvature = slope + PRIOR * np.log(factor) / factor, curvature + PRIOR / factor**2
        step = np.clip(factor - slope / curvature, factor / MOST, factor * MOST)
        change = abs(step - factor) / factor
        factor, change = of_leader(hosts, np.array([step, change])).tolist()
        if not change > TOLERANCE:
            break
    return factor


def _shifted(scores: np.ndarray, labels: np.ndarray, doubt: float) -> tuple[np.ndarray, np.ndarray]:
    """The scores (n, c) less each row's highest, which exponentials bear, and (n,) what grows with the factor in a
    row's loss, with a minus; see ``temperature``."""
    z = scores.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    true = z[np.arange(len(z)), labels]
    return z, true - doubt * (true - z.mean(axis=1))


def _derivatives(factor: float, z: np.ndarray, against: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The sum of these rows' losses by the factor, once and twice, (2,), by what ``_shifted`` gives."""
    chance = np.exp(factor * z)
    chance /= chance.sum(axis=1, keepdims=True)
    mean = np.vecdot(chance, z)
    variance = np.vecdot(chance * z, z) - mean * mean
    return np.array([counts @ (mean - against), counts @ variance])
