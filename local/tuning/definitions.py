"""The definitions of a tuning job's training jobs, with what SageMaker adds to those of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from algorithms.interface import Algorithm

OBJECTIVE = "_tuning_objective_metric"
"""The hyperparameter by which SageMaker tells an algorithm what it is tuned for."""


def image(definition: Mapping[str, Any]) -> str:
    """The URI of the training image, or the algorithm's name."""
    specification = definition["AlgorithmSpecification"]
    return str(specification.get("TrainingImage") or specification.get("AlgorithmName", ""))


def described(request: Mapping[str, Any], algorithm_of: Callable[[str], type[Algorithm] | None]) -> dict[str, Any]:
    """The request as Describe answers it, on which ``HyperparameterTuner.attach`` of the SDK counts.

    Each definition has the objective as a static hyperparameter, the resources of one training job, and the algorithm's
    metrics beside those that are stated.
    """
    of_all = request["HyperParameterTuningJobConfig"].get("HyperParameterTuningJobObjective", {})

    def completed(definition: Mapping[str, Any]) -> dict[str, Any]:
        metric = {**of_all, **definition.get("TuningObjective", {})}.get("MetricName")
        static = definition.get("StaticHyperParameters", {}) | ({OBJECTIVE: metric} if metric else {})
        specification, algorithm = definition["AlgorithmSpecification"], algorithm_of(image(definition))
        metrics = {one["Name"]: one["Regex"] for one in specification.get("MetricDefinitions", ())}
        metrics |= {one.name: one.regex for one in algorithm.metrics} if algorithm else {}
        named = [{"Name": name, "Regex": regex} for name, regex in metrics.items()]
        return {
            "ResourceConfig": resources(definition.get("HyperParameterTuningResourceConfig", {})),
            **definition,
            "StaticHyperParameters": static,
            "AlgorithmSpecification": {**specification, "MetricDefinitions": named},
        }

    answer = dict(request)
    if "TrainingJobDefinition" in answer:
        answer["TrainingJobDefinition"] = completed(answer["TrainingJobDefinition"])
    if "TrainingJobDefinitions" in answer:
        answer["TrainingJobDefinitions"] = [completed(one) for one in answer["TrainingJobDefinitions"]]
    return answer


def of(request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """All definitions of a request."""
    return request.get("TrainingJobDefinitions") or [request["TrainingJobDefinition"]]


def resources(stated: Mapping[str, Any]) -> dict[str, Any]:
    """ResourceConfig from HyperParameterTuningResourceConfig: the first of its instance types."""
    first = next(iter(stated.get("InstanceConfigs", [])), stated)
    chosen = {name: first[name] for name in ("InstanceType", "InstanceCount", "VolumeSizeInGB") if name in first}
    return {"VolumeSizeInGB": stated.get("VolumeSizeInGB", 1), **chosen}
