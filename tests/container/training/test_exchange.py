"""Sums over hosts by the real engine, whose hosts are threads here."""

import numpy as np
import pytest

from tests.algorithms.fakes import on_engine


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int32", "uint64"])
def test_sums_of_every_kind(dtype):
    parts = [np.arange(6).reshape(2, 3).astype(dtype), np.array([], dtype), np.array(7, dtype)]
    for found in on_engine(3, lambda hosts: hosts.sum(*parts)):
        for part, total in zip(parts, found, strict=True):
            assert (total.dtype, total.shape) == (part.dtype, part.shape)
            np.testing.assert_array_equal(total, 3 * part)


@pytest.mark.parametrize("size", [1, 300_000])
def test_an_array_becomes_the_sum(size):
    """Of one piece, and of several."""

    def run(hosts):
        array = hosts.rank + np.arange(size, dtype=np.float32).reshape(1, size)
        hosts.sum_in_place(array)
        return array

    for found in on_engine(2, run):
        np.testing.assert_array_equal(found, 1 + 2 * np.arange(size, dtype=np.float32)[None])


def test_values_of_unlike_sizes_are_gathered():
    values = [[1, "one", None], np.arange(10_000.0), {"a": np.zeros((0, 3), np.int8)}]
    for found in on_engine(3, lambda hosts: hosts.gather(values[hosts.rank])):
        np.testing.assert_equal(found, values)


@pytest.mark.parametrize(
    "arrays",
    [
        [np.zeros(10), np.zeros(11)],
        [np.ones(10, np.float32), np.ones(100_000, np.float32)],
        [np.ones(200_000, np.float32), np.ones(300_000, np.float32)],
        [np.ones((2, 3)), np.ones((3, 2))],
        [np.ones(4, np.float32), np.ones(4, np.int32)],
        [np.ones(3, np.int64), np.ones(4, np.int64), np.ones(4, np.int64)],
    ],
    ids=["size", "many-more", "pieces", "shape", "kind", "one-of-three"],
)
def test_unlike_arrays_are_an_error_and_no_wrong_sum(arrays):
    """As the engine has it, the host with the smaller array would get wrong numbers, and no error."""
    told = []

    def run(hosts):
        try:
            return hosts.sum(arrays[hosts.rank])
        except RuntimeError as error:
            told.append(str(error))
            raise

    with pytest.raises((RuntimeError, ValueError)):  # the others, of which one has left
        on_engine(len(arrays), run)
    assert told
    for text in told:
        assert "adds 1 arrays of" in text
        assert "and another host something else" in text
