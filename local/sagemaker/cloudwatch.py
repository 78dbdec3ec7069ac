"""A process's lines as they come: to a file, to a stream of CloudWatch Logs, and as metrics to CloudWatch."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.metric_lines import TAB
from local.metric_patterns import MetricPattern
from local.sagemaker.cloud import Cloud
from local.sagemaker.kept_logs import Journal

_EVERY = 0.3
"""Seconds between two deliveries; with `logs=True` the SDKs ask every few seconds."""

_MOST = 1000
"""Lines, or metrics, of one delivery; CloudWatch takes 10 000 lines, or 1 000 metrics."""


def _on_a_full_disk() -> contextlib.AbstractContextManager[None]:
    """Ignore that something cannot be written: reading a process's pipe must go on, or the process would wait."""
    return contextlib.suppress(OSError)


class Log:
    """The lines of one process.

    Args:
        patterns: of metrics, by name; one group, the value. Tabs stand as ``#011``, as in CloudWatch.
        dimension: of the metrics: the name and value.

    Attributes:
        latest: of each metric, the last value and when it came, in seconds since 1970.
    """

    def __init__(
        self,
        cloud: Cloud,
        file: Path,
        group: str,
        stream: str,
        patterns: Mapping[str, str] | None = None,
        dimension: tuple[str, str] = ("", ""),
    ) -> None:
        self._cloud, self._group, self._stream, self._dimension = cloud, group, stream, dimension
        self._patterns = [MetricPattern(name, pattern) for name, pattern in (patterns or {}).items()]
        self.latest: dict[str, tuple[float, float]] = {}
        self._lines: list[dict[str, Any]] = []
        self._values: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("a", encoding="utf-8")
        place = {"region": cloud.region, "group": group, "stream": stream, "dimension": dimension}
        self._journal = Journal(file, place)
        self._ended = threading.Event()
        self._sender = threading.Thread(target=self._deliver, daemon=True)
        self._sender.start()

    def write(self, line: str) -> None:
        """One line, with or without its end."""
        text, now = line.rstrip("\n").replace("\t", TAB), time.time()
        self._keep(text, now)
        for pattern in self._patterns:
            try:
                value = pattern.value(text)
            except TimeoutError as error:
                self._keep(str(error), now)
            else:
                if value is not None:
                    self._measure(pattern.name, value, now)

    def _keep(self, text: str, now: float) -> None:
        with _on_a_full_disk():
            self._file.write(f"{text}\n")
            self._file.flush()
            self._journal.line(int(now * 1000), text)
        with self._lock:
            self._lines.append({"timestamp": int(now * 1000), "message": text or " "})

    def _measure(self, name: str, value: float, now: float) -> None:
        with _on_a_full_disk():
            self._journal.metric(int(now * 1000), name, value)
        key, of = self._dimension
        datum = {"MetricName": name, "Value": value, "Timestamp": now, "Dimensions": [{"Name": key, "Value": of}]}
        with self._lock:
            self.latest[name] = (value, now)
            self._values.append(datum)

    def close(self) -> None:
        """Deliver what waits."""
        self._ended.set()
        self._sender.join()
        for one in (self._file, self._journal):
            with _on_a_full_disk():
                one.close()

    def _deliver(self) -> None:
        logs = self._cloud.client("logs")
        with contextlib.suppress(ClientError):  # it is there already
            logs.create_log_group(logGroupName=self._group)
        with contextlib.suppress(ClientError):
            logs.create_log_stream(logGroupName=self._group, logStreamName=self._stream)
        while True:
            ended = self._ended.wait(_EVERY)
            with self._lock:
                lines, self._lines = self._lines, []
                values, self._values = self._values, []
            with contextlib.suppress(ClientError, BotoCoreError):  # the file has them
                for start in range(0, len(lines), _MOST):
                    logs.put_log_events(
                        logGroupName=self._group, logStreamName=self._stream, logEvents=lines[start : start + _MOST]
                    )
                for start in range(0, len(values), _MOST):
                    self._cloud.client("cloudwatch").put_metric_data(
                        Namespace=self._group, MetricData=values[start : start + _MOST]
                    )
            if ended and not self._lines:
                return
