"""Passes over the training rows, what is told of them, and the scores of the model."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from algorithms.checkpoints import Checkpoint
from algorithms.common.hosts import any_host
from algorithms.errors import TrainingDataError, TrainingStopped
from algorithms.events import FinalScore, Measured, Progress, Throughput
from algorithms.factorization_machines import exactness, selection, trials
from algorithms.factorization_machines.checkpoints import Place, resume, to_checkpoint
from algorithms.factorization_machines.model import BINARY, REGRESSOR, FactorizationMachine
from algorithms.factorization_machines.passes import NO_ROWS, advice, labels_of, one_pass
from algorithms.factorization_machines.rows import Rows, of_channel
from algorithms.factorization_machines.scaling import FAR, Measure, Scaling
from algorithms.factorization_machines.schedule import FEWEST_STEPS, Schedule, enough
from algorithms.factorization_machines.scores import Sums
from algorithms.factorization_machines.steps import State
from algorithms.interface import Job, Stream

if TYPE_CHECKING:
    from algorithms.factorization_machines import FactorizationMachinesHyperparameters

_NO_INTERACTIONS = 1e-3  # of the scores' spread: what is below it changes no answer
_LARGE_DECAY = 1e-4  # ten times the default of factors_wd; a smaller one draws no interaction to zero that rows show
_SETTLED = 0.5  # of the epochs, before which a trial, whose rates fell to their end, has the better model
_WORSE = 1.2  # times the loss of a constant; below, it may be noise: rows are scored before each step
_ALIKE = 1e-14  # times the loss of scores of 0: the loss of a constant where labels differ by rounding alone
_NEAR = 0.1  # of the loss of scores of 0: steps that came nearer to labels that are all alike have not diverged
_LARGE_LABELS = 1e18  # whose squares are near the end of float32
_NAMED = 10  # columns in a warning


def train(state: State, stream: Stream, hp: FactorizationMachinesHyperparameters, job: Job) -> FactorizationMachine:
    """All passes, and what the user should know of how they went.

    Raises:
        TrainingDataError: there is no row, a label is none, or float32 cannot hold what was learned.
    """
    found = job.checkpoints.latest()
    begun = None  # a choice
    if found is not None and selection.is_of(found):
        begun, found = found, None
    elif found is not None and found.state["undecided"]:
        found = None
    place = _first_place(stream, hp, job) if found is None else resume(state, found)
    if place.scaling is not None:
        state.leave_alone(place.scaling.far)
    rows = of_channel(stream, place.schedule.batch_size, place.scaling, job.memory)
    if found is None:
        place = _by_sweeps_or_steps(state, rows, place, hp, job, begun)
    place, stopped = trials.run(state, rows, place, hp, job)
    while place.epoch < place.schedule.epochs and not stopped:
        stopped = _one_epoch(state, rows, place, hp, job)
    if place.period > 1:
        state.agree(stopped=stopped, step=None)
    epoch, epochs, scaling = place.epoch, place.schedule.epochs, place.scaling
    early = place.search is not None or epoch < _SETTLED * epochs
    if early and place.whole is not None:
        state.put(place.whole[1])
    if early and not place.exact and (place.search is not None or place.whole is not None):
        job.warning("Training was asked to stop before it was far enough: the model is that of a short trial.")
    elif epoch < epochs:
        job.warning(f"Training was asked to stop: the model is that of {epoch} of {epochs} epochs.")
    model = model_of(state, scaling)
    if not all(np.isfinite(one).all() for one in (state.bias, state.linear, state.factors)):
        raise TrainingDataError(f"the model is not finite after epoch {epoch - 1}: {_advice(place.last, place, hp)}")
    if scaling is not None:
        exactness.check(model, state, scaling, stream, job)
    _warn(state, hp, job, open_ended=scaling is not None)
    if place.last is not None and hp.use_bias and not place.exact:  # a constant is a bias
        _warn_of_loss(place.last, state.time, hp, job, start=place.last.of_nothing if scaling is None else 0.0)
    return model


def model_of(state: State, scaling: Scaling | None) -> FactorizationMachine:
    """What was learned, for features and labels as they are."""
    learned = state.bias, state.linear, state.factors
    bias, linear, factors = learned if scaling is None else scaling.restored(*learned)
    return FactorizationMachine(bias, linear, factors, state.hp.predictor_type)


def _warn(state: State, hp: FactorizationMachinesHyperparameters, job: Job, *, open_ended: bool) -> None:
    """What may have kept the model from learning; ``open_ended`` where the number of passes was ours to choose."""
    if state.time < FEWEST_STEPS and not open_ended:
        more = "give none" if hp.epochs is not None else "read the channel in File mode, not Pipe"
        job.warning(
            f"Training ended after {state.time} steps, which are few at linear_lr={hp.linear_lr:g} and "
            f"factors_lr={hp.factors_lr:g}: give more epochs, or {more}, and there are as many as are needed."
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


def _warn_of_loss(last: Sums, steps: int, hp: FactorizationMachinesHyperparameters, job: Job, *, start: float) -> None:
    """Where scores of the ``last`` epoch are worse than a constant's: they have diverged, or, where they are still
    better than at the ``start``, not come far."""
    constant, nothing = last.of_constant, last.of_nothing
    # Of labels that are all alike a constant has no loss, at which no steps arrive.
    if last.loss <= (_WORSE * constant if constant > _ALIKE * nothing else _NEAR * (nothing or 1.0)):
        return
    than = (
        f"On the rows that it was trained on, in the last epoch, the model's loss was {last.loss:.4g}, where that of a "
        f"constant is {constant:.4g}"
    )
    if last.loss > _WORSE * start:
        job.warning(f"{than}: training has diverged; {advice(hp)}, and train anew.")
    elif steps >= FEWEST_STEPS:
        job.warning(
            f"{than}: at linear_lr={hp.linear_lr:g}, factors_lr={hp.factors_lr:g} and bias_lr={hp.bias_lr:g} it has "
            "not come far enough. Choose larger ones or more epochs, or bring the labels to values around 1."
        )


def _measured(stream: Stream, hp: FactorizationMachinesHyperparameters, job: Job) -> Scaling:
    """The scale of the data, by a pass over it."""
    measure = Measure(hp.feature_dim)
    with closing(stream.batches(hp.mini_batch_size)) as batches:
        for batch in batches:
            measure.add(batch.features, labels_of(batch, hp))
            if job.stop_requested:
                break
    if any_host(job.hosts, job.stop_requested):
        raise TrainingStopped(f"before epoch 0, after {measure.rows} rows")
    measure.shared(job.hosts)
    if not measure.rows:
        raise TrainingDataError(NO_ROWS)
    # What a shift adds to the weights and the bias needs both of them.
    return measure.scaling(shifted=hp.use_bias and hp.use_linear, labels=hp.predictor_type == REGRESSOR)


def _first_place(stream: Stream, hp: FactorizationMachinesHyperparameters, job: Job) -> Place:
    """Where training starts: what is to be done, and on which scale."""
    scores = Sums(hp.predictor_type == BINARY)
    if hp.epochs is not None or not stream.repeats:
        return Place(Schedule(hp.epochs or 1, hp.mini_batch_size), scores)
    scaling = _measured(stream, hp, job)
    schedule = enough(scaling.rows, hp.mini_batch_size)
    if (far := scaling.far).size:
        named = ", ".join(map(str, far[:_NAMED])) + (f" and {far.size - _NAMED} more" if far.size > _NAMED else "")
        job.warning(
            f"Columns (from 0) {named} lie {FAR} standard deviations or more from 0 and take no part in interactions, "
            "which float32 could not hold there: subtract their means from the data to have them."
        )
    # With the number of passes, the rows of a step are ours to choose: as many on several hosts as on one.
    schedule = replace(schedule, batch_size=-(-schedule.batch_size // job.hosts.size))
    return Place(schedule, scores, scaling)


def _by_sweeps_or_steps(
    state: State,
    rows: Rows,
    place: Place,
    hp: FactorizationMachinesHyperparameters,
    job: Job,
    found: Checkpoint | None,
) -> Place:
    """Where a job that is about to start at ``place`` goes on: with a model that needs no steps, whose choice another
    run has ``found`` in part, with a trial, or there."""
    scaling, schedule = place.scaling, place.schedule
    if scaling is None:
        return place
    if selection.is_due(place, hp):
        place = selection.run(state, rows, place, hp, job, found)
        if place.exact:
            return place
    job.info(
        f"epochs is not given: {schedule.epochs} passes over {scaling.rows} rows in batches of "
        f"{schedule.batch_size * job.hosts.size}, on features and labels of one scale; "
        f"every {schedule.log_every}. is logged."
    )
    return trials.first(place, hp) if trials.are_due(place, hp) else place


def _one_epoch(state: State, rows: Rows, place: Place, hp: FactorizationMachinesHyperparameters, job: Job) -> bool:
    """One pass, and its lines; whether a stop was asked for."""
    started, epoch, total = time.perf_counter(), place.epoch, place.total
    state.begin(epoch, place.schedule.epochs)
    with np.errstate(over="ignore", invalid="ignore"):  # told by the error below
        is_whole = one_pass(state, rows, place, hp, job)
    if not total.finite:
        raise TrainingDataError(f"the scores are not finite in epoch {epoch}: {_advice(total, place, hp)}")
    if place.schedule.logs(epoch):
        job.report(Measured(total.scores("train"), step=epoch))
        job.report(Progress(epoch + 1, place.schedule.epochs))
        job.report(Throughput(total.rows, time.perf_counter() - started))
    place.next_epoch()
    place.last = total
    stopped = any_host(job.hosts, job.stop_requested)  # before the checkpoint, which is then written
    if is_whole:
        job.checkpoints.offer(lambda: to_checkpoint(state, place), epoch_over=True)
    return stopped


def _advice(known: Sums | None, place: Place, hp: FactorizationMachinesHyperparameters) -> str:
    """``advice``, or what to do about labels that are too large, by the scores of an epoch where one is ``known``."""
    size = np.sqrt(known.label_squares / known.rows) if known is not None else 0.0
    if size < _LARGE_LABELS or place.scaling is not None or hp.clip_gradient is not None:
        return advice(hp)
    return (
        f"labels are of about {size:.2g}, and float32 cannot hold the squares of gradients as large: give no epochs, "
        "with which a job brings labels to values around 1, or divide them by a number that does"
    )


def judge(model: FactorizationMachine, stream: Stream, hp: FactorizationMachinesHyperparameters, job: Job) -> None:
    """Report the scores of the model on the test channel.

    Raises:
        TrainingDataError: the test channel has no rows.
    """
    sums = Sums(hp.predictor_type == BINARY)
    for batch in stream.batches(hp.mini_batch_size):
        sums.add(model.scores(batch), labels_of(batch, hp))
    sums.shared(job.hosts)
    if not sums.rows:
        raise TrainingDataError("Channel 'test' has no rows: verify that it contains non-empty files.")
    final = tuple(score for score in sums.scores("test") if score.metric not in ("mse", "absolute_loss"))
    for score in final:
        job.report(FinalScore("test", score.metric, score.value))
    job.report(Measured(final))
