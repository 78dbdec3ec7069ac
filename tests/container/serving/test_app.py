"""The application around a tiny algorithm: end points, statuses, texts, and a storm of malformed requests."""

from __future__ import annotations

import json
import logging
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from container.resources import processes
from container.serving.app import execution_parameters, make_app
from container.serving.request import Endpoint
from container.settings import MIB, Settings
from recordio import record_writer
from tests.container.fakes import Fake, LikeXGBoost, Sums

TYPES = [
    "text/csv",
    "text/csv; label_size=1",
    "text/csv; charset=utf-16",
    "application/json",
    "application/jsonlines",
    "application/x-recordio-protobuf",
    "text/libsvm",
    None,
]


def client_of(algorithm=Fake, **changed):
    settings = replace(Settings(), **changed)
    return make_app(Endpoint.of(algorithm, Sums(), settings), settings).test_client()


@pytest.fixture(scope="module")
def client():
    return client_of()


@pytest.fixture(scope="module")
def like_xgboost():
    return client_of(LikeXGBoost)


def post(client, body, content_type="text/csv", **headers):
    return client.post("/invocations", data=body, content_type=content_type, headers=headers)


def test_a_model_of_another_name_is_refused_with_the_name_of_the_one_that_is_here(client):
    response = client.get("/v2/models/digits")
    assert response.status_code == 404
    assert response.json == {"error": "there is no model 'digits' of version 1; the model here is 'fake', of version 1"}


def test_ping_answers_without_a_body(client):
    response = client.get("/ping")
    assert (response.status_code, response.data) == (200, b"")


def test_execution_parameters(client):
    response = client.get("/execution-parameters")
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert response.json == {
        "MaxConcurrentTransforms": processes(),
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": 6,
    }


def test_execution_parameters_follow_the_environment():
    environment = {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "3",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "20",
    }
    assert execution_parameters(Settings.from_environment(environment)) == {
        "MaxConcurrentTransforms": 3,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": 20,
    }


def test_local_mode_is_not_told_the_strategy_that_it_would_refuse():
    """The SageMaker SDK's local mode knows MultiRecord and SingleRecord only, and takes the first unless told."""
    local = Settings.from_environment({"SAGEMAKER_BATCH": "True"})
    assert local.batch
    assert "BatchStrategy" not in execution_parameters(local)
    assert "BatchStrategy" in execution_parameters(Settings.from_environment({"SAGEMAKER_BATCH": "true"}))


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_csv_in_json_out(client, accept):
    response = post(client, b"1,2,3\n4,5,6\n", **({"Accept": accept} if accept else {}))
    assert (response.status_code, response.content_type) == (200, "application/json")
    assert response.json == {
        "predictions": [{"total": 6.0, "ends": [1.0, 3.0]}, {"total": 15.0, "ends": [4.0, 6.0]}],
    }


def test_the_environment_chooses_the_default_answer():
    chosen = client_of(default_accept="text/csv")
    assert post(chosen, b"1,2,3").data == b"6.0,1.0,3.0\n"
    assert post(chosen, b"1,2,3", Accept="application/jsonlines").data == b'{"total": 6.0, "ends": [1.0, 3.0]}\n'


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404),
        ("/models", "GET", 404),
        ("/invocations/", "POST", 404),
        ("/invocations", "GET", 405),
        ("/ping", "POST", 405),
        ("/execution-parameters", "PUT", 405),
    ],
)
def test_other_paths_and_methods(client, path, method, status):
    response = client.open(path, method=method)
    assert response.status_code == status
    assert response.mimetype == "text/plain"
    assert len(response.text) < 300
    assert ("Allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "text"),
    [
        (b"", "text/csv", "*/*", 400, "no body"),
        (b"1,2,3", "image/png", "*/*", 415, "Content-Type header value 'image/png' not supported"),
        (b"1,2,3", None, "*/*", 415, "Content-Type"),
        (b"1,2,x", "text/csv", "*/*", 400, "x"),
        (b"1,2,3\n1,2", "text/csv", "*/*", 400, "2"),
        (b"1,2", "text/csv", "*/*", 400, "3"),
        (b"1,2,3,4,5", "text/csv", "*/*", 400, "3"),
        (b"1,,3", "text/csv", "*/*", 400, ""),
        (b"1,nan,3", "text/csv", "*/*", 400, ""),
        (b"a,b,c\n1,2,3", "text/csv", "*/*", 400, ""),
        (b"{", "application/json", "*/*", 400, ""),
        (b"[]", "application/json", "*/*", 400, "instances"),
        (b'{"instances": [{"features": [1, 2]}]}', "application/json", "*/*", 400, "3"),
        (b'{"features": "x"}', "application/jsonlines", "*/*", 400, ""),
        (b"\x00" * 8, "application/x-recordio-protobuf", "*/*", 400, ""),
        (bytes.fromhex("0a23d7ceffffffff"), "application/x-recordio-protobuf", "*/*", 400, ""),
        (b"1,2,3", "text/csv", "image/png", 406, "Accept type image/png is not supported"),
        (b"6,6,6", "text/csv", "*/*", 400, "a row of sixes has no sum"),
    ],
)
def test_the_clients_mistakes(client, body, content_type, accept, status, text):
    response = post(client, body, content_type, Accept=accept)
    assert response.status_code == status, response.text
    assert text in response.text
    assert "Traceback" not in response.text
    assert post(client, b"1,2,3").status_code == 200


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "text"),
    [
        (b"", "text/csv", "*/*", 204, ""),
        (b"0:1 2:3", None, "text/csv", 200, "4.0,1.0,3.0\n"),
        (b"0:1 2:3", "libsvm", "*/*", 200, "4.0,1.0,3.0\n"),
        (b"1,2,3", "application/json", "*/*", 415, "application/json is not an accepted ContentType: csv, libsvm"),
        (b"a,b", "text/csv", "*/*", 415, "Loading data failed: "),
        (b"1,2,3", "text/csv; label_size=0", "*/*", 415, "label_size must be equal to 1"),
        (b"1,2", "text/csv", "*/*", 400, "Unable to evaluate payload provided: "),
        (b"6,6,6", "text/csv", "*/*", 400, "Unable to evaluate payload provided: a row of sixes"),
        (b"1,2,3", "text/csv", "text/html", 406, "Accept type text/html is not supported"),
    ],
)
def test_the_habits_of_xgboosts_container(like_xgboost, body, content_type, accept, status, text):
    response = post(like_xgboost, body, content_type, Accept=accept)
    assert response.status_code == status, response.text
    assert response.text.startswith(text) or (status == 415 and text in response.text)


def test_the_rows_are_judged_before_accept(like_xgboost):
    assert post(like_xgboost, b"a,b", Accept="text/html").status_code == 415
    assert post(like_xgboost, b"6,6,6", Accept="text/html").status_code == 406  # and Accept before predicting


def test_selected_outputs():
    selecting = client_of(LikeXGBoost, inference_outputs=("pair", "label"))
    assert post(selecting, b"1,2,3", Accept="application/json").json == {
        "predictions": [{"pair": [0.25, 0.75], "label": 1}],
    }
    assert post(selecting, b"1,2,3", Accept="text/csv").data == b'"[0.25, 0.75]",1'


@pytest.mark.parametrize("accept", ["application/json", "application/jsonlines", "text/csv"])
def test_a_selected_output_that_is_not_finite_is_refused_as_a_score_is(accept, monkeypatch):
    """One without meaning for the objective is NaN in every row, as XGBoost's container writes it."""
    selecting = client_of(LikeXGBoost, inference_outputs=("label", "nothing"))
    found = {"label": np.array([1, 2]), "nothing": np.full(2, np.nan), "score": np.array([1, 2], np.float32)}
    monkeypatch.setattr(Sums, "select", lambda self, batch, names: found)
    assert post(selecting, b"1,2,3\n1,2,3", Accept=accept).text.lower().count("nan") == 2
    for value in (np.inf, np.nan):
        found["score"][1] = value
        response = post(selecting, b"1,2,3\n1,2,3", Accept=accept)
        assert response.status_code == 400
        assert "score of row 2 is not a finite number" in response.text


def test_an_inner_error_says_nothing_of_the_inside(client, caplog):
    with caplog.at_level(logging.ERROR, logger="container"):
        response = post(client, b"7,7,7")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "secret of the inside" in caplog.text
    assert post(client, b"1,2,3").status_code == 200


def test_a_body_over_the_limit_is_refused():
    limited = client_of(max_payload=20)
    assert post(limited, b"1,2,3\n" * 3).status_code == 200
    response = post(limited, b"1,2,3\n" * 4)
    assert (response.status_code, response.mimetype) == (413, "text/plain")
    unlimited = client_of(max_payload=None)
    line = b"1." + b"0" * 60 + b",2,3\n"
    assert post(unlimited, line * (7 * MIB // len(line))).status_code == 200


def test_the_log_has_no_payload(client, caplog):
    with caplog.at_level(logging.INFO, logger="container"):
        post(client, b"123.25,2,3")
    assert "1 rows" in caplog.text
    assert "123.25" not in caplog.text


def check_still_alive(client):
    assert post(client, b"1,2,3").json == {"predictions": [{"total": 6.0, "ends": [1.0, 3.0]}]}


def valid_body(content_type):
    return {
        "application/json": b'{"instances": [{"features": [1, 2, 3]}, {"data": {"features": {"values": [1, 2, 3]}}}]}',
        "application/jsonlines": b'{"data": {"features": {"keys": [0, 2], "shape": [3], "values": [1, 4]}}}\n' * 2,
        "application/x-recordio-protobuf": record_writer.encode_records(np.float32([[1, 2, 3]] * 3)),
        "text/libsvm": b"1 0:1 2:3\n0 1:5\n",
        None: b"0:1 2:3\n1:5\n",
    }.get(content_type, b"1,2,3\n4,5,6\n")


def mutate(body, rng):
    """``body`` with a few bytes replaced, removed, inserted, repeated or cut off."""
    changed = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        length = rng.choice([1, 1, 2, 4, 16])
        kind = rng.randrange(5)
        if kind == 0:
            changed[at : at + length] = rng.randbytes(length)
        elif kind == 1:
            del changed[at : at + length]
        elif kind == 2:
            changed[at:at] = rng.choice(
                [b"nan", b"1e999", b"-", b",", b"\n", b"\xff\xff\xff\xff", b"{", b'"', b"\0", b":"]
            )
        elif kind == 3:
            changed[at:at] = changed[at : at + length] * 3
        else:
            del changed[at:]
    return bytes(changed)


@pytest.mark.parametrize("algorithm", [Fake, LikeXGBoost])
@pytest.mark.parametrize("content_type", TYPES)
def test_no_malformed_body_is_the_servers_fault(algorithm, content_type):
    client, rng = client_of(algorithm), random.Random(0)
    body = valid_body(content_type)
    for _ in range(400):
        response = post(client, mutate(body, rng), content_type)
        assert response.status_code in (200, 204, 400, 415), response.text
    assert post(client, b"1,2,3").status_code == 200


MANY = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@MANY
@given(st.binary(max_size=200), st.sampled_from(TYPES), st.one_of(st.none(), st.text(st.characters(codec="latin-1"))))
def test_no_random_request_is_the_servers_fault(client, body, content_type, accept):
    headers = {} if accept is None else {"Accept": "".join(c for c in accept if c not in "\r\n")}
    response = post(client, body, content_type, **headers)
    assert response.status_code in (200, 400, 406, 415), response.text


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"instances":' * 10_000,
        b'{"instances": [{"features": [1' + b"0" * 5000 + b", 2, 3]}]}",
        b'{"instances": [{"features": [1e999, 2, 3]}]}',
        b'{"instances": [{"features": [NaN, 2, 3]}]}',
        b'{"instances": [{"data": {"features": {"keys": [0], "shape": [1000000000000], "values": [1]}}}]}',
        b'{"instances": [{"data": {"features": {"keys": [-1], "shape": [3], "values": [1]}}}]}',
        b'{"instances": [{"features": [[1, 2, 3]]}]}',
        b'{"instances": [{"features": "\xff"}]}',
        b"\xef\xbb\xbf[]",
        b"null",
    ],
)
def test_hostile_json(client, body):
    assert post(client, body, "application/json").status_code == 400
    assert post(client, b"1,2,3").status_code == 200


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["features", "data", "values", "keys", "shape", "instances"]), inner, max_size=4
        ),
    ),
    max_leaves=20,
)


@MANY
@given(JSON_VALUES)
def test_no_json_is_the_servers_fault(client, value):
    for content_type, body in (
        ("application/json", json.dumps(value)),
        ("application/json", json.dumps({"instances": [value]})),
        ("application/jsonlines", json.dumps(value)),
    ):
        response = post(client, body.encode(), content_type)
        assert response.status_code in (200, 400), response.text
