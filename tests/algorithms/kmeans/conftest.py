"""Sums over threads may be taken in any order; over one they are the same bit for bit."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield
