"""What a user of the SageMaker Python SDK 2 writes, for several algorithms: `python sdk2_program.py CASES RESULTS`.

CASES is a JSON list of objects (see test_sdk_jobs.py); RESULTS gets a list of what each came to. Runs in the SDK's own
environment, in local mode; the cases run side by side, because the SDK waits five seconds for each endpoint.
"""

from __future__ import annotations

import json
import sys
import tarfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROLE = "arn:aws:iam::111111111111:role/SageMaker"
AT_ONCE = 4


def session(case: dict[str, Any]) -> Any:
    """A local session with a port of its own."""
    import boto3
    from sagemaker.local import LocalSession

    local = LocalSession(boto3.Session(region_name="us-east-1"))
    local.config = {"local": {"serving_port": case["port"]}}
    return local


def write_channel(case: dict[str, Any]) -> Path:
    """The training file, written as the SDK's users write it."""
    import numpy as np
    from sagemaker.amazon.common import write_numpy_to_dense_tensor

    rows = np.load(case["rows"])
    labels = np.load(case["labels"]) if case["labels"] else None
    folder = Path(case["folder"]) / "train"
    folder.mkdir()
    if case["content_type"].startswith("text/csv"):
        table = rows if labels is None else np.column_stack([labels, rows])
        np.savetxt(folder / "data.csv", table, delimiter=",", fmt="%g")
    else:
        with (folder / "data.pbr").open("wb") as file:
            write_numpy_to_dense_tensor(file, rows, labels)
    return folder


def fit(case: dict[str, Any]) -> Any:
    """Train; the fitted estimator."""
    from sagemaker.estimator import Estimator
    from sagemaker.inputs import TrainingInput

    estimator = Estimator(
        image_uri=case["image"],
        role=ROLE,
        instance_count=case["hosts"],
        instance_type="local",
        output_path=f"file://{case['folder']}",
        hyperparameters=case["hyperparameters"],
        sagemaker_session=session(case),
    )
    channel = TrainingInput(f"file://{write_channel(case)}", content_type=case["content_type"])
    estimator.fit({"train": channel})
    return estimator


def predict(case: dict[str, Any], estimator: Any) -> Any:
    """Deploy, ask for the first rows through the predictor that the case names, and delete the endpoint."""
    import numpy as np
    import sagemaker
    from sagemaker.deserializers import JSONDeserializer
    from sagemaker.serializers import CSVSerializer

    rows = np.load(case["rows"])[: case["asked"]]
    # The local endpoint answers when the call returns; the SDK would look whether it does 30 seconds later.
    if case["model"]:
        model = getattr(sagemaker, case["model"])(estimator.model_data, ROLE, sagemaker_session=session(case))
        predictor = model.deploy(1, "local", wait=False)
    else:
        predictor = estimator.deploy(
            1, "local", serializer=CSVSerializer(), deserializer=JSONDeserializer(), wait=False
        )
    try:
        if case["predictor"] is None:
            return predictor.predict(rows)
        kind = getattr(sagemaker, case["predictor"])
        own = kind(predictor.endpoint_name, sagemaker_session=predictor.sagemaker_session)
        records = own.predict(rows.astype(np.float32))
        return [{name: list(value.float32_tensor.values) for name, value in record.label.items()} for record in records]
    finally:
        predictor.delete_endpoint()


def transform(case: dict[str, Any], estimator: Any) -> dict[str, str]:
    """Batch transform of a folder; the text of each file that it wrote."""
    folder, output = Path(case["folder"]) / "requests", Path(case["folder"]) / "answers"
    output.mkdir()
    options = case["transform"]
    transformer = estimator.transformer(
        1,
        "local",
        strategy=options["strategy"],
        assemble_with="Line",
        accept="application/jsonlines",
        output_path=f"file://{output}",
    )
    # The local job is done when the call returns; the SDK would wait for it by its log in the cloud.
    transformer.transform(f"file://{folder}", content_type=options["content_type"], split_type="Line", wait=False)
    return {str(file.relative_to(output)): file.read_text() for file in output.rglob("*.out")}


def run(case: dict[str, Any]) -> dict[str, Any]:
    """What came of one case."""
    try:
        estimator = fit(case)
        result = {"model": estimator.model_data, "predictions": predict(case, estimator)}
        return result | ({"transformed": transform(case, estimator)} if case["transform"] else {})
    except Exception as error:
        archives = sorted(Path(case["folder"]).rglob("output.tar.gz"))
        return {"error": str(error), "traceback": traceback.format_exc(), "failure": failure(archives)}


def failure(archives: list[Path]) -> str | None:
    """The failure file in what the job left in /opt/ml/output."""
    for archive in archives:
        with tarfile.open(archive) as tar:
            if "failure" in tar.getnames():
                return tar.extractfile("failure").read().decode()
    return None


def main(cases: Path, results: Path) -> None:
    """Run all cases."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results.write_text(json.dumps(list(pool.map(run, json.loads(cases.read_text())))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
