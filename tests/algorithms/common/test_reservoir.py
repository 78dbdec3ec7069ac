"""A bounded sample of a stream: as likely as it should be, within its bytes, and the rows whole."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from algorithms.common.reservoir import Reservoir
from recordio.batches import Batch


def rng(seed=0):
    return np.random.default_rng(seed)


def column(values):
    return Batch(np.asarray(values, np.float32)[:, None])


def total(parts):
    """Sum of weights, and of weighted values."""
    weights = np.concatenate([weights for _, weights in parts])
    values = np.concatenate([rows[:, 0] for rows, _ in parts])
    return [weights.sum(), weights @ values]


def test_a_sample_that_fits_has_every_row_at_its_own_weight():
    sample = Reservoir(rng(), 1 << 20, 100)
    sample.add(column(np.arange(50)), np.log(np.linspace(0.1, 1, 50)))
    ((_, weights),) = sample.weighted(100, 0.0)
    np.testing.assert_allclose(weights, np.linspace(0.1, 1, 50))


def test_a_cut_sample_is_unbiased_and_bounded():
    values, weights = np.arange(4000, dtype=np.float32), 0.5 ** (np.arange(3999, -1, -1) / 1000)
    totals, sizes = [], []
    for seed in range(100):
        sample = Reservoir(rng(seed), (4 + 16) * 300, 200)
        for start in range(0, 4000, 100):
            sample.add(column(values[start : start + 100]), np.log(weights[start : start + 100]))
            sizes.append(len(sample))
        parts = sample.weighted(200, 0.0)
        assert sum(len(weights) for _, weights in parts) == 200
        totals.append(total(parts))
    assert max(sizes) <= 300
    expected = np.array([weights.sum(), weights @ values])
    error = np.std(totals, axis=0) / np.sqrt(len(totals))
    assert (np.abs(np.mean(totals, axis=0) - expected) < 4 * error).all()


def test_a_small_sample_is_cut_long_before_its_capacity_and_has_the_same_rows():
    early, late = Reservoir(rng(), 1 << 30, 500), Reservoir(rng(), 1 << 30, 500)
    late._room = lambda: 1 << 30
    for number in range(25):
        rows = Batch(np.full((1000, 1000), number, np.float32))
        for sample in (early, late):
            sample.add(rows, np.zeros(1000))
        assert sum(part.nbytes for part in early._parts) < (16 << 20) + rows.features.nbytes
    parts, ((expected, weights),) = early.weighted(500, 0.0), late.smaller(500).weighted(500, 0.0)
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in parts]), expected)
    np.testing.assert_array_equal(np.concatenate([weights for _, weights in parts]), weights)


@pytest.mark.parametrize("batch", [1, 37, 5000])
def test_without_weights_all_rows_are_alike_wherever_they_stand(batch):
    places = []
    for seed in range(40):
        sample = Reservoir(rng(seed), (4 + 16) * 100)
        for start in range(0, 2000 if batch == 1 else 5000, batch):
            sample.add(column(np.arange(start, start + batch)))
        places.append(sample.rows(30).features[:, 0])
    last = 2000 if batch == 1 else 5000
    assert stats.kstest(np.concatenate(places) / last, "uniform").pvalue > 0.001


@pytest.mark.parametrize("sparse", [False, True])
def test_a_smaller_sample_is_of_the_rows_of_smallest_key(sparse):
    sample = Reservoir(rng(), 1 << 20, 800)
    for start in range(0, 1000, 100):
        values = np.arange(start, start + 100, dtype=np.float32)[:, None]
        sample.add(Batch(sp.csr_array(values) if sparse else values), np.log(np.linspace(0.1, 1, 100)))
    for size in (5, 300):
        smaller, expected = sample.smaller(size).weighted(size, 0.0), sample.weighted(size, 0.0)
        assert sparse or len(smaller) == 1
        for at in (0, 1):
            one, other = ([part[at] for part in parts] for parts in (smaller, expected))
            if sparse and at == 0:
                one, other = ([part.toarray() for part in parts] for parts in (one, other))
            np.testing.assert_array_equal(np.concatenate(one), np.concatenate(other))
    assert sample.smaller(1000) is sample and len(sample) == 1000


def test_rows_stay_whole_and_in_order():
    sample = Reservoir(rng(), 30_000)
    for start in range(0, 9000, 1000):
        number = np.arange(start, start + 1000, dtype=np.float32)
        features = sp.csr_array(np.stack([number, -number], axis=1))
        sample.add(Batch(features, number, 2 * number, np.arange(start, start + 1000)))
    kept = sample.rows()
    assert 100 < len(kept) < 1000 and (np.diff(kept.labels) > 0).all()
    np.testing.assert_array_equal(kept.features.toarray(), np.stack([kept.labels, -kept.labels], axis=1))
    np.testing.assert_array_equal(kept.weights, 2 * kept.labels)
    np.testing.assert_array_equal(kept.groups, kept.labels)


def test_rows_that_are_wider_than_the_sample_leave_one():
    sample = Reservoir(rng(), 1000)
    for _ in range(5):
        sample.add(Batch(np.ones((7, 1000), np.float32)))
    assert len(sample) == 1
    assert Reservoir(rng(), 1000).rows() is None


def test_small_batches_do_not_make_a_long_list():
    sample = Reservoir(rng(), 1 << 20)
    for value in range(3000):
        sample.add(column([value]))
    assert len(sample._parts) < 70
    assert sorted(sample.rows().features[:, 0]) == list(range(3000))


def test_batches_of_any_size_are_kept_in_order_and_counted():
    """Dense and sparse: what joins them, cuts them and takes them up again agrees on their bytes."""
    for sparse in (False, True):
        sample, value = Reservoir(rng(), 2 << 20), 0
        for count in [3, 40_000, 1, 100, 70_000, *[500] * 90, 2]:
            values = np.arange(value, value + count, dtype=np.float32)
            sample.add(Batch(sp.csr_array(values[:, None] + 1) if sparse else values[:, None] + 1))
            value += count
            assert sample._bytes == sum(part.nbytes for part in sample._parts) <= 2 << 20
        again = Reservoir(rng(), 2 << 20)
        again.from_arrays(sample.to_arrays())
        assert (again._bytes, again._small) == (sample._bytes, sample._small)
        kept = sample.rows().features
        kept = kept.toarray() if sparse else kept
        assert (np.diff(kept[:, 0]) > 0).all()
        assert 0 < len(kept) < value
