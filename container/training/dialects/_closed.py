"""The lines that all closed algorithms of SageMaker have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator

from container.training.dialects import _base
from container.training.dialects._base import Line


class Dialect(_base.Dialect):
    """The first lines of the closed algorithms."""

    def worker(self, *, checkpoints: bool) -> Iterator[Line]:
        """The lines about the machine."""
        yield Line(f"Process {os.getpid()} is a worker.", bare=True)
        yield Line("Using default worker.")
        if not checkpoints:
            yield Line("Checkpoint loading and saving are disabled.")
        yield Line("Number of GPUs being used: 0")
        yield Line("Create Store: local")


def progress(host: str, done: int, total: int) -> Line:
    """Epochs done, in per cent."""
    return Line(f"#progress_metric: host={host}, completed {100 * done / total} % of epochs")
