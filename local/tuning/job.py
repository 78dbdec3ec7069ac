"""One tuning job of SageMaker's interface: its request, its training jobs, and what Describe says of them.

Its folder holds ``request.json``, ``state.json`` (status, times, the summaries of its training jobs) and Optuna's
``journal``: a server that starts again knows all tuning jobs, and goes on with those that it was in the midst of.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

from container.logs import logger
from local.tuning import tuner as tuning
from local.tuning.config import IDENTICAL, TuningConfig
from local.tuning.definitions import of
from local.tuning.tuner import Observation, Run, Status, Trial, Tuner

IN_PROGRESS, COMPLETED, STOPPING, STOPPED, FAILED = "InProgress", "Completed", "Stopping", "Stopped", "Failed"
_REQUEST, _STATE, _JOURNAL = "request.json", "state.json", "journal"
_FINAL = "FinalHyperParameterTuningJobObjectiveMetric"


class TuningJob:
    """See the module. Safe to use from several threads.

    Args:
        request: of CreateHyperParameterTuningJob.
        arn: of the tuning job. training_arn: of a training job, without its name.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any], arn: str, training_arn: str) -> None:
        self.folder, self.request, self.arn, self._training_arn = folder, request, arn, training_arn
        self.name: str = request["HyperParameterTuningJobName"]
        self.status, self.reason = IN_PROGRESS, ""
        self.created = self.modified = time.time()
        self.ended = 0.0
        self.summaries: list[dict[str, Any]] = []
        self.spent: list[str] = []  # stopped training jobs that count as completed ones
        self._lock = threading.RLock()
        self._tuner: Tuner | None = None
        self._thread: threading.Thread | None = None
        self._suspended = False

    @classmethod
    def kept(cls, folder: Path) -> TuningJob:
        """The tuning job of a folder that an earlier process made."""
        state = json.loads((folder / _STATE).read_text())
        job = cls(folder, json.loads((folder / _REQUEST).read_text()), state["arn"], state["training_arn"])
        job.status, job.reason, job.summaries = state["status"], state["reason"], state["summaries"]
        job.created, job.modified, job.ended = state["created"], state["modified"], state["ended"]
        job.spent = state.get("spent", [])
        return job

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status in (COMPLETED, STOPPED, FAILED)

    def start(self, config: TuningConfig, run: Run, parents: Sequence[TuningJob]) -> None:
        """Start it, or go on, in a thread of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _REQUEST).write_text(json.dumps(self.request, default=str))
        journal = str(self.folder / _JOURNAL)
        storage = JournalStorage(JournalFileBackend(journal, lock_obj=JournalFileOpenLock(journal)))
        known = [one for parent in parents for one in parent.observations()]
        self._tuner = Tuner(config, run, storage=storage, parents=known, changed=self._note)
        self._save()
        self._thread = threading.Thread(target=self._tune, args=(self._tuner,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; training jobs that run are stopped."""
        with self._lock:
            if self.is_over:
                return
            self.status, self.modified = STOPPING, time.time()
        if self._tuner:
            self._tuner.stop()

    def suspend(self) -> None:
        """Ask it to pause: another process will go on with it."""
        self._suspended = True
        if self._tuner and not self.is_over:
            self._tuner.stop()

    def give_up(self, reason: str) -> None:
        """Mark it as failed, with the training jobs that had not ended, as no process runs them any more."""
        with self._lock:
            for one in self.summaries:
                if one["TrainingJobStatus"] == IN_PROGRESS:
                    one |= {"TrainingJobStatus": FAILED, "ObjectiveStatus": "Failed", "FailureReason": reason}
            self._end(FAILED, reason)

    def join(self, seconds: float | None = None) -> None:
        """Wait for its end."""
        if self._thread:
            self._thread.join(seconds)

    @property
    def is_running(self) -> bool:
        """Whether this process runs it."""
        return self._thread is not None and self._thread.is_alive()

    def observations(self) -> list[Observation]:
        """Its results, for a warm start from them, in which what was static here may be tuned."""
        static = {one.get("DefinitionName", ""): one.get("StaticHyperParameters", {}) for one in of(self.request)}
        scored = [(one, one.get("TrainingJobDefinitionName", "")) for one in self.summaries if _FINAL in one]
        return [
            Observation({**static.get(name, {}), **one["TunedHyperParameters"]}, one[_FINAL]["Value"], name)
            for one, name in scored
        ]

    def best(self) -> dict[str, Any] | None:
        """The summary of the best training job that has come to its end."""
        scored = [one for one in self.summaries if _FINAL in one]
        done = [one for one in scored if one["TrainingJobStatus"] == COMPLETED or one["TrainingJobName"] in self.spent]
        sign = -1 if done and done[0][_FINAL]["Type"] == "Maximize" else 1
        return min(done, key=lambda one: sign * one[_FINAL]["Value"], default=None)

    def described(self, parents: Sequence[TuningJob]) -> dict[str, Any]:
        """The answer of DescribeHyperParameterTuningJob, times in seconds since 1970."""
        with self._lock:
            answer = {
                **{name: value for name, value in self.request.items() if name != "Tags"},
                **{name: value for name, value in self.summary().items() if name not in ("Strategy", "ResourceLimits")},
                "ConsumedResources": {"RuntimeInSeconds": int((self.ended or time.time()) - self.created)},
            }
            if self.reason:
                answer["FailureReason"] = self.reason
            if best := self.best():
                answer["BestTrainingJob"] = best
            if self.request.get("WarmStartConfig", {}).get("WarmStartType") == IDENTICAL:
                bests = [one for one in (best, *(parent.best() for parent in parents)) if one]
                sign = -1 if bests and bests[0][_FINAL]["Type"] == "Maximize" else 1
                overall = min(bests, key=lambda one: sign * one[_FINAL]["Value"], default=None)
                answer |= {"OverallBestTrainingJob": overall} if overall else {}
            return answer

    def summary(self) -> dict[str, Any]:
        """What ListHyperParameterTuningJobs says of it."""
        states = Counter(one["TrainingJobStatus"] for one in self.summaries)
        objectives = Counter(one["ObjectiveStatus"] for one in self.summaries)
        config = self.request["HyperParameterTuningJobConfig"]
        summary = {
            "HyperParameterTuningJobName": self.name,
            "HyperParameterTuningJobArn": self.arn,
            "HyperParameterTuningJobStatus": self.status,
            "Strategy": config["Strategy"],
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
            "TrainingJobStatusCounters": {
                "Completed": states[COMPLETED],
                "InProgress": states[IN_PROGRESS],
                "RetryableError": 0,
                "NonRetryableError": states[FAILED],
                "Stopped": states[STOPPED],
            },
            "ObjectiveStatusCounters": {name: objectives[name] for name in ("Succeeded", "Pending", "Failed")},
        }
        if "ResourceLimits" in config:
            summary["ResourceLimits"] = config["ResourceLimits"]
        if self.ended:
            summary["HyperParameterTuningEndTime"] = self.ended
        return summary

    # ---- the thread -------------------------------------------------------------------------------------------------

    def _tune(self, tuner: Tuner) -> None:
        try:
            why = tuner.tune()
        except Exception as error:
            logger.exception("Tuning job %s failed", self.name)
            self._end(FAILED, str(error))
            return
        failed = why == tuning.FAILED or (tuner.trials and all(one.status is Status.FAILED for one in tuner.trials))
        silent = why.startswith(tuning.NO_METRICS.partition("{")[0])
        if failed or silent:
            self._end(FAILED, why if silent else tuning.FAILED)
        else:
            self._end(STOPPED if why in (tuning.STOPPED, tuning.OUT_OF_TIME) else COMPLETED, "")

    def _end(self, status: str, reason: str) -> None:
        with self._lock:
            if self._suspended and status == STOPPED:
                return
            self.status, self.reason = status, reason
            self.ended = self.modified = time.time()
            self._save()

    def _note(self, trial: Trial) -> None:
        """Note that a training job has begun or ended."""
        with self._lock:
            trials = self._tuner.trials if self._tuner else [trial]
            self.summaries = [self._summary_of(one) for one in trials if one.name]
            self.spent = [one.name for one in trials if one.counts and one.spent]
            self.modified = time.time()
            self._save()

    def name_trial(self, trial: Trial, name: str) -> None:
        """Note the name of a training job."""
        trial.name = name
        self._note(trial)

    def _summary_of(self, trial: Trial) -> dict[str, Any]:
        failed = trial.status is Status.FAILED or (trial.ended and trial.objective is None)
        summary: dict[str, Any] = {
            "TrainingJobName": trial.name,
            "TrainingJobArn": f"{self._training_arn}{trial.name.lower()}",
            "TuningJobName": self.name,
            "CreationTime": trial.began,
            "TrainingStartTime": trial.began,
            "TrainingJobStatus": trial.status.value,
            "TunedHyperParameters": trial.tuned,
            "ObjectiveStatus": "Pending" if not trial.ended else "Failed" if failed else "Succeeded",
        }
        if trial.definition.name:
            summary["TrainingJobDefinitionName"] = trial.definition.name
        if trial.ended:
            summary["TrainingEndTime"] = trial.ended
            if not failed:
                kind = "Maximize" if trial.definition.maximize else "Minimize"
                summary[_FINAL] = {"Type": kind, "MetricName": trial.definition.metric, "Value": trial.objective}
        if trial.reason:
            summary["FailureReason"] = trial.reason[:1024]
        return summary

    def _save(self) -> None:
        kept = ("arn", "status", "reason", "created", "modified", "ended", "summaries", "spent")
        state = {"training_arn": self._training_arn, **{name: getattr(self, name) for name in kept}}
        temporary = self.folder / f"{_STATE}.new"
        temporary.write_text(json.dumps(state))
        temporary.replace(self.folder / _STATE)
