"""HTTP itself, as clients may speak it: chunks, pipelines, broken heads."""

from __future__ import annotations

import contextlib
import http.client
import socket

import pytest

CHUNKED = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n"


def spoken(server, sent):
    """All that the server answers to bytes on one connection, until it closes or says nothing more."""
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(sent)
        connection.settimeout(2)
        received = b""
        with contextlib.suppress(TimeoutError):
            while piece := connection.recv(65536):
                received += piece
        return received


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n1,2,3,4\r\n0\r\n\r\n",
        b"-1\r\n1,2,3,4\r\n0\r\n\r\n",
        b"+7\r\n1,2,3,4\r\n0\r\n\r\n",
        b"0x7\r\n1,2,3,4\r\n0\r\n\r\n",
        b"1_0\r\n1,2,3,4\r\n0\r\n\r\n",
        b" 7\r\n1,2,3,4\r\n0\r\n\r\n",
        b"\r\n1,2,3,4\r\n0\r\n\r\n",
        b";x\r\n1,2,3,4\r\n0\r\n\r\n",
        b"7\n1,2,3,4\n0\n\n",
        b"7\r\n1,2,3,4xx0\r\n\r\n",
        b"5\r\n1,2,3,4\r\n0\r\n\r\n",
        b"7;" + b"x" * 9000 + b"\r\n1,2,3,4\r\n0\r\n\r\n",
        b"7" * 9000,
        b"fffffffffffffffff\r\n1,2,3,4\r\n0\r\n\r\n",
        b"7\r\n1,2,3,4\r\n0\r\nno trailer\r\n\r\n",
        b"7\r\n1,2,3,4\r\n0\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    ],
)
def test_malformed_chunks_are_400_and_no_traceback(served, body):
    server, _ = served
    assert spoken(server, CHUNKED + body).startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in server.log
    assert server.ping().status == 200


def test_chunks_as_the_standard_has_them_in_pieces_of_any_size(served):
    server, case = served
    chunks = b'4;a=b;c="d"\r\n1,2,\r\n003 ;x\r\n3,4\r\n0\r\nX-Trailer: yes\r\n\r\n'
    plain = server.invoke(b"1,2,3,4", "text/csv", "application/json")
    request = CHUNKED.replace(b"\r\n\r\n", b"\r\nAccept: application/json\r\n\r\n") + chunks
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(request)):
            connection.sendall(request[at : at + 1])
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.read()) == (200, plain.body)


def test_requests_sent_ahead_are_answered_in_order_on_one_connection(served):
    server, _ = served
    one = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: %d\r\n%s\r\n%s"
    bodies = [b"1,2,3,4\n" * number for number in (1, 3, 2)]
    extra = [b"", b"", b"Connection: close\r\n"]
    accept = b"Accept: text/csv\r\n"
    received = spoken(server, b"".join(one % (len(b), accept + e, b) for b, e in zip(bodies, extra, strict=True)))
    counts = [answer.split(b"\r\n\r\n")[1].count(b"\n") for answer in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert [count or 1 for count in counts] == [1, 3, 2]


def test_empty_lines_before_a_request_are_left_out(served):
    """As RFC 9112, section 2.2, asks of servers: some clients end a body with one."""
    server, _ = served
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 8\r\n%s\r\n1,2,3,4\n"
    received = spoken(server, b"\r\n\r\n" + head % b"" + b"\r\n" + head % b"Connection: close\r\n")
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.count(b"HTTP/1.1 ") == 2


def test_requests_that_come_while_an_answer_goes_out_get_one_answer_each(served):
    """In many pieces, so that some come just when a thread hands an answer back."""
    server, _ = served
    one = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
    before, clients, rounds = len(server.log), 10, 150
    with contextlib.ExitStack() as opened:
        connections = [
            opened.enter_context(socket.create_connection(("127.0.0.1", server.port), 5)) for _ in range(clients)
        ]
        for _ in range(rounds):
            for connection in connections:
                connection.sendall(one * 2)
        for connection in connections:
            received = b""
            while received.count(b"HTTP/1.1 ") < 2 * rounds or not received.endswith(b"\r\n\r\n"):
                piece = connection.recv(65536)
                assert piece, f"closed after {received.count(b'HTTP/1.1 ')} answers of {2 * rounds}: {received[-200:]}"
                received += piece
            assert received.count(b"HTTP/1.1 200 OK") == 2 * rounds
    assert "Traceback" not in server.log[before:]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: magic\r\n\r\n", 501),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST /ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: GZip\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nbad header: x\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000, 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
    ],
)
def test_heads_that_are_not_http_are_refused_by_name(served, head, status):
    server, _ = served
    assert spoken(server, head).startswith(b"HTTP/1.1 %d " % status)
    assert "Traceback" not in server.log


def test_a_client_that_waits_for_continue_is_told_to(served):
    server, _ = served
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 7\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"1,2,3,4")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
