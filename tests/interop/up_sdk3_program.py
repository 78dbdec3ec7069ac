"""What a user of the SageMaker SDK 3 writes, in the environment that `oba up` prints: `python … FOLDER`.

FOLDER has train.csv, labels first; what came is written there as sdk3.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import boto3
import impatient  # noqa: F401 - no long sleep between two looks at a job
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import Endpoint, EndpointConfig, Model, TrainingJob
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant
from sagemaker.core.transformer import Transformer
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, OutputDataConfig

ASKED = 100
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1"


def main(folder: Path) -> None:
    """Train with a job in the cloud, deploy its model, ask it, and have it transform a file."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="sdk3")
    s3.upload_file(str(folder / "train.csv"), "sdk3", "train/train.csv")
    trainer = ModelTrainer(
        training_image=IMAGE,
        role="arn:aws:iam::123456789012:role/SageMaker",
        base_job_name="sdk3",
        compute=Compute(instance_type="ml.m5.large", instance_count=1),
        hyperparameters={"predictor_type": "multiclass_classifier", "num_classes": 10, "mini_batch_size": 100},
        output_data_config=OutputDataConfig(s3_output_path="s3://sdk3/out"),
    )
    channel = InputData(channel_name="train", data_source="s3://sdk3/train/", content_type="text/csv")
    trainer.train(input_data_config=[channel], wait=True, logs=True)
    job = boto3.client("sagemaker").list_training_jobs(NameContains="sdk3")["TrainingJobSummaries"][0]
    described = TrainingJob.get(job["TrainingJobName"])
    model = Model.create(
        model_name="sdk3",
        primary_container=ContainerDefinition(image=IMAGE, model_data_url=described.model_artifacts.s3_model_artifacts),
        execution_role_arn=trainer.role,
    )
    (folder / "asked.csv").write_text(
        "".join(line.partition(",")[2] for line in (folder / "train.csv").open().readlines()[:ASKED])
    )
    found = {
        "status": job["TrainingJobStatus"],
        "answers": deployed(model, folder),
        "transformed": transformed(model, folder),
    }
    (folder / "sdk3.json").write_text(json.dumps(found))


def labels(answer: Any) -> list[float]:
    """Of JSON lines or of one JSON."""
    texts = [json.loads(line) for line in answer.read().decode().splitlines()]
    return [row["predicted_label"] for text in texts for row in text.get("predictions", [text])]


def deployed(model: Model, folder: Path) -> list[float]:
    """What an endpoint answers."""
    variant = ProductionVariant(
        variant_name="all", model_name=model.model_name, initial_instance_count=1, instance_type="ml.m5.large"
    )
    config = EndpointConfig.create(endpoint_config_name="sdk3", production_variants=[variant])
    endpoint = Endpoint.create(endpoint_name="sdk3", endpoint_config_name=config.endpoint_config_name)
    endpoint.wait_for_status("InService")
    answer = endpoint.invoke(
        body=(folder / "asked.csv").read_bytes(), content_type="text/csv", accept="application/json"
    )
    endpoint.delete()
    return labels(answer.body)


def transformed(model: Model, folder: Path) -> list[float]:
    """What a transform job answers, which the SDK's transformer starts."""
    s3 = boto3.client("s3")
    s3.upload_file(str(folder / "asked.csv"), "sdk3", "asked/asked.csv")
    transformer = Transformer(
        model.model_name, 1, "ml.m5.large", output_path="s3://sdk3/answers", accept="application/jsonlines",
        assemble_with="Line", sagemaker_session=Session(),
    )  # fmt: skip
    transformer.transform("s3://sdk3/asked/", content_type="text/csv", split_type="Line", wait=True, logs=False)
    return labels(s3.get_object(Bucket="sdk3", Key="answers/asked.csv.out")["Body"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
