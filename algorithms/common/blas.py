"""Control of BLAS' threads, and products of rows with themselves.

BLAS divides every product among its threads, which wait for each other at its end in a busy loop. For products of
microseconds that is most of the time. If other processes use the processors, too, a thread may wait for one that has
lost its processor: then such products take a hundred times as long.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

R = TypeVar("R")

_WORKERS: ContextVar[Workers | None] = ContextVar("workers", default=None)

SMALL_PRODUCT = 1e8
"""Floating-point operations below which a matrix product is over before a second thread has begun."""


def threads_for(operations: float, small: float = SMALL_PRODUCT) -> AbstractContextManager[object]:
    """Limits BLAS to one thread, in all of this process, if its products have fewer operations than ``small``."""
    return _ONE_THREAD if operations < small else nullcontext()


def blas_threads() -> int:
    """Threads that BLAS may divide a product among."""
    return min((library["num_threads"] for library in _libraries().info() if library["user_api"] == "blas"), default=1)


class Workers(NamedTuple):
    """Threads of Python that compute beside each other, each with BLAS to itself."""

    pool: Executor
    threads: int


@contextmanager
def side_by_side(threads: int) -> Iterator[None]:
    """Within, ``workers`` are so many threads, and BLAS has one in each. So what is between products is done beside
    each other, too, and none of BLAS' threads waits for another in a busy loop."""
    if threads <= 1 or _WORKERS.get() is not None:
        yield
        return
    with threads_for(0), ThreadPoolExecutor(threads) as pool:
        token = _WORKERS.set(Workers(pool, threads))
        try:
            yield
        finally:
            _WORKERS.reset(token)


def workers() -> Workers | None:
    """Those of ``side_by_side``; None outside, and where there is one thread."""
    return _WORKERS.get()


def mapped(function: Callable[..., R], arguments: Sequence[tuple[Any, ...]]) -> Iterator[R]:
    """What ``function`` returns for each of the arguments, in order; by the ``workers`` where there are some, which are
    no further ahead than one result each: results may be large, and are not all held."""
    found = workers()
    if found is None or len(arguments) < 2:
        yield from itertools.starmap(function, arguments)
        return
    running: deque[Future[R]] = deque()
    for each in arguments:
        if len(running) > found.threads:  # one more than threads: none waits while a result is used
            yield running.popleft().result()
        running.append(found.pool.submit(function, *each))
    while running:
        yield running.popleft().result()


def squared(rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Products (n, n) of rows (n, d) with each other, ``rows @ rows.T``, for half the work: NumPy sees that both
    operands are the same, and calls BLAS' SYRK.

    If SYRK is wrong, an ordinary product is computed: on ARM processors with SME, OpenBLAS 0.3.31, which is in the
    wheels of NumPy 2.4, adds float32 products to memory that it should not read, so that there may be NaN (its issue
    5873 and pull request 5889).
    """
    transposed = rows.T
    if rows.dtype == np.float32 and not _syrk_is_right():
        rows = rows.copy(order="K")  # another array, so that NumPy does not call SYRK
    return np.matmul(rows, transposed, out=out)


@cache
def _syrk_is_right() -> bool:
    """Try it with many rows of few columns and the other way round, with a result that has NaN before."""
    made = np.random.default_rng(0).standard_normal((33, 65)).astype(np.float32)
    for rows in (made, made.T):
        found = np.full((len(rows), len(rows)), np.nan, np.float32)
        with np.errstate(all="ignore"):
            np.matmul(rows, rows.T, out=found)
        if not np.allclose(found, rows.astype(np.float64) @ rows.T.astype(np.float64), atol=1e-3):
            return False
    return True


class _OneThread:
    """Limits BLAS to one thread while any thread of Python is within; the last one to leave restores the number."""

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
    """The BLAS libraries of this process, cached as finding them takes longer than training a small model."""
    return ThreadpoolController()
