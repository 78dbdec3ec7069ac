"""K-means of rows that occur again and again: what is done with them, and how well."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans as Reference

from algorithms.kmeans.copies import merged, without_copies
from tests.algorithms.fakes import FakeJob
from tests.algorithms.kmeans.jobs import fit, msd, rng


def answers(count, questions, most=2):
    """Rows of few answers each, some of them rare."""
    random = rng()
    shares = random.dirichlet(np.ones(most), size=questions)
    return np.stack([random.choice(most, size=count, p=share) for share in shares], axis=1).astype(np.float32)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_each_row_once_with_the_weight_of_its_copies(kind):
    rows = np.float32([[0, 1], [2, 0], [0, 1], [-0.0, 1], [2, 0], [0, 1], [0, 1], [0, 0]])
    parts = [(kind(rows[:5]), np.float64([1, 2, 3, 4, 5])), (kind(rows[5:]), np.float64([6, 7, 8]))]
    ((found, weights),) = without_copies(parts)
    dense = found.toarray() if sp.issparse(found) else found
    told = {tuple(row): weight for row, weight in zip(dense.tolist(), weights, strict=True)}
    assert told == {(0, 1): 1 + 3 + 4 + 6 + 7, (2, 0): 2 + 5, (0, 0): 8}
    assert len(dense) == 3


def test_rows_of_which_few_are_copies_stay_as_they_are():
    parts = [(np.float32([[0], [1], [2], [3], [0]]), np.ones(5))]
    assert without_copies(parts) is parts


def test_dense_and_sparse_rows_come_in_the_same_order():
    rows = answers(500, 6)
    (dense, _), (sparse, _) = (without_copies([(kind(rows), np.ones(500))])[0] for kind in (np.asarray, sp.csr_array))
    np.testing.assert_array_equal(dense, sparse.toarray())
    np.testing.assert_allclose(fit(rows, 7).centers, fit(sp.csr_array(rows), 7).centers, rtol=1e-6)


def test_those_are_merged_that_lose_least():
    # 1 * 10 / 11 * 1 for the first two, 1 * 1 / 2 * 2.25 for the others.
    np.testing.assert_allclose(
        merged(np.float32([[0], [1], [8], [9.5]]), np.float64([1, 10, 1, 1]), 3).ravel(), [10 / 11, 8, 9.5]
    )


@pytest.mark.parametrize(
    "counts",
    [(109, 1, 140, 835, 215, 1, 1580, 120), (130, 1, 730, 1, 516, 29, 1056, 537), (7, 768, 226, 370, 754, 7, 106, 762)],
)
def test_one_center_less_than_rows_is_the_best_pair(counts):
    """The optimum by trying every pair. Lloyd's iterations from drawn rows lose up to twice as much."""
    corners = np.array(list(product((0, 1), repeat=3)), np.float32)
    rows = rng().permutation(np.repeat(corners, counts, axis=0))
    losses = [
        counts[i] * counts[j] / (counts[i] + counts[j]) * np.square(corners[i] - corners[j]).sum()
        for i in range(8)
        for j in range(i)
    ]
    assert msd(rows, fit(rows, 7).centers) == pytest.approx(min(losses) / len(rows), rel=1e-4)


def test_tables_of_few_answers_are_clustered_as_well_as_by_the_best_of_ten():
    rows = answers(2000, 5, most=3)
    ratios = []
    for k in (10, 20, 40):
        peer = Reference(k, n_init=10, random_state=0).fit(rows).cluster_centers_
        ratios.append(msd(rows, fit(rows, k, FakeJob(seed=0)).centers) / msd(rows, peer))
    assert max(ratios) < 1.01
