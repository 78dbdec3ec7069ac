"""A client with retries, and a server on a free port if none is given."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from algorithms.errors import ModelError
from container.settings import ConfigurationError
from local.batch.options import media_type_of

START_SECONDS = 240
"""Time that SageMaker gives a container to become healthy."""

LOOPBACK = "127.0.0.1"
"""The address of servers that only this machine may reach."""

_PAUSE = 0.05
_AGAIN = 0.2  # seconds before a request is sent again; doubled each time
_TEXT = 300


class Answer(NamedTuple):
    """A response: its status, media type and body."""

    status: int
    media_type: str
    body: bytes


class RefusedError(Exception):
    """The server refused a request, or did not answer it."""


class Client:
    """Sends requests to one server. Each thread has a connection of its own, kept open between requests."""

    def __init__(self, url: str, *, retries: int = 0, timeout: float = 60) -> None:
        """Raises ConfigurationError where ``url`` is not ``http://host[:port]``."""
        parts = urlsplit(url)
        try:
            self._address = (parts.hostname or "", parts.port or 80)
        except ValueError as error:
            raise ConfigurationError(f"--url {url}: {error}") from error
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ConfigurationError(f"--url {url}: expected http://host:port, without a path")
        self._retries, self._timeout = retries, timeout
        self._mine = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """End all connections."""
        for connection in self._all:
            connection.close()

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to a request, whatever its status.

        Raises:
            OSError, http.client.HTTPException: there was none.
        """
        connection = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = http.client.HTTPConnection(*self._address, timeout=self._timeout)
            self._all.append(connection)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            media_type = media_type_of(response.getheader("Content-Type") or "")
            return Answer(response.status, media_type, response.read())
        except (OSError, http.client.HTTPException):
            connection.close()
            raise

    def invoke(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer with a status of 200 to 299 to a request. It is sent again after no answer, or a status from 500
        on.

        Raises:
            RefusedError: saying what the server said.
        """
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(_AGAIN * 2 ** (attempt - 1))
            try:
                answer = self.ask("POST", "/invocations", body, headers)
            except (OSError, http.client.HTTPException) as error:
                reason = f"no answer: {error or type(error).__name__}"
                continue
            if 200 <= answer.status < 300:
                return answer
            reason = f"{answer.status}: {answer.body[:_TEXT].decode(errors='replace')}"
            if answer.status < 500:
                break
        raise RefusedError(reason)

    def execution_parameters(self) -> dict[str, Any]:
        """The server's ``/execution-parameters``; empty if it has none in JSON."""
        try:
            answer = self.ask("GET", "/execution-parameters")
            found = json.loads(answer.body) if answer.status == 200 else {}
        except (OSError, http.client.HTTPException, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def healthy(self) -> bool:
        """Whether ``/ping`` says so."""
        try:
            return self.ask("GET", "/ping").status == 200
        except (OSError, http.client.HTTPException):
            return False


@contextlib.contextmanager
def serving(model: Path, algorithm: str | None, variables: Mapping[str, str], *, quiet: bool) -> Iterator[str]:
    """``oba serve`` for ``model``, with these environment variables: its URL. It ends with the block.

    Raises:
        ModelError: it does not come up; its log, on standard error, says why.
    """
    port = free_port()
    command = [sys.executable, "-m", "local", "serve", "--model", str(model), "--host", LOOPBACK, "--port", str(port)]
    command += ["--quiet"] * quiet
    if algorithm is not None:
        command += ["--algorithm", algorithm]
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # or the server would live on
    with subprocess.Popen(command, env={**os.environ, **variables}, stdout=sys.stderr.fileno()) as process:
        try:
            _wait(Client(f"http://{LOOPBACK}:{port}"), process)
            yield f"http://{LOOPBACK}:{port}"
        finally:
            process.terminate()
            signal.signal(signal.SIGTERM, before)


def _wait(client: Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    with contextlib.closing(client):
        while not client.healthy():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ModelError("the server did not start; its log above says why")
            time.sleep(_PAUSE)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
