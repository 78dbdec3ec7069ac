"""K-means: the arithmetic of one step by hand, scikit-learn beside it, and what the method promises."""

import dataclasses
import doctest
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans as Reference
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from algorithms.common import mxnet_files
from algorithms.errors import HyperparameterError, ModelError, PredictionError, TrainingDataError, TrainingStopped
from algorithms.events import FinalScore, Progress, Throughput
from algorithms.hyperparameters import parse
from algorithms.kmeans import KMeans, KMeansHyperparameters, KMeansModel
from algorithms.kmeans.fit import Options, State, extra_centers
from algorithms.kmeans.lloyd import Points, breathe, lloyd, mean_squared_distance, nearest, plus_plus, sums, uniform
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream

README = Path(__file__).resolve().parents[2] / "algorithms" / "kmeans" / "README.md"


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


def rng(seed=0):
    return np.random.default_rng(seed)


def digits():
    return load_digits().data.astype(np.float32)


def blobs(rows=2000, clusters=6, features=4, seed=0):
    X, labels = make_blobs(rows, features, centers=clusters, cluster_std=0.5, center_box=(-40, 40), random_state=seed)
    return X.astype(np.float32), labels


def settings(X, k, **others):
    return parse(KMeansHyperparameters, {"k": k, "feature_dim": X.shape[1]} | others)


def fit(X, k, job=None, test=None, **others):
    channels = {"train": MemoryStream(X)} | ({"test": MemoryStream(test)} if test is not None else {})
    return KMeans.fit(settings(X, k, **others), channels, job or FakeJob())


def msd(X, centers):
    squared = ((X[:, None, :].astype(np.float64) - centers[None]) ** 2).sum(axis=2)
    return squared.min(axis=1).mean()


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


def test_merged_halves_are_worth_the_whole():
    X = digits()
    halves = [state(100, half, seed=seed) for seed, half in enumerate((X[::2], X[1::2]))]
    merged = halves[0]
    merged.merge(halves[1:])
    assert len(merged.centers) <= 100
    assert merged.rows == len(X)
    assert merged.weights.sum() == pytest.approx(len(X))
    np.testing.assert_allclose(merged.weights @ merged.centers / len(X), X.mean(axis=0), atol=1e-4)
    centers = merged.finalize(10, Options(), rng(), str).centers
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
    clustering = made.finalize(k, Options(), rng(), str)
    assert clustering.centers.shape == (k, 64)
    assert clustering.msd == pytest.approx(msd(X, clustering.centers), rel=1e-4)
    assert clustering.msd <= 1.02 * Reference(k, n_init=5, random_state=0).fit(X).inertia_ / len(X)
    np.testing.assert_array_equal(made.centers, before)


def test_a_state_cannot_give_more_centers_than_it_has():
    with pytest.raises(ValueError, match="k is 11, with 10 working centers"):
        state(10, digits()).finalize(11, Options(), rng(), str)


# The sample


def test_the_state_does_not_grow_with_the_stream(monkeypatch):
    monkeypatch.setattr("algorithms.kmeans.fit.CAPACITY", 1 << 16)
    made = State(50, 1000, rng())
    held = []
    for seed in range(50):
        made.update(rng(seed).normal(size=(2000, 8)).astype(np.float32))
        held.append(len(made.sample))
    assert max(held) <= (1 << 16) // (8 * 4)
    assert made.centers.shape == (50, 8)


# Clustering in memory


@pytest.mark.parametrize("weighted", [False, True])
def test_lloyd_is_scikit_learns_from_the_same_start(weighted):
    X = digits()
    start = X[rng(3).choice(len(X), 12, replace=False)].astype(np.float64)
    weights = rng(4).uniform(0.1, 5, len(X)) if weighted else np.ones(len(X))
    wide = X.astype(np.float64)  # in float32, rows half-way between two centers may go either way
    ours = lloyd(Points.of(wide, weights), start, max_iter=300, tol=0)
    theirs = Reference(12, init=start, n_init=1, tol=0).fit(wide, sample_weight=weights)
    np.testing.assert_allclose(ours.centers, theirs.cluster_centers_, atol=1e-9)
    assert ours.msd == pytest.approx(theirs.inertia_ / weights.sum())


def test_lloyd_gives_empty_clusters_the_worst_served_rows():
    X = np.float32([[0], [1], [10], [11], [50]])
    found = lloyd(Points.of(X), np.array([[0.0], [1e6], [2e6]]), max_iter=100, tol=0)
    assert found.msd == pytest.approx(msd(X, found.centers))
    assert sorted(found.centers.ravel()) == [0.5, 10.5, 50]


def test_nearest_and_sums_by_hand():
    X = np.float32([[0, 0], [3, 4], [6, 8]])
    points = Points.of(X, np.array([1.0, 2.0, 3.0]))
    found = nearest(points, np.array([[0.0, 0.0], [6.0, 8.0]]))
    assert found.labels.tolist() == [0, 0, 1]  # the row in the middle goes to the first
    np.testing.assert_allclose(found.distances, [0, 25, 0])
    totals, masses = sums(points, found.labels, 2)
    np.testing.assert_allclose(totals, [[6, 8], [18, 24]])
    np.testing.assert_allclose(masses, [3, 3])


def test_several_blocks_are_one_set_of_points():
    X, weights = digits(), rng().uniform(size=1797)
    cuts = [(0, 1), (1, 1000), (1000, 1797)]
    parts = Points.join([(X[a:b], weights[a:b]) for a, b in cuts])
    whole = Points.of(X, weights)
    start = X[:7].astype(np.float64)
    np.testing.assert_array_equal(nearest(parts, start).labels, nearest(whole, start).labels)
    np.testing.assert_array_equal(parts.rows(np.array([1796, 0, 5])), X[[1796, 0, 5]])
    np.testing.assert_allclose(
        lloyd(parts, start, max_iter=5, tol=0).centers, lloyd(whole, start, max_iter=5, tol=0).centers, rtol=1e-5
    )


def test_plus_plus_finds_one_row_of_each_blob():
    X, labels = blobs()
    rows = plus_plus(Points.of(X), 6, rng())
    assert len(set(labels[nearest(Points.of(rows.astype(np.float32)), X.astype(np.float64)).labels])) == 6


def test_plus_plus_keeps_away_from_centers_that_exist():
    X, _ = blobs(clusters=2)
    first = X[:1].astype(np.float64)
    other = plus_plus(Points.of(X), 1, rng(), first)
    assert np.linalg.norm(other - first) > 5


def test_uniform_picks_no_row_twice_while_there_are_enough():
    X = np.arange(10, dtype=np.float32)[:, None]
    assert sorted(uniform(Points.of(X), 10, rng()).ravel()) == list(range(10))
    assert set(uniform(Points.of(X), 15, rng()).ravel()) == set(range(10))


def test_breathing_leaves_a_local_minimum():
    X, _ = blobs(clusters=6)
    stuck = np.concatenate([X[:1] + np.arange(5)[:, None] * 0.01, X.mean(axis=0)[None]]).astype(np.float64)
    points = Points.of(X)
    before = lloyd(points, stuck, max_iter=300, tol=0)
    best = Reference(6, n_init=10, random_state=0).fit(X).inertia_ / len(X)
    assert before.msd > 1.5 * best
    assert breathe(points, before, rng()).msd == pytest.approx(best, rel=1e-2)


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


def test_a_stop_leaves_no_model():
    with pytest.raises(TrainingStopped, match="after 900 rows"):
        fit(digits(), 10, FakeJob(stop_after=2), mini_batch_size=300)


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


# The model


def test_predictions_by_hand():
    model = KMeansModel(np.float32([[0, 0], [3, 4], [0, 0], [6, 0]]))
    answers = model.predict(Batch(np.float32([[3, 4], [0, 0], [3, 0], [9, 4]])))
    assert answers["closest_cluster"].tolist() == [1, 0, 0, 3]  # ties go to the lowest index
    np.testing.assert_array_equal(answers["distance_to_cluster"], np.float32([0, 0, 3, 5]))
    assert all(values.dtype == np.float32 for values in answers.values())


@pytest.mark.parametrize("as_given", [np.asarray, sp.csr_array])
def test_distances_are_accurate_next_to_large_values(as_given):
    centers = (rng().normal(size=(5, 7)) + 1e4).astype(np.float32)
    X = (centers[rng(1).integers(5, size=300)] + rng(2).normal(scale=1e-2, size=(300, 7))).astype(np.float32)
    exact = np.sqrt(((X[:, None].astype(np.float64) - centers[None].astype(np.float64)) ** 2).sum(axis=2))
    answers = KMeansModel(centers).predict(Batch(as_given(X)))
    np.testing.assert_array_equal(answers["closest_cluster"], exact.argmin(axis=1))
    np.testing.assert_allclose(answers["distance_to_cluster"], exact.min(axis=1), rtol=1e-6)


def test_predictions_are_scikit_learns():
    X = digits()
    reference = Reference(30, n_init=1, random_state=0).fit(X)
    answers = KMeansModel(reference.cluster_centers_).predict(Batch(X))
    np.testing.assert_array_equal(answers["closest_cluster"], reference.predict(X))
    np.testing.assert_allclose(answers["distance_to_cluster"], reference.transform(X).min(axis=1), rtol=1e-5)


@pytest.mark.parametrize("rows", [0, 1])
def test_predicting_none_and_one(rows):
    model = KMeansModel(np.ones((3, 4), np.float32))
    assert {name: values.shape for name, values in model.predict(Batch(np.ones((rows, 4), np.float32))).items()} == {
        "closest_cluster": (rows,),
        "distance_to_cluster": (rows,),
    }


def test_rows_of_another_width_are_refused():
    with pytest.raises(PredictionError, match="rows have 3 features, but the model has 4"):
        KMeansModel(np.ones((3, 4), np.float32)).predict(Batch(np.ones((2, 3), np.float32)))


def test_the_artifact_is_a_list_of_one_array(tmp_path):
    model = fit(digits(), 10)
    model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model_algo-1"]
    assert (tmp_path / "model_algo-1").stat().st_size == 72 + 4 * 10 * 64
    (centers,) = mxnet_files.load(tmp_path / "model_algo-1")
    np.testing.assert_array_equal(centers, model.centers)
    assert KMeans.recognises(tmp_path)
    np.testing.assert_array_equal(KMeans.load(tmp_path).centers, model.centers)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_made_by_hand_is_served(tmp_path, dtype):
    mxnet_files.save(tmp_path / "model_algo-1", [np.array([[0, 0], [1, 1]], dtype)])
    assert KMeans.recognises(tmp_path)
    answers = KMeans.load(tmp_path).predict(Batch(np.float32([[1, 2]])))
    assert answers["closest_cluster"].tolist() == [1]


@pytest.mark.parametrize(
    "arrays",
    [
        [],
        [np.float32([1, 2])],
        [np.ones((2, 2), np.float32)] * 2,
        {"v": np.ones((2, 2), np.float32)},
        [np.ones((2, 2, 2), np.float32)],
    ],
)
def test_other_artifacts_are_refused(tmp_path, arrays):
    mxnet_files.save(tmp_path / "model_algo-1", arrays)
    assert not KMeans.recognises(tmp_path)
    with pytest.raises(ModelError, match="model_algo-1"):
        KMeans.load(tmp_path)


def test_an_empty_folder_and_centers_that_are_not_numbers_are_refused(tmp_path):
    assert not KMeans.recognises(tmp_path)
    with pytest.raises(ModelError):
        KMeans.load(tmp_path)
    mxnet_files.save(tmp_path / "model_algo-1", [np.float32([[1, np.nan]])])
    with pytest.raises(ModelError, match="NaN, infinite"):
        KMeans.load(tmp_path)


def test_what_the_sdk_sends_is_accepted_and_the_rest_refused():
    sent = {"k": "10", "feature_dim": "784", "force_dense": "True", "_tuning_objective_metric": "test:msd"}
    assert parse(KMeansHyperparameters, sent).k == 10
    with pytest.raises(HyperparameterError) as caught:
        parse(KMeansHyperparameters, {"k": "0", "eval_metrics": '["mse"]', "local_lloyd_tol": "2", "kk": "1"})
    for name in ("'k'", "eval_metrics", "local_lloyd_tol", "'kk'", "'feature_dim'"):
        assert name in str(caught.value)


def test_msd_of_points_is_the_plain_mean():
    X = digits()
    centers = X[:9].astype(np.float64)
    assert mean_squared_distance(Points.of(X), centers) == pytest.approx(msd(X, centers), rel=1e-5)


def test_the_readme_runs():
    assert doctest.testfile(str(README), module_relative=False) == (0, 7)
