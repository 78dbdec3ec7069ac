"""What a user of the SageMaker Python SDK 3 writes: `python sdk3_program.py CASE`, a JSON object.

Trains with `ModelTrainer` in a local container, where the image starts without a command, and serves the model with
the local session of the same SDK. Prints the answer. Runs in the SDK's own environment.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROLE = "arn:aws:iam::111111111111:role/SageMaker"


def train(case: dict[str, Any], hyperparameters: dict[str, Any], hosts: int = 1) -> None:
    """Train; the artifact is in the folder ``compressed_artifacts`` of the case's folder."""
    from sagemaker.core.training.configs import Compute, InputData
    from sagemaker.train import ModelTrainer
    from sagemaker.train.model_trainer import Mode

    trainer = ModelTrainer(
        training_image=case["image"],
        training_mode=Mode.LOCAL_CONTAINER,
        role=ROLE,
        compute=Compute(instance_type="local_cpu", instance_count=hosts),
        hyperparameters=hyperparameters,
        local_container_root=case["folder"],
    )
    channel = InputData(channel_name="train", data_source=case["train"], content_type=case["content_type"])
    trainer.train(input_data_config=[channel])


def serve(case: dict[str, Any]) -> str:
    """The answer of a local endpoint to the case's request."""
    import boto3
    from sagemaker.core.local import LocalSession

    session = LocalSession(boto3.Session(region_name="us-east-1"))
    session.config = {"local": {"serving_port": case["port"]}}
    client = session.sagemaker_client
    container = {
        "Image": case["image"],
        "ModelDataUrl": f"file://{case['folder']}/compressed_artifacts/model.tar.gz",
        "Environment": {},
    }
    client.create_model("model", container)
    variant = {"ModelName": "model", "InstanceType": "local", "InitialInstanceCount": 1, "VariantName": "all"}
    client.create_endpoint_config("config", [variant])
    client.create_endpoint("endpoint", "config")
    try:
        answer = session.sagemaker_runtime_client.invoke_endpoint(
            case["request"], "endpoint", ContentType="text/csv", Accept="application/json"
        )
        return answer["Body"].read().decode()
    finally:
        client.delete_endpoint("endpoint")


def main(case: dict[str, Any]) -> None:
    """A job that fails, some of two hosts, and one that is served."""
    try:
        train(case, case["wrong"])
    except RuntimeError as error:
        Path(case["folder"], "wrong.txt").write_text(str(error))
    for several in case["several"]:
        train({**case, **several}, several["hyperparameters"], hosts=2)
    train(case, case["hyperparameters"])
    Path(case["folder"], "answer.json").write_text(serve(case))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
