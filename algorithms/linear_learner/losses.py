"""The losses of the linear learner: value and derivative with respect to the score, element by element.

Every function takes scores z of shape (n, m) for m models and labels y of shape (n, 1), float32, and returns
(loss, slope), both of shape (n, m). ``softmax`` takes z of shape (n, m, c) and integer labels of shape (n,), and
returns shapes (n, m) and (n, m, c).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

Loss = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def logistic(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-y log p - (1 - y) log(1 - p) with p = 1 / (1 + exp(-z)), y in {0, 1}.

    Both follow from e = exp(-|z|), which never overflows: log(1 + exp(z)) = max(z, 0) + log(1 + e), and p is
    1 / (1 + e) on the side of the sign of z.
    """
    e = np.abs(z)
    np.exp(np.negative(e, out=e), out=e)
    e += 1
    loss = np.log(e)
    loss += np.maximum(z, 0)
    loss -= y * z
    slope = np.divide(1, e, out=e)
    slope -= 0.5
    np.copysign(slope, z, out=slope)
    slope += 0.5 - y
    return loss, slope


def _above(excess: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """max(0, excess) and its slope, the kink smoothed to a parabola over ``width`` (Nesterov, "Smooth minimization of
    non-smooth functions", Mathematical Programming 103, 2005), which is lower by ``width / 2`` at most."""
    if not width:
        return np.maximum(excess, 0), (excess > 0).astype(np.float32)
    bent = np.clip(excess, 0, np.float32(width))
    slope = bent / np.float32(width)
    return slope * (excess - np.float32(0.5) * bent), slope


def hinge(z: np.ndarray, y: np.ndarray, margin: float, width: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """max(0, margin - s z) with s = 2 y - 1; ``width`` as in ``_above``, as for all losses with kinks."""
    sign = 2 * y - 1
    loss, slope = _above(margin - sign * z, width)
    return loss, -sign * slope


def squared(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(z - y)^2."""
    error = z - y
    return error * error, 2 * error


def eps_insensitive_squared(z: np.ndarray, y: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """max(0, |z - y| - eps)^2."""
    error = z - y
    excess = np.maximum(np.abs(error) - eps, 0)
    return excess * excess, 2 * excess * np.sign(error)


def eps_insensitive_absolute(
    z: np.ndarray, y: np.ndarray, eps: float = 0.0, width: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """max(0, |z - y| - eps); with ``eps`` 0 the absolute loss."""
    error = z - y
    loss, slope = _above(np.abs(error) - eps, width)
    return loss, slope * np.sign(error)


def pinball(z: np.ndarray, y: np.ndarray, quantile: float, width: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """q (y - z) if y > z, else (1 - q)(z - y); its minimum is at the q-quantile of the labels.

    Koenker and Bassett, "Regression Quantiles", Econometrica 46 (1978).
    """
    error = z - y
    loss, slope = _above(np.abs(error), width)
    side = np.where(error > 0, np.float32(1 - quantile), np.float32(quantile))
    return loss * side, slope * side * np.sign(error)


def huber(z: np.ndarray, y: np.ndarray, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2), with e = z - y (Huber, 1964)."""
    error = z - y
    size = np.abs(error)
    loss = np.where(size <= delta, 0.5 * error * error, delta * (size - 0.5 * delta))
    return loss, np.clip(error, -delta, delta)


def softmax(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-log of the softmax probability of the true class: of z (n, m, classes) and class numbers y (n,). Slopes lie in
    memory class by class, in which form products with them take no copy."""
    n, m, _ = z.shape
    turned = z.transpose(1, 2, 0).copy()  # numpy is slow at sums of a few neighbours
    turned -= turned.max(axis=1, keepdims=True)
    cells, of_label = turned.reshape(m, -1), y * n + np.arange(n)
    scores = np.take(cells, of_label, axis=1)
    np.exp(turned, out=turned)
    total = turned.sum(axis=1)
    turned *= np.reciprocal(total)[:, None]
    cells[:, of_label] -= 1
    return (np.log(total) - scores).T, turned.transpose(2, 0, 1)


def squared_curvature(z: np.ndarray) -> np.ndarray:
    """Second derivatives of ``squared`` by the scores z (n, m, 1): (n, m, 1, 1)."""
    return np.full((*z.shape, 1), 2.0)


def logistic_curvature(z: np.ndarray) -> np.ndarray:
    """p (1 - p), the second derivatives of ``logistic`` by the scores z (n, m, 1): (n, m, 1, 1)."""
    e = np.exp(-np.abs(z))
    return (e / np.square(1 + e))[:, :, :, None]


def softmax_curvature(z: np.ndarray) -> np.ndarray:
    """diag(p) - p p', the second derivatives of ``softmax`` by the scores z (n, m, c): (n, m, c, c)."""
    p = np.exp(z - z.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    return np.asarray(p[:, :, :, None] * (np.eye(z.shape[2]) - p[:, :, None, :]))


CURVATURES = {"squared_loss": squared_curvature, "logistic": logistic_curvature, "softmax_loss": softmax_curvature}
"""Second derivatives of the losses that have them everywhere."""
KINKED = ("hinge_loss", "absolute_loss", "eps_insensitive_absolute_loss", "quantile_loss")
"""Losses whose slope is discontinuous."""
OBJECTIVES = {
    "logistic": "binary_classification_cross_entropy_objective",
    "softmax_loss": "multiclass_cross_entropy_objective",
    "squared_loss": "mse_objective",
}
"""Names in the log of the mean loss; the others are the loss' own name with ``_objective``."""


def objective_name(loss: str) -> str:
    """The name of the mean of ``loss`` in log lines."""
    return OBJECTIVES.get(loss, f"{loss}_objective")


def make_loss(name: str, hp: LinearLearnerHyperparameters, width: float = 0.0) -> Loss:
    """The loss of that name with its parameters from ``hp``; ``width`` is that of the kinks of ``KINKED`` losses."""
    losses: dict[str, Loss] = {
        "logistic": logistic,
        "hinge_loss": partial(hinge, margin=hp.margin, width=width),
        "squared_loss": squared,
        "absolute_loss": partial(eps_insensitive_absolute, width=width),
        "eps_insensitive_squared_loss": partial(eps_insensitive_squared, eps=hp.loss_insensitivity),
        "eps_insensitive_absolute_loss": partial(eps_insensitive_absolute, eps=hp.loss_insensitivity, width=width),
        "quantile_loss": partial(pinball, quantile=hp.quantile, width=width),
        "huber_loss": partial(huber, delta=hp.huber_delta),
        "softmax_loss": softmax,
    }
    return losses[name]
