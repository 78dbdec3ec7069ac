"""Rows as L-BFGS likes them: scaled so that a row's mean square is 1, and rotated where that is cheap.

With X = U S V' a weight vector w = V v costs |v|^2, so that columns X V may stand for X; divided by their deviations
they are alike and uncorrelated, and a loss is nearly as steep in all directions. That costs one product of X with
itself, and saves nine of ten steps. With fewer rows than columns it is the product of the rows, and what is left is as
wide as there are rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from algorithms.hyperparameters import AUTO
from algorithms.linear_learner.preprocessing import Problem
from algorithms.linear_learner.scaling import (
    DENSE_CELLS,
    DENSE_SHARE,
    SMALLEST,
    DenseRows,
    Scaler,
    UnscaledRows,
    column_means,
    sparse_scale,
)
from recordio.batches import Batch, Features

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

ROTATED_COLUMNS = 1024
"""Up to so many columns, or rows where these are fewer, a decomposition costs less than the steps that it saves."""
RANK = 1e-12
"""Directions whose square is less than this share of the largest one's are noise."""
EXACT_CELLS = 1 << 22
"""Up to so many cells, products of columns are summed in float64: columns may differ by orders of magnitude."""
SAME = 0.1
"""Scales whose logarithms deviate by no more than this from each other are one: both measures would give one model."""
MANY_ROWS = 20
"""From so many rows for each column on, a penalty matters so little that its measure does not."""


@dataclass(frozen=True)
class Design:
    """Rows to train on.

    Attributes:
        scaler: of the features, before any rotation.
        rows: (n, r), for products.
        shrink: (r,) what a squared weight costs. mean_square: (r,) of the columns.
        size: what rows are divided by, besides their scale, so that their mean square is 1.
        back: (d, r) from weights of ``rows`` to those of scaled features; None for the same.
    """

    scaler: Scaler
    rows: DenseRows | UnscaledRows | PlainRows
    shrink: np.ndarray
    mean_square: np.ndarray
    size: float
    back: np.ndarray | None

    @property
    def columns(self) -> int:
        """Number of weights of one output."""
        return len(self.shrink)

    def parameters(self, solution: np.ndarray) -> np.ndarray:
        """(d + 1, c) for scaled features of (r + 1, c)."""
        if self.back is None:
            return solution
        return np.vstack([self.back @ solution[:-1], solution[-1:]]).astype(np.float32)


class PlainRows:
    """Dense rows that need no scaling."""

    def __init__(self, features: np.ndarray) -> None:
        self.features = features

    def scores(self, weights: np.ndarray) -> np.ndarray:
        """(n, d) times (d, m)."""
        return self.features @ weights

    def gradient(self, slopes: np.ndarray, out: np.ndarray) -> None:
        """(d, n) times (n, m), into ``out`` of shape (d, m)."""
        np.dot(self.features.T, slopes, out=out)


def designs(problem: Problem, batch: Batch, hp: LinearLearnerHyperparameters) -> Iterator[Design]:
    """The rows in each scaling that is to be tried, one after the other."""
    features = _as_stored(batch.features)
    n, d = features.shape
    scaler = problem.scaler
    turn = hp.l1 in (AUTO, 0)  # absolute values of weights are not those of turned ones
    if not isinstance(features, np.ndarray):
        scale = scaler.scale if _stated(hp) else sparse_scale(features)
        yield _design(Scaler(np.zeros_like(scale), scale), features, turn)
        return
    yield _design(scaler, features, turn)
    if not _stated(hp) and hp.wd == AUTO and turn and n < MANY_ROWS * d and np.log(scaler.scale).std() > SAME:
        yield _design(Scaler(scaler.shift, np.ones_like(scaler.scale)), features, turn)


def _stated(hp: LinearLearnerHyperparameters) -> bool:
    return "normalize_data" in hp.given and hp.normalize_data != AUTO


def _as_stored(features: Features) -> Features:
    """Rows in the form that their share of values that are not zero asks for, so that both forms train alike."""
    cells = features.shape[0] * features.shape[1]
    if isinstance(features, np.ndarray):
        return sp.csr_array(features) if np.count_nonzero(features) < DENSE_SHARE * cells else features
    return features.toarray() if cells <= DENSE_CELLS and features.nnz >= DENSE_SHARE * cells else features


def _size(scaler: Scaler, features: Features) -> float:
    """The root of the mean square of a scaled row; 1 where all are 0."""
    return float(np.sqrt(_column_squares(scaler, features).sum())) or 1.0


def _column_squares(scaler: Scaler, features: Features) -> np.ndarray:
    """(d,) mean squares of the scaled columns."""
    n = features.shape[0]
    if isinstance(features, np.ndarray):
        mean = features.mean(axis=0, dtype=np.float64)
        square = np.einsum("nd,nd->d", features, features, dtype=np.float64) / n
    else:
        mean, square = column_means(features)
    shift = scaler.shift.astype(np.float64)
    return np.maximum(square - 2 * shift * mean + shift * shift, 0) / scaler.scale.astype(np.float64) ** 2


def _design(scaler: Scaler, features: Features, turn: bool) -> Design:
    size = _size(scaler, features)
    scale = np.clip(scaler.scale.astype(np.float64) * size, SMALLEST, np.finfo(np.float32).max)
    scaler = Scaler(scaler.shift, scale.astype(np.float32))
    n, d = features.shape
    if not isinstance(features, np.ndarray) and d <= ROTATED_COLUMNS and n * d <= DENSE_CELLS:
        features = features.toarray()
    if turn and min(n, d) <= ROTATED_COLUMNS and (isinstance(features, np.ndarray) or n < d):
        return _rotated(scaler, features, size)
    squares = _column_squares(scaler, features).astype(np.float32)
    return Design(scaler, UnscaledRows(features, scaler), np.ones(d, np.float32), squares, size, None)


def _rotated(scaler: Scaler, features: Features, size: float) -> Design:
    """Rows in the directions of their singular vectors, each of mean square 1."""
    n, d = features.shape
    rows = DenseRows(features, scaler).features if isinstance(features, np.ndarray) else _scaled(scaler, features)
    if n < d:
        squares, left = _eigen(np.asarray((rows @ rows.T).toarray() if sp.issparse(rows) else rows @ rows.T) / n)
        turned = left * np.float32(np.sqrt(n))
        back = np.asarray(rows.T @ (left / np.sqrt(n)) / squares)
    else:
        exact = rows.astype(np.float64) if rows.size <= EXACT_CELLS else rows
        squares, right = _eigen(exact.T @ exact / n)
        back = right / np.sqrt(squares)
        turned = rows @ back.astype(np.float32)
    turned, back = np.ascontiguousarray(turned, np.float32), np.ascontiguousarray(back, np.float32)
    shrink = (1 / squares).astype(np.float32)
    return Design(scaler, PlainRows(turned), shrink, np.ones(len(squares), np.float32), size, back)


def _scaled(scaler: Scaler, features: sp.csr_array) -> sp.csr_array:
    """Sparse rows are never shifted."""
    data = features.data * scaler.inverse[features.indices]
    return sp.csr_array((data, features.indices, features.indptr), shape=features.shape)


def _eigen(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (r,) and vectors (p, r) of a Gram matrix that are not noise; one at least."""
    values, vectors = np.linalg.eigh(gram.astype(np.float64))
    kept = values > max(values[-1] * RANK, 1e-30)
    kept[-1] = True
    return np.maximum(values[kept], 1e-30), vectors[:, kept]
