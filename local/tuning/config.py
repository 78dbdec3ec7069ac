"""The configuration of a tuning job, from SageMaker's ``CreateHyperParameterTuningJob``, or made directly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from container.settings import ConfigurationError
from local.tuning.ranges import AUTO, CategoricalRange, ContinuousRange, IntegerRange, Range

BAYESIAN, RANDOM, GRID, HYPERBAND = "Bayesian", "Random", "Grid", "Hyperband"
STRATEGIES = (BAYESIAN, RANDOM, GRID, HYPERBAND)
EPOCHS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
"""The static hyperparameters that state Hyperband's MaxResource (the API reference, ``HyperbandStrategyConfig``)."""
IDENTICAL = "IdenticalDataAndAlgorithm"
MOST_JOBS = 750
"""Most training jobs of a tuning job that states no limit: SageMaker's quota."""


class TuningError(ConfigurationError):
    """A tuning job is refused; the message has all problems."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One kind of training job, and what is searched for it.

    Attributes:
        name: '' where a tuning job has one definition only, as most have.
        static: hyperparameters that all jobs share, as they stand on the wire.
        metric: the objective. maximize: larger is better.
        hints: AutoParameters: names whose ranges the declaration gives, and a value to start from ('' for none).
        start: what the first training job is given, where there is a value for each range: the hints, which are the
            defaults where everything is searched.
    """

    ranges: tuple[Range, ...]
    metric: str
    maximize: bool
    static: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    hints: Mapping[str, str] = field(default_factory=dict)
    start: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """All of a tuning job except how a training job is run.

    Attributes:
        max_jobs: training jobs to start. parallel: at a time.
        max_seconds: of the whole, after which running jobs are stopped; None for no limit.
        early_stopping: jobs that do worse than the median of the earlier ones are stopped.
        target: the job is over when the objective is at least as good.
        most_without_gain: the job is over after so many jobs in a row that were not 1 % better than the best before.
        until_converged: the job is over when later jobs gain nothing.
        resources: of Hyperband: the least and the greatest number of epochs of a job; None lets the first job tell.
        warm_start: ``IDENTICAL`` or ``TransferLearning`` where there are parents.
    """

    definitions: tuple[Definition, ...]
    strategy: str = BAYESIAN
    max_jobs: int = MOST_JOBS
    parallel: int = 1
    max_seconds: float | None = None
    early_stopping: bool = False
    target: float | None = None
    most_without_gain: int | None = None
    until_converged: bool = False
    seed: int = 0
    resources: tuple[int, int] | None = None
    warm_start: str | None = None

    @property
    def maximize(self) -> bool:
        """Larger is better."""
        return self.definitions[0].maximize

    def combinations(self) -> int | None:
        """How many different jobs there are; None where a range is continuous."""
        total = 0
        for definition in self.definitions:
            counts = [one.count() for one in definition.ranges]
            if None in counts:
                return None
            total += math.prod(count for count in counts if count)
        return total


def from_request(request: Mapping[str, Any]) -> TuningConfig:
    """The fields of a request that botocore's model has accepted; ``checks`` says whether they fit each other."""
    config = request["HyperParameterTuningJobConfig"]
    limits = config.get("ResourceLimits", {})
    criteria = config.get("TuningJobCompletionCriteria", {})
    bounds = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
    definitions = tuple(
        _definition(one, config) for one in request.get("TrainingJobDefinitions") or [request["TrainingJobDefinition"]]
    )
    strategy = config["Strategy"]
    jobs = limits.get("MaxNumberOfTrainingJobs")
    made = TuningConfig(
        definitions=definitions,
        strategy=strategy,
        max_jobs=jobs or MOST_JOBS,
        parallel=limits.get("MaxParallelTrainingJobs", 1),
        max_seconds=limits.get("MaxRuntimeInSeconds"),
        early_stopping=config.get("TrainingJobEarlyStoppingType", "Off") == "Auto",
        target=criteria.get("TargetObjectiveMetricValue"),
        most_without_gain=criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving"),
        until_converged=criteria.get("ConvergenceDetected", {}).get("CompleteOnConvergence") == "Enabled",
        seed=config.get("RandomSeed", 0),
        resources=_resources(bounds, definitions) if strategy == HYPERBAND or bounds else None,
        warm_start=request.get("WarmStartConfig", {}).get("WarmStartType"),
    )
    if strategy == GRID and jobs not in (None, made.combinations()):
        raise TuningError(
            f"For grid search, MaxNumberOfTrainingJobs, [{jobs}], must be the number of hyperparameter combinations, "
            f"[{made.combinations()}], or be left out"
        )
    return made


def _resources(bounds: Mapping[str, int], definitions: Sequence[Definition]) -> tuple[int, int] | None:
    """The least and the greatest number of epochs of a job, stated or those of a static hyperparameter, if any."""
    stated = [one.static[name] for one in definitions for name in EPOCHS if name in one.static]
    greatest = bounds.get("MaxResource") or next((int(text) for text in stated if text.isdecimal()), None)
    return (bounds.get("MinResource", 1), greatest) if greatest else None


def _definition(definition: Mapping[str, Any], config: Mapping[str, Any]) -> Definition:
    objective = definition.get("TuningObjective") or config.get("HyperParameterTuningJobObjective")
    name = definition.get("DefinitionName", "")
    if not objective:
        raise TuningError(
            "A metric is required for this hyperparameter tuning job objective. "
            f"Provide a metric in the metric definitions{f' of {name}' if name else ''}."
        )
    ranges = definition.get("HyperParameterRanges") or config.get("ParameterRanges") or {}
    hints = {one["Name"]: one.get("ValueHint", "") for one in ranges.get("AutoParameters", [])}
    return Definition(
        name=name,
        ranges=ranges_of(ranges),
        metric=objective["MetricName"],
        maximize=objective["Type"] == "Maximize",
        static=dict(definition.get("StaticHyperParameters", {})),
        hints=hints,
    )


def ranges_of(ranges: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Range, ...]:
    """SageMaker's ``ParameterRanges``.

    Raises:
        TuningError: an end is not a number.
    """
    found: list[Range] = []
    for one in ranges.get("IntegerParameterRanges", []):
        low, high = _whole(one, "MinValue"), _whole(one, "MaxValue")
        found.append(IntegerRange(one["Name"], low, high, one.get("ScalingType", AUTO)))
    for one in ranges.get("ContinuousParameterRanges", []):
        ends = _number(one, "MinValue"), _number(one, "MaxValue")
        found.append(ContinuousRange(one["Name"], *ends, one.get("ScalingType", AUTO)))
    found += [
        CategoricalRange(one["Name"], tuple(one["Values"])) for one in ranges.get("CategoricalParameterRanges", [])
    ]
    return tuple(found)


def _number(one: Mapping[str, Any], end: str) -> float:
    try:
        return float(one[end])
    except ValueError as error:
        raise TuningError(f"'{one['Name']}': {end} '{one[end]}' is not a number") from error


def _whole(one: Mapping[str, Any], end: str) -> int:
    number = _number(one, end)
    if not number.is_integer():
        raise TuningError(f"'{one['Name']}': {end} '{one[end]}' of an integer range is not an integer")
    return int(number)
