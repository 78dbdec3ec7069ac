"""Data capture: lines as the developer guide's "Data capture" shows them, and endpoints that write them to S3."""

from __future__ import annotations

import base64
import json
import re
import time

import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from botocore.exceptions import ClientError
from werkzeug.datastructures import Headers

from local.sagemaker import data_capture
from tests.local.sagemaker.client import KMEANS, ROLE, in_service, trained

BOTH = [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}]
CONFIG = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://bucket/captured/",
    "CaptureOptions": BOTH,
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
}


def captured(media_type: str = "text/csv", body: bytes = b"1,2\n", **more) -> dict:
    headers = Headers({"Content-Type": media_type, **more.pop("headers", {})})
    line = data_capture.line(CONFIG | more, headers, body, b'{"a": 1}', "application/json")
    assert line is not None and "\n" not in line
    return json.loads(line)


def test_a_line_has_both_sides_in_the_encodings_that_the_configuration_names():
    found = captured("text/csv; charset=utf-8", headers={"X-Amzn-SageMaker-Inference-Id": "number 7"})
    assert found["captureData"] == {
        "endpointInput": {
            "observedContentType": "text/csv; charset=utf-8",
            "mode": "INPUT",
            "data": "1,2\n",
            "encoding": "CSV",
        },
        "endpointOutput": {
            "observedContentType": "application/json",
            "mode": "OUTPUT",
            "data": '{"a": 1}',
            "encoding": "JSON",
        },
    }
    assert found["eventVersion"] == "0"
    assert found["eventMetadata"]["inferenceId"] == "number 7"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["eventMetadata"]["inferenceTime"])


def test_what_is_of_no_named_type_is_in_base64():
    side = captured("application/x-recordio-protobuf", b"\x00\xff")["captureData"]["endpointInput"]
    assert (side["encoding"], base64.b64decode(side["data"])) == ("BASE64", b"\x00\xff")


def test_only_what_is_asked_for_is_captured():
    assert set(captured(CaptureOptions=[{"CaptureMode": "Output"}])["captureData"]) == {"endpointOutput"}
    for nothing in ({"EnableCapture": False}, {"InitialSamplingPercentage": 0}):
        assert data_capture.line(CONFIG | nothing, Headers(), b"", b"", None) is None


class Bucket:
    """Of S3's client what is asked here. ``told`` are the keys and bodies of objects."""

    def __init__(self, seconds: float = 0) -> None:
        self.told: list[tuple[str, bytes]] = []
        self._seconds = seconds

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:
        time.sleep(self._seconds)
        self.told.append((Key, Body))


def test_lines_that_wait_are_put_where_the_server_ends():
    captures, bucket = data_capture.Captures(), Bucket(seconds=0.05)
    for place in "ab":
        for line in ("1", "2"):
            captures.add(bucket, CONFIG, place, line, pytest.fail)
    captures.close()
    assert sorted(body for _, body in bucket.told) == [b"1\n2\n"] * 2
    time.sleep(data_capture._EVERY + 0.1)  # the timers find nothing
    assert len(bucket.told) == 2


@pytest.mark.slow
def test_an_endpoint_writes_what_it_is_asked_and_answers(up):
    model = trained(up, "captured")["ModelArtifacts"]["S3ModelArtifacts"]
    container = {"Image": KMEANS, "ModelDataUrl": model}
    up.sagemaker.create_model(ModelName="captured", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "all", "ModelName": "captured", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    given = {"EndpointConfigName": "captured", "ProductionVariants": [variant], "DataCaptureConfig": CONFIG}
    up.sagemaker.create_endpoint_config(**given)
    up.sagemaker.create_endpoint(EndpointName="captured", EndpointConfigName="captured")
    endpoint = in_service(up, "captured")
    assert endpoint["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": "s3://bucket/captured/",
        "KmsKeyId": "",
    }
    asked = {"EndpointName": "captured", "ContentType": "text/csv"}
    answers = [up.runtime.invoke_endpoint(**asked, Body=f"{row},0")["Body"].read().decode() for row in range(2)]
    with pytest.raises(ClientError, match="ModelError"):
        up.runtime.invoke_endpoint(**asked, Body="no numbers")
    deadline, lines, keys = time.monotonic() + 20, [], []
    while len(lines) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
        keys = [one["Key"] for one in up.s3.list_objects_v2(Bucket="bucket", Prefix="captured/").get("Contents", ())]
        bodies = [up.s3.get_object(Bucket="bucket", Key=key)["Body"].read().decode() for key in keys]
        lines = [json.loads(line)["captureData"] for body in bodies for line in body.splitlines()]
    assert [line["endpointInput"]["data"] for line in lines] == ["0,0", "1,0"]
    assert [line["endpointOutput"]["data"] for line in lines] == answers
    for key in keys:
        assert re.fullmatch(r"captured/captured/all/\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl", key)
    with pytest.raises(ClientError, match="DestinationS3Uri"):
        place = {"DestinationS3Uri": "https://example.com/captured"}
        up.sagemaker.create_endpoint_config(
            **given | {"EndpointConfigName": "nowhere", "DataCaptureConfig": CONFIG | place}
        )
