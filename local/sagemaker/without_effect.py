"""The members of requests that AWS acts on and a machine of one's own does not: named in logs, never refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_TRAINING = (
    *("VpcConfig", "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining"),
    *("DebugHookConfig", "DebugRuleConfigurations", "TensorBoardOutputConfig", "ProfilerConfig"),
    *("ProfilerRuleConfigurations", "ExperimentConfig", "RetryStrategy", "RemoteDebugConfig", "InfraCheckConfig"),
    *("SessionChainingConfig", "ModelPackageConfig", "ServerlessJobConfig", "MlflowConfig"),
    *("OutputDataConfig.KmsKeyId", "ResourceConfig.VolumeKmsKeyId"),
    *("ResourceConfig.KeepAlivePeriodInSeconds", "ResourceConfig.TrainingPlanArn"),
    *("ResourceConfig.InstancePlacementConfig", "StoppingCondition.MaxPendingTimeInSeconds"),
    *("AlgorithmSpecification.TrainingImageConfig", "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries"),
)
_TRANSFORM = (
    *("DataCaptureConfig.KmsKeyId", "ExperimentConfig", "TransformOutput.KmsKeyId"),
    *("TransformResources.VolumeKmsKeyId", "TransformResources.TransformAmiVersion"),
)
_MODEL = (
    *("VpcConfig", "EnableNetworkIsolation", "PrimaryContainer.ImageConfig", "PrimaryContainer.MultiModelConfig"),
    *("Containers.ImageConfig", "Containers.MultiModelConfig"),
)
_VARIANT = (
    *("AcceleratorType", "CoreDumpConfig", "ServerlessConfig", "VolumeSizeInGB", "ManagedInstanceScaling"),
    *("RoutingConfig", "EnableSSMAccess", "InstancePools", "InferenceAmiVersion", "CapacityReservationConfig"),
)
_ENDPOINT = (
    *("KmsKeyId", "DataCaptureConfig.KmsKeyId", "MetricsConfig", "VpcConfig", "EnableNetworkIsolation"),
    "AsyncInferenceConfig.OutputConfig.KmsKeyId",
    *(f"{kind}.{name}" for kind in ("ProductionVariants", "ShadowProductionVariants") for name in _VARIANT),
)
_OF = {"training-job": _TRAINING, "transform-job": _TRANSFORM, "model": _MODEL, "endpoint-config": _ENDPOINT}


def told(kind: str, request: dict[str, Any]) -> str | None:
    """A line for the log that names the members of ``request`` without effect; None where it has none.

    Args:
        kind: of what the request creates, as in ARNs.

    >>> told("training-job", {"VpcConfig": {"Subnets": ["a"]}, "OutputDataConfig": {"KmsKeyId": ""}})
    'oba up: without effect on this machine: VpcConfig'
    """
    named = [path for path in _OF[kind] if any(_values(request, path.split(".")))]
    return f"oba up: without effect on this machine: {', '.join(named)}" if named else None


def _values(value: Any, path: list[str]) -> Iterator[Any]:
    """What is at a path, in each element of a list on the way."""
    if isinstance(value, list):
        for one in value:
            yield from _values(one, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _values(value[path[0]], path[1:])
