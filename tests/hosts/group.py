"""Several hosts on one machine: each with its own /opt/ml, at its own loopback address, and with short bounds."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from container.paths import Paths
from container.training import meeting
from tests.forks import Fork, Forks
from tests.opt_ml import ROOT, OptMl, Outcome

BOUNDS = {"PATIENCE": 60.0, "BEAT": 0.2, "LOST": 3.0, "LINGER": 3.0, "PARTING": 3.0}
"""Of ``container.training.meeting``, in which they are 2 seconds to 10 minutes."""

_PROGRAM = """
import sys
from container import __main__ as commands
from container.training import meeting
vars(meeting).update({bounds})
{before}
commands.train_command([])
"""


_CLAIMS: list[socket.socket] = []


@cache
def own_network() -> str:
    """127.<n>, of this process as long as it lives: others that run such tests at the same time have other numbers."""
    for number in random.sample(range(1, 64), 63):
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((f"127.{number}.0.1", meeting.PORT))
        except OSError:
            claim.close()
            continue
        _CLAIMS.append(claim)
        return f"127.{number}"
    raise AssertionError("63 processes run tests of several hosts on this machine")


class Group:
    """``size`` hosts. Their addresses are <network>.<number>.100 and on, with a number of the test's own."""

    def __init__(
        self, base: Path, size: int, number: int, algorithm: str, values: Mapping[str, Any], network: str
    ) -> None:
        self.names = [f"{network}.{number}.{100 + host}" for host in range(size)]  # sorted as texts and as numbers
        self.algorithm = algorithm
        self.hosts = [OptMl(base / name) for name in self.names]
        self.bounds: Mapping[str, float] = BOUNDS
        self.cut: Callable[[], None] = lambda: None
        self.processes: list[subprocess.Popen[str] | Fork | None] = [None] * size
        self.forks: Forks | None = None
        self.prefixes: list[list[str]] = [[] for _ in range(size)]  # of the command line
        for name, opt_ml in zip(self.names, self.hosts, strict=True):
            opt_ml.hyperparameters(values)
            opt_ml.write(opt_ml.paths.resource_config, {"current_host": name, "hosts": self.names})

    def replicated(self, name: str, files: Mapping[str, bytes] | bytes, content_type: str) -> Group:
        """A channel of which each host has all files."""
        for opt_ml in self.hosts:
            opt_ml.channel(name, files, content_type)
        return self

    def sharded(self, name: str, parts: Sequence[Mapping[str, bytes]], content_type: str) -> Group:
        """A channel of which each host has its own files."""
        for opt_ml, files in zip(self.hosts, parts, strict=True):
            opt_ml.channel(name, files, content_type, S3DistributionType="ShardedByS3Key")
        return self

    def piped(self, name: str, content_type: str) -> Group:
        """A channel in Pipe mode that nobody writes: hosts that have met wait for it, until ``write``."""
        for opt_ml in self.hosts:
            opt_ml.pipe(name, [], content_type)
            os.mkfifo(opt_ml.paths.data / f"{name}_0")
        return self

    def write(self, name: str, content: bytes) -> None:
        """The first epoch of a piped channel, on all hosts."""
        for opt_ml in self.hosts:
            (opt_ml.paths.data / f"{name}_0").write_bytes(content)

    def start(
        self, *places: int, before: str = "", bounds: Mapping[str, float] | None = None, **environment: str
    ) -> None:
        """Start the hosts at ``places`` (all by default); ``before`` is run in them first."""
        for place in places or range(len(self.hosts)):
            paths = self.hosts[place].paths
            program = _PROGRAM.format(bounds=dict(bounds or self.bounds), before=before)
            variables = {"SAGEMAKER_BASE_DIR": str(paths.base), "OMP_NUM_THREADS": "1", "ALGORITHM": self.algorithm}
            variables = {**os.environ, **variables, **environment}
            for writer in self.hosts[place]._writers:
                writer.start()
            with (paths.base / "log").open("w") as log:
                if self.forks is not None:
                    self.processes[place] = self.forks.start(program, variables, log)
                    continue
                self.processes[place] = subprocess.Popen(
                    [*self.prefixes[place], sys.executable, "-c", program],
                    cwd=ROOT,
                    env=variables,
                    text=True,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )

    def log(self, place: int) -> str:
        """What a host has printed so far."""
        return (self.hosts[place].paths.base / "log").read_text()

    def wait_for(self, text: str, *places: int, seconds: float = 240) -> None:
        """Until the hosts have printed ``text``."""
        until = time.monotonic() + seconds
        for place in places or range(len(self.hosts)):
            while text not in self.log(place):
                assert time.monotonic() < until, f"no {text!r} from host {place}: {self.log(place)}"
                time.sleep(0.05)

    def wait_until_met(self) -> None:
        """Until all have met, and read (or wait for) their data."""
        self.wait_for("hosts are here", 0)
        self.wait_for("feature(s) found")

    def outcome(self, place: int, seconds: float = 240) -> Outcome:
        """What a host left, when it has ended."""
        process = self.processes[place]
        assert process is not None
        code = process.wait(seconds)
        return Outcome(code, self.log(place), self.hosts[place].paths)

    def outcomes(self, seconds: float = 240) -> list[Outcome]:
        """The same of all that were started."""
        return [self.outcome(place, seconds) for place, process in enumerate(self.processes) if process]

    def signal(self, place: int, number: signal.Signals) -> None:
        """Send a host's first process a signal."""
        process = self.processes[place]
        assert process is not None
        process.send_signal(number)


@contextlib.contextmanager
def group(
    base: Path,
    size: int,
    number: int,
    algorithm: str,
    values: Mapping[str, Any],
    network: str = "",
    forks: Forks | None = None,
) -> Iterator[Group]:
    """Hosts that are gone afterwards, whatever the test does; processes of their own, or ``forks``."""
    hosts = Group(base, size, number, algorithm, values, network or own_network())
    hosts.forks = forks
    try:
        yield hosts
    finally:
        for process in hosts.processes:
            if process:
                process.kill()
                process.wait()


def leader_model(outcomes: Sequence[Outcome]) -> Paths:
    """The folders of the leader of a job that went well; the others have left no model."""
    for outcome in outcomes:
        assert (outcome.code, outcome.failure) == (0, None), outcome.log
    assert [len(outcome.model_files) for outcome in outcomes[1:]] == [0] * (len(outcomes) - 1)
    return outcomes[0].paths


# ---- a network that can be cut ---------------------------------------------------------------------------------------


class NoNetworkError(Exception):
    """Network namespaces, or cables between them, cannot be made here."""


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise NoNetworkError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextlib.contextmanager
def cable(number: int) -> Iterator[tuple[list[list[str]], Callable[[], None]]]:
    """Two network namespaces with a cable between them, at the addresses of a group of two in the network 10.99: what
    goes before the command of each host, and what cuts the cable.

    Raises:
        NoNetworkError: see there.
    """
    if shutil.which("ip") is None:
        raise NoNetworkError("there is no command ip")
    spaces = [f"oba-{os.getpid()}-{number}-{place}" for place in range(2)]
    with contextlib.ExitStack() as stack:
        for space in spaces:
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "del", space)
        _ip("link", "add", "end", "netns", spaces[0], "type", "veth", "peer", "end", "netns", spaces[1])
        for place, space in enumerate(spaces):
            _ip("-n", space, "addr", "add", f"10.99.{number}.{100 + place}/24", "dev", "end")
            _ip("-n", space, "link", "set", "end", "up")
            _ip("-n", space, "link", "set", "lo", "up")
        yield (
            [["ip", "netns", "exec", space] for space in spaces],
            partial(_ip, "-n", spaces[0], "link", "set", "end", "down"),
        )
