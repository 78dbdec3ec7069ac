"""The `serve` command as a process, with a model of each algorithm that nobody here trained: the answers over HTTP."""

from __future__ import annotations

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.contract.serving_cases import (
    ROWS,
    decoded,
    encoded,
)


@pytest.mark.parametrize(
    "accept", ["application/json", "application/jsonlines", "text/csv", "application/x-recordio-protobuf"]
)
def test_every_request_form_gives_the_same_answer_in_every_response_form(served, accept):
    server, case = served
    for content_type in case.requests:
        answer = server.invoke(encoded(content_type), content_type, accept)
        assert answer.status == 200, answer.text
        assert answer.headers["content-type"].split(";")[0] == accept
        for name, values in decoded(answer, case).items():
            expected = case.expected()[name]
            np.testing.assert_allclose(np.reshape(values, expected.shape), expected, rtol=1e-5, atol=1e-5)


def test_ping_and_execution_parameters(served):
    server, _ = served
    assert (server.ping().status, server.ping().body) == (200, b"")
    answer = server.request("GET", "/execution-parameters")
    assert json.loads(answer.text)["BatchStrategy"] == "MULTI_RECORD"


def test_one_row_and_the_last_line_with_or_without_its_end(served):
    server, case = served
    row = encoded("text/csv").split(b"\n")[0]
    for body in (row, row + b"\n", row + b"\r\n"):
        answer = server.invoke(body, "text/csv", "application/json")
        assert len(json.loads(answer.text)[case.json_key]) == 1


def test_a_body_in_chunks(served):
    server, case = served
    body = encoded("text/csv")
    chunks = (body[at : at + 7] for at in range(0, len(body), 7))
    answer = server.invoke(chunks, "text/csv", "application/json")
    assert answer.status == 200
    assert len(json.loads(answer.text)[case.json_key]) == len(ROWS)


def test_mistakes_are_4xx_and_the_next_request_is_answered(served):
    server, case = served
    wrong = [
        (b"", "text/csv"),
        (b"a,b,c,d", "text/csv"),
        (b"1,2,3,4,5,6,7", "text/csv"),
        (b"1,2,3,4\n1,2", "text/csv"),
        (b"1,2,3,4", "image/png"),
        (b"1,2,3,4", "text/csv; charset=nonsense"),
        (b"\x0a\x23\xd7\xce\xff\xff\xff\xff", "application/x-recordio-protobuf"),
        (os.urandom(2000), "application/x-recordio-protobuf"),
        (encoded("application/x-recordio-protobuf")[:-9], "application/x-recordio-protobuf"),
        (b"1,2,inf,4", "text/csv"),
    ]
    for body, content_type in wrong:
        answer = server.invoke(body, content_type)
        assert answer.status in (204, 400, 415), (body, answer)
        assert "Traceback" not in answer.text
        assert len(answer.text) < 1100
    assert server.invoke(encoded("text/csv"), "text/csv", "image/png").status == 406
    assert server.request("GET", "/invocations").status == 405
    assert server.request("GET", "/elsewhere").status == 404
    assert server.invoke(encoded("text/csv"), "text/csv").status == 200


def test_a_body_over_the_limit_is_413_announced_or_not(served):
    server, _ = served
    line = encoded("text/csv").split(b"\n")[0] + b"\n"
    body = line * (7 * 1024 * 1024 // len(line))
    assert server.invoke(body, "text/csv").status == 413
    for size in (len(body), 6 * 1024 * 1024 + 1):
        chunks = (body[at : min(at + 65536, size)] for at in range(0, size, 65536))
        assert server.invoke(chunks, "text/csv").status == 413
    assert server.ping().status == 200


def test_broken_http_does_not_stop_the_server(served):
    server, _ = served
    for nonsense in (b"\x00\xff\n\n", b"POST /invocations HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"GET\r\n\r\n", b""):
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            connection.sendall(nonsense)
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:  # leaves before its body is whole
        connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n1,2")
    assert server.ping().status == 200


def test_many_clients_at_once_get_their_own_answers(served):
    server, case = served
    lines = encoded("text/csv").split(b"\n")
    (name, expected), *_ = case.expected().items()

    def ask(at):
        answer = server.invoke(lines[at % len(lines)], "text/csv", "application/jsonlines")
        return at % len(lines), json.loads(answer.text)[name]

    with ThreadPoolExecutor(16) as pool:
        for row, value in pool.map(ask, range(200)):
            np.testing.assert_allclose(value, expected[row], rtol=1e-5, atol=1e-5)


def test_the_log_tells_of_requests_and_not_of_their_content(served):
    server, _ = served
    server.invoke(b"0.123456789,2,3,4", "text/csv")
    assert "1 rows in" in server.log
    assert "0.123456789" not in server.log
