"""`oba` as a fork of a process that has imported what it does, and its jobs and servers as forks of others.

For what `oba up` and `oba run` do. That no process outlives them is tried with processes of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from local.sagemaker.processes import Processes
from tests import forks

_PROGRAMS = {
    "train": "from container.__main__ import train_command; train_command([])",
    "serve": "from container.__main__ import serve; raise SystemExit(serve())",
}


def start(arguments: Sequence[str], environment: Mapping[str, str], output: IO[Any], errors: IO[Any]) -> forks.Fork:
    """The running command."""
    program = f"from tests.local.sagemaker import forked; forked.be({list(arguments)!r})"
    return forks.LOCAL.start(program, environment, output, errors=errors)


def oba(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        code = start([*map(str, arguments)], os.environ, output, errors).wait(600)
        for file in (output, errors):
            file.seek(0)
        return code, output.read(), errors.read()


# ---- in that process ------------------------------------------------------------------------------------------------


class _Process(forks.Fork):
    """A program of which several threads ask, and whose output is a pipe of text."""

    def __init__(self, status: int, output: int) -> None:
        super().__init__(status)
        self.stdout = os.fdopen(output, errors="replace")
        self._lock = threading.Lock()

    def _ended(self, seconds: float | None) -> int | None:
        if self.returncode is None and self._readable(seconds):
            with self._lock:
                if self.returncode is None:
                    self.returncode = self._number()  # and stays open, for others wait for it
        return self.returncode


def be(arguments: Sequence[str]) -> NoReturn:
    """Run the command, whose jobs and servers are forks of others."""
    start_anew = Processes.start
    places = dict(zip(("train", "serve"), forks.OTHERS, strict=True))

    def start(
        self: Processes, command: Sequence[str], variables: Mapping[str, str], folder: Path, after: Sequence[str] = ()
    ) -> subprocess.Popen[str] | _Process:
        if command[:-1] != [sys.executable, "-m", "container"] or variables["ALGORITHM"] in forks.OF_NETWORKS:
            return start_anew(self, command, variables, folder, after)
        with self._lock:
            ours, theirs = os.pipe()
            name = command[-1]
            place = Path(variables["SAGEMAKER_BASE_DIR"])  # by which ``client.processes_of`` finds it
            process = _Process(forks.ask(places[name], _PROGRAMS[name], variables, [theirs] * 2, place), ours)
            os.close(theirs)
            self._after[process.pid] = after
            self._tell(process.pid, after)
        return process

    Processes.start = start
    from local.__main__ import command

    sys.argv = ["oba", *arguments]
    command()
