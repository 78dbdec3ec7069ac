"""Any host but the leader, to which it is connected."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

from container import distribution
from container.signals import Signals
from container.training import failure, meeting
from container.training.group import Group
from container.training.lines import Lines, MalformedLineError
from container.training.trainee import Trainee


class Member(meeting.Host):
    """Any other host: it is connected to the leader."""

    def __init__(self, group: Group, token: str | None, trainee: Trainee, signals: Signals) -> None:
        super().__init__(group, token, trainee, signals)
        self._leader = group.hosts[0]
        self._lines: Lines | None = None
        self._welcome = False
        self._why = "it was not looked for"  # why the leader is not there
        self._heard = time.monotonic()
        self._retry_at = 0.0
        self._another_job_since: float | None = None  # the leader of another job answers in the place of ours
        self._told: float | None = None  # when the leader was told that training has failed here
        self._ended: tuple[int, float] | None = None  # how training ended here, and when

    def connections(self) -> list[Any]:
        """The leader."""
        return [self._lines] if self._lines else []

    def read(self, one: Any) -> None:
        """Messages of the leader, or its end."""
        try:
            messages = one.receive()
        except MalformedLineError:
            messages = []
            one.close()
        for message in messages:
            self._take(message)
        if one.closed and self.verdict is None:
            self._lines = None
            if self._welcome:
                self.fail(meeting.lost(self._leader, meeting.GONE))

    def _take(self, message: Mapping[str, Any]) -> None:
        self._heard = time.monotonic()
        if "welcome" in message:
            self._welcome = True
            self._another_job_since = None
            self.tell_job()
            if self._ended:
                self._send(ended=self._ended[0])
        elif "another_job" in message:
            self._another_job_since = self._another_job_since or time.monotonic()
        elif "met" in message or "tracker" in message:
            self.trainee.lines.send(**message)
        elif "verdict" in message:
            self.verdict = meeting.Verdict(int(message["verdict"]), str(message["text"]))
        elif "failed" in message:
            self.fail(str(message["failed"]))
        elif "stop" in message:
            self.told_to_stop()

    def tell_job(self) -> None:
        """Say which job this is."""
        if self._welcome and self.job is not None:
            self._send(job=self.job)

    def tell_tracker(self, port: int) -> None:
        """Only the leader has one."""

    def tell_stop(self) -> None:
        """The leader tells the others."""
        if self._welcome:
            self._send(stop=True)

    def _send(self, **message: Any) -> None:
        if self._lines and not self._lines.closed:
            self._lines.send(**message)

    def beat(self) -> None:
        """A sign of life."""
        if self._welcome:
            self._send(beat=True)

    def check(self, now: float) -> None:
        """Reach the leader; notice that it is silent."""
        if self._lines is None and now >= self._retry_at:
            self._retry_at = now + meeting.RETRY
            self._connect()
        if not self._welcome:
            self.tell_waiting(now, f"host {self._leader}, which leads: {self._why}")
        if not self._welcome and now > self.deadline:
            within = f"within {now - self.started:.0f} seconds: {self._why}"
            self.fail(f"{failure.CLIENT.failure}: Host {self._leader}, which leads, was not there {within}\n")
        if self._another_job_since is not None and now - self._another_job_since > meeting.LINGER:
            other = f"is not there: the leader of another job answers on port {meeting.PORT} of its address"
            self.fail(f"{failure.CLIENT.failure}: Host {self._leader}, which leads, {other}\n")
        if self._welcome and now - self._heard > meeting.LOST:
            self.fail(meeting.lost(self._leader, meeting.SILENT.format(meeting.LOST)))

    def _connect(self) -> None:
        """A connection to the leader, from this host's own address; not yet, where it cannot be made."""
        connection, whose = socket.socket(socket.AF_INET, socket.SOCK_STREAM), "this host's own"
        try:
            connection.settimeout(meeting.BEAT)
            connection.bind((meeting.addresses(self.group.host)[0], 0))
            whose = "its"
            connection.connect((meeting.addresses(self._leader)[0], meeting.PORT))
        except OSError as error:
            self._why = _unreachable(error, whose)
            connection.close()
            self._another_job_since = None
            return
        self._why = f"nobody who leads has answered on port {meeting.PORT} of its address"
        self._lines = Lines(connection)
        self._lines.send(host=self.group.host, token=self.token, version=distribution.version())
        self._heard = time.monotonic()

    def ended_here(self, code: int) -> None:
        """Say so, and wait for the others: for a while, where the leader is not there, who would wait for this host."""
        if self._ended is None:
            self._ended = code, time.monotonic()
            if self._welcome:
                self._send(ended=code)
        elif not self._welcome and time.monotonic() - self._ended[1] > meeting.PARTING:
            self.verdict = meeting.Verdict(code)

    def failed_here(self, text: str) -> None:
        """Say so, as soon as there is somebody to hear it; the leader knows whether it was the first failure."""
        if not self._welcome:
            return
        if self._told is None:
            self._told = time.monotonic()
            self._send(failed=text)
        elif time.monotonic() - self._told > meeting.PARTING:
            self.fail(text)

    def part(self, verdict: meeting.Verdict) -> None:
        """Leave word, for a leader that is only deaf for a while."""
        if self._lines and not self._lines.closed:
            if verdict.code == failure.EXIT_CODE:
                self._send(failed=verdict.text)
            self._lines.close()


def _unreachable(error: OSError, whose: str) -> str:
    """Why there is no connection, in words."""
    if isinstance(error, socket.gaierror):
        return f"{whose} name has no address"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on port {meeting.PORT} of {whose} address"
    return f"{whose} address cannot be used: {error.strerror or error}"
