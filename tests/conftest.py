"""Fixtures for the tests of all layers, and the order in which several processes run them."""

from __future__ import annotations

import gc
import itertools
import logging
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import forks

settings.register_profile("any-load", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
settings.load_profile("any-load")

gc.disable()  # until all is collected: what imports make stays, and a sixth of that time went into looking through it

LONGEST = ("test_readme", "test_sdk_jobs", "test_up_sdk", "test_up_tuning", "test_backends", "test_sdk_tuning")
"""Modules of tests, each by far longer than most: they are begun first, or one of them would be what all wait for."""

ONLY_CI = (
    *LONGEST[:4],
    "test_sdk_tuning",
    "test_up_notebooks",
    "test_wheel",
    "test_kills",
    "test_losses",
    "test_shells",
)
"""Modules of half a minute to minutes that go whole ways, whose steps other tests cover: the README's commands, AWS's
SDKs and notebooks, random kills, lost hosts, shells. Continuous integration runs them (``CI=1``)."""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Processes that run tests share those that fork: each imports for seconds what its programs need."""
    if session.config.pluginmanager.hasplugin("dsession"):  # pytest-xdist's, which a run may do without
        forks.lend()


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """``-m "not ci"`` leaves out what only continuous integration runs."""
    if item.path.stem in ONLY_CI:
        item.add_marker("ci")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first in each of the parts that pytest-xdist (``--dist worksteal``) gives its processes at the start:
    they take turns at the modules, so that what a module makes once is not made in each of them."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes < 2:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    others = [item for item in items if not item.get_closest_marker("slow")]
    modules = [list(group) for _, group in itertools.groupby(slow, lambda item: item.path)]
    modules.sort(key=lambda group: _place(group[0].path))
    items.clear()
    for number in range(processes):
        end = (number + 1) * (len(slow) + len(others)) // processes
        items += itertools.chain.from_iterable(modules[number::processes])
        more = max(end - len(items), 0) if number < processes - 1 else len(others)
        items += others[:more]
        del others[:more]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """A job or server in the tests' process configures logging for good: it would write into later tests' output."""
    root = logging.getLogger()
    for handler in [one for one in root.handlers if type(one).__module__ == "container.logs"]:
        root.removeHandler(handler)


def pytest_collection_finish() -> None:
    gc.freeze()  # nor is it looked through later: once more takes a second when the session ends
    gc.enable()


def pytest_sessionfinish() -> None:
    forks.close()


def _place(module: Path) -> int:
    return LONGEST.index(module.stem) if module.stem in LONGEST else len(LONGEST)


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
