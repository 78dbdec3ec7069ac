"""What SageMaker refuses that botocore's model of its requests allows: fields that exclude or need each other.

Sources: the API reference's texts on each field, the developer guide's pages (serverless endpoints' feature exclusions,
managed spot training, batch transform), and errors that users of SageMaker cite in the issues of its SDK.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from botocore.exceptions import ClientError

from tests.local.sagemaker.client import KMEANS, ROLE, deployed, request, trained, with_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def up(state):
    """A server with a model, an endpoint of it, a job that has ended, and a model of many."""
    with with_rows(state) as server:
        job = trained(server, "done")
        container = {"Image": KMEANS, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]}
        create = server.sagemaker.create_model
        create(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
        create(ModelName="isolated", PrimaryContainer=container, ExecutionRoleArn=ROLE, EnableNetworkIsolation=True)
        create(ModelName="pipeline", Containers=[container, container], ExecutionRoleArn=ROLE)
        many = {"Image": KMEANS, "ModelDataUrl": "s3://bucket/out/", "Mode": "MultiModel"}
        create(ModelName="many", PrimaryContainer=many, ExecutionRoleArn=ROLE)
        deployed(server, "e", m=1)
        yield server


def refused(up, operation: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ClientError, match=told) as caught:
        getattr(up.sagemaker, operation)(**given)
    assert caught.value.response["Error"]["Code"] in ("ValidationException", "ResourceInUse", "ResourceNotFound")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


# ---- training jobs --------------------------------------------------------------------------------------------------

FILE_SYSTEM = {"FileSystemId": "fs-0123456789a", "FileSystemType": "EFS", "FileSystemAccessMode": "ro"}
RESOURCES = request("x")["ResourceConfig"]
GROUP = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "InstanceGroupName": "g"}
SPECIFICATION = request("x")["AlgorithmSpecification"]


def channel(source: dict[str, Any] | None = None, mode: str = "File", **more: Any) -> dict[str, Any]:
    """The request of a job whose channel has these."""
    asked = request("refused", mode=mode)
    asked["InputDataConfig"][0] |= more
    asked["InputDataConfig"][0]["DataSource"]["S3DataSource"] |= source or {}
    return asked


def both_sources() -> dict[str, Any]:
    asked = request("refused")
    asked["InputDataConfig"][0]["DataSource"]["FileSystemDataSource"] = FILE_SYSTEM | {"DirectoryPath": "/a"}
    return asked


JOBS = {
    "gzip in files": (channel(CompressionType="Gzip"), "channel train: File mode only supports NONE, got Gzip"),
    "gzip as read": (channel(CompressionType="Gzip", InputMode="FastFile"), "FastFile mode only supports NONE"),
    "gzip of a channel": (channel(mode="Pipe", CompressionType="Gzip", InputMode="File"), "only supports NONE"),
    "wrapped files": (
        channel(RecordWrapperType="RecordIO"),
        "Invalid record wrapper type for channel train: File mode",
    ),
    "attributes of a prefix": (channel({"AttributeNames": ["a"]}, "Pipe"), "AttributeNames are for AugmentedManifest"),
    "no attributes": (channel({"S3DataType": "AugmentedManifestFile"}, "Pipe"), "needs AttributeNames"),
    "augmented files": (
        channel({"S3DataType": "AugmentedManifestFile", "AttributeNames": ["a"]}),
        "can only be used if the channel's input mode is Pipe",
    ),
    "two channels of a name": (
        request("refused", InputDataConfig=request("x")["InputDataConfig"] * 2),
        "'train' is given twice",
    ),
    "two sources": (both_sources(), "S3DataSource and FileSystemDataSource"),
    "a group that is not there": (channel({"InstanceGroupNames": ["g"]}), "InstanceGroupNames"),
    "groups and a count": (
        request("refused", ResourceConfig=RESOURCES | {"InstanceGroups": [GROUP]}),
        "InstanceGroups are instead of InstanceType and InstanceCount",
    ),
    "groups of a name": (
        request("refused", ResourceConfig={"VolumeSizeInGB": 1, "InstanceGroups": [GROUP, GROUP]}),
        "InstanceGroupName 'g' is given twice",
    ),
    "no instance type": (
        request("refused", ResourceConfig={"VolumeSizeInGB": 1, "InstanceCount": 1}),
        "InstanceType is required",
    ),
    "no instance count": (
        request("refused", ResourceConfig={"VolumeSizeInGB": 1, "InstanceType": "ml.m5.large"}),
        "InstanceCount is required",
    ),
    "waits without spot": (
        request("refused", StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90}),
        "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true",
    ),
    "spot without waiting": (
        request("refused", EnableManagedSpotTraining=True),
        "MaxWaitTimeInSeconds above or equal to MaxRuntimeInSeconds",
    ),
    "spot that waits too short": (
        request(
            "refused",
            EnableManagedSpotTraining=True,
            StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59},
        ),
        "MaxWaitTimeInSeconds above or equal to MaxRuntimeInSeconds",
    ),
    "a warm pool of spot": (
        request(
            "refused",
            EnableManagedSpotTraining=True,
            StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
            ResourceConfig=RESOURCES | {"KeepAlivePeriodInSeconds": 60},
        ),
        "KeepAlivePeriodInSeconds",
    ),
    "longer than 28 days": (
        request("refused", StoppingCondition={"MaxRuntimeInSeconds": 28 * 86400 + 1}),
        "28 days",
    ),
    "an image and an algorithm": (
        request("refused", AlgorithmSpecification=SPECIFICATION | {"AlgorithmName": "mine"}),
        "TrainingImage and AlgorithmName",
    ),
    "a program of one's own": (
        request("refused", AlgorithmSpecification=SPECIFICATION | {"ContainerEntrypoint": ["/bin/sh"]}),
        "AlgorithmSpecification.ContainerEntrypoint: programs of your own",
    ),
    "neither": (request("refused", AlgorithmSpecification={"TrainingInputMode": "File"}), "TrainingImage"),
    "two metrics of a name": (
        request(
            "refused",
            AlgorithmSpecification=SPECIFICATION | {"MetricDefinitions": [{"Name": "a", "Regex": "a=(.*)"}] * 2},
        ),
        "MetricDefinitions: the name 'a' is given twice",
    ),
    "tags of a key": (request("refused", Tags=[{"Key": "a", "Value": "1"}] * 2), "tag key 'a' is given twice"),
    "a tag of AWS": (request("refused", Tags=[{"Key": "aws:a", "Value": "1"}]), "aws:"),
    "a name that is there": (request("done"), "must be unique within an AWS account and region"),
}


@pytest.mark.parametrize(("given", "told"), JOBS.values(), ids=JOBS)
def test_a_training_job_whose_fields_exclude_each_other_is_refused(up, given, told):
    refused(up, "create_training_job", given, told)


def test_none_of_these_jobs_was_made(up):
    assert [one["TrainingJobName"] for one in up.sagemaker.list_training_jobs()["TrainingJobSummaries"]] == ["done"]


def test_instances_in_groups_are_hosts(up):
    groups = [GROUP, GROUP | {"InstanceGroupName": "h"}]
    trained(up, "groups", ResourceConfig={"VolumeSizeInGB": 1, "InstanceGroups": groups})
    up.sagemaker.delete_training_job(TrainingJobName="groups")


# ---- models, configurations, endpoints ------------------------------------------------------------------------------

CONTAINER = {"Image": KMEANS, "ModelDataUrl": "s3://bucket/m.tar.gz"}
S3_MODEL = {"S3Uri": "s3://bucket/m/", "S3DataType": "S3Prefix", "CompressionType": "None"}
MODELS = {
    "neither": ({}, "Either PrimaryContainer or Containers"),
    "both": ({"PrimaryContainer": CONTAINER, "Containers": [CONTAINER]}, "Either PrimaryContainer or Containers"),
    "two places of a model": (
        {"PrimaryContainer": CONTAINER | {"ModelDataSource": {"S3DataSource": S3_MODEL}}},
        "ModelDataUrl and ModelDataSource",
    ),
    "many without a place": (
        {"PrimaryContainer": {"Image": KMEANS, "Mode": "MultiModel"}},
        "MultiModel needs a ModelDataUrl",
    ),
    "some with a name": (
        {"Containers": [CONTAINER | {"ContainerHostname": "a"}, CONTAINER]},
        "ContainerHostname.* of every",
    ),
    "names twice": ({"Containers": [CONTAINER | {"ContainerHostname": "a"}] * 2}, "ContainerHostname must be unique"),
    "direct without names": (
        {"Containers": [CONTAINER] * 2, "InferenceExecutionConfig": {"Mode": "Direct"}},
        "each container needs a ContainerHostname",
    ),
}


@pytest.mark.parametrize(("given", "told"), MODELS.values(), ids=MODELS)
def test_a_model_whose_containers_exclude_each_other_is_refused(up, given, told):
    refused(up, "create_model", {"ModelName": "refused", "ExecutionRoleArn": ROLE} | given, told)


SERVERLESS = {"MemorySizeInMB": 1024, "MaxConcurrency": 2}
INSTANCES = {"InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
CAPTURE = {
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://bucket/seen",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}
ANSWERS = {"OutputConfig": {"S3OutputPath": "s3://bucket/answers"}}


def variant(name: str = "a", model: str = "m", **more: Any) -> dict[str, Any]:
    return {"VariantName": name, "ModelName": model, **more}


def serverless(name: str = "a", model: str = "m", **more: Any) -> dict[str, Any]:
    return variant(name, model, ServerlessConfig=SERVERLESS | more)


EXCLUDED = "features are not supported using this configuration"
CONFIGS = {
    "nothing to run on": ([variant()], {}, "neither InstanceType and InitialInstanceCount nor ServerlessConfig"),
    "a type without a count": ([variant(InstanceType="ml.m5.large")], {}, "InitialInstanceCount is required"),
    "a count without a type": ([variant(InitialInstanceCount=1)], {}, "InstanceType is required"),
    "both": ([serverless() | INSTANCES], {}, "ServerlessConfig is instead of instances"),
    "memory between": ([serverless(MemorySizeInMB=1500)], {}, "MemorySizeInMB 1500 is none of"),
    "more provisioned": ([serverless(ProvisionedConcurrency=3)], {}, "ProvisionedConcurrency 3 is over"),
    "two serverless": ([serverless(), serverless("b")], {}, f"{EXCLUDED}.*2 production variants"),
    "a serverless and another": ([serverless(), variant("b", **INSTANCES)], {}, EXCLUDED),
    "a serverless of many": ([serverless(model="many")], {}, f"{EXCLUDED}.*multi-model"),
    "a serverless pipeline": ([serverless(model="pipeline")], {}, f"{EXCLUDED}.*pipeline"),
    "an isolated serverless": ([serverless(model="isolated")], {}, f"{EXCLUDED}.*isolation"),
    "a captured serverless": ([serverless()], {"DataCaptureConfig": CAPTURE | {"EnableCapture": True}}, EXCLUDED),
    "an asynchronous serverless": ([serverless()], {"AsyncInferenceConfig": ANSWERS}, EXCLUDED),
    "two asynchronous": (
        [variant(**INSTANCES), variant("b", **INSTANCES)],
        {"AsyncInferenceConfig": ANSWERS},
        "AsyncInferenceConfig.*one production variant",
    ),
    "two shadows": (
        [variant(**INSTANCES)],
        {"ShadowProductionVariants": [variant("b", **INSTANCES), variant("c", **INSTANCES)]},
        "one production variant with one shadow variant",
    ),
    "a serverless shadow": (
        [variant(**INSTANCES)],
        {"ShadowProductionVariants": [serverless("b")]},
        "not supported by a serverless",
    ),
    "a shadow of many": (
        [variant(**INSTANCES)],
        {"ShadowProductionVariants": [variant("b", "many", **INSTANCES)]},
        "not supported by a multi-model",
    ),
    "a shadow of the name": (
        [variant(**INSTANCES)],
        {"ShadowProductionVariants": [variant(**INSTANCES)]},
        "names must be unique",
    ),
    "an explainer": (
        [variant(**INSTANCES)],
        {"ExplainerConfig": {"ClarifyExplainerConfig": {"ShapConfig": {"ShapBaselineConfig": {}}}}},
        "ExplainerConfig: oba up has no explainers",
    ),
    "names twice": ([variant(**INSTANCES)] * 2, {}, "names must be unique"),
    "no such model": ([variant(model="none", **INSTANCES)], {}, "Could not find model"),
}


@pytest.mark.parametrize(("variants", "more", "told"), CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_whose_fields_exclude_each_other_is_refused(up, variants, more, told):
    given = {"EndpointConfigName": "refused", "ProductionVariants": variants, **more}
    refused(up, "create_endpoint_config", given, told)


def test_a_serverless_variant_and_a_capture_that_is_off_are_taken(up):
    capture = CAPTURE | {"EnableCapture": False}
    up.sagemaker.create_endpoint_config(
        EndpointConfigName="serverless", ProductionVariants=[serverless()], DataCaptureConfig=capture
    )
    up.sagemaker.delete_endpoint_config(EndpointConfigName="serverless")


def wanted(**more: Any) -> list[dict[str, Any]]:
    return [{"VariantName": "v-m", **more}]


SERVERLESS_UPDATE = {"MaxConcurrency": 3}
ENDPOINTS = {
    "one that is there": ("create_endpoint", {"EndpointName": "e", "EndpointConfigName": "e"}, "already existing"),
    "no configuration": (
        "create_endpoint",
        {"EndpointName": "x", "EndpointConfigName": "x"},
        "Could not find endpoint c",
    ),
    "no endpoint": ("update_endpoint", {"EndpointName": "x", "EndpointConfigName": "e"}, "Could not find endpoint"),
    "a config that is there": (
        "create_endpoint_config",
        {"EndpointConfigName": "e", "ProductionVariants": [variant(**INSTANCES)]},
        "already existing",
    ),
    "no such variant": (
        "update_endpoint_weights_and_capacities",
        {"EndpointName": "e", "DesiredWeightsAndCapacities": [{"VariantName": "x", "DesiredWeight": 1}]},
        "not present within endpoint configuration",
    ),
    "no instances": (
        "update_endpoint_weights_and_capacities",
        {"EndpointName": "e", "DesiredWeightsAndCapacities": wanted(DesiredInstanceCount=0)},
        "DesiredInstanceCount",
    ),
    "a variant twice": (
        "update_endpoint_weights_and_capacities",
        {"EndpointName": "e", "DesiredWeightsAndCapacities": wanted(DesiredWeight=1) * 2},
        "'v-m' is given twice",
    ),
    "concurrency of instances": (
        "update_endpoint_weights_and_capacities",
        {"EndpointName": "e", "DesiredWeightsAndCapacities": wanted(ServerlessUpdateConfig=SERVERLESS_UPDATE)},
        "ServerlessUpdateConfig",
    ),
    "no model to delete": ("delete_model", {"ModelName": "x"}, "Could not find model"),
    "no endpoint to delete": ("delete_endpoint", {"EndpointName": "x"}, "Could not find endpoint"),
    "a job that has ended": ("stop_training_job", {"TrainingJobName": "done"}, "in status Completed"),
    "no job": ("stop_training_job", {"TrainingJobName": "none"}, "not found"),
    "tags of nothing": (
        "add_tags",
        {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:model/x", "Tags": [{"Key": "a", "Value": "b"}]},
        "Could not find resource",
    ),
}


@pytest.mark.parametrize(("operation", "given", "told"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_what_cannot_be_done_to_what_is_there_is_refused(up, operation, given, told):
    refused(up, operation, given, told)
    assert up.sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService"


def test_a_resource_has_fifty_tags_at_most(up):
    arn = up.sagemaker.describe_model(ModelName="m")["ModelArn"]
    up.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": f"a{n}", "Value": ""} for n in range(30)])
    given = {"ResourceArn": arn, "Tags": [{"Key": f"b{n}", "Value": ""} for n in range(30)]}
    refused(up, "add_tags", given, "50")
    assert len(up.sagemaker.list_tags(ResourceArn=arn)["Tags"]) == 30


# ---- transform jobs -------------------------------------------------------------------------------------------------


def transform(source: dict[str, Any] | None = None, output: dict[str, Any] | None = None, **more: Any):
    place = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/train"}}
    return {
        "TransformJobName": "refused",
        "ModelName": "m",
        "TransformInput": {"DataSource": place, "ContentType": "text/csv", "SplitType": "Line"} | (source or {}),
        "TransformOutput": {"S3OutputPath": "s3://bucket/answers"} | (output or {}),
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **more,
    }


TRANSFORMS = {
    "too much at once": (transform(MaxConcurrentTransforms=20, MaxPayloadInMB=6), "100"),
    "more than 100 MB": (transform(MaxPayloadInMB=101), "100"),
    "no such model": (transform(ModelName="none"), "Could not find model"),
    "a model of many": (transform(ModelName="many"), "one model each"),
    "a filter that is no path": (transform(DataProcessing={"InputFilter": "$["}), "(?i)filter"),
}


@pytest.mark.parametrize(("given", "told"), TRANSFORMS.values(), ids=TRANSFORMS)
def test_a_transform_job_whose_options_exclude_each_other_is_refused(up, given, told):
    refused(up, "create_transform_job", given, told)
    assert not up.sagemaker.list_transform_jobs()["TransformJobSummaries"]


# ---- tuning jobs ----------------------------------------------------------------------------------------------------

RANGE = {"Name": "mini_batch_size", "MinValue": "50", "MaxValue": "100", "ScalingType": "Auto"}
RATE = {"Name": "rate", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}
DEFINITION = {
    "StaticHyperParameters": {"k": "3", "feature_dim": "2"},
    "AlgorithmSpecification": {"TrainingImage": KMEANS, "TrainingInputMode": "File"},
    **{name: request("x")[name] for name in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")},
    "InputDataConfig": [
        one for name in ("train", "test") for one in [request("x")["InputDataConfig"][0] | {"ChannelName": name}]
    ],
}
OBJECTIVE = {"Type": "Minimize", "MetricName": "test:msd"}
LIMITS = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1}


def tuning(ranges: dict[str, Any] | None = None, definition: dict[str, Any] | None = None, **config: Any):
    more = {key: config.pop(key) for key in ("TrainingJobDefinitions", "WarmStartConfig") if key in config}
    return {
        "HyperParameterTuningJobName": "refused",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": OBJECTIVE,
            "ResourceLimits": LIMITS,
            "ParameterRanges": {"IntegerParameterRanges": [RANGE]} | (ranges or {}),
            **config,
        },
        "TrainingJobDefinition": DEFINITION | (definition or {}),
        **more,
    }


def integers(*ranges: dict[str, Any]) -> dict[str, Any]:
    return {"IntegerParameterRanges": list(ranges)}


TUNINGS = {
    "two kinds of definitions": (
        tuning(TrainingJobDefinitions=[DEFINITION | {"DefinitionName": "a"}]),
        "Either TrainingJobDefinition or TrainingJobDefinitions",
    ),
    "a range that falls": (tuning(integers(RANGE | {"MinValue": "101"})), "(?i)min"),
    "an integer that is none": (tuning(integers(RANGE | {"MinValue": "50.5"})), "50.5"),
    "a range twice": (tuning(integers(RANGE, RANGE)), "two ranges"),
    "logarithms of nothing": (tuning(integers(RANGE | {"MinValue": "0", "ScalingType": "Logarithmic"})), "(?i)log"),
    "reverse logarithms": (tuning(integers(RANGE | {"ScalingType": "ReverseLogarithmic"})), "(?i)reverse"),
    "tuned and static": (
        tuning(definition={"StaticHyperParameters": DEFINITION["StaticHyperParameters"] | {"mini_batch_size": "5"}}),
        "both a static hyperparameter and a tunable one",
    ),
    "a grid of numbers": (tuning(Strategy="Grid"), "(?i)grid"),
    "hyperband that stops early": (
        tuning(
            Strategy="Hyperband",
            TrainingJobEarlyStoppingType="Auto",
            StrategyConfig={"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 3}},
        ),
        "TrainingJobEarlyStoppingType must be Off",
    ),
    "hyperband's settings of another": (
        tuning(StrategyConfig={"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 3}}),
        "StrategyConfig.*Hyperband",
    ),
    "resources that fall": (
        tuning(Strategy="Hyperband", StrategyConfig={"HyperbandStrategyConfig": {"MinResource": 5, "MaxResource": 3}}),
        "MinResource 5",
    ),
    "hyperband of nothing": (tuning(Strategy="Hyperband"), "MaxResource parameter is not provided"),
    "an objective that is not there": (
        tuning(HyperParameterTuningJobObjective=OBJECTIVE | {"MetricName": "test:accuracy"}),
        "isn't valid for the",
    ),
    "too few combinations": (
        tuning(integers(RANGE | {"MaxValue": "50"})),
        "You don't have enough combinations of hyperparameter ranges",
    ),
    "what is not tuned": (
        tuning(integers(RANGE | {"Name": "k"}), {"StaticHyperParameters": {"feature_dim": "2"}}),
        "isn't tunable",
    ),
    "no such parent": (
        tuning(
            WarmStartConfig={
                "WarmStartType": "TransferLearning",
                "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "none"}],
            }
        ),
        "none",
    ),
    "channels of a name": (
        tuning(definition={"InputDataConfig": DEFINITION["InputDataConfig"] + DEFINITION["InputDataConfig"][:1]}),
        "'train' is given twice",
    ),
    "gzip in files": (
        tuning(
            definition={"InputDataConfig": [one | {"CompressionType": "Gzip"} for one in DEFINITION["InputDataConfig"]]}
        ),
        "File mode only supports NONE",
    ),
    "waits without spot": (
        tuning(definition={"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90}}),
        "only supported when EnableManagedSpotTraining is set to true",
    ),
}


@pytest.mark.parametrize(("given", "told"), TUNINGS.values(), ids=TUNINGS)
def test_a_tuning_job_whose_fields_exclude_each_other_is_refused(up, given, told):
    refused(up, "create_hyper_parameter_tuning_job", given, told)


def test_none_of_these_tuning_jobs_was_made(up):
    assert not up.sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]


@pytest.mark.parametrize(
    "given", [{"EnableExplanations": "`true`"}, {"InferenceComponentName": "c"}, {"SessionId": "NEW_SESSION"}]
)
def test_a_call_for_what_no_endpoint_has_here_is_refused(up, given):
    with pytest.raises(ClientError, match=f"ValidationError.* {next(iter(given))}: oba up has no "):
        up.runtime.invoke_endpoint(EndpointName="e", ContentType="text/csv", Body="1,2", **given)
