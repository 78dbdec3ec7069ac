"""A job's checkpoints: copied from S3 before it begins, and to S3 while it runs."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from container.paths import Paths
from local.sagemaker import s3
from local.sagemaker.errors import JobError
from local.sagemaker.store import Record

_EVERY = 2.0
"""Seconds between two checks for changed files."""


class Checkpoints:
    """The folder of checkpoints of a job, and its copy in S3; nothing of both where the job has no CheckpointConfig."""

    def __init__(self, client: Any, job: Record, paths: Paths) -> None:
        configured = job.get("CheckpointConfig")
        self._client, self._folder = client, paths.checkpoints
        self._uri = configured["S3Uri"].rstrip("/") if configured else None
        self._stored: dict[str, tuple[int, int]] = {}
        self._last = time.monotonic()

    def fetch(self) -> None:
        """Copy what an earlier job left in S3."""
        if self._uri is None:
            return
        s3.download(self._client, s3.below(self._client, f"{self._uri}/"), self._folder)
        self._stored = {name: _state(file) for file, name in s3.files(self._folder)}

    def store_now_and_then(self) -> None:
        """Store what has changed, if the last time is long enough ago."""
        if self._uri is not None and time.monotonic() - self._last > _EVERY:
            self.store()

    def store(self) -> None:
        """Store what has changed, and take away what is gone."""
        self._last = time.monotonic()
        if self._uri is None:
            return
        seen: dict[str, tuple[int, int]] = {}
        for file, name in s3.files(self._folder):
            with contextlib.suppress(FileNotFoundError, JobError):  # the job replaces its files while it runs
                state = _state(file)
                if self._stored.get(name) != state:
                    s3.upload(self._client, file, f"{self._uri}/{name}")
                seen[name] = state
        for name in self._stored.keys() - seen.keys():
            s3.delete(self._client, f"{self._uri}/{name}")
        self._stored = seen


def _state(file: Any) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size
