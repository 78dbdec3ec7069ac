"""Threads of BLAS, which share every product among them and wait for each other at its end, spinning; and products of
rows with themselves.

Of products of microseconds the waiting is most. Where other processes want the processors too, a thread waits for one
that has lost its own: such products then take a hundred times as long.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

SMALL_PRODUCT = 1e8
"""Floating-point operations below which a matrix product is over before a second thread has begun."""


def threads_for(operations: float, small: float = SMALL_PRODUCT) -> AbstractContextManager[object]:
    """Limits BLAS to one thread, in all of this process, where its products are of fewer operations than ``small``."""
    return _ONE_THREAD if operations < small else nullcontext()


def squared(rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Products (n, n) of rows (n, d) with each other, ``rows @ rows.T``: for half the work, as NumPy sees that both are
    the same and calls BLAS' SYRK.

    Where that is wrong, all the work is done: OpenBLAS 0.3.31, which wheels of NumPy 2.4 have, adds up float32 into
    memory that it should not read, on ARM processors with SME (see its issue 5873 and pull request 5889), so that there
    may be NaN.
    """
    transposed = rows.T
    if rows.dtype == np.float32 and not _syrk_is_right():
        rows = rows.copy(order="K")  # other rows, to NumPy
    return np.matmul(rows, transposed, out=out)


@cache
def _syrk_is_right() -> bool:
    """Tried with few rows of many columns, and many rows of few, into NaN that nobody should read."""
    made = np.random.default_rng(0).standard_normal((33, 65)).astype(np.float32)
    for rows in (made, made.T):
        found = np.full((len(rows), len(rows)), np.nan, np.float32)
        with np.errstate(all="ignore"):
            np.matmul(rows, rows.T, out=found)
        if not np.allclose(found, rows.astype(np.float64) @ rows.T.astype(np.float64), atol=1e-3):
            return False
    return True


class _OneThread:
    """As long as any thread of Python is within; then BLAS has as many as before, whoever came and left first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._limited: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._limited = _libraries().limit(limits=1, user_api="blas")
            self._within += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._limited.restore_original_limits()


_ONE_THREAD = _OneThread()


@cache
def _libraries() -> ThreadpoolController:
    """The libraries of this process, which take longer to find than a small model does to train."""
    return ThreadpoolController()
