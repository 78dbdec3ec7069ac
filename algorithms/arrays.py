"""Training from arrays in memory, without a job around it: a channel, and a job that says nothing."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from algorithms.checkpoints import Checkpoints, NoCheckpoints
from algorithms.common.hosts import OneHost
from algorithms.events import Event
from algorithms.interface import Hosts, Model
from recordio.batches import Batch


class ArrayStream:
    """Implements ``interface.Stream`` on rows in memory."""

    repeats = True

    def __init__(self, rows: Batch) -> None:
        self._rows = rows

    def batches(self, size: int | None = None) -> Generator[Batch]:
        """See ``Stream``."""
        size = size or max(len(self._rows), 1)
        for start in range(0, len(self._rows), size):
            yield self._rows.rows(start, start + size)


class QuietJob:
    """Implements ``interface.Job``: warnings go to a logger, all else that an algorithm tells is dropped."""

    checkpoints: Checkpoints = NoCheckpoints()
    checkpoint_directory: Path | None = None
    memory: int | None = None
    owns_process = False
    output_directory: Path | None = None
    stop_requested = False

    def __init__(self, seed: int, logger: logging.Logger) -> None:
        self.seed = seed
        self.hosts: Hosts = OneHost()
        self._logger = logger

    def nothing_to_keep(self) -> AbstractContextManager[None]:
        """See ``Job``."""
        return nullcontext()

    def timer(self, name: str) -> AbstractContextManager[None]:
        """See ``Job``."""
        return nullcontext()

    def info(self, message: str) -> None:
        """See ``Job``."""
        self._logger.info("%s", message)

    def warning(self, message: str) -> None:
        """See ``Job``."""
        self._logger.warning("%s", message)

    def report(self, event: Event) -> None:
        """Dropped."""

    def save_intermediate(self, model: Model, checkpoint: str | None = None) -> None:
        """Dropped."""
