"""Shift and scale of features and labels, and products with rows so scaled.

Rows need not be touched to scale them: with x' = (x - shift) / scale,
X' W = X (W / scale) - shift (W / scale), and X'^T G = (X^T G - shift sum(G)) / scale. So a sparse batch is never
densified to shift it, and a dense one of many rows is read once instead of twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from algorithms.common.deviations import FEW_ROWS, drawn_together
from algorithms.common.hosts import ONE_HOST, total
from algorithms.interface import Hosts
from recordio.batches import Batch, Features

DENSE_SHARE = 0.05
"""Share of non-zeros from which on a dense matrix product is faster than the sparse one."""
DENSE_CELLS = 1 << 24
"""Most cells (64 MiB as float32) of a batch that is made dense; a larger one stays sparse."""
BLOCK_ROWS = 128
"""Rows whose deviations are summed at once."""
ALIKE = 100
"""Sparse columns share a scale if their magnitudes, without a hundredth at either end, differ by at most this
factor."""
MILD_SHIFT = 8
"""Deviations between 0 and the mean of a feature up to which a shift after a float32 product loses at most three of its
24 bits; beyond, rows are shifted before the product."""

SMALLEST = float(np.finfo(np.float32).tiny)
"""The smallest scale whose inverse is finite in float32."""


@dataclass(frozen=True)
class Scaler:
    """x' = (x - shift) / scale; both float32 of shape (d,)."""

    shift: np.ndarray
    scale: np.ndarray

    @cached_property
    def inverse(self) -> np.ndarray:
        """1 / scale: a product is several times as fast as a division."""
        return 1 / self.scale

    @cached_property
    def shifts(self) -> bool:
        """Whether any feature is shifted."""
        return bool(self.shift.any())

    @cached_property
    def mild(self) -> bool:
        """Whether rows may be shifted after products with them."""
        return bool(np.abs(self.shift * self.inverse).max(initial=0) <= MILD_SHIFT)

    def rows(self, features: Features, columns: int) -> ScaledRows:
        """Scaled rows, ready for products with weights of so many columns."""
        if isinstance(features, np.ndarray):
            scaled_later = self.mild and len(features) > columns
            return UnscaledRows(features, self) if scaled_later else DenseRows(features, self)
        cells = features.shape[0] * features.shape[1]
        if cells <= DENSE_CELLS and features.nnz >= DENSE_SHARE * cells:
            return self.rows(features.toarray(), columns)
        return UnscaledRows(features, self)

    def unscale(self, weights: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (d, m) and bias (m,) for raw rows that give the same scores as these do for scaled ones."""
        raw = weights.astype(np.float64) / self.scale[:, None]
        return raw, bias.astype(np.float64) - self.shift.astype(np.float64) @ raw


class DenseRows:
    """Rows that are scaled once, when they are made."""

    def __init__(self, features: np.ndarray, scaler: Scaler) -> None:
        if scaler.shifts:
            self.features = np.subtract(features, scaler.shift)
            self.features *= scaler.inverse
        else:
            self.features = features * scaler.inverse

    def scores(self, weights: np.ndarray) -> np.ndarray:
        """(n, d) times (d, m)."""
        return self.features @ weights

    def gradient(self, slopes: np.ndarray, out: np.ndarray) -> None:
        """(d, n) times (n, m), into ``out`` of shape (d, m)."""
        np.dot(self.features.T, slopes, out=out)


class UnscaledRows:
    """Dense or CSR rows that are not scaled; their scale is applied to the other factor of a product."""

    def __init__(self, features: Features, scaler: Scaler) -> None:
        self.features, self.scaler = features, scaler

    def narrowed(self) -> tuple[UnscaledRows, np.ndarray] | None:
        """Sparse rows in only those columns that they have values in, and the numbers of these; None for dense ones."""
        if isinstance(self.features, np.ndarray):
            return None
        columns, places = np.unique(self.features.indices, return_inverse=True)
        scaler = Scaler(self.scaler.shift[columns], self.scaler.scale[columns])
        shape = (self.features.shape[0], len(columns))
        rows = sp.csr_array((self.features.data, places.astype(np.int32), self.features.indptr), shape=shape)
        return UnscaledRows(rows, scaler), columns

    @cached_property
    def _turned(self) -> sp.csc_array:
        """The same sparse values as (d, n); of few rows making it takes longer than a product with it."""
        return self.features.T

    def scores(self, weights: np.ndarray) -> np.ndarray:
        """(n, d) times (d, m)."""
        scaled = weights * self.scaler.inverse[:, None]
        product: np.ndarray = self.features @ scaled
        if self.scaler.shifts:
            product -= self.scaler.shift @ scaled
        return product

    def gradient(self, slopes: np.ndarray, out: np.ndarray) -> None:
        """(d, n) times (n, m), into ``out`` of shape (d, m)."""
        if isinstance(self.features, np.ndarray):
            np.dot(self.features.T, slopes, out=out)
        else:
            out[:] = self._turned @ slopes
        if self.scaler.shifts:
            out -= np.outer(self.scaler.shift, slopes.sum(axis=0))
        out *= self.scaler.inverse[:, None]


ScaledRows = DenseRows | UnscaledRows


def feature_scaler(
    batch: Batch,
    *,
    unbias: bool,
    normalize: bool,
    stated: bool = True,
    hosts: Hosts = ONE_HOST,
    distinct: int | None = None,
) -> Scaler:
    """The scaler that brings the columns of all hosts' rows to mean 0 (``unbias``) and deviation 1 (``normalize``).

    Sparse rows, with a share of non-zeros below ``DENSE_SHARE``, are not shifted, as in SageMaker; and they are brought
    to deviation 1 only if the job has ``stated`` it, else see ``sparse_scale``.

    Unless normalisation is ``stated``, deviations of few rows are shrunk towards their mean (``drawn_together``), by
    the number of ``distinct`` rows.

    A column whose deviation is 0, or too small to divide by in float32, keeps its scale, so that another value that
    comes later does not become huge.
    """
    features = batch.features
    thin = stays_sparse(features, hosts)
    if thin and not stated:
        scale = sparse_scale(features, hosts)
        return Scaler(np.zeros_like(scale), scale)
    rows = total(hosts, features.shape[0])
    mean, deviation = _column_deviations(features, rows, hosts)
    steady = (deviation <= 1e-6 * np.abs(mean)) | (deviation < SMALLEST)
    distinct = rows if distinct is None else min(distinct, rows)
    if not stated and 1 < distinct < FEW_ROWS:
        deviation[~steady] = drawn_together(deviation[~steady], distinct)
    deviation[steady] = 1
    shift = mean if unbias and not thin else np.zeros_like(mean)
    scale = deviation if normalize else np.ones_like(deviation)
    return Scaler(shift.astype(np.float32), scale.astype(np.float32))


def _column_deviations(features: Features, rows: int, hosts: Hosts) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, (d,) float64, over the ``rows`` rows of all hosts."""
    if not isinstance(features, np.ndarray):
        mean, square = column_means(features, hosts)
        return mean, np.sqrt(np.maximum(square - mean * mean, 0))
    mean = hosts.sum(features.sum(axis=0, dtype=np.float64))[0] / rows
    square = np.zeros_like(mean)
    for start in range(0, len(features), BLOCK_ROWS):  # so that the float64 copies stay in the cache
        centred = features[start : start + BLOCK_ROWS] - mean
        square += np.einsum("nd,nd->d", centred, centred)
    return mean, np.sqrt(hosts.sum(square)[0] / rows)


def column_means(features: Features, hosts: Hosts = ONE_HOST) -> tuple[np.ndarray, np.ndarray]:
    """Means of the values of each column and of their squares, (d,), summed in float64: float32 ends at 3.4e38."""
    rows, width = features.shape
    if isinstance(features, np.ndarray):
        sums = features.sum(axis=0, dtype=np.float64)
        squares = np.einsum("nd,nd->d", features, features, dtype=np.float64)
    else:
        values = features.data.astype(np.float64)
        sums, squares = _of_columns(features, values), _of_columns(features, values * values)
    count, sums, squares = hosts.sum(np.array([float(rows)]), sums, squares)
    return sums / count, squares / count


def _of_columns(features: sp.csr_array, values: np.ndarray) -> np.ndarray:
    """(d,) float64 sums of what stands for the values of each column."""
    return np.bincount(features.indices, values, features.shape[1]).astype(np.float64)  # integers, where there are none


def mean_and_deviation(values: np.ndarray, hosts: Hosts = ONE_HOST) -> tuple[np.ndarray, np.ndarray]:
    """Of what all hosts have of each row, (n, ...): two arrays (...), float64."""
    count, sums = hosts.sum(np.array(float(len(values))), values.sum(axis=0, dtype=np.float64))
    mean = sums / count
    (squares,) = hosts.sum(np.square(values - mean, dtype=np.float64).sum(axis=0))
    return mean, np.sqrt(squares / count)


def stays_sparse(features: Features, hosts: Hosts = ONE_HOST) -> bool:
    """Whether rows have so few values that products with them are sparse, and that no column is shifted."""
    if isinstance(features, np.ndarray):
        return False
    values, rows = hosts.sum(np.array([features.nnz, features.shape[0]]))[0].tolist()
    return bool(values < DENSE_SHARE * rows * features.shape[1])


def sparse_scale(features: sp.csr_array, hosts: Hosts = ONE_HOST) -> np.ndarray:
    """Scales of sparse columns, (d,): one for all, or if their magnitudes differ, one for each.

    A magnitude is the root mean square of a column's non-zeros; for a column without any, that of all columns together.
    So rare features, such as words of a text, count less than common ones; divided by their deviations, all would count
    alike.
    """
    width = features.shape[1]
    squares = _of_columns(features, np.square(features.data, dtype=np.float64))
    squares, counts = hosts.sum(squares, np.bincount(features.indices, minlength=width))
    usual = float(np.sqrt(squares.sum() / max(counts.sum(), 1))) or 1.0
    size = np.where(squares > 0, np.sqrt(squares / np.maximum(counts, 1)), usual)
    alike = np.quantile(size, 0.99) <= ALIKE * np.quantile(size, 0.01)
    return np.maximum(np.where(alike, usual, size), SMALLEST).astype(np.float32)


@dataclass(frozen=True)
class LabelScaler:
    """y' = (y - shift) / scale, for regression; (0, 1) elsewhere."""

    shift: float = 0.0
    scale: float = 1.0

    @staticmethod
    def fit(labels: np.ndarray, *, unbias: bool, normalize: bool, hosts: Hosts = ONE_HOST) -> LabelScaler:
        """The scaler that brings all hosts' ``labels`` (n,) to mean 0 and deviation 1."""
        mean, deviation = (float(found) for found in mean_and_deviation(labels, hosts))
        return LabelScaler(mean if unbias else 0.0, deviation if normalize and deviation > 0 else 1.0)

    def apply(self, labels: np.ndarray) -> np.ndarray:
        """Scaled labels (n,), float32."""
        return ((labels - self.shift) / self.scale).astype(np.float32)
