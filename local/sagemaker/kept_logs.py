"""The lines and metrics of processes on disk, for a later server's CloudWatch and for the page.

A file of JSON lines: first where they belong, then ``[milliseconds, line]`` and ``[milliseconds, metric, value]``.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.sagemaker.cloud import ACCOUNT, Cloud

SUFFIX = ".events"


class Journal:
    """Writes the file beside a log.

    Args:
        log: the log's file.
        place: region, group, stream and dimension.
    """

    def __init__(self, log: Path, place: dict[str, Any]) -> None:
        self._file = log.with_suffix(SUFFIX).open("a", buffering=1, encoding="utf-8")
        self._file.write("\n")  # after what a server may have been in the midst of
        self._write(place)

    def line(self, milliseconds: int, text: str) -> None:
        """One line of the log."""
        self._write([milliseconds, text])

    def metric(self, milliseconds: int, name: str, value: float) -> None:
        """One value."""
        self._write([milliseconds, name, value])

    def close(self) -> None:
        """No more comes."""
        self._file.close()

    def _write(self, entry: Any) -> None:
        self._file.write(f"{json.dumps(entry)}\n")


def entries(file: Path) -> Iterator[Any]:
    """What is in a file; lines that are cut off are left out."""
    with file.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)


def curves(file: Path) -> dict[str, list[float]]:
    """Of each metric, the values as they came."""
    found: dict[str, list[float]] = {}
    for entry in entries(file) if file.is_file() else ():
        if isinstance(entry, list) and len(entry) == 3:
            found.setdefault(entry[1], []).append(entry[2])
    return found


def restore(cloud: Cloud) -> None:
    """Give CloudWatch what an earlier server had there."""
    for pattern in ("*-jobs/*/*", "endpoints/*/*"):
        for file in sorted(cloud.folder.glob(f"{pattern}{SUFFIX}")):
            _restore(list(entries(file)))


def _restore(found: list[Any]) -> None:
    """By moto's own objects: its requests take no lines that are older than two weeks, and three times as long."""
    from moto.cloudwatch.models import cloudwatch_backends
    from moto.logs.models import logs_backends

    place = next((entry for entry in found if isinstance(entry, dict)), None)
    if place is None:
        return
    logs = logs_backends[ACCOUNT][place["region"]]
    if place["group"] not in logs.groups:
        logs.create_log_group(place["group"], {})
    group = logs.groups[place["group"]]
    if place["stream"] not in group.streams:
        group.create_log_stream(place["stream"])
    of_all = [entry for entry in found if isinstance(entry, list)]
    if lines := [{"timestamp": entry[0], "message": entry[1] or " "} for entry in of_all if len(entry) == 2]:
        group.streams[place["stream"]].put_log_events(lines)
    key, of = place["dimension"]
    values = [
        {"MetricName": entry[1], "Value": entry[2], "Timestamp": _moment(entry[0])}
        | {"Dimensions": [{"Name": key, "Value": of}]}
        for entry in of_all
        if len(entry) == 3
    ]
    cloudwatch_backends[ACCOUNT][place["region"]].put_metric_data(place["group"], values)


def _moment(milliseconds: int) -> datetime:
    """As moto has it, in UTC without saying so."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).replace(tzinfo=None)
