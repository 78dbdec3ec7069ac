"""Components of the exact covariance and of the sketch against NumPy's SVD."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import decomposition

from algorithms.common.blas import squared
from algorithms.pca.components import Components
from algorithms.pca.covariance import Covariance
from algorithms.pca.fit import Exact, initialize
from algorithms.pca.sketch import Sketch
from recordio.batches import Batch
from tests.algorithms.pca.jobs import digits, exact, fitted, rows_of, train

WIDE = 320  # beyond the width up to which products are float64


def assert_same_components(found: Components, s: np.ndarray, v: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(found.s, s, rtol=tolerance, atol=tolerance * s[-1])
    np.testing.assert_allclose(np.abs(np.sum(found.v * v, axis=0)), 1, atol=tolerance)


# ---- exact components ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("d", [20, WIDE])
@pytest.mark.parametrize("size", [7, 1000, 5000])
def test_exact_components_are_those_of_the_svd(d: int, size: int, centred: bool) -> None:
    rows = rows_of(3000, d)
    found = fitted(rows, 6, centred=centred, size=size)
    assert_same_components(found, *exact(rows, 6, centred=centred), 1e-5)
    assert (found.mean is not None) == centred


def test_two_points_by_hand() -> None:
    found = fitted(np.float32([[0, 1], [4, 1]]), 1)
    np.testing.assert_allclose(found.s, [np.sqrt(8)], rtol=1e-6)  # deviations -2 and 2
    np.testing.assert_allclose(found.v, [[1], [0]], atol=1e-7)
    np.testing.assert_array_equal(found.mean, [[2, 1]])


def test_exact_components_match_scikit_learn_with_signs() -> None:
    rows = digits()
    reference = decomposition.PCA(10, svd_solver="full").fit(rows.astype(np.float64))
    model = train(rows, num_components=10)
    np.testing.assert_allclose(model.s[::-1], reference.singular_values_, rtol=1e-6)
    np.testing.assert_allclose(model.v.T[::-1], reference.components_, atol=1e-5)
    projected = model.predict(Batch(rows))["projection"]
    np.testing.assert_allclose(projected[:, ::-1], reference.transform(rows), atol=1e-3)


def test_without_mean_it_is_truncated_svd() -> None:
    rows = digits()
    reference = decomposition.TruncatedSVD(8, algorithm="arpack").fit(rows.astype(np.float64))
    model = train(rows, num_components=8, subtract_mean="false")
    assert model.mean is None
    np.testing.assert_allclose(model.s[::-1], reference.singular_values_, rtol=1e-6)
    np.testing.assert_allclose(model.predict(Batch(rows))["projection"], rows @ model.v, rtol=1e-5)


@pytest.mark.parametrize("d", [30, WIDE])
def test_a_mean_far_from_zero_costs_no_accuracy(d: int) -> None:
    rows = rows_of(4000, d, mean=1000)
    assert_same_components(fitted(rows, 5), *exact(rows, 5), 2e-5)


def test_small_components_are_accurate_beside_large_ones() -> None:
    """Singular values that are a ten-thousandth of the largest, as features of different units give them."""
    rows = rows_of(2000, 30, decay=3)
    s, _ = exact(rows, 30)
    assert s[0] < s[-1] / 2e4
    np.testing.assert_allclose(fitted(rows, 30).s, s, rtol=1e-4)


def test_squared_singular_values_sum_to_the_scatter() -> None:
    rows = rows_of(500, 12)
    found = fitted(rows, 12)
    np.testing.assert_allclose(np.sum(found.s.astype(np.float64) ** 2), 500 * rows.var(axis=0).sum(), rtol=1e-5)
    assert found.explained == pytest.approx(1)


def test_constant_rows_have_no_variance() -> None:
    found = fitted(np.ones((50, 4), np.float32), 2)
    np.testing.assert_array_equal(found.s, [0, 0])
    np.testing.assert_allclose(squared(found.v.T), np.eye(2), atol=1e-6)


# ---- the sketch ---------------------------------------------------------------------------------------------------


def angle(found: np.ndarray, reference: np.ndarray) -> float:
    """The largest principal angle between two subspaces, in degrees."""
    cosines = np.linalg.svd(np.linalg.qr(found.astype(np.float64))[0].T @ reference)[1]
    return float(np.degrees(np.arccos(np.clip(cosines.min(), 0, 1))))


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
def test_the_sketch_is_close_to_the_svd(centred: bool, sparse: bool) -> None:
    rows = rows_of(1500, 300, decay=1)
    if sparse:
        rows[np.random.default_rng(1).random(rows.shape) < 0.5] = 0
    s, v = exact(rows, 5, centred=centred)
    found = fitted(sp.csr_array(rows) if sparse else rows, 5, centred=centred, extra=10, size=500)
    np.testing.assert_allclose(found.s, s, rtol=0.02)
    best = np.linalg.norm((rows - (rows.mean(axis=0) if centred else 0)) @ v) ** 2
    held = np.linalg.norm((rows - (rows.mean(axis=0) if centred else 0)) @ found.v) ** 2
    assert held > 0.995 * best


def test_the_sketch_is_exact_for_rows_of_low_rank() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((2000, 6)) @ rng.standard_normal((6, 500)) + 1).astype(np.float32)
    found = fitted(rows, 6, extra=10)
    s, v = exact(rows, 6)
    np.testing.assert_allclose(found.s, s, rtol=1e-5)
    assert angle(found.v, v) < 0.01
    assert found.explained == pytest.approx(1, abs=1e-5)


def test_the_sketch_sees_what_comes_late_and_slowly() -> None:
    """More strong directions than the sketch has rows, then one that is strongest in the end but never in a step."""
    rng = np.random.default_rng(0)
    rows = 0.1 * rng.standard_normal((12000, 400))
    rows[:3000, :20] += 3 * rng.standard_normal((3000, 20))
    rows[3000:, 20] += 2.5 * rng.standard_normal(9000)
    state = Sketch(400, 15, centred=True)
    for start in range(0, len(rows), 250):
        state.update(rows[start : start + 250].astype(np.float32))
    assert abs(state.finalize(1).v[20, 0]) > 0.99


def test_the_sketch_is_not_used_where_the_exact_covariance_is_cheaper() -> None:
    assert isinstance(initialize(1000, 5, centred=True, extra=10), Exact)
    assert isinstance(initialize(2000, 250, centred=True, extra=250), Exact)
    assert isinstance(initialize(2000, 5, centred=True, extra=10), Sketch)
    assert isinstance(initialize(2000, 5, centred=True), Exact)
    assert isinstance(initialize(200, 5, centred=True), Covariance)


def test_more_extra_components_are_more_accurate() -> None:
    rows = rows_of(2000, 500, decay=0.3)
    _, v = exact(rows, 5)
    angles = [angle(fitted(rows, 5, extra=extra, size=300).v, v) for extra in (0, 10, 60)]
    assert angles[2] < angles[1] < angles[0]
