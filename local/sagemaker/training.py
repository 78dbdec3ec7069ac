"""The operations of training jobs. ``run`` in ``training_job`` is what happens behind them."""

from __future__ import annotations

import functools
import shutil
import time

from local.metric_patterns import MetricPattern
from local.sagemaker import images, job_checks, training_job
from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import AwsError, JobError, invalid
from local.sagemaker.operations import listed, operation
from local.sagemaker.s3 import split
from local.sagemaker.store import Record
from local.sagemaker.training_job import KIND

_SUMMARY = (
    *("TrainingJobName", "TrainingJobArn", "TrainingJobStatus", "SecondaryStatus"),
    *("CreationTime", "TrainingEndTime", "LastModifiedTime"),
)


@operation("CreateTrainingJob")
def create(cloud: Cloud, request: Record) -> Record:
    """Queue a job.

    ``request`` may have fields of a record besides, such as ``TuningJobArn``. A job's latest metrics are in its
    record's ``FinalMetricDataList`` while it runs.
    """
    name = request["TrainingJobName"]
    _check(cloud, request)
    arn, now = cloud.arn(KIND, name), time.time()
    record = request | {
        **_completed(request),
        "Name": name,
        "Arn": arn,
        "Region": cloud.region,
        "TrainingJobArn": arn,
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "SecondaryStatusTransitions": [
            {"Status": "Starting", "StartTime": now, "StatusMessage": "Waiting for the jobs before this one"}
        ],
        "CreationTime": now,
        "LastModifiedTime": now,
        "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
        "EnableInterContainerTrafficEncryption": request.get("EnableInterContainerTrafficEncryption", False),
        "EnableManagedSpotTraining": request.get("EnableManagedSpotTraining", False),
    }
    with cloud.store.lock:
        if cloud.store.get(KIND, name):
            raise AwsError(
                "ResourceInUse",
                "Training job names must be unique within an AWS account and region, and a training job with this "
                f"name already exists ({arn})",
            )
        cloud.store.put(KIND, name, record)
        cloud.submit(KIND, name, functools.partial(training_job.run, cloud, name))
    return {"TrainingJobArn": arn}


def _completed(request: Record) -> Record:
    """The parts of a request that AWS returns with its defaults: its SDKs look for them."""
    specification = request["AlgorithmSpecification"]
    declared = images.declaration(specification["TrainingImage"])
    given = [{"Name": one.name, "Regex": one.regex} for one in declared.metrics] if declared else []
    names = {one["Name"] for one in given}
    given += [one for one in specification.get("MetricDefinitions", ()) if one["Name"] not in names]
    channel = {"CompressionType": "None", "RecordWrapperType": "None"}
    return {
        "AlgorithmSpecification": specification
        | {"MetricDefinitions": given, "EnableSageMakerMetricsTimeSeries": False},
        "InputDataConfig": [channel | one for one in request.get("InputDataConfig", ())],
        "OutputDataConfig": {"KmsKeyId": "", "CompressionType": "GZIP"} | request["OutputDataConfig"],
        "HyperParameters": request.get("HyperParameters", {}),
    }


def _check(cloud: Cloud, request: Record) -> None:
    """Refuse a job whose request SageMaker would refuse.

    Raises:
        AwsError: saying why.
    """
    specification = request["AlgorithmSpecification"]
    if "TrainingImage" not in specification:
        raise invalid("AlgorithmSpecification: oba up needs a TrainingImage; it has no algorithms by AlgorithmName")
    for member in ("ContainerEntrypoint", "ContainerArguments"):
        if member in specification:
            raise invalid(
                f"AlgorithmSpecification.{member}: programs of your own (source_code in SDK 3) do not run here, but "
                "the commands of the images"
            )
    try:
        cloud.engine.check(specification["TrainingImage"])
        images.declaration(specification["TrainingImage"])
        split(request["OutputDataConfig"]["S3OutputPath"])
    except (LookupError, JobError) as error:
        raise invalid(str(error)) from error
    images.check_no_program(specification["TrainingImage"], request.get("HyperParameters", {}), "sagemaker_program")
    for wanted in ("ResourceConfig", "StoppingCondition", "OutputDataConfig"):
        if wanted not in request:
            raise invalid(f"{wanted} is required")
    job_checks.check(request, files=cloud.only_here)
    count = training_job.instances(request)
    if not 1 <= count <= training_job.MOST_HOSTS:
        raise invalid(f"ResourceConfig.InstanceCount: {count} is not from 1 to {training_job.MOST_HOSTS}")
    try:
        for one in specification.get("MetricDefinitions", ()):
            MetricPattern(one["Name"], one["Regex"])
    except ValueError as error:
        raise invalid(f"MetricDefinitions: {error}") from error
    local = request.get("CheckpointConfig", {}).get("LocalPath", training_job.CHECKPOINTS)
    if local.rstrip("/") != training_job.CHECKPOINTS:
        raise invalid(f"CheckpointConfig.LocalPath: oba up has {training_job.CHECKPOINTS} only, not {local}")


def found(cloud: Cloud, name: str) -> Record:
    """The job's record.

    Raises:
        AwsError: there is none.
    """
    record = cloud.store.get(KIND, name)
    if record is None:
        raise invalid("Requested resource not found.")
    return record


@operation("DescribeTrainingJob")
def describe(cloud: Cloud, request: Record) -> Record:
    """The job as it is now."""
    return found(cloud, request["TrainingJobName"])


@operation("ListTrainingJobs")
def list_jobs(cloud: Cloud, request: Record) -> Record:
    """Jobs, a page of them."""
    jobs = [] if "WarmPoolStatusEquals" in request else cloud.store.all(KIND)  # no job keeps its instances warm
    if "TrainingPlanArnEquals" in request:
        plan = request["TrainingPlanArnEquals"]
        jobs = [job for job in jobs if job["ResourceConfig"].get("TrainingPlanArn") == plan]
    page, token = listed(jobs, request, name="Name", status="TrainingJobStatus")
    return {"TrainingJobSummaries": [{key: one[key] for key in _SUMMARY if key in one} for one in page], **token}


@operation("StopTrainingJob")
def stop(cloud: Cloud, request: Record) -> None:
    """Ask the job to stop: it has 120 seconds to save its model. A job in the queue ends at once."""
    name = request["TrainingJobName"]
    with cloud.store.lock:
        record = found(cloud, name)
        if record["TrainingJobStatus"] != "InProgress":
            raise invalid(
                f"The request was rejected because the training job is in status {record['TrainingJobStatus']}."
            )
        cloud.store.update(KIND, name, TrainingJobStatus="Stopping")
        training_job.transition(cloud, name, "Stopping", "Stopping the training job")
        if cloud.stop(KIND, name):
            training_job.end_before_begin(cloud, name)


@operation("DeleteTrainingJob")
def delete(cloud: Cloud, request: Record) -> None:
    """Delete the record of a job that has ended; what it wrote to S3 stays."""
    name = request["TrainingJobName"]
    with cloud.store.lock:
        record = found(cloud, name)
        if record["TrainingJobStatus"] in ("InProgress", "Stopping"):
            raise AwsError(
                "ResourceInUse", f"The training job is in status {record['TrainingJobStatus']}; stop it first."
            )
        cloud.store.delete(KIND, name)
        shutil.rmtree(cloud.folder / "training-jobs" / name, ignore_errors=True)


@operation("UpdateTrainingJob")
def update(cloud: Cloud, request: Record) -> Record:
    """Nothing of what can be changed (profiler, warm pools) is here: accepted, without effect."""
    return {"TrainingJobArn": found(cloud, request["TrainingJobName"])["Arn"]}
