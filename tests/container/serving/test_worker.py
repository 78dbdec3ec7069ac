"""The worker's thread that answers beside its loop, at moments that requests over HTTP hardly ever meet."""

from __future__ import annotations

import queue
import socket
import threading
from unittest.mock import MagicMock

from container.serving.connection import Bounds, Connection
from container.serving.worker import BufferingWorker, with_bounds


def test_a_client_that_leaves_just_as_its_connection_is_kept_sees_the_end():
    """Nobody looked at the connection any more: the client waited for its end for a minute."""
    server, client = socket.socketpair()
    one = Connection(server, None, None, 0.0)
    one.busy = True
    loops: list[threading.Thread] = []

    class Worker(with_bounds(Bounds(None, 1, 1.0, 1.0), MagicMock())):  # type: ignore[misc]
        @property
        def alive(self) -> bool:  # what the thread asks last before it keeps the connection
            if not loops:
                loops.append(threading.Thread(target=self._left, args=(one,)))
                loops[0].start()
                loops[0].join(0.1)
            return True

        def _respond(self, one: Connection) -> tuple[bytes, bool]:
            return b"answer", True

        def _watch(self, one: Connection, events: int) -> None:
            one.watched = events

    worker: BufferingWorker = Worker.__new__(Worker)
    worker._lock, worker._buffered = threading.Lock(), 0
    worker._connections, worker._returned = {one}, queue.SimpleQueue()
    with server, client:
        worker._answer(one)
        loops[0].join()
        client.settimeout(1)
        assert client.recv(100) == b"answer"
        assert client.recv(1) == b""
