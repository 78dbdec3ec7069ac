"""Rows as L-BFGS likes them: scaled so that a row's mean square is 1, and rotated where that is cheap.

With X = U S V' a weight vector w = V v costs |v|^2, so that columns X V may stand for X; divided by their deviations
they are alike and uncorrelated, and a loss is nearly as steep in all directions. That costs one product of X with
itself, and saves nine of ten steps. With fewer rows than columns it is the product of the rows, and what is left is as
wide as there are rows.

Of several hosts each has its rows of the design; what is summed over rows, and the directions, are those of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.linalg.lapack import dpstrf, dtrtri

from algorithms.common.blas import squared
from algorithms.common.hosts import from_leader, packed, total, unpacked
from algorithms.hyperparameters import AUTO
from algorithms.interface import Hosts
from algorithms.linear_learner.losses import CURVATURES
from algorithms.linear_learner.newton import pays
from algorithms.linear_learner.preprocessing import Problem, one_label
from algorithms.linear_learner.scaling import (
    DENSE_CELLS,
    DENSE_SHARE,
    SMALLEST,
    DenseRows,
    Scaler,
    UnscaledRows,
    column_means,
    sparse_scale,
    stays_sparse,
)
from algorithms.linear_learner.validation import fold_count
from recordio.batches import Batch, Features, concatenate

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

ROTATED_COLUMNS = 1024
"""Up to so many columns, or rows where these are fewer, a decomposition costs less than the steps that it saves."""
RANK = 1e-12
"""Directions whose square is less than this share of the largest one's are noise."""
EXACT_CELLS, EXACT_WEIGHTS = 1 << 21, 1 << 17
"""Up to so many stored values and weights a search is in float64, which costs little then: columns may differ by orders
of magnitude, and where a search ends does not depend on the order in which rows are summed, nor on the hosts that have
them."""
BLOCK_CELLS = 1 << 19
"""Values of rows that are scored, and whose gradient is taken, while they are in the processor's cache."""
GRAM_ROWS = 4096
"""Rows whose products are taken at once."""
SAME = 0.1
"""Scales whose logarithms deviate by no more than this from each other are one: both measures would give one model."""
ENOUGH_ROWS = 1.5
"""Rows beyond their classes' means for each column, from which on their covariance within classes is known."""
LEAST_DRAWN = 0.01
"""By this share it is drawn together at the least: a column may not vary within any class."""
WITHIN_COLUMNS = 128
"""Of more columns the covariance within classes is seldom known well enough, and takes its time."""
MANY_ROWS = 20
"""From so many rows for each column on, a penalty matters so little that its measure does not."""


Slopes = Callable[[slice, np.ndarray], np.ndarray]
"""Derivatives (k, m) of the objective by the scores (k, m) of these rows."""


@dataclass(frozen=True)
class OfRows:
    """Scaled rows (n, d) of all hosts and (n, r) of them: their product (d, r), which takes longer to make than all
    models of a path, is never made."""

    rows: Features
    inner: np.ndarray

    def __matmul__(self, weights: np.ndarray) -> np.ndarray:
        """(d, m) of (r, m), in float64: the rows' shares may all but cancel."""
        shares = self.inner @ weights
        if not isinstance(self.rows, np.ndarray):
            return np.asarray(self.rows.T @ shares)
        found = np.zeros((self.rows.shape[1], weights.shape[1]))
        size = max(BLOCK_CELLS // self.rows.shape[1], 1)
        for start in range(0, len(self.rows), size):
            block = self.rows[start : start + size].astype(np.float64, copy=False)
            found += block.T @ shares[start : start + size]
        return found


@dataclass(frozen=True)
class Design:
    """Rows to train on.

    Attributes:
        scaler: of the features, before any rotation.
        rows: (n, r) of this host, for products.
        shrink: (r,) what a squared weight costs. mean_square: (r,) of the columns.
        size: what rows are divided by, besides their scale, so that their mean square is 1.
        back: from weights of ``rows`` to those of scaled features, (d, r) or what stands for that; None for the same.
        of_folds: (k, r, r) what the products of two weights cost the models of the folds, instead of ``shrink``; None
            where it is the same for them.
        near_zero: whether columns are not shifted, and of the rows' mean square no more than half is that of their
            mean.
    """

    scaler: Scaler
    rows: DenseRows | UnscaledRows | PlainRows | TurnedRows
    shrink: np.ndarray
    mean_square: np.ndarray
    size: float
    back: np.ndarray | OfRows | None
    of_folds: np.ndarray | None = None
    near_zero: bool = False

    @property
    def dtype(self) -> np.dtype:
        """In which products are taken."""
        return self.rows.features.dtype

    @property
    def is_turned(self) -> bool:
        """Whether columns are uncorrelated, of mean square 1."""
        return self.back is not None and bool((self.mean_square == 1).all())

    @property
    def columns(self) -> int:
        """Number of weights of one output."""
        return len(self.shrink)

    def parameters(self, solution: np.ndarray) -> np.ndarray:
        """(d + 1, c) for scaled features of (r + 1, c)."""
        if self.back is None:
            return solution.astype(np.float32)
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


class TurnedRows:
    """Dense rows (n, d) that stand for their product with ``back`` (d, r), which is never made: weights are turned
    instead, at a cost that does not grow with the rows."""

    def __init__(self, features: np.ndarray, back: np.ndarray) -> None:
        self.features, self.back = features, back

    def scores(self, weights: np.ndarray) -> np.ndarray:
        """(n, r) times (r, m)."""
        return self.features @ self._inner(weights)

    def blockwise(self, weights: np.ndarray, slopes: Slopes) -> np.ndarray:
        """See ``blockwise``."""
        inner = self._inner(weights)
        gradient = np.zeros_like(inner)
        size = max(BLOCK_CELLS // self.features.shape[1], 1)
        for start in range(0, len(self.features), size):
            part = slice(start, start + size)
            gradient += (slopes(part, self.features[part] @ inner).T @ self.features[part]).T
        return self.back.T @ gradient

    def _inner(self, weights: np.ndarray) -> np.ndarray:
        return self.back @ weights


def blockwise(
    rows: DenseRows | UnscaledRows | PlainRows | TurnedRows, weights: np.ndarray, slopes: Slopes
) -> np.ndarray:
    """The gradient (r, m) in ``weights`` (r, m); ``slopes`` is asked for some rows, with their scores, at a time."""
    if isinstance(rows, TurnedRows):
        return rows.blockwise(weights, slopes)
    asked = slopes(slice(None), rows.scores(weights))
    gradient = np.empty(weights.shape, asked.dtype)
    rows.gradient(asked, gradient)
    return gradient


def designs(
    problem: Problem, batch: Batch, hp: LinearLearnerHyperparameters, held: np.ndarray, rows: int, hosts: Hosts
) -> Iterator[Design]:
    """The rows in each scaling that is to be tried, one after the other; ``held`` (n, k) says which of this host's rows
    are held out of which fold, and ``rows`` how many of all hosts' are no copies."""
    features = as_stored(batch.features, hosts)
    n, d = total(hosts, features.shape[0]), features.shape[1]
    scaler = problem.scaler
    turn = hp.l1 in (AUTO, 0)  # absolute values of weights are not those of turned ones
    curved = max(held.shape[1], 1) if hp.loss_name in CURVATURES else None
    make = partial(_design, problem, features=features, turn=turn, curved=curved, hosts=hosts)
    if not isinstance(features, np.ndarray):
        known = _stated(hp) or (problem.sparse and not hp.states("num_point_for_scaler"))
        scale = scaler.scale if known else sparse_scale(features, hosts)
        differ = not _stated(hp) and hp.wd == AUTO and turn and np.ptp(scale) > 0
        for tried in (scale, np.ones_like(scale)) if differ else (scale,):
            design = make(Scaler(np.zeros_like(scale), tried))
            yield replace(design, near_zero=_are_near_zero(features, tried, hosts))
        return
    yield make(scaler)
    differ = from_leader(hosts, lambda: bool(np.log(scaler.scale).std() > SAME))
    if _stated(hp) or hp.wd != AUTO or not turn:
        return
    if rows < MANY_ROWS * d and differ:
        yield make(Scaler(scaler.shift, np.ones_like(scaler.scale)))
    if problem.outputs > 1 and rows < MANY_ROWS * max(d, problem.outputs) and d <= WITHIN_COLUMNS:
        scaled, labels = DenseRows(features, scaler).features, one_label(batch)
        within = _within_classes(scaled, labels, problem.outputs, held, rows / n, hosts)
        if within is not None:
            yield make(scaler, within=within)


def _are_near_zero(features: sp.csr_array, scale: np.ndarray, hosts: Hosts) -> bool:
    """See ``Design``; of rows divided by ``scale`` (d,)."""
    mean, square = column_means(features, hosts)
    return bool(np.sum((mean / scale) ** 2) <= np.sum(square / scale.astype(np.float64) ** 2) / 2)


def may_know_within(problem: Problem, rows: int) -> bool:
    """Whether so many rows may tell how classes scatter, if folds lack no more than a fifth of them."""
    freedom = 4 / 5 * rows - problem.outputs
    return problem.feature_dim <= WITHIN_COLUMNS and freedom >= ENOUGH_ROWS * problem.feature_dim


def _within_classes(
    rows: np.ndarray, labels: np.ndarray, classes: int, held: np.ndarray, share: float, hosts: Hosts
) -> np.ndarray | None:
    """The covariances of rows (n, d) within their classes, (k + 1, d, d): of those that each of k folds knows, and of
    all; None where they are too few, of which only a ``share`` are no copies, or all alike within their classes.

    Of classes of a few rows each it is all of them together that tell which differences say little: weights are then
    penalised as in linear discriminant analysis. A covariance is drawn to a multiple of the unit matrix as far as so
    few rows ask for (OAS: Chen, Wiesel, Eldar and Hero, "Shrinkage Algorithms for MMSE Covariance Estimation", IEEE
    Transactions on Signal Processing 58, 2010).
    """
    y, width = labels.astype(np.int64), rows.shape[1]
    members = sp.csr_array((np.ones(len(y), rows.dtype), (y, np.arange(len(y)))), shape=(classes, len(y)))
    found = []
    for known in [*~held.T, np.ones(len(rows), bool)]:
        mine = known[:, None].astype(rows.dtype)
        counts, sums = hosts.sum(np.bincount(y[known], minlength=classes), (members @ (rows * mine)).astype(np.float64))
        freedom = int(share * counts.sum() - np.count_nonzero(counts))
        if freedom < ENOUGH_ROWS * width:
            return None
        means = (sums / np.maximum(counts, 1)[:, None]).astype(rows.dtype)
        (squares,) = hosts.sum(_gram((rows - means[y]) * mine))
        if np.trace(squares) < RANK * counts.sum():
            return None
        found.append(_drawn_to_unit(share * squares / freedom, freedom))
    return np.array(found)


def _drawn_to_unit(covariance: np.ndarray, freedom: int) -> np.ndarray:
    """The same (d, d), of so many degrees of freedom; see ``_within_classes``."""
    width = len(covariance)
    mean, square = max(float(np.trace(covariance)) / width, SMALLEST), float(np.sum(covariance**2))
    own = max(square - width * mean**2, SMALLEST * square)
    share = ((1 - 2 / width) * square + (width * mean) ** 2) / ((freedom + 1 - 2 / width) * own)
    share = min(max(share, LEAST_DRAWN), 1.0)
    return np.asarray((1 - share) * covariance + share * mean * np.eye(width))


def _stated(hp: LinearLearnerHyperparameters) -> bool:
    return hp.states("normalize_data") and hp.normalize_data != AUTO


def as_stored(features: Features, hosts: Hosts) -> Features:
    """Rows in the form that their share of values that are not zero asks for, so that both forms train alike."""
    if isinstance(features, np.ndarray):
        values, cells = hosts.sum(np.array([np.count_nonzero(features), features.size]))[0].tolist()
        return sp.csr_array(features) if values < DENSE_SHARE * cells else features
    fits = total(hosts, features.shape[0]) * features.shape[1] <= DENSE_CELLS
    return features.toarray() if not stays_sparse(features, hosts) and fits else features


def _size(scaler: Scaler, features: Features, hosts: Hosts) -> float:
    """The root of the mean square of a scaled row; 1 where all are 0."""
    return float(np.sqrt(_column_squares(scaler, features, hosts).sum())) or 1.0


def _column_squares(scaler: Scaler, features: Features, hosts: Hosts) -> np.ndarray:
    """(d,) mean squares of the scaled columns."""
    mean, square = column_means(features, hosts)
    shift = scaler.shift.astype(np.float64)
    return np.maximum(square - 2 * shift * mean + shift * shift, 0) / scaler.scale.astype(np.float64) ** 2


def _design(
    problem: Problem,
    scaler: Scaler,
    *,
    features: Features,
    turn: bool,
    curved: int | None,
    hosts: Hosts,
    within: np.ndarray | None = None,
) -> Design:
    """The design of these rows, ``curved`` being the number of folds where the loss has second derivatives; for
    ``within`` see ``_rotated``."""
    size = _size(scaler, features, hosts)
    scale = np.clip(scaler.scale.astype(np.float64) * size, SMALLEST, np.finfo(np.float32).max)
    scaler = Scaler(scaler.shift, scale.astype(np.float32))
    n, d = total(hosts, features.shape[0]), features.shape[1]
    if not isinstance(features, np.ndarray) and d <= ROTATED_COLUMNS and n * d <= DENSE_CELLS:
        features = features.toarray()
    values = total(hosts, features.size if isinstance(features, np.ndarray) else features.nnz)
    if values <= EXACT_CELLS and min(n if turn else d, d) * problem.outputs <= EXACT_WEIGHTS:
        features = features.astype(np.float64)
    if turn and min(n, d) <= ROTATED_COLUMNS and (isinstance(features, np.ndarray) or _pays(n, d, values, problem)):
        if n < d and curved is not None and features.dtype == np.float64 and pays(n, n + 1, problem.outputs, curved):
            return _of_factor(scaler, features, size, hosts)
        return _rotated(scaler, features, size, hosts, within)
    squares = _column_squares(scaler, features, hosts).astype(np.float32)
    return Design(scaler, UnscaledRows(features, scaler), np.ones(d, np.float32), squares, size, None)


def _pays(n: int, d: int, values: int, problem: Problem) -> bool:
    """Whether sparse rows (n, d) of so many values are better turned into dense ones (n, n): by the products of an
    evaluation and of a step, sparse ones counted fourfold, and a hundredth of those of the decomposition."""
    models = problem.outputs * fold_count(n)
    turned, sparse = models * (4 * n + 40) * n + n**3 / 10, models * (16 * values + 40 * d)
    return n < d and turned <= sparse


def _rotated(scaler: Scaler, features: Features, size: float, hosts: Hosts, within: np.ndarray | None = None) -> Design:
    """Rows in the directions of their singular vectors, each of mean square 1. Where there are covariances ``within``
    classes (k + 1, d, d), of more rows than columns, what is penalised are weights of rows that these make alike in all
    directions: by the last one, and in folds each by its own, for that of all knows the rows that are held out.

    The leader's directions are taken: of the same numbers other processors may find other signs.
    """
    n, d = total(hosts, features.shape[0]), features.shape[1]
    rows = _scaled(scaler, features)
    if n < d:
        together, mine = _together(rows, hosts)
        squares, left = from_leader(hosts, lambda: _eigen(_products(together) / n))
        turned = np.ascontiguousarray(left[mine] * np.sqrt(n), rows.dtype)
        return _turned(scaler, PlainRows(turned), squares, size, OfRows(together, left / (np.sqrt(n) * squares)))
    (gram,) = hosts.sum(_gram(rows))
    if within is not None:
        values, vectors = from_leader(hosts, lambda: np.linalg.eigh(within[-1]))
        alike = vectors / np.sqrt(values)
        gram = alike.T @ gram @ alike
        length = float(np.sqrt(np.trace(gram) / n)) or 1.0
        gram, alike = gram / length**2, alike / length
    squares, right = from_leader(hosts, lambda: _eigen(gram / n))
    back = right / np.sqrt(squares)
    of_folds = None
    if within is not None:
        back = alike @ back
        of_folds = np.array([length**2 * (back.T @ fold @ back) for fold in within[:-1]])
    turn = np.ascontiguousarray(back, np.float32)
    if rows.dtype == np.float32:
        return _turned(scaler, TurnedRows(rows, turn), squares, size, turn, of_folds)
    return _turned(scaler, PlainRows(np.ascontiguousarray(rows @ back, rows.dtype)), squares, size, turn, of_folds)


def _of_factor(scaler: Scaler, features: Features, size: float, hosts: Hosts) -> Design:
    """Fewer rows than columns, as those of the Cholesky factor of their products with each other: to Newton's method
    one basis is as good as another, and singular vectors take twenty times as long. Of all hosts the leader factors."""
    rows = _scaled(scaler, features)
    together, mine = _together(rows, hosts)
    factor, inner = from_leader(hosts, lambda: _factored(_products(together).astype(np.float64)))
    squares = np.einsum("nr,nr->r", factor, factor) / len(factor)
    shrink = np.ones(factor.shape[1], np.float32)
    plain = PlainRows(np.ascontiguousarray(factor[mine]))
    return Design(scaler, plain, shrink, squares.astype(np.float32), size, OfRows(together, inner))


def _factored(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, r) of which these are the ``products`` (n, n), r being their rank, and (n, r) as what sums of the rows
    that they are of, with the same products, they stand: by Cholesky's method with pivots (Higham, "Accuracy and
    Stability of Numerical Algorithms", 2002, section 10.3)."""
    diagonal = products.diagonal()
    upper, pivots, rank, _ = dpstrf(products, tol=max(diagonal.max() * RANK, 1e-30))
    if not rank:  # all rows are 0
        return np.zeros((len(products), 1)), np.zeros((len(products), 1))
    order = pivots - 1
    factor, inner = np.zeros((2, len(products), rank))
    upper = np.triu(upper[:rank])
    factor[order] = upper.T
    inner[order[:rank]] = dtrtri(upper[:, :rank])[0]
    return factor, inner


def _together(rows: Features, hosts: Hosts) -> tuple[Features, slice]:
    """The rows of all hosts, and which of them are this one's."""
    parts = [unpacked(part) for part in hosts.gather(packed(rows))]
    start = sum(part.shape[0] for part in parts[: hosts.rank])
    return concatenate([Batch(part) for part in parts]).features, slice(start, start + rows.shape[0])


def _turned(
    scaler: Scaler,
    rows: PlainRows | TurnedRows,
    squares: np.ndarray,
    size: float,
    back: np.ndarray | OfRows,
    of_folds: np.ndarray | None = None,
) -> Design:
    shrink = (1 / squares).astype(np.float32)
    return Design(scaler, rows, shrink, np.ones(len(squares), np.float32), size, back, of_folds)


def _gram(rows: np.ndarray) -> np.ndarray:
    """(d, d) float64 products of the columns of (n, d) with each other: float32 would end at a ten-millionth of the
    largest."""
    gram = np.zeros((rows.shape[1], rows.shape[1]))
    room = np.empty((min(GRAM_ROWS, len(rows)), rows.shape[1]))  # new memory for each block would cost as much again
    for start in range(0, len(rows), GRAM_ROWS):
        block = room[: len(rows) - start]
        block[:] = rows[start : start + GRAM_ROWS]
        gram += block.T @ block
    return gram


def _products(rows: Features) -> np.ndarray:
    """(n, n) of rows (n, d) with each other."""
    return squared(rows) if isinstance(rows, np.ndarray) else (rows @ rows.T).toarray()


def _scaled(scaler: Scaler, features: Features) -> Features:
    """The rows by this scaler; sparse ones are never shifted."""
    if isinstance(features, np.ndarray):
        return DenseRows(features, scaler).features
    data = features.data * scaler.inverse[features.indices]
    return sp.csr_array((data, features.indices, features.indptr), shape=features.shape)


def _eigen(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (r,) and vectors (p, r) of a Gram matrix that are not noise; one at least."""
    values, vectors = np.linalg.eigh(gram.astype(np.float64))
    kept = values > max(values[-1] * RANK, 1e-30)
    kept[-1] = True
    return np.maximum(values[kept], 1e-30), vectors[:, kept]
