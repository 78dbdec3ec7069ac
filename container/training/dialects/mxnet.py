"""The log lines of MXNet's ``Module.fit``, as SageMaker's image classification writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from algorithms.events import Duration, Event, Measured, Throughput
from container.training.dialects import _closed
from container.training.dialects._base import Line


class Dialect(_closed.Dialect):
    """See above."""

    def event(self, event: Event) -> Iterator[Line]:
        """``Epoch[0] Validation-accuracy=0.253906`` and its like."""
        match event:
            case Measured(scores, step):
                for score in scores:
                    name = f"{score.dataset.capitalize()}-{score.metric}"
                    yield Line(f"Epoch[{step}] {name}={score.value:.6f}")
            case Throughput():
                yield speed(event)
            case Duration(step, seconds):
                yield Line(f"Epoch[{step}] Time cost={seconds:.3f}")

    def saved(self, file: Path) -> Iterator[Line]:
        """The file of an epoch's parameters."""
        yield Line(f'Saved checkpoint to "{file}"')


def speed(event: Throughput) -> Line:
    """How fast the last batches of an epoch were, and what was measured on all of it so far."""
    measured = "".join(f"\t{score.metric}={score.value:.6f}" for score in event.scores)
    rate = event.rows / max(event.seconds, 1e-9)
    return Line(f"Epoch[{event.epoch}] Batch [{event.batch}]\tSpeed: {rate:.3f} samples/sec{measured}")
