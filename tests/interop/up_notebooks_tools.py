"""What the notebooks of ``up_notebooks_program.py`` share: their data, requests and the SDK's session."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import sagemaker
import sagemaker.amazon.common as smac
from sagemaker.estimator import Estimator

pause = time.sleep
time.sleep = lambda seconds: pause(min(seconds, 1))

FOLDER = Path(sys.argv[1])
ROWS, LABELS = np.load(FOLDER / "rows.npy"), np.load(FOLDER / "labels.npy")
ROLE = sagemaker.get_execution_role()
REGION = boto3.Session().region_name
SESSION = sagemaker.Session()
BUCKET = SESSION.default_bucket()
IMAGE = sagemaker.image_uris.retrieve
ASKED = 60


def uploaded(prefix: str, rows: Any, labels: Any = None) -> str:
    """Rows as RecordIO-protobuf in S3, as most of the notebooks put them there."""
    buffer = io.BytesIO()
    smac.write_numpy_to_dense_tensor(buffer, rows.astype("float32"), labels)
    buffer.seek(0)
    key = f"sagemaker/{prefix}/train/recordio-pb-data"
    boto3.resource("s3").Bucket(BUCKET).Object(key).upload_fileobj(buffer)
    return f"s3://{BUCKET}/{key}"


def estimator(image: str, prefix: str, **hyperparameters: Any) -> Estimator:
    made = Estimator(
        image,
        ROLE,
        instance_count=1,
        instance_type="ml.c4.xlarge",
        output_path=f"s3://{BUCKET}/sagemaker/{prefix}/output",
        sagemaker_session=sagemaker.Session(),
    )
    made.set_hyperparameters(**hyperparameters)
    return made


def training_request(name: str, image: str, hyperparameters: dict[str, str], channels: dict[str, str], **more: Any):
    """A request as the low-level notebooks write it."""
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/{name}"},
        "ResourceConfig": {"InstanceCount": more.pop("hosts", 1), "InstanceType": "ml.m5.2xlarge", "VolumeSizeInGB": 5},
        "HyperParameters": hyperparameters,
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": place,
                        "S3DataDistributionType": more.get("distribution", "FullyReplicated"),
                    }
                },
                "CompressionType": "None",
                **({"ContentType": more["content_type"]} if "content_type" in more else {}),
            }
            for channel, place in channels.items()
        ],
    }


def hosted(client: Any, name: str, image: str) -> str:
    """The endpoint of a job's model, with boto3 alone."""
    status = client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"]
    while status not in ("Completed", "Failed"):
        time.sleep(60)
        status = client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"]
    info = client.describe_training_job(TrainingJobName=name)
    container = {"Image": image, "ModelDataUrl": info["ModelArtifacts"]["S3ModelArtifacts"]}
    client.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {
        "InstanceType": "ml.m5.xlarge",
        "InitialVariantWeight": 1,
        "InitialInstanceCount": 1,
        "ModelName": name,
        "VariantName": "AllTraffic",
    }
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)
    client.get_waiter("endpoint_in_service").wait(EndpointName=name)
    return name


def put(channel: str, file: Path) -> None:
    boto3.resource("s3").Bucket(BUCKET).put_object(Key=f"{channel}/{file.name}", Body=file.read_bytes())
