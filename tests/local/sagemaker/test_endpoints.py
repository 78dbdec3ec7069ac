"""Endpoints and transform jobs of `oba up` as boto3 sees them, and what outlives the server."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import time
from datetime import UTC
from uuid import UUID

import numpy as np
import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from tests.local.sagemaker.client import (
    CSV,
    KMEANS,
    ROLE,
    ROWS,
    deployed,
    ended,
    in_service,
    object_at,
    request,
    trained,
)

pytestmark = pytest.mark.slow


# ---- endpoints ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(up):
    """Two jobs' models: of 3 and of 2 clusters."""
    place = {}
    for name, k in (("three", 3), ("two", 2)):
        job = trained(up, name, HyperParameters={"k": str(k), "feature_dim": "2"})
        place[name] = job["ModelArtifacts"]["S3ModelArtifacts"]
        up.sagemaker.create_model(
            ModelName=name, PrimaryContainer={"Image": KMEANS, "ModelDataUrl": place[name]}, ExecutionRoleArn=ROLE
        )
    return place


def test_an_endpoint_answers_by_its_variants_and_is_gone_when_deleted(up, models):
    endpoint = deployed(up, "ab", three=1, two=0)
    assert endpoint["EndpointStatus"] == "InService"

    def invoke(**more):
        return up.runtime.invoke_endpoint(EndpointName="ab", ContentType="text/csv", Body=CSV, **more)

    answer = invoke()
    rows = json.loads(answer["Body"].read())["predictions"]
    assert answer["InvokedProductionVariant"] == "v-three"
    labels = np.array([row["closest_cluster"] for row in rows]).reshape(3, 40)
    assert (labels == labels[:, :1]).all()
    assert len(set(labels[:, 0])) == 3
    other = invoke(TargetVariant="v-two", Accept="application/x-recordio-protobuf")
    assert other["InvokedProductionVariant"] == "v-two"
    assert other["ContentType"] == "application/x-recordio-protobuf"
    binary = other["Body"].read()
    assert binary.startswith(b"\x0a\x23\xd7\xce")
    many = CSV * 40
    asked = {"EndpointName": "ab", "ContentType": "text/csv", "Body": many, "Accept": "text/csv"}
    whole = up.runtime.invoke_endpoint(**asked)
    streamed = up.runtime.invoke_endpoint_with_response_stream(**asked)
    parts = [event["PayloadPart"]["Bytes"] for event in streamed["Body"]]
    assert (b"".join(parts), len(parts)) == (whole["Body"].read(), 2)
    assert streamed["ContentType"] == whole["ContentType"]
    with pytest.raises(up.runtime.exceptions.ModelError, match="client error"):
        up.runtime.invoke_endpoint_with_response_stream(**asked | {"Body": b"1,2,3"})
    with pytest.raises(up.runtime.exceptions.ModelError) as caught:
        up.runtime.invoke_endpoint(
            EndpointName="ab", ContentType="application/x-recordio-protobuf", Body=b"\xff\x00\xfe"
        )
    assert caught.value.response["OriginalStatusCode"] == 400
    assert "RecordIO" in caught.value.response["OriginalMessage"]
    up.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="ab",
        DesiredWeightsAndCapacities=[
            {"VariantName": "v-three", "DesiredWeight": 0},
            {"VariantName": "v-two", "DesiredWeight": 2},
        ],
    )
    assert invoke()["InvokedProductionVariant"] == "v-two"
    up.sagemaker.delete_endpoint(EndpointName="ab")
    with pytest.raises(up.runtime.exceptions.ClientError, match="Endpoint ab of account 123456789012 not found"):
        invoke()
    with pytest.raises(up.sagemaker.exceptions.ClientError, match="Could not find endpoint"):
        up.sagemaker.describe_endpoint(EndpointName="ab")


def test_a_multi_model_endpoint_loads_models_as_they_are_asked_for(up, models):
    container = {"Image": KMEANS, "ModelDataUrl": "s3://bucket/out/", "Mode": "MultiModel"}
    up.sagemaker.create_model(ModelName="many", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    assert deployed(up, "many", many=1)["EndpointStatus"] == "InService"

    def clusters(target: str) -> int:
        answer = up.runtime.invoke_endpoint(EndpointName="many", ContentType="text/csv", Body=CSV, TargetModel=target)
        return len({row["closest_cluster"] for row in json.loads(answer["Body"].read())["predictions"]})

    assert [clusters(f"{name}/output/model.tar.gz") for name in ("three", "two", "three")] == [3, 2, 3]
    with pytest.raises(up.runtime.exceptions.ClientError, match="Could not find model data at s3://bucket/out/none"):
        clusters("none")
    up.sagemaker.delete_endpoint(EndpointName="many")


def chained(up, models, name: str, mode: str) -> None:
    """A model of two containers, ``first`` and ``last``: of 3 clusters, which answers in CSV, and of 2."""
    accept = {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"}
    containers = [
        {"Image": KMEANS, "ModelDataUrl": models["three"], "ContainerHostname": "first", "Environment": accept},
        {"Image": KMEANS, "ModelDataUrl": models["two"], "ContainerHostname": "last"},
    ]
    execution = {"Mode": mode}
    up.sagemaker.create_model(
        ModelName=name, Containers=containers, ExecutionRoleArn=ROLE, InferenceExecutionConfig=execution
    )


def test_a_request_goes_through_the_containers_of_a_model_one_after_the_other(up, models):
    chained(up, models, "serial", "Serial")
    assert deployed(up, "serial", serial=1)["EndpointStatus"] == "InService"
    deployed(up, "single", three=1, two=0)
    asked = {"EndpointName": "single", "ContentType": "text/csv"}
    between = up.runtime.invoke_endpoint(**asked, TargetVariant="v-three", Accept="text/csv", Body=CSV)["Body"].read()
    expected = up.runtime.invoke_endpoint(**asked, TargetVariant="v-two", Body=between)["Body"].read()
    serial = {"EndpointName": "serial", "ContentType": "text/csv"}
    assert up.runtime.invoke_endpoint(**serial, Body=CSV, Accept="application/json")["Body"].read() == expected
    with pytest.raises(up.runtime.exceptions.ModelError, match="from first with message"):
        up.runtime.invoke_endpoint(**serial, Body=b"1,2,3")
    with pytest.raises(up.runtime.exceptions.ClientError, match="for models whose InferenceExecutionConfig has Mode"):
        up.runtime.invoke_endpoint(**serial, Body=CSV, TargetContainerHostname="first")
    streams = up.logs.describe_log_streams(logGroupName="/aws/sagemaker/Endpoints/serial")["logStreams"]
    assert [one["logStreamName"].rpartition("/")[2] for one in streams] == ["first", "last"]
    up.s3.put_object(Bucket="bucket", Key="chained/rows.csv", Body=CSV)
    assert transformed(up, "serial", "chained", "serial")["TransformJobStatus"] == "Completed"
    lines = object_at(up, "s3://bucket/serial/rows.csv.out").decode().splitlines()
    last = [row["closest_cluster"] for row in json.loads(expected)["predictions"]]
    assert [float(line.split(",")[2]) for line in lines] == last
    for name in ("serial", "single"):
        up.sagemaker.delete_endpoint(EndpointName=name)


def test_a_request_may_name_its_container(up, models):
    chained(up, models, "direct", "Direct")
    deployed(up, "direct", direct=1)

    def clusters(**more: str) -> int:
        answer = up.runtime.invoke_endpoint(
            EndpointName="direct", ContentType="text/csv", Accept="application/json", Body=CSV, **more
        )
        return len({row["closest_cluster"] for row in json.loads(answer["Body"].read())["predictions"]})

    assert [clusters(TargetContainerHostname=name) for name in ("first", "last")] == [3, 2]
    said = {
        "other": "'other' is none of the model's containers: first, last",
        None: "is missing.*containers first, last",
    }
    for hostname, message in said.items():
        with pytest.raises(up.runtime.exceptions.ClientError, match=message):
            clusters(**({"TargetContainerHostname": hostname} if hostname else {}))
    up.sagemaker.delete_endpoint(EndpointName="direct")


def test_a_serverless_variant_is_described_as_one(up, models):
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 2}
    variant = {"VariantName": "v", "ModelName": "two", "ServerlessConfig": serverless}
    up.sagemaker.create_endpoint_config(EndpointConfigName="serverless", ProductionVariants=[variant])
    up.sagemaker.create_endpoint(EndpointName="serverless", EndpointConfigName="serverless")
    (described,) = in_service(up, "serverless")["ProductionVariants"]
    assert described["CurrentServerlessConfig"] == described["DesiredServerlessConfig"] == serverless
    up.sagemaker.delete_endpoint(EndpointName="serverless")


@pytest.mark.parametrize(
    ("config", "more", "told"),
    [
        ({"MemorySizeInMB": 2048, "MaxConcurrency": 2}, {"InitialInstanceCount": 1}, "leave out InitialInstanceCount"),
        ({"MemorySizeInMB": 2048, "MaxConcurrency": 2}, {"InstanceType": "ml.m5.large"}, "leave out InstanceType"),
        ({"MemorySizeInMB": 1500, "MaxConcurrency": 2}, {}, "1500 is none of"),
        ({"MemorySizeInMB": 7168, "MaxConcurrency": 2}, {}, "less than or equal to 6144"),
        ({"MemorySizeInMB": 1024, "MaxConcurrency": 2, "ProvisionedConcurrency": 3}, {}, "3 is over MaxConcurrency 2"),
    ],
)
def test_a_serverless_variant_that_cannot_be_is_refused(up, models, config, more, told):
    variant = {"VariantName": "v", "ModelName": "two", "ServerlessConfig": config, **more}
    with pytest.raises(up.sagemaker.exceptions.ClientError, match=told) as caught:
        up.sagemaker.create_endpoint_config(EndpointConfigName="serverless-wrong", ProductionVariants=[variant])
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_an_endpoint_whose_model_is_broken_fails_with_the_reason(up):
    up.s3.put_object(Bucket="bucket", Key="broken.tar.gz", Body=b"no archive")
    container = {"Image": KMEANS, "ModelDataUrl": "s3://bucket/broken.tar.gz"}
    up.sagemaker.create_model(ModelName="broken", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    endpoint = deployed(up, "broken", broken=1)
    assert endpoint["EndpointStatus"] == "Failed"
    assert "s3://bucket/broken.tar.gz is not a model archive" in endpoint["FailureReason"]
    with pytest.raises(up.sagemaker.exceptions.ClientError, match="it can only be deleted"):
        up.sagemaker.update_endpoint(EndpointName="broken", EndpointConfigName="broken")


def test_a_variant_without_a_weight_has_that_of_the_reference(up, models):
    """``InitialVariantWeight``: "If unspecified, it defaults to 1.0"."""
    given = {"VariantName": "v", "ModelName": "three", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    other = given | {"VariantName": "w", "InitialVariantWeight": 0.5}
    up.sagemaker.create_endpoint_config(EndpointConfigName="unweighted", ProductionVariants=[given, other])
    described = up.sagemaker.describe_endpoint_config(EndpointConfigName="unweighted")
    assert described["ProductionVariants"] == [given | {"InitialVariantWeight": 1.0}, other]


def transformed(up, name: str, key: str, model: str = "three", **more):
    up.sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=model,
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://bucket/{key}/"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        TransformOutput={"S3OutputPath": f"s3://bucket/{name}", "Accept": "text/csv", "AssembleWith": "Line"},
        DataProcessing={"JoinSource": "Input"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **more,
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        job = up.sagemaker.describe_transform_job(TransformJobName=name)
        if job["TransformJobStatus"] != "InProgress":
            return job
        time.sleep(0.1)
    raise AssertionError(job)


def test_a_transform_job_joins_answers_to_its_input_and_names_what_it_cannot_read(up, models):
    up.s3.put_object(Bucket="bucket", Key="asked/a/b.csv", Body=CSV)
    assert transformed(up, "joined", "asked")["TransformJobStatus"] == "Completed"
    lines = object_at(up, "s3://bucket/joined/a/b.csv.out").decode().splitlines()
    rows = np.array([line.split(",")[:3] for line in lines], np.float64)
    np.testing.assert_allclose(rows[:, :2], ROWS, rtol=1e-6)
    assert len(set(rows[:40, 2])) == 1
    up.s3.put_object(Bucket="bucket", Key="asked/wrong.csv", Body="1,x\n")
    job = transformed(up, "wrong-rows", "asked")
    assert job["TransformJobStatus"] == "Failed"
    told = "ClientError: 1 of 2 files were not transformed. bucket/asked/wrong.csv: 400"
    assert job["FailureReason"].startswith(told)


def test_a_transform_job_names_what_it_captured_and_identifies_its_records(up, models):
    """As "Capture data from batch transform job" of the developer guide has it."""
    up.s3.put_object(Bucket="bucket", Key="seen/a/b.csv", Body=CSV)
    up.s3.put_object(Bucket="bucket", Key="seen/c.csv", Body=CSV)
    capture = {"DestinationS3Uri": "s3://bucket/captured/", "GenerateInferenceId": True}
    job = transformed(up, "identified", "seen", DataCaptureConfig=capture)
    assert (job["TransformJobStatus"], job["DataCaptureConfig"]) == ("Completed", capture)
    started = f"{job['TransformStartTime'].astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    rows = [
        line.split(",")
        for name in ("a/b.csv", "c.csv")
        for line in object_at(up, f"s3://bucket/identified/{name}.out").decode().splitlines()
    ]
    assert {len(row) for row in rows} == {6}  # two that were sent, two of the answer, and these
    assert {row[-1] for row in rows} == {started}
    assert len({str(UUID(row[-2])) for row in rows}) == 2 * len(ROWS)
    found = up.s3.list_objects_v2(Bucket="bucket", Prefix="captured/")["Contents"]
    hour = started[:13].replace("-", "/").replace("T", "/")
    manifests = {}
    for entry in found:
        side, place = entry["Key"].removeprefix("captured/").split("/", 1)
        assert place.startswith(f"{hour}/")
        manifests[side] = json.loads(object_at(up, f"s3://bucket/{entry['Key']}"))
    assert manifests == {
        "input": [{"prefix": "s3://bucket/seen/"}, "a/b.csv", "c.csv"],
        "output": [{"prefix": "s3://bucket/identified/"}, "a/b.csv.out", "c.csv.out"],
    }
    with pytest.raises(up.sagemaker.exceptions.ClientError, match="DestinationS3Uri"):
        transformed(up, "nowhere", "seen", DataCaptureConfig=capture | {"DestinationS3Uri": "https://example.com/a"})


def test_a_registered_version_of_a_model_is_approved_and_deployed(up, models):
    sagemaker = up.sagemaker
    group = sagemaker.create_model_package_group(ModelPackageGroupName="Group", ModelPackageGroupDescription="two")
    assert group["ModelPackageGroupArn"].endswith(":model-package-group/group")
    with pytest.raises(sagemaker.exceptions.ClientError, match="already exists"):
        sagemaker.create_model_package_group(ModelPackageGroupName="Group")
    arns = []
    for name in ("three", "two"):
        container = {"Image": KMEANS, "ModelDataUrl": models[name], "Environment": {"A": "1", "B": "1"}}
        specification = {"Containers": [container], "SupportedContentTypes": ["text/csv"]}
        given = {"ModelPackageGroupName": "Group", "InferenceSpecification": specification}
        arns.append(sagemaker.create_model_package(**given)["ModelPackageArn"])
    assert [arn.partition(":model-package/")[2] for arn in arns] == ["group/1", "group/2"]
    sagemaker.update_model_package(ModelPackageArn=arns[1], ModelApprovalStatus="Approved", ApprovalDescription="good")
    listed = sagemaker.list_model_packages(ModelPackageGroupName="Group", ModelApprovalStatus="Approved")
    (version,) = listed["ModelPackageSummaryList"]
    assert (version["ModelPackageVersion"], version["ModelPackageArn"]) == (2, arns[1])
    told = sagemaker.describe_model_package(ModelPackageName=arns[1])
    assert (told["ModelApprovalStatus"], told["ApprovalDescription"]) == ("Approved", "good")
    assert told["ModelPackageStatus"] == "Completed"
    sagemaker.update_model_package(ModelPackageArn=arns[1], CustomerMetadataProperties={"a": "1"})
    assert sagemaker.describe_model_package(ModelPackageName=arns[1])["CustomerMetadataProperties"] == {"a": "1"}
    sagemaker.update_model_package(ModelPackageArn=arns[1], CustomerMetadataPropertiesToRemove=["a"])
    assert sagemaker.describe_model_package(ModelPackageName=arns[1])["CustomerMetadataProperties"] == {}
    given = {"ModelPackageName": arns[1], "Environment": {"B": "2"}}
    sagemaker.create_model(ModelName="registered", Containers=[given], ExecutionRoleArn=ROLE)
    (container,) = sagemaker.describe_model(ModelName="registered")["Containers"]
    assert container == given | {"Image": KMEANS, "ModelDataUrl": models["two"], "Environment": {"A": "1", "B": "2"}}
    deployed(up, "registered", registered=1)
    answer = up.runtime.invoke_endpoint(EndpointName="registered", ContentType="text/csv", Body=CSV)
    assert len({row["closest_cluster"] for row in json.loads(answer["Body"].read())["predictions"]}) == 2
    up.sagemaker.delete_endpoint(EndpointName="registered")
    with pytest.raises(sagemaker.exceptions.ClientError, match="has model packages still"):
        sagemaker.delete_model_package_group(ModelPackageGroupName="Group")
    for arn in arns:
        sagemaker.delete_model_package(ModelPackageName=arn)
    with pytest.raises(sagemaker.exceptions.ClientError, match=f'Could not find model package "{arns[0]}"'):
        sagemaker.describe_model_package(ModelPackageName=arns[0])
    sagemaker.delete_model_package_group(ModelPackageGroupName="Group")
    assert not sagemaker.list_model_packages(ModelPackageGroupName="Group")["ModelPackageSummaryList"]
    assert not sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]


def test_xgboost_answers_as_the_image_of_its_tag(up):
    """Images before 1.2-2 join rows by commas, at which AWS's notebooks on them split; those before 1.3-1 pickle."""
    image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:{}"
    for name, tag in {"trees": "1.7-1", "pickled": "1.0-1-cpu-py3"}.items():
        job = request(name, image=image.format(tag), HyperParameters={"num_round": "2"})
        job["InputDataConfig"][0]["ContentType"] = "text/csv"
        up.sagemaker.create_training_job(**job)
    artifacts = {name: ended(up, name)["ModelArtifacts"]["S3ModelArtifacts"] for name in ("trees", "pickled")}
    with tarfile.open(fileobj=io.BytesIO(object_at(up, artifacts["pickled"]))) as archive:
        booster = pickle.load(archive.extractfile("xgboost-model"))  # noqa: S301 - written above
    assert booster.num_boosted_rounds() == 2
    tags = {
        "joined": ("1.0-1-cpu-py3", {}),
        "lines": ("1.7-1", {}),
        "asked": ("0.90-2", {"SAGEMAKER_IMAGE_VERSION": "1.7-1"}),
    }
    for name, (tag, environment) in tags.items():
        place = artifacts["pickled" if name == "joined" else "trees"]
        container = {"Image": image.format(tag), "ModelDataUrl": place, "Environment": environment}
        up.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    deployed(up, "tags", **dict.fromkeys(tags, 1))
    asked = {"EndpointName": "tags", "ContentType": "text/csv", "Body": "1\n2\n3"}
    answers = {
        name: up.runtime.invoke_endpoint(**asked, TargetVariant=f"v-{name}")["Body"].read().decode() for name in tags
    }
    assert answers["lines"] == answers["asked"] and len(answers["lines"].splitlines()) == 3
    assert answers["joined"] == ",".join(answers["lines"].splitlines())
