"""One run of boosting, with what SageMaker wants to happen around each round."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from algorithms.common.hosts import any_host, from_leader
from algorithms.common.stopping import EarlyStopping
from algorithms.errors import HyperparameterError, TrainingDataError, TrainingStopped
from algorithms.events import Chosen, Measured, Progress, Score
from algorithms.interface import Hosts, Job
from algorithms.xgb import data
from algorithms.xgb.checkpoints import Checkpoints
from algorithms.xgb.documents import load_booster
from algorithms.xgb.messages import translated
from algorithms.xgb.metrics import CUSTOM, evaluator
from algorithms.xgb.model import XGBModel
from algorithms.xgb.names import HIGHER_IS_BETTER
from algorithms.xgb.parameters import XGBoostHyperparameters
from algorithms.xgb.rounds import Rounds
from recordio.batches import Batch

MANY_VALUES = 1 << 28
"""Values from which on training rows are kept as bins, which take longer to make than a DMatrix, but not its 2 GiB."""

TOLD_SECONDS = 0.02
"""Rounds within so many are reported together: of short ones one by one, each finds the processor's caches full of the
rows, and takes up to five times as long to report."""

_SEEDS_APART = 1_000_003
"""Difference of the seeds of two rounds; a large prime, so that no two jobs with neighbouring seeds share a seed."""

_BEST = "best_booster"
"""The attribute of a checkpoint that holds the booster as it was after the best round, where later ones changed it."""

Scores = dict[str, float]
"""Values of one round by name, as ``train-rmse``."""


@dataclass
class Boosted:
    """What a run gives.

    Attributes:
        booster: after the last round, or after the best where early stopping is on.
        scores: of that round.
        stopped: the job was asked to stop before the last round.
    """

    booster: xgb.Booster
    scores: Scores
    stopped: bool


def boost(
    hyperparameters: XGBoostHyperparameters,
    train: Batch,
    validation: Batch | None,
    job: Job,
    *,
    start: xgb.Booster | None = None,
    checkpoint_directory: Path | None = None,
    beside: tuple[xgb.Booster, ...] = (),
) -> Boosted:
    """Boost for ``num_round`` rounds, or for those that are left after the newest checkpoint.

    Args:
        start: a booster to continue.
        checkpoint_directory: where checkpoints are kept and resumed from; None for nowhere.
        beside: boosters to save together with this one while it is unfinished.

    Raises:
        HyperparameterError: the model or checkpoint to continue has another kind of base learner than the one stated,
            or the checkpoint other classes.
        TrainingDataError: the checkpoint is of rows of another width.
        TrainingStopped: the job was asked to stop, and not to keep a model then.
    """
    updating = hyperparameters.process_type == "update"
    base = 0 if start is None or updating else start.num_boosted_rounds()
    done = 0
    # Updated trees replace those of the start: a checkpoint would hold both, and an updating pass is short.
    checkpoints = Checkpoints(checkpoint_directory) if checkpoint_directory is not None and not updating else None
    if checkpoints is not None and (found := _newest(checkpoints, job)) is not None:
        start, number = found
        done, checkpoint = number + 1 - base, f"{checkpoint_directory}/xgboost-checkpoint.{number}"
        _check_fits(checkpoint, start, train, hyperparameters, job)
        _tell_of_resuming(checkpoint, done, hyperparameters, job)
    if start is not None:
        hyperparameters = _of_its_kind(hyperparameters, start)
    stopping = _watcher(hyperparameters, validation, start)
    left = max(hyperparameters.num_round - done, 0)
    if stopping is not None and stopping.is_over(base + done - 1):
        left = 0
    monitor = Monitor(hyperparameters, job, stopping, checkpoints, first=base + done, shown=done, rounds=left)
    monitor.beside = beside
    if any_host(job.hosts, job.stop_requested):
        raise TrainingStopped("training was stopped before the first round")
    with _in_our_words():
        matrices = _matrices(hyperparameters, train, validation, start, job.hosts)
        booster = _rounds(hyperparameters, matrices, start, left, monitor, job, resumed=done > 0)
    _check_stop(monitor, hyperparameters, job, resumable=checkpoints is not None)
    if stopping is not None and stopping.best_iteration >= 0:
        return _best(booster, stopping, monitor, matrices, base, job)
    if not monitor.history:  # all rounds are those of an earlier run, which may have watched nothing
        monitor.history.append(monitor.evaluated(booster, matrices))
        job.report(measured(done - 1, monitor.history[-1]))
    return Boosted(booster, monitor.history[-1], monitor.stopped)


def _watcher(
    hyperparameters: XGBoostHyperparameters, validation: Batch | None, start: xgb.Booster | None
) -> Watcher | None:
    """What stops early; None without early stopping. Then all rounds count, also those of a checkpoint of a job that
    had it."""
    if hyperparameters.early_stopping_rounds is not None and validation is not None:
        return Watcher(hyperparameters, start)
    if start is not None:
        start.set_attr(best_iteration=None, best_score=None, **{_BEST: None})
    return None


def _matrices(
    hyperparameters: XGBoostHyperparameters,
    train: Batch,
    validation: Batch | None,
    start: xgb.Booster | None,
    hosts: Hosts,
) -> list[tuple[xgb.DMatrix, str]]:
    """The rows as XGBoost takes them, with the names of their channels; the training rows first."""
    many = any_host(hosts, train.features.size >= MANY_VALUES)
    quantized = hyperparameters.grows_histograms and start is None and many
    matrices = [(data.matrix(train, hyperparameters, start=start, quantized=quantized), "train")]
    if validation is not None:
        matrices.append((data.matrix(validation, hyperparameters, start=start), "validation"))
    return matrices


_START_ANEW = "empty the folder of checkpoints, and the job starts anew"


def _check_fits(
    checkpoint: str, booster: xgb.Booster, train: Batch, hyperparameters: XGBoostHyperparameters, job: Job
) -> None:
    """Refuse a checkpoint of another job that cannot be continued; with other hyperparameters it may be, as in
    SageMaker's container."""
    earlier = XGBModel([booster])
    if (width := booster.num_features()) != train.feature_dim:
        raise TrainingDataError(
            f"Checkpoint {checkpoint} is of a job whose rows have {width} features, and channel 'train' has "
            f"{train.feature_dim}: {_START_ANEW}"
        )
    classes = 0 if earlier.objective.startswith("binary:") else earlier.classes
    if classes != (hyperparameters.num_class or 0):
        stated = f"Hyperparameter 'num_class' is {hyperparameters.num_class or 'not given'}"
        raise HyperparameterError([f"{stated}, and checkpoint {checkpoint} has {classes} classes: {_START_ANEW}"])
    if hyperparameters.target != earlier.objective:
        job.warning(
            f"Checkpoint {checkpoint} is of a job with objective {earlier.objective}: its scores now count as those of "
            f"{hyperparameters.target}. If that is not meant, {_START_ANEW}"
        )


def _tell_of_resuming(checkpoint: str, done: int, hyperparameters: XGBoostHyperparameters, job: Job) -> None:
    job.info(f"Checkpoint loaded from {checkpoint}")
    job.info(f"Resuming from iteration {done}")
    if done > hyperparameters.num_round:
        job.warning(
            f"num_round is {hyperparameters.num_round}, and the checkpoint has {done} rounds: the model keeps them "
            "all. To train fewer, empty the folder of checkpoints."
        )


def _check_stop(monitor: Monitor, hyperparameters: XGBoostHyperparameters, job: Job, *, resumable: bool) -> None:
    """After the rounds: raises TrainingStopped where a stop ended them, and no model is to be kept then."""
    if monitor.stopped and not hyperparameters.save_model_on_termination:
        raise TrainingStopped("training was stopped, and save_model_on_termination is false")
    if monitor.stopped and resumable:
        job.warning("The model is that of a job that was interrupted: start the job again, and it goes on.")


def _best(
    booster: xgb.Booster,
    stopping: Watcher,
    monitor: Monitor,
    matrices: list[tuple[xgb.DMatrix, str]],
    base: int,
    job: Job,
) -> Boosted:
    """The booster after its best round, with the scores of that.

    Args:
        base: rounds of an earlier model, which the log does not count.
    """
    best, at = stopping.best(booster), stopping.best_iteration - monitor.first
    seen = 0 <= at < len(monitor.history)
    scores = monitor.history[at] if seen else monitor.evaluated(best, matrices)
    chosen = measured(stopping.best_iteration - base, scores)
    job.report(Chosen(chosen.step, () if seen else chosen.scores))
    return Boosted(best, scores, monitor.stopped)


def _of_its_kind(hyperparameters: XGBoostHyperparameters, start: xgb.Booster) -> XGBoostHyperparameters:
    """The hyperparameters with the ``booster`` of ``start``, where none is stated.

    Raises:
        HyperparameterError: another one is stated, with which XGBoost would silently begin anew; or a hyperparameter
            does not go with this one.
    """
    kind = json.loads(start.save_config())["learner"]["gradient_booster"]["name"]
    if hyperparameters.booster not in (None, kind):
        raise HyperparameterError(
            [
                f"Hyperparameter 'booster' is {hyperparameters.booster}, and what the job goes on from, a model or a "
                f"checkpoint, is of {kind}: state that, or begin anew"
            ]
        )
    hyperparameters = replace(hyperparameters, booster=kind)
    if problems := hyperparameters.check():
        raise HyperparameterError([f"{problem} (the job goes on from a {kind} booster)" for problem in problems])
    return hyperparameters


def _rounds(
    hyperparameters: XGBoostHyperparameters,
    matrices: list[tuple[xgb.DMatrix, str]],
    start: xgb.Booster | None,
    rounds: int,
    monitor: Monitor,
    job: Job,
    *,
    resumed: bool,
) -> xgb.Booster:
    """Boost ``rounds`` more rounds on the first of the matrices; all of them are scored."""
    train = matrices[0][0]
    parameters = {**hyperparameters.library(), **_own_metrics(hyperparameters)}
    if start is None:
        parameters |= _first_score(hyperparameters, train.get_label(), job.hosts)
    else:
        parameters.pop("base_score", None)  # XGBoost would replace the one that the trees were grown upon
    if start is not None and resumed and hyperparameters.keeps_sampled_bins:
        xgb.train(parameters, train, 1)  # leaves the bins of the first round with the matrix
    model = None if start is None else start.save_raw("ubj")
    booster = xgb.Booster(parameters, [matrix for matrix, _ in matrices], model_file=model)
    boosting = Rounds(booster, matrices, evaluator(hyperparameters.metrics, hyperparameters.target, job.hosts))
    try:
        for number in range(rounds):
            monitor.before_round(booster, number)
            boosting.grow(number)
            if monitor.after_round(booster, number, boosting.scores(number)):
                break
    finally:
        monitor.tell()
    # What it keeps of the rows goes with the job's process: to free it before, XGBoost saves the model and loads it.
    return booster if job.owns_process else booster.reset()


def _first_score(hyperparameters: XGBoostHyperparameters, labels: np.ndarray, hosts: Hosts) -> dict[str, float]:
    """The ``base_score`` for objectives whose estimate by XGBoost itself is no start; several hosts take the median.

    XGBoost 2 and later estimate it by one Newton step from 0. There the loss ``reg:pseudohubererror`` is nearly linear
    if labels are far from 0: for labels near 100 the step ends at a million, from where no number of rounds returns.
    The median is close to its minimum. The minimum of ``reg:squaredlogerror``, the squared error of log(1 + label), is
    at the mean of these logarithms; the step may end anywhere.
    """
    if hyperparameters.base_score is not None or hyperparameters.target not in _STARTS:
        return {}
    start = _STARTS[hyperparameters.target]
    starts = hosts.gather(start(labels) if len(labels) else None)
    return {"base_score": float(np.median([one for one in starts if one is not None]))}


_STARTS: dict[str, Callable[[np.ndarray], float]] = {
    "reg:pseudohubererror": lambda labels: float(np.median(labels)),
    "reg:squaredlogerror": lambda labels: float(np.expm1(np.log1p(labels.astype(np.float64)).mean())),
}


@contextlib.contextmanager
def _in_our_words() -> Iterator[None]:
    """Turn the library's errors that are the user's fault into errors of this package."""
    try:
        yield
    except (xgb.core.XGBoostError, ValueError) as error:
        if (known := translated(error)) is not None:
            raise known from error
        raise


def _newest(checkpoints: Checkpoints, job: Job) -> tuple[xgb.Booster, int] | None:
    """The leader's newest checkpoint, and its round."""

    def packed() -> list[Any] | None:
        found = checkpoints.newest(job)
        return None if found is None else [np.frombuffer(found[0].save_raw("ubj"), np.uint8), found[1]]

    found = from_leader(job.hosts, packed)
    return None if found is None else (xgb.Booster(model_file=bytearray(found[0].tobytes())), found[1])


def _own_metrics(hyperparameters: XGBoostHyperparameters) -> dict[str, list[str]]:
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
        asked.set_param([("eval_metric", name) for name in _own_metrics(self._hyperparameters).get("eval_metric", ())])
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
