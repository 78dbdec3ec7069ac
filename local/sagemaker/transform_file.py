"""``oba run`` of one CreateTransformJob request, with the model that stands for the request's ModelName."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from algorithms.archives import pack
from algorithms.loading import recognised, unpacked
from container.settings import ConfigurationError
from local.sagemaker import channels, operations, protocol, request_file, s3, server, transforms
from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import AwsError, JobError
from local.sagemaker.request_data import Data, missing
from local.sagemaker.store import Record

_BUCKET = "oba-run"
_ROLE = "arn:aws:iam::123456789012:role/SageMaker"
_PAUSE = 0.05


def is_transform(document: object) -> bool:
    """Whether a request is one of CreateTransformJob."""
    return isinstance(document, dict) and "TransformJobName" in document


def run(file: Path, request: Record, data: Data, output: Path, model: Path | None) -> int:
    """Run the job: 0 where it is completed, else 1, with its failure reason on standard error.

    Args:
        data: S3 prefixes and the files or folders that stand for them.
        output: gets what the job writes below its S3OutputPath, and the logs.
        model: a model folder or a model.tar.gz.

    Raises:
        ConfigurationError: the request is refused, or a file is not there.
    """
    if model is None:
        raise ConfigurationError(f"{file} is a CreateTransformJob request: --model says which model it is about")
    with tempfile.TemporaryDirectory() as state, server.started(server.Options(state=Path(state))) as cloud:
        try:
            protocol.check(protocol.model("CreateTransformJob").input_shape, request)
            request_file.put_all(cloud, data)
            _check_data(cloud, request)
            request_file.make_bucket(cloud, request["TransformOutput"]["S3OutputPath"])
            if capture := request.get("DataCaptureConfig"):
                request_file.make_bucket(cloud, capture["DestinationS3Uri"])
            _create_model(cloud, request["ModelName"], model)
            operations.call(cloud, "CreateTransformJob", request)
        except (AwsError, JobError) as error:
            raise ConfigurationError(f"{file}: {error}") from error
        return _follow(cloud, request["TransformJobName"], output)


def _check_data(cloud: Cloud, request: Record) -> None:
    source = request["TransformInput"]
    try:
        channels.objects(cloud.client("s3"), source, {"RoleArn": _ROLE})
    except JobError as error:
        told = missing("TransformInput", source["DataSource"]["S3DataSource"]["S3Uri"])
        raise ConfigurationError(told) from error


def _create_model(cloud: Cloud, name: str, model: Path) -> None:
    with unpacked(model) as folder, tempfile.TemporaryDirectory() as place:
        if (algorithm := recognised(folder)) is None:
            raise ConfigurationError(f"--model {model}: its files are of none of the algorithms")
        uri = f"s3://{_BUCKET}/model.tar.gz"
        request_file.make_bucket(cloud, uri)
        s3.upload(cloud.client("s3"), pack(folder, Path(place) / "model.tar.gz"), uri)
    container = {"Image": algorithm.name, "ModelDataUrl": uri}
    request = {"ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": _ROLE}
    operations.call(cloud, "CreateModel", request)


def _follow(cloud: Cloud, name: str, output: Path) -> int:
    """Wait for the job's end, and keep what came."""
    while (job := transforms.found(cloud, name))["TransformJobStatus"] in ("InProgress", "Stopping"):
        time.sleep(_PAUSE)
    folder = cloud.folder / "transform-jobs" / name
    output.mkdir(parents=True, exist_ok=True)
    if (folder / "output").is_dir():
        shutil.copytree(folder / "output", output, dirs_exist_ok=True)
    for log in folder.glob("*.log"):
        shutil.copy(log, output / log.name)
    if job["TransformJobStatus"] == "Completed":
        for result, _ in s3.files(folder / "output"):
            sys.stdout.write(f"Answers {output / result.relative_to(folder / 'output')}\n")
        return 0
    sys.stderr.write(f"{job['TransformJobStatus']}: {job.get('FailureReason', 'the job was stopped')}\n")
    return 1
