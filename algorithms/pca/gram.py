"""Exact components of fewer rows than features: from the products of the rows with each other, not of the features.

With n rows X (n, d) less their mean, X X' is of n x n and X' X of d x d; both have the squared singular values for
eigenvalues, and an eigenvector u of the one gives that of the other as X'u / s (the "snapshot method"). With n < d the
first is the smaller: 200 rows of 10,000 features take a fraction of a second where the second takes minutes. Of many
sparse rows neither is formed; see ``iterate``.

Reference: L. Sirovich, "Turbulence and the dynamics of coherent structures", Quarterly of Applied Mathematics 45, 1987.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy import linalg

from algorithms.common.blas import threads_for
from algorithms.pca.iterate import leading, leading_by_rows
from recordio.batches import Features

_FORMED = 1000  # rows, or four times the components, up to which the products of sparse rows are formed
_CHUNK = 4096  # features of one float64 product
_NOISE = 1e-7  # singular values below this share of the rows' norm are rounding errors of float32 rows


class Rows:
    """Rows (m, d) kept as they come, dense or CSR, at 4 bytes a stored number."""

    def __init__(self, feature_dim: int) -> None:
        self.feature_dim = feature_dim
        self.blocks: list[Any] = []
        self.count = 0
        self.nonzeros = 0  # of sparse rows

    def add(self, features: Features) -> None:
        """Keep a copy of these rows."""
        self.blocks.append(features.copy())
        self.count += features.shape[0]
        self.nonzeros += 0 if isinstance(features, np.ndarray) else features.nnz

    def decomposed(
        self, k: int, *, centred: bool, tolerance: float = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, float]:
        """The k <= n leading components, all float64.

        Args:
            tolerance: of the squares of s where the products of the rows are not formed; see ``iterate``.

        Returns:
            s (k,) in ascending order; v (d, k), orthonormal columns; the mean (d,), None where it is not subtracted;
            the sum of all squared singular values.
        """
        rows = self.together()
        mean = means(rows) if centred else None
        if sp.issparse(rows) and min(rows.shape) > max(_FORMED, 4 * k):
            return self._iterated(rows, mean, k, tolerance)
        count = self.count
        with threads_for(2.0 * count**2 * self.feature_dim):
            products = _sparse_products(rows, mean) if sp.issparse(rows) else _dense_products(rows, mean)
            squares, u = linalg.eigh(products, subset_by_index=(count - k, count - 1))
            s = np.sqrt(np.maximum(squares, 0))
            sound = s > _NOISE * _norm(rows)
            v = _completed(_turned(rows, mean, u[:, sound] / s[sound]), k)
        return np.where(sound, s, 0), v, mean, float(np.trace(products))

    def _iterated(
        self, rows: Any, mean: np.ndarray | None, k: int, tolerance: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, float]:
        norm = _norm(rows)
        total = max(norm**2 - (0 if mean is None else self.count * float(mean @ mean)), 0)
        if total <= (_NOISE * norm) ** 2:  # all rows are the same
            return np.zeros(k), _completed(np.zeros((self.feature_dim, 0)), k), mean, total
        if self.count < self.feature_dim:
            s, v = leading_by_rows(rows, mean, k, tolerance=tolerance, total=total, norm=norm)
        else:
            s, vt = leading(rows, mean, k, tolerance=tolerance)
            v = vt.T
        sound = s > _NOISE * norm
        v = v[:, ::-1] if sound.all() else v[:, sound][:, ::-1]
        return np.where(sound, s, 0)[::-1], v if sound.all() else _completed(v, k), mean, total

    def together(self) -> Any:
        """All rows, (n, d): CSR where all blocks are."""
        if all(sp.issparse(block) for block in self.blocks):
            return sp.csr_array(sp.vstack(self.blocks, format="csr"))
        return np.concatenate([block.toarray() if sp.issparse(block) else block for block in self.blocks])


def means(rows: Any) -> np.ndarray:
    """Of the features of rows (n, d), dense or CSR: (d,), float64."""
    if isinstance(rows, np.ndarray):
        return rows.mean(axis=0, dtype=np.float64)
    # SciPy's mean of float32 rows adds up in float32, whatever type it is asked for.
    return np.bincount(rows.indices, rows.data, rows.shape[1]) / rows.shape[0]


def _norm(rows: Any) -> float:
    """Square root of the sum of all squares."""
    values = rows.data if sp.issparse(rows) else rows
    flat = values.reshape(-1)
    return float(np.sqrt(np.einsum("i,i->", flat, flat, dtype=np.float64)))


def _chunks(rows: np.ndarray, mean: np.ndarray | None) -> Any:
    """Features a part at a time, (n, c) float64, less their means."""
    for start in range(0, rows.shape[1], _CHUNK):
        part = rows[:, start : start + _CHUNK].astype(np.float64)
        yield part if mean is None else part - mean[start : start + _CHUNK]


def _dense_products(rows: np.ndarray, mean: np.ndarray | None) -> np.ndarray:
    products = np.zeros((len(rows), len(rows)))
    for part in _chunks(rows, mean):
        products += part @ part.T
    return products


def _sparse_products(rows: Any, mean: np.ndarray | None) -> np.ndarray:
    values = rows.astype(np.float64)
    products: np.ndarray = (values @ values.T).toarray()
    if mean is not None:
        crossed = (values @ mean)[:, None]
        products += float(mean @ mean) - crossed - crossed.T
    return products


def _turned(rows: Any, mean: np.ndarray | None, u: np.ndarray) -> np.ndarray:
    """The rows less their mean, transposed, times u (n, m): (d, m)."""
    if sp.issparse(rows):
        product = rows.astype(np.float64).T @ u
        return product if mean is None else product - np.outer(mean, u.sum(axis=0))
    return np.concatenate([part.T @ u for part in _chunks(rows, mean)])


def _completed(v: np.ndarray, k: int) -> np.ndarray:
    """The columns (d, m) made orthonormal to rounding, with k - m more before them, orthogonal to these but
    arbitrary."""
    d, found = v.shape
    more = np.random.default_rng(0).standard_normal((d, k - found))
    q, r = linalg.qr(np.concatenate([v[:, ::-1], more], axis=1), mode="economic")
    return (q * np.sign(np.diag(r)))[:, ::-1]
