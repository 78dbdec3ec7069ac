"""Multi-model endpoints: a real server without models, and what the platform then asks of it."""

from __future__ import annotations

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from algorithms import hyperparameters, registry
from algorithms.common import mxnet_files
from algorithms.factorization_machines.model import FactorizationMachine
from algorithms.lda.model import LDAModel
from algorithms.linear_learner.model import LinearModel
from container.serving.request import Endpoint, Request, respond
from container.settings import Settings
from tests.algorithms.fakes import FakeJob
from tests.algorithms.samples import SAMPLES
from tests.contract.multi_model import load, names
from tests.contract.serving_cases import CASES, ROWS, decoded, encoded
from tests.server import refusing, running


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Folders of a model of each algorithm, as the platform unpacks them."""
    base = tmp_path_factory.mktemp("many")
    for name, case in CASES.items():
        folder = base / "models" / name / "model"
        folder.mkdir(parents=True)
        case.make(folder)
    return base


@pytest.fixture(scope="module")
def server(base):
    with running(base, SAGEMAKER_MULTI_MODEL="true", SAGEMAKER_MODEL_SERVER_WORKERS="2") as server:
        yield server


@pytest.fixture(params=CASES)
def loaded(request, server, base):
    url = base / "models" / request.param / "model"
    assert load(server, request.param, url).status == 200
    yield request.param, url
    server.request("DELETE", f"/models/{request.param}")


def test_a_model_is_loaded_asked_and_unloaded(server, loaded):
    name, url = loaded
    assert server.ping().status == 200
    assert json.loads(server.request("GET", f"/models/{name}").text) == {"modelName": name, "modelUrl": str(url)}
    assert names(server) == ([name], None)
    assert load(server, name, url).status == 409
    case = CASES[name]
    accept = "application/jsonlines" if name == "xgboost" else "application/json"  # whose JSON has a test of its own
    headers = {"Content-Type": "text/csv", "Accept": accept, "X-Amzn-SageMaker-Target-Model": "m.tar.gz"}
    answer = server.request("POST", f"/models/{name}/invoke", encoded("text/csv"), headers)
    for column, values in decoded(answer, case).items():
        expected = case.expected()[column]
        np.testing.assert_allclose(np.reshape(values, expected.shape), expected, rtol=1e-5, atol=1e-5)
    assert server.request("POST", f"/models/{name}/invoke", b"1,x,3,4", headers).status in (400, 415)
    assert server.request("DELETE", f"/models/{name}").status == 200
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/invoke")):
        assert server.request(method, f"/models/{name}{path}", b"1,2,3,4").status == 404


def test_management_answers_as_multi_model_server_does(server, base):
    """Bodies as in aws/sagemaker-xgboost-container, test/integration/local/test_multiple_model_endpoint.py."""
    url = base / "models" / "kmeans" / "model"
    assert json.loads(load(server, "m", url).text) == {"status": "Workers scaled"}
    again = json.loads(load(server, "m", url).text)
    assert again == {"code": 409, "type": "ConflictStatusException", "message": "Model m is already registered."}
    gone = json.loads(server.request("DELETE", "/models/m").text)
    assert gone == {"status": 'Model "m" unregistered'}
    for method, path in (("GET", "/models/m"), ("DELETE", "/models/m"), ("POST", "/models/m/invoke")):
        answer = server.request(method, path, b"1,2,3,4")
        expected = {"code": 404, "type": "ModelNotFoundException", "message": "Model not found: m"}
        assert (answer.status, json.loads(answer.text)) == (404, expected)
        assert answer.headers["content-type"] == "application/json"
    assert json.loads(server.request("GET", "/elsewhere").text)["type"] == "ResourceNotFoundException"
    assert json.loads(server.request("PUT", "/models").text)["code"] == 405


def test_xgboost_answers_as_amazons_handler_does_behind_a_multi_model_server(server, base):
    """By the rules of ``algorithm_mode/handler_service.py``: json.dumps of the list, or all values joined by commas."""
    assert load(server, "x", base / "models" / "xgboost" / "model").status == 200
    scores = CASES["xgboost"].expected()["score"].tolist()

    rows = encoded("text/csv")

    def ask(body=rows, media="text/csv", **headers):
        return server.request("POST", "/models/x/invoke", body, {"Content-Type": media, **headers})

    for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        answer = ask(**accept)
        assert answer.headers["content-type"] == "application/json"
        np.testing.assert_allclose(json.loads(answer.text), scores, rtol=1e-6)
    lines = ask(Accept="text/csv").text
    assert "\n" not in lines
    np.testing.assert_allclose([float(field) for field in lines.split(",")], scores, rtol=1e-6)
    assert ask(Accept="image/png").status == 415
    assert ask(b"").status == 204
    assert (ask(b"1,2").status, ask(b"1,2").text[:38]) == (400, "Unable to evaluate payload provided: F")
    assert ask(b"1,x,3,4").status == ask(b"1", "image/png").status == 415
    assert server.request("DELETE", "/models/x").status == 200


@pytest.mark.parametrize("kind", ["fifo", "link out"])
def test_a_folder_with_a_fifo_or_a_link_out_of_the_contracts_folder_is_refused_at_once(server, base, tmp_path, kind):
    folder = Path(tempfile.mkdtemp(dir=base / "models"))
    if kind == "fifo":
        os.mkfifo(folder / "model_algo-1")
    else:
        mxnet_files.save(tmp_path / "model_algo-1", [np.ones((2, 4), np.float32)])
        (folder / "model_algo-1").symlink_to(tmp_path / "model_algo-1")
    answer = load(server, "bad", folder)
    assert answer.status == 400
    assert "Unable to load model: 'model_algo-1' in the model folder is " in json.loads(answer.text)["message"]
    assert "Traceback" not in server.log


def test_models_of_several_algorithms_answer_side_by_side(server, base):
    for name in CASES:
        assert load(server, name, base / "models" / name / "model").status == 200

    def ask(turn):
        name = [*CASES][turn % len(CASES)]
        headers = {"Content-Type": "text/csv", "Accept": "application/jsonlines"}
        answer = server.request("POST", f"/models/{name}/invoke", encoded("text/csv"), headers)
        column, expected = next(iter(CASES[name].expected().items()))
        np.testing.assert_allclose(
            np.reshape(decoded(answer, CASES[name])[column], expected.shape), expected, rtol=1e-5, atol=1e-5
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(60)))
    for name in CASES:
        assert server.request("DELETE", f"/models/{name}").status == 200


def test_one_of_many_loads_of_a_name_wins(server, base):
    url = base / "models" / "kmeans" / "model"
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(answer.status for answer in pool.map(lambda _: load(server, "same", url), range(8)))
    assert statuses == [200] + [409] * 7
    assert server.request("DELETE", "/models/same").status == 200


def test_the_list_comes_in_pages(server, base):
    expected = [f"m{number:03}" for number in range(205)]
    for name in reversed(expected):
        assert load(server, name, base / "models" / "kmeans" / "model").status == 200
    found, token = names(server)
    pages = [len(found)]
    while token:
        more, token = names(server, token)
        pages.append(len(more))
        found += more
    assert (pages, found) == ([100, 100, 5], expected)
    for name in expected:
        server.request("DELETE", f"/models/{name}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"{}",
        b'{"model_name": "a"}',
        b'{"model_name": 1, "url": "/tmp"}',
        b'{"model_name": "", "url": "/tmp"}',
        b'{"model_name": "a/b", "url": "/tmp"}',
        b'{"model_name": "..", "url": "/tmp"}',
        b'{"model_name": "a\\u0000", "url": "/tmp"}',
        b'{"model_name": "a", "url": "relative"}',
        b'{"model_name": "a", "url": "/opt/ml/models/../../../etc"}',
        b'{"model_name": "a", "url": "/nowhere/at/all"}',
        b'{"model_name": "a", "url": "/\\u0000"}',
        b'{"model_name": "a", "url": "/' + b"x" * 5000 + b'"}',
        b'{"model_name": "a", "url": "/\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_a_malformed_request_to_load_is_400(server, body):
    answer = server.request("POST", "/models", body)
    assert answer.status == 400
    assert "Traceback" not in answer.text
    assert names(server) == ([], None)


@pytest.mark.parametrize("files", [{}, {"model_algo-1": b""}, {"model_algo-1": os.urandom(50)}, {"x": b"y"}])
def test_a_folder_that_is_no_model_is_400_and_the_name_stays_free(server, base, files):
    folder = Path(tempfile.mkdtemp(dir=base / "models"))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    answer = load(server, "bad", folder)
    assert answer.status == 400
    message = json.loads(answer.text)
    assert message["message"].startswith("Unable to load model: ")
    assert (message["code"], message["type"]) == (400, "BadRequestException")
    assert server.request("GET", "/models/bad").status == 404
    assert load(server, "bad", base / "models" / "kmeans" / "model").status == 200
    assert server.request("DELETE", "/models/bad").status == 200


def test_one_worker_holds_the_models(server):
    assert "with 1 workers" in server.log
    assert "SAGEMAKER_MODEL_SERVER_WORKERS=2 is left out" in server.log
    assert len(ROWS) == 20
    assert server.request("POST", "/invocations", b"1,2,3,4").status == 404


def test_settings_that_cannot_be_followed_end_the_server(tmp_path):
    code, log = refusing(tmp_path, SAGEMAKER_MULTI_MODEL="true", ALGORITHM="k-means")
    assert (code, "there is no algorithm 'k-means'" in log) == (1, True)
    code, log = refusing(tmp_path, SAGEMAKER_MULTI_MODEL="true", SAGEMAKER_MULTI_MODEL_MEMORY_IN_MB="much")
    assert (code, "SAGEMAKER_MULTI_MODEL_MEMORY_IN_MB: 'much' is not an integer" in log) == (1, True)


# ---- the algorithms that the serving tests have no model of ---------------------------------------------------------

WEIGHT = np.float32([[1, -2, 0.5, 3]])
BIAS = np.float32([0.25])
FACTORS = np.float32([[1, 0], [0.5, -1], [2, 1], [0, 1]])
TOPICS = np.float32([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
COUNTS = np.abs(ROWS)
SCORES = ROWS @ WEIGHT[0] + BIAS


def pairs():
    return sum(FACTORS[i] @ FACTORS[j] * ROWS[:, i] * ROWS[:, j] for i in range(4) for j in range(i))


def mixture():
    halves = np.stack([COUNTS[:, :2].sum(axis=1) + 1, COUNTS[:, 2:].sum(axis=1) + 3], axis=1)
    return halves / halves.sum(axis=1, keepdims=True)


OTHERS = {
    "linear-learner": (
        LinearModel(WEIGHT, BIAS, "binary_classifier", "logistic"),
        ROWS,
        "score",
        lambda: expit(SCORES),
    ),
    "factorization-machines": (
        FactorizationMachine(BIAS, WEIGHT[0], FACTORS, "regressor"),
        ROWS,
        "score",
        lambda: SCORES + pairs(),
    ),
    "lda": (LDAModel(np.float32([1, 3]), TOPICS), COUNTS, "topic_mixture", mixture),
}


def save(model, folder):
    folder.mkdir(parents=True)
    model.save(folder)
    return folder


@pytest.mark.parametrize("name", OTHERS)
def test_linear_models_machines_and_topics_are_loaded_asked_and_unloaded(server, base, name):
    model, rows, column, expected = OTHERS[name]
    assert load(server, name, save(model, base / "models" / name / "other")).status == 200
    body = "\n".join(json.dumps({"features": row}) for row in rows.tolist()).encode()
    headers = {"Content-Type": "application/jsonlines", "Accept": "application/jsonlines"}
    answer = server.request("POST", f"/models/{name}/invoke", body, headers)
    found = [json.loads(line)[column] for line in answer.text.splitlines()]
    np.testing.assert_allclose(found, expected(), rtol=1e-3, atol=1e-4)
    assert server.request("DELETE", f"/models/{name}").status == 200
    assert names(server) == ([], None)


def trained(name, folder):
    """A model of an algorithm whose requests are no rows, from the small job of its sample."""
    algorithm, sample = registry.find(name), SAMPLES[name]
    values = hyperparameters.parse(algorithm.hyperparameters, sample.hyperparameters)
    with sample.around():
        return algorithm.fit(values, sample.channels(folder), FakeJob())


@pytest.mark.parametrize("name", SAMPLES)
def test_images_and_sentences_are_answered_as_by_the_model_alone(server, base, name, tmp_path):
    model = trained(name, tmp_path)
    assert load(server, name, save(model, base / "models" / name / "model")).status == 200
    for media, body in SAMPLES[name].requests():
        answer = server.request(
            "POST", f"/models/{name}/invoke", body, {"Content-Type": media, "Accept": "application/json"}
        )
        alone = respond(Request(body, media, "application/json"), Endpoint.of(registry.find(name), model, Settings()))
        assert (answer.status, answer.body) == (200, alone.body)
    refused = server.request("POST", f"/models/{name}/invoke", b"no", {"Content-Type": media})
    assert 400 <= refused.status < 500
    assert server.request("DELETE", f"/models/{name}").status == 200


def test_folders_outside_of_the_contracts_own_are_not_looked_at(server, base, tmp_path):
    mxnet_files.save(tmp_path / "model_algo-1", [np.ones((2, 4), np.float32)])
    answer = load(server, "outside", tmp_path)
    assert (answer.status, f"is not in {base}" in answer.text) == (400, True)
    (base / "models" / "link").symlink_to(tmp_path)
    (base / "models" / "circle").symlink_to(base / "models" / "circle")
    for name in ("link", "circle"):
        assert load(server, "outside", base / "models" / name).status == 400
    assert load(server, "outside", "/").status == 400
    assert load(server, "outside", f"{base}-not").status == 400
