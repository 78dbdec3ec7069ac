"""Runs a CreateHyperParameterTuningJob request to its end without a server; for ``oba run``."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from algorithms.interface import Algorithm
from local.tuning.job import COMPLETED, TuningJob
from local.tuning.service import TrainingJobs, TuningJobs

SUCCESS, FAILURE = 0, 1
ARN_PREFIX = "arn:aws:sagemaker:us-east-1:123456789012"
"""Of what has no account: the one that moto uses, too."""
_LOOK_EVERY = 0.5
_FINAL = "FinalHyperParameterTuningJobObjectiveMetric"


def is_tuning(request: Mapping[str, Any]) -> bool:
    """Whether a request is one of CreateHyperParameterTuningJob."""
    return "HyperParameterTuningJobConfig" in request


def run(
    request: Mapping[str, Any],
    folder: Path,
    training: TrainingJobs,
    algorithm_of: Callable[[str], type[Algorithm] | None],
    prefix: str,
    tell: Callable[[str], None],
) -> int:
    """Run it; the exit code: 0 where it completed, 1 where it failed, 130 or 143 where a signal stopped it.

    Args:
        folder: where the tuning job is kept; one of the same name that was cut off there goes on.
        training, algorithm_of, prefix: as for ``TuningJobs``. tell: shows a line.

    Raises:
        TuningError: the request is refused, with all reasons.
    """
    jobs = TuningJobs(folder, training, algorithm_of, prefix)
    name = request["HyperParameterTuningJobName"]
    cut_off = [one for one in jobs.list_jobs({})["HyperParameterTuningJobSummaries"] if _goes_on(one, name)]
    jobs.resume() if cut_off else jobs.create(request)
    job, caught = jobs.find(name), []

    def ask(number: int, _: object) -> None:
        caught.append(number)
        jobs.close()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _follow(job, tell)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    tell(f"{name}: {job.status}{f': {job.reason}' if job.reason else ''}")
    if best := job.best():
        values = " ".join(f"{key}={value}" for key, value in best["TunedHyperParameters"].items())
        tell(f"Best: {best['TrainingJobName']} {values} {best[_FINAL]['MetricName']} {best[_FINAL]['Value']:.6g}")
    if caught:
        return 128 + caught[0]
    return SUCCESS if job.status == COMPLETED else FAILURE


def _goes_on(summary: Mapping[str, Any], name: str) -> bool:
    return summary["HyperParameterTuningJobName"] == name and summary["HyperParameterTuningJobStatus"] == "InProgress"


def _follow(job: TuningJob, tell: Callable[[str], None]) -> None:
    """Show a line for each training job that ends, until the tuning job ends."""
    told: set[str] = set()
    alive = True
    while alive:
        job.join(_LOOK_EVERY)
        alive = job.is_running
        for one in list(job.summaries):
            if one["TrainingJobStatus"] != "InProgress" and one["TrainingJobName"] not in told:
                told.add(one["TrainingJobName"])
                final = one.get(_FINAL)
                result = f"{final['MetricName']} {final['Value']:.6g}" if final else one.get("FailureReason", "")
                tell(f"{one['TrainingJobName']} {one['TrainingJobStatus']} {result}")
