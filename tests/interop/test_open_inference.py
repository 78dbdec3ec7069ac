"""The open inference protocol, spoken by Triton's own client, to all nine algorithms on a multi-model server."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from algorithms import registry
from algorithms.interface import Items
from recordio.batches import Batch
from tests.algorithms import cases
from tests.algorithms.samples import picture
from tests.contract.serving_cases import CASES, ROWS
from tests.contract.test_multi_model import OTHERS, load, save, trained
from tests.interop.environments import python_of, run
from tests.server import running

pytestmark = pytest.mark.slow

CLIENT = """
import base64, json, sys
import numpy as np
import tritonclient.http as http

port, file = sys.argv[1:]
client = http.InferenceServerClient(f"127.0.0.1:{port}")
assert client.is_server_live() and client.is_server_ready()
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
assert not client.is_model_ready("no such model")
found = []
for query in json.load(open(file)):
    name, datatype, shape = query["model"], query["datatype"], query["shape"]
    assert client.is_model_ready(name) and client.is_model_ready(name, "1")
    described = client.get_model_metadata(name)
    if datatype == "BYTES":
        values = np.array([base64.b64decode(text) for text in query["values"]], object).reshape(shape)
    else:
        dtype = {"FP32": np.float32, "FP64": np.float64, "UINT8": np.uint8, "INT64": np.int64}[datatype]
        values = np.array(query["values"], dtype).reshape(shape)
    for binary_in in (False, True) if query["json"] else (True,):
        for binary_out in (False, True):
            tensor = http.InferInput(query["input"], shape, datatype)
            tensor.set_data_from_numpy(values, binary_data=binary_in)
            outputs = [http.InferRequestedOutput(one, binary_data=binary_out) for one in query["outputs"]]
            result = client.infer(
                name, [tensor], outputs=outputs, request_id="7", parameters=query.get("parameters")
            )
            assert result.get_response()["id"] == "7"
            answer = {one: result.as_numpy(one) for one in query["outputs"]}
            plain = {
                one: [text.decode() if isinstance(text, bytes) else text for text in array.tolist()]
                if array.dtype == object
                else array.tolist()
                for one, array in answer.items()
            }
            found.append({"model": name, "described": described, "answer": plain})
try:
    nothing = np.full((1, 4), np.nan, np.float32)
    client.infer("kmeans", [http.InferInput("x", [1, 4], "FP32").set_data_from_numpy(nothing)])
    refused = ""
except http.InferenceServerException as error:
    refused = error.message()
print(json.dumps({"found": found, "refused": refused}))
"""


@pytest.fixture(scope="module")
def python():
    return python_of("tritonclient", ["tritonclient[http]", "numpy"])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of all nine, what to ask of each, and what it should answer."""
    base = tmp_path_factory.mktemp("nine")
    queries, expected = [], {}

    def add(name, rows, columns, datatype="FP32", **more):
        values = np.asarray(rows)
        queries.append(
            {"model": name, "input": "features", "datatype": datatype, "shape": list(values.shape),
             "values": values.ravel().tolist(), "outputs": [*columns], "json": True, **more}
        )  # fmt: skip
        expected.setdefault(name, []).append({key: np.asarray(value).tolist() for key, value in columns.items()})

    for name, case in CASES.items():
        folder = base / "models" / name / "model"
        folder.mkdir(parents=True)
        case.make(folder)
        add(name, ROWS, case.expected())
    add("kmeans", ROWS, CASES["kmeans"].expected(), "FP64")
    for name, (model, rows, column, answer) in OTHERS.items():
        save(model, base / "models" / name / "model")
        add(name, rows, {column: answer()})
    ntm = registry.find("ntm")
    case = cases.Case(ntm, ntm.configurations[0])
    model, counts = case.fit(), case.rows(1)
    save(model, base / "models" / "ntm" / "model")
    add("ntm", counts, model.predict(Batch(np.asarray(counts, np.float32))))
    model = trained("image-classification", tmp_path_factory.mktemp("images"))
    save(model, base / "models" / "image-classification" / "model")
    files = [picture(0, 90), picture(1, 91, (40, 30), "JPEG")]
    answer = {"prediction": np.stack([model.predict(Items([file]))["prediction"][0] for file in files])}
    queries.append(
        {"model": "image-classification", "input": "image", "datatype": "BYTES", "shape": [2], "json": False,
         "values": [base64.b64encode(file).decode() for file in files], "outputs": ["prediction"]}
    )  # fmt: skip
    expected["image-classification"] = [{"prediction": answer["prediction"].tolist()}]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3))
    for datatype in ("UINT8", "FP32"):
        probabilities = np.stack([model.network(one.astype(np.uint8)) for one in pixels])
        add("image-classification", pixels, {"prediction": probabilities}, datatype, input="image")
    model = trained("seq2seq", tmp_path_factory.mktemp("sentences"))
    save(model, base / "models" / "seq2seq" / "model")
    sentences = ["a b c", "d e"]
    queries.append(
        {"model": "seq2seq", "input": "source", "datatype": "BYTES", "shape": [2], "json": True,
         "values": [base64.b64encode(text.encode()).decode() for text in sentences], "outputs": ["target", "matrix"],
         "parameters": {"attention_matrix": "true"}}
    )  # fmt: skip
    made = model.predict(Items(sentences), {"attention_matrix": "true"})
    expected["seq2seq"] = [
        {"target": made["target"], "matrix": [json.dumps(matrix.tolist()) for matrix in made["matrix"]]}
    ]
    for name in registry.ALGORITHMS.keys() - expected.keys():  # who comes after the nine
        algorithm = registry.find(name)
        case = cases.Case(algorithm, algorithm.configurations[0])
        save(cases.model_of(case), base / "models" / name / "model")
        add(name, case.rows(1), cases.model_of(case).predict(Batch(case.rows(1))))
    return base, queries, expected


def test_tritons_client_asks_all_nine(python, models, tmp_path):
    base, queries, expected = models
    assert expected.keys() == registry.ALGORITHMS.keys()
    (tmp_path / "queries.json").write_text(json.dumps(queries))
    with running(base, SAGEMAKER_MULTI_MODEL="true") as server:
        for name in expected:
            assert load(server, name, base / "models" / name / "model").status == 200, name
        told = json.loads(run(python, CLIENT, str(server.port), tmp_path / "queries.json"))
        assert "Traceback" not in server.log
    for one in told["found"]:
        outputs = {output["name"]: output for output in one["described"]["outputs"]}
        matches = [wanted for wanted in expected[one["model"]] if agrees(one["answer"], wanted)]
        assert matches, (one, expected[one["model"]])
        assert one["answer"].keys() <= outputs.keys()
        assert one["described"]["inputs"][0]["shape"][0] == -1
    assert {one["model"] for one in told["found"]} == expected.keys()
    assert "feature 0" in told["refused"]


def agrees(answer, wanted):
    if answer.keys() != wanted.keys():
        return False
    for name, values in wanted.items():
        if isinstance(values[0], str):
            if answer[name] != values:
                return False
        elif np.shape(answer[name]) != np.shape(values) or not np.allclose(answer[name], values, rtol=1e-3, atol=1e-4):
            return False
    return True


def test_tritons_client_asks_a_server_of_one_model_under_the_algorithms_name(python, tmp_path):
    (tmp_path / "model").mkdir()
    CASES["kmeans"].make(tmp_path / "model")
    query = {
        "model": "kmeans", "input": "anything", "datatype": "INT64", "shape": [1, 4], "values": [1, 2, 3, 4],
        "outputs": ["closest_cluster"], "json": True,
    }  # fmt: skip
    (tmp_path / "queries.json").write_text(json.dumps([query]))
    with running(tmp_path, ALGORITHM="kmeans") as server:
        told = json.loads(run(python, CLIENT, str(server.port), tmp_path / "queries.json"))
        csv = server.invoke(b"1,2,3,4", "text/csv", "text/csv").text
    assert {one["answer"]["closest_cluster"][0] for one in told["found"]} == {int(float(csv.split(",")[0]))}
