"""Programs for the SDKs' own environments are no tests: what they import is not installed here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.environments import end_processes

collect_ignore_glob = ["*_program.py", "up_notebooks_*.py"]


@pytest.fixture(scope="session", autouse=True)
def ended_at_the_end() -> Iterator[None]:
    """The process that tests of MXNet share ends with them."""
    yield
    end_processes()
