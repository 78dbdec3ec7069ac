"""The operations of tuning jobs, on training jobs that the caller runs.

``TrainingJobs`` is the interface to whatever runs these: the server of ``oba up``, or ``oba run``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from algorithms.interface import Algorithm
from container.settings import ConfigurationError
from local.metric_lines import TAB
from local.metric_patterns import MetricPattern
from local.tuning import checks, definitions
from local.tuning.config import IDENTICAL, Definition, TuningConfig, TuningError, from_request
from local.tuning.definitions import OBJECTIVE, resources
from local.tuning.definitions import image as _image
from local.tuning.definitions import of as _definitions
from local.tuning.job import TuningJob
from local.tuning.tuner import Ending, Run, Status, Trial
from recordio.quoting import quoted

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}")  # as in CreateHyperParameterTuningJob
_NOT_OF_A_TRAINING_JOB = (
    "DefinitionName",
    "TuningObjective",
    "HyperParameterRanges",
    "StaticHyperParameters",
    "HyperParameterTuningResourceConfig",
)
_PAGE = 10
"""Entries of a listing where MaxResults says no other number."""

_ENDINGS = {"Completed": Status.COMPLETED, "Stopped": Status.STOPPED, "Failed": Status.FAILED}


class NotFoundError(TuningError):
    """There is no tuning job of that name."""


class InUseError(TuningError):
    """There is a tuning job of that name already, or it has not ended yet."""


_logger = logging.getLogger("oba.tuning")


class TrainingJobs(Protocol):
    """Runs training jobs."""

    def create(self, request: dict[str, Any], tuning_job_arn: str) -> None:
        """Begin one; ``request`` is one of CreateTrainingJob.

        Raises:
            Exception: it was refused; the message says why.
        """
        ...

    def follow(self, name: str, line: Callable[[str], None]) -> tuple[str, str]:
        """Give ``line`` each line of its log as it comes, until it has ended; status and failure reason of the end."""
        ...

    def stop(self, name: str) -> None:
        """End it soon."""
        ...


class TuningJobs:
    """All tuning jobs of one server.

    Args:
        folder: where they are kept between runs of the server.
        algorithm_of: the algorithm of an image's URI; None where it is not one of ours.
        prefix: of all ARNs, as in ``arn:aws:sagemaker:us-east-1:123456789012``.
    """

    def __init__(
        self,
        folder: Path,
        training: TrainingJobs,
        algorithm_of: Callable[[str], type[Algorithm] | None],
        prefix: str,
    ) -> None:
        self._folder, self._training, self._algorithm_of, self._prefix = folder, training, algorithm_of, prefix
        self._lock = threading.RLock()
        kept = sorted(folder.glob("*/state.json")) if folder.is_dir() else []
        self._jobs = {job.name: job for job in map(_kept, kept) if job is not None}

    def resume(self) -> None:
        """Go on with the tuning jobs that an earlier server did not finish."""
        for job in self._jobs.values():
            if not job.is_over:
                self._start(job, self._configured(job.request))

    def close(self) -> None:
        """Pause the tuning jobs that run; ``resume`` goes on with them."""
        with self._lock:
            for job in self._jobs.values():
                job.suspend()

    def give_up(self, reason: str) -> None:
        """Mark the tuning jobs that an earlier server did not finish as failed."""
        for job in self._jobs.values():
            if not job.is_over:
                job.give_up(reason)

    # ---- operations -------------------------------------------------------------------------------------------------

    def create(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """CreateHyperParameterTuningJob.

        Raises:
            TuningError: the request is refused, with all reasons. InUseError: there is one of that name.
        """
        name = request["HyperParameterTuningJobName"]
        if not _NAME.fullmatch(name):
            raise TuningError(
                f"Value {quoted(name)} at 'hyperParameterTuningJobName' failed to satisfy constraint: Member must "
                f"satisfy regular expression pattern: {_NAME.pattern}"
            )
        with self._lock:
            if name in self._jobs:
                raise InUseError(f"Hyperparameter tuning job with name {name} already exists")
            config = self._configured(request)
            arn = f"{self._prefix}:hyper-parameter-tuning-job/{name.lower()}"
            job = TuningJob(self._folder / name, dict(request), arn, f"{self._prefix}:training-job/")
            self._start(job, config)
            self._jobs[name] = job
        return {"HyperParameterTuningJobArn": arn}

    def describe(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """DescribeHyperParameterTuningJob. Raises NotFoundError."""
        job = self.find(request["HyperParameterTuningJobName"])
        return definitions.described(job.described(self._parents(job.request)), self._algorithm_of)

    def described(self) -> list[dict[str, Any]]:
        """Each tuning job as ``describe`` has it, without what its parents found."""
        with self._lock:
            return [job.described(()) for job in self._jobs.values()]

    def stop(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """StopHyperParameterTuningJob. Raises NotFoundError."""
        self.find(request["HyperParameterTuningJobName"]).stop()
        return {}

    def delete(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """DeleteHyperParameterTuningJob: forget one that has ended. Raises InUseError."""
        name = request["HyperParameterTuningJobName"]
        with self._lock:
            if name in self._jobs:
                if not self._jobs[name].is_over:
                    raise InUseError(f"Hyperparameter tuning job {name} has not ended; stop it first")
                shutil.rmtree(self._jobs.pop(name).folder)
        return {}

    def list_jobs(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """ListHyperParameterTuningJobs."""
        summaries = [job.summary() for job in list(self._jobs.values())]
        status = request.get("StatusEquals")
        chosen = [
            one
            for one in summaries
            if request.get("NameContains", "").lower() in one["HyperParameterTuningJobName"].lower()
            and status in (None, one["HyperParameterTuningJobStatus"])
            and _within(one, request)
        ]
        keys = {"Name": "HyperParameterTuningJobName", "Status": "HyperParameterTuningJobStatus"}
        key = keys.get(request.get("SortBy", "Name"), "CreationTime")
        chosen.sort(key=lambda one: one[key], reverse=request.get("SortOrder", "Ascending") == "Descending")
        return _page("HyperParameterTuningJobSummaries", chosen, request)

    def list_training_jobs(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """ListTrainingJobsForHyperParameterTuningJob. Raises NotFoundError."""
        job = self.find(request["HyperParameterTuningJobName"])
        status = request.get("StatusEquals")
        chosen = [one for one in list(job.summaries) if status in (None, one["TrainingJobStatus"])]
        by = request.get("SortBy", "Name")
        falling = request.get("SortOrder", "Ascending") == "Descending"
        if by == "FinalObjectiveMetricValue":
            final = "FinalHyperParameterTuningJobObjectiveMetric"
            scored = [one for one in chosen if final in one]
            chosen = sorted(scored, key=lambda one: one[final]["Value"], reverse=falling)  # the others are not listed
        else:
            key = {"Name": "TrainingJobName", "Status": "TrainingJobStatus"}.get(by, "CreationTime")
            chosen.sort(key=lambda one: one[key], reverse=falling)
        return _page("TrainingJobSummaries", chosen, request)

    def find(self, name: str) -> TuningJob:
        """The tuning job of that name. Raises NotFoundError."""
        with self._lock:
            if name not in self._jobs:
                raise NotFoundError(f"Amazon SageMaker can't find a tuning job with the name {name}")
            return self._jobs[name]

    # ---- a request --------------------------------------------------------------------------------------------------

    def _configured(self, request: Mapping[str, Any]) -> TuningConfig:
        config = from_request(request)
        algorithms = {
            definition.name: self._algorithm_of(_image(one))
            for definition, one in zip(config.definitions, _definitions(request), strict=True)
        }
        automatic = request.get("Autotune", {}).get("Mode") == "Enabled"
        definitions = tuple(_completed(one, algorithms[one.name], automatic) for one in config.definitions)
        config = dataclasses.replace(config, definitions=definitions)
        checks.check(config, algorithms, tunable_only=True)
        for one, definition in zip(_definitions(request), definitions, strict=True):
            self._pattern(one, definition)
        self._check_parents(request)
        return config

    def _check_parents(self, request: Mapping[str, Any]) -> None:
        parents = self._parents(request)
        for parent in parents:
            if not parent.is_over:
                raise TuningError(
                    f"The parent tuning job {parent.name} has not ended yet: its status is {parent.status}"
                )
            checks.check_parent(from_request(request), parent.name, from_request(parent.request))
        if request.get("WarmStartConfig", {}).get("WarmStartType") == IDENTICAL:
            ours = {_image(one) for one in _definitions(request)}
            for parent in parents:
                if ours != (theirs := {_image(one) for one in _definitions(parent.request)}):
                    raise TuningError(
                        f"A warm start of type {IDENTICAL} needs the training image of its parent {parent.name}, "
                        f"{', '.join(sorted(theirs))}; use TransferLearning for another"
                    )

    def _parents(self, request: Mapping[str, Any]) -> list[TuningJob]:
        named = request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", [])
        return [self.find(one["HyperParameterTuningJobName"]) for one in named]

    def _pattern(self, definition: Mapping[str, Any], config: Definition) -> MetricPattern:
        """The objective's pattern: the request's own, or that of the algorithm."""
        specification = definition["AlgorithmSpecification"]
        patterns = {one["Name"]: one["Regex"] for one in specification.get("MetricDefinitions", [])}
        if (algorithm := self._algorithm_of(_image(definition))) is not None:
            patterns |= {metric.name: metric.regex for metric in algorithm.metrics}
        if config.metric not in patterns:
            raise TuningError(
                "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
                f"definitions: there is no [{config.metric}]."
            )
        try:
            return MetricPattern(config.metric, patterns[config.metric])
        except ValueError as error:
            raise TuningError(f"MetricDefinitions: {error}") from error

    # ---- training jobs ----------------------------------------------------------------------------------------------

    def _start(self, job: TuningJob, config: TuningConfig) -> None:
        job.start(config, self._runner(job, config), self._parents(job.request))

    def _runner(self, job: TuningJob, config: TuningConfig) -> Run:
        by_name = dict(zip((one.name for one in config.definitions), _definitions(job.request), strict=True))

        def run(trial: Trial) -> Ending:
            stated = by_name[trial.definition.name]
            pattern = self._pattern(stated, trial.definition)
            name = f"{job.name[:19].rstrip('-')}-{trial.number + 1:03d}-{secrets.token_hex(4)}"
            try:
                self._training.create(training_request(stated, name, trial), job.arn)
            except (ConfigurationError, ValueError) as error:
                job.name_trial(trial, name)
                return Ending(Status.FAILED, str(error))
            job.name_trial(trial, name)

            def line(text: str) -> None:
                with contextlib.suppress(TimeoutError):  # said in the training job's own log
                    if (value := pattern.value(text.replace("\t", TAB))) is not None:
                        trial.report(value)

            over = threading.Event()
            watcher = threading.Thread(target=self._stop_when_asked, args=(name, trial, over), daemon=True)
            watcher.start()
            try:
                status, reason = self._training.follow(name, line)
            finally:
                over.set()
            return Ending(_ENDINGS.get(status, Status.FAILED), reason)

        return run

    def _stop_when_asked(self, name: str, trial: Trial, over: threading.Event) -> None:
        while not over.is_set():
            if trial.stopping.wait(0.1):
                if not over.is_set():
                    self._training.stop(name)
                return


def training_request(definition: Mapping[str, Any], name: str, trial: Trial) -> dict[str, Any]:
    """CreateTrainingJob's request for one training job of a tuning job."""
    request = {key: value for key, value in definition.items() if key not in _NOT_OF_A_TRAINING_JOB}
    request |= {"TrainingJobName": name, "HyperParameters": trial.hyperparameters}
    if "ResourceConfig" not in request:
        request["ResourceConfig"] = resources(definition.get("HyperParameterTuningResourceConfig", {}))
    if "CheckpointConfig" in request:  # each training job has checkpoints of its own
        config = dict(request["CheckpointConfig"])
        request["CheckpointConfig"] = config | {"S3Uri": f"{config['S3Uri'].rstrip('/')}/{name}"}
    return request


def _completed(definition: Definition, algorithm: type[Algorithm] | None, automatic: bool) -> Definition:
    """With the ranges that are left to us, and the hyperparameter by which an algorithm knows its objective."""
    if automatic and algorithm is not None and not definition.ranges:
        known = checks.tuned_by_default(algorithm)
        hints = {name: hint for name, hint in known.items() if name not in definition.static}
        definition = dataclasses.replace(definition, hints=hints | dict(definition.hints))
    definition = checks.with_open_ends(checks.with_automatic_ranges(definition, algorithm), algorithm)
    if algorithm is None:
        return definition
    return dataclasses.replace(definition, static={**definition.static, OBJECTIVE: definition.metric})


def _kept(state: Path) -> TuningJob | None:
    """A tuning job of an earlier process; None, and a word on standard error, where its files are damaged."""
    try:
        return TuningJob.kept(state.parent)
    except (ValueError, KeyError, TypeError, OSError) as error:
        _logger.warning("%s is damaged (%r): its tuning job is left out", state, error)
        return None


def _within(summary: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    """Whether its times are those asked for; datetimes, or seconds since 1970."""
    for name in ("CreationTime", "LastModifiedTime"):
        after, before = (_seconds(request.get(f"{name}{end}")) for end in ("After", "Before"))
        if (after is not None and summary[name] <= after) or (before is not None and summary[name] >= before):
            return False
    return True


def _seconds(value: Any) -> float | None:
    return value.timestamp() if hasattr(value, "timestamp") else value


def _page(key: str, entries: Sequence[Mapping[str, Any]], request: Mapping[str, Any]) -> dict[str, Any]:
    """One page of a listing; the token is the number of the next page's first entry."""
    token = str(request.get("NextToken") or "0")
    if not token.isdecimal():
        raise TuningError(f"NextToken '{token[:80]}' is none of ours")
    first, size = int(token), request.get("MaxResults", _PAGE)
    page: dict[str, Any] = {key: list(entries[first : first + size])}
    if first + size < len(entries):
        page["NextToken"] = str(first + size)
    return page
