"""The worker's thread that answers beside its loop, at moments that requests over HTTP hardly ever meet."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
from prometheus_client import generate_latest

from algorithms import registry
from container.serving.connection import Bounds, Connection
from container.serving.direct import Direct
from container.serving.framing import FixedBody
from container.serving.request import Endpoint
from container.serving.request_memory import MustWaitError, RequestMemory, at_once
from container.serving.short import LONGEST, SOON_SECONDS, ShortRequests
from container.serving.telemetry import Metrics
from container.serving.worker import BufferingWorker, with_bounds
from container.settings import Settings
from tests.container.fakes import Fake, Sums


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


def receiving(length: int, *, steady: bool = True, method: str = "POST", path: str = "/invocations") -> Connection:
    """A connection whose request has just come whole."""
    one = Connection(MagicMock(), None, None, 0.0)
    one.request, one.body, one.steady = MagicMock(method=method, path=path), FixedBody(length, None), steady
    one.body.feed(bytearray(length))
    return one


class Dispatching(with_bounds(Bounds(None, 1 << 20, 1.0, 1.0), MagicMock())):  # type: ignore[misc]
    """A worker that only says where requests are answered: here, or by which threads."""

    def __init__(self) -> None:
        self._lock, self._buffered, self._connections = threading.Lock(), 0, set()
        self._short = ShortRequests()
        self._compute, self._quick, self._direct = MagicMock(), MagicMock(), MagicMock()
        self.here: list[Connection] = []

    def _answer(self, one: Connection) -> None:
        self.here.append(one)

    def place(self, one: Connection) -> str:
        self._compute.reset_mock(), self._quick.reset_mock(), self.here.clear()
        self._dispatch(one)
        return "here" if self.here else "compute" if self._compute.submit.called else "quick"


def test_requests_are_answered_by_the_loop_once_as_long_ones_were_answered_soon():
    worker = Dispatching()
    assert worker.place(receiving(100)) == "compute"
    worker._short.learn(100, SOON_SECONDS / 2)
    assert worker.place(receiving(100)) == "here"
    assert worker.place(receiving(101)) == "compute"
    assert worker.place(receiving(100, steady=False)) == "compute"
    assert worker.place(receiving(0, method="GET", steady=False, path="/metrics")) == "quick"


@pytest.fixture
def memory():
    found = RequestMemory(share=1000, most=1 << 20)
    yield found
    found._turn_of_all.close()


def test_the_loop_does_not_wait_for_memory(memory):
    """Another worker may have it for a minute, in which no ping would be answered."""
    worker = Dispatching()
    worker._short.learn(100, SOON_SECONDS / 2)

    def answer(one: Connection) -> None:
        with memory.of(needed):
            worker.here.append(one)

    worker._answer = answer
    needed = 1000
    assert worker.place(receiving(100)) == "here"
    with memory.of(1):
        assert worker.place(receiving(100)) == "compute"
    assert worker.place(receiving(100)) == "here"
    needed = 1001
    assert worker.place(receiving(100)) == "compute", "larger ones have their turn among all workers"
    worker._answer_in_thread(one := receiving(100))
    assert worker.here == [one], "a thread waits"


def test_a_request_that_must_wait_is_neither_answered_nor_counted(memory):
    endpoint, metrics = Endpoint.of(Fake, Sums(), Settings()), Metrics()
    direct = Direct(MagicMock(), replace(endpoint, memory=memory), None, metrics)
    with memory.of(999), at_once(), pytest.raises(MustWaitError):
        direct.answer({"CONTENT_TYPE": "text/csv"}, b"1,2,3")
    assert b"oba_requests_total{" not in generate_latest(metrics.own)
    status, _, body = direct.answer({"CONTENT_TYPE": "text/csv"}, b"1,2,3")
    assert (status, b"6" in body) == ("200 OK", True)


def test_pings_are_answered_by_the_loop_where_there_is_one_model():
    worker, ping = Dispatching(), {"method": "GET", "path": "/ping", "steady": False}
    assert worker.place(receiving(5)) == "compute"
    assert worker.place(receiving(0, **ping)) == "here"
    worker._direct = None
    assert worker.place(receiving(0, **ping)) == "quick"


def test_what_took_long_is_not_answered_by_the_loop_again():
    short = ShortRequests()
    assert not short.has(0)
    short.learn(1000, SOON_SECONDS / 2)
    short.learn(800, SOON_SECONDS * 2)
    assert short.has(200)
    assert not short.has(201)
    short.learn(LONGEST + 1, SOON_SECONDS / 2)
    assert not short.has(LONGEST)
    short.learn(0, SOON_SECONDS * 2)
    assert not short.has(1)


def test_the_loop_spends_little_on_requests_that_only_seemed_short(monkeypatch):
    """A body of one row, or none that can be read, and one of thousands of rows, in turn."""
    short, now, spent = ShortRequests(), 0.0, 0.0
    monkeypatch.setattr("container.serving.short.time", MagicMock(monotonic=lambda: now))
    for _ in range(10_000):
        short.learn(LONGEST, SOON_SECONDS / 10)
        spent += 0.5 if short.has(LONGEST) else 0.0
        short.learn(LONGEST, 0.5)
        now += 0.5
    assert 0 < spent <= now / 100
    now += 100
    short.learn(LONGEST, SOON_SECONDS / 10)
    assert short.has(LONGEST)


def test_rows_are_steady_and_what_may_be_compressed_is_not():
    def is_steady(algorithm, content_type):
        return Direct(MagicMock(), MagicMock(algorithm=algorithm), None, MagicMock()).is_steady(content_type)

    assert is_steady(Fake, "text/csv")
    assert is_steady(Fake, "")
    assert not is_steady(Fake, "application/x-Parquet")
    assert not is_steady(registry.find("image-classification"), "image/png")
    assert not is_steady(registry.find("seq2seq"), "application/json")


def test_a_crowd_of_connections_is_accepted_in_growing_numbers():
    """One at a time at first: whoever woke first had taken all connections, and left other workers without work."""
    worker = Dispatching()
    worker._accepted_at_once, worker._most_connections, worker._poller = 1, 100, MagicMock()
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as clients:
        listener.setblocking(False)
        for _ in range(9):
            clients.enter_context(socket.create_connection(listener.getsockname()))
        counts = []
        for _ in range(5):
            worker._accept(listener)
            counts.append(len(worker._connections))
    for one in worker._connections:
        one.sock.close()
    assert counts == [1, 3, 7, 9, 9]
