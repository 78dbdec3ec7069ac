"""Several hosts train together: they meet, keep in touch, notice whoever is lost, and end alike.

Each host's first process is its supervisor, which starts the one that trains (``trainee.py``) and speaks with the
leader's supervisor over TCP: all connect to the first of the sorted hosts, on port 9099 of its own address. The leader
waits until all are there, sees that they run the same job, and tells where the engine's tracker is (``exchange.py``).
From then on both sides send a sign of life every ``BEAT`` seconds. A host is lost when its connection ends without a
word, or when nothing was heard of it for ``LOST`` seconds, whatever its training process does: slow is not lost.

The first failure that the leader hears of is the job's: it goes to all, who write it into their failure files. Success
is told to all when each has ended well, the leader with its model saved.
"""

from __future__ import annotations

import contextlib
import errno
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from container.logs import logger
from container.paths import Paths
from container.training import failure
from container.training.config import Group
from container.training.lines import Lines, MalformedLineError
from container.training.trainee import Link, Trainee
from recordio.limits import HELLO_SECONDS, MOST_STRANGERS
from recordio.quoting import quoted

PORT = 9099
PATIENCE = 600.0
"""Seconds that hosts wait for each other at the start: machines and images come minutes apart."""
BEAT = 2.0
"""Seconds between two signs of life."""
LOST = 30.0
"""Seconds without one after which a host is lost. A cut network looks like this, and a process that was stopped."""
LINGER = 45.0
"""Seconds for which the leader of a failed job stays to tell those that come late; they would wait for it in vain."""
PARTING = 10.0
"""Seconds for which the last messages may take."""
_TICK = 0.2  # seconds between two looks at the training process and at the clock
_RETRY = 0.5  # seconds between two attempts to reach the leader
_STOPPED = 128 + signal.SIGTERM


class Verdict(NamedTuple):
    """How the job ends on all hosts: the exit code, and the text of the failure file where it is 1."""

    code: int
    text: str = ""


def lost(host: str, what: str) -> str:
    """The failure file's text about a host that is lost."""
    return f"{failure.ALGORITHM.failure}: Host {host} was lost: {what}\n"


_GONE = "its connection ended without a word, as when its process is killed or its machine ends"
_SILENT = "nothing was heard of it for {:g} seconds, as when its network is cut or its process is stopped"


def supervise(paths: Paths, group: Group, train: Callable[[Link], int]) -> int:
    """Run ``train`` in a process of its own, as one of the hosts of the job; the exit code, alike on all hosts."""
    before = _identities(paths.model)
    trainee = Trainee.start(train)
    with _Signals() as signals:
        host = (Leader if group.rank == 0 else Member)(group, trainee, signals)
        verdict = host.run()
        trainee.kill()
        if verdict.code == failure.EXIT_CODE:
            if group.rank == 0:
                _remove_new(paths.model, before)
            failure.write(verdict.text, paths.failure)
            logger.error("Training has failed on all %d hosts. %s", group.size, verdict.text.partition("\n")[0])
        host.part(verdict)
    return verdict.code


def _identities(folder: Path) -> dict[Path, tuple[int, int]]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def _remove_new(folder: Path, before: Mapping[Path, tuple[int, int]]) -> None:
    """Take away what the job has saved on the way."""
    for file, identity in _identities(folder).items():
        if before.get(file) != identity:
            file.unlink(missing_ok=True)


class _Signals:
    """SIGTERM and SIGINT, as they are asked for; the last one that came stands in ``number``."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        self._previous = {number: signal.signal(number, self._take) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.number = number

    def taken(self) -> int | None:
        """The signal that came since the last call."""
        number, self.number = self.number, None
        return number


class _Host:
    """What leader and members have in common: the loop, and the training process.

    Attributes:
        verdict: None until the job has ended.
        job: what the training process says of the job; None until it has read it.
    """

    def __init__(self, group: Group, trainee: Trainee, signals: _Signals) -> None:
        self.group = group
        self.trainee = trainee
        self.verdict: Verdict | None = None
        self.job: Mapping[str, Any] | None = None
        self.deadline = time.monotonic() + PATIENCE
        self._signals = signals
        self._beat_at = 0.0
        self._runs_since = time.monotonic()
        self._failed: tuple[str, float] | None = None  # own failure, and when it counts if nobody knows better

    def run(self) -> Verdict:
        """Until the job has ended."""
        while self.verdict is None:
            self.step()
        return self.verdict

    def step(self) -> None:
        """Hear what there is to hear, then look at the training process and at the clock.

        In this order: a host that was stopped for long finds in its messages how the others have ended.
        """
        self.exchange([*self.connections(), self.trainee.lines])
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + BEAT
            self.beat()
        if (number := self._signals.taken()) is not None:
            self.trainee.signal(number)
            self.tell_stop()
        if self.verdict is None:
            self._look_at_trainee(now)
        if self.verdict is None:
            self.check(now)

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

    def connections(self) -> list[Any]:
        """What may be read."""
        raise NotImplementedError

    def read(self, one: Any) -> None:
        """Something is there."""
        raise NotImplementedError

    def beat(self) -> None:
        """Give a sign of life."""
        raise NotImplementedError

    def check(self, now: float) -> None:
        """Look at the clock."""
        raise NotImplementedError

    def tell_job(self) -> None:
        """The training process has read the job."""
        raise NotImplementedError

    def tell_tracker(self, port: int) -> None:
        """The training process has opened the tracker."""
        raise NotImplementedError

    def tell_stop(self) -> None:
        """This host was asked to stop: so are all."""
        raise NotImplementedError

    def ended_here(self, code: int) -> None:
        """The training process has ended, with 0 or stopped."""
        raise NotImplementedError

    def failed_here(self, text: str) -> None:
        """The training process has failed."""
        raise NotImplementedError

    def part(self, verdict: Verdict) -> None:
        """Say the last words."""
        raise NotImplementedError


class Leader(_Host):
    """The first of the hosts: all others are connected to it."""

    def __init__(self, group: Group, trainee: Trainee, signals: _Signals) -> None:
        super().__init__(group, trainee, signals)
        self.address = ""
        self._listener: socket.socket | None = None
        self._problem = "it could not listen"
        self._strangers: dict[Lines, float] = {}  # with when they must have said who they are
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
            logger.warning("A connection to port %d was closed: %s.", PORT, error)
            messages = []
            one.close()
        for message in messages:
            if one in self._strangers:
                self._greet(one, message)
            else:
                self._take(next(name for name, lines in self._others.items() if lines is one), message)
        if one.closed:
            self._strangers.pop(one, None)
            for name, lines in self._others.items():
                if lines is one and name not in self._ended:
                    self.fail(lost(name, _GONE))

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
            logger.warning("A connection to port %d was closed: it is of no other host of this job.", PORT)
            one.close()
            return
        if self.verdict is not None:
            one.send(verdict=self.verdict.code, text=self.verdict.text)
        elif name in self._others:
            text = lost(str(name), "it was started again while the others went on")
            self.fail(text)
            one.send(verdict=failure.EXIT_CODE, text=text)
        elif message.get("version") != version():
            theirs = quoted(str(message.get("version")))
            self.fail(
                f"{failure.CLIENT.failure}: Host {name} runs version {theirs} of these algorithms, and the leader "
                f"{self.group.host} version {quoted(version())}: use the same image on all hosts\n"
            )
        self._strangers.pop(one)
        self._others.setdefault(str(name), one)
        self._heard[str(name)] = time.monotonic()
        if self.verdict is None:
            one.send(welcome=True)
            logger.info("Host %s is here; %d of %d are.", name, len(self._others) + 1, self.group.size)

    def _is_from(self, one: Lines, host: str) -> bool:
        """Whether a connection comes from one of the host's addresses; true where names are not, or slowly, known."""
        started = time.monotonic()
        try:
            known = self._names_are_slow or one.connection.getpeername()[0] in addresses(host)
        except socket.gaierror:
            known = True
        except OSError:
            known = False
        self._names_are_slow |= time.monotonic() - started > BEAT
        return known

    def _take(self, name: str, message: Mapping[str, Any]) -> None:
        self._heard[name] = time.monotonic()
        if "job" in message:
            self._jobs[name] = message["job"]
            self._compare()
        elif "failed" in message:
            self.fail(str(message["failed"])[:2048])
        elif "ended" in message:
            self._ended[name] = int(message["ended"])
            self._see_ends()
        elif "stop" in message:
            self.trainee.signal(signal.SIGTERM)
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
            self.address = addresses(self.group.host)[0]
            listener.bind((self.address, PORT))
            listener.listen(MOST_STRANGERS)
        except OSError as error:
            listener.close()
            self._problem = f"it could not listen on port {PORT} of its own address: {error.strerror or error}"
            if error.errno == errno.EADDRINUSE:
                self.deadline = min(self.deadline, time.monotonic() + LINGER)  # the last words of another job
            return
        listener.setblocking(False)
        self._listener = listener

    def check(self, now: float) -> None:
        """Who does not say who it is, who does not come, who is silent."""
        for one in [one for one, until in self._strangers.items() if now > until]:
            self._strangers.pop(one)
            one.close()
        if not self._met and now > self.deadline:
            self.fail(self._absent())
        for name, heard in self._heard.items():
            if name not in self._ended and now - heard > LOST:
                self.fail(lost(name, _SILENT.format(LOST)))

    def _absent(self) -> str:
        if self._listener is None:
            return f"{failure.CLIENT.failure}: Host {self.group.host} leads, and {self._problem}\n"
        missing = [name for name in self.group.hosts if name not in self._jobs and name != self.group.host]
        shown = ", ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
        hosts = f"Host {shown} was" if len(missing) == 1 else f"Hosts {shown} were"
        return f"{failure.CLIENT.failure}: {hosts} not there within {PATIENCE:g} seconds of the leader's start\n"

    def ended_here(self, code: int) -> None:
        """The leader has ended, and its model is saved."""
        self._ended[self.group.host] = code
        self._see_ends()

    def _see_ends(self) -> None:
        if any(self._ended.values()):  # stopped, before there was a model
            self.verdict = self.verdict or Verdict(next(filter(None, self._ended.values())))
        elif len(self._ended) == self.group.size:
            self.verdict = self.verdict or Verdict(0)

    def failed_here(self, text: str) -> None:
        """The first failure is the job's."""
        self.fail(text)

    def part(self, verdict: Verdict) -> None:
        """Tell all, those too who come late, and wait until they have heard."""
        self._tell_all(verdict=verdict.code, text=verdict.text)
        until = time.monotonic() + (PARTING if self._met or not verdict.text else LINGER)
        while time.monotonic() < until:
            waiting = [one for one in self._others.values() if not one.closed]
            if not waiting and len(self._others) == self.group.size - 1:
                break
            self.exchange(self.connections())
        for one in [*self._others.values(), *self._strangers]:
            one.close()
        if self._listener:
            self._listener.close()


class Member(_Host):
    """Any other host: it is connected to the leader."""

    def __init__(self, group: Group, trainee: Trainee, signals: _Signals) -> None:
        super().__init__(group, trainee, signals)
        self._leader = group.hosts[0]
        self._lines: Lines | None = None
        self._welcome = False
        self._heard = time.monotonic()
        self._retry_at = 0.0
        self._told: float | None = None  # when the leader was told that training has failed here
        self._ended = False

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
                self.fail(lost(self._leader, _GONE))

    def _take(self, message: Mapping[str, Any]) -> None:
        self._heard = time.monotonic()
        if "welcome" in message:
            self._welcome = True
            self.tell_job()
        elif "met" in message or "tracker" in message:
            self.trainee.lines.send(**message)
        elif "verdict" in message:
            self.verdict = Verdict(int(message["verdict"]), str(message["text"]))
        elif "failed" in message:
            self.fail(str(message["failed"]))
        elif "stop" in message:
            self.trainee.signal(signal.SIGTERM)

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
            self._retry_at = now + _RETRY
            self._connect()
        if not self._welcome and now > self.deadline:
            self.fail(
                f"{failure.CLIENT.failure}: Host {self._leader}, which leads, was not there within {PATIENCE:g} "
                "seconds\n"
            )
        if self._welcome and now - self._heard > LOST:
            self.fail(lost(self._leader, _SILENT.format(LOST)))

    def _connect(self) -> None:
        """A connection to the leader, from this host's own address; not yet, where it cannot be made."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.settimeout(BEAT)
            connection.bind((addresses(self.group.host)[0], 0))
            connection.connect((addresses(self._leader)[0], PORT))
        except OSError:
            connection.close()
            return
        self._lines = Lines(connection)
        self._lines.send(host=self.group.host, version=version())
        self._heard = time.monotonic()

    def ended_here(self, code: int) -> None:
        """Say so, and wait for the others."""
        if not self._ended:
            self._ended = True
            self._send(ended=code)
            if not self._welcome:
                self.verdict = Verdict(code)

    def failed_here(self, text: str) -> None:
        """Say so, as soon as there is somebody to hear it; the leader knows whether it was the first failure."""
        if not self._welcome:
            return
        if self._told is None:
            self._told = time.monotonic()
            self._send(failed=text)
        elif time.monotonic() - self._told > PARTING:
            self.fail(text)

    def part(self, verdict: Verdict) -> None:
        """Leave word, for a leader that is only deaf for a while."""
        if self._lines and not self._lines.closed:
            if verdict.code == failure.EXIT_CODE:
                self._send(failed=verdict.text)
            self._lines.close()


def addresses(host: str) -> list[str]:
    """The IPv4 addresses of a host. Raises OSError where its name has none, or none yet."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)]


def version() -> str:
    """The version of this software, which hosts must share."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("open-builtin-algorithms")
    return "unknown"
