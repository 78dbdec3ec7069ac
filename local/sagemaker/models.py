"""The operations of models and endpoint configurations, which are records only."""

from __future__ import annotations

from local.sagemaker import data_capture, images, model_packages, s3
from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import JobError, invalid
from local.sagemaker.instances import Containers
from local.sagemaker.operations import listed, operation
from local.sagemaker.records import found, put_new
from local.sagemaker.store import Record

MODEL, CONFIG = "model", "endpoint-config"
_GIB_IN_MB = 1024


def containers(cloud: Cloud, name: str) -> Containers:
    """The containers of a model.

    Raises:
        AwsError: there is no such model.
    """
    return _containers(found(cloud, MODEL, name, "model"))


def _containers(model: Record) -> Containers:
    primary = [model["PrimaryContainer"]] if "PrimaryContainer" in model else []
    direct = model.get("InferenceExecutionConfig", {}).get("Mode") == "Direct"
    return Containers([*primary, *model.get("Containers", ())], direct)


def _specified(cloud: Cloud, request: Record) -> Record:
    """The members of a request that have containers, with those of model packages in place of the packages' names."""
    if "PrimaryContainer" in request:
        one, *more = model_packages.specified(cloud, request["PrimaryContainer"])
        if more:
            raise invalid("PrimaryContainer: the model package has several containers; Containers takes them")
        return {"PrimaryContainer": one}
    return {"Containers": [one for given in request["Containers"] for one in model_packages.specified(cloud, given)]}


@operation("CreateModel")
def create_model(cloud: Cloud, request: Record) -> Record:
    """A model of one container or of several, each with one model or (``Mode`` ``MultiModel``) many."""
    if ("PrimaryContainer" in request) == bool(request.get("Containers")):
        raise invalid("Either PrimaryContainer or Containers is required, and not both")
    request = request | _specified(cloud, request)
    described = _containers(request)
    for container in described.definitions:
        if "Image" not in container:
            raise invalid("The container has neither an Image nor a ModelPackageName")
        cloud.engine.check(container["Image"])
        images.check_no_program(container["Image"], container.get("Environment", {}), "SAGEMAKER_PROGRAM")
        if "ModelDataUrl" in container and "ModelDataSource" in container:
            raise invalid("The container has both ModelDataUrl and ModelDataSource; they exclude each other")
        if container.get("Mode") == "MultiModel" and "ModelDataUrl" not in container:
            raise invalid("A container of Mode MultiModel needs a ModelDataUrl: the prefix of its models")
        if described.direct and "ContainerHostname" not in container:
            raise invalid("InferenceExecutionConfig: with Mode Direct each container needs a ContainerHostname")
    named = sum("ContainerHostname" in container for container in described.definitions)
    if 0 < named < len(described.definitions):
        raise invalid("ContainerHostname: given for one container of a pipeline, it is required of every one")
    if len(set(described.names)) < len(described.names):
        raise invalid(f"ContainerHostname must be unique: {', '.join(described.names)}")
    name = request["ModelName"]
    return {"ModelArn": put_new(cloud, MODEL, name, request, "Cannot create already existing model")}


@operation("DescribeModel")
def describe_model(cloud: Cloud, request: Record) -> Record:
    """The model."""
    record = found(cloud, MODEL, request["ModelName"], "model")
    return record | {"ModelArn": record["Arn"], "EnableNetworkIsolation": record.get("EnableNetworkIsolation", False)}


@operation("DeleteModel")
def delete_model(cloud: Cloud, request: Record) -> None:
    """Delete a model; endpoints that use it go on."""
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
    shadows = request.get("ShadowProductionVariants", [])
    names = [variant["VariantName"] for variant in (*request["ProductionVariants"], *shadows)]
    if len(set(names)) < len(names):
        raise invalid(f"Production variant names must be unique: {', '.join(names)}")
    if "AsyncInferenceConfig" in request:
        _check_asynchronous(request["AsyncInferenceConfig"]["OutputConfig"])
        if len(names) > 1:
            raise invalid("AsyncInferenceConfig: an asynchronous endpoint has one production variant")
    if "DataCaptureConfig" in request:
        data_capture.check(request["DataCaptureConfig"])
    if "ExplainerConfig" in request:  # answers would not have the form that the client reads
        raise invalid("ExplainerConfig: oba up has no explainers of endpoints")
    for variant in (*request["ProductionVariants"], *shadows):
        if "ModelName" not in variant:
            raise invalid(f"Variant {variant['VariantName']}: oba up has variants with a ModelName only")
        model = found(cloud, MODEL, variant["ModelName"], "model")
        if "ServerlessConfig" in variant:
            _check_serverless(variant)
            _check_no_more_than_serverless(request, model)
        else:
            _check_instances(variant)
    if shadows:
        _check_no_more_than_shadowed(cloud, request)
    name = request["EndpointConfigName"]
    exists = "Cannot create already existing endpoint configuration"
    return {"EndpointConfigArn": put_new(cloud, CONFIG, name, request, exists)}


def _check_serverless(variant: Record) -> None:
    """Refuse what the API reference (``ProductionVariantServerlessConfig``) excludes beyond botocore's model."""
    name, config = variant["VariantName"], variant["ServerlessConfig"]
    if instances := [one for one in ("InitialInstanceCount", "InstanceType") if one in variant]:
        raise invalid(f"Variant {name}: ServerlessConfig is instead of instances; leave out {' and '.join(instances)}")
    if config["MemorySizeInMB"] % _GIB_IN_MB:
        raise invalid(
            f"Variant {name}: MemorySizeInMB {config['MemorySizeInMB']} is none of "
            "1024, 2048, 3072, 4096, 5120 and 6144"
        )
    if (provisioned := config.get("ProvisionedConcurrency", 0)) > config["MaxConcurrency"]:
        raise invalid(
            f"Variant {name}: ProvisionedConcurrency {provisioned} is over MaxConcurrency {config['MaxConcurrency']}"
        )


def _check_no_more_than_serverless(config: Record, model: Record) -> None:
    """Refuse what serverless endpoints exclude (the developer guide, "Feature exclusions")."""
    described, count = _containers(model), len(config["ProductionVariants"])
    excluded = {
        f"{count} production variants": count > 1,
        "an asynchronous endpoint": "AsyncInferenceConfig" in config,
        "data capture": config.get("DataCaptureConfig", {}).get("EnableCapture", False),
        "a multi-model endpoint": any(one.get("Mode") == "MultiModel" for one in described.definitions),
        "an inference pipeline": len(described.definitions) > 1,
        "a VPC": "VpcConfig" in model,
        "network isolation": model.get("EnableNetworkIsolation", False),
    }
    if names := [name for name, there in excluded.items() if there]:
        raise invalid(
            "One or more endpoint features are not supported using this configuration: a serverless endpoint cannot be "
            f"or have {', '.join(names)}"
        )


def _check_no_more_than_shadowed(cloud: Cloud, config: Record) -> None:
    """Refuse what endpoints with a shadow variant exclude (the developer guide, "Shadow variants")."""
    both = (config["ProductionVariants"], config["ShadowProductionVariants"])
    if any(len(variants) > 1 for variants in both):
        raise invalid("ShadowProductionVariants: an endpoint has one production variant with one shadow variant")
    of_models = [one for (variant,) in both for one in containers(cloud, variant["ModelName"]).definitions]
    excluded = {
        "a serverless endpoint": any("ServerlessConfig" in variant for (variant,) in both),
        "an asynchronous endpoint": "AsyncInferenceConfig" in config,
        "a multi-model endpoint": any(one.get("Mode") == "MultiModel" for one in of_models),
        "an inference pipeline": len(of_models) > len(both),
    }
    if names := [name for name, there in excluded.items() if there]:
        raise invalid(f"ShadowProductionVariants are not supported by {', '.join(names)}")


def _check_instances(variant: Record) -> None:
    name = variant["VariantName"]
    of_pools = ["InstanceType"] if "InstancePools" in variant else []
    missing = [one for one in ("InstanceType", "InitialInstanceCount") if one not in (*variant, *of_pools)]
    if len(missing) > 1:
        raise invalid(f"Variant {name}: it has neither InstanceType and InitialInstanceCount nor ServerlessConfig")
    if missing:
        raise invalid(f"Variant {name}: {missing[0]} is required where there is no ServerlessConfig")
    if "ManagedInstanceScaling" in variant:
        raise invalid("ManagedInstanceScaling is only supported for inference component endpoints.")


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
    weighted = {
        kind: [{"InitialVariantWeight": 1.0} | variant for variant in record[kind]]
        for kind in ("ProductionVariants", "ShadowProductionVariants")
        if record.get(kind)
    }
    return record | weighted | {"EndpointConfigArn": record["Arn"]}


@operation("DeleteEndpointConfig")
def delete_config(cloud: Cloud, request: Record) -> None:
    """Delete a configuration; endpoints that use it go on."""
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
