"""Where a job is followed while it runs: standard output, and whoever else is told how far it has come."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Protocol

from container.logs import Writer

_SECONDS_BETWEEN = 0.1
"""Before more rows are told of."""


class Output(Writer, Protocol):
    """Where a job is followed: its log lines are written to it, and it is told how far the job has come."""

    def rows(self, count: int) -> None:
        """So many more rows of the training channel were read."""
        ...

    def steps(self, done: int, total: int | None) -> None:
        """So many epochs or rounds are done, of ``total`` where that is known."""
        ...


class PlainOutput:
    """Standard output: log lines, and nothing else."""

    def write(self, text: str) -> None:
        """Passed on."""
        sys.stdout.write(text)

    def flush(self) -> None:
        """Passed on."""
        sys.stdout.flush()

    def rows(self, count: int) -> None:
        """Not shown."""

    def steps(self, done: int, total: int | None) -> None:
        """Not shown: there is a log line about it."""


class ToldOutput(PlainOutput):
    """Standard output, and lines ``rows COUNT`` and ``steps DONE TOTAL`` (0 where it is not known) for whoever follows
    the job from another process.

    Args:
        file: the number of the open file that gets them. One that nobody reads does not stop the job.
    """

    def __init__(self, file: int) -> None:
        with contextlib.suppress(OSError):  # it is not open
            os.set_blocking(file, False)
        self._file, self._rows, self._told = file, 0, 0.0

    def rows(self, count: int) -> None:
        """Told ten times a second at most."""
        self._rows += count
        if time.monotonic() - self._told > _SECONDS_BETWEEN:
            self._tell_rows()

    def steps(self, done: int, total: int | None) -> None:
        """Told after the rows until then."""
        self._tell_rows()
        self._tell(f"steps {done} {total or 0}\n")

    def _tell_rows(self) -> None:
        self._tell(f"rows {self._rows}\n")
        self._rows, self._told = 0, time.monotonic()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._file, line.encode())  # whole or not at all: it is shorter than PIPE_BUF
