"""Threads of BLAS, which share every product among them and wait for each other at its end, spinning.

Of products of microseconds the waiting is most. Where other processes want the processors too, a thread waits for one
that has lost its own: such products then take a hundred times as long.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

SMALL_PRODUCT = 1e8
"""Floating-point operations below which a matrix product is over before a second thread has begun."""


def threads_for(operations: float, small: float = SMALL_PRODUCT) -> AbstractContextManager[object]:
    """Limits BLAS to one thread, in all of this process, where its products are of fewer operations than ``small``."""
    return _ONE_THREAD if operations < small else nullcontext()


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
