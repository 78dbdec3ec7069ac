"""The operations of hyperparameter tuning jobs, as ``local.tuning.service`` does them.

The training jobs that it asks for are those of ``training``, in the same queue as all others.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from algorithms.interface import Algorithm
from container.settings import ConfigurationError
from local.sagemaker import images, job_checks, protocol, training
from local.sagemaker.cloud import ACCOUNT, Cloud
from local.sagemaker.errors import AwsError, invalid
from local.sagemaker.operations import operation
from local.sagemaker.store import Record
from local.tuning import definitions
from local.tuning.config import TuningError
from local.tuning.service import InUseError, NotFoundError, TuningJobs

KIND = "hyper-parameter-tuning-job"
_FOLDER = "tuning-jobs"
_LEADER = "algo-1.log"
_ENDS = ("Completed", "Failed", "Stopped")
_PAUSE = 0.1
"""Seconds between two reads of a job's log; early stopping decides by epochs, which are seldom shorter."""

_LOST = "InternalServerError: oba up was ended while the tuning job ran."


class _TrainingJobs:
    """See ``local.tuning.service.TrainingJobs``: those of one region."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(self, request: dict[str, Any], tuning_job_arn: str) -> None:
        """Queue one, with the tags of its tuning job.

        Raises:
            ConfigurationError: it cannot be.
        """
        tags = [one["Tags"] for one in self._cloud.store.all(KIND) if one["Arn"] == tuning_job_arn and one["Tags"]]
        request = request | ({"Tags": tags[0]} if tags else {})
        try:
            protocol.check(protocol.model("CreateTrainingJob").input_shape, request)
            training.create(self._cloud, request | {"TuningJobArn": tuning_job_arn})
        except AwsError as error:
            raise ConfigurationError(error.message) from error

    def follow(self, name: str, line: Callable[[str], None]) -> tuple[str, str]:
        """Give ``line`` each line of the first host's log as it comes; status and failure reason of the end."""
        file = self._cloud.folder / "training-jobs" / name / _LEADER
        place, rest = 0, b""
        while True:
            record = training.found(self._cloud, name)  # before the log: a job that has ended writes no more
            if file.is_file():
                with file.open("rb") as log:
                    log.seek(place)
                    *lines, rest = (rest + log.read()).split(b"\n")
                    place = log.tell()
                for text in lines:
                    line(text.decode(errors="replace"))
            if record["TrainingJobStatus"] in _ENDS:
                return record["TrainingJobStatus"], record.get("FailureReason", "")
            time.sleep(_PAUSE)

    def stop(self, name: str) -> None:
        """Ask it to stop, where it still runs."""
        with contextlib.suppress(AwsError):
            training.stop(self._cloud, {"TrainingJobName": name})


def _algorithm_of(cloud: Cloud) -> Callable[[str], type[Algorithm] | None]:
    def algorithm_of(image: str) -> type[Algorithm] | None:
        cloud.engine.check(image)
        return images.declaration(image)

    return algorithm_of


def _jobs(cloud: Cloud) -> TuningJobs:
    """The tuning jobs of the cloud's region."""
    with cloud.store.lock:
        if cloud.region not in cloud.tuning:
            prefix = f"arn:aws:sagemaker:{cloud.region}:{ACCOUNT}"
            folder = cloud.folder / _FOLDER / cloud.region
            cloud.tuning[cloud.region] = TuningJobs(folder, _TrainingJobs(cloud), _algorithm_of(cloud), prefix)
        return cloud.tuning[cloud.region]


def recover(cloud: Cloud) -> None:
    """Restore the tuning jobs of an earlier server. Those that ran have failed, as their training jobs have."""
    for folder in sorted((cloud.folder / _FOLDER).glob("*/")):
        _jobs(cloud.at(folder.name)).give_up(_LOST)


def every(cloud: Cloud) -> list[Record]:
    """All tuning jobs, of all regions, each as ``describe`` answers, in the order of their creation."""
    with cloud.store.lock:
        services = list(cloud.tuning.values())
    jobs = [job for service in services for job in service.described()]
    return sorted(jobs, key=lambda job: job["CreationTime"])


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """The service's errors as AWS's."""
    try:
        yield
    except NotFoundError as error:
        raise AwsError("ResourceNotFound", str(error)) from error
    except InUseError as error:
        raise AwsError("ResourceInUse", str(error)) from error
    except TuningError as error:
        raise invalid(str(error)) from error


@operation("CreateHyperParameterTuningJob")
def create(cloud: Cloud, request: Record) -> Record:
    """Begin a tuning job."""
    if ("TrainingJobDefinition" in request) == ("TrainingJobDefinitions" in request):
        raise invalid("Either TrainingJobDefinition or TrainingJobDefinitions is required, and not both")
    for one in definitions.of(request):
        image = one["AlgorithmSpecification"].get("TrainingImage", "")
        images.check_no_program(image, one.get("StaticHyperParameters", {}), "sagemaker_program")
        stated = definitions.resources(one.get("HyperParameterTuningResourceConfig", {}))
        job_checks.check({"ResourceConfig": stated, **one}, files=cloud.only_here)
    name = request["HyperParameterTuningJobName"]
    record = {"Name": name, "Arn": cloud.arn(KIND, name), "Tags": request.get("Tags", [])}
    with _refused(), cloud.store.lock:
        if cloud.store.get(KIND, name):
            raise InUseError(f"Hyperparameter tuning job with name {name} already exists")
        answer = _jobs(cloud).create(request)
        cloud.store.put(KIND, name, record)  # for the operations of tags
    return answer


@operation("DescribeHyperParameterTuningJob")
def describe(cloud: Cloud, request: Record) -> Record:
    """The tuning job as it is now."""
    with _refused():
        return _jobs(cloud).describe(request)


@operation("ListHyperParameterTuningJobs")
def list_jobs(cloud: Cloud, request: Record) -> Record:
    """Tuning jobs, a page of them."""
    with _refused():
        return _jobs(cloud).list_jobs(request)


@operation("ListTrainingJobsForHyperParameterTuningJob")
def list_training_jobs(cloud: Cloud, request: Record) -> Record:
    """The training jobs of a tuning job, a page of them."""
    with _refused():
        return _jobs(cloud).list_training_jobs(request)


@operation("StopHyperParameterTuningJob")
def stop(cloud: Cloud, request: Record) -> None:
    """Ask the tuning job and its training jobs to stop."""
    with _refused():
        _jobs(cloud).stop(request)


@operation("DeleteHyperParameterTuningJob")
def delete(cloud: Cloud, request: Record) -> None:
    """Delete the record of a tuning job that has ended; its training jobs stay."""
    with _refused(), cloud.store.lock:
        _jobs(cloud).delete(request)
        cloud.store.delete(KIND, request["HyperParameterTuningJobName"])
