"""Fixtures for the tests of all layers, and the order in which tests run."""

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("any-load", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
settings.load_profile("any-load")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and the facts of the contract, which lies beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("there is no folder 'shared' with real data beside this checkout")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What tests of hostile names printed may have no UTF-8, in which workers send their reports (pytest-xdist)."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report
