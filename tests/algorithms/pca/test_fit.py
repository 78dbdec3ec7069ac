"""PCA's states, and whole jobs, beside scikit-learn."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import decomposition
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from algorithms.common.blas import side_by_side, squared
from algorithms.common.hosts import OneHost
from algorithms.errors import HyperparameterError, TrainingDataError, TrainingStopped
from algorithms.events import FinalScore, Measured, Progress, Throughput
from algorithms.hyperparameters import parse
from algorithms.pca import PCA, explained_variance_ratio
from algorithms.pca.covariance import BLOCK_ROWS, Covariance
from algorithms.pca.fit import Exact, State
from algorithms.pca.sketch import Sketch
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream
from tests.algorithms.pca.jobs import digits, exact, fitted, hyperparameters, rows_of, train

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
    exact = Covariance(400, centred=centred)
    dense, sparse, mixed = (states(400, centred=centred)[which] for _ in range(3))
    exact.update(rows.toarray())
    dense.update(rows.toarray())
    sparse.update(rows)
    mixed.update(rows[:700].toarray())
    mixed.update(rows[700:])
    expected = exact.finalize(3)
    np.testing.assert_allclose(sparse.finalize(3).s, expected.s, rtol=1e-3)  # a sketch holds rows that are so few
    assert (mixed.finalize(3).s > 0.98 * dense.finalize(3).s).all()
    assert (mixed.finalize(3).s < 1.001 * expected.s).all()
    if centred:
        for state in (sparse, mixed):
            np.testing.assert_allclose(state.finalize(3).mean, expected.mean, atol=1e-6)


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
    np.testing.assert_allclose(squared(found.v.T), np.eye(20), atol=1e-5)
    assert (np.diff(found.s) >= 0).all()
    assert (found.v[np.abs(found.v).argmax(axis=0), np.arange(20)] > 0).all()
    assert {part.dtype for part in found[:3]} == {np.dtype(np.float32)}


def test_batches_are_not_modified() -> None:
    rows = rows_of(300, 400)
    before = rows.copy()
    for state in states(400, centred=True):
        state.update(rows)
        np.testing.assert_array_equal(rows, before)


# ---- sparse rows that are iterated on, and wide covariances -------------------------------------------------------


def sparse_groups(n: int, d: int, nonzeros: int = 20) -> sp.csr_array:
    """Half of the non-zeros of a row are among 50 features of its group of 20, and half are any."""
    random = np.random.default_rng(0)
    own = random.random((n, nonzeros)) < 0.5
    of_group = random.integers(20, size=(n, 1)) * 50 + random.integers(50, size=(n, nonzeros))
    columns = np.where(own, of_group, random.integers(d, size=(n, nonzeros))).astype(np.int32)
    starts = np.arange(n + 1, dtype=np.int32) * nonzeros
    rows = sp.csr_array((random.random(n * nonzeros, dtype=np.float32), columns.reshape(-1), starts), shape=(n, d))
    rows.sum_duplicates()
    return rows


def held(rows: sp.csr_array, v: np.ndarray) -> float:
    """The share of the rows' variance that components hold."""
    mean = np.asarray(rows.mean(axis=0, dtype=np.float64)).reshape(-1)
    basis = np.linalg.qr(v.astype(np.float64))[0]
    projected = rows @ basis - mean @ basis
    total = float(np.square(rows.data, dtype=np.float64).sum()) - rows.shape[0] * float(mean @ mean)
    return float(np.vdot(projected, projected)) / total


@pytest.mark.parametrize(
    ("mode", "steps", "least"), [("regular", 1, 0.99999), ("randomized", 1, 0.995), ("randomized", 6, 0.97)]
)
def test_wide_sparse_rows_hold_the_variance_that_arpack_finds(mode, steps, least, monkeypatch) -> None:
    """Also where only a sixth of the rows may be held at a time."""
    rows = sparse_groups(4000, 30_000)
    monkeypatch.setattr("algorithms.pca.sketch._HELD", rows.nnz // steps)
    peer = decomposition.PCA(8, svd_solver="arpack", random_state=0).fit(rows)
    model = train(rows, num_components=8, algorithm_mode=mode)
    np.testing.assert_allclose(squared(model.v.T), np.eye(8), atol=1e-5)
    assert held(rows, model.v) > least * held(rows, peer.components_.T)
    np.testing.assert_allclose(model.s[::-1], peer.singular_values_, rtol=1e-5 if mode == "regular" else 0.02)


@pytest.mark.parametrize("mode", ["regular", "randomized"])
def test_sparse_rows_that_are_all_the_same_have_no_variance(mode: str) -> None:
    row = sp.csr_array(np.eye(1, 3000, 7, dtype=np.float32))
    model = train(sp.csr_array(sp.vstack([row] * 1500)), num_components=3, algorithm_mode=mode)
    assert not model.s.any()
    np.testing.assert_allclose(squared(model.v.T), np.eye(3), atol=1e-5)


@pytest.mark.parametrize("centred", [True, False])
def test_the_wanted_components_of_a_wide_covariance_are_those_of_all(centred: bool, monkeypatch) -> None:
    rows = rows_of(900, 300)
    every = fitted(rows, 5, centred=centred)
    monkeypatch.setattr("algorithms.pca.covariance._WHOLE_DIM", 256)
    wanted = fitted(rows, 5, centred=centred)
    np.testing.assert_allclose(wanted.s, every.s, rtol=1e-6)
    np.testing.assert_allclose(wanted.v, every.v, atol=1e-6)
    assert wanted.total == pytest.approx(every.total)


def test_a_covariance_that_memory_does_not_hold_is_refused_with_what_helps() -> None:
    rows = sparse_groups(1200, 1100)
    with pytest.raises(TrainingDataError, match="more rows than the 1100 features.*set algorithm_mode=randomized"):
        train(rows, FakeJob(memory=10 << 20), num_components=2)
    train(rows[:1000], FakeJob(memory=10 << 20), num_components=2)  # fewer rows than features need none
    train(rows, FakeJob(memory=10 << 20), num_components=2, algorithm_mode="randomized")


@pytest.mark.parametrize("more", [{}, {"subtract_mean": "false"}, {"algorithm_mode": "randomized"}])
@pytest.mark.parametrize("k", [1, 5])
def test_the_memory_that_is_reckoned_is_what_a_few_wide_rows_take(k: int, more: dict[str, str]) -> None:
    """A file of a few hundred bytes whose rows claim two billion features ended a job by the memory it took."""
    width = 200_000
    rows = sp.csr_array((np.ones(40, np.float32), (np.arange(40) % 20, np.arange(40) * 5000)), shape=(20, width))
    given = {"feature_dim": str(width), "num_components": str(k), "mini_batch_size": "20", **more}
    reckoned = PCA.memory(parse(PCA.hyperparameters, given))
    tracemalloc.start()
    train(rows, FakeJob(), num_components=k, **more)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if "algorithm_mode" in more:  # rows that are all held need no sketch
        assert reckoned > taken / 2
    else:
        assert taken / 2 < reckoned < taken


# ---- fit ----------------------------------------------------------------------------------------------------------


def test_defaults_are_sagemakers() -> None:
    values = hyperparameters()
    assert (values.algorithm_mode, values.extra_components, values.subtract_mean) == ("regular", -1, True)


def test_the_mode_of_2017_is_the_exact_one() -> None:
    """``stable``, as ``PCASageMakerEstimator`` of aws/sagemaker-spark may send it."""
    assert hyperparameters(algorithm_mode="stable") == hyperparameters(algorithm_mode="regular")


@pytest.mark.parametrize(("k", "given", "extra"), [(5, -1, 10), (50, -1, 50), (5, 0, 0), (5, 7, 7)])
def test_extra_components_default_to_at_least_ten(k: int, given: int, extra: int) -> None:
    values = hyperparameters(num_components=k, extra_components=given, algorithm_mode="randomized")
    assert values.sketch_extra == extra


def test_more_components_than_features_are_refused() -> None:
    with pytest.raises(HyperparameterError, match="'num_components': 65 is more than feature_dim, 64"):
        hyperparameters(num_components=65)


@pytest.mark.parametrize("mode", ["regular", "randomized"])
def test_more_components_than_rows_are_refused(mode: str) -> None:
    with pytest.raises(TrainingDataError, match="num_components is 20, but channel 'train' has only 19 rows"):
        train(rows_of(19, 1100), num_components=20, algorithm_mode=mode)


@pytest.mark.parametrize("mode", ["regular", "randomized"])
def test_as_many_components_as_rows_are_found(mode: str) -> None:
    rows = rows_of(20, 1100)
    model = train(rows, num_components=20, algorithm_mode=mode)
    np.testing.assert_allclose(model.s, exact(rows, 20)[0], atol=1e-3)
    np.testing.assert_allclose(squared(model.v.T), np.eye(20), atol=1e-5)


def test_an_empty_channel_is_an_error() -> None:
    with pytest.raises(TrainingDataError, match="channel 'train' is empty"):
        train(np.empty((0, 64), np.float32))


def test_a_width_other_than_feature_dim_is_an_error() -> None:
    with pytest.raises(TrainingDataError, match="feature_dim is 64, but channel 'train' has 63 features"):
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
    np.testing.assert_allclose(squared(found.v.T), np.eye(k), atol=1e-5)
    known = s[:k] > 1e-3
    np.testing.assert_allclose(np.abs(np.einsum("kd,dk->k", vt[:k], found.v[:, ::-1]))[known], 1, atol=1e-5)


def test_as_many_components_as_rows_are_orthonormal_though_one_says_nothing() -> None:
    state = Exact(700, centred=True)
    state.update(rows_of(6, 700, decay=0.5))
    found = state.finalize(6)
    assert found.s[0] == 0
    np.testing.assert_allclose(squared(found.v.T), np.eye(6), atol=1e-5)


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


@pytest.mark.parametrize("features", [160, 300])  # in float64, in float32
def test_blocks_beside_each_other_add_up_as_one_after_the_other(features: int) -> None:
    rows = np.random.default_rng(0).normal(2, 1, size=(20_000, features)).astype(np.float32)
    found = []
    for threads in (1, 2, 2):
        with threadpool_limits(threads, "blas"):
            made = Covariance(features, centred=True)
            assert made.threads == threads
            assert made.block_rows == BLOCK_ROWS  # a checkpoint counts them: they are the same on any machine
            with side_by_side(made.threads):
                made.update(rows[:100])
                given = rows[100:].copy()
                made.update(given)
                given[:] = 0  # the caller's, to be used again
                found.append(made.to_arrays()["moments"])
            made.finalize(3)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[1], found[2])  # whichever thread was first
