"""The `serve` command as a process: its start, its environment, its stop."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from container.serving import connection
from container.serving import server as serving
from tests.contract.serving_cases import (
    ROWS,
    encoded,
    make_kmeans,
)
from tests.server import Server, refusing, running

WAITED = min(serving.STOP_SECONDS, connection.KEEP_ALIVE_SECONDS)
"""Seconds that a stop takes which waits for clients or for workers. One that does not takes less than a second, but on
a busy machine."""


@pytest.fixture
def kmeans_base(tmp_path):
    (tmp_path / "model").mkdir()
    make_kmeans(tmp_path / "model")
    return tmp_path


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_clean_and_quick(kmeans_base, how):
    with (
        running(kmeans_base, fresh=True, ALGORITHM="kmeans") as server,
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as client,
    ):
        client.request("GET", "/ping")
        client.getresponse().read()  # and stays open, as SageMaker's does
        started = time.monotonic()
        assert server.stop(how) == 0
        assert time.monotonic() - started < WAITED


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
        assert time.monotonic() - started < WAITED
    finally:
        server.process.kill()
        server.process.wait()


def test_a_request_on_the_way_is_answered_before_the_stop(kmeans_base):
    with running(kmeans_base, ALGORITHM="kmeans", SAGEMAKER_MODEL_SERVER_WORKERS="1") as server:
        going, stopping = threading.Event(), threading.Event()

        def slowly():
            yield b"1,2,3,4\n"
            going.set()
            stopping.wait(60)
            yield b"5,6,7,8\n"

        def in_time():
            """The rest of the request, when the one worker no longer takes others."""
            with contextlib.suppress(ConnectionError):
                while True:
                    server.ping()
                    time.sleep(0.02)
            stopping.set()

        with ThreadPoolExecutor(2) as pool:
            answer = pool.submit(server.invoke, slowly(), "text/csv", "text/csv")
            assert going.wait(60)
            for _ in range(2):
                server.ping()  # which comes after it
            pool.submit(in_time)
            assert server.stop() == 0
            assert (answer.result().status, answer.result().text.count("\n")) == (200, 2)
            assert answer.result().headers["connection"] == "close"


def test_a_killed_worker_is_replaced(kmeans_base):
    with running(kmeans_base, ALGORITHM="kmeans", SAGEMAKER_MODEL_SERVER_WORKERS="1") as server:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        (worker,) = map(int, children.read_text().split())
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 120
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
        ({"notes.txt": b"hello"}, {}, "No algorithm that is installed here recognises the files"),
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
