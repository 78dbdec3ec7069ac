"""The text of every log line, in the forms that SageMaker's users, dashboards and tuning jobs read.

Two frames are in use: that of the closed algorithms (``sagemaker``, and ``plain`` for the two that write no
``#metrics`` lines) and that of the XGBoost container (``xgboost``).
All lines go to standard output, each as soon as it is made. What a line quotes (a hyperparameter's value, the name of
a file) may come from anybody: it can neither begin a line of its own nor pass for a metric, see ``tamed``.

    >>> quality("algo-1", "test", "msd", 0.25)
    '#quality_metric: host=algo-1, test msd <loss>=0.25'
    >>> progress("algo-1", 1, 20)
    '#progress_metric: host=algo-1, completed 5.0 % of epochs'
    >>> boosting_round(3, [("train-rmse", 0.5), ("validation-rmse", 0.625)])
    '[3]\\ttrain-rmse:0.50000\\tvalidation-rmse:0.62500'
    >>> epoch_score(0, "validation", "accuracy", 0.25)
    'Epoch[0] Validation-accuracy=0.250000'
    >>> checkpoint_score(1, "validation", "perplexity", 70.5)
    'Checkpoint [1]\\tValidation-perplexity=70.500000'
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from recordio.limits import LINE_CHARACTERS, LOGGED_CHARACTERS
from recordio.quoting import escaped, shortened

logger = logging.getLogger("container")

SAGEMAKER = "sagemaker"
PLAIN = "plain"
XGBOOST = "xgboost"
_CLOSED = ("[%(asctime)s %(levelname)s %(thread)d] %(message)s", "%m/%d/%Y %H:%M:%S")
_FRAMES = {
    SAGEMAKER: _CLOSED,
    PLAIN: _CLOSED,
    XGBOOST: ("[%(asctime)s:%(levelname)s] %(message)s", "%Y-%m-%d:%H:%M:%S"),
}


_METRIC = r"#(?=[a-z]+_metric|metrics|011)|(?<=Train)-(?=\w+=)|(?<=Validation)-(?=\w+=)"
_QUOTED_METRIC = re.compile(rf"(?!^)(?:{_METRIC})")  # in the midst of a line, where no metric of ours begins
_ANY_METRIC = re.compile(_METRIC)
_EPOCH = re.compile(r"Epoch\[|Checkpoint \[")  # begins MXNet's and Sockeye's lines of metrics, which quote nothing
_OURS = "ours"

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The identity of the request that is being answered, for lines as JSON objects."""


def tamed(text: str) -> str:
    """A line that quotes what others wrote: one line whatever that is, and no metric.

    Tuning jobs search the log for patterns such as ``#quality_metric: host=\\S+, test msd <loss>=(\\S+)``, anywhere in
    a line.

    >>> tamed("'1\\n#quality_metric: host=a, test msd <loss>=0' is not an integer")
    "'1\\\\n\\\\x23quality_metric: host=a, test msd <loss>=0' is not an integer"
    """
    return _ANY_METRIC.sub(_code, shortened(escaped(text), LINE_CHARACTERS))


def _code(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


def _line(message: str) -> str:
    if _EPOCH.match(message):
        return escaped(message, keep="\t")
    return _QUOTED_METRIC.sub(_code, shortened(escaped(message), LINE_CHARACTERS))


class _Frame(logging.Formatter):
    """The prefix of a line, with the time in UTC; lines logged by ``bare`` have none.

    The one place through which all lines go: an algorithm's line may begin as a metric, and is otherwise tamed.
    """

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if getattr(record, "bare", False) else super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in logging
        if not getattr(record, _OURS, False):
            record.message = _line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(map(tamed, super().formatException(ei).split("\n")))


class _Structured(_Frame):
    """A JSON object for each line: ``time`` (UTC), ``level``, ``message``, ``request_id``, ``traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "message": message if getattr(record, _OURS, False) else _line(message),
        }
        if identity := request_id.get():
            entry["request_id"] = identity
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class Writer(Protocol):
    """What log lines can be written to."""

    def write(self, text: str, /) -> object:
        """Take a line with its end."""
        ...

    def flush(self) -> object:
        """Show it."""
        ...


def configure(style: str = SAGEMAKER, stream: Writer | None = None, *, structured: bool = False) -> None:
    """Send all log lines of the process to ``stream`` (standard output by default) in the frame named ``style``, or
    as JSON objects. Training has no such choice: tuning jobs and dashboards read its lines as they are."""
    handler: logging.StreamHandler[Any] = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(_Structured() if structured else _Frame(*_FRAMES[style]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def bare(line: str) -> None:
    """A line without a frame."""
    logger.info("%s", line, extra={"bare": True})


def error(family: str, problems: Sequence[str], trace: str = "") -> None:
    """An error with a line for each of its problems, and the traceback of what is our own fault."""
    lines = [tamed(line) for line in (*problems, *trace.splitlines())]
    logger.error("%s: %s", family, "\n".join(lines), extra={_OURS: True})


def entry() -> None:
    """The two lines that SageMaker's images print before anything else."""
    bare("Docker entrypoint called with argument(s): train")
    bare("Running default environment configuration script")


def configuration(defaults: Mapping[str, Any], provided: Mapping[str, Any], source: object) -> None:
    """The lines about hyperparameters. ``source`` is the file of the provided ones."""
    known = {
        shortened(name): shortened(value, LOGGED_CHARACTERS) if isinstance(value, str) else value
        for name, value in provided.items()
    }
    logger.info("Reading default configuration: %s", dict(defaults))
    logger.info("Merging with provided configuration from %s: %s", source, known)
    logger.info("Final configuration: %s", {**defaults, **known})


def worker(*, checkpoints: bool) -> None:
    """The lines about the machine."""
    bare(f"Process {os.getpid()} is a worker.")
    logger.info("Using default worker.")
    if not checkpoints:
        logger.info("Checkpoint loading and saving are disabled.")
    logger.info("Number of GPUs being used: 0")
    logger.info("Create Store: local")


def quality(
    host: str,
    dataset: str,
    metric: str,
    value: float,
    *,
    maximize: bool = False,
    epoch: int | None = None,
    batch: int | None = None,
) -> str:
    """A metric of one batch, of one epoch, or (without either) of the final model."""
    place = "" if epoch is None else f"epoch={epoch}, "
    if batch is not None:
        place += f"batch={batch} "  # no comma here: SageMaker's own pattern has none
    return f"#quality_metric: host={host}, {place}{dataset} {metric} <{'score' if maximize else 'loss'}>={value}"


def score(host: str, dataset: str, metric: str, value: float) -> str:
    """A final value on a data set."""
    return f"#{dataset}_score ({host}) : ('{metric}', {value})"


def early_stopping(host: str, epoch: int, criterion: str, value: float) -> str:
    """The value by which training is stopped early."""
    return f"#early_stopping_criteria_metric: host={host}, epoch={epoch}, criteria={criterion}, value={value}"


def progress(host: str, done: int, epochs: int) -> str:
    """Epochs done, in per cent."""
    return f"#progress_metric: host={host}, completed {100 * done / epochs} % of epochs"


def throughput(host: str, rows: int, seconds: float) -> str:
    """Rows a second, of one epoch."""
    return f"#throughput_metric: host={host}, train throughput={rows / max(seconds, 1e-9)} records/second"


def boosting_round(iteration: int, scores: Sequence[tuple[str, float]]) -> str:
    """A round of XGBoost. CloudWatch shows the tabs as ``#011``, and SageMaker's patterns look for that."""
    return f"[{iteration}]" + "".join(f"\t{name}:{value:.5f}" for name, value in scores)


def speed(epoch: int, batch: int, rows_a_second: float, scores: Sequence[tuple[str, float]]) -> str:
    """How fast the batches up to this one of an epoch were, and what was measured on them."""
    measured = "".join(f"\t{name}={value:.6f}" for name, value in scores)
    return f"Epoch[{epoch}] Batch [{batch}]\tSpeed: {rows_a_second:.3f} samples/sec{measured}"


def epoch_score(epoch: int, dataset: str, metric: str, value: float) -> str:
    """A value of an epoch, as MXNet writes it."""
    return f"Epoch[{epoch}] {dataset.capitalize()}-{metric}={value:.6f}"


def checkpoint_score(checkpoint: int, dataset: str, metric: str, value: float) -> str:
    """A value of a checkpoint, as Sockeye writes it."""
    return f"Checkpoint [{checkpoint}]\t{dataset.capitalize()}-{metric}={value:.6f}"


def saved(checkpoint: object) -> str:
    """A file of the artifact that holds parameters, as MXNet writes it."""
    return f'Saved checkpoint to "{checkpoint}"'


def metrics(start: float, end: float, dimensions: Mapping[str, Any], values: Mapping[str, Summary]) -> str:
    """A ``#metrics`` line; ``start`` and ``end`` in seconds since 1970. An empty line follows it, as in SageMaker."""
    line = {
        "StartTime": start,
        "EndTime": end,
        "Dimensions": dict(dimensions),
        "Metrics": {name: summary.as_dict() for name, summary in values.items()},
    }
    return f"#metrics {json.dumps(line)}\n"


@dataclass
class Summary:
    """Sum, count, least and greatest of the values added; at least one must be.

    >>> Summary.of(3).as_dict()
    {'sum': 3.0, 'count': 1, 'min': 3, 'max': 3}
    """

    total: float = 0.0
    count: int = 0
    least: float = math.inf
    greatest: float = -math.inf

    @classmethod
    def of(cls, value: float) -> Summary:
        """The summary of one value."""
        summary = cls()
        summary.add(value)
        return summary

    def add(self, value: float) -> None:
        """Take one more value into account."""
        value = value if isinstance(value, int) else float(value)  # NumPy's numbers are none of JSON's
        self.total += value
        self.count += 1
        self.least = min(self.least, value)
        self.greatest = max(self.greatest, value)

    def as_dict(self) -> dict[str, float]:
        """The form of ``#metrics`` lines."""
        return {"sum": float(self.total), "count": self.count, "min": self.least, "max": self.greatest}


@dataclass
class DataIterator:
    """What was read of a channel so far, under the seven names that SageMaker gives it."""

    records: int = 0
    batches: int = 0
    records_since_reset: int = 0
    batches_since_reset: int = 0
    most_records: int = 0
    most_batches: int = 0
    resets: int = 0

    def begin(self) -> None:
        """A new epoch begins."""
        self.resets += 1
        self.records_since_reset = self.batches_since_reset = 0

    def add(self, rows: int) -> None:
        """A batch of ``rows`` was read."""
        self.records += rows
        self.batches += 1
        self.records_since_reset += rows
        self.batches_since_reset += 1
        self.most_records = max(self.most_records, self.records_since_reset)
        self.most_batches = max(self.most_batches, self.batches_since_reset)

    def summaries(self) -> dict[str, Summary]:
        """For ``metrics``."""
        counts = {
            "Total Records Seen": self.records,
            "Total Batches Seen": self.batches,
            "Max Records Seen Between Resets": self.most_records,
            "Max Batches Seen Between Resets": self.most_batches,
            "Reset Count": self.resets,
            "Number of Records Since Last Reset": self.records_since_reset,
            "Number of Batches Since Last Reset": self.batches_since_reset,
        }
        return {name: Summary.of(count) for name, count in counts.items()}
