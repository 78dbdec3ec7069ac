"""SIGTERM and Ctrl-C as wishes that are heard when there is time for them. Imports nothing that takes long."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

STOPPING = (signal.SIGTERM, signal.SIGINT)
"""What asks a job to stop. Whoever starts a process may block them until it takes them: none is lost then."""


def end(number: int, _frame: object) -> None:
    """A handler that ends the process at once, with the signal's code: for as long as nothing has been left behind."""
    os.write(1, b"Training was stopped before it began.\n")  # logging may hold its lock where the signal came
    os._exit(128 + number)


def leave(code: int) -> NoReturn:
    """End a process whose work is on disk, without taking TensorFlow apart, which takes ten seconds and more."""
    import logging

    for number in STOPPING:  # the code stands
        signal.signal(number, signal.SIG_IGN)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it has gone
            stream.flush()
    os._exit(code)


class Signals:
    """A context in which SIGTERM and SIGINT are only noted; the last one that came stands in ``number``."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self._previous = {number: signal.signal(number, self._take) for number in STOPPING}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.number = number

    def taken(self) -> int | None:
        """The signal that came since the last call."""
        number, self.number = self.number, None
        return number
