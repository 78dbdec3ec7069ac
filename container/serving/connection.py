"""A worker's record of each client's connection, and the bounds of what it may hold for all clients."""

from __future__ import annotations

import resource
import socket
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors as parsing

from container.serving.framing import ChunkedBody, FixedBody
from recordio.limits import MOST_CONNECTIONS

KEEP_ALIVE_SECONDS = 60
"""Seconds that a connection stays open without a request."""

STOP_IDLE_SECONDS = 0.5
"""Seconds that after a stop a connection without a request stays open, as one may be on its way already."""

STOP_READ_SECONDS = 3
"""Seconds that after a stop the rest of a request, or a client that reads its answer, is waited for."""

LINGER_SECONDS = 2
"""Seconds that the rest of a refused request is read and dropped, so that the client sees the refusal, not a reset."""

_STATUSES = {
    parsing.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    parsing.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    parsing.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    parsing.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}

_FILES_BESIDES = 64  # open files of a worker that are no connections


@dataclass(frozen=True)
class Bounds:
    """What a worker may hold.

    Attributes:
        body: bytes of a request's body; None for any number.
        buffered: bytes of all bodies together, of which one may always be as large as ``body``.
        seconds: from a request's first byte to its last.
        stop: seconds that a stop waits for answers.
    """

    body: int | None
    buffered: int
    seconds: float
    stop: float


class Connection:
    """One client's connection and where it stands.

    Attributes:
        incoming: bytes that were received and not read yet.
        request, body: the request that is being received, once its head is whole.
        busy: a thread computes the answer, or has passed it to the loop, which has not taken it yet. Meanwhile the loop
            only collects bytes.
        steady: the time that the request takes grows with its body: see ``container.serving.short``.
        outgoing: what is left of the answer for the loop to send.
        arrived: when the request was whole.
        began: when the first byte of the request came; None between requests.
        deadline: when the connection will be closed unless bytes are sent or received.
        keep: whether it stays open after the answer.
        refused: an answer was sent without reading the request to its end; the rest is dropped.
    """

    __slots__ = (
        "address", "arrived", "began", "body", "busy", "closed", "deadline", "held", "incoming", "keep", "lock",
        "local", "outgoing", "refused", "request", "sock", "steady", "watched",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, address: Any, local: Any, deadline: float) -> None:
        self.sock, self.address, self.local, self.deadline = sock, address, local, deadline
        self.incoming = bytearray()
        self.request: Any = None
        self.body: FixedBody | ChunkedBody | None = None
        self.outgoing = memoryview(b"")
        self.arrived = 0.0
        self.began: float | None = None
        self.busy = self.closed = self.refused = self.steady = False
        self.keep = True
        self.held = 0
        self.watched = 0
        self.lock = threading.Lock()


class Outbox:
    """Stands for the socket of gunicorn's responses, and collects what they send."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """Collect ``data``."""
        self.parts.append(data)


def status_of(error: Exception) -> HTTPStatus:
    """The status that answers a head that cannot be parsed."""
    return next((code for kind, code in _STATUSES.items() if isinstance(error, kind)), HTTPStatus.BAD_REQUEST)


def plain_answer(status: HTTPStatus, text: str) -> bytes:
    """A whole response that closes the connection."""
    body = f"{status.value} {status.phrase}: {text}"[:1024].encode("ascii", "backslashreplace")
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def most_connections() -> int:
    """How many connections the process can have open besides its files; the limit of open files is raised first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + _FILES_BESIDES
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return (wanted if soft == resource.RLIM_INFINITY else soft) - _FILES_BESIDES
