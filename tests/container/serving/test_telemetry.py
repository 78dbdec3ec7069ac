"""What a platform sees of a server: metrics of all its workers, request identities, and logs as JSON."""

from __future__ import annotations

import inspect
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from algorithms.common import mxnet_files
from container.serving import connection, multi_model, worker
from container.serving.telemetry import Metrics, observe
from container.settings import Settings
from tests.server import refusing, running

ROW = b"1,2\n"


def numbers(text):
    """Each sample of a page of metrics, by its name and its labels' values."""
    families = text_string_to_metric_families(text)
    return {
        (one.name, *(value for name, value in sorted(one.labels.items()) if name != "le" or value == "+Inf")): one.value
        for family in families
        for one in family.samples
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("served")
    (base / "model").mkdir()
    mxnet_files.save(base / "model" / "model_algo-1", [np.eye(3, 2, dtype=np.float32)])
    return base


def test_what_keeps_a_server_from_starting_is_an_object_too(folder):
    code, log = refusing(folder, OBA_LOG_FORMAT="json", SAGEMAKER_BIND_TO_PORT="http", ALGORITHM="kmeans")
    (line,) = map(json.loads, log.splitlines())
    assert (code, line["level"]) == (1, "ERROR") and "SAGEMAKER_BIND_TO_PORT: 'http'" in line["message"]


def test_the_numbers_are_those_of_all_workers_together(folder):
    with running(folder, SAGEMAKER_MODEL_SERVER_WORKERS="3", OBA_LOG_FORMAT="json") as server:
        first = numbers(server.request("GET", "/metrics").text)
        pings = first[("oba_requests_total", "/ping", "200")]
        assert first[("oba_refused_total", "400")] == 0  # so that the first one is an increase
        with ThreadPoolExecutor(8) as pool:
            assert {one.status for one in pool.map(lambda _: server.invoke(3 * ROW), range(40))} == {200}
            assert {one.status for one in pool.map(lambda _: server.invoke(b"text"), range(5))} == {400}
        body = json.dumps({"inputs": [{"name": "features", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}]})
        assert server.request("POST", "/v2/models/kmeans/infer", body.encode()).status == 200
        assert server.request("GET", "/wp-login.php").status == 404
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 400")
        page = server.request("GET", "/metrics")
        assert page.headers["content-type"].startswith("text/plain; version=")
        found = numbers(page.text)
        assert found[("oba_requests_total", "/invocations", "200")] == 40
        assert found[("oba_requests_total", "/invocations", "400")] == 5
        assert found[("oba_request_seconds_count", "/invocations")] == 45
        assert found[("oba_request_seconds_bucket", "+Inf", "/invocations")] == 45
        assert 0 < found[("oba_request_seconds_sum", "/invocations")] < 45 * 10
        assert found[("oba_rows_total",)] == 3 * 40 + 2
        assert found[("oba_requests_total", "other", "404")] == 1
        assert found[("oba_refused_total", "400")] == 1
        assert found[("oba_model_loads_total", "ok")] == found[("oba_models",)] == 1
        assert found[("oba_requests_waiting",)] == 0
        assert found[("oba_requests_computing",)] == 1  # the page itself
        assert found[("oba_requests_total", "/ping", "200")] == pings  # a scrape is none of a ping's
        identities = {server.invoke(ROW).headers["x-request-id"] for _ in range(3)}
        assert len(identities) == 3
        lines = [json.loads(line) for line in server.log.splitlines()]
    assert identities <= {line.get("request_id") for line in lines}
    assert {"time", "level", "message"} <= set.intersection(*(set(line) for line in lines))
    assert any(line["level"] == "WARNING" and line["message"].startswith("400") for line in lines)


def test_every_status_of_a_refusal_is_told_from_the_start():
    refusals = re.findall(r"_refuse\(\w+, HTTPStatus\.(\w+)", inspect.getsource(worker))
    statuses = {HTTPStatus[name] for name in refusals} | {connection.status_of(ValueError())}
    statuses |= set(connection._STATUSES.values())
    found = {
        key[1]: value for key, value in numbers(Metrics().text().decode()).items() if key[0] == "oba_refused_total"
    }
    assert found == {str(status.value): 0 for status in statuses}


def test_a_request_keeps_its_identity_and_bad_ones_are_not_repeated():
    metrics = Metrics()
    app = multi_model.make_app(Settings(multi_model=True), metrics)
    observe(app, metrics)
    client = app.test_client()
    given = {"X-Amzn-SageMaker-Inference-Id": "mine-1", "X-Amzn-Trace-Id": "Root=1-2-3"}
    answer = client.get("/ping", headers=given)
    assert {name: answer.headers[name] for name in given} == given
    assert answer.headers["X-Request-Id"] == "mine-1"
    answer = client.get("/nothing", headers={"X-Request-Id": "x" * 300})
    assert answer.status_code == 404
    assert len(answer.headers["X-Request-Id"]) == 32


def test_models_that_come_and_go_are_counted(folder):
    metrics = Metrics()
    app = multi_model.make_app(Settings(multi_model=True, base_directory=folder), metrics)
    observe(app, metrics)
    client = app.test_client()
    for name in ("one", "two"):
        request = {"model_name": name, "url": str(folder / "model")}
        assert client.post("/models", json=request).status_code == 200
    assert client.post("/models", json={"model_name": "three", "url": str(folder / "absent")}).status_code == 400
    assert client.delete("/models/one").status_code == 200
    found = numbers(client.get("/metrics").text)
    assert (found[("oba_model_loads_total", "ok")], found[("oba_model_loads_total", "error")]) == (2, 1)
    assert found[("oba_models",)] == 1
    assert found[("oba_requests_total", "/models/<name>", "200")] == 1
