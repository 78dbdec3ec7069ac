"""Leading components of sparse rows by products with vectors alone: Lanczos' method (ARPACK). A product costs the
non-zeros.

The rows are not changed: the effect of centring, and of rows that stand for others seen before, is added to each
product. The iteration is on the products of rows or of features, whichever are fewer.

Reference: R. Lehoucq, D. Sorensen, C. Yang, "ARPACK Users' Guide", SIAM 1998.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, eigsh, svds

_WORTH = 2  # times fewer features, if those that no row has are left out
_TAME = 1e30  # sums of squares up to here leave float32 room for products
_ALIKE = 1e-3  # share of the largest singular value, down to which vectors are orthonormal by their products


def leading_by_rows(
    rows: sp.csr_array, mean: np.ndarray | None, k: int, *, tolerance: float, total: float, norm: float
) -> tuple[np.ndarray, np.ndarray]:
    """As ``leading``, for fewer rows than features, without others: singular values (k,), falling, and right singular
    vectors in columns (d, k), float64.

    The iteration is on the products of the rows with each other, in float32 if ``tolerance`` allows it, and only with
    features that some row has; centring a product needs no vector of d numbers.

    Args:
        total: sum of the squares of the rows less their mean. norm: square root of that of the rows themselves.
    """
    n, d = rows.shape
    single = tolerance > 0 and total > norm**2 / 10 and norm**2 < _TAME
    occurs = np.zeros(d, bool)
    occurs[rows.indices] = True
    columns, narrow = np.flatnonzero(occurs), rows
    if len(columns) * _WORTH < d:
        numbers = (np.cumsum(occurs) - 1).astype(np.int32)
        narrow = sp.csr_array((rows.data, numbers[rows.indices], rows.indptr), shape=(n, len(columns)))
    else:
        columns = np.arange(d)
    centre = np.zeros(len(columns)) if mean is None else mean[columns]
    start = np.random.default_rng(0).standard_normal(n)
    operator = _products(narrow.astype(np.float32 if single else np.float64, copy=False), centre)
    vectors = eigsh(operator, k, tol=tolerance, v0=start.astype(operator.dtype))[1].astype(np.float64)
    turned = narrow.astype(np.float64).T @ vectors - np.outer(centre, vectors.sum(axis=0))
    s, right = _orthonormal(turned)
    v = np.zeros((d, k))
    v[columns] = right
    return s, v


def _products(rows: sp.csr_array, mean: np.ndarray) -> LinearOperator:
    """Y Y', (n, n), of the rows less their mean, Y."""
    transposed, crossed, square = rows.T, (rows @ mean).astype(rows.dtype), float(mean @ mean)

    def times(vector: np.ndarray) -> np.ndarray:
        vector = vector.reshape(-1)
        total = float(vector.sum())
        product: np.ndarray = rows @ (transposed @ vector)
        product -= total * crossed
        product += square * total - float(crossed @ vector)
        return product

    return LinearOperator((rows.shape[0],) * 2, matvec=times, dtype=rows.dtype)


def _orthonormal(turned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values of (d, k), falling, and its left singular vectors (d, k): by the products of its columns, which
    take a tenth of the time of its decomposition, unless they would lose the smaller ones."""
    squares, rotation = np.linalg.eigh(turned.T @ turned)
    if squares[0] <= _ALIKE**2 * squares[-1]:
        left, s, _ = np.linalg.svd(turned, full_matrices=False)
        return s, left
    s = np.sqrt(squares[::-1])
    return s, turned @ (rotation[:, ::-1] / s)


def leading(
    rows: sp.csr_array, mean: np.ndarray | None, k: int, *, tolerance: float, others: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Singular values (k,), falling, and right singular vectors in rows (k, d) of the rows less their mean, below which
    ``others`` stand; all float64.

    Args:
        rows: (n, d). mean: (d,), or None where it is not subtracted. others: (m, d) or none.
        k: less than both n + m and d.
        tolerance: relative error of the eigenvalues of the products; 0 for that of float64.

    Raises:
        scipy.sparse.linalg.ArpackError: the rows are 0, or nearly so.
    """
    operator = _operator(rows.astype(np.float64), mean, others)
    start = np.random.default_rng(0).standard_normal(min(operator.shape))
    _, s, vt = svds(operator, k=k, tol=tolerance, v0=start, return_singular_vectors="vh")
    order = np.argsort(s)[::-1]
    return s[order], vt[order]


def _operator(rows: sp.csr_array, mean: np.ndarray | None, others: np.ndarray | None) -> LinearOperator:
    count = rows.shape[0]

    def times(right: np.ndarray) -> np.ndarray:
        product = np.asarray(rows @ right)
        if mean is not None:
            product -= mean @ right
        return product if others is None else np.concatenate([product, others @ right])

    def transposed_times(right: np.ndarray) -> np.ndarray:
        product = np.asarray(rows.T @ right[:count])
        if mean is not None:
            product -= np.multiply.outer(mean, right[:count].sum(axis=0))
        return product if others is None else product + others.T @ right[count:]

    shape = (count + (0 if others is None else len(others)), rows.shape[1])
    return LinearOperator(
        shape, matvec=times, rmatvec=transposed_times, matmat=times, rmatmat=transposed_times, dtype=np.float64
    )
