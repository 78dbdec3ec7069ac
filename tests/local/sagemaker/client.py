"""`oba up` as a process, boto3's clients of it, and what all of its tests ask."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import boto3
import numpy as np

from tests.local.sagemaker import forked

ROOT = Path(__file__).resolve().parents[3]
ROLE = "arn:aws:iam::123456789012:role/service-role/x"
KMEANS = "382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1"
CENTERS = np.array([[0, 0], [10, 10], [0, 10]], np.float64)
ROWS = np.concatenate([center + np.random.default_rng(3).normal(0, 0.1, (40, 2)) for center in CENTERS])
LONG = {"k": "3", "feature_dim": "2", "epochs": "10000000"}
"""Of a job that does not end by itself."""
CSV = "".join(f"{x},{y}\n" for x, y in ROWS)


def _started(arguments: list[str], environment: dict[str, str], output: IO[str], fresh: bool):
    if not fresh:
        return forked.start(arguments, environment, output, output)
    command = [sys.executable, "-m", "local", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)


@contextmanager
def running(state: Path, *options: str, fresh: bool = False, **variables: str):
    """A server process and boto3's clients of it, as its printed environment makes them.

    The process and those that it starts are forks, or ``fresh`` where how it ends them is of interest.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader) as printed:
        with os.fdopen(writer, "w") as output:
            arguments = ["up", "--port", "0", "--state", str(state), *options]
            process = _started(arguments, {**os.environ, **variables}, output, fresh)
        environment = dict(variables)
        for line in printed:
            if match := re.match(r"export (\w+)=(.*)", line):
                environment[match[1]] = match[2]
            if "Ctrl-C" in line:
                break
        names = {
            "endpoint_url": "AWS_ENDPOINT_URL",
            "region_name": "AWS_DEFAULT_REGION",
            "aws_access_key_id": "AWS_ACCESS_KEY_ID",
            "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
        }
        given = {name: environment[variable] for name, variable in names.items()}
        services = ("s3", "sts", "sagemaker", "sagemaker-runtime", "logs", "cloudwatch")
        of_s3 = {"s3": {"endpoint_url": environment.get("AWS_ENDPOINT_URL_S3", given["endpoint_url"])}}
        clients = {name.rpartition("-")[2]: boto3.client(name, **given | of_s3.get(name, {})) for name in services}
        try:
            yield SimpleNamespace(
                process=process, url=given["endpoint_url"], environment=environment, given=given, **clients
            )
        finally:
            process.terminate()
            process.wait(120)


def client_of(up, service: str):
    """boto3's client of another of the server's services."""
    return boto3.client(service, **up.given)


@contextmanager
def with_rows(state: Path, *options: str):
    """A server whose S3 has the rows in one object."""
    with running(state, *options) as server:
        server.s3.create_bucket(Bucket="bucket")
        server.s3.put_object(Bucket="bucket", Key="train/rows.csv", Body=CSV)
        yield server


def request(name: str, mode: str = "File", uri: str = "s3://bucket/train", kind: str = "S3Prefix", **more):
    source = {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": more.pop("distribution", "FullyReplicated")}
    channel = {"ChannelName": "train", "ContentType": "text/csv;label_size=0", "DataSource": {"S3DataSource": source}}
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": more.pop("image", KMEANS), "TrainingInputMode": mode},
        "HyperParameters": {"k": "3", "feature_dim": "2"},
        "InputDataConfig": [channel],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out/"},
        "ResourceConfig": {"InstanceCount": more.pop("hosts", 1), "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        **more,
    }


def ended(up, name: str):
    return _settled(partial(up.sagemaker.describe_training_job, TrainingJobName=name), "TrainingJobStatus")


def _settled(describe: Callable[[], dict], status: str) -> dict:
    """What ``describe`` answers when the status is no longer one that passes."""
    deadline = time.monotonic() + 300
    while (found := describe())[status] in ("InProgress", "Stopping", "Creating", "Updating"):
        assert time.monotonic() < deadline, f"it stays {found[status]}: {found}"
        time.sleep(0.05)
    return found


def trained(up, name: str, **more):
    up.sagemaker.create_training_job(**request(name, **more))
    job = ended(up, name)
    assert job["TrainingJobStatus"] == "Completed", job
    return job


def tuned(up, name: str):
    describe = partial(up.sagemaker.describe_hyper_parameter_tuning_job, HyperParameterTuningJobName=name)
    return _settled(describe, "HyperParameterTuningJobStatus")


def object_at(up, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return up.s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def in_service(up, name: str):
    return _settled(partial(up.sagemaker.describe_endpoint, EndpointName=name), "EndpointStatus")


def deployed(up, name: str, **weights: float):
    variants = [
        {"VariantName": f"v-{model}", "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        | {"InitialVariantWeight": weight}
        for model, weight in weights.items()
    ]
    up.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    up.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return in_service(up, name)


def wait_until_gone(state: Path, seconds: float = 120) -> None:
    """Until no process names the state folder.

    Raises:
        AssertionError: some still do after so long.
    """
    deadline = time.monotonic() + seconds
    while processes_of(state) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(state) == []


def processes_of(state: Path) -> list[int]:
    """Processes whose environment names the state folder, and forks that run in it: the system does not show theirs."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                is_fork = (folder / "cwd").readlink().is_relative_to(state)
                if is_fork or f"SAGEMAKER_BASE_DIR={state}/".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found
