"""The symmetric tensor as a sum of rank-one terms: T = sum_i lambda_i v_i o v_i o v_i with orthonormal v.

All terms are found at once by alternating least squares with the factor made orthonormal after each step, which keeps
two columns from running to the same term (V. Sharan, G. Valiant, "Orthogonalized ALS", ICML 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from algorithms.common.blas import threads_for

_SAME = 1e-5
"""Two starts whose errors differ by less than this, relative to the tensor, have found the same decomposition."""

_MOST_PRODUCTS, _LEAST_ITERATIONS = 1 << 31, 100
"""Most multiplications of all starts together, a second or two of work. An iteration takes r^4, so that up to 21 terms
have all their starts. For large tensors the gain by the best of several starts is lost in the likelihood steps that
follow; but with 32 iterations in place of a hundred, 200 topics of 50,000 words ended at a perplexity 1 % higher."""

_HEARD = 100
"""Iterations between two checks whether a stop was asked for, as a tolerance near 0 is never met."""


@dataclass(frozen=True)
class Decomposition:
    """Attributes:
    weights: lambda, (r,), non-negative. factors: v in columns, (r, r), orthonormal.
    error: |T - sum| / |T|. iterations: how many were made. converged: whether the error had stopped to change.
    """

    weights: np.ndarray
    factors: np.ndarray
    error: float
    iterations: int
    converged: bool


def decompose(
    tensor: np.ndarray,
    *,
    max_restarts: int,
    max_iterations: int,
    tolerance: float,
    random: np.random.Generator,
    report: Callable[[Decomposition], None],
    stopped: Callable[[], bool] = lambda: False,
) -> Decomposition:
    """The best of up to ``max_restarts`` random starts. The search ends earlier once the best has been found twice,
    once the work that is allowed is done (see above), or soon after ``stopped`` has become true.

    Args:
        tensor: (r, r, r), symmetric, float64.
        report: called with the outcome of each start.
    """
    best: Decomposition | None = None
    left = max(_LEAST_ITERATIONS, _MOST_PRODUCTS // len(tensor) ** 4)  # iterations
    for _ in range(max_restarts):
        start = np.linalg.qr(random.standard_normal(tensor.shape[:2]))[0]
        with threads_for(0):  # of a decomposition as small as these, several spend ten times the work on each other
            found = _descend(tensor, start, min(max_iterations, left), tolerance, stopped)
        left -= found.iterations
        report(found)
        if best is not None and abs(found.error - best.error) < _SAME:
            break
        if best is None or found.error < best.error:
            best = found
        if not left or stopped():
            break
    assert best is not None
    return best


def _descend(
    tensor: np.ndarray, factors: np.ndarray, max_iterations: int, tolerance: float, stopped: Callable[[], bool]
) -> Decomposition:
    rank = len(tensor)
    unfolded = tensor.reshape(rank, -1)
    norm = max(float(np.linalg.norm(tensor)), np.finfo(float).tiny)
    captured, converged, iterations = 0.0, False, 0
    while iterations < max_iterations and not converged:
        if iterations % _HEARD == _HEARD - 1 and stopped():
            break
        iterations += 1
        product = unfolded @ _khatri_rao(factors)  # T(I, v_i, v_i) in columns, (r, r)
        left, _, right = np.linalg.svd(product)
        factors = left @ right  # the nearest orthonormal matrix
        weights = np.einsum("ai,ai->i", product, factors)
        before, captured = captured, float(weights @ weights) / norm**2
        converged = abs(captured - before) < tolerance
    weights = np.einsum("ai,ai->i", unfolded @ _khatri_rao(factors), factors)
    signs = np.where(weights < 0, -1.0, 1.0)
    # For orthonormal factors |T - sum|^2 = |T|^2 - |lambda|^2.
    error = float(np.sqrt(max(0.0, 1 - weights @ weights / norm**2)))
    return Decomposition(weights * signs, factors * signs, error, iterations, converged)


def _khatri_rao(factors: np.ndarray) -> np.ndarray:
    """v_i o v_i in columns, (r r, r)."""
    rank = len(factors)
    return (factors[:, None, :] * factors[None, :, :]).reshape(rank * rank, -1)
