"""A request becomes a response without a server: parameters, dialects, and what is refused before predicting."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from algorithms import registry
from algorithms.errors import PredictionError
from algorithms.factorization_machines.model import FactorizationMachine
from algorithms.interface import IMAGES, JSON, JSON_LINES, PNG, RECORDIO
from algorithms.kmeans.model import KMeansModel
from algorithms.linear_learner.model import LinearModel
from algorithms.loading import LoadedModel
from container.serving.request import Endpoint, Request, respond
from container.settings import Settings
from recordio import record_message
from recordio.framing import write_frame
from tests.container.fakes import Fake, Sums
from tests.container.serving.test_media import records_of


class Watched(Sums):
    """Notes what it was asked."""

    def __init__(self):
        self.asked = []

    def predict(self, batch, parameters=None):
        self.asked.append((len(batch), dict(parameters)))
        return super().predict(batch)


class Seen(Sums):
    """Answers an image with its first two bytes."""

    feature_dim = None

    def predict(self, batch, parameters=None):
        return {"prediction": np.array([[value[0], value[1]] for value in batch.values], np.float32) / 4}


class Pictures(Fake):
    serving = replace(Fake.serving, accepts=(PNG,), answers=(JSON, JSON_LINES), takes=IMAGES, dialect="images")


def test_parameters_of_accept_reach_the_model():
    model = Watched()
    endpoint = Endpoint.of(Fake, model, Settings())
    for accept in ("application/json; verbose=true", "text/csv;q=0.1, application/json ;verbose=true;q=0.5", None):
        assert respond(Request(b"1,2,3", "text/csv", accept), endpoint).status == 200
    assert model.asked == [(1, {"verbose": "true"}), (1, {"verbose": "true"}), (1, {})]


def test_an_accept_that_cannot_be_met_is_refused_before_predicting():
    model = Watched()
    response = respond(Request(b"1,2,3", "text/csv", "image/png"), Endpoint.of(Fake, model, Settings()))
    assert (response.status, model.asked) == (406, [])
    assert all(media in response.body.decode() for media in Fake.serving.answers)


class WithoutCsv(Fake):
    serving = replace(Fake.serving, answers=(JSON, JSON_LINES))


@pytest.mark.parametrize(("dialect", "status"), [("sagemaker", 200), ("images", 406)])
def test_csv_that_an_algorithm_has_no_answer_in_is_answered_as_its_family_does(dialect, status):
    """By the linear learner in JSON, as a client of SageMaker's saw it: issue 993 of aws/sagemaker-python-sdk."""

    class Asked(WithoutCsv):
        serving = replace(WithoutCsv.serving, dialect=dialect)

    response = respond(Request(b"1,2,3", "text/csv", "text/csv"), Endpoint.of(Asked, Sums(), Settings()))
    assert response.status == status
    assert (response.media_type == JSON) == (status == 200)


@pytest.mark.parametrize(("dialect", "kept"), [("sagemaker", True), ("xgboost", False)])
def test_a_record_is_answered_with_its_identity(dialect, kept):
    """``uid`` and ``metadata``, as the guide's "Common data formats for inference" shows them."""

    class Asked(Fake):
        serving = replace(Fake.serving, dialect=dialect)

    asked = [record_message.message(np.float32([n, 0, 1])) for n in range(3)]
    for number, record in enumerate(asked[:2]):
        record.uid, record.metadata = f"row {number}", '{"created_at": "2017-06-03"}'
    asked[0].configuration = "{}"
    body = b"".join(framed(record.SerializeToString()) for record in asked)
    endpoint = Endpoint.of(Asked, Sums(), Settings())
    response = respond(Request(body, RECORDIO, RECORDIO), endpoint)
    found = records_of(response.body)
    assert [record.label["total"].float32_tensor.values[0] for record in found] == [1, 2, 3]
    assert [record.uid for record in found] == (["row 0", "row 1", ""] if kept else ["", "", ""])
    assert [record.metadata for record in found] == [record.metadata if kept else "" for record in asked]
    assert not any(record.HasField("configuration") or len(record.features) for record in found)
    for record in asked:
        record.ClearField("uid")
        record.ClearField("metadata")
    plain = b"".join(framed(record.SerializeToString()) for record in asked)
    assert (
        respond(Request(plain, RECORDIO, RECORDIO), endpoint).body
        == respond(Request(b"0,0,1\n1,0,1\n2,0,1\n", "text/csv", RECORDIO), endpoint).body
    )
    assert json.loads(respond(Request(body, RECORDIO, JSON), endpoint).body)["predictions"][2]["total"] == 3


def framed(record: bytes) -> bytes:
    stream = io.BytesIO()
    write_frame(stream, record)
    return stream.getvalue()


@pytest.mark.parametrize("accept", [None, "*/*"])
def test_images_in_batch_transform_are_answered_as_notebooks_read_them(accept):
    """``json.load(f)["prediction"]``, in four of Amazon's notebooks; a real-time endpoint answers a bare list."""
    alone = respond(Request(b"\1\2", "image/png", accept), Endpoint.of(Pictures, Seen(), Settings()))
    assert json.loads(alone.body) == [0.25, 0.5]
    batch = Endpoint.of(Pictures, Seen(), Settings.from_environment({"SAGEMAKER_BATCH": "true"}))
    response = respond(Request(b"\1\2", "image/png", accept), batch)
    assert json.loads(response.body)["prediction"] == [0.25, 0.5]
    assert json.loads(respond(Request(b"\1\2", "image/png", JSON), batch).body) == [0.25, 0.5]
    chosen = Settings.from_environment({"SAGEMAKER_BATCH": "true", "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": JSON})
    response = respond(Request(b"\1\2", "image/png", accept), Endpoint.of(Pictures, Seen(), chosen))
    assert json.loads(response.body) == [0.25, 0.5]


def test_short_memory_is_507():
    class Hungry(Sums):
        def predict(self, batch, parameters=None):
            raise MemoryError

    assert respond(Request(b"1,2,3", "text/csv"), Endpoint.of(Fake, Hungry(), Settings())).status == 507


def test_an_error_that_quotes_half_of_a_surrogate_pair_is_told():
    class Quotes(Sums):
        def predict(self, batch, parameters=None):
            raise PredictionError("no \ud800")

    answer = respond(Request(b"1,2,3", "text/csv"), Endpoint.of(Fake, Quotes(), Settings()))
    assert (answer.status, answer.body[-9:]) == (400, rb"no \ud800")


HUGE = np.float32(3e38)
"""Finite in float32, and its product with 2 is not."""
BEYOND = {
    "regressor": ("linear-learner", LinearModel(np.full((1, 2), HUGE), np.zeros(1, np.float32), "regressor", "")),
    "classes": (
        "linear-learner",
        LinearModel(np.full((3, 2), HUGE), np.zeros(3, np.float32), "multiclass_classifier", ""),
    ),
    "pairs": (
        "factorization-machines",
        FactorizationMachine(
            np.zeros(1, np.float32), np.ones(2, np.float32), np.full((2, 3), np.float32(1e19)), "regressor"
        ),
    ),
    "centers": ("kmeans", KMeansModel(np.full((2, 2), HUGE / 3))),
}


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("accept", [JSON, JSON_LINES])
def test_an_answer_beyond_float32_is_refused_by_name_instead_of_written_as_nan(name, accept):
    """JSON has neither NaN nor Infinity (RFC 8259, section 6)."""
    algorithm, model = registry.find(BEYOND[name][0]), BEYOND[name][1]
    body = b'{"instances": [{"features": [0, 0]}, {"features": [2, -3e38]}]}'
    response = respond(Request(body, JSON, accept), Endpoint.of(algorithm, model, Settings()))
    assert response.status == 400
    assert "of row 2 is not a finite number" in response.body.decode()
    with pytest.raises(PredictionError, match="of row 2 is not a finite number"):
        LoadedModel(algorithm, model).predict([[0, 0], [2, -3e38]])
