"""Our answers beside those that Amazon's open XGBoost container gave to the same requests (golden file)."""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from algorithms.errors import ModelError
from container.serving import models
from container.serving.app import make_app
from container.serving.request import Endpoint
from container.settings import ConfigurationError, Settings
from tests.container.serving.test_media import records_of

pytest.importorskip("xgboost", reason="the extra xgboost is not installed")

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "xgboost_container.json").read_text())
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")

# Requests that theirs answers and ours refuses with 400, on purpose.
REFUSED = {
    b"1,2,3": "a missing last column is a mistake, not a missing value",
    b"1:0.5 2:-1 4:0.25": "indices count from 0 in every request; theirs shifts those of a request without index 0",
}


@cache
def client(objective, environment):
    settings = Settings.from_environment({"ALGORITHM": "xgboost", **dict(environment)})
    algorithm, model = models.load(_folder(objective), settings)
    return make_app(Endpoint.of(algorithm, model, settings), settings).test_client()


_FOLDERS: dict[str, Path] = {}


def _folder(objective):
    return _FOLDERS[objective]


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory):
    for objective, model in GOLDEN["models"].items():
        folder = tmp_path_factory.mktemp("model")
        (folder / "xgboost-model").write_bytes(base64.b64decode(model))
        _FOLDERS[objective] = folder


def name_of(case):
    body = base64.b64decode(case["body"])[:12]
    environment = ",".join(f"{name[10:]}={value}" for name, value in case["environment"].items())
    return f"{case['objective']}|{environment}|{case['content_type']}|{case['accept']}|{body!r}"


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=name_of)
def test_answers_are_those_of_the_container(case):
    body, theirs = base64.b64decode(case["body"]), base64.b64decode(case["answer"])
    response = client(case["objective"], tuple(case["environment"].items())).post(
        "/invocations",
        data=body,
        content_type=case["content_type"],
        headers={"Accept": case["accept"]} if case["accept"] else {},
    )
    if body in REFUSED:
        assert (case["status"], response.status_code) == (200, 400)
        return
    assert response.status_code == case["status"], response.text
    if response.status_code != 200:
        check_refusal(response.text, theirs.decode())
        return
    assert response.mimetype == case["answer_type"]
    if response.mimetype == "application/x-recordio-protobuf":
        check_records(response.data, theirs)
    elif case["environment"] == {"SAGEMAKER_BATCH": "true"}:  # lines, whatever was accepted
        check_text(response.text, theirs.decode())
    elif response.mimetype.startswith("application/json"):
        check_json(response.data, theirs)
    else:
        check_text(response.text, theirs.decode())


def check_refusal(ours, theirs):
    if theirs.startswith("Unable to evaluate payload provided: "):
        assert ours.startswith("Unable to evaluate payload provided: ")
    elif "is not an accepted" in theirs or theirs.startswith("Accept type"):
        assert ours.replace("; q=1", "") == theirs
    else:
        assert bool(ours) == bool(theirs)


def check_text(ours, theirs):
    """The same text except for the digits of numbers, which give the same float32 back."""
    assert NUMBER.sub("#", ours) == NUMBER.sub("#", theirs)
    same = [np.array(NUMBER.findall(text), np.float32) for text in (ours, theirs)]
    np.testing.assert_allclose(*same, rtol=2e-7)


def check_json(ours, theirs):
    lines = [[json.loads(line) for line in text.splitlines()] for text in (ours, theirs)]
    flat = [sorted_text(value) for value in lines]
    check_text(*flat)


def sorted_text(value):
    return json.dumps(value, sort_keys=True)


def check_records(ours, theirs):
    """Only the first record can be compared: theirs repeats all earlier records in each later one."""
    mine, their = records_of(ours)[0], records_of(theirs)[0]
    assert mine.label.keys() == their.label.keys()
    for key in their.label:
        np.testing.assert_allclose(
            mine.label[key].float32_tensor.values, their.label[key].float32_tensor.values, rtol=2e-7
        )


def test_the_first_of_several_models_answers_where_ensembles_are_off(tmp_path):
    import xgboost

    for number, base_score in enumerate((1.0, 3.0)):
        booster = xgboost.train(
            {"base_score": base_score, "objective": "reg:squarederror"},
            xgboost.DMatrix(np.zeros((2, 1)), [base_score] * 2),
            1,
        )
        (tmp_path / f"xgboost-model-{number}").write_bytes(booster.save_raw("ubj"))
    for ensemble, expected in (("true", 2.0), ("false", 1.0)):
        settings = Settings.from_environment({"SAGEMAKER_INFERENCE_ENSEMBLE": ensemble})
        algorithm, model = models.load(tmp_path, settings)
        client = make_app(Endpoint.of(algorithm, model, settings), settings).test_client()
        answer = client.post("/invocations", data=b"0", content_type="csv")
        assert float(answer.text) == pytest.approx(expected)


def test_an_old_pickled_model_is_refused_or_read_without_being_run(tmp_path):
    (tmp_path / "xgboost-model").write_bytes(b"cposix\nsystem\n(S'touch " + str(tmp_path / "run").encode() + b"'\ntR.")
    with pytest.raises(ModelError):
        models.load(tmp_path, Settings(algorithm="xgboost"))
    assert not (tmp_path / "run").exists()


def answer_of(objective, environment, accept=None):
    response = client(objective, tuple(environment.items())).post(
        "/invocations",
        data=b"1,2,3,4\n4,3,2,1\n",
        content_type="text/csv",
        headers={"Accept": accept} if accept else {},
    )
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("version", ["1", "0.72", "0.90-1", "0.90-2", "1.0-1", "1.2-1"])
@pytest.mark.parametrize("objective", list(GOLDEN["models"]))
def test_images_before_1_2_2_answer_on_one_line(version, objective):
    """As ``",".join(map(str, predictions.tolist()))`` in their serve.py writes it, which notebooks split at commas."""
    newest = answer_of(objective, {}).text.splitlines()
    listed = [f"[{line.replace(',', ', ')}]" if "," in line else line for line in newest]
    for accept in (None, "application/json", "text/csv", "application/csv", "image/png"):  # which they do not read
        old = answer_of(objective, {"SAGEMAKER_IMAGE_VERSION": version}, accept)
        assert (old.mimetype, old.text) == ("text/csv", ",".join(listed))
    both = {"SAGEMAKER_BATCH": "true"}
    for accept in (None, "application/jsonlines", "application/csv"):
        batch = answer_of(objective, both | {"SAGEMAKER_IMAGE_VERSION": version}, accept)
        assert (batch.mimetype, batch.data) == ("text/csv", answer_of(objective, both).data)


@pytest.mark.parametrize("version", ["1.2-2", "1.3-1", "1.5-1", "1.7-1", "3.0-5"])
def test_images_from_1_2_2_on_answer_line_by_line(version):
    objective = next(iter(GOLDEN["models"]))
    assert answer_of(objective, {"SAGEMAKER_IMAGE_VERSION": version}).data == answer_of(objective, {}).data


@pytest.mark.parametrize("version", ["latest", "1.2.2", "1.2-", "-1", "v1.2-1"])
def test_what_is_no_version_of_an_image_is_refused(version):
    with pytest.raises(ConfigurationError, match="SAGEMAKER_IMAGE_VERSION.*as in 1.2-1"):
        Settings.from_environment({"SAGEMAKER_IMAGE_VERSION": version})
