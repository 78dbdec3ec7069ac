"""Clustering of rows in memory beside scikit-learn."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans as Reference
from threadpoolctl import threadpool_limits

from algorithms.common.blas import side_by_side
from algorithms.kmeans.lloyd import Points, breathe, lloyd, lloyds, nearest, plus_plus, plus_pluses, sums, uniform
from algorithms.kmeans.state import State
from tests.algorithms.kmeans.jobs import blobs, digits, msd, rng

# The sample


def test_the_state_does_not_grow_with_the_stream(monkeypatch):
    monkeypatch.setattr("algorithms.kmeans.state.CAPACITY", 1 << 16)
    made = State(50, 1000, rng())
    held = []
    for seed in range(50):
        made.update(rng(seed).normal(size=(2000, 8)).astype(np.float32))
        held.append(len(made.sample))
    assert max(held) <= (1 << 16) // (8 * 4)
    assert made.centers.shape == (50, 8)


# Clustering in memory


@pytest.mark.parametrize(("scale", "weight"), [(1e13, 1e15), (1e-14, 1e-25)])
def test_starts_of_heavy_or_light_rows_are_far_from_each_other(scale, weight):
    X, labels = blobs()
    found = plus_plus(Points.of(X * np.float32(scale), np.full(len(X), weight)), 6, rng()) / scale
    assert len(set(labels[nearest(Points.of(found.astype(np.float32)), X.astype(np.float64)).labels])) == 6


@pytest.mark.parametrize("sparse", [False, True])
def test_any_number_of_threads_finds_the_same_clusters(sparse):
    X = np.random.default_rng(0).normal(size=(9000, 300)).astype(np.float32)
    points = Points.of(sp.csr_array(X * (X > 1)) if sparse else X)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(1, "blas"), side_by_side(threads):
            starts = list(plus_pluses(points, 8, rng(), 4))
            best = lloyds(points, starts, max_iter=5, tol=0)[0]
            found.append(breathe(points, best, rng()).centers)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("k", [3, 40, 200])
def test_of_centers_at_the_same_distance_the_first_is_the_nearest(k, sparse):
    rows = np.random.default_rng(0).integers(0, 3, (300, 4)).astype(np.float32)
    centers = np.random.default_rng(1).integers(0, 3, (k, 4)).astype(float)
    found = nearest(Points.of(sp.csr_array(rows) if sparse else rows), centers)
    distances = np.square(rows[:, None] - centers).sum(axis=2)
    np.testing.assert_array_equal(found.labels, distances.argmin(axis=1))
    np.testing.assert_array_equal(found.distances, distances.min(axis=1))


def test_sums_of_many_clusters_take_no_more_memory_than_the_rows():
    """Each part of the rows has its sums, which are as large as the rows where there are as many clusters."""
    X = np.random.default_rng(0).normal(size=(20_000, 60)).astype(np.float32)
    points, labels = Points.of(X), np.arange(len(X)) % 5000
    tracemalloc.start()
    try:
        sums(points, labels, 5000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5000 * 60 * (8 + 2 * 4) + 2e6  # those of all in float64, and of two parts in float32


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


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("k", [3, 12])
def test_starts_beside_each_other_end_as_alone(k, sparse):
    X = digits().astype(np.float64)
    starts = [X[rng(seed).choice(len(X), k, replace=False)] for seed in range(5)]
    starts[2][1:] += 1e6  # these centers have no rows
    points = Points.of(sp.csr_array(X) if sparse else X, rng(4).uniform(0.1, 5, len(X)))
    together = lloyds(points, starts, max_iter=40, tol=1e-3)
    for start, found in zip(starts, together, strict=True):
        alone = lloyd(points, start, max_iter=40, tol=1e-3)
        assert found.msd == pytest.approx(alone.msd)
        np.testing.assert_allclose(found.centers, alone.centers, atol=1e-9)


def test_seedings_beside_each_other_are_each_of_rows_far_apart():
    X, labels = blobs()
    found = plus_pluses(Points.of(X), 6, rng(), 8)
    assert found.shape == (8, 6, 4)
    owners = [set(labels[nearest(Points.of(one.astype(np.float32)), X.astype(np.float64)).labels]) for one in found]
    assert [len(owner) for owner in owners] == [6] * 8
    assert len(np.unique(found, axis=0)) == 8
    few = plus_pluses(Points.of(np.repeat(X[:2], 3, axis=0)), 4, rng(), 3)  # fewer distinct rows than centers
    assert all({*map(tuple, one)} == {*map(tuple, X[:2].astype(np.float64))} for one in few)


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
