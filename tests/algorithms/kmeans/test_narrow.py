"""Clustering in fewer features gives what clustering in all of them does, and the quality is that of peers."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import datasets
from sklearn.cluster import KMeans as Reference
from sklearn.cluster import MiniBatchKMeans
from sklearn.preprocessing import scale

from algorithms.kmeans import sizes
from algorithms.kmeans.checkpoints import Place, resume, to_checkpoint
from algorithms.kmeans.final import Options, finalize
from algorithms.kmeans.lloyd import Points, lloyd
from algorithms.kmeans.model import KMeansModel
from algorithms.kmeans.narrow import Coordinates, occurring, only
from algorithms.kmeans.state import State
from tests.algorithms.fakes import FakeJob
from tests.algorithms.kmeans.jobs import fit, msd, rng


def groups_of_words(rows: int, features: int, nonzeros: int = 20, groups: int = 10) -> sp.csr_array:
    """Sparse rows, half of whose non-zeros are among 50 features of the row's group, and half are any."""
    random = rng()
    group = random.integers(groups, size=(rows, 1))
    own = random.random((rows, nonzeros)) < 0.5
    anywhere = random.integers(features, size=(rows, nonzeros))
    columns = np.where(own, group * 50 + random.integers(50, size=(rows, nonzeros)), anywhere).astype(np.int32)
    starts = np.arange(rows + 1, dtype=np.int32) * nonzeros
    found = sp.csr_array((np.ones(rows * nonzeros, np.float32), columns.reshape(-1), starts), shape=(rows, features))
    found.sum_duplicates()
    return found


@pytest.mark.parametrize("offset", [0, 1e4])
def test_rows_in_the_coordinates_of_their_span_are_as_far_apart_and_come_back(offset, monkeypatch):
    monkeypatch.setattr("algorithms.kmeans.narrow.CHUNK", 64)
    rows = rng().normal(size=(30, 500)) + offset
    rows[7] = rows[3]
    coordinates = Coordinates.of(rows)
    assert coordinates.values.shape[1] == 28  # 29 of them differ, about their mean
    np.testing.assert_allclose(coordinates.back(coordinates.values), rows, atol=1e-9 * max(offset, 1))
    start = np.arange(0, 30, 6)
    direct = lloyd(Points.of(rows), rows[start], max_iter=50, tol=0)
    found = lloyd(Points.of(coordinates.values), coordinates.values[start], max_iter=50, tol=0)
    assert found.msd == pytest.approx(direct.msd, rel=1e-6)
    np.testing.assert_allclose(coordinates.back(found.centers), direct.centers, atol=1e-6)
    some = np.array([0, 3, 4, *range(70, 499)])
    np.testing.assert_allclose(coordinates.back(found.centers, some), direct.centers[:, some], atol=1e-6)


def test_rows_that_are_all_the_same_have_no_coordinates_but_their_mean():
    rows = np.tile(rng().normal(size=9), (4, 1))
    coordinates = Coordinates.of(rows)
    assert not coordinates.values.any()
    np.testing.assert_allclose(coordinates.back(coordinates.values), rows)


def test_only_the_features_that_occur():
    rows = sp.csr_array(np.float32([[0, 2, 0, 0, 0, 1], [0, 3, 0, 0, 0, 0]]))
    columns = occurring([rows])
    assert columns.tolist() == [1, 5]
    np.testing.assert_array_equal(only(rows, columns).toarray(), [[2, 1], [3, 0]])
    wide = sp.csr_array((rows.data, rows.indices * 10_000, rows.indptr), shape=(2, 60_000))
    columns = occurring([wide])
    assert columns.tolist() == [10_000, 50_000]
    np.testing.assert_array_equal(only(wide, columns).toarray(), [[2, 1], [3, 0]])
    assert occurring([rows[:, [1, 5]]]) is None and occurring([rows.toarray()]) is None and occurring([]) is None


def growing(features: int, last: int) -> list[sp.csr_array]:
    """Batches of which each brings features of its own, the last one ``last`` in a row."""
    sizes = [(30, 5), (30, 5), (200, 5), (300, 5), (200, 5), (300, last)]
    rows = groups_of_words(sum(count for count, _ in sizes), features)
    starts = np.cumsum([0, *(count for count, _ in sizes)])
    found = [rows[start:stop] for start, stop in zip(starts[:-1], starts[1:], strict=True)]
    return [
        batch if nonzeros < last else groups_of_words(300, features, last)
        for batch, (_, nonzeros) in zip(found, sizes, strict=True)
    ]


@pytest.mark.parametrize("last", [20, 2000], ids=["few features", "most features in the end"])
def test_centers_that_hold_the_features_met_are_those_that_hold_all(last):
    batches = growing(20_000, last)
    narrow, wide = (State(40, 10**6, rng(), half_life=500) for _ in range(2))
    for batch in batches:
        told = narrow.update(batch)
        assert told == pytest.approx(wide.update(batch.toarray()), rel=1e-5)
    assert wide.met is None
    assert (narrow.met is None) == (last == 2000)
    # Of more centers rounding decides which of many local minima is found: the rows have no clusters of so few.
    found, expected = (finalize(made, 3, Options(), rng(), str) for made in (narrow, wide))
    assert found.centers.shape == expected.centers.shape == (3, 20_000)
    assert found.msd == pytest.approx(expected.msd, rel=1e-3)
    narrow.widen()
    np.testing.assert_allclose(narrow.centers, wide.centers, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_state_that_is_resumed_holds_the_same_features(after):
    batches = growing(20_000, 20)
    whole, first = (State(40, 10**6, rng(), init_method="kmeans++") for _ in range(2))
    for number, batch in enumerate(batches):
        before = batch.copy()
        whole.update(batch)
        assert (batch != before).nnz == 0
        if number < after:
            first.update(batch)
    second = State(40, 10**6, rng(1), init_method="kmeans++")
    resume(second, to_checkpoint(first, Place()))
    assert second.met is not None
    for batch in batches[after:]:
        second.update(batch)
    ends = [finalize(made, 4, Options(), rng(), str) for made in (whole, second)]
    np.testing.assert_array_equal(ends[0].centers, ends[1].centers)
    assert ends[0].msd == ends[1].msd


def test_states_of_different_features_merge():
    batches = growing(20_000, 20)
    parts = [State(40, 10**6, rng(seed)) for seed in range(3)]
    for number, batch in enumerate(batches[:4]):
        parts[number % 2].update(batch)
    parts[2].update(batches[5].toarray())
    parts[0].merge(parts[1:])
    assert parts[0].centers.shape == (40, 20_000)
    rows = sp.vstack([*batches[:4], batches[5]])
    np.testing.assert_allclose(parts[0].weights @ parts[0].centers, rows.sum(axis=0), atol=1e-3)


def test_a_stop_leaves_centers_of_all_features():
    made = State(40, 10**6, rng())
    for batch in growing(20_000, 20)[:3]:
        within = made.update(batch, keep=False) / batch.shape[0]
    assert finalize(made, 4, Options(), rng(), str, within=within).centers.shape == (4, 20_000)


def test_many_sparse_features_are_clustered_no_worse_than_by_mini_batches():
    rows = groups_of_words(3000, 200_000)
    peer = MiniBatchKMeans(10, n_init=3, random_state=0).fit(rows).cluster_centers_.astype(np.float64)
    ours = fit(rows, 10).centers
    losses = [KMeansModel(centers).nearest(rows)[1].mean() for centers in (ours, peer)]
    assert losses[0] < 1.005 * losses[1]


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes"])
def test_small_tables_are_clustered_as_well_as_by_the_best_of_ten(name):
    rows = scale(getattr(datasets, f"load_{name}")(return_X_y=True)[0]).astype(np.float32)
    ratios = []
    for k in (5, 10):
        for seed in range(3):
            peer = Reference(k, n_init=10, random_state=seed).fit(rows).cluster_centers_
            ratios.append(msd(rows, fit(rows, k, FakeJob(seed=seed)).centers) / msd(rows, peer))
    assert np.mean(ratios) < 1.005


def test_sparse_rows_that_become_fuller_take_no_more_memory(monkeypatch):
    """Files are often sorted: the first rows say little about the others."""
    monkeypatch.setattr(sizes, "_SAMPLE_NUMBERS", 1 << 16)
    monkeypatch.setattr("algorithms.kmeans.state.CAPACITY", 1 << 19)
    nearly_empty, full = groups_of_words(500, 2000, nonzeros=1), groups_of_words(3000, 2000, nonzeros=100)
    rows = sp.vstack([nearly_empty, full], format="csr")
    seen: list[State] = []
    update = State.update

    def spying(state: State, *rows: object, keep: bool) -> float:
        seen.append(state)
        return update(state, *rows, keep=keep)

    monkeypatch.setattr(State, "update", spying)
    fit(rows, 5, mini_batch_size=500)
    held = sum(part.nnz for part, _ in seen[-1].sample.weighted(1 << 30, 0.0))
    assert held <= 1 << 16
