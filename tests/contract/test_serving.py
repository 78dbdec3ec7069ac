"""The `serve` command as a process, with a model of each algorithm that nobody here trained: the answers over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from algorithms.common import mxnet_files
from recordio import record_writer
from tests.container.serving.test_media import records_of
from tests.server import Server, refusing, running

WIDTH = 4
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(20, WIDTH)).round(3).astype(np.float32)
CENTERS = ROWS[:3]
COMPONENTS = np.linalg.qr(RNG.normal(size=(WIDTH, 2)))[0].astype(np.float32)
MEAN = ROWS.mean(axis=0, keepdims=True)


@dataclass(frozen=True)
class Case:
    """``make`` fills a model folder; ``expected`` are the columns that answer ``ROWS``, computed here."""

    make: Callable[[Path], None]
    expected: Callable[[], dict[str, np.ndarray]]
    json_key: str = "predictions"
    requests: tuple[str, ...] = (
        "text/csv",
        "application/json",
        "application/jsonlines",
        "application/x-recordio-protobuf",
    )


def make_kmeans(folder):
    mxnet_files.save(folder / "model_algo-1", [CENTERS])


def kmeans_answer():
    distances = np.linalg.norm(ROWS[:, None] - CENTERS, axis=2)
    return {"closest_cluster": distances.argmin(axis=1), "distance_to_cluster": distances.min(axis=1)}


def make_pca(folder):
    arrays = {"s": np.array([1, 2], np.float32), "v": COMPONENTS, "mean": MEAN}
    mxnet_files.save(folder / "model_algo-1", arrays)


def pca_answer():
    return {"projection": (ROWS - MEAN) @ COMPONENTS}


def booster():
    xgboost = pytest.importorskip("xgboost", reason="the extra xgboost is not installed")
    return xgboost.train({"max_depth": 2, "seed": 0}, xgboost.DMatrix(ROWS, ROWS.sum(axis=1)), 3)


def make_xgboost(folder):
    (folder / "xgboost-model").write_bytes(booster().save_raw("ubj"))


def xgboost_answer():
    return {"score": booster().inplace_predict(ROWS)}


CASES = {
    "kmeans": Case(make_kmeans, kmeans_answer),
    "pca": Case(make_pca, pca_answer, json_key="projections"),
    "xgboost": Case(
        make_xgboost, xgboost_answer, requests=("text/csv", "text/libsvm", "application/x-recordio-protobuf")
    ),
}


def encoded(content_type):
    """``ROWS`` as a request."""
    lists = [[float(f"{value:.3f}") for value in row] for row in ROWS]
    if content_type == "text/csv":
        return "\n".join(",".join(map(str, row)) for row in lists).encode()
    if content_type == "application/json":
        return json.dumps({"instances": [{"features": row} for row in lists]}).encode()
    if content_type == "application/jsonlines":
        return "\n".join(json.dumps({"features": row}) for row in lists).encode()
    if content_type == "text/libsvm":
        return "\n".join(" ".join(f"{at}:{value}" for at, value in enumerate(row)) for row in lists).encode()
    return record_writer.encode_records(ROWS)


def decoded(answer, case):
    """The columns of a response, in the media type that it says it has."""
    media_type = answer.headers["content-type"].split(";")[0]
    names = case.expected().keys()
    if media_type == "application/x-recordio-protobuf":
        found = records_of(answer.body)
        return {name: [[*record.label[name].float32_tensor.values] for record in found] for name in names}
    if media_type == "text/csv":
        table = np.array([[float(field) for field in line.split(",")] for line in answer.text.splitlines()])
        widths = [int(np.prod(values.shape[1:])) for values in case.expected().values()]
        return dict(zip(names, np.split(table, np.cumsum(widths)[:-1], axis=1), strict=True))
    rows = (
        json.loads(answer.text)[case.json_key]
        if media_type == "application/json"
        else [json.loads(line) for line in answer.text.splitlines()]
    )
    return {name: [row[name] for row in rows] for name in names}


@pytest.fixture(scope="module", params=CASES)
def served(request, tmp_path_factory):
    """(server, case) of each algorithm; the algorithm is recognised from the model alone."""
    base = tmp_path_factory.mktemp(request.param)
    (base / "model").mkdir()
    CASES[request.param].make(base / "model")
    with running(base) as server:
        yield server, CASES[request.param]


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


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: magic\r\n\r\n", 501),
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


@pytest.fixture
def kmeans_base(tmp_path):
    (tmp_path / "model").mkdir()
    make_kmeans(tmp_path / "model")
    return tmp_path


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_clean_and_quick(kmeans_base, how):
    with (
        running(kmeans_base, ALGORITHM="kmeans") as server,
        closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection,
    ):
        connection.request("GET", "/ping")
        connection.getresponse().read()  # and stays open, as SageMaker's does
        started = time.monotonic()
        assert server.stop(how) == 0
        assert time.monotonic() - started < 8


WITH_SLOW_WORKERS = """
import time
import gunicorn.util

def slowly(seed=gunicorn.util.seed):  # a worker seeds before it sets its signal handlers
    print("a worker starts", flush=True)
    time.sleep(1)
    seed()

gunicorn.util.seed = slowly
from container.__main__ import serve
raise SystemExit(serve())
"""


def test_a_stop_is_heard_by_workers_that_are_still_starting(kmeans_base):
    server = Server(kmeans_base, {"ALGORITHM": "kmeans"}, WITH_SLOW_WORKERS)
    try:
        while "a worker starts" not in server.log and server.process.poll() is None:
            time.sleep(0.02)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 8
    finally:
        server.process.kill()
        server.process.wait()


def test_a_request_on_the_way_is_answered_before_the_stop(kmeans_base):
    with running(kmeans_base, ALGORITHM="kmeans") as server:
        going = threading.Event()

        def slowly():
            yield b"1,2,3,4\n"
            going.set()
            time.sleep(1)
            yield b"5,6,7,8\n"

        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.invoke, slowly(), "text/csv", "text/csv")
            going.wait(10)
            time.sleep(0.3)
            assert server.stop() == 0
            assert (answer.result().status, answer.result().text.count("\n")) == (200, 2)
            assert answer.result().headers["connection"] == "close"


def test_a_killed_worker_is_replaced(kmeans_base):
    with running(kmeans_base, ALGORITHM="kmeans", SAGEMAKER_MODEL_SERVER_WORKERS="1") as server:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        (worker,) = map(int, children.read_text().split())
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 20
        status = 0
        while status != 200 and time.monotonic() < deadline:
            try:
                status = server.invoke(b"1,2,3,4").status
            except OSError:
                time.sleep(0.1)
        assert status == 200
        assert str(worker) not in children.read_text().split()


def test_the_environment_is_followed(kmeans_base):
    environment = {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "4",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1",
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "20",
    }
    with running(kmeans_base, ALGORITHM="kmeans", **environment) as server:
        parameters = json.loads(server.request("GET", "/execution-parameters").text)
        assert parameters == {"MaxConcurrentTransforms": 4, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 1}
        answer = server.invoke(encoded("text/csv"), "text/csv")
        assert answer.headers["content-type"].startswith("text/csv")
        assert len(answer.text.splitlines()) == len(ROWS)
        assert server.invoke(b"1,2,3,4\n" * 140_000, "text/csv").status == 413
        assert "1 workers" in server.log


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SAGEMAKER_BIND_TO_PORT": "http"}, "SAGEMAKER_BIND_TO_PORT: 'http' is not an integer from 1 to 65535"),
        (
            {"SAGEMAKER_MODEL_SERVER_WORKERS": "0"},
            "SAGEMAKER_MODEL_SERVER_WORKERS: '0' is not an integer of at least 1",
        ),
        ({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "image/png"}, "'image/png' is not one of application/json"),
        ({"SAGEMAKER_INFERENCE_OUTPUT": "score"}, "kmeans has no selectable outputs"),
        ({"ALGORITHM": "k-means"}, "there is no algorithm 'k-means'; there are: "),
        ({"ALGORITHM": "pca"}, "Customer Error: "),
    ],
)
def test_what_cannot_be_followed_is_said_at_the_start(kmeans_base, environment, message):
    code, log = refusing(kmeans_base, **environment)
    assert code == 1
    assert message in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("files", "environment", "message"),
    [
        ({}, {}, "There is no model to serve"),
        ({"notes.txt": b"hello"}, {}, "No algorithm of this image recognises the files"),
        ({"model_algo-1": b""}, {"ALGORITHM": "kmeans"}, "model_algo-1"),
        ({"model_algo-1": os.urandom(300)}, {"ALGORITHM": "kmeans"}, "model_algo-1"),
        ({"other": b"x"}, {"ALGORITHM": "kmeans"}, "Customer Error: "),
        ({"xgboost-model": b"not a model"}, {"ALGORITHM": "xgboost"}, "xgboost-model"),
    ],
)
def test_a_folder_without_a_usable_model_ends_the_server_with_the_reason(tmp_path, files, environment, message):
    (tmp_path / "model").mkdir()
    for name, content in files.items():
        (tmp_path / "model" / name).write_bytes(content)
    code, log = refusing(tmp_path, **environment)
    assert code == 1
    assert message in log
    assert "Traceback" not in log


def test_a_truncated_model_ends_the_server_with_the_reason(kmeans_base):
    file = kmeans_base / "model" / "model_algo-1"
    file.write_bytes(file.read_bytes()[:-5])
    code, log = refusing(kmeans_base, ALGORITHM="kmeans")
    assert (code, "Traceback" in log) == (1, False)
    assert "model_algo-1" in log
