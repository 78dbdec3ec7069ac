"""Sums over threads may be taken in any order; over one they are the same bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Products this small are slower on several threads, by far where other tests run beside."""
    with threadpool_limits(1):
        yield
