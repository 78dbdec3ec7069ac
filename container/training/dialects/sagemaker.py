"""The log lines of the linear learner and of most other closed algorithms: ``#quality_metric``, ``#metrics``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from algorithms.events import Event, FinalScore, Measured, ModelValues, Progress, Score, StoppingCriterion, Throughput
from container.logs import Summary
from container.training.dialects import _closed
from container.training.dialects._base import Line


class Dialect(_closed.Dialect):
    """See above."""

    def event(self, event: Event) -> Iterator[Line]:
        """A line for each value; ``Duration`` has none."""
        host = self._host
        match event:
            case Measured(scores, step, batch):
                for score in scores:
                    yield Line(_quality(host, score, step, batch))
            case FinalScore(dataset, metric, value):
                yield Line(f"#{dataset}_score ({host}) : ('{metric}', {value})")
            case StoppingCriterion(epoch, name, value):
                yield Line(
                    f"#early_stopping_criteria_metric: host={host}, epoch={epoch}, criteria={name}, value={value}"
                )
            case Progress(done, total) if total is not None:
                yield _closed.progress(host, done, total)
            case Throughput(rows, seconds):
                rate = rows / max(seconds, 1e-9)
                yield Line(f"#throughput_metric: host={host}, train throughput={rate} records/second")
            case ModelValues(values, epoch, model):
                now = time.time()
                summaries = {name: Summary.of(value) for name, value in values.items()}
                yield from self.metrics(now, now, summaries, {"epoch": epoch, "model": model})

    def metrics(
        self, start: float, end: float, values: Mapping[str, Summary], dimensions: Mapping[str, Any]
    ) -> Iterator[Line]:
        """A ``#metrics`` line. An empty line follows it, as in SageMaker."""
        known = {"Algorithm": self._algorithm, "Host": self._host, "Operation": "training"}
        line = {
            "StartTime": start,
            "EndTime": end,
            "Dimensions": known | dict(dimensions),
            "Metrics": {name: summary.as_dict() for name, summary in values.items()},
        }
        yield Line(f"#metrics {json.dumps(line)}\n", bare=True)

    def serialized(self, file: Path) -> Iterator[Line]:
        """A line for each file."""
        yield Line(f"Serializing model to {file}")


def _quality(host: str, score: Score, epoch: int | None, batch: int | None) -> str:
    """A metric of one batch, of one epoch, or (without either) of the final model."""
    place = "" if epoch is None else f"epoch={epoch}, "
    if batch is not None:
        place += f"batch={batch} "  # no comma here: SageMaker's own pattern has none
    kind = "score" if score.maximize else "loss"
    return f"#quality_metric: host={host}, {place}{score.dataset} {score.metric} <{kind}>={score.value}"
