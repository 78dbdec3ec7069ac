"""Passes over the training rows, what is told of them, and the scores of the model."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from algorithms.common import local_steps
from algorithms.common.hosts import any_host
from algorithms.errors import TrainingDataError, TrainingStopped
from algorithms.events import FinalScore, Measured, Progress, Throughput
from algorithms.factorization_machines import exactness
from algorithms.factorization_machines.checkpoints import Place, resume, to_checkpoint
from algorithms.factorization_machines.model import BINARY, REGRESSOR, FactorizationMachine
from algorithms.factorization_machines.scaling import FAR, Measure, Scaling
from algorithms.factorization_machines.schedule import FEWEST_STEPS, Schedule, enough
from algorithms.factorization_machines.scores import Sums
from algorithms.factorization_machines.steps import State
from algorithms.interface import Job, Stream
from recordio.batches import Batch

if TYPE_CHECKING:
    from algorithms.factorization_machines import FactorizationMachinesHyperparameters

_NO_INTERACTIONS = 1e-3  # of the scores' spread: what is below it changes no answer
_LARGE_DECAY = 1e-4  # ten times the default of factors_wd; a smaller one draws no interaction to zero that rows show
_NAMED = 10  # columns in a warning
_NO_ROWS = "No training data processed. Verify that channel 'train' contains non-empty files."


def train(state: State, stream: Stream, hp: FactorizationMachinesHyperparameters, job: Job) -> FactorizationMachine:
    """All passes, and what the user should know of how they went.

    Raises:
        TrainingDataError: there is no row, a label is none, or float32 cannot hold what was learned.
    """
    found = job.checkpoints.latest()
    place = _first_place(stream, hp, job) if found is None else resume(state, found)
    if place.scaling is not None:
        state.leave_alone(place.scaling.far)
    stopped = False
    while place.epoch < place.schedule.epochs and not stopped:
        stopped = _one_epoch(state, stream, place, hp, job)
    epoch, epochs, scaling = place.epoch, place.schedule.epochs, place.scaling
    if epoch < epochs:
        job.warning(f"Training was asked to stop: the model is that of {epoch} of {epochs} epochs.")
    learned = state.bias, state.linear, state.factors
    bias, linear, factors = learned if scaling is None else scaling.restored(*learned)
    model = FactorizationMachine(bias, linear, factors, hp.predictor_type)
    if not all(np.isfinite(one).all() for one in learned):
        raise TrainingDataError(f"the model is not finite after epoch {epoch - 1}: {_advice(hp)}")
    if scaling is not None:
        exactness.check(model, state, scaling, stream, job)
    _warn(state, hp, job, open_ended=scaling is not None)
    return model


def _warn(state: State, hp: FactorizationMachinesHyperparameters, job: Job, *, open_ended: bool) -> None:
    """What may have kept the model from learning; ``open_ended`` where the number of passes was ours to choose."""
    if state.time < FEWEST_STEPS and not open_ended:
        more = "give none" if hp.epochs is not None else "read the channel in File mode"
        job.warning(
            f"Training ended after {state.time} steps, which are few at linear_lr={hp.linear_lr:g} and "
            f"factors_lr={hp.factors_lr:g}: give more epochs, or {more}: a job in File mode whose epochs are not given "
            "takes as many as it needs."
        )
    if state.share_of_interactions >= _NO_INTERACTIONS:
        return
    if hp.factors_wd < _LARGE_DECAY:
        job.info("The interactions of features add next to nothing to the scores: none were found.")
        return
    job.warning(
        f"The interactions of features have vanished from the scores: factors_wd={hp.factors_wd:g} draws the "
        f"factors to zero faster than factors_lr={hp.factors_lr:g} learns them. A feature's gradient is a mean "
        "over the batch, so that a weight decay of 0.001 is large already."
    )


def _measured(stream: Stream, hp: FactorizationMachinesHyperparameters, job: Job) -> Scaling:
    """The scale of the data, by a pass over it."""
    measure = Measure(hp.feature_dim)
    with closing(stream.batches(hp.mini_batch_size)) as batches:
        for batch in batches:
            measure.add(batch.features, _labels(batch, hp))
            if job.stop_requested:
                break
    if any_host(job.hosts, job.stop_requested):
        raise TrainingStopped(f"before epoch 0, after {measure.rows} rows")
    measure.shared(job.hosts)
    if not measure.rows:
        raise TrainingDataError(_NO_ROWS)
    # What a shift adds to the weights and the bias needs both of them.
    return measure.scaling(shifted=hp.use_bias and hp.use_linear, labels=hp.predictor_type == REGRESSOR)


def _first_place(stream: Stream, hp: FactorizationMachinesHyperparameters, job: Job) -> Place:
    """Where training starts: what is to be done, and on which scale."""
    scores = Sums(hp.predictor_type == BINARY)
    if hp.epochs is not None or not stream.repeats:
        return Place(Schedule(hp.epochs or 1, hp.mini_batch_size), scores)
    scaling = _measured(stream, hp, job)
    schedule = enough(scaling.rows, hp.mini_batch_size)
    job.info(
        f"epochs is not given: {schedule.epochs} passes over {scaling.rows} rows in batches of "
        f"{schedule.batch_size}, on features and labels of one scale; every {schedule.log_every}. is logged."
    )
    if (far := scaling.far).size:
        named = ", ".join(map(str, far[:_NAMED])) + (f" and {far.size - _NAMED} more" if far.size > _NAMED else "")
        job.warning(
            f"Columns (from 0) {named} lie {FAR} standard deviations or more from 0 and take no part in interactions, "
            "which float32 could not hold there: subtract their means from the data to have them."
        )
    # With the number of passes, the rows of a step are ours to choose: as many on several hosts as on one.
    schedule = replace(schedule, batch_size=-(-schedule.batch_size // job.hosts.size))
    return Place(schedule, scores, scaling)


def _one_epoch(state: State, stream: Stream, place: Place, hp: FactorizationMachinesHyperparameters, job: Job) -> bool:
    """One pass, and its lines; whether a stop was asked for."""
    started, epoch, total = time.perf_counter(), place.epoch, place.total
    state.begin(epoch, place.schedule.epochs)
    is_whole = _pass(state, stream, place, hp, job)
    if place.schedule.logs(epoch):
        job.report(Measured(total.scores("train"), step=epoch))
        job.report(Progress(epoch + 1, place.schedule.epochs))
        job.report(Throughput(total.rows, time.perf_counter() - started))
    place.next_epoch()
    stopped = any_host(job.hosts, job.stop_requested)  # before the checkpoint, which is then written
    if is_whole:
        job.checkpoints.offer(lambda: to_checkpoint(state, place), epoch_over=True)
    return stopped


def _pass(state: State, stream: Stream, place: Place, hp: FactorizationMachinesHyperparameters, job: Job) -> bool:
    """One pass; scores are of each batch before its step. A stop after the first epoch cuts it short: False then."""
    total, stopped = place.total, False
    with closing(stream.batches(place.schedule.batch_size)) as batches:
        left = itertools.islice(batches, place.batches, None)  # without those before an interruption
        while not stopped:
            steps = _together if place.period == 1 else _apart
            count, stopped = steps(left, state, place, hp, job)
            if not count:
                stopped = False  # that is heard after the epoch, which is whole
                break
            if stream.repeats:
                job.checkpoints.offer(lambda: to_checkpoint(state, place))
            if stopped and place.epoch == 0:
                raise TrainingStopped(f"in epoch {place.epoch}, after {total.rows} rows")
    total.shared(job.hosts)
    if not total.rows:
        raise TrainingDataError(_NO_ROWS)
    if not total.finite:
        raise TrainingDataError(f"the scores are not finite in epoch {place.epoch}: {_advice(hp)}")
    return not stopped


def _together(
    batches: Iterator[Batch], state: State, place: Place, hp: FactorizationMachinesHyperparameters, job: Job
) -> tuple[int, bool]:
    """A step by the next batches of all hosts. Returns their rows, and whether a stop was asked for.

    A host that has no rows left takes part with a batch of none, until no host has any. Batches are sparse on all hosts
    where they are so on one.
    """
    none = Batch(np.zeros((0, hp.feature_dim), np.float32), np.zeros(0, np.float32))
    batch = next(batches, none)
    values = batch.features.size if isinstance(batch.features, np.ndarray) else batch.features.nnz
    mine = np.array([len(batch), batch.is_sparse, values, job.stop_requested])
    count, sparse, values, stopped = job.hosts.sum(mine)[0].tolist()
    if count:
        if sparse and not batch.is_sparse:
            batch = Batch(sp.csr_array(batch.features), batch.labels)
        labels = _labels(batch, hp)
        raw = _scores(partial(state.update, count=count), batch, labels, place.scaling)
        place.total.add(raw, labels)
        if _reports(place, hp, place.batches):
            _report_batch([(raw, labels)], hp, job, place.epoch, place.batches)
        place.batches += 1
        if (
            state.time == local_steps.TOGETHER and hp.rescale_grad is None
        ):  # a sum over rows would be another one on each host
            size = job.hosts.size
            place.step = state.seconds(count / size, values / size)
            touched = values // size if sparse else hp.feature_dim
            place.period = local_steps.next_period(1, size, place.step, touched, hp.num_factors + 1)
    return count, stopped > 0


def _apart(
    batches: Iterator[Batch], state: State, place: Place, hp: FactorizationMachinesHyperparameters, job: Job
) -> tuple[int, bool]:
    """Steps of this host alone, then the exchange after which all have the same parameters; see ``_together``."""
    taken = range(place.batches, place.batches + place.period)
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for number, batch in zip(taken, batches, strict=False):
        labels = _labels(batch, hp)
        raw = _scores(state.step_alone, batch, labels, place.scaling)
        place.total.add(raw, labels)
        if _reports(place, hp, number):
            found[number] = raw, labels
    agreed = state.agree(stopped=job.stop_requested)
    for number in filter(partial(_reports, place, hp), taken[: agreed.steps]):
        _report_batch([found[number]] if number in found else [], hp, job, place.epoch, number)
    place.batches += place.period
    place.period = local_steps.next_period(place.period, job.hosts.size, place.step, agreed.touched, hp.num_factors + 1)
    return agreed.rows, agreed.stopped


def _scores(
    step: Callable[[Batch, np.ndarray], np.ndarray], batch: Batch, labels: np.ndarray, scaling: Scaling | None
) -> np.ndarray:
    """Take a step. Returns the scores (n,) of the rows before it."""
    if scaling is None:
        return step(batch, labels)
    return scaling.scores(step(scaling.batch(batch), scaling.labels(labels)))


def _reports(place: Place, hp: FactorizationMachinesHyperparameters, number: int) -> bool:
    """Whether the scores of a batch are logged."""
    return place.schedule.logs(place.epoch) and number % hp.batch_metrics_publish_interval == 0


def _advice(hp: FactorizationMachinesHyperparameters) -> str:
    """What to change where numbers grow beyond bounds: the learning rates, and whatever else is larger than usual."""
    terms = ("factors", "linear", "bias")
    starts = [f"{term}_init_{part}" for term in terms for part in ("sigma", "scale", "value")]
    others = [name for name in [*(f"{term}_wd" for term in terms), *starts, "rescale_grad"] if _unusual(hp, name)]
    smaller = ", ".join(f"{name} is {getattr(hp, name):g}" for name in [*(f"{term}_lr" for term in terms), *others])
    return f"choose smaller values ({smaller}), or set clip_gradient"


def _unusual(hp: FactorizationMachinesHyperparameters, name: str) -> bool:
    value = getattr(hp, name)
    return value is not None and abs(value) > 1


def _labels(batch: Batch, hp: FactorizationMachinesHyperparameters) -> np.ndarray:
    """The labels of a batch, (n,) float32.

    Raises:
        TrainingDataError: there are several a row, or a class is neither 0 nor 1.
    """
    labels = np.asarray(batch.labels, np.float32)
    if labels.ndim > 1 and labels.shape[1] != 1:
        raise TrainingDataError(f"each row needs one label, but rows have {labels.shape[1]}")
    labels = labels.reshape(-1)
    wrong = (labels != 0) & (labels != 1)
    if hp.predictor_type == BINARY and wrong.any():
        raise TrainingDataError(f"labels of a binary_classifier must be 0 or 1, but one is {labels[wrong][0]:g}")
    return labels


def _report_batch(
    rows: list[tuple[np.ndarray, np.ndarray]],
    hp: FactorizationMachinesHyperparameters,
    job: Job,
    epoch: int,
    number: int,
) -> None:
    """Scores of a batch of all hosts, by the scores and labels of this host's ``rows``."""
    sums = Sums(hp.predictor_type == BINARY)
    for raw, labels in rows:
        sums.add(raw, labels)
    sums.shared(job.hosts)
    job.report(Measured(sums.scores("train"), step=epoch, batch=number))


def judge(model: FactorizationMachine, stream: Stream, hp: FactorizationMachinesHyperparameters, job: Job) -> None:
    """Report the scores of the model on the test channel.

    Raises:
        TrainingDataError: the test channel has no rows.
    """
    sums = Sums(hp.predictor_type == BINARY)
    for batch in stream.batches(hp.mini_batch_size):
        sums.add(model.scores(batch), _labels(batch, hp))
    sums.shared(job.hosts)
    if not sums.rows:
        raise TrainingDataError("Channel 'test' has no rows: verify that it contains non-empty files.")
    final = tuple(score for score in sums.scores("test") if score.metric not in ("mse", "absolute_loss"))
    for score in final:
        job.report(FinalScore("test", score.metric, score.value))
    job.report(Measured(final))
