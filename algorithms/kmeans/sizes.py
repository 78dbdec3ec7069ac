"""How much is kept and tried where a job leaves it open: by the number of centers, and of the numbers in a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from recordio.batches import Features

SMALL_PRODUCT = 2e8
"""Floating-point operations of a product, a few milliseconds of one processor, that BLAS threads are not to share."""
MOST_THREADS = 8
"""Threads that rows are divided among, with the products of a part of them each."""
CAPACITY = 256 << 20
"""Bytes of rows that the sample may hold before it is cut back to its size: the fewer cuts the better."""
_SAMPLE_NUMBERS = CAPACITY // 8  # numbers in the rows of the sample: half of what may be held between cuts, in float32
_ENOUGH_NUMBERS = 1 << 22  # size of the sample where few centers do not ask for more: some ms an iteration
_ENOUGH_ROWS = 1 << 17
_ROWS_A_CENTER = 512  # the mean of m rows misses by 1/m of the cluster's msd: 0.2 %
_SMALL_ROWS = 4096  # the part of the sample on which starts are compared and local minima left
_SMALL_ROWS_A_CENTER = 64
_SMALL_ROWS_A_CENTER_NARROW = 128
_SMALL_NUMBERS = 1 << 21  # up to this size, the larger number of rows a center costs little
_MORE_STARTS, _CHEAP_PRODUCTS = 10, 1 << 24  # starts on all rows of small data, and the work that all may take a step
_DENSE_STEPS = 32  # sums, means, norms and casts, in units of a product's work on a number
_WORKING_NUMBERS = 1 << 15  # the products of a row with so many take a microsecond, about as long as to read the row


def extra_centers(k: int, feature_dim: int) -> int:
    """``extra_center_factor`` where it is ``auto``: 10, less for many wide centers, but 4 at least.

    >>> extra_centers(8, 34), extra_centers(100, 784), extra_centers(1000, 2)
    (10, 4, 10)
    """
    return int(np.clip(_WORKING_NUMBERS // (k * feature_dim), 4, 10))


def trials(k: int) -> int:
    """``local_lloyd_num_trials`` where it is ``auto``: 10, less for large k, whose trials differ less.

    >>> trials(8), trials(100), trials(1000)
    (10, 2, 1)
    """
    return int(np.clip(200 // k, 1, 10))


def width(parts: Sequence[Features]) -> int:
    """Numbers that a row is made of, on average: its features, or values and columns of those that a sparse row has."""
    rows = max(1, sum(part.shape[0] for part in parts))
    stored = sum(2 * part.nnz if isinstance(part, sp.csr_array) else part.size for part in parts)
    return max(1, stored // rows)


def sample_rows(k: int, numbers: int) -> int:
    """Rows, of so many numbers each, that the sample of a state for up to k centers keeps."""
    wanted = max(_ROWS_A_CENTER * k, min(_ENOUGH_ROWS, _ENOUGH_NUMBERS // numbers))
    return max(k, min(wanted, _SAMPLE_NUMBERS // numbers))


def small_rows(k: int, numbers: int) -> int:
    """Rows, of so many numbers each, on which starts are compared."""
    affordable = min(max(_SMALL_ROWS, _SMALL_ROWS_A_CENTER_NARROW * k), _SMALL_NUMBERS // numbers)
    return max(_SMALL_ROWS_A_CENTER * k, affordable)


def more_starts(k: int, parts: Sequence[Features]) -> int:
    """Starts that are made besides on all of so few rows that these cost some milliseconds.

    >>> [more_starts(10, [np.empty(shape)]) for shape in ((1000, 30), (20_000, 54), (60_000, 784))]
    [10, 1, 0]
    """
    rows = sum(part.shape[0] for part in parts)
    dense = _DENSE_STEPS * parts[0].shape[1] if sp.issparse(parts[0]) else 0  # of centers, in a step on sparse rows
    return min(_MORE_STARTS, _CHEAP_PRODUCTS // (k * (rows * width(parts) + dense)))
