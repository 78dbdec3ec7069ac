"""The processes of jobs and endpoints, none of which outlives the server, however that ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_GUARD = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    sign, number = line[0], int(line[1:])
    (groups.add if sign == "+" else groups.discard)(number)
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
"""A process beside the server: when the pipe from the server closes, it ends all groups that it was told of."""


class Processes:
    """Starts processes, each in a group of its own, and has them ended with the server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guard = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _GUARD], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def start(self, command: str, variables: Mapping[str, str]) -> subprocess.Popen[str]:
        """The image's ``command`` (``train``, ``serve``) with these variables besides the server's own; its output is
        a pipe of text."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SAGEMAKER_", "AWS_"))}
        with self._lock:
            process = subprocess.Popen(
                [sys.executable, "-m", "container", command],
                env={**inherited, **variables},
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._tell(f"+{process.pid}")
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        """End the process and all of its group, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with self._lock:
            self._tell(f"-{process.pid}")

    def close(self) -> None:
        """End all."""
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):
            self._guard.stdin.close()
        self._guard.wait()

    def _tell(self, line: str) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{line}\n")
        self._guard.stdin.flush()
