"""Our responses through the SageMaker SDK's own deserializers, and its serializers' requests through our reader."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from container.serving.app import make_app
from container.serving.request import Endpoint
from container.settings import Settings
from tests.container.fakes import Fake, Sums
from tests.interop.environments import python_of, run

pytestmark = pytest.mark.slow

ROWS = np.array([[1, 2, 3], [0.5, 0, -4], [0, 0, 0]], np.float32)

# Prints the requests, then what the SDK makes of the responses of a file.
PROGRAM = """
import base64, io, json, pathlib, sys
import numpy as np
from sagemaker.amazon.common import RecordDeserializer, RecordSerializer
from sagemaker.deserializers import CSVDeserializer, JSONDeserializer, JSONLinesDeserializer
from sagemaker.serializers import CSVSerializer, JSONLinesSerializer, JSONSerializer
rows = np.array(json.loads(sys.argv[1]), np.float32)
requests = [
    (RecordSerializer(), rows),
    (CSVSerializer(), rows),
    (JSONSerializer(), {"instances": [{"features": row} for row in rows.tolist()]}),
    (JSONLinesSerializer(), [{"features": row} for row in rows.tolist()]),
]
for serializer, data in requests:
    body = serializer.serialize(data)
    body = body.read() if hasattr(body, "read") else body
    body = body.encode() if isinstance(body, str) else bytes(body)
    print(json.dumps(["sent", serializer.CONTENT_TYPE, base64.b64encode(body).decode()]))
answers = json.loads(pathlib.Path(sys.argv[2]).read_text())
known = (RecordDeserializer(), CSVDeserializer(), JSONDeserializer(), JSONLinesDeserializer())
for deserializer in known:
    for accept in deserializer.ACCEPT:
        if accept not in answers:
            continue
        result = deserializer.deserialize(io.BytesIO(base64.b64decode(answers[accept])), accept)
        if accept == "application/x-recordio-protobuf":
            result = [{name: list(value.float32_tensor.values) for name, value in r.label.items()} for r in result]
        print(json.dumps(["read", accept, result]))
"""


@pytest.fixture(scope="module")
def client():
    return make_app(Endpoint.of(Fake, Sums(), Settings()), Settings()).test_client()


@pytest.fixture(scope="module")
def told(client, tmp_path_factory):
    """What the SDK sent and what it read, each with its media type; one process, for it takes seconds to start."""
    body = "\n".join(",".join(map(str, row)) for row in ROWS.tolist())
    answers = {}
    for accept in ("application/json", "application/jsonlines", "text/csv", "application/x-recordio-protobuf"):
        response = client.post("/invocations", data=body, content_type="text/csv", headers={"Accept": accept})
        answers[accept] = base64.b64encode(response.data).decode()
    file = tmp_path_factory.mktemp("answers") / "answers.json"
    file.write_text(json.dumps(answers))
    python = python_of("sagemaker-sdk", ["sagemaker==2.245.0"])
    output = run(python, PROGRAM, json.dumps(ROWS.tolist()), file)
    # The SDK logs to standard output, too.
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("[")]
    return {which: [line[1:] for line in lines if line[0] == which] for which in ("sent", "read")}


def test_requests_of_the_sdks_serializers_are_read(told, client):
    assert len(told["sent"]) == 4
    for content_type, body in told["sent"]:
        response = client.post("/invocations", data=base64.b64decode(body), content_type=content_type)
        assert response.status_code == 200, (content_type, response.text)
        totals = [row["total"] for row in response.json["predictions"]]
        np.testing.assert_allclose(totals, ROWS.sum(axis=1))


def test_the_sdks_deserializers_read_our_responses(told):
    totals, ends = ROWS.sum(axis=1).tolist(), ROWS[:, [0, -1]].tolist()
    rows = [{"total": total, "ends": pair} for total, pair in zip(totals, ends, strict=True)]
    assert dict(told["read"]) == {
        "application/json": {"predictions": rows},
        "application/jsonlines": rows,
        "text/csv": [[str(total), *map(str, pair)] for total, pair in zip(totals, ends, strict=True)],
        "application/x-recordio-protobuf": [{"total": [row["total"]], "ends": row["ends"]} for row in rows],
    }
