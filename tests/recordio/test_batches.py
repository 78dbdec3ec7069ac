from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from recordio.batches import Batch, rebatch

RNG = np.random.default_rng(0)


def some(form, n: int = 17) -> Batch:
    features = sp.random_array((n, 5), density=0.3, format="csr", dtype=np.float32, rng=RNG)
    return Batch(form(features), RNG.random(n).astype(np.float32))


def dense(features: sp.csr_array) -> np.ndarray:
    return features.toarray()


@pytest.mark.parametrize("form", [sp.csr_array, dense])
@pytest.mark.parametrize(("start", "stop"), [(0, 17), (0, 1), (3, 9), (5, 5), (16, 17), (10, 99)])
def test_rows_are_those_of_scipys_and_numpys_slices(form, start, stop):
    whole = some(form)
    part, expected = whole.rows(start, stop), whole.features[start:stop]
    assert part.features.shape == expected.shape
    assert part.features.dtype == expected.dtype
    difference = part.features - expected
    assert not np.any(difference.toarray() if sp.issparse(difference) else difference)
    np.testing.assert_array_equal(part.labels, whole.labels[start:stop])
    if sp.issparse(part.features):
        part.features.check_format(full_check=True)
        assert part.features.has_canonical_format == expected.has_canonical_format


def test_cutting_rows_leaves_the_whole_as_it_was():
    whole = some(sp.csr_array)
    before = whole.features.toarray()
    whole.rows(3, 9)
    np.testing.assert_array_equal(whole.features.toarray(), before)
    whole.features.check_format(full_check=True)


@pytest.mark.parametrize("form", [sp.csr_array, dense])
@pytest.mark.parametrize("size", [1, 4, 17, 40])
def test_rebatching_keeps_all_rows_in_their_order(form, size):
    parts = [some(form, n) for n in (0, 3, 17, 0, 1, 8, 0)]
    cut = list(rebatch(parts, size))
    assert [len(batch) for batch in cut[:-1]] == [size] * (len(cut) - 1)
    assert 0 < len(cut[-1]) <= size
    np.testing.assert_array_equal(
        np.concatenate([batch.labels for batch in cut]), np.concatenate([batch.labels for batch in parts])
    )
    rows = [sp.csr_array(batch.features).toarray() for batch in cut]
    np.testing.assert_array_equal(
        np.concatenate(rows), np.concatenate([sp.csr_array(batch.features).toarray() for batch in parts])
    )


@pytest.mark.parametrize("form", [sp.csr_array, dense])
def test_rebatching_no_rows_gives_no_batch(form):
    assert list(rebatch([some(form, 0), some(form, 0)], 4)) == []
