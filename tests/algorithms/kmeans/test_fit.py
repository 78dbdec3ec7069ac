"""K-means: the arithmetic of one step by hand, scikit-learn beside it, and what the method promises."""

import dataclasses
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans as Reference
from sklearn.metrics import adjusted_rand_score

from algorithms.errors import TrainingDataError, TrainingStopped
from algorithms.events import FinalScore, Progress, Throughput
from algorithms.kmeans import KMeans
from algorithms.kmeans.final import Options, finalize
from algorithms.kmeans.lloyd import Points
from algorithms.kmeans.sizes import extra_centers
from algorithms.kmeans.state import State
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream, on_hosts
from tests.algorithms.kmeans.jobs import blobs, digits, fit, msd, rng, settings


def state(size, X, *, seed=0, sample_size=10**6, batch=500, **others):
    made = State(size, sample_size, rng(seed), **others)
    for start in range(0, X.shape[0], batch):
        made.update(X[start : start + batch])
    return made


# The state


def test_update_moves_each_center_to_the_mean_of_its_rows():
    made = State(2, 10, rng())
    made.centers, made.weights = np.array([[0.0], [10.0]]), np.array([1.0, 3.0])
    loss = made.update(np.float32([[2], [4], [14]]))
    # Center 0: (1 * 0 + 2 + 4) / 3 = 2. Center 1: (3 * 10 + 14) / 4 = 11. Distances: 4 + 16 + 16.
    np.testing.assert_allclose(made.centers, [[2], [11]])
    np.testing.assert_allclose(made.weights, [3, 4])
    assert loss == pytest.approx(36)


@pytest.mark.parametrize("half_life", [0, 3000])
def test_some_rows_stand_for_all_of_a_large_batch(half_life):
    """Whatever the order of the rows: here each fourth is of the same blob."""
    X, labels = blobs(rows=10_000, clusters=4, features=300)
    X = X[np.argsort(labels, kind="stable")].reshape(4, 2500, 300).swapaxes(0, 1).reshape(10_000, 300)
    made, plain = (State(4, 100, rng(), half_life=half_life) for _ in range(2))
    for state in (made, plain):
        state.centers, state.weights = X[:4].astype(np.float64), np.zeros(4)
    for start in (0, 5000):
        batch = X[start : start + 5000]
        told = made.update(batch)
        exact = sum(plain.update(batch[first : first + 1000]) for first in range(0, 5000, 1000))  # too few to leave any
    assert told == pytest.approx(exact, rel=0.02)
    assert made.rows == plain.rows == 10_000
    assert made.weights.sum() == pytest.approx(plain.weights.sum())
    np.testing.assert_allclose(made.weights, plain.weights, rtol=0.15)
    np.testing.assert_allclose(made.centers, plain.centers, atol=0.15)
    assert not np.array_equal(made.centers, plain.centers)


@pytest.mark.parametrize("init_method", ["random", "kmeans++"])
def test_working_centers_are_the_same_however_rows_are_stored(init_method):
    """Of copies, and of rows that are as good a choice, rounding must not decide which one is a center."""
    X = np.repeat(rng().normal(size=(40, 4)), 2, axis=0).astype(np.float32)[rng(1).permutation(80)]
    dense, sparse = (State(20, 100, rng(2), init_method=init_method, half_life=100) for _ in range(2))
    for start in range(0, 80, 20):
        dense.update(X[start : start + 20])
        sparse.update(sp.csr_array(X[start : start + 20]))
    np.testing.assert_allclose(dense.centers, sparse.centers, atol=1e-5)
    np.testing.assert_allclose(dense.weights, sparse.weights)


def test_update_with_half_life_by_hand():
    made = State(1, 10, rng(), half_life=2)
    made.centers, made.weights = np.array([[8.0]]), np.array([4.0])
    made.update(np.float32([[0], [2]]))
    # Two later rows halve the old weight; the first new row is one row old, 2^(-1/2); the last counts 1.
    old, first, last = 2.0, 0.5**0.5, 1.0
    np.testing.assert_allclose(made.weights, [old + first + last])
    np.testing.assert_allclose(made.centers, [[(8 * old + 0 * first + 2 * last) / (old + first + last)]])


@pytest.mark.parametrize("half_life", [0, 300])
def test_weights_do_not_depend_on_how_the_stream_is_cut(half_life):
    X = rng().normal(size=(1000, 3)).astype(np.float32)
    made = [state(1, X, batch=size, half_life=half_life) for size in (1000, 7)]
    np.testing.assert_allclose(made[0].centers, made[1].centers, atol=1e-5)
    np.testing.assert_allclose(made[0].weights, made[1].weights, rtol=1e-9)


def test_a_short_half_life_follows_the_end_of_the_stream():
    early, late = np.zeros((5000, 2), np.float32), np.full((5000, 2), 9, np.float32)
    early += rng(1).normal(size=early.shape).astype(np.float32)
    late += rng(2).normal(size=late.shape).astype(np.float32)
    model = fit(np.concatenate([early, late]), 1, half_life_time_size=100, mini_batch_size=1000)
    np.testing.assert_allclose(model.centers, [[9, 9]], atol=0.5)
    everything = fit(np.concatenate([early, late]), 1, mini_batch_size=1000)
    np.testing.assert_allclose(everything.centers, [[4.5, 4.5]], atol=0.1)


def test_a_half_life_of_one_row_ends_without_a_warning():
    """By the clock that began with the first row, the last of 3,000 weigh more than a number can be."""
    X = rng().normal(size=(3000, 2)).astype(np.float32)
    found = fit(X, 2, half_life_time_size=1, mini_batch_size=500)  # a warning of NumPy's would be an error here
    assert np.isfinite(found.centers).all()


def test_merged_halves_are_worth_the_whole():
    X = digits()
    halves = [state(100, half, seed=seed) for seed, half in enumerate((X[::2], X[1::2]))]
    merged = halves[0]
    merged.merge(halves[1:])
    assert len(merged.centers) <= 100
    assert merged.rows == len(X)
    assert merged.weights.sum() == pytest.approx(len(X))
    np.testing.assert_allclose(merged.weights @ merged.centers / len(X), X.mean(axis=0), atol=1e-4)
    centers = finalize(merged, 10, Options(), rng(), str).centers
    reference = Reference(10, n_init=10, random_state=0).fit(X)
    assert msd(X, centers) <= 1.01 * reference.inertia_ / len(X)


def test_merging_with_half_life_keeps_the_latest_rows_of_both():
    early, late = np.zeros((4000, 1), np.float32), np.full((1000, 1), 8, np.float32)
    first = state(4, np.concatenate([early, late]), half_life=50)
    second = state(4, late[:700] + 2, half_life=50)
    first.merge([second])
    points = Points.join(first.sample.weighted(10**6, first.decay * first.time))
    found = points.rows(np.arange(len(points))).ravel()
    total = points.weights.sum()
    assert points.weights[found == 0].sum() < 1e-3 * total
    assert points.weights[found == 8].sum() == pytest.approx(points.weights[found == 10].sum(), rel=1e-2)


def test_merging_an_empty_state_changes_nothing():
    made = state(5, digits())
    before = made.centers.copy()
    made.merge([State(5, 100, rng())])
    np.testing.assert_array_equal(made.centers, before)


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_any_k_from_one_state(k):
    X = digits()
    made = state(100, X)
    before = made.centers.copy()
    clustering = finalize(made, k, Options(), rng(), str)
    assert clustering.centers.shape == (k, 64)
    assert clustering.msd == pytest.approx(msd(X, clustering.centers), rel=1e-4)
    assert clustering.msd <= 1.02 * Reference(k, n_init=5, random_state=0).fit(X).inertia_ / len(X)
    np.testing.assert_array_equal(made.centers, before)


def test_a_state_cannot_give_more_centers_than_it_has():
    with pytest.raises(ValueError, match="k is 11, with 10 working centers"):
        finalize(state(10, digits()), 11, Options(), rng(), str)


# Training as a whole


@pytest.mark.parametrize("init_method", ["random", "kmeans++"])
@pytest.mark.parametrize("local_lloyd_init_method", ["random", "kmeans++"])
def test_blobs_are_recovered(init_method, local_lloyd_init_method):
    X, labels = blobs()
    model = fit(X, 6, init_method=init_method, local_lloyd_init_method=local_lloyd_init_method, mini_batch_size=300)
    assert adjusted_rand_score(labels, model.predict(Batch(X))["closest_cluster"]) > 0.99


@pytest.mark.parametrize("k", [2, 10, 50])
def test_within_one_percent_of_the_best_of_twenty(k):
    X = digits()
    best = Reference(k, n_init=20, random_state=0).fit(X).inertia_ / len(X)
    assert msd(X, fit(X, k).centers) <= 1.01 * best


def test_the_mean_is_the_one_center_of_all():
    X = digits()
    np.testing.assert_allclose(fit(X, 1).centers, X.mean(axis=0)[None], atol=1e-4)


def test_dense_and_sparse_rows_give_the_same_model():
    X = np.where(rng().uniform(size=(1500, 20)) < 0.8, 0, rng(1).normal(size=(1500, 20))).astype(np.float32)
    X[::3, 0] += 20
    X[1::3, 1] += 20
    dense, sparse = fit(X, 3, mini_batch_size=400), fit(sp.csr_array(X), 3, mini_batch_size=400)
    np.testing.assert_allclose(dense.centers, sparse.centers, atol=1e-4)
    for name, values in dense.predict(Batch(X)).items():
        np.testing.assert_allclose(values, sparse.predict(Batch(sp.csr_array(X)))[name], rtol=1e-5, err_msg=name)


def test_wide_sparse_rows_are_never_made_dense():
    X = sp.random_array((2000, 200_000), density=1e-4, format="csr", dtype=np.float32, random_state=rng())
    model = fit(X, 2, extra_center_factor=2, mini_batch_size=500)  # 1.6 GB if it were
    assert model.centers.shape == (2, 200_000)
    assert np.isfinite(model.predict(Batch(X))["distance_to_cluster"]).all()


def test_the_same_seed_gives_the_same_model():
    X = digits()
    models = [fit(X, 10, FakeJob(seed=seed), mini_batch_size=500).centers for seed in (5, 5, 6)]
    np.testing.assert_array_equal(models[0], models[1])
    assert not np.array_equal(models[0], models[2])


def test_the_channel_is_read_as_often_as_epochs_says():
    X = digits()
    stream = MemoryStream(X, epochs_left=3)
    job = FakeJob()
    model = KMeans.fit(settings(X, 10, epochs=3), {"train": stream}, job)
    assert stream.epochs_left == 0
    assert job.of(Progress) == [Progress(1, 3), Progress(2, 3), Progress(3, 3)]
    assert [event.rows for event in job.of(Throughput)] == [len(X)] * 3
    assert job.last("train", "msd") == pytest.approx(msd(X, model.centers), rel=1e-4)


def test_batches_are_not_modified():
    X = digits()
    before = X.copy()
    fit(X, 5)
    np.testing.assert_array_equal(X, before)


def test_log_lines():
    X = np.tile(digits(), (2, 1))
    job = FakeJob()
    fit(X, 8, job, mini_batch_size=300)
    assert "'extra_center_factor' was set to 'auto', evaluated to 10." in job.messages
    assert "shrinking 80 centers into 8" in job.messages
    assert any(line.startswith("Iter 10: Short term msd ") for line in job.messages)
    attempts = [line for line in job.messages if line.startswith("local kmeans attempt #")]
    assert [line.split(".")[0] for line in attempts] == [f"local kmeans attempt #{number}" for number in range(10)]
    assert any(line.startswith("finished shrinking process. Mean Square Distance = ") for line in job.messages)
    assert "Test data is not provided." in job.messages
    assert not job.warnings


def test_a_batch_larger_than_the_data_is_a_warning():
    job = FakeJob()
    fit(digits(), 8, job)
    assert job.warnings == [
        "Batch size 5000 is bigger than the first batch data. Effective batch size used to initialize is 1797"
    ]


def test_without_extra_centers_nothing_is_shrunk():
    X, _ = blobs()
    job = FakeJob()
    model = fit(X, 6, job, extra_center_factor=1)
    assert "No shrinking is required as extra_center_factor is 1." in job.messages
    assert model.centers.shape == (6, 4)


@pytest.mark.parametrize("metrics", ['["msd"]', '["ssd", "msd"]', "msd,ssd"])
def test_test_scores_are_of_the_final_model(metrics):
    X = digits()
    job = FakeJob()
    model = fit(X[:1000], 10, job, test=X[1000:], eval_metrics=metrics, mini_batch_size=300)
    expected = msd(X[1000:], model.centers)
    expected = {"msd": expected, "ssd": expected * 797}
    assert {event.metric for event in job.of(FinalScore)} == {metric for metric in expected if metric in metrics}
    for dataset, metric, value in map(dataclasses.astuple, job.of(FinalScore)):
        assert dataset == "test"
        assert value == pytest.approx(expected[metric], rel=1e-6)
        assert job.last("test", metric) == value


@pytest.mark.parametrize(("epochs", "batches"), [(1, 2), (5, 8), (5, 27)])
def test_a_stop_leaves_the_clusters_of_the_rows_until_then(epochs, batches):
    """In the last epoch or before it; beside scikit-learn's on all rows."""
    X, job = digits(), FakeJob(stop_after=batches)
    model = fit(X, 10, job, mini_batch_size=300, epochs=epochs)
    assert job.stop_readings < 6 * epochs  # and it did stop
    best = Reference(10, n_init=10, random_state=0).fit(X).inertia_ / len(X)
    assert msd(X, model.centers) < 1.06 * best
    assert "asked to stop" in " ".join(job.warnings)
    assert job.last("train", "msd") == pytest.approx(msd(X, model.centers), rel=0.15)


@pytest.mark.parametrize("batches", [10, 37, 40])
def test_a_stop_in_the_midst_of_a_later_epoch_loses_nothing_of_the_one_before(batches):
    """Of two epochs of 36 batches. What is said of the model is what it is, and not of the few rows of a sample."""
    X, job = digits(), FakeJob(stop_after=batches)
    model = fit(X, 10, job, mini_batch_size=50, epochs=2)
    best = Reference(10, n_init=10, random_state=0).fit(X).inertia_ / len(X)
    found = msd(X, model.centers)
    assert found < 1.15 * best
    ((_, said),) = job.measured("train", "msd")
    assert said.value == pytest.approx(found, rel=0.2)


def test_a_host_without_rows_hears_of_a_stop():
    rows = blobs()[0]

    def train(hosts):
        channel = MemoryStream([] if hosts.rank else rows)
        KMeans.fit(settings(rows, 6, epochs=10_000), {"train": channel}, FakeJob(hosts=hosts, stop_after=10))
        return channel.epochs_begun

    assert max(on_hosts(2, train)) < 100


def test_a_stop_before_there_is_a_row_for_each_cluster_leaves_no_model():
    with pytest.raises(TrainingStopped, match="only 6 rows"):
        fit(digits(), 10, FakeJob(stop_after=2), mini_batch_size=2)


@pytest.mark.parametrize(("k", "features", "factor"), [(8, 34, 10), (10, 2, 10), (100, 784, 4), (1, 10**6, 4)])
def test_automatic_extra_centers(k, features, factor):
    assert extra_centers(k, features) == factor


# Unusual data


def test_fewer_rows_than_clusters_is_an_error_with_both_numbers():
    with pytest.raises(TrainingDataError, match="k is 10, .* only 3 rows"):
        fit(digits()[:3], 10)


def test_as_many_rows_as_clusters():
    X = digits()[:10]
    np.testing.assert_allclose(msd(X, fit(X, 10).centers), 0, atol=1e-9)


@pytest.mark.parametrize("factor", [1, 3])
def test_fewer_distinct_rows_than_clusters(factor):
    X = np.repeat(np.float32([[1, 2], [5, 6]]), 50, axis=0)
    model = fit(X, 5, extra_center_factor=factor)
    assert model.centers.shape == (5, 2)
    assert msd(X, model.centers) == 0


@pytest.mark.parametrize("factor", [1, 3])
def test_sparse_rows_without_any_feature(factor):
    model = fit(sp.csr_array((50, 3), dtype=np.float32), 5, extra_center_factor=factor, init_method="kmeans++")
    np.testing.assert_array_equal(model.centers, np.zeros((5, 3)))


def test_batches_smaller_than_k():
    X, labels = blobs(rows=400)
    model = fit(X, 6, mini_batch_size=1)
    assert adjusted_rand_score(labels, model.predict(Batch(X))["closest_cluster"]) > 0.99


def test_one_feature():
    X = np.concatenate([rng().normal(size=500), 100 + rng(1).normal(size=500)])[:, None].astype(np.float32)
    np.testing.assert_allclose(sorted(fit(X, 2).centers.ravel()), [0, 100], atol=0.2)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30, 3e36])
def test_values_of_any_size(scale):
    X, labels = blobs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit((X * np.float64(scale)).astype(np.float32), 6, mini_batch_size=500)
        answers = model.predict(Batch((X * np.float64(scale)).astype(np.float32)))
    assert np.isfinite(model.centers).all()
    assert np.isfinite(answers["distance_to_cluster"]).all()
    assert adjusted_rand_score(labels, answers["closest_cluster"]) > 0.99


def test_clusters_far_from_the_origin_are_told_apart():
    X, labels = blobs()
    X = (X + 1e5).astype(np.float32)
    assert adjusted_rand_score(labels, fit(X, 6).predict(Batch(X))["closest_cluster"]) > 0.99


def test_one_huge_row_among_small_ones():
    X, _ = blobs()
    X[1234] = 3e38
    model = fit(X, 7, mini_batch_size=500)
    answers = model.predict(Batch(np.delete(X, 1234, axis=0)))
    assert np.isfinite(model.centers).all()
    assert answers["distance_to_cluster"].max() < 1e3
