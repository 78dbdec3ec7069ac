"""The processes of jobs and endpoints. None of them outlives the server, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_GUARD = """
import json, os, signal, subprocess, sys
groups = {}
for line in sys.stdin:
    number, after = json.loads(line)
    if after is None:
        groups.pop(number, None)
    else:
        groups[number] = after
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
for after in filter(None, groups.values()):
    subprocess.run(after, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""
"""A process beside the server: when the pipe from the server closes, it ends all groups that it was told of, and runs
what is to be run after each."""


class Processes:
    """Starts processes, each in a group of its own, and has them ended with the server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._after: dict[int, Sequence[str]] = {}
        self._guard = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _GUARD], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def start(
        self, command: Sequence[str], variables: Mapping[str, str], folder: Path, after: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        """A process with this environment in this folder; its output is a pipe of text.

        Args:
            after: a command that takes away what the process leaves where it does not end by itself.
        """
        with self._lock:
            process = subprocess.Popen(
                command,
                env=variables,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._after[process.pid] = after
            self._tell(process.pid, after)
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        """End the process and all of its group, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with self._lock:
            after = self._after.pop(process.pid, ())
        if after:
            subprocess.run(after, stdin=subprocess.DEVNULL, capture_output=True)
        with self._lock:
            self._tell(process.pid, None)

    def close(self) -> None:
        """End all."""
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):
            self._guard.stdin.close()
        self._guard.wait()

    def _tell(self, process: int, after: Sequence[str] | None) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{json.dumps([process, after])}\n")
        self._guard.stdin.flush()
