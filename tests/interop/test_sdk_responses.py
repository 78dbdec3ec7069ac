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

# Prints the requests, reads the responses of a file, prints what the SDK makes of them.
SERIALIZE = """
import base64, json, sys
import numpy as np
from sagemaker.amazon.common import RecordSerializer
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
    print(json.dumps([serializer.CONTENT_TYPE, base64.b64encode(body).decode()]))
"""

DESERIALIZE = """
import base64, io, json, pathlib, sys
from sagemaker.amazon.common import RecordDeserializer
from sagemaker.deserializers import CSVDeserializer, JSONDeserializer, JSONLinesDeserializer
answers = json.loads(pathlib.Path(sys.argv[1]).read_text())
known = (RecordDeserializer(), CSVDeserializer(), JSONDeserializer(), JSONLinesDeserializer())
for deserializer in known:
    for accept in deserializer.ACCEPT:
        if accept not in answers:
            continue
        result = deserializer.deserialize(io.BytesIO(base64.b64decode(answers[accept])), accept)
        if accept == "application/x-recordio-protobuf":
            result = [{name: list(value.float32_tensor.values) for name, value in r.label.items()} for r in result]
        print(json.dumps([accept, result]))
"""


@pytest.fixture(scope="module")
def sdk():
    return python_of("sagemaker-sdk", ["sagemaker==2.245.0"])


@pytest.fixture(scope="module")
def client():
    return make_app(Endpoint.of(Fake, Sums(), Settings()), Settings()).test_client()


def printed(output):
    """The JSON lists among the lines of ``output``; the SDK logs to standard output too."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("[")]


def test_requests_of_the_sdks_serializers_are_read(sdk, client):
    requests = printed(run(sdk, SERIALIZE, json.dumps(ROWS.tolist())))
    assert len(requests) == 4
    for content_type, body in requests:
        response = client.post("/invocations", data=base64.b64decode(body), content_type=content_type)
        assert response.status_code == 200, (content_type, response.text)
        totals = [row["total"] for row in response.json["predictions"]]
        np.testing.assert_allclose(totals, ROWS.sum(axis=1))


def test_the_sdks_deserializers_read_our_responses(sdk, client, tmp_path):
    body = "\n".join(",".join(map(str, row)) for row in ROWS.tolist())
    answers = {}
    for accept in ("application/json", "application/jsonlines", "text/csv", "application/x-recordio-protobuf"):
        response = client.post("/invocations", data=body, content_type="text/csv", headers={"Accept": accept})
        answers[accept] = base64.b64encode(response.data).decode()
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    found = dict(printed(run(sdk, DESERIALIZE, tmp_path / "answers.json")))
    totals, ends = ROWS.sum(axis=1).tolist(), ROWS[:, [0, -1]].tolist()
    rows = [{"total": total, "ends": pair} for total, pair in zip(totals, ends, strict=True)]
    assert found == {
        "application/json": {"predictions": rows},
        "application/jsonlines": rows,
        "text/csv": [[str(total), *map(str, pair)] for total, pair in zip(totals, ends, strict=True)],
        "application/x-recordio-protobuf": [{"total": [row["total"]], "ends": row["ends"]} for row in rows],
    }
