"""The log lines of Amazon's open XGBoost container."""

from __future__ import annotations

from collections.abc import Iterator

from algorithms.events import Event, Measured
from container import logs
from container.training.dialects import _base
from container.training.dialects._base import Line


class Dialect(_base.Dialect):
    """See above."""

    frame = logs.Frame("[%(asctime)s:%(levelname)s] %(message)s", "%Y-%m-%d:%H:%M:%S")
    step = "round"

    def event(self, event: Event) -> Iterator[Line]:
        """One bare line a round. CloudWatch shows its tabs as ``#011``, and SageMaker's patterns look for that."""
        if isinstance(event, Measured):
            scores = "".join(f"\t{score.dataset}-{score.metric}:{score.value:.5f}" for score in event.scores)
            yield Line(f"[{event.step}]{scores}", bare=True)
