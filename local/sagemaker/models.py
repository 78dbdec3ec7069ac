"""The operations of models and endpoint configurations, which are records only."""

from __future__ import annotations

import time

from local.sagemaker import s3
from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import AwsError, JobError, invalid
from local.sagemaker.operations import listed, operation
from local.sagemaker.store import Record

MODEL, CONFIG = "model", "endpoint-config"


def put_new(cloud: Cloud, kind: str, name: str, record: Record, exists: str) -> str:
    """Write a record that must not be there yet; its ARN.

    Raises:
        AwsError: it is; ``exists`` is the begin of what is told.
    """
    arn, now = cloud.arn(kind, name), time.time()
    own = {"Name": name, "Arn": arn, "Region": cloud.region, "CreationTime": now, "LastModifiedTime": now}
    with cloud.store.lock:
        if cloud.store.get(kind, name):
            raise invalid(f'{exists} "{arn}".')
        cloud.store.put(kind, name, record | own)
    return arn


def found(cloud: Cloud, kind: str, name: str, what: str) -> Record:
    """A record.

    Raises:
        AwsError: there is none; ``what`` is how AWS calls the kind.
    """
    record = cloud.store.get(kind, name)
    if record is None:
        raise invalid(f'Could not find {what} "{cloud.arn(kind, name)}".')
    return record


def container(cloud: Cloud, name: str) -> Record:
    """The one container of a model.

    Raises:
        AwsError: there is no such model.
    """
    record = found(cloud, MODEL, name, "model")
    return record.get("PrimaryContainer") or record["Containers"][0]


@operation("CreateModel")
def create_model(cloud: Cloud, request: Record) -> Record:
    """A model of one container, with one model or (``Mode`` ``MultiModel``) many."""
    containers = [
        *([request["PrimaryContainer"]] if "PrimaryContainer" in request else ()),
        *request.get("Containers", ()),
    ]
    if len(containers) != 1:
        raise AwsError(
            "ValidationException", f"A model has one container here, not {len(containers)}: there are no pipelines"
        )
    if "Image" not in containers[0]:
        raise invalid("The container has no Image, and oba up has no model packages")
    cloud.engine.check(containers[0]["Image"])
    if containers[0].get("Mode") == "MultiModel" and "ModelDataUrl" not in containers[0]:
        raise invalid("A container of Mode MultiModel needs a ModelDataUrl: the prefix of its models")
    name = request["ModelName"]
    return {"ModelArn": put_new(cloud, MODEL, name, request, "Cannot create already existing model")}


@operation("DescribeModel")
def describe_model(cloud: Cloud, request: Record) -> Record:
    """The model."""
    record = found(cloud, MODEL, request["ModelName"], "model")
    return record | {"ModelArn": record["Arn"], "EnableNetworkIsolation": record.get("EnableNetworkIsolation", False)}


@operation("DeleteModel")
def delete_model(cloud: Cloud, request: Record) -> None:
    """Take a model away; endpoints that run with it go on."""
    found(cloud, MODEL, request["ModelName"], "model")
    cloud.store.delete(MODEL, request["ModelName"])


@operation("ListModels")
def list_models(cloud: Cloud, request: Record) -> Record:
    """Models, a page of them."""
    page, token = listed(cloud.store.all(MODEL), request, name="Name")
    models = [{"ModelName": one["Name"], "ModelArn": one["Arn"], "CreationTime": one["CreationTime"]} for one in page]
    return {"Models": models, **token}


@operation("CreateEndpointConfig")
def create_config(cloud: Cloud, request: Record) -> Record:
    """Production variants: models with weights and numbers of instances."""
    names = [variant["VariantName"] for variant in request["ProductionVariants"]]
    if len(set(names)) < len(names):
        raise invalid(f"Production variant names must be unique: {', '.join(names)}")
    if "ShadowProductionVariants" in request:
        raise invalid("oba up does not have ShadowProductionVariants")
    if "AsyncInferenceConfig" in request:
        _check_asynchronous(request["AsyncInferenceConfig"]["OutputConfig"])
    for variant in request["ProductionVariants"]:
        if "ModelName" not in variant:
            raise invalid(f"Variant {variant['VariantName']}: oba up has variants with a ModelName only")
        found(cloud, MODEL, variant["ModelName"], "model")
    name = request["EndpointConfigName"]
    exists = "Cannot create already existing endpoint configuration"
    return {"EndpointConfigArn": put_new(cloud, CONFIG, name, request, exists)}


def _check_asynchronous(output: Record) -> None:
    """Refuse what has no place for its answers."""
    try:
        for name in ("S3OutputPath", *(["S3FailurePath"] if "S3FailurePath" in output else [])):
            s3.split(output.get(name, ""))
    except JobError as error:
        raise invalid(f"AsyncInferenceConfig.OutputConfig.{name}: {error}") from error


@operation("DescribeEndpointConfig")
def describe_config(cloud: Cloud, request: Record) -> Record:
    """The configuration."""
    record = found(cloud, CONFIG, request["EndpointConfigName"], "endpoint configuration")
    return record | {"EndpointConfigArn": record["Arn"]}


@operation("DeleteEndpointConfig")
def delete_config(cloud: Cloud, request: Record) -> None:
    """Take a configuration away; endpoints that run with it go on."""
    found(cloud, CONFIG, request["EndpointConfigName"], "endpoint configuration")
    cloud.store.delete(CONFIG, request["EndpointConfigName"])


@operation("ListEndpointConfigs")
def list_configs(cloud: Cloud, request: Record) -> Record:
    """Configurations, a page of them."""
    page, token = listed(cloud.store.all(CONFIG), request, name="Name")
    configs = [
        {"EndpointConfigName": one["Name"], "EndpointConfigArn": one["Arn"], "CreationTime": one["CreationTime"]}
        for one in page
    ]
    return {"EndpointConfigs": configs, **token}
