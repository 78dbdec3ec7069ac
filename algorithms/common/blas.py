"""Threads of BLAS, which share every product among them and wait for each other at its end, spinning.

Of products of microseconds the waiting is most. Where other processes want the processors too, a thread waits for one
that has lost its own: such products then take a hundred times as long.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache

from threadpoolctl import ThreadpoolController

SMALL_PRODUCT = 1e8
"""Floating-point operations below which a matrix product is over before a second thread has begun."""


def threads_for(operations: float, small: float = SMALL_PRODUCT) -> AbstractContextManager[object]:
    """Limits BLAS to one thread where its products are of fewer operations than ``small``."""
    return _libraries().limit(limits=1, user_api="blas") if operations < small else nullcontext()


@cache
def _libraries() -> ThreadpoolController:
    """The libraries of this process, which take longer to find than a small model does to train."""
    return ThreadpoolController()
