"""One pass over the training rows: steps that all hosts take together, or each by itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from algorithms.common import local_steps
from algorithms.common.labels import check_size
from algorithms.errors import TrainingDataError, TrainingStopped
from algorithms.events import Measured
from algorithms.factorization_machines.checkpoints import Place, to_checkpoint
from algorithms.factorization_machines.model import BINARY
from algorithms.factorization_machines.rows import Rows
from algorithms.factorization_machines.scaling import Scaling
from algorithms.factorization_machines.scores import Sums
from algorithms.factorization_machines.steps import State
from algorithms.interface import Job
from recordio.batches import Batch

if TYPE_CHECKING:
    from algorithms.factorization_machines import FactorizationMachinesHyperparameters

NO_ROWS = "No training data processed. Verify that channel 'train' contains non-empty files."


def one_pass(state: State, rows: Rows, place: Place, hp: FactorizationMachinesHyperparameters, job: Job) -> bool:
    """One pass; scores are of each batch before its step. A stop cuts it short, False then, unless there is no model
    yet: neither an epoch nor a trial that is over."""
    total, stopped = place.total, False
    with closing(rows.batches()) as batches:
        left = itertools.islice(batches, place.batches, None)  # without those before an interruption
        while not stopped:
            steps = _together if place.period == 1 else _apart
            count, stopped = steps(left, state, place, hp, job)
            if not count:
                stopped = False  # that is heard after the epoch, which is whole
                break
            if rows.repeats:
                job.checkpoints.offer(lambda: to_checkpoint(state, place))
            if stopped and place.epoch == 0 and place.whole is None:
                raise TrainingStopped(f"in epoch {place.epoch}, after {total.rows} rows")
    total.shared(job.hosts)
    if not total.rows:
        raise TrainingDataError(NO_ROWS)
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
        labels = labels_of(batch, hp)
        raw = scores_of_step(partial(state.update, count=count), batch, labels, place.scaling)
        place.total.add(raw, labels)
        if _reports(place, hp, place.batches):
            _report_batch([(raw, labels)], hp, job, place.epoch, place.batches)
        place.batches += 1
        size = job.hosts.size
        touched = min(values // size, hp.feature_dim) if sparse else hp.feature_dim
        step = state.seconds(count / size, values / size, touched)
        width = hp.num_factors + 1
        # With rescale_grad gradients are sums over rows, which would be others on each host.
        if hp.rescale_grad is None and local_steps.are_over(state.time, size, step, touched, state.size):
            place.step = step
            place.period = local_steps.next_period(1, size, step, touched, width, state.time)
    return count, stopped > 0


def _apart(
    batches: Iterator[Batch], state: State, place: Place, hp: FactorizationMachinesHyperparameters, job: Job
) -> tuple[int, bool]:
    """Steps of this host alone, then the exchange after which all have the same parameters; see ``_together``."""
    taken = range(place.batches, place.batches + place.period)
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for number, batch in zip(taken, batches, strict=False):
        labels = labels_of(batch, hp)
        raw = scores_of_step(state.step_alone, batch, labels, place.scaling)
        place.total.add(raw, labels)
        if _reports(place, hp, number):
            found[number] = raw, labels
    agreed = state.agree(stopped=job.stop_requested, step=place.step)
    for number in filter(partial(_reports, place, hp), taken[: agreed.steps]):
        _report_batch([found[number]] if number in found else [], hp, job, place.epoch, number)
    place.batches += place.period
    place.period = local_steps.next_period(
        place.period, job.hosts.size, place.step, agreed.touched, hp.num_factors + 1, state.time
    )
    return agreed.rows, agreed.stopped


def scores_of_step(
    step: Callable[[Batch, np.ndarray], np.ndarray], batch: Batch, labels: np.ndarray, scaling: Scaling | None
) -> np.ndarray:
    """Take a step by rows whose features are scaled, and labels are not. Returns the scores (n,) of the rows before
    it, on the scale of the labels."""
    if scaling is None:
        return step(batch, labels)
    return scaling.scores(step(batch, scaling.labels(labels)))


def _reports(place: Place, hp: FactorizationMachinesHyperparameters, number: int) -> bool:
    """Whether the scores of a batch are logged."""
    return place.schedule.logs(place.epoch) and number % hp.batch_metrics_publish_interval == 0


def labels_of(batch: Batch, hp: FactorizationMachinesHyperparameters) -> np.ndarray:
    """The labels of a batch, (n,) float32.

    Raises:
        TrainingDataError: there are several a row, a class is neither 0 nor 1, or a number beyond float32's scores.
    """
    labels = np.asarray(batch.labels, np.float32)
    if labels.ndim > 1 and labels.shape[1] != 1:
        raise TrainingDataError(f"each row needs one label, but rows have {labels.shape[1]}")
    labels = labels.reshape(-1)
    if hp.predictor_type != BINARY:
        check_size(labels)
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


def advice(hp: FactorizationMachinesHyperparameters) -> str:
    """What to change where numbers grow beyond bounds: the learning rates, whatever else is larger than usual, and the
    data, which no one has scaled where epochs are given."""
    terms = ("factors", "linear", "bias")
    starts = [f"{term}_init_{part}" for term in terms for part in ("sigma", "scale", "value")]
    others = [name for name in [*(f"{term}_wd" for term in terms), *starts, "rescale_grad"] if _unusual(hp, name)]
    smaller = ", ".join(f"{name} is {getattr(hp, name):g}" for name in [*(f"{term}_lr" for term in terms), *others])
    scaled = "" if hp.epochs is None else "; or scale features and labels to about 1, as a job does without epochs"
    return f"choose smaller values ({smaller}), or set clip_gradient{scaled}"


def _unusual(hp: FactorizationMachinesHyperparameters, name: str) -> bool:
    value = getattr(hp, name)
    return value is not None and abs(value) > 1
