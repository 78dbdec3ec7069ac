"""Several hosts train together: they meet, keep in touch, notice whoever is lost, and end alike.

Each host's first process is its supervisor, which starts the one that trains (``trainee.py``) and speaks with the
leader's supervisor over TCP: all connect to the first of the sorted hosts, on port 9099 of its own address. The leader
waits until all are there, sees that they run the same job, and tells where the engine's tracker is (``exchange.py``).
From then on both sides send a sign of life every ``BEAT`` seconds. A host is lost when its connection ends without a
word, or when nothing was heard of it for ``LOST`` seconds, whatever its training process does: slow is not lost.

The first failure that the leader hears of is the job's: it goes to all, who write it into their failure files. Success
is told to all when each has ended well, the leader with its model saved.

Here is what all hosts do; the leader's part is in ``leader.py``, that of the others in ``member.py``, and what starts
them in ``supervisor.py``.
"""

from __future__ import annotations

import hashlib
import select
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from container.logs import logger
from container.signals import Signals
from container.training import failure
from container.training.group import Group
from container.training.lines import Lines
from container.training.trainee import Trainee

PORT = 9099
PATIENCE = 600.0
"""Seconds that hosts wait for each other at the start, where nobody says: machines and images come minutes apart."""
WAITING = 10.0
"""Seconds after which a host that waits for others says for whom, and until when."""
BEAT = 2.0
"""Seconds between two signs of life."""
LOST = 30.0
"""Seconds without one after which a host is lost. A cut network looks like this, and a process that was stopped."""
LINGER = 45.0
"""Seconds for which the leader of a failed job stays to tell those that come late; they would wait for it in vain."""
PARTING = 10.0
"""Seconds for which the last messages may take."""
_TICK = 0.2  # seconds between two looks at the training process and at the clock
RETRY = 0.5  # seconds between two attempts to reach the leader


class Verdict(NamedTuple):
    """How the job ends on all hosts: the exit code, and the text of the failure file where it is 1."""

    code: int
    text: str = ""


def lost(host: str, what: str) -> str:
    """The failure file's text about a host that is lost."""
    return f"{failure.ALGORITHM.failure}: Host {host} was lost: {what}\n"


GONE = "its connection ended without a word, as when its process is killed or its machine ends"
SILENT = "nothing was heard of it for {:g} seconds, as when its network is cut or its process is stopped"


class Host(ABC):
    """What leader and members have in common: the loop, and the training process.

    Attributes:
        token: which job this is, see ``token``.
        verdict: None until the job has ended.
        job: what the training process says of the job; None until it has read it.
        patience: seconds that it waits for others.
    """

    def __init__(self, group: Group, token: str | None, trainee: Trainee, signals: Signals) -> None:
        self.group = group
        self.token = token
        self.trainee = trainee
        self.verdict: Verdict | None = None
        self.job: Mapping[str, Any] | None = None
        self.started = time.monotonic()
        self.patience = PATIENCE
        self._signals = signals
        self._beat_at = 0.0
        self._waiting_told = False
        self._runs_since = time.monotonic()
        self._failed: tuple[str, float] | None = None  # own failure, and when it counts if nobody knows better
        self._asked = self._asked_here = False  # to stop; by a signal of its own

    @property
    def deadline(self) -> float:
        """Until when others may come."""
        return self.started + self.patience

    def run(self) -> Verdict:
        """Until the job has ended."""
        while self.verdict is None:
            self.step()
        return self.verdict

    def step(self) -> None:
        """Hear what there is to hear, then look at the training process and at the clock.

        In this order, and by the time before: a host that was stopped for long, wherever, finds in its messages how the
        others have ended.
        """
        now = time.monotonic()
        self.exchange([*self.connections(), self.trainee.lines])
        if now >= self._beat_at:
            self._beat_at = now + BEAT
            self.beat()
        if (number := self._signals.taken()) is not None:
            if self._asked_here or not self._asked:  # a second Ctrl-C ends training at once, the first one never does
                self.trainee.signal(number)
            self._asked = self._asked_here = True
            self.tell_stop()
        if self.verdict is None:
            self._look_at_trainee(now)
        if self.verdict is None:
            self.check(now)

    def told_to_stop(self) -> None:
        """Another host was asked to stop; perhaps this one, too, and has not looked yet."""
        if not self._asked:
            number = self._signals.taken()
            self._asked_here = number is not None
            self._asked = True
            self.trainee.signal(number or signal.SIGTERM)

    def tell_waiting(self, now: float, awaited: str) -> None:
        """One line for people, who else see a job that does nothing."""
        if not self._waiting_told and now - self.started > WAITING:
            self._waiting_told = True
            until = time.strftime("%H:%M:%S", time.localtime(time.time() + self.deadline - now))
            advice = "Start what is missing, or end this job; OBA_HOSTS_WAIT says how long hosts wait"
            logger.info("Waiting for %s, until %s. %s (%g seconds here).", awaited, until, advice, self.patience)

    def exchange(self, connections: list[Any]) -> None:
        """Send what waits, and hear what is there or comes within a tick."""
        known = [one for one in connections if isinstance(one, socket.socket) or not one.closed]
        writing = [one for one in known if isinstance(one, Lines) and one.wants_to_write]
        readable, writable, _ = select.select(known, writing, [], _TICK)
        for one in writable:
            one.flush()
        for one in readable:
            if one is self.trainee.lines:
                for message in one.receive():
                    self._of_trainee(message)
            else:
                self.read(one)

    def _of_trainee(self, message: Mapping[str, Any]) -> None:
        if "job" in message:
            self.job = {**message["job"], "hosts": list(self.group.hosts)}
            self.tell_job()
        elif "tracker" in message:
            self.tell_tracker(int(message["tracker"]))
        elif "failed" in message:
            self._fail_here(str(message["failed"]), LOST + BEAT if message["of_communication"] else 0.0)

    def _fail_here(self, text: str, wait: float) -> None:
        if self._failed is None:
            self._failed = text, time.monotonic() + wait

    def _look_at_trainee(self, now: float) -> None:
        if not self.trainee.is_stopped():
            self._runs_since = now
        elif now - self._runs_since > LOST:
            self._fail_here(lost(self.group.host, f"its training process was stopped for {LOST:g} seconds"), 0.0)
        code = self.trainee.ended()
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            what = f"its training process was ended by {name}"
            hint = "; the system does so where memory is short" if -code == signal.SIGKILL else ""
            self._fail_here(lost(self.group.host, what + hint), 0.0)
        elif code == failure.EXIT_CODE:
            self._fail_here(lost(self.group.host, "its training process ended without a word"), BEAT)
        elif code is not None:
            self.ended_here(code)
        if self._failed is not None and now >= self._failed[1]:
            self.failed_here(self._failed[0])

    def fail(self, text: str) -> None:
        """The job has failed."""
        self.verdict = self.verdict or Verdict(failure.EXIT_CODE, text)

    @abstractmethod
    def connections(self) -> list[Any]:
        """What may be read."""

    @abstractmethod
    def read(self, one: Any) -> None:
        """Something is there."""

    @abstractmethod
    def beat(self) -> None:
        """Give a sign of life."""

    @abstractmethod
    def check(self, now: float) -> None:
        """Look at the clock."""

    @abstractmethod
    def tell_job(self) -> None:
        """The training process has read the job."""

    @abstractmethod
    def tell_tracker(self, port: int) -> None:
        """The training process has opened the tracker."""

    @abstractmethod
    def tell_stop(self) -> None:
        """This host was asked to stop: so are all."""

    @abstractmethod
    def ended_here(self, code: int) -> None:
        """The training process has ended, with 0 or stopped."""

    @abstractmethod
    def failed_here(self, text: str) -> None:
        """The training process has failed."""

    @abstractmethod
    def part(self, verdict: Verdict) -> None:
        """Say the last words."""


def addresses(host: str) -> list[str]:
    """The IPv4 addresses of a host. Raises OSError where its name has none, or none yet."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)]


def token(job: str | None) -> str | None:
    """What a host says of the job that it is of, whatever the length of its name; None where it has none."""
    return None if job is None else hashlib.sha256(job.encode()).hexdigest()[:32]
