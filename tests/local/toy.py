"""The toy algorithm in the registry, and logging left as it was, for tests of ``oba``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from algorithms import registry
from local import __main__ as commands


@contextlib.contextmanager
def registered(monkeypatch) -> Iterator[None]:
    """Within the block there is an algorithm 'toy'."""
    monkeypatch.setitem(registry.ALGORITHMS, "toy", registry.Entry("tests.container.toy:Toy"))
    with logging_kept():
        yield


def oba(*arguments) -> int:
    """The exit code of the command."""
    with logging_kept():
        return commands.main([*map(str, arguments)])


@contextlib.contextmanager
def logging_kept() -> Iterator[None]:
    """Within the block logging may be configured; after it it is as before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
