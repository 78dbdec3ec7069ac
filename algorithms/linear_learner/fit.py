"""Training: exactly, along a path of penalties, if rows fit in memory; else of many models in each pass over the data,
by mini-batches.

Several hosts take the same decisions as one with all their rows. Each has its own rows, and all learn the same models.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from algorithms.common import local_steps
from algorithms.common.blas import threads_for
from algorithms.common.hosts import any_host, first_of_all, total
from algorithms.common.stopping import EarlyStopping
from algorithms.errors import TrainingDataError, TrainingStopped
from algorithms.events import Measured, ModelValues, Progress, StoppingCriterion, Throughput
from algorithms.hyperparameters import AUTO
from algorithms.interface import Hosts, Job, Stream
from algorithms.linear_learner import path
from algorithms.linear_learner.checkpoints import Run, resume, to_checkpoint
from algorithms.linear_learner.divergence import STARTS, diverged
from algorithms.linear_learner.grid import Setting, models_memory, optimizer_name
from algorithms.linear_learner.losses import Loss, make_loss, objective_name
from algorithms.linear_learner.preprocessing import Problem, check_labels, one_label, study
from algorithms.linear_learner.scaling import DENSE_CELLS, DENSE_SHARE, ScaledRows, UnscaledRows
from algorithms.linear_learner.selection import half_standard_error
from algorithms.linear_learner.together import alike
from algorithms.linear_learner.trainer import Trainer, Winner
from algorithms.linear_learner.validation import Folds, HeldOut, Kept, Rows, folds, no_folds
from recordio.batches import Batch, concatenate, rebatch

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

STEPS_PER_EPOCH = 500
"""Fewest steps of an epoch if the job does not state mini_batch_size: with 1000 rows a step, SageMaker's default, small
data would be far from converged after 15 epochs."""
LEAST_BATCH, FIRST_BATCH = 32, 100
"""Fewest rows of such a step, and the rows of a step as long as the number of rows is unknown."""
READ_ROWS = 1000
"""Rows that are read at once if all of them are kept."""
GIB = 1 << 30


@dataclass(frozen=True)
class Trained:
    """The result of training: the best model, and rows of this host to report its scores on.

    Attributes:
        optimizer: its name in mini-batches; ``exact`` where the minimum was found, by whichever method.
    """

    winner: Winner
    problem: Problem
    train_rows: Rows
    validation_rows: Rows | None
    loss: Loss
    optimizer: str


def train(hp: LinearLearnerHyperparameters, stream: Stream, validation: Batch | None, job: Job) -> Trained:
    """Train all models for at most ``epochs`` passes and keep the best one seen.

    Args:
        validation: this host's rows to compare models on; None holds some of the training rows out for it.

    Raises:
        TrainingDataError: there is no row, or labels or features do not fit the job.
    """
    first = stream.batches(READ_ROWS)
    head, ended = _head(first, hp.num_point_for_scaler, path.PATH_MEMORY)
    rows, size, reading = job.hosts.sum(np.array([sum(map(len, head)), _bytes(head), not ended]))[0].tolist()
    head = alike(head, "train", job.hosts)
    if not head:
        raise TrainingDataError(
            "No training data processed. The training channel is empty: verify that it contains non-empty files."
        )
    beyond = reading or (rows >= hp.num_point_for_scaler and size >= path.PATH_MEMORY)
    if not beyond and path.models_memory(hp, rows, head[0].feature_dim) <= path.PATH_MEMORY:
        batch = concatenate(head)
        head.clear()
        unused = path.without_effect(hp)
        without = f"; {', '.join(unused)} cannot change it" if unused else ""
        job.info(f"Training exactly: the minimum on all {rows} rows is found{without}.")
        return _train_whole(hp, batch, validation, job)
    job.info(f"Training by mini-batches: rows or models exceed {path.PATH_MEMORY >> 20} MiB.")
    size = _batch_size(hp, None if beyond else rows, job.hosts)  # one host would not have read them all
    with np.errstate(over="ignore", invalid="ignore"):  # losses that are not finite are told from the others
        return _train_batches(hp, head, first, size, stream, validation, job)


def _train_whole(hp: LinearLearnerHyperparameters, batch: Batch, validation: Batch | None, job: Job) -> Trained:
    """Train on rows that are all in memory; see ``path``."""
    stated = hp.states("num_point_for_scaler")
    sample = first_of_all(job.hosts, len(batch), hp.num_point_for_scaler) if stated else len(batch)
    check_labels(one_label(batch), hp)
    known = folds(batch, hp, job.seed, job.hosts) if validation is None else no_folds(batch, job.hosts)
    problem = study(batch, hp, job.hosts, sample, distinct=known.rows, sized=False)
    if validation is not None:
        _check_validation(validation, problem, hp)
    threads = threads_for(2.0 * len(batch) * problem.feature_dim * problem.outputs)
    with threads:
        point, problem, value = _best_weight(hp, problem, batch, known, validation, job)
    judged = None if validation is None else Rows.of(validation, problem, problem.outputs)
    rows = Rows.of(batch, problem, problem.outputs)
    winner = Winner(
        parameters=point.design.parameters(point.solution),
        threshold=path.threshold(point, hp),
        losses=np.empty(0),
        objective=point.objective,
        lowest_objective=point.objective,
        value=value,
        margin=0.0,
        setting=Setting(1.0, point.penalty * point.design.size**2, 0.0 if hp.l1 == AUTO else float(hp.l1)),
    )
    return Trained(winner, problem, rows, judged, make_loss(hp.loss_name, hp), "exact")


def _best_weight(
    hp: LinearLearnerHyperparameters, problem: Problem, batch: Batch, known: Folds, validation: Batch | None, job: Job
) -> tuple[path.Point, Problem, float]:
    """The best point, by the job's criterion, over the weights of positive rows that are to be tried (mostly one); with
    its scaling and the value of the criterion.

    A weight after the first must be better by more than half a standard error. Without a criterion the first is used,
    as the weights change the losses, which could not be compared.
    """
    best: tuple[path.Point, Problem, float] | None = None
    for weight in problem.positive_weights if hp.criterion is not None else problem.positive_weights[:1]:
        found = path.follow(hp, replace(problem, positive_weights=(weight,)), batch, known, validation, job)
        reached, rows = path.criterion(found[0], hp, job.hosts)
        if best is None or reached > best[2] + half_standard_error(best[2], rows):
            best = (*found, reached)
        if any_host(job.hosts, job.stop_requested):
            break
    assert best is not None, "there is at least one weight"
    return best


def _train_batches(
    hp: LinearLearnerHyperparameters,
    head: list[Batch],
    first: Generator[Batch],
    size: int,
    stream: Stream,
    validation: Batch | None,
    job: Job,
) -> Trained:
    """Train by mini-batches: in the first epoch on ``head`` and the rest of ``first``, then on the stream from its
    start.

    Every epoch reads ``size`` rows at a time, however many a step takes, as held-out rows are told by their places.
    """
    hosts, sample, unit = job.hosts, concatenate(head), size
    studied = first_of_all(hosts, len(sample), max(hp.num_point_for_scaler, size * hosts.size))
    _check_memory(hp, sample.feature_dim, job)
    problem = study(sample, hp, hosts, studied)
    trainer = Trainer(hp, problem, job.seed, hosts)
    width = trainer.parameters.shape[1]
    job.info(f"Training {len(trainer.settings)} models in parallel.")
    rows = None if validation is None else _validation_rows(validation, trainer)
    kept = Kept(HeldOut(size, total(hosts, len(sample)) if rows is None else 0, hosts.size))
    stopping = EarlyStopping(tolerance=hp.early_stopping_tolerance)
    run = Run(trainer, kept, stopping, size, np.zeros(len(trainer.settings)))
    if (found := job.checkpoints.latest()) is not None:
        resume(run, found)
    if run.epoch:  # a resumed job has read the rows of ``head`` for the scaler alone
        first.close()
        rows = rows or Rows.of(kept.batch(), problem, width)
    while run.epoch < hp.epochs and not run.over:
        is_first, started = run.epoch == 0, time.perf_counter()
        threads = threads_for(2.0 * run.size * trainer.parameters.size)
        with threads, closing(first if is_first else stream.batches(unit)) as source:
            batches = rebatch(itertools.chain(head, source) if is_first else source, unit)
            is_whole = _run_epoch(run, batches, None if run.size == unit else run.size, stream.repeats, job)
            head = []
        seen, losses = _of_all_hosts(run, sample, hosts)
        rows = rows or Rows.of(kept.batch(), problem, width)
        _judge_epoch(run, hp, rows, losses, job, validated=validation is not None)
        job.report(Throughput(seen, time.perf_counter() - started))
        stopped = any_host(hosts, job.stop_requested)  # before the checkpoint, which is then written
        if run.over or stopped:
            job.info("Early stop condition met. Stopping training.")
        run.epoch, run.steps, run.seen, run.losses = run.epoch + 1, 0, 0, np.zeros_like(losses)
        run.size = _batch_size(hp, seen, hosts)
        if is_whole:
            job.checkpoints.offer(lambda: to_checkpoint(run), epoch_over=True)
        if stopped:
            break
    winner = _winner(run, hp)
    assert rows is not None, "there is at least one epoch"
    held_out, validated = (rows, None) if validation is None else (Rows.of(kept.batch(), problem, width), rows)
    if (warning := diverged(winner, problem, held_out, hp, hosts)) is not None:
        job.warning(warning)
    return Trained(winner, problem, held_out, validated, trainer.loss, optimizer_name(hp, problem.sparse))


def _winner(run: Run, hp: LinearLearnerHyperparameters) -> Winner:
    """The best model.

    Raises:
        TrainingDataError: its loss is not finite.
    """
    winner = run.winner
    assert winner is not None, "there is at least one epoch"
    if not np.isfinite(winner.objective):
        start = "".join(f", {name} {getattr(hp, name):g}" for name in STARTS if name in hp.given)
        raise TrainingDataError(
            f"the loss is not finite with learning_rate {winner.setting.learning_rate:g}{start}: choose smaller "
            "values, or look for extreme ones in the data"
        )
    return winner


def _check_memory(hp: LinearLearnerHyperparameters, feature_dim: int, job: Job) -> None:
    needed = models_memory(hp, feature_dim, hp.outputs)
    if job.memory is not None and needed > job.memory:
        raise TrainingDataError(
            f"the models of {feature_dim} features, as channel 'train' has, need at least {needed / GIB:,.1f} "
            f"GiB of memory, and this machine or container, or this host's share of it, has "
            f"{job.memory / GIB:,.1f} GiB: set a smaller num_models"
        )


def _of_all_hosts(run: Run, sample: Batch, hosts: Hosts) -> tuple[int, np.ndarray]:
    """The number of rows of all hosts in the epoch, and the mean loss on them of each model, (models,).

    Raises:
        TrainingStopped: the epoch was stopped before there were rows to score the models on.
    """
    losses, counts = hosts.sum(run.losses, np.array([run.seen, sum(map(len, run.kept.rows))]))
    if not run.kept.rows:
        run.kept.rows = [Batch(sample.features[:0], np.zeros(0, np.float32))]
    if not counts[1]:
        raise TrainingStopped(f"in epoch {run.epoch}, after {int(counts[0])} rows")
    return int(counts[0]), losses / max(counts[0], 1)


def _judge_epoch(
    run: Run, hp: LinearLearnerHyperparameters, rows: Rows, losses: np.ndarray, job: Job, *, validated: bool
) -> None:
    """Score the models, whose training losses are ``losses``, on ``rows``; keep the best so far, and decide whether
    training is over."""
    candidate = run.trainer.best(rows, losses)
    if run.best is None or candidate.beats(run.best, job.hosts):
        run.best = candidate
    if candidate is run.best or candidate.equals(run.best, job.hosts):
        run.winner = candidate  # the later of equals: its learning rate was smaller, so it owes less to chance
    criterion, loss = _stopping_criterion(hp, losses, candidate, validated)
    _report_epoch(job, run.trainer, losses, candidate, run.epoch)
    job.report(StoppingCriterion(run.epoch, criterion, abs(loss)))
    job.report(Progress(run.epoch + 1, hp.epochs))
    improved = run.stopping.take(loss, run.epoch)
    run.over = run.stopping.waited >= hp.early_stopping_patience
    run.trainer.end_epoch(improved=improved)


def _batch_size(hp: LinearLearnerHyperparameters, rows: int | None, hosts: Hosts) -> int:
    """Rows of a host in a step: as the job states, or by the number of rows of all hosts, if it is known, so that there
    are enough steps. All hosts share the rows of a step of one host; SageMaker's ``mini_batch_size`` is the most for
    each."""
    if hp.states("mini_batch_size"):
        return hp.mini_batch_size
    size = FIRST_BATCH if rows is None else max(rows // STEPS_PER_EPOCH, LEAST_BATCH)
    return min(-(-size // hosts.size), hp.mini_batch_size)


def _stopping_criterion(
    hp: LinearLearnerHyperparameters, losses: np.ndarray, best: Winner, validated: bool
) -> tuple[str, float]:
    """Name and value of what ends training when it no longer falls, as SageMaker's documentation has it.

    On validation data the criterion of selection, negative since it should rise, if the job states one, else the loss;
    without such data the loss in training, of models (m,).
    """
    if not validated:
        return objective_name(hp.loss_name), float(np.nan_to_num(losses, nan=np.inf).min())
    if hp.criterion is not None and hp.states("binary_classifier_model_selection_criteria"):
        return f"sampled_{hp.criterion}", -best.value
    return objective_name(hp.loss_name), best.lowest_objective


def _run_epoch(run: Run, batches: Iterable[Batch], size: int | None, repeats: bool, job: Job) -> bool:
    """One pass, or the rest of it, in steps of ``size`` rows, or of the rows of each batch that ``run.kept`` leaves.
    Returns whether it was complete, and not cut short by a stop."""
    kept, stopped = run.kept, False
    parts = (kept.take(index, batch) for index, batch in enumerate(batches))
    # Rows that were trained on before an interruption are only kept for scores.
    steps = itertools.islice(filter(len, parts) if size is None else rebatch(parts, size), run.steps, None)
    while not stopped:
        count, stopped = (_together if run.period == 1 else _apart)(run, steps, job)
        if not count:
            stopped = False  # the epoch is complete: the stop is noticed after it
            break
        if repeats:
            job.checkpoints.offer(lambda: to_checkpoint(run))
    kept.full = True
    return not stopped


def _together(run: Run, batches: Iterator[Batch], job: Job) -> tuple[int, bool]:
    """A step by the next batches of all hosts, with one exchange. Returns the number of their rows, and whether a host
    was asked to stop.

    A host without further rows takes part with an empty batch, until no host has any.
    """
    trainer, size = run.trainer, job.hosts.size
    width = trainer.problem.feature_dim
    batch = next(batches, None) or Batch(np.zeros((0, width), np.float32), np.zeros(0, np.float32))
    mine = np.array([len(batch), batch.is_sparse, stored_values(batch), job.stop_requested])
    count, sparse, values, stopped = job.hosts.sum(mine)[0].tolist()
    if count:
        thin = bool(sparse and are_thin(values, count * width))
        run.losses += trainer.update(*scaled_batch(batch, trainer, thin=thin), count)
        run.seen, run.steps = run.seen + len(batch), run.steps + 1
        if trainer.steps == local_steps.TOGETHER:
            read = values if thin else count * width
            run.step = trainer.seconds(count / size, read / size)
            touched = min(values // size, width) if thin else width
            run.period = local_steps.next_period(1, size, run.step, touched, trainer.parameters.shape[1], trainer.steps)
    return count, stopped > 0


def _apart(run: Run, batches: Iterator[Batch], job: Job) -> tuple[int, bool]:
    """Steps of this host alone, then the exchange after which all have the same parameters; see ``_together``."""
    trainer = run.trainer
    for batch in itertools.islice(batches, run.period):
        thin = batch.is_sparse and are_thin(stored_values(batch), len(batch) * trainer.problem.feature_dim)
        run.losses += trainer.step_alone(*scaled_batch(batch, trainer, thin=thin))
        run.seen += len(batch)
    agreed = trainer.agree(stopped=job.stop_requested)
    run.steps += run.period
    run.period = local_steps.next_period(
        run.period, job.hosts.size, run.step, agreed.touched, trainer.parameters.shape[1], trainer.steps
    )
    return agreed.rows, agreed.stopped


def stored_values(batch: Batch) -> int:
    """The number of values that its features have in memory."""
    return batch.features.size if isinstance(batch.features, np.ndarray) else batch.features.nnz


def are_thin(values: int, cells: int) -> bool:
    """Whether sparse rows are multiplied as sparse ones."""
    return cells > DENSE_CELLS or values < DENSE_SHARE * cells


def scaled_batch(batch: Batch, trainer: Trainer, *, thin: bool) -> tuple[ScaledRows, np.ndarray]:
    """Rows for products with the trainer's parameters, sparse ones where they are ``thin``, and scaled labels."""
    labels, features, problem = one_label(batch), batch.features, trainer.problem
    check_labels(labels, trainer.hp)
    scaled = problem.label_scaler.apply(labels)
    if thin:
        return UnscaledRows(sp.csr_array(features), problem.scaler), scaled
    dense = features if isinstance(features, np.ndarray) else features.toarray()
    return problem.scaler.rows(dense, trainer.parameters.shape[1]), scaled


def _validation_rows(validation: Batch, trainer: Trainer) -> Rows:
    _check_validation(validation, trainer.problem, trainer.hp)
    return Rows.of(validation, trainer.problem, trainer.parameters.shape[1])


def _check_validation(validation: Batch, problem: Problem, hp: LinearLearnerHyperparameters) -> None:
    if validation.feature_dim != problem.feature_dim:
        raise TrainingDataError(
            f"channel 'validation' has {validation.feature_dim} features, channel 'train' {problem.feature_dim}"
        )
    check_labels(one_label(validation), hp)


def _head(batches: Iterator[Batch], rows: int, memory: int) -> tuple[list[Batch], bool]:
    """The first batches, until they have ``rows`` rows and take ``memory`` bytes; and whether these are all batches."""
    head: list[Batch] = []
    count = size = 0
    for batch in batches:
        head.append(batch)
        count += len(batch)
        size += _bytes([batch])
        if count >= rows and size >= memory:
            return head, False
    return head, True


def _bytes(batches: list[Batch]) -> int:
    return sum(part.nbytes for batch in batches for part in batch.arrays())


def _report_epoch(job: Job, trainer: Trainer, losses: np.ndarray, best: Winner, epoch: int) -> None:
    name = objective_name(trainer.hp.loss_name)
    for model, loss in enumerate(losses):
        job.report(ModelValues({f"train_{name}": float(loss)}, epoch, model))
    job.report(Measured.of("train", name, losses[trainer.settings.index(best.setting)], step=epoch))
    job.report(Measured.of("validation", name, best.objective, step=epoch))
