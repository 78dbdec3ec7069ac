"""Leading components of sparse rows by products with vectors alone: Lanczos' method (ARPACK), at the cost of the
non-zeros for each.

The rows stay as they are: what centring takes from a product, and rows that stand for others seen before, are added to
it. Only the smaller of the two sides is iterated on.

Reference: R. Lehoucq, D. Sorensen, C. Yang, "ARPACK Users' Guide", SIAM 1998.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, svds


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
