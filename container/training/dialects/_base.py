"""What every dialect of log lines has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from algorithms.events import Event
from container.logs import CLOSED, Frame, Summary


class Line(NamedTuple):
    """One line of the log; without the frame of date and level where it is bare."""

    text: str
    bare: bool = False


class Dialect:
    """Writes the lines of one job; what a dialect has no line for, it leaves out.

    Attributes:
        frame: what surrounds the text of a line.

    Args:
        algorithm: its name in SageMaker's ``#metrics`` lines.
        host: the name of this host.
    """

    frame: ClassVar[Frame] = CLOSED
    step: ClassVar[str] = "epoch"
    """What the numbers of measurements count."""

    def __init__(self, algorithm: str, host: str) -> None:
        self._algorithm = algorithm
        self._host = host

    def worker(self, *, checkpoints: bool) -> Iterator[Line]:
        """The lines about the machine, before training; ``checkpoints`` are kept or not."""
        yield from ()

    def event(self, event: Event) -> Iterator[Line]:
        """The lines about what an algorithm reports."""
        yield from ()

    def saved(self, file: Path) -> Iterator[Line]:
        """The lines about a file with the parameters of an epoch or checkpoint."""
        yield from ()

    def metrics(
        self, start: float, end: float, values: Mapping[str, Summary], dimensions: Mapping[str, Any]
    ) -> Iterator[Line]:
        """The lines about values that the job itself measured from ``start`` to ``end``, in seconds since 1970."""
        yield from ()

    def serialized(self, file: Path) -> Iterator[Line]:
        """The lines about a file of the final model."""
        yield from ()
