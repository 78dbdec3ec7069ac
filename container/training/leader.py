"""The first of the hosts: all others are connected to it, and it decides how the job ends."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Mapping
from typing import Any

from container import distribution
from container.logs import logger
from container.signals import Signals
from container.training import failure, meeting
from container.training.group import Group
from container.training.lines import Lines, MalformedLineError
from container.training.trainee import Trainee
from recordio.limits import HELLO_SECONDS, MOST_STRANGERS
from recordio.quoting import quoted

_LONGEST_FAILURE = 2048
"""Characters of what another host says of its failure."""


class Leader(meeting.Host):
    """The first of the hosts: all others are connected to it."""

    def __init__(self, group: Group, token: str | None, trainee: Trainee, signals: Signals) -> None:
        super().__init__(group, token, trainee, signals)
        self.address = ""
        self._listener: socket.socket | None = None
        self._problem = "it could not listen"
        self._in_use_since: float | None = None  # the port is another process's
        self._strangers: dict[Lines, float] = {}  # with when they must have said who they are
        self._warned: set[tuple[str, str]] = set()  # of strangers: their addresses and what is wrong with them
        self._others: dict[str, Lines] = {}
        self._heard: dict[str, float] = {}
        self._jobs: dict[str, Mapping[str, Any]] = {}
        self._ended: dict[str, int] = {}
        self._met = False
        self._names_are_slow = False

    def connections(self) -> list[Any]:
        """The listener, the hosts, and those who have not said who they are."""
        listener = [self._listener] if self._listener else []
        return [*listener, *self._others.values(), *self._strangers]

    def read(self, one: Any) -> None:
        """A new connection, or messages."""
        if one is self._listener:
            self._accept()
            return
        try:
            messages = one.receive()
        except MalformedLineError as error:
            messages = []
            self._turn_away(one, str(error))
        for message in messages:
            if one in self._strangers:
                self._greet(one, message)
            else:
                self._take(next(name for name, lines in self._others.items() if lines is one), message)
        if one.closed:
            self._strangers.pop(one, None)
            for name, lines in self._others.items():
                if lines is one and name not in self._ended:
                    self.fail(meeting.lost(name, meeting.GONE))

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            self._strangers[Lines(connection)] = time.monotonic() + HELLO_SECONDS
        if len(self._strangers) > MOST_STRANGERS:
            oldest = next(iter(self._strangers))
            self._strangers.pop(oldest)
            oldest.close()

    def _greet(self, one: Lines, message: Mapping[str, Any]) -> None:
        """A first message: whoever does not say that it is one of the hosts is none."""
        name = message.get("host")
        if name not in self.group.hosts or name == self.group.host or not self._is_from(one, str(name)):
            self._turn_away(one, "it is of no other host of this job")
            return
        if message.get("token") != self.token:
            one.send(another_job=True)
            self._turn_away(one, f"host {name} is there of another job")
            return
        if self.verdict is not None:
            one.send(verdict=self.verdict.code, text=self.verdict.text)
        elif "failed" in message:  # it has ended: so says whoever had started it
            self.fail(str(message["failed"])[:_LONGEST_FAILURE])
        elif name in self._others:
            text = meeting.lost(str(name), "it was started again while the others went on")
            self.fail(text)
            one.send(verdict=failure.EXIT_CODE, text=text)
        elif message.get("version") != distribution.version():
            theirs = quoted(str(message.get("version")))
            self.fail(
                f"{failure.CLIENT.failure}: Host {name} runs version {theirs} of these algorithms, and the leader "
                f"{self.group.host} version {quoted(distribution.version())}: use the same image on all hosts\n"
            )
        self._strangers.pop(one)
        self._others.setdefault(str(name), one)
        self._heard[str(name)] = time.monotonic()
        if self.verdict is None:
            one.send(welcome=True)
            logger.info("Host %s is here; %d of %d are.", name, len(self._others) + 1, self.group.size)

    def _turn_away(self, one: Lines, reason: str) -> None:
        """Close a connection, with one line for an address and a reason: many try again and again."""
        with contextlib.suppress(OSError):
            known = one.connection.getpeername()[0], reason
            if known not in self._warned and len(self._warned) < MOST_STRANGERS:
                self._warned.add(known)
                logger.warning("A connection of %s to port %d was closed: %s.", known[0], meeting.PORT, reason)
        one.close()

    def _is_from(self, one: Lines, host: str) -> bool:
        """Whether a connection comes from one of the host's addresses; true where names are not, or slowly, known."""
        started = time.monotonic()
        try:
            known = self._names_are_slow or one.connection.getpeername()[0] in meeting.addresses(host)
        except socket.gaierror:
            known = True
        except OSError:
            known = False
        self._names_are_slow |= time.monotonic() - started > meeting.BEAT
        return known

    def _take(self, name: str, message: Mapping[str, Any]) -> None:
        self._heard[name] = time.monotonic()
        if "job" in message:
            self._jobs[name] = message["job"]
            self._compare()
        elif "failed" in message:
            self.fail(str(message["failed"])[:_LONGEST_FAILURE])
        elif "ended" in message:
            self._ended[name] = int(message["ended"])
            self._see_ends()
        elif "stop" in message:
            self.told_to_stop()
            self.tell_stop()

    def tell_job(self) -> None:
        """Compare the jobs of all who have said theirs."""
        self._compare()

    def _compare(self) -> None:
        if self.job is None:
            return
        for name, job in self._jobs.items():
            different = sorted(key for key in {*job, *self.job} if job.get(key) != self.job.get(key))
            if different:
                self.fail(
                    f"{failure.CLIENT.failure}: Host {name} runs another job than the leader {self.group.host}: "
                    f"they differ in {', '.join(map(quoted, different[:5]))}\n"
                )
        if len(self._jobs) == self.group.size - 1 and self.verdict is None and not self._met:
            self._met = True
            logger.info("All %d hosts are here: %s.", self.group.size, ", ".join(self.group.hosts))
            self._tell_all(met=self.address)
            self.trainee.lines.send(met=self.address)

    def tell_tracker(self, port: int) -> None:
        """Everybody may connect to it."""
        self._tell_all(tracker=port)

    def tell_stop(self) -> None:
        """Ask all to stop."""
        self._tell_all(stop=True)

    def _tell_all(self, **message: Any) -> None:
        for lines in self._others.values():
            if not lines.closed:
                lines.send(**message)

    def beat(self) -> None:
        """Listen, if that has not been possible yet; a sign of life to all."""
        if self._listener is None:
            self._listen()
        self._tell_all(beat=True)

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.address = meeting.addresses(self.group.host)[0]
            listener.bind((self.address, meeting.PORT))
            listener.listen(MOST_STRANGERS)
        except OSError as error:
            listener.close()
            self._problem = f"it could not listen on port {meeting.PORT} of its own address: {error.strerror or error}"
            if error.errno == errno.EADDRINUSE:
                self._in_use_since = self._in_use_since or time.monotonic()
            return
        self._in_use_since = None
        listener.setblocking(False)
        self._listener = listener

    def check(self, now: float) -> None:
        """Who does not say who it is, who does not come, who is silent."""
        for one in [one for one, until in self._strangers.items() if now > until]:
            self._strangers.pop(one)
            one.close()
        if missing := self._missing():  # one that is here may take as long as it likes to look at its files
            if now > self.deadline:
                self.fail(self._absent(now))
            self.tell_waiting(now, self._problem if self._listener is None else missing)
        if self._in_use_since is not None and now - self._in_use_since > meeting.LINGER:  # not another job's last words
            self.fail(self._absent(now))
        for name, heard in self._heard.items():
            if name not in self._ended and now - heard > meeting.LOST:
                self.fail(meeting.lost(name, meeting.SILENT.format(meeting.LOST)))

    def _absent(self, now: float) -> str:
        if self._listener is None:
            return f"{failure.CLIENT.failure}: Host {self.group.host} leads, and {self._problem}\n"
        missing = self._missing()
        seconds = f"{now - self.started:.0f} seconds of the leader's start"
        verb = "were" if missing.startswith("hosts") else "was"
        return f"{failure.CLIENT.failure}: {missing[0].upper()}{missing[1:]} {verb} not there within {seconds}\n"

    def _missing(self) -> str:
        """The hosts that have not come, in words."""
        missing = [name for name in self.group.hosts if name not in self._others and name != self.group.host]
        shown = ", ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
        return shown and f"host{'s' if len(missing) > 1 else ''} {shown}"

    def ended_here(self, code: int) -> None:
        """The leader has ended, and its model is saved."""
        self._ended[self.group.host] = code
        self._see_ends()

    def _see_ends(self) -> None:
        if any(self._ended.values()):  # stopped, before there was a model
            self.verdict = self.verdict or meeting.Verdict(next(filter(None, self._ended.values())))
        elif len(self._ended) == self.group.size:
            self.verdict = self.verdict or meeting.Verdict(0)

    def failed_here(self, text: str) -> None:
        """The first failure is the job's."""
        self.fail(text)

    def part(self, verdict: meeting.Verdict) -> None:
        """Tell all, those too who come late, and wait until they have heard."""
        self._tell_all(verdict=verdict.code, text=verdict.text)
        seconds = meeting.PARTING if self._met or not verdict.text else meeting.LINGER
        until = time.monotonic() + (seconds if self._listener else 0)
        while time.monotonic() < until:
            waiting = [one for one in self._others.values() if not one.closed]
            if not waiting and len(self._others) == self.group.size - 1:
                break
            self.exchange(self.connections())
        for one in [*self._others.values(), *self._strangers]:
            one.close()
        if self._listener:
            self._listener.close()
