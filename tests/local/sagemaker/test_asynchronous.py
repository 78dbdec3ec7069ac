"""Asynchronous endpoints of `oba up`, and what requests name that has no effect here."""

from __future__ import annotations

import base64
import json
import re
import time
import urllib.request

import numpy as np
import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from tests.local.sagemaker.client import CSV, KMEANS, ROLE, client_of, in_service, object_at, trained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint(up):
    """The name of an asynchronous endpoint, trained and created with much that has no effect here."""
    subnets = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    job = trained(
        up,
        "job",
        VpcConfig=subnets,
        EnableNetworkIsolation=True,
        ExperimentConfig={"ExperimentName": "e"},
        OutputDataConfig={"S3OutputPath": "s3://bucket/out", "KmsKeyId": "key"},
    )
    up.sagemaker.create_model(
        ModelName="model",
        PrimaryContainer={"Image": KMEANS, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]},
        ExecutionRoleArn=ROLE,
        VpcConfig=subnets,
    )
    variant = {"VariantName": "v", "ModelName": "model", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    output = {"S3OutputPath": "s3://bucket/answers/", "S3FailurePath": "s3://bucket/failures"}
    up.sagemaker.create_endpoint_config(
        EndpointConfigName="later",
        ProductionVariants=[variant],
        KmsKeyId="key",
        AsyncInferenceConfig={"OutputConfig": output, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2}},
    )
    up.sagemaker.create_endpoint(EndpointName="later", EndpointConfigName="later")
    assert in_service(up, "later")["AsyncInferenceConfig"]["OutputConfig"] == output
    return "later"


def there(up, uri: str) -> dict:
    """The object, once it is there."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    up.s3.get_waiter("object_exists").wait(Bucket=bucket, Key=key, WaiterConfig={"Delay": 1, "MaxAttempts": 300})
    return up.s3.get_object(Bucket=bucket, Key=key)


def test_answers_come_to_s3_and_failures_apart(up, endpoint):
    up.s3.put_object(Bucket="bucket", Key="asked.csv", Body=CSV, ContentType="text/csv")
    given = {"EndpointName": endpoint, "InputLocation": "s3://bucket/asked.csv"}
    answers = [up.runtime.invoke_endpoint_async(**given, InferenceId=f"id-{number}") for number in range(5)]
    assert [answer["InferenceId"] for answer in answers] == [f"id-{number}" for number in range(5)]
    assert len({answer["OutputLocation"] for answer in answers}) == 5
    for answer in answers:
        assert re.fullmatch(r"s3://bucket/answers/[0-9a-f-]{36}\.out", answer["OutputLocation"])
        labels = [
            row["closest_cluster"] for row in json.load(there(up, answer["OutputLocation"])["Body"])["predictions"]
        ]
        assert (np.reshape(labels, (3, 40)) == np.reshape(labels, (3, 40))[:, :1]).all()
    binary = up.runtime.invoke_endpoint_async(
        **given, Accept="application/x-recordio-protobuf", S3OutputPathExtension="a/b", Filename="c.bin"
    )
    assert binary["OutputLocation"] == "s3://bucket/answers/a/b/c.bin"
    found = there(up, binary["OutputLocation"])
    assert found["ContentType"] == "application/x-recordio-protobuf"
    assert found["Body"].read().startswith(b"\x0a\x23\xd7\xce")

    up.s3.put_object(Bucket="bucket", Key="wrong.csv", Body="1,x\n", ContentType="text/csv")
    for key, told in (("wrong.csv", b"x"), ("none.csv", b"s3://bucket/none.csv cannot be read")):
        answer = up.runtime.invoke_endpoint_async(EndpointName=endpoint, InputLocation=f"s3://bucket/{key}")
        assert re.fullmatch(r"s3://bucket/failures/[0-9a-f-]{36}-error\.out", answer["FailureLocation"])
        assert told in there(up, answer["FailureLocation"])["Body"].read()
        with pytest.raises(up.s3.exceptions.ClientError):
            object_at(up, answer["OutputLocation"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"InputLocation": "s3://bucket/a", "Filename": "../x"}, "'../x' at 'filename' failed to satisfy constraint"),
        ({"InputLocation": "s3://bucket/a", "RequestTTLSeconds": 30000}, "'30000' at 'requestTTLSeconds' failed"),
        ({"InputLocation": "bucket/a"}, "'bucket/a' at 'inputLocation' failed"),
        ({}, "Either InputLocation or Body is required"),
    ],
)
def test_an_invocation_that_is_malformed_is_refused(up, endpoint, change, told):
    with pytest.raises(up.runtime.exceptions.ClientError) as caught:
        up.runtime.invoke_endpoint_async(EndpointName=endpoint, **change)
    assert told in str(caught.value)


def test_an_asynchronous_endpoint_is_not_invoked_at_once_and_none_without_a_place(up, endpoint):
    with pytest.raises(up.runtime.exceptions.ClientError, match="later is asynchronous: InvokeEndpointAsync"):
        up.runtime.invoke_endpoint(EndpointName=endpoint, Body=CSV, ContentType="text/csv")
    with pytest.raises(up.sagemaker.exceptions.ClientError, match="OutputConfig.S3OutputPath:  is not an S3 URI"):
        up.sagemaker.create_endpoint_config(
            EndpointConfigName="nowhere",
            ProductionVariants=[{"VariantName": "v", "ModelName": "model"}],
            AsyncInferenceConfig={"OutputConfig": {}},
        )


def notified(sqs, queue: str, count: int) -> list[dict]:
    """So many messages of a queue that a topic has."""
    found: list[dict] = []
    deadline = time.monotonic() + 120
    while len(found) < count and time.monotonic() < deadline:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", ()):
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            found.append(json.loads(json.loads(message["Body"])["Message"]))
    assert len(found) == count, found
    return found


def test_topics_are_told_how_requests_ended(up, endpoint):
    """The messages of "Check prediction results" in the developer guide, by a queue of SQS."""
    sns, sqs = client_of(up, "sns"), client_of(up, "sqs")
    topics, queues = {}, {}
    for kind in ("SuccessTopic", "ErrorTopic"):
        topics[kind] = sns.create_topic(Name=kind)["TopicArn"]
        queues[kind] = sqs.create_queue(QueueName=kind)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queues[kind], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topics[kind], Protocol="sqs", Endpoint=arn)
    variant = {"VariantName": "v", "ModelName": "model", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    told = topics | {"IncludeInferenceResponseIn": ["ERROR_NOTIFICATION_TOPIC"]}
    output = {"S3OutputPath": "s3://bucket/told", "NotificationConfig": told}
    up.sagemaker.create_endpoint_config(
        EndpointConfigName="telling", ProductionVariants=[variant], AsyncInferenceConfig={"OutputConfig": output}
    )
    up.sagemaker.create_endpoint(EndpointName="telling", EndpointConfigName="telling")
    for queue in queues.values():
        of_test = {"eventVersion": "1.0", "eventSource": "aws:sagemaker", "eventName": "TestNotification"}
        assert notified(sqs, queue, 1) == [of_test]
    in_service(up, "telling")

    up.s3.put_object(Bucket="bucket", Key="right.csv", Body=CSV, ContentType="text/csv")
    up.s3.put_object(Bucket="bucket", Key="bad.csv", Body="1,x\n", ContentType="text/csv")
    given = {"EndpointName": "telling", "ContentType": "text/csv"}
    right = up.runtime.invoke_endpoint_async(**given, InputLocation="s3://bucket/right.csv", InferenceId="mine")
    (good,) = notified(sqs, queues["SuccessTopic"], 1)
    assert good["invocationStatus"] == "Completed"
    assert (good["awsRegion"], good["inferenceId"], good["eventName"]) == ("us-east-1", "mine", "InferenceResult")
    assert good["requestParameters"] == {
        "contentType": "text/csv",
        "endpointName": "telling",
        "inputLocation": "s3://bucket/right.csv",
    }
    assert good["responseParameters"] == {
        "contentType": "application/json",
        "outputLocation": right["OutputLocation"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", good["receivedTime"])
    assert good["receivedTime"] <= good["eventTime"]
    assert "responseBody" not in good

    for key in ("bad.csv", "nowhere.csv"):
        wrong = up.runtime.invoke_endpoint_async(**given, InputLocation=f"s3://bucket/{key}")
        (bad,) = notified(sqs, queues["ErrorTopic"], 1)
        assert (bad["invocationStatus"], bad["inferenceId"]) == ("Failed", wrong["InferenceId"])
        assert "responseParameters" not in bad  # no S3FailurePath
        if key == "bad.csv":
            assert bad["failureReason"].startswith("ClientError: Received client error (400) from model.")
            assert bad["responseBody"]["encoding"] == "BASE64"
            assert b"is not a number" in base64.b64decode(bad["responseBody"]["content"])
        else:
            assert "s3://bucket/nowhere.csv cannot be read" in bad["failureReason"]
            assert "responseBody" not in bad


def test_what_has_no_effect_is_named_in_the_logs(up, endpoint):
    page = urllib.request.urlopen(up.url).read().decode()
    (link,) = re.findall(r'href="(/_oba/endpoint/later/[^"]+)"', page)
    texts = [
        urllib.request.urlopen(up.url + path).read().decode() for path in (link, "/_oba/training-job/job/algo-1.log")
    ]
    named = "VpcConfig, EnableNetworkIsolation, ExperimentConfig, OutputDataConfig.KmsKeyId"
    assert f"oba up: without effect on this machine: {named}\n" in texts[1]
    assert "oba up: without effect on this machine: KmsKeyId\n" in texts[0]
    assert "oba up: without effect on this machine: VpcConfig\n" in texts[0]
    up.s3.put_object(Bucket="bucket", Key="words.csv", Body=b"no numbers\n", ContentType="text/csv")
    up.runtime.invoke_endpoint_async(EndpointName=endpoint, InputLocation="s3://bucket/words.csv")
    deadline = time.monotonic() + 120
    while "answered with status 400" not in texts[0] and time.monotonic() < deadline:
        texts[0] = urllib.request.urlopen(up.url + link).read().decode()
    assert "Asynchronous invocation s3://bucket/answers/" in texts[0]
