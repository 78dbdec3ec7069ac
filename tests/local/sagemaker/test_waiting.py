"""Asynchronous requests that wait when `oba up` ends: the next one answers them."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from tests.local.sagemaker.client import (
    CSV,
    KMEANS,
    ROLE,
    in_service,
    object_at,
    processes_of,
    running,
    trained,
    with_rows,
)

pytestmark = pytest.mark.slow
OUTPUT = {"S3OutputPath": "s3://bucket/answers", "S3FailurePath": "s3://bucket/failures"}


def asynchronous(up, name: str, model: str) -> None:
    variant = {"VariantName": "v", "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    up.sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant],
        AsyncInferenceConfig={"OutputConfig": OUTPUT, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1}},
    )
    up.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    assert in_service(up, name)["EndpointStatus"] == "InService"


def ask(up, endpoint: str, **payload) -> str:
    return up.runtime.invoke_endpoint_async(EndpointName=endpoint, ContentType="text/csv", **payload)["OutputLocation"]


def test_requests_outlive_the_server_and_go_with_their_endpoint(tmp_path):
    state = tmp_path / "state"
    with with_rows(state) as up:
        job = trained(up, "job")
        container = {"Image": KMEANS, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]}
        up.sagemaker.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
        for name in ("stays", "goes"):
            asynchronous(up, name, "m")
        for process in processes_of(state / "endpoints"):
            os.kill(process, signal.SIGSTOP)  # nothing is answered from now on
        places = [ask(up, "stays", InputLocation="s3://bucket/train/rows.csv") for _ in range(3)]
        places.append(ask(up, "stays", Body=CSV.encode()))
        failed = up.runtime.invoke_endpoint_async(
            EndpointName="stays", ContentType="text/csv", InputLocation="s3://bucket/none"
        )["FailureLocation"]
        late = up.runtime.invoke_endpoint_async(
            EndpointName="stays", InputLocation="s3://bucket/train/rows.csv", RequestTTLSeconds=60
        )["FailureLocation"]
        ask(up, "goes", InputLocation="s3://bucket/train/rows.csv")
        assert len(list((state / "invocations" / "goes").glob("*.json"))) == 1
        up.sagemaker.delete_endpoint(EndpointName="goes")
        assert not (state / "invocations" / "goes").exists()
        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
    for file in (state / "invocations" / "stays").glob("*.json"):
        kept = json.loads(file.read_text())
        if kept["request"].get("RequestTTLSeconds"):
            file.write_text(json.dumps(kept | {"came": kept["came"] - 100}))
    with running(state) as up:
        in_service(up, "stays")
        wait = {"Delay": 1, "MaxAttempts": 60}
        for place in (*places, failed, late):
            up.s3.get_waiter("object_exists").wait(
                Bucket="bucket", Key=place.removeprefix("s3://bucket/"), WaiterConfig=wait
            )
        for place in places:
            assert len(json.loads(object_at(up, place))["predictions"]) == CSV.count("\n")
        assert b"s3://bucket/none cannot be read" in object_at(up, failed)
        assert b"longer than RequestTTLSeconds" in object_at(up, late)
        deadline = time.monotonic() + 10
        while list((state / "invocations" / "stays").iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not list((state / "invocations" / "stays").iterdir())
        answers = up.s3.list_objects_v2(Bucket="bucket", Prefix="answers/")["KeyCount"]
        assert answers == len(places)
