"""PCA against NumPy's SVD and scikit-learn, and the properties that its states and models promise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import decomposition
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from algorithms.common import mxnet_files
from algorithms.common.hosts import OneHost
from algorithms.errors import HyperparameterError, ModelError, PredictionError, TrainingDataError, TrainingStopped
from algorithms.events import FinalScore, Measured, Progress, Throughput
from algorithms.hyperparameters import parse
from algorithms.pca import PCA, PCAHyperparameters, explained_variance_ratio
from algorithms.pca.components import Components
from algorithms.pca.covariance import Covariance
from algorithms.pca.fit import Exact, State, initialize
from algorithms.pca.model import PCAModel
from algorithms.pca.sketch import Sketch
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream

WIDE = 320  # beyond the width up to which products are float64


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Products this small are slower on several threads, by far where other tests run beside."""
    with threadpool_limits(1):
        yield


def rows_of(n: int, d: int, *, seed: int = 0, decay: float = 0.5, mean: float = 3) -> np.ndarray:
    """Rows whose singular values fall off as a power, in a random basis, around a mean."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    rows = rng.standard_normal((n, d)) * np.arange(1.0, d + 1) ** -decay
    return (rows @ basis + mean * rng.standard_normal(d)).astype(np.float32)


def digits() -> np.ndarray:
    return load_digits().data.astype(np.float32)


def exact(rows: np.ndarray, k: int, *, centred: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """s (k,) and v (d, k) in ascending order, by NumPy's SVD in float64."""
    values = rows.astype(np.float64)
    _, s, vt = np.linalg.svd(values - values.mean(axis=0) if centred else values, full_matrices=False)
    return s[:k][::-1], vt[:k][::-1].T


def fitted(rows: Any, k: int, *, centred: bool = True, extra: int | None = None, size: int = 1000) -> Components:
    d = rows.shape[1]
    state: State = Covariance(d, centred=centred) if extra is None else Sketch(d, k + extra, centred=centred)
    for start in range(0, rows.shape[0], size):
        state.update(rows[start : start + size])
    return state.finalize(k)


def assert_same_components(found: Components, s: np.ndarray, v: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(found.s, s, rtol=tolerance, atol=tolerance * s[-1])
    np.testing.assert_allclose(np.abs(np.sum(found.v * v, axis=0)), 1, atol=tolerance)


def hyperparameters(**values: object) -> PCAHyperparameters:
    strings = {"feature_dim": "64", "mini_batch_size": "100", "num_components": "5"} | {
        name: str(value) for name, value in values.items()
    }
    return parse(PCAHyperparameters, strings)


def train(features: Any, job: FakeJob | None = None, test: Any = None, **values: object) -> PCAModel:
    channels = {"train": MemoryStream(features)} | ({"test": MemoryStream(test)} if test is not None else {})
    return PCA.fit(hyperparameters(feature_dim=features.shape[1], **values), channels, job or FakeJob())


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
    np.testing.assert_allclose(found.v.T @ found.v, np.eye(2), atol=1e-6)


# ---- the sketch ---------------------------------------------------------------------------------------------------


def angle(found: np.ndarray, reference: np.ndarray) -> float:
    """The largest principal angle between two subspaces, in degrees."""
    cosines = np.linalg.svd(np.linalg.qr(found.astype(np.float64))[0].T @ reference)[1]
    return float(np.degrees(np.arccos(np.clip(cosines.min(), 0, 1))))


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
def test_the_sketch_is_close_to_the_svd(centred: bool, sparse: bool) -> None:
    rows = rows_of(3000, 300, decay=1)
    if sparse:
        rows[np.random.default_rng(1).random(rows.shape) < 0.5] = 0
    s, v = exact(rows, 5, centred=centred)
    found = fitted(sp.csr_array(rows) if sparse else rows, 5, centred=centred, extra=10)
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


# ---- states -------------------------------------------------------------------------------------------------------


def states(d: int, *, centred: bool) -> list[State]:
    return [Covariance(d, centred=centred), Sketch(d, 25, centred=centred)]


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("which", [0, 1])
def test_merged_parts_give_what_the_whole_gives(which: int, centred: bool) -> None:
    rows = rows_of(3000, 400, decay=1.5)
    rows[1000:] += 5  # the parts have different means
    whole, left, right, empty = (states(400, centred=centred)[which] for _ in range(4))
    whole.update(rows)
    left.update(rows[:1000])
    right.update(rows[1000:])
    left.merge(empty)
    empty.merge(right)
    left.merge(empty)
    assert left.rows == 3000
    found, expected = left.finalize(4), whole.finalize(4)
    np.testing.assert_allclose(found.s, expected.s, rtol=1e-3)
    np.testing.assert_allclose(found.v, expected.v, atol=1e-2 if which else 1e-3)
    assert found.explained == pytest.approx(expected.explained, rel=1e-3)
    if centred:
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_sparse_rows_give_what_dense_rows_give(share: float, which: int, centred: bool) -> None:
    rows = sp.random_array((1500, 400), density=share, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    dense, sparse, mixed = (states(400, centred=centred)[which] for _ in range(3))
    dense.update(rows.toarray())
    sparse.update(rows)
    mixed.update(rows[:700].toarray())
    mixed.update(rows[700:])
    for state in (sparse, mixed):
        found, expected = state.finalize(3), dense.finalize(3)
        np.testing.assert_allclose(found.s, expected.s, rtol=1e-3 if which == 0 else 0.02)
        if centred:
            np.testing.assert_allclose(found.mean, expected.mean, atol=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_finalize_leaves_the_state_as_it_is(which: int) -> None:
    rows = rows_of(2000, 400)
    state = states(400, centred=True)[which]
    state.update(rows[:1000])
    first = state.finalize(3)
    np.testing.assert_array_equal(state.finalize(3).v, first.v)
    state.update(rows[1000:])
    assert state.finalize(3).s[-1] > first.s[-1]


@pytest.mark.parametrize("extra", [None, 10])
def test_columns_are_orthonormal_ascending_and_of_fixed_sign(extra: int | None) -> None:
    found = fitted(rows_of(1500, 400), 20, extra=extra)
    np.testing.assert_allclose(found.v.T @ found.v, np.eye(20), atol=1e-5)
    assert (np.diff(found.s) >= 0).all()
    assert (found.v[np.abs(found.v).argmax(axis=0), np.arange(20)] > 0).all()
    assert {part.dtype for part in found[:3]} == {np.dtype(np.float32)}


def test_batches_are_not_modified() -> None:
    rows = rows_of(300, 400)
    before = rows.copy()
    for state in states(400, centred=True):
        state.update(rows)
        np.testing.assert_array_equal(rows, before)


# ---- fit ----------------------------------------------------------------------------------------------------------


def test_defaults_are_sagemakers() -> None:
    values = hyperparameters()
    assert (values.algorithm_mode, values.extra_components, values.subtract_mean) == ("regular", -1, True)


@pytest.mark.parametrize(("k", "given", "extra"), [(5, -1, 10), (50, -1, 50), (5, 0, 0), (5, 7, 7)])
def test_extra_components_default_to_at_least_ten(k: int, given: int, extra: int) -> None:
    values = hyperparameters(num_components=k, extra_components=given, algorithm_mode="randomized")
    assert values.sketch_extra == extra


def test_more_components_than_features_are_refused() -> None:
    with pytest.raises(HyperparameterError, match="'num_components': 65 is more than feature_dim, 64"):
        hyperparameters(num_components=65)


@pytest.mark.parametrize("mode", ["regular", "randomized"])
def test_more_components_than_rows_are_refused(mode: str) -> None:
    with pytest.raises(TrainingDataError, match="num_components is 20, but the train channel has only 19 rows"):
        train(rows_of(19, 1100), num_components=20, algorithm_mode=mode)


@pytest.mark.parametrize("mode", ["regular", "randomized"])
def test_as_many_components_as_rows_are_found(mode: str) -> None:
    rows = rows_of(20, 1100)
    model = train(rows, num_components=20, algorithm_mode=mode)
    np.testing.assert_allclose(model.s, exact(rows, 20)[0], atol=1e-3)
    np.testing.assert_allclose(model.v.T @ model.v, np.eye(20), atol=1e-5)


def test_an_empty_channel_is_an_error() -> None:
    with pytest.raises(TrainingDataError, match="channel is empty"):
        train(np.empty((0, 64), np.float32))


def test_a_width_other_than_feature_dim_is_an_error() -> None:
    with pytest.raises(TrainingDataError, match="feature_dim is 64, but the train channel has 63 features"):
        PCA.fit(hyperparameters(), {"train": MemoryStream(rows_of(100, 63))}, FakeJob())


@pytest.mark.parametrize("mode", ["regular", "randomized"])
def test_numbers_whose_squares_overflow_are_an_error(mode: str) -> None:
    with pytest.raises(TrainingDataError, match="too large"), np.errstate(over="ignore", invalid="ignore"):
        train(np.float32(1e30) * rows_of(50, 1100), algorithm_mode=mode)


def test_one_pass_over_the_channel() -> None:
    stream = MemoryStream(digits(), epochs_left=1)
    PCA.fit(hyperparameters(epochs=3), {"train": stream}, FakeJob())
    assert stream.epochs_begun == 1


def test_progress_and_throughput_are_reported() -> None:
    job = FakeJob()
    train(digits(), job)
    assert job.of(Progress) == [Progress(1, 1)]
    assert [event.rows for event in job.of(Throughput)] == [1797]
    assert job.of(Measured) == []
    assert "64 feature(s) found in 'data'." in job.messages


def test_the_test_channel_is_scored() -> None:
    rows, job = digits(), FakeJob()
    model = train(rows[:1000], job, rows[1000:], num_components=5)
    residual = rows[1000:] - model.mean - model.predict(Batch(rows[1000:]))["projection"] @ model.v.T
    spread = rows[1000:] - model.mean
    expected = 1 - np.sum(residual.astype(np.float64) ** 2) / np.sum(spread.astype(np.float64) ** 2)
    assert job.last("test", "explained_variance_ratio") == pytest.approx(expected, rel=1e-5)
    assert job.of(FinalScore) == [FinalScore("test", "explained_variance_ratio", pytest.approx(expected, rel=1e-5))]
    assert job.of(Measured)[0].scores[0].maximize


def test_the_score_is_the_same_for_sparse_rows() -> None:
    rows = digits()
    model = train(rows)
    parts = (rows, sp.csr_array(rows))
    dense, sparse = (explained_variance_ratio(model, MemoryStream(part), OneHost()) for part in parts)
    assert dense == pytest.approx(sparse, rel=1e-6)
    assert dense == pytest.approx(decomposition.PCA(5).fit(rows).explained_variance_ratio_.sum(), rel=1e-5)


def test_a_stop_leaves_the_model_of_the_rows_so_far() -> None:
    rows, job = rows_of(10000, 20), FakeJob(stop_after=1)
    model = PCA.fit(hyperparameters(feature_dim=20), {"train": MemoryStream(rows)}, job)
    assert "8192 rows" in job.warnings[0]
    np.testing.assert_allclose(model.s, exact(rows[:8192], 5)[0], rtol=1e-5)


def test_a_stop_before_there_are_enough_rows_leaves_no_model() -> None:
    stream = MemoryStream([Batch(row[None]) for row in rows_of(3, 64)])
    with pytest.raises(TrainingStopped):
        PCA.fit(hyperparameters(), {"train": stream}, FakeJob(stop_after=0))


def test_the_seed_decides_the_sketch() -> None:
    rows = rows_of(1500, 1100, decay=0.2)
    models = [train(rows, FakeJob(seed=seed), algorithm_mode="randomized") for seed in (1, 1, 2)]
    np.testing.assert_array_equal(models[0].v, models[1].v)
    assert np.abs(models[0].v - models[2].v).max() > 1e-4


# ---- the model ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtract_mean", [True, False])
def test_the_artifact_has_the_documented_arrays(tmp_path: Path, subtract_mean: bool) -> None:
    train(digits(), subtract_mean=subtract_mean).save(tmp_path)
    arrays = mxnet_files.load(tmp_path / "model_algo-1")
    assert isinstance(arrays, dict)
    shapes = {"s": (5,), "v": (64, 5)} | ({"mean": (1, 64)} if subtract_mean else {})
    assert {name: array.shape for name, array in arrays.items()} == shapes
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("subtract_mean", [True, False])
def test_a_loaded_model_predicts_the_same_bits(tmp_path: Path, subtract_mean: bool) -> None:
    model = train(digits(), subtract_mean=subtract_mean)
    model.save(tmp_path)
    assert PCA.recognises(tmp_path)
    loaded = PCA.load(tmp_path)
    for rows in (digits(), sp.csr_array(digits())):
        np.testing.assert_array_equal(*(each.predict(Batch(rows))["projection"] for each in (model, loaded)))


@pytest.mark.parametrize("subtract_mean", [True, False])
def test_sparse_and_dense_requests_agree(subtract_mean: bool) -> None:
    model = train(digits(), subtract_mean=subtract_mean)
    dense, sparse = (model.predict(Batch(rows))["projection"] for rows in (digits(), sp.csr_array(digits())))
    assert dense.dtype == sparse.dtype == np.float32
    np.testing.assert_allclose(dense, sparse, atol=1e-4)


@pytest.mark.parametrize("rows", [np.empty((0, 64), np.float32), sp.csr_array((0, 64), dtype=np.float32)])
def test_no_rows_give_no_projections(rows: Any) -> None:
    assert train(digits()).predict(Batch(rows))["projection"].shape == (0, 5)


def test_a_request_of_another_width_is_refused() -> None:
    with pytest.raises(PredictionError, match="rows have 63 features, but the model has 64"):
        train(digits()).predict(Batch(np.zeros((1, 63), np.float32)))


S, V = np.ones(2, np.float32), np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ([V], "1 arrays without names instead of s, v"),
        ({"v": V}, "it has v instead of s, v"),
        ({"s": S, "v": S}, r"v has the shape \(2,\)"),
        ({"s": S[:1], "v": V}, r"s has the shape \(1,\), but v the shape \(3, 2\)"),
        ({"s": S, "v": V, "mean": S[None]}, r"mean has the shape \(1, 2\)"),
        ({"s": S, "v": V * np.nan}, "array v has values that are NaN"),
    ],
)
def test_arrays_that_are_no_pca_model_are_refused(tmp_path: Path, arrays: Any, problem: str) -> None:
    mxnet_files.save(tmp_path / "model_algo-1", arrays)
    with pytest.raises(ModelError, match=problem):
        PCA.load(tmp_path)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    assert not PCA.recognises(tmp_path)
    with pytest.raises(ModelError, match="it holds: nothing"):
        PCA.load(tmp_path)


# ---- fewer rows than features ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("form", ["dense", "sparse", "mixed"])
@pytest.mark.parametrize("count", [1, 7, 80])
def test_few_rows_of_many_features_give_what_a_decomposition_of_the_rows_gives(count, form, centred) -> None:
    rows = rows_of(count, 900, decay=0.5) + 3
    rows[np.random.default_rng(1).random(rows.shape) < 0.7] = 0
    state = Exact(900, centred=centred)
    for number, start in enumerate(range(0, count, 30)):
        part = rows[start : start + 30]
        state.update(sp.csr_array(part) if form == "sparse" or (form == "mixed" and number % 2) else part)
    k = min(count, 5)
    found = state.finalize(k)
    centre = rows.mean(axis=0, dtype=np.float64) if centred else np.zeros(900)
    _, s, vt = np.linalg.svd(rows - centre, full_matrices=False)
    np.testing.assert_allclose(found.s[::-1], s[:k], rtol=1e-5, atol=1e-4)
    assert found.total == pytest.approx(float((s**2).sum()), abs=1e-6)
    np.testing.assert_allclose(found.v.T @ found.v, np.eye(k), atol=1e-5)
    known = s[:k] > 1e-3
    np.testing.assert_allclose(np.abs(np.einsum("kd,dk->k", vt[:k], found.v[:, ::-1]))[known], 1, atol=1e-5)


def test_as_many_components_as_rows_are_orthonormal_though_one_says_nothing() -> None:
    state = Exact(700, centred=True)
    state.update(rows_of(6, 700, decay=0.5))
    found = state.finalize(6)
    assert found.s[0] == 0
    np.testing.assert_allclose(found.v.T @ found.v, np.eye(6), atol=1e-5)


@pytest.mark.parametrize("counts", [(100, 100), (100, 500), (500, 100), (300, 300)])
def test_rows_beyond_the_features_go_into_the_covariance(counts) -> None:
    rows = rows_of(sum(counts), 400, decay=1.0) + 2
    whole, left, right = (Exact(400, centred=True) for _ in range(3))
    whole.update(rows)
    left.update(rows[: counts[0]])
    right.update(rows[counts[0] :])
    left.merge(right)
    assert left.rows == whole.rows == sum(counts)
    expected = decomposition.PCA(5, svd_solver="full").fit(rows.astype(np.float64))
    for found in (left.finalize(5), whole.finalize(5)):
        np.testing.assert_allclose(found.s[::-1], expected.singular_values_, rtol=1e-4)
        assert found.explained == pytest.approx(float(expected.explained_variance_ratio_.sum()), rel=1e-4)


def test_the_scree_is_of_the_whole_variance() -> None:
    rows = load_digits().data.astype(np.float32)
    expected = np.cumsum(decomposition.PCA(2).fit(rows).explained_variance_ratio_)
    values = {"feature_dim": "64", "num_components": "2", "mini_batch_size": "100"}
    model = PCA.fit(parse(PCA.hyperparameters, values), {"train": MemoryStream(rows)}, FakeJob())
    scree = model.figures(None)[0]
    together = [y for _, y in scree.series["together"]]
    np.testing.assert_allclose(together, expected, rtol=1e-4)
    assert together[-1] == pytest.approx(0.285, abs=0.001)
