"""Where log lines go, their frame, and what may not stand in one.

All lines go to standard output, each as soon as it is made. Their texts are made by the dialects of
``container/training/dialects``. What a line quotes (a hyperparameter's value, the name of a file) may come from
anybody: it can neither begin a line of its own nor pass for a metric, see ``tamed``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
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


@dataclass(frozen=True)
class Frame:
    """What surrounds the text of a line, and how times are written; see ``logging.Formatter``."""

    form: str
    times: str


CLOSED = Frame("[%(asctime)s %(levelname)s %(thread)d] %(message)s", "%m/%d/%Y %H:%M:%S")
"""The frame of SageMaker's closed algorithms, and of everything before an algorithm is known."""

_METRIC = re.compile(r"#(?=[a-z]+_metric|metrics|011)|(?<=Train)-(?=\w+=)|(?<=Validation)-(?=\w+=)")
_OURS = {"ours": True}
_METRIC_LINE = {"metric": True}

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The identity of the request that is being answered, for lines as JSON objects."""


def tamed(text: str) -> str:
    """A line that quotes what others wrote: one line whatever that is, and no metric.

    Tuning jobs search the log for patterns such as ``#quality_metric: host=\\S+, test msd <loss>=(\\S+)``, anywhere in
    a line.

    >>> tamed("'1\\n#quality_metric: host=a, test msd <loss>=0' is not an integer")
    "'1\\\\n\\\\x23quality_metric: host=a, test msd <loss>=0' is not an integer"
    """
    return _METRIC.sub(_code, shortened(escaped(text), LINE_CHARACTERS))


def _code(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


class _Formatter(logging.Formatter):
    """The prefix of a line, with the time in UTC.

    All lines that have one go through here: those that a dialect made of an event are metrics, all others are tamed.
    """

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in logging
        if getattr(record, "metric", False):
            record.message = escaped(record.message, keep="\t")
        elif not getattr(record, "ours", False):
            record.message = tamed(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(map(tamed, super().formatException(ei).split("\n")))


class _Structured(_Formatter):
    """A JSON object for each line: ``time`` (UTC), ``level``, ``message``, ``request_id``, ``traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "message": message if getattr(record, "ours", False) else tamed(message),
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


class _Handler(logging.StreamHandler[Any]):
    """Lines that cannot be written, for the disk is full or the reader has gone, are lost: a job does not end for them,
    nor is standard error filled with a traceback for each."""

    def bare(self, line: str) -> None:
        """Write a line as it is. There may be thousands of them a second, and making a record of each takes longer than
        all else that is done for it."""
        self.acquire()
        try:
            with contextlib.suppress(OSError, ValueError):  # the latter of a file that was closed
                self.stream.write(f"{line}{self.terminator}")
                self.flush()
        finally:
            self.release()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name in logging
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def configure(frame: Frame = CLOSED, stream: Writer | None = None, *, structured: bool = False) -> None:
    """Send all log lines of the process to ``stream`` (standard output by default) in ``frame``, or as JSON objects.
    Training has no such choice: tuning jobs and dashboards read its lines as they are."""
    handler = _Handler(stream or sys.stdout)
    handler.setFormatter(_Structured() if structured else _Formatter(frame.form, frame.times))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def bare(line: str) -> None:
    """A line without a frame."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.bare(line)


def metric(line: str) -> None:
    """A line that a dialect made of numbers and of names of ours: it stays as it is."""
    logger.info("%s", line, extra=_METRIC_LINE)


def error(family: str, problems: Sequence[str], trace: str = "") -> None:
    """An error with a line for each of its problems, and the traceback of what is our own fault."""
    lines = [tamed(line) for line in (*problems, *trace.splitlines())]
    logger.error("%s: %s", family, "\n".join(lines), extra=_OURS)


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
