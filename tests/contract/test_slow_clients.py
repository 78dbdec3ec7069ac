"""Clients that send or read slowly, by the thousand, harm nobody else, and are cut off after the stated times."""

from __future__ import annotations

import contextlib
import re
import resource
import select
import signal
import socket
import threading
import time

import numpy as np
import pytest

from algorithms.common import mxnet_files
from container.serving.server import STOP_SECONDS
from recordio.limits import HEAD_SECONDS, STALL_SECONDS
from tests.contract.serving_cases import make_kmeans
from tests.server import Server, running

CLIENTS = 1000
STALLED = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 1000\r\n\r\n1,2,3"
SECONDS = 1.0
"""Within which a request is answered, as a rule: for a moment the machine may be busy with other things."""
HARM = min(HEAD_SECONDS, STALL_SECONDS) - 2
"""What a request would take at least that waits until a slow client is cut off."""
LIMIT = 120
"""Within which anything happens, on the busiest machine."""


@pytest.fixture(autouse=True)
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * CLIENTS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"the limit on open files, {hard}, is below {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def base(tmp_path):
    (tmp_path / "model").mkdir()
    make_kmeans(tmp_path / "model")
    return tmp_path


@contextlib.contextmanager
def clients(server, first, count=CLIENTS):
    """Connections that have sent ``first``."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), LIMIT))
            sock.sendall(first)
            sockets.append(sock)
        yield sockets


def closed(sockets):
    """How many of them the server has answered or closed."""
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, select.POLLIN)
    return len(poll.poll(0))


class Answers:
    """Pings and good requests, and the seconds that they took."""

    def __init__(self, server, row=b"1,2,3,4"):
        self.seconds = []
        self._asks = (server.ping, lambda: server.invoke(row))

    def ask(self):
        for ask in self._asks:
            started = time.monotonic()
            assert ask().status == 200
            self.seconds.append(time.monotonic() - started)
        time.sleep(0.05)

    def assert_soon(self):
        assert np.median(self.seconds) < SECONDS
        assert max(self.seconds) < HARM


def test_a_thousand_stalled_bodies_and_a_thousand_slow_heads_harm_nobody_and_are_closed(base):
    with (
        running(base, ALGORITHM="kmeans", SAGEMAKER_MODEL_SERVER_TIMEOUT="12") as server,
        clients(server, STALLED) as stalled,
        clients(server, b"P") as slow,
    ):
        done = threading.Event()

        def drip():
            rest = iter(STALLED[1:])
            while not done.wait(4):
                letter = bytes([next(rest)])
                for sock in slow:
                    with contextlib.suppress(OSError):
                        sock.send(letter)

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            among_all, among_fewer = Answers(server), Answers(server)
            while closed(stalled) == closed(slow) == 0:
                among_all.ask()
            among_all.assert_soon()
            deadline = time.monotonic() + LIMIT
            while closed(stalled) + closed(slow) < 2 * CLIENTS and time.monotonic() < deadline:
                among_fewer.ask()
            among_fewer.assert_soon()
            assert (closed(stalled), closed(slow)) == (CLIENTS, CLIENTS)
            assert all(sock.recv(100).startswith(b"HTTP/1.1 408 ") for sock in stalled)
        finally:
            done.set()
            dripping.join()


def test_a_byte_now_and_then_in_the_body_does_not_prolong_it(base):
    with (
        running(base, ALGORITHM="kmeans", SAGEMAKER_MODEL_SERVER_TIMEOUT="2") as server,
        clients(server, STALLED, 1) as (sock,),
    ):
        started = time.monotonic()
        while not closed([sock]) and time.monotonic() - started < LIMIT:
            sock.send(b"1")
            time.sleep(0.1)
        assert 1.5 < time.monotonic() - started < LIMIT


def test_a_stop_does_not_wait_for_a_thousand_slow_clients(base):
    with (
        running(base, ALGORITHM="kmeans") as server,
        clients(server, STALLED),
        clients(server, b"GET /ping HTTP/1.1\r\n"),
    ):
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < STOP_SECONDS


def test_a_stop_does_not_wait_for_a_request_that_begins_after_it_and_stalls(base):
    with running(base, ALGORITHM="kmeans") as server, clients(server, b"", 1) as (sock,):
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        with contextlib.suppress(OSError):  # it may be closed already
            sock.send(STALLED)
        assert server.process.wait(60) == 0
        assert time.monotonic() - started < STOP_SECONDS / 2


@pytest.fixture
def long_answers(tmp_path):
    """A model with 200 numbers for each number of a request."""
    (tmp_path / "model").mkdir()
    mxnet_files.save(
        tmp_path / "model" / "model_algo-1",
        {
            "s": np.ones(200, np.float32),
            "v": np.full((1, 200), 1 / 3, np.float32),
            "mean": np.zeros((1, 1), np.float32),
        },
    )
    return tmp_path


BODY = b"1\n" * 5_000  # the answer is beyond what the kernel takes
LONG = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 10000\r\n\r\n" + BODY
COMPUTING = """
import time
from container.serving import connection, worker
connection.STOP_READ_SECONDS = 0.2
respond = worker.BufferingWorker._respond
def slowly(self, one):
    while self.alive and one.request.method == "POST":
        time.sleep(0.01)
    return respond(self, one)
worker.BufferingWorker._respond = slowly
from container.__main__ import serve
raise SystemExit(serve())
"""


def test_a_stop_waits_no_longer_for_who_does_not_read_an_answer_that_was_computed_after_it(long_answers):
    """It waited for 20 seconds, beyond which an orchestrator may end the process."""
    server = Server(long_answers, {"ALGORITHM": "pca", "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}, COMPUTING)
    server.wait()
    with clients(server, LONG, 1):
        assert server.ping().status == 200  # so that the server has met it
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < STOP_SECONDS / 2


def test_clients_that_do_not_read_their_answers_keep_no_thread(long_answers):
    with (
        running(long_answers, ALGORITHM="pca", SAGEMAKER_MODEL_SERVER_WORKERS="1") as server,
        clients(server, LONG, 6) as readers,
    ):
        deadline = time.monotonic() + LIMIT
        while closed(readers) < len(readers) and time.monotonic() < deadline:
            time.sleep(0.1)
        answers = Answers(server, b"1\n")
        answers.ask()
        answers.assert_soon()
        received = b""
        while piece := readers[0].recv(1 << 20):  # and one that reads late gets all of it
            received += piece
            if len(received) > 1000 and received.endswith(b"]}"):
                break
        assert received.count(b"projection") == 5_001


WITH_LITTLE_ROOM = """
from container.serving import server
server.BUFFERED_SHARE = server.memory() // (4 << 20)  # one worker has room for four bodies of 1 MiB
from container.__main__ import serve
raise SystemExit(serve())
"""


def test_buffered_bodies_are_bounded_and_the_oldest_give_way(base):
    most = 1 << 20
    partial = STALLED.replace(b"1000", b"%d" % most) + b"1" * (most - 1000)
    environment = {
        "ALGORITHM": "kmeans",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
    }
    server = Server(base, environment, WITH_LITTLE_ROOM)
    try:
        server.wait()
        with contextlib.ExitStack() as stack:
            answers, stalled, deadline = Answers(server), [], time.monotonic() + LIMIT
            for _ in range(20):
                stalled += stack.enter_context(clients(server, partial, 1))
                answers.ask()  # so that the server meets them in this order
            while closed(stalled) < 16 and time.monotonic() < deadline:
                answers.ask()
            answers.assert_soon()
            assert closed(stalled) == closed(stalled[:16]) == 16
            assert stalled[0].recv(100).startswith(b"HTTP/1.1 503 ")
    finally:
        server.stop()


def test_a_body_that_alone_is_too_much_is_told_so_and_one_that_is_dropped_can_read_why(base):
    """Without a limit on the payload, it is the memory that decides."""
    environment = {"ALGORITHM": "kmeans", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "0", "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    server = Server(base, environment, WITH_LITTLE_ROOM)
    try:
        server.wait()
        assert server.invoke(b"1,2,3,4\n" * (3 << 17)).status == 200  # three quarters of what there is room for
        answer = server.invoke(b"1,2,3,4\n" * (3 << 18))
        assert answer.status == 413 and re.search(rb"takes more than the 4\d{6} B that the server has", answer.body)
        large = STALLED.replace(b"1000", b"%d" % (4 << 20)) + b"1" * (3 << 20)
        with clients(server, large, 1) as (oldest,):
            assert server.invoke(b"1,2,3,4").status == 200  # so that the server meets them in this order
            with clients(server, large, 1) as (newest,):
                assert oldest.recv(100).startswith(b"HTTP/1.1 503 ")
                assert not select.select([newest], [], [], 0.2)[0]
        part = large[: 2 << 20]
        with clients(server, part, 1) as (oldest,):
            assert server.invoke(b"1,2,3,4").status == 200
            with clients(server, part, 1) as (newest,):
                assert server.invoke(b"1,2,3,4").status == 200
                oldest.sendall(b"1" * (1 << 20))  # the oldest gives way, whichever of them asks for more
                assert oldest.recv(100).startswith(b"HTTP/1.1 503 ")
                assert not select.select([newest], [], [], 0.2)[0]
    finally:
        server.stop()
    assert "Traceback" not in server.log


def test_one_body_of_the_largest_size_always_finds_room(base):
    most = 1 << 20
    environment = {"ALGORITHM": "kmeans", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1", "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    server = Server(base, environment, WITH_LITTLE_ROOM.replace("4 << 20", "1 << 19"))
    try:
        server.wait()
        assert server.invoke(b"1,2,3,4\n" * (most // 8)).status == 200
        answer = server.invoke(b"1,2,3,4\n" * (most // 8) + b"1")
        assert answer.status == 413 and b"memory" not in answer.body
    finally:
        server.stop()


def test_more_connections_than_files_may_be_open_shut_out_nobody(base):
    """Idle ones are closed first, then the oldest of those whose requests are not whole."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))\n"
        "from container.__main__ import serve\nraise SystemExit(serve())"
    )
    server = Server(base, {"ALGORITHM": "kmeans", "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}, program)
    try:
        server.wait()
        with clients(server, b"", 300), clients(server, STALLED, 300):
            answers = Answers(server)
            for _ in range(5):
                answers.ask()
            answers.assert_soon()
        assert "Traceback" not in server.log
    finally:
        server.stop()
