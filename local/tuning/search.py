"""Optuna behind the four strategies: which hyperparameters the next training job gets.

A new sampler is made for each job, from the seed and the job's number; all other state is in the study. So a tuning job
that was interrupted goes on as an undisturbed one.
"""

from __future__ import annotations

import itertools
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from local.tuning.config import BAYESIAN, GRID, HYPERBAND, Definition, TuningConfig, TuningError
from local.tuning.ranges import Range

DEFINITION = "definition"
RESULT = "result"
"""The attribute of a study's trials that are ended training jobs. Trials without it are of a parent, repeated, or cut
off."""
_FIRST_AT_RANDOM = 5
"""Bayesian search starts from so many random points. Of 5 and 10, 5 was the better on Branin and Hartmann 6 (30 and 40
jobs, eight seeds)."""
_SAID = "hyperparameters"
_ATTEMPTS = 1000
"""Most draws to find a combination that was not tried before; of a thousand, the last few may stay untried."""
_APART = 7919  # between the seeds of two jobs; a prime, so that those of two tuning jobs with close seeds differ
_STUDY = "tuning"  # a fixed name: Optuna's Hyperband divides jobs among its brackets by it

optuna.logging.set_verbosity(logging.WARNING)


class Search:
    """A study of one tuning job."""

    def __init__(self, config: TuningConfig, storage: BaseStorage | None = None) -> None:
        self._config = config
        with quiet():
            self.study = optuna.create_study(
                storage=storage,
                sampler=RandomSampler(seed=config.seed),
                pruner=_pruner(config),
                study_name=_STUDY,
                direction="maximize" if config.maximize else "minimize",
                load_if_exists=True,
            )
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self.study.tell(trial.number, state=TrialState.FAIL)  # of a run that was killed
                self._again(trial)
        if config.strategy == GRID:
            for params in self._grid():
                self.study.enqueue_trial(params, skip_if_exists=True)

    def ask(self, number: int) -> tuple[optuna.Trial, Definition, dict[str, str]]:
        """The next job: Optuna's trial, the definition, and the tuned hyperparameters as they are written."""
        for attempt in range(_ATTEMPTS):
            trial, definition, values = self._ask(number, at_random=attempt > 0)
            said = json.dumps([definition.name, values], sort_keys=True)
            if said not in self._tried() or self._config.combinations() is None:
                trial.set_user_attr(_SAID, said)
                return trial, definition, values
            self.study.tell(trial, state=TrialState.FAIL)  # tried before
        raise TuningError("All combinations of hyperparameters have been tried")

    def _ask(self, number: int, *, at_random: bool) -> tuple[optuna.Trial, Definition, dict[str, str]]:
        seed = self._config.seed + _APART * number
        with quiet():
            self.study.sampler = RandomSampler(len(self.study.trials) + seed) if at_random else self._sampler(seed)
            trial = self.study.ask()
            definition = self._config.definitions[0]
            if len(self._config.definitions) > 1:
                by_name = {one.name: one for one in self._config.definitions}
                definition = by_name[trial.suggest_categorical(DEFINITION, list(by_name))]
            values = {one.name: one.written(one.suggest(trial, key(definition, one))) for one in definition.ranges}
        return trial, definition, values

    def _tried(self) -> set[str]:
        begun = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
        trials = self.study.get_trials(deepcopy=False)
        return {one.user_attrs.get(_SAID, "") for one in trials if RESULT in one.user_attrs or one.state in begun}

    def add(self, values: Mapping[str, str], definition: Definition, result: float) -> bool:
        """Learn from a parent's job; whether it lies within the ranges. It is none of this tuning job's own."""
        params = self._params(values, definition)
        if params is None:
            return False
        distributions = {key(definition, one): one.distribution() for one in definition.ranges}
        if len(self._config.definitions) > 1:
            params[DEFINITION] = definition.name
            distributions[DEFINITION] = CategoricalDistribution([one.name for one in self._config.definitions])
        self.study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=result))
        return True

    def begin_with(self, values: Mapping[str, str], definition: Definition) -> bool:
        """Try these values before any others; whether they lie within the ranges."""
        params = self._params(values, definition)
        if params is None:
            return False
        with quiet():
            self.study.enqueue_trial(params, skip_if_exists=True)
        return True

    def own(self) -> list[FrozenTrial]:
        """The training jobs of this tuning job that have ended, in the order in which they began."""
        return [one for one in self.study.get_trials(deepcopy=False) if RESULT in one.user_attrs]

    def _again(self, trial: FrozenTrial) -> None:
        if trial.params:
            self.study.enqueue_trial(trial.params)

    def _grid(self) -> Iterator[dict[str, Any]]:
        for definition in self._config.definitions:
            names = [key(definition, one) for one in definition.ranges]
            values: Sequence[Sequence[str]] = [getattr(one, "values", ()) for one in definition.ranges]
            for chosen in itertools.product(*values):
                params: dict[str, Any] = dict(zip(names, chosen, strict=True))
                yield params | ({DEFINITION: definition.name} if len(self._config.definitions) > 1 else {})

    def _params(self, values: Mapping[str, str], definition: Definition) -> dict[str, Any] | None:
        try:
            return {key(definition, one): one.read(values[one.name]) for one in definition.ranges}
        except (KeyError, ValueError):
            return None

    def _sampler(self, seed: int) -> BaseSampler:
        if self._config.strategy in (BAYESIAN, HYPERBAND):
            several = len(self._config.definitions) > 1
            return TPESampler(seed=seed, multivariate=True, group=several, n_startup_trials=_FIRST_AT_RANDOM)
        return RandomSampler(seed=seed)


def key(definition: Definition, one: Range) -> str:
    """The name of a hyperparameter in the study: two definitions may have ranges of one name."""
    return f"{definition.name}/{one.name}" if definition.name else one.name


def _pruner(config: TuningConfig) -> BasePruner:
    if config.strategy != HYPERBAND:
        return NopPruner()
    least, most = config.resources or (1, "auto")
    return HyperbandPruner(min_resource=least, max_resource=most)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's warnings that a feature is young: multivariate sampling is what we want."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
