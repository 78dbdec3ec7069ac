"""A tuning job: training jobs side by side, each by a function that the caller gives, until one of the limits is met.

Whoever runs a training job calls ``Trial.report`` with each value of the objective metric as it comes, and ends it soon
once ``Trial.stopping`` is set.
"""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from local.tuning import early_stopping
from local.tuning.config import GRID, HYPERBAND, IDENTICAL, Definition, TuningConfig
from local.tuning.search import RESULT, Search

_MOST_FAILURES = 5
"""If so many training jobs fail, or log no objective, before any succeeds, no more are started, as on SageMaker."""
_TRANSFERRED = 3
"""How many of the best hyperparameters of parents with other data are tried first."""


class Status(enum.Enum):
    """Of a training job, as SageMaker words them."""

    RUNNING = "InProgress"
    COMPLETED = "Completed"
    STOPPED = "Stopped"
    FAILED = "Failed"


@dataclass(frozen=True)
class Ending:
    """How a training job ended. ``reason`` says why where it failed."""

    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Observation:
    """A result of an earlier tuning job: hyperparameters as they were written, and the objective."""

    values: dict[str, str]
    result: float
    definition: str = ""


@dataclass
class Trial:
    """One training job of a tuning job.

    Attributes:
        number: from 0, in the order in which they begin.
        tuned: what the search chose. hyperparameters: that, and the static ones.
        curve: values of the objective metric, in the order in which they were reported; the last one counts
            where there is no ``score``.
        score: of the model that was kept, where whoever runs the job knows it: it may be that of an earlier epoch.
        stopping: set when the job is to end soon.
        spent: it was ended after Hyperband's MaxResource, and counts as one that has come to its end.
        name: of the training job, where whoever runs it gives one.
        began, ended: seconds since 1970; ``ended`` is 0 while it runs.
    """

    number: int
    definition: Definition
    tuned: dict[str, str]
    tell: Callable[[Trial, float], None] = field(repr=False)
    stopping: threading.Event = field(default_factory=threading.Event, repr=False)
    curve: list[float] = field(default_factory=list)
    score: float | None = None
    status: Status = Status.RUNNING
    stopped_early: bool = False
    spent: bool = False
    reason: str = ""
    name: str = ""
    began: float = field(default_factory=time.time)
    ended: float = 0.0

    @property
    def hyperparameters(self) -> dict[str, str]:
        """All that the training job is given."""
        return {**self.definition.static, **self.tuned}

    @property
    def counts(self) -> bool:
        """Whether its objective is that of a job that has come to its end."""
        return self.status is Status.COMPLETED or (self.status is Status.STOPPED and self.spent)

    @property
    def objective(self) -> float | None:
        """The score of the model, or the last value of the metric; None where there is none that is finite."""
        value = self.curve[-1] if self.score is None and self.curve else self.score
        return value if value is not None and math.isfinite(value) else None

    def report(self, value: float) -> None:
        """A value of the objective metric; from any thread."""
        self.tell(self, value)


Run = Callable[[Trial], Ending]
"""Runs one training job to its end. May be called from several threads at once."""


class Tuner:
    """Runs one tuning job.

    Args:
        storage: Optuna's, which keeps the results; in memory where it is None.
        parents: results of earlier tuning jobs, for a warm start.
        changed: called, with the trial, when one begins and when one ends; never two at once.
    """

    def __init__(
        self,
        config: TuningConfig,
        run: Run,
        *,
        storage: BaseStorage | None = None,
        parents: Sequence[Observation] = (),
        changed: Callable[[Trial], None] = lambda trial: None,
    ) -> None:
        self._config = config
        self._run = run
        self._changed = changed
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._search = Search(config, storage)
        self._asked: dict[int, optuna.Trial] = {}
        self._ended: list[Trial] = []
        self.trials = [self._restored(number, one) for number, one in enumerate(self._search.own())]
        self._ended += self.trials
        if not self.trials:
            self._learn(parents)

    def tune(self) -> str:
        """Run the tuning job; why it ended, in words. Training jobs that still run are stopped first.

        Raises:
            Exception: what ``run`` raised, after the other training jobs were stopped.
        """
        began = time.monotonic()
        jobs = min(self._config.max_jobs, self._config.combinations() or self._config.max_jobs)
        running: set[Future[None]] = set()
        why = "the maximum number of training jobs has been run"
        with ThreadPoolExecutor(self._config.parallel, thread_name_prefix="trial") as pool:
            try:
                while not (over := self._over(time.monotonic() - began)):
                    while len(running) < self._config.parallel and len(self.trials) < jobs:
                        running.add(pool.submit(self._one, self._next()))
                    if not running:
                        break
                    done, running = wait(running, self._patience(began), FIRST_COMPLETED)
                    for one in done:
                        one.result()
                why = over or why
            finally:
                self.stop()
        for one in running:
            one.result()
        return why

    def stop(self) -> None:
        """Start no more training jobs, and end those that run; from any thread."""
        self._stopping.set()
        with self._lock:
            for trial in self.trials:
                if trial.status is Status.RUNNING:
                    trial.stopping.set()

    @property
    def best(self) -> Trial | None:
        """The completed training job with the best objective; the earliest of equals."""
        with self._lock:
            done = [one for one in self.trials if one.counts and one.objective is not None]
        sign = -1 if self._config.maximize else 1
        return min(done, key=lambda one: (sign * (one.objective or 0.0), one.number), default=None)

    # ---- one training job -------------------------------------------------------------------------------------------

    def _next(self) -> Trial:
        with self._lock:
            asked, definition, tuned = self._search.ask(len(self.trials))
            trial = Trial(len(self.trials), definition, tuned, self._report)
            self._asked[trial.number] = asked
            self.trials.append(trial)
            self._changed(trial)
            return trial

    def _one(self, trial: Trial) -> None:
        try:
            ending = Ending(Status.STOPPED) if self._stopping.is_set() else self._run(trial)
        except BaseException:
            self._stopping.set()
            self._finish(trial, Ending(Status.STOPPED))
            raise
        self._finish(trial, ending)

    def _finish(self, trial: Trial, ending: Ending) -> None:
        with self._lock:
            trial.ended = time.time()
            trial.status, trial.reason = ending.status, ending.reason
            if trial.status is Status.COMPLETED and trial.objective is None:
                trial.reason = f"the objective metric {trial.definition.metric} was never logged as a finite number"
            asked = self._asked.pop(trial.number)
            self._ended.append(trial)
            self._changed(trial)
            if trial.status is Status.STOPPED and not (trial.stopped_early or trial.spent) and self._stopping.is_set():
                return  # cut off together with the tuning job: when that goes on, it begins again
            asked.set_user_attr(RESULT, _as_attributes(trial))
            if trial.objective is None or trial.status is Status.FAILED:
                self._search.study.tell(asked, state=TrialState.FAIL)
            elif not trial.counts:
                self._search.study.tell(asked, state=TrialState.PRUNED)
            else:
                self._search.study.tell(asked, trial.objective)

    def _report(self, trial: Trial, value: float) -> None:
        with self._lock:
            if trial.status is not Status.RUNNING:
                return
            trial.curve.append(value)
            asked = self._asked[trial.number]
            if math.isfinite(value):
                asked.report(value, len(trial.curve))
            if trial.stopping.is_set():
                return
            trial.spent = self._has_spent_all(trial)
            trial.stopped_early = not trial.spent and self._is_hopeless(trial, asked)
            if trial.spent or trial.stopped_early:
                trial.stopping.set()

    def _has_spent_all(self, trial: Trial) -> bool:
        """Whether the job goes on after Hyperband's MaxResource, where it is stopped (the API reference,
        ``HyperbandStrategyConfig``). One that has no more epochs than that ends by itself."""
        resources = self._config.resources
        return self._config.strategy == HYPERBAND and resources is not None and len(trial.curve) > resources[1]

    def _is_hopeless(self, trial: Trial, asked: optuna.Trial) -> bool:
        if self._config.early_stopping:
            earlier = [one.curve for one in self.trials if one.number < trial.number and one.status in _SCORED]
            return early_stopping.below_median(trial.curve, earlier, maximize=self._config.maximize)
        return bool(asked.should_prune())  # only Hyperband's pruner ever says so

    # ---- the whole --------------------------------------------------------------------------------------------------

    def _over(self, seconds: float) -> str | None:
        """Why the tuning job is over; None while it is not."""
        with self._lock:
            ended = list(self._ended)
        values = [one.objective for one in ended if one.counts and one.objective is not None]
        config = self._config
        if self._stopping.is_set():
            return STOPPED
        if config.max_seconds is not None and seconds >= config.max_seconds:
            return OUT_OF_TIME
        if not values and len(ended) >= min(_MOST_FAILURES, config.max_jobs):
            failed = sum(one.status is Status.FAILED for one in ended)
            silent = sum(one.status is Status.COMPLETED for one in ended)
            if failed + silent >= min(_MOST_FAILURES, config.max_jobs):
                return FAILED if failed else NO_METRICS.format(silent)
        if values and config.target is not None:
            best = max(values) if config.maximize else min(values)
            if best >= config.target if config.maximize else best <= config.target:
                return f"the objective has reached {config.target:g}"
        least = config.most_without_gain
        if least is not None and early_stopping.jobs_without_gain(values, maximize=config.maximize) >= least:
            return f"the best objective has not improved by 1 % in {least} training jobs"
        if config.until_converged and early_stopping.converged(values, maximize=config.maximize):
            return "the search has converged"
        return None

    def _patience(self, began: float) -> float | None:
        """Seconds until something may have to be done although no training job ended."""
        if self._config.max_seconds is None:
            return _LOOK_EVERY
        return min(_LOOK_EVERY, max(0.0, began + self._config.max_seconds - time.monotonic()))

    def _learn(self, parents: Sequence[Observation]) -> None:
        """Warm start. Results with the same data count as our own would; with other data only the best
        hyperparameters are taken, to be tried first: their objectives are on another scale. Before them come the values
        that automatic ranges start from."""
        if self._config.strategy == GRID:
            return
        if len(self._config.definitions) == 1:
            self._search.begin_with(self._config.definitions[0].start, self._config.definitions[0])
        by_name = {one.name: one for one in self._config.definitions}
        only = self._config.definitions[0]
        sign = -1 if self._config.maximize else 1
        ranked = sorted(parents, key=lambda one: sign * one.result)
        if self._config.warm_start == IDENTICAL:
            for one in ranked:
                self._search.add(one.values, by_name.get(one.definition, only), one.result)
            return
        first = 0
        for one in ranked:
            if first == min(_TRANSFERRED, self._config.max_jobs):
                break
            first += self._search.begin_with(one.values, by_name.get(one.definition, only))

    def _restored(self, number: int, kept: FrozenTrial) -> Trial:
        """A training job of an earlier run of this tuning job."""
        said = kept.user_attrs[RESULT]
        by_name = {one.name: one for one in self._config.definitions}
        trial = Trial(number, by_name[said["definition"]], said["tuned"], self._report, curve=said["curve"])
        trial.score = said.get("score")  # searches of earlier versions have none
        trial.status, trial.reason, trial.name = Status(said["status"]), said["reason"], said["name"]
        trial.stopped_early, trial.began, trial.ended = said["stopped_early"], said["began"], said["ended"]
        trial.spent = said.get("spent", False)
        return trial


def _as_attributes(trial: Trial) -> dict[str, object]:
    return {
        "definition": trial.definition.name,
        "tuned": trial.tuned,
        "curve": trial.curve,
        "score": trial.score,
        "status": trial.status.value,
        "reason": trial.reason,
        "stopped_early": trial.stopped_early,
        "spent": trial.spent,
        "name": trial.name,
        "began": trial.began,
        "ended": trial.ended,
    }


_SCORED = (Status.COMPLETED, Status.STOPPED)
_LOOK_EVERY = 0.5  # seconds between two looks at a stop that was asked for
STOPPED = "it was stopped"
OUT_OF_TIME = "the maximum runtime was reached"
NO_METRICS = (
    "No objective metrics found after running {} training jobs. Please ensure that the custom algorithm is emitting "
    "the objective metric as defined by the regular expression provided."
)
FAILED = "All training jobs failed. Please take a look at the training jobs failures to get more details."
