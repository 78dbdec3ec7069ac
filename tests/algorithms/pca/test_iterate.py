"""Components of wide sparse rows beside NumPy's decomposition of the dense ones."""

import numpy as np
import pytest
import scipy.sparse as sp

from algorithms.pca.gram import Rows

K = 8


@pytest.mark.parametrize(
    ("occurring", "offset", "centred", "tolerance", "near"),  # columns that some row has, of 5,000
    [
        (1100, 0, True, 0, 1e-9),
        (5000, 0, False, 2.5e-4, 1e-4),
        (1100, 0, True, 2.5e-4, 1e-4),
        (1100, 50, True, 2.5e-4, 1e-4),  # the mean is large beside the spread
        (1100, 50, False, 0, 1e-9),
    ],
)
def test_wide_sparse_rows_have_the_components_of_the_dense_ones(occurring, tolerance, near, offset, centred):
    rng = np.random.default_rng(3)
    values = np.where(rng.random((1020, occurring)) < 0.02, rng.normal(size=(1020, occurring)), 0)
    values[:, :40] = values[:, :40] * 5 + offset
    dense = np.zeros((1020, 5000), np.float32)
    dense[:, np.sort(rng.permutation(5000)[:occurring])] = values
    rows = Rows(5000)
    rows.add(sp.csr_array(dense))

    s, v, mean, total = rows.decomposed(K, centred=centred, tolerance=tolerance)

    expected = dense.astype(np.float64) - (dense.mean(axis=0, dtype=np.float64) if centred else 0)
    squares = np.linalg.eigvalsh(expected @ expected.T)
    np.testing.assert_allclose(s**2, squares[-K:], rtol=near)
    np.testing.assert_allclose(v.T @ v, np.eye(K), atol=1e-9)
    np.testing.assert_allclose(np.square(expected @ v).sum(), squares[-K:].sum(), rtol=near)
    np.testing.assert_allclose(total, squares.sum(), rtol=1e-6)
    assert (mean is not None) == centred


def test_components_that_differ_ten_million_times_are_still_orthonormal():
    rng = np.random.default_rng(0)
    rows = Rows(3000)
    rows.add(
        sp.csr_array(
            (rng.normal(size=1200) * np.geomspace(1e4, 1e-3, 1200), (np.arange(1200), np.arange(1200))),
            shape=(1200, 3000),
            dtype=np.float32,
        )
    )
    s, v, _, _ = rows.decomposed(1100, centred=False)
    np.testing.assert_allclose(v.T @ v, np.eye(1100), atol=1e-9)
    assert (np.diff(s) >= 0).all()
