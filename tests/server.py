"""A real server process in a folder of its own, for tests that are a user's story over HTTP."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.forks import SERVERS, Fork

ROOT = Path(__file__).resolve().parents[1]
SERVE = "from container.__main__ import serve; raise SystemExit(serve())"
START_SECONDS = 120
STOP_SECONDS = 120
"""Far longer than either takes, on a machine that is busy with other things too."""


@dataclass(frozen=True)
class Answer:
    """A response: ``headers`` with names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Server:
    """A process that runs ``serve``, or the Python ``program`` that does so in its own way.

    It is a fork of a process that has imported what servers do, or a ``fresh`` one where its start or its memory is of
    interest.
    """

    def __init__(
        self, base: Path, environment: dict[str, str], program: str | None = None, *, fresh: bool = False
    ) -> None:
        self.port = free_port()
        self._log = base / "serve.log"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("SAGEMAKER_", "ALGORITHM"))
        }
        contract = {"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(self.port), "PYTHONPATH": str(ROOT)}
        variables = {**inherited, **contract, **environment}
        with self._log.open("wb") as log:
            self.process: Fork | subprocess.Popen[bytes]
            if not fresh:
                self.process = SERVERS.start(program or SERVE, variables, log, folder=base)
                return
            self.process = subprocess.Popen(
                [sys.executable, *(["-c", program] if program else ["-m", "container", "serve"])],
                env=variables,
                cwd=base,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """All that the process has printed."""
        return self._log.read_text(errors="replace")

    def request(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own. A ``body`` that is not bytes is sent in chunks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, received, response.read())
        finally:
            connection.close()

    def ping(self) -> Answer:
        """``GET /ping``."""
        return self.request("GET", "/ping")

    def invoke(
        self, body: bytes | Iterable[bytes], content_type: str | None = "text/csv", accept: str | None = None
    ) -> Answer:
        """``POST /invocations``."""
        named = {"Content-Type": content_type, "Accept": accept}
        return self.request("POST", "/invocations", body, {name: text for name, text in named.items() if text})

    def wait(self) -> None:
        """Until the server answers.

        Raises:
            AssertionError: it ended, or did not answer in time; the message is its log.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"serve ended with {self.process.returncode}:\n{self.log}"
            try:
                if self.ping().status == 200:
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"serve did not answer within {START_SECONDS} s:\n{self.log}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask the process to stop; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def running(base: Path, program: str | None = None, /, *, fresh: bool = False, **environment: str) -> Iterator[Server]:
    """A server that answers, for the model in ``base / "model"``; stopped at the end, whatever happens. ``program``
    runs it where that is to be done in another way."""
    server = Server(base, environment, program, fresh=fresh)
    try:
        server.wait()
        yield server
        server.stop()
    finally:
        server.process.kill()
        server.process.wait()


def refusing(base: Path, **environment: str) -> tuple[int, str]:
    """Exit code and log of a server that cannot start."""
    server = Server(base, environment)
    try:
        return server.process.wait(START_SECONDS), server.log
    finally:
        server.process.kill()
        server.process.wait()


_RESERVED: list[socket.socket] = []


def free_port() -> int:
    """A port of this machine that nobody listens on.

    It stays bound as long as this process lives: the system gives it to nobody who asks for any port, at any address,
    as tests that run beside do. Whoever asks for this very one with SO_REUSEADDR, as servers do, gets it.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("", 0))
    _RESERVED.append(probe)
    return probe.getsockname()[1]
