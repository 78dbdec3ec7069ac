"""Which log lines of a job an interrupted run of it has written already, so that the next one writes the others alone.

A run that goes on from a checkpoint does again what was done after it, and makes the same lines in the same order. So
it is enough to count: the number of lines so far is part of a checkpoint, and the number of lines written is kept in a
small file beside the checkpoints, brought up to date after every line. The lines in between are left out.

Lines of several kinds are counted apart where their order among each other depends on threads or on where reading
begins: those of the job itself, and those about each channel.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from algorithms.checkpoints import make_way, open_file

_ROOM = 4096
"""Bytes of the file: a number for each channel. One write of a page is not torn by the end of the process."""

LINES = "lines"
"""Lines of the job itself."""


class LinesWritten:
    """Counts the lines of a run, and knows those of the runs before it.

    Without a file, as in a job that keeps no checkpoints, every line is new.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._counts: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._over = False

    def begin(self, path: Path, counts: Mapping[str, int] | None) -> None:
        """Count from here on.

        Args:
            path: of the file; what it says counts, if it is whole.
            counts: as the checkpoint says from which the run goes on; None for a run from the start.
        """
        self._path = path
        self._counts = dict(counts or {})
        make_way(path)
        self._written = _read(path)

    def counts(self) -> dict[str, int]:
        """The number of lines of each kind so far, for a checkpoint."""
        return dict(self._counts)

    def is_new(self, kind: str = LINES) -> bool:
        """Whether the next line of this kind is to be written; where it is not, it counts as written."""
        if self._path is None or self._over:
            return True
        if self._counts.get(kind, 0) >= self._written.get(kind, 0):
            return True
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return False

    def wrote(self, kind: str = LINES) -> None:
        """The line was written."""
        if self._path is None or self._over:
            return
        self._counts[kind] = self._written[kind] = self._counts.get(kind, 0) + 1
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, json.dumps(self._written).encode().ljust(_ROOM), 0)
        except OSError:  # the disk is full, say
            self._path.unlink()
            raise
        finally:
            os.close(descriptor)

    def stop(self) -> None:
        """Lines from here on are of a run that ends early: another run will not write them."""
        self._over = True

    def forget(self) -> None:
        """The job is over: a run of it from here on writes its lines again."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._path = None


def _read(path: Path) -> dict[str, int]:
    """The numbers in the file; none where it is absent or damaged."""
    try:
        with open_file(path) as file:
            found = json.loads(file.read(_ROOM))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {kind: number for kind, number in found.items() if type(number) is int and number >= 0}
