"""Fields of a training job, or of a tuning job's definition of its jobs, that exclude or need each other.

botocore's model has no such rules: they are from the API reference's texts, and from the errors that SageMaker gives,
in whose words they are where these are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from local.sagemaker import channels
from local.sagemaker.errors import invalid
from local.sagemaker.store import Record

_LONGEST_SECONDS = 28 * 24 * 3600
_ALGORITHM = ("TrainingImage", "AlgorithmName")


def check(job: Record, *, files: bool) -> None:
    """Refuse fields that exclude each other.

    Args:
        job: ``ResourceConfig`` and ``StoppingCondition`` are there.
        files: whether ``file://`` addresses may be read.

    Raises:
        AwsError: naming the fields.
    """
    for problem in (*_of_algorithm(job["AlgorithmSpecification"]), *_of_resources(job), *_of_time(job)):
        raise invalid(problem)
    channels.check(job, files=files)


def twice(names: Sequence[str]) -> str | None:
    """A name that is given more than once; None where none is."""
    return next((name for name in sorted(names) if names.count(name) > 1), None)


def _of_algorithm(specification: Record) -> Iterator[str]:
    if all(name in specification for name in _ALGORITHM):
        yield f"AlgorithmSpecification: {' and '.join(_ALGORITHM)} exclude each other"
    if name := twice([one["Name"] for one in specification.get("MetricDefinitions", ())]):
        yield f"AlgorithmSpecification.MetricDefinitions: the name '{name}' is given twice"


def _of_resources(job: Record) -> Iterator[str]:
    resources = job["ResourceConfig"]
    groups = resources.get("InstanceGroups", ())
    stated = [name for name in ("InstanceType", "InstanceCount") if name in resources]
    if groups and stated:
        yield f"ResourceConfig: InstanceGroups are instead of InstanceType and InstanceCount; leave out {stated[0]}"
    for name in ("InstanceType", "InstanceCount"):
        if not groups and name not in resources:
            yield f"ResourceConfig: {name} is required where there are no InstanceGroups"
    names = [group["InstanceGroupName"] for group in groups]
    if repeated := twice(names):
        yield f"ResourceConfig.InstanceGroups: the InstanceGroupName '{repeated}' is given twice"
    for channel in job.get("InputDataConfig", ()):
        wanted = channel["DataSource"].get("S3DataSource", {}).get("InstanceGroupNames", ())
        if wanted and sorted(wanted) != sorted(names):
            yield (
                f"Channel '{channel['ChannelName']}': InstanceGroupNames {', '.join(wanted)} are not those of the job, "
                f"{', '.join(names) or 'which has none'}; oba up gives a channel to all groups"
            )
    if job.get("EnableManagedSpotTraining") and resources.get("KeepAlivePeriodInSeconds"):
        yield "ResourceConfig.KeepAlivePeriodInSeconds: warm pools are not supported with EnableManagedSpotTraining"


def _of_time(job: Record) -> Iterator[str]:
    longest, wait = (job["StoppingCondition"].get(name) for name in ("MaxRuntimeInSeconds", "MaxWaitTimeInSeconds"))
    if (longest or 0) > _LONGEST_SECONDS:
        yield f"StoppingCondition.MaxRuntimeInSeconds: {longest} is over {_LONGEST_SECONDS}, 28 days"
    if not job.get("EnableManagedSpotTraining"):
        if wait is not None:
            yield "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"
    elif wait is None or wait < (longest or 0):
        yield "MaxWaitTimeInSeconds above or equal to MaxRuntimeInSeconds is required for spot training"
