"""One run of boosting, with what SageMaker wants to happen around each round."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from algorithms.common.hosts import any_host, from_leader
from algorithms.errors import HyperparameterError, TrainingDataError, TrainingStopped
from algorithms.events import Chosen
from algorithms.interface import Hosts, Job
from algorithms.xgb import data
from algorithms.xgb.checkpoints import Checkpoints
from algorithms.xgb.messages import translated
from algorithms.xgb.metrics import evaluator
from algorithms.xgb.model import XGBModel
from algorithms.xgb.monitor import Monitor, Scores, Watcher, measured, own_metrics, watcher
from algorithms.xgb.parameters import XGBoostHyperparameters
from algorithms.xgb.rounds import Rounds
from recordio.batches import Batch

MANY_VALUES = 1 << 28
"""Values from which on training rows are kept as bins, which take longer to make than a DMatrix, but not its 2 GiB."""


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
    stopping = watcher(hyperparameters, validation, start)
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
    parameters = {**hyperparameters.library(), **own_metrics(hyperparameters)}
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
