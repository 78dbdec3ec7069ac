"""Training from arrays in memory, without a job around it: a channel, and a job that says nothing."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from algorithms.interface import Model
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
