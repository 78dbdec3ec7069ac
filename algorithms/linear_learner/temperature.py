"""One factor for the scores of several classes, by rows that the models do not know."""

from __future__ import annotations

import numpy as np

from algorithms.common.hosts import of_leader
from algorithms.interface import Hosts

PRIOR = 1.0
"""Precision of the normal prior of the factor's logarithm: of a few rows all of which are classified rightly, larger
scores would be better without end."""
STEPS, MOST, TOLERANCE = 30, 3.0, 1e-4
"""Newton's steps, how many times larger or smaller one makes the factor at the most, and the change that ends them."""
CELLS = 1 << 20
"""Scores that are looked at together, which bounds the memory that they take in float64."""


def temperature(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray, doubt: float, hosts: Hosts) -> float:
    """The factor of scores at which the softmax loss of all hosts' rows, with that of the prior, is least.

    A penalty that leaves weights their right directions, where classes have a few rows each, leaves them too short; one
    that leaves them long enough fits them to chance (Guo et al., "On Calibration of Modern Neural Networks", ICML
    2017). The loss is convex in the factor.

    Args:
        scores: (n, c) of this host's rows, by models that do not know them. labels: (n,) class numbers.
        counts: (n,) what each row counts.
        doubt: what the loss grows by with the distance of the true class's score from the mean; see ``path.DOUBT``.
    """
    factor = 1.0
    for _ in range(STEPS):
        slope, curvature = hosts.sum(_derivatives(factor, scores, labels, counts, doubt))[0].tolist()
        slope, curvature = slope + PRIOR * np.log(factor) / factor, curvature + PRIOR / factor**2
        step = np.clip(factor - slope / curvature, factor / MOST, factor * MOST)
        change = abs(step - factor) / factor
        factor, change = of_leader(hosts, np.array([step, change])).tolist()
        if not change > TOLERANCE:
            break
    return factor


def _derivatives(factor: float, scores: np.ndarray, labels: np.ndarray, counts: np.ndarray, doubt: float) -> np.ndarray:
    """The sum of these rows' losses by the factor, once and twice, (2,); see ``temperature``."""
    sums, size = np.zeros(2), max(CELLS // scores.shape[1], 1)
    for start in range(0, len(scores), size):
        part = slice(start, start + size)
        z, of_rows = scores[part].astype(np.float64), counts[part]
        true = z[np.arange(len(z)), labels[part]]
        against = true - doubt * (true - z.mean(axis=1))  # what grows with the factor in the row's loss, with a minus
        chance = np.exp(factor * (z - z.max(axis=1, keepdims=True)))
        chance /= chance.sum(axis=1, keepdims=True)
        mean = np.einsum("nc,nc->n", chance, z)
        variance = np.einsum("nc,nc,nc->n", chance, z, z) - mean * mean
        sums += of_rows @ (mean - against), of_rows @ variance
    return sums
