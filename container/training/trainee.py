"""The process that trains, one of a host's two where several hosts train together: as its supervisor sees it, and as
it sees its supervisor.

The supervisor keeps in touch with the other hosts; it is a process of its own because training may hold Python's lock
for minutes (LAPACK through SciPy does), and because a process that the system kills for its memory can tell nobody.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from container.signals import STOPPING
from container.training.lines import Lines

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with(parent: int) -> None:
    """Have the system end this process when ``parent`` ends, which has just started it from its main thread."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before
        os._exit(1)


class Link:
    """What the training process tells its supervisor and hears from it."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._heard: dict[str, Any] = {}

    def meet(self, job: Mapping[str, Any]) -> str:
        """Say which job this is, and wait until all hosts have; the leader's address."""
        self._lines.send(job=job)
        return str(self._wait("met"))

    def open(self, port: int) -> None:
        """Tell where the tracker is."""
        self._lines.send(tracker=port)

    def tracker(self) -> int:
        """Wait to be told where the tracker is."""
        return int(self._wait("tracker"))

    def failed(self, text: str, *, of_communication: bool) -> None:
        """Say why training failed here, which may be no more than what the loss of another host looks like."""
        self._lines.send(failed=text, of_communication=of_communication)
        while self._lines.wants_to_write:
            select.select([], [self._lines], [])
            self._lines.flush()

    def _wait(self, name: str) -> Any:
        while name not in self._heard:
            select.select([self._lines], [], [])
            for message in self._lines.receive():
                self._heard |= message
            if self._lines.closed:
                os._exit(1)  # the supervisor has gone, and with it whoever would hear
        return self._heard[name]


class Trainee:
    """The training process, as its supervisor sees it."""

    def __init__(self, pid: int, lines: Lines) -> None:
        self.pid = pid
        self.lines = lines
        self._status: int | None = None

    @classmethod
    def start(cls, train: Callable[[Link], int]) -> Trainee:
        """A copy of this process that trains, and ends with what ``train`` returns."""
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        supervisor = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # in the child until it takes them, see Stop
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            return cls(pid, Lines(ours))
        code = 1
        try:
            ours.close()
            os.setsid()  # Ctrl-C comes from the supervisor, once
            end_with(supervisor)
            code = train(Link(Lines(theirs)))
            sys.stdout.flush()
        finally:
            os._exit(code)  # not by way of the interpreter's end, where the engine might still wait for others

    def ended(self) -> int | None:
        """The exit code, negative for the signal that ended it; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return None if self._status is None else os.waitstatus_to_exitcode(self._status)

    def is_stopped(self) -> bool:
        """Whether SIGSTOP or a debugger holds it."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self.ended() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        if self.ended() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._status = os.waitpid(self.pid, 0)[1]
