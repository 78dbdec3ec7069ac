"""The log lines of Sockeye, which SageMaker's seq2seq is built on."""

from __future__ import annotations

from collections.abc import Iterator

from algorithms.events import Duration, Event, Measured, Progress, Throughput
from container.training.dialects import _closed, mxnet
from container.training.dialects._base import Line


class Dialect(_closed.Dialect):
    """See above."""

    step = "checkpoint"

    def event(self, event: Event) -> Iterator[Line]:
        """``Checkpoint [1]<tab>Validation-perplexity=70.123456`` and its like; tabs, where MXNet has blanks."""
        match event:
            case Measured(scores, step):
                for score in scores:
                    name = f"{score.dataset.capitalize()}-{score.metric}"
                    yield Line(f"Checkpoint [{step}]\t{name}={score.value:.6f}")
            case Throughput():
                yield mxnet.speed(event)
            case Duration(step, seconds, counts):
                done = "".join(f"{name.capitalize()}={count} " for name, count in counts.items())
                yield Line(f"Checkpoint [{step}]\t{done}Time-cost={seconds:.3f}")
            case Progress(done, total) if total is not None:
                yield _closed.progress(self._host, done, total)
