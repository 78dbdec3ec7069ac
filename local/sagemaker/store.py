"""Records of jobs, models and endpoints, as JSON files in the state folder, where they outlive the server."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any

Record = dict[str, Any]
_logger = logging.getLogger("oba.up")


class Store:
    """Records by kind and name. The kinds are those of ARNs, as in ``training-job``; the names are checked before.

    What ``get`` and ``all`` give are copies: changes go through ``update``.

    Attributes:
        lock: to be held from reading to writing by whoever changes a record by its content.
    """

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        self._folder = folder / "records"
        self._records: dict[str, dict[str, Record]] = {}
        self._unwritten: set[tuple[str, str]] = set()
        for file in sorted(self._folder.glob("*/*.json")):
            if isinstance(record := whole(file), dict):
                self._records.setdefault(file.parent.name, {})[file.stem] = record

    def get(self, kind: str, name: str) -> Record | None:
        """The record; None where there is none."""
        with self.lock:
            found = self._records.get(kind, {}).get(name)
            return None if found is None else json.loads(json.dumps(found))

    def all(self, kind: str) -> list[Record]:
        """All records of a kind, the oldest first."""
        with self.lock:
            return json.loads(json.dumps(list(self._records.get(kind, {}).values())))

    def put(self, kind: str, name: str, record: Record) -> None:
        """Write a record, new or not.

        Raises:
            OSError: it cannot be written, and all is as before.
        """
        with self.lock:
            self._write(kind, name, record)
            self._records.setdefault(kind, {})[name] = record

    def _write(self, kind: str, name: str, record: Record) -> None:
        file = self._folder / kind / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(record, indent=1))
        partial.replace(file)

    def update(self, kind: str, name: str, **changes: Any) -> Record | None:
        """Change a record's fields and the time of its last change; None where it is gone.

        A change holds even if it cannot be written, as on a full disk; then it is written with a later one.
        """
        with self.lock:
            record = self.get(kind, name)
            if record is not None:
                self._records[kind][name] = record | changes | {"LastModifiedTime": time.time()}
                self._unwritten.add((kind, name))
                self._write_changes()
            return self.get(kind, name)

    def _write_changes(self) -> None:
        try:
            for kind, name in list(self._unwritten):
                if (record := self._records[kind].get(name)) is not None:
                    self._write(kind, name, record)
                self._unwritten.discard((kind, name))
        except OSError as error:
            _logger.warning("The state folder cannot be written, a restart would not know of changes: %s", error)

    def delete(self, kind: str, name: str) -> None:
        """Delete a record."""
        with self.lock:
            self._records.get(kind, {}).pop(name, None)
            (self._folder / kind / f"{name}.json").unlink(missing_ok=True)


def emptied(folder: Path) -> Path:
    """The folder, new and empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def whole(file: Path) -> Any:
    """The JSON in a file; None where it is damaged. Such a file gets another name, and a word on standard error."""
    try:
        return json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        aside = file.with_name(f"{file.name}.damaged")
        _logger.warning("%s is damaged (%s): it is left out, and called %s from now on", file, error, aside.name)
        file.replace(aside)
        return None
