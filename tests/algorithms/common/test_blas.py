"""The number of BLAS threads as threadpoolctl tells it."""

from threading import Barrier

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits

from algorithms.common import blas
from algorithms.common.blas import mapped, side_by_side, squared, threads_for, workers
from algorithms.kmeans.final import Options, finalize
from algorithms.kmeans.state import State
from algorithms.pca.covariance import Covariance
from algorithms.pca.gram import Rows
from algorithms.pca.sketch import Sketch
from tests.algorithms.kmeans.jobs import rng


def threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads():
    blas._libraries.cache_clear()  # another test may have imported a library since they were looked for
    with threadpool_limits(2, "blas"):
        yield


def test_small_products_have_one_thread_until_the_last_of_those_that_ask_is_done():
    first, second = threads_for(1e3), threads_for(1e3)
    first.__enter__()
    second.__enter__()
    assert threads() == {1}
    first.__exit__(None, None, None)  # as another thread of Python, which came first, may leave first
    assert threads() == {1}
    second.__exit__(None, None, None)
    assert threads() == {2}


def test_workers_have_blas_to_themselves_and_leave_its_threads_as_they_were():
    with side_by_side(2):
        met = Barrier(2, timeout=30)  # which only two at once pass

        def product(number):
            met.wait()
            return number, threads()

        assert list(mapped(product, [(0,), (1,)])) == [(0, {1}), (1, {1})]
        inner = mapped(lambda number: workers() is None, [(0,), (1,)])  # which do not wait for each other's work
        assert list(inner) == [True, True]
    assert workers() is None and threads() == {2}
    with pytest.raises(ZeroDivisionError), side_by_side(2):
        list(mapped(lambda number: 1 / number, [(1,), (0,)]))
    assert workers() is None and threads() == {2}


def test_workers_are_no_further_ahead_than_a_result_each():
    asked = []
    with side_by_side(2):
        for number, _ in enumerate(mapped(asked.append, [(number,) for number in range(20)])):
            assert len(asked) <= number + 4  # two that run, one that waits, and this one


def test_large_products_are_shared():
    with threads_for(1e12):
        assert threads() == {2}


def test_kmeans_on_small_data_makes_its_centers_on_one_thread_and_leaves_the_others_as_they_were():
    state, seen = State(20, 1000, rng()), []
    state.update(rng().normal(size=(300, 5)).astype("float32"))
    finalize(state, 2, Options(), rng(), lambda line: seen.append(threads()))
    assert seen and all(found == {1} for found in seen)
    assert threads() == {2}


@pytest.mark.parametrize("kind", ["covariance", "rows", "sketch"])
def test_pca_of_small_data_is_found_on_one_thread_and_leaves_the_others_as_they_were(kind, monkeypatch):
    seen = []

    def spying(*given, eigh=scipy.linalg.eigh, **options):
        seen.append(threads())
        return eigh(*given, **options)

    monkeypatch.setattr(scipy.linalg, "eigh", spying)
    rows = rng().normal(size=(300, 60)).astype("float32")
    if kind == "rows":
        held = Rows(60)
        held.add(rows[:40])
        held.decomposed(3, centred=True)
    else:
        state = Covariance(60, centred=True) if kind == "covariance" else Sketch(60, 10, centred=True)
        state.update(rows)
        state.finalize(3)
    assert seen and all(found == {1} for found in seen)
    assert threads() == {2}


def multiplied(left, right, out=None, *, matmul=np.matmul):
    """NumPy's product with an OpenBLAS on ARM processors with SME: of float32 it adds rows times themselves to what is
    in the memory of the result."""
    if left.dtype == np.float32 and np.shares_memory(left, right) and out is not None:
        return np.add(matmul(left, right), 0 * out, out=out)
    return matmul(left, right, out=out)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("numpys", [np.matmul, multiplied])
def test_rows_times_themselves_are_right_whatever_blas_does(numpys, transposed, monkeypatch):
    monkeypatch.setattr(np, "matmul", numpys)
    monkeypatch.setattr(blas, "_syrk_is_right", blas._syrk_is_right.__wrapped__)
    rows = rng().standard_normal((40, 50)).astype(np.float32)
    rows = rows.T if transposed else rows
    out = np.full((len(rows), len(rows)), np.nan, np.float32)
    np.testing.assert_allclose(squared(rows, out), rows.astype(np.float64) @ rows.T, atol=1e-4)
