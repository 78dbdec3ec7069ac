"""What happens around each round of a run: its report, early stopping, checkpoints, a seed of its own."""

from __future__ import annotations

import base64
import contextlib
import time
from typing import Any

import xgboost as xgb

from algorithms.common.hosts import any_host
from algorithms.common.stopping import EarlyStopping
from algorithms.events import Measured, Progress, Score
from algorithms.interface import Job
from algorithms.xgb.checkpoints import Checkpoints
from algorithms.xgb.documents import load_booster
from algorithms.xgb.metrics import CUSTOM, evaluator
from algorithms.xgb.model import XGBModel
from algorithms.xgb.names import HIGHER_IS_BETTER
from algorithms.xgb.parameters import XGBoostHyperparameters
from recordio.batches import Batch

TOLD_SECONDS = 0.02
"""Rounds within so many are reported together: of short ones one by one, each finds the processor's caches full of the
rows, and takes up to five times as long to report."""

_SEEDS_APART = 1_000_003
"""Difference of the seeds of two rounds; a large prime, so that no two jobs with neighbouring seeds share a seed."""

_BEST = "best_booster"
"""The attribute of a checkpoint that holds the booster as it was after the best round, where later ones changed it."""

Scores = dict[str, float]
"""Values of one round by name, as ``train-rmse``."""


class Watcher:
    """Watches one metric of the validation data, and knows the best round.

    The best round and score are attributes of the booster, so that a run that resumes from a checkpoint goes on
    counting where the checkpoint was taken. Where the best booster is kept aside, it is an attribute of a checkpoint's
    booster, too, as base64 text.
    """

    def __init__(self, hyperparameters: XGBoostHyperparameters, start: xgb.Booster | None) -> None:
        self._patience = hyperparameters.early_stopping_rounds or 0
        self._metric = hyperparameters.decisive_metric
        # Later rounds change what earlier ones made: all weights of a linear booster, the weights of earlier trees of
        # dart. Cutting off the later rounds does not give back the booster that was scored, so it is kept aside.
        self._keeps_aside = hyperparameters.booster in ("gblinear", "dart")
        self._aside: bytearray | None = None
        self._stopping = EarlyStopping()
        if start is not None:
            with contextlib.suppress(ValueError):  # it has no best round, or a damaged one: count anew
                self._go_on_from(start)
            start.set_attr(**{_BEST: None})

    def _go_on_from(self, start: xgb.Booster) -> None:
        best, score = int(start.attr("best_iteration") or ""), float(start.attr("best_score") or "")
        if not 0 <= best < start.num_boosted_rounds():
            raise ValueError(f"there is no round {best}")
        if self._keeps_aside:
            aside = base64.b64decode(start.attr(_BEST) or "", validate=True)
            load_booster(aside, _BEST)
            self._aside = bytearray(aside)
        self._stopping = EarlyStopping(best=score, best_step=best, reference=score)

    @property
    def best_iteration(self) -> int:
        """The number of the best round; -1 before the first."""
        return -1 if self._stopping.best_step is None else self._stopping.best_step

    def is_over(self, number: int) -> bool:
        """Whether the last rounds up to ``number``, as many as early stopping waits for, brought no gain."""
        return self.best_iteration >= 0 and number - self.best_iteration >= self._patience

    def update(self, booster: xgb.Booster, scores: Scores, number: int) -> None:
        """Take note of the scores of round ``number``."""
        watched = [name for name in scores if name.startswith("validation-")]
        name = watched[-1] if self._metric is None else f"validation-{self._metric}"
        value = scores[name]
        self._stopping.maximize = name.removeprefix("validation-").partition("@")[0] in HIGHER_IS_BETTER
        if self._stopping.take(value, number):
            booster.set_attr(best_iteration=str(number), best_score=str(value))
            if self._keeps_aside:
                self._aside = booster.save_raw("ubj")

    def of_checkpoint(self) -> dict[str, str]:
        """Attributes that the booster has only in a checkpoint."""
        return {} if self._aside is None else {_BEST: base64.b64encode(self._aside).decode()}

    def so_far(self, booster: xgb.Booster) -> xgb.Booster:
        """The model of an unfinished run: all trees, with the number of the best round, or the best booster."""
        return self.best(booster) if self._keeps_aside else booster

    def best(self, booster: xgb.Booster) -> xgb.Booster:
        """The booster as it was after the best round."""
        if self._keeps_aside:
            return xgb.Booster(model_file=self._aside)
        best = booster[: self.best_iteration + 1]
        best.set_attr(best_iteration=str(self.best_iteration), best_score=str(self._stopping.best))
        return best


def watcher(
    hyperparameters: XGBoostHyperparameters, validation: Batch | None, start: xgb.Booster | None
) -> Watcher | None:
    """What stops early; None without early stopping. Then all rounds count, also those of a checkpoint of a job that
    had it."""
    if hyperparameters.early_stopping_rounds is not None and validation is not None:
        return Watcher(hyperparameters, start)
    if start is not None:
        start.set_attr(best_iteration=None, best_score=None, **{_BEST: None})
    return None


class Monitor:
    """Reports rounds, stops early, keeps checkpoints, listens for a stop.

    Attributes:
        first: number of the first round of this run, counted over all rounds of the booster.
        history: the scores of each round of this run.
        beside: boosters to save together with this one while it is unfinished.
    """

    def __init__(
        self,
        hyperparameters: XGBoostHyperparameters,
        job: Job,
        stopping: Watcher | None,
        checkpoints: Checkpoints | None,
        *,
        first: int,
        shown: int,
        rounds: int,
    ) -> None:
        names = hyperparameters.metrics
        self._hyperparameters = hyperparameters
        self._names = [
            *(name for name in names if name not in CUSTOM),
            *(name for name in names if name in CUSTOM),
        ]
        self._job = job
        self._stopping = stopping
        self._checkpoints = checkpoints
        self._draws = hyperparameters.draws
        self._keep = hyperparameters.save_model_on_termination
        self._shown = shown
        self._rounds = rounds
        self.first = first
        self.history: list[Scores] = []
        self.beside: tuple[xgb.Booster, ...] = ()
        self.stopped = False
        self._places: dict[str, int] = {}  # of the scores in what is told of each round
        self._decides = stopping is not None or checkpoints is not None  # by what is told of a round, or after it
        self._untold: list[tuple[int, str]] = []
        self._told_at = time.monotonic()

    def before_round(self, booster: xgb.Booster, number: int) -> None:
        """To be called before round ``number`` of this run, from 0."""
        if self._draws and self.first + number:
            reseed(booster, self._hyperparameters, self.first + number)

    def after_round(self, booster: xgb.Booster, number: int, told: str) -> bool:
        """To be called after the round, with the scores as XGBoost logs them; True ends the training."""
        self._untold.append((number, told))
        if self._decides or time.monotonic() - self._told_at >= TOLD_SECONDS:
            self.tell()
        if self._stopping is not None:
            self._stopping.update(booster, self.history[-1], self.first + number)
        over = self._stopping is not None and self._stopping.is_over(self.first + number)
        last = over or number + 1 == self._rounds
        self.stopped = any_host(self._job.hosts, not last and self._job.stop_requested)
        if self._checkpoints is not None and self._job.hosts.rank == 0:
            of_checkpoint = dict if self._stopping is None else self._stopping.of_checkpoint
            self._checkpoints.save(booster, self.first + number, of_checkpoint, now=last or self.stopped)
        if self._keep and not last:
            so_far = booster if self._stopping is None else self._stopping.so_far(booster)
            self._job.save_intermediate(XGBModel([*self.beside, so_far]))
        return over or self.stopped

    def tell(self) -> None:
        """Report the rounds that were not yet."""
        for number, told in self._untold:
            parts = told.split("\t")
            self._places = self._places or self._found(parts)
            scores = _values(parts, self._places)
            self.history.append(scores)
            self._job.report(measured(self._shown + number, scores))
            self._job.report(Progress(self._shown + number + 1, self._shown + self._rounds))
        self._untold.clear()
        self._told_at = time.monotonic()

    def evaluated(self, booster: xgb.Booster, matrices: list[tuple[xgb.DMatrix, str]]) -> Scores:
        """The scores of a booster whose last round this run did not train."""
        asked = booster.copy()
        asked.set_param([("eval_metric", name) for name in own_metrics(self._hyperparameters).get("eval_metric", ())])
        metrics, target = self._hyperparameters.metrics, self._hyperparameters.target
        of_ours: Any = evaluator(metrics, target, self._job.hosts)  # gives a list, which XGBoost's types do not name
        told = asked.eval_set(matrices, feval=of_ours, output_margin=False)
        parts = told.split("\t")
        return _values(parts, self._found(parts))

    def _found(self, parts: list[str]) -> dict[str, int]:
        """Where each score stands among the parts of a line, those of a data set together. They are called as in
        ``train-rmse``, by the names that the job asked for where XGBoost spells them otherwise."""
        places: dict[str, dict[str, int]] = {}
        for place, part in enumerate(parts[1:], 1):
            dataset, _, metric = part.rpartition(":")[0].partition("-")
            places.setdefault(dataset, {})[metric] = place
        found = {}
        for dataset, metrics in places.items():
            names = self._names if len(self._names) == len(metrics) else metrics
            for name, place in zip(names, metrics.values(), strict=True):
                found[f"{dataset}-{name}"] = place
        return found


def _values(parts: list[str], places: dict[str, int]) -> Scores:
    """The scores among the parts of a line."""
    return {name: float(parts[place].rpartition(":")[2]) for name, place in places.items()}


def measured(number: int, scores: Scores) -> Measured:
    """The scores of a round, each named as in ``train-rmse``."""
    parts = ((name.partition("-"), value) for name, value in scores.items())
    return Measured(tuple(Score(dataset, metric, value) for (dataset, _, metric), value in parts), step=number)


def own_metrics(hyperparameters: XGBoostHyperparameters) -> dict[str, list[str]]:
    """XGBoost's own metrics among those asked for. If there are none, it evaluates the objective's default metric."""
    power = hyperparameters.tweedie_variance_power or 1.5
    spelled = {"tweedie-nloglik": f"tweedie-nloglik@{power:g}"}
    own = [spelled.get(name, name) for name in hyperparameters.metrics if name not in CUSTOM]
    return {"eval_metric": own} if own else {}


def reseed(booster: xgb.Booster, hyperparameters: XGBoostHyperparameters, number: int) -> None:
    """Give round ``number`` a seed of its own, so that its random numbers do not depend on whether the rounds before it
    ran in the same process: a job that resumes then gives the model of an undisturbed one.

    XGBoost itself draws all rounds from one stream, which no file holds, and starts a new stream when the seed changes.
    The tree builders draw columns from streams of their own, and loading the configuration makes new ones. Loading it
    also loses the updaters that the job stated, so they are stated again (and the penalties of a linear booster, which
    draws nothing and so is never given a seed here).
    """
    booster.load_config(booster.save_config())
    seed = ((hyperparameters.seed or 0) + number * _SEEDS_APART + 2**31) % 2**32 - 2**31
    stated = {"updater": ",".join(hyperparameters.updater)} if hyperparameters.updater else {}
    booster.set_param({**stated, "seed": seed})
