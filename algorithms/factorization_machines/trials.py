"""The trials of a search: short trainings without a fold of the rows, each followed by its losses on them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from algorithms.common.hosts import any_host
from algorithms.factorization_machines import linear
from algorithms.factorization_machines.checkpoints import Place, set_rates, to_checkpoint
from algorithms.factorization_machines.passes import labels_of, one_pass
from algorithms.factorization_machines.rows import Rows, parted
from algorithms.factorization_machines.schedule import Schedule
from algorithms.factorization_machines.scores import Sums
from algorithms.factorization_machines.search import FEWEST_PASSES, FEWEST_ROWS, FOLDS, GROUPS, SPEED, Search, folds
from algorithms.factorization_machines.steps import State
from algorithms.interface import Job

if TYPE_CHECKING:
    from algorithms.factorization_machines import FactorizationMachinesHyperparameters

_WORST = 1e30
"""Loss of scores that are not finite."""


def are_due(place: Place, hp: FactorizationMachinesHyperparameters) -> bool:
    """Whether a job that is about to start has a rate to look for, and rows and passes to do it by."""
    if place.scaling is None or hp.states("factors_lr"):
        return False
    return place.scaling.rows >= FEWEST_ROWS and place.schedule.epochs >= FEWEST_PASSES


def first(place: Place, hp: FactorizationMachinesHyperparameters) -> Place:
    """Where the first trial starts, of a job that is about to start at ``place``."""
    assert place.scaling is not None
    return _next(place, Search(folds(place.scaling.rows), place.schedule, not hp.states("linear_wd")))


def _next(place: Place, search: Search) -> Place:
    """Where the next trial starts."""
    short = Schedule(search.schedule.epochs // SPEED, search.schedule.batch_size, log_every=0)
    return Place(short, Sums(place.total.binary), place.scaling, search=search, whole=place.whole)


def run(
    state: State, rows: Rows, place: Place, hp: FactorizationMachinesHyperparameters, job: Job
) -> tuple[Place, bool]:
    """All trials from ``place`` on. Returns the place that training has come to, and whether a stop was asked for."""
    while (search := place.search) is not None:
        known, held_out = parted(rows, search.fold, FOLDS, job.seed, job.hosts)
        if not place.epoch and not place.batches:
            state.restart()
            set_rates(state, place)
        if any_host(job.hosts, _has_rows(known)):
            with np.errstate(over="ignore", invalid="ignore"):
                if not _trained(state, known, place, hp, job):
                    return place, True
                if place.period > 1:
                    state.agree(stopped=False, step=None)
                ran = search.setting
                search.take(_losses(state, held_out, place, hp, job))
            if place.whole is None or (search.fold == search.folds and search.best() == ran):
                place.whole = search.position, state.learned()
        else:  # copies of few rows may all be in one fold, which then tells nothing
            search.take(np.zeros(GROUPS))
        place = _next(place, search) if search.more() else _decided(state, search, rows, place, hp, job)
    return place, False


def _has_rows(rows: Rows) -> bool:
    with closing(rows.batches()) as batches:
        return next(batches, None) is not None


def _trained(state: State, rows: Rows, place: Place, hp: FactorizationMachinesHyperparameters, job: Job) -> bool:
    """Whether a trial came to its end."""
    while place.epoch < place.schedule.epochs:
        state.begin(place.epoch, place.schedule.epochs)
        whole = one_pass(state, rows, place, hp, job)
        place.next_epoch()
        stopped = any_host(job.hosts, job.stop_requested)
        if whole:
            job.checkpoints.offer(lambda: to_checkpoint(state, place))
        if stopped:
            return False
    return True


def _losses(state: State, rows: Rows, place: Place, hp: FactorizationMachinesHyperparameters, job: Job) -> np.ndarray:
    """Sums of the losses of the held-out rows of all hosts, by group, (GROUPS,)."""
    found = np.zeros(GROUPS)
    start = 0
    for batch in rows.batches():
        labels = labels_of(batch, hp)
        scores = state.scores(batch).astype(np.float64)
        if place.total.binary:
            losses = np.logaddexp(0, scores) - labels * scores
        else:
            assert place.scaling is not None
            losses = np.square(scores - place.scaling.labels(labels))
        np.add.at(found, (start + np.arange(len(losses))) % GROUPS, losses)
        start += len(losses)
    return job.hosts.sum(np.nan_to_num(found, nan=_WORST, posinf=_WORST))[0]


def _decided(
    state: State, search: Search, rows: Rows, place: Place, hp: FactorizationMachinesHyperparameters, job: Job
) -> Place:
    """Where the job itself starts, at the rate that was found, or where it ends with a linear model."""
    times, decay = search.best()
    state.restart()
    least = min(map(sum, search.losses.values())) or 1.0

    def named(of_rate: float, of_decay: float) -> str:
        of_linear = f" and linear_wd={of_decay * hp.linear_wd:g}" if search.decays else ""
        return f"factors_lr={of_rate * hp.factors_lr:g}{of_linear}"

    tried = ", ".join(f"{named(*setting)}: {sum(losses) / least:.3f}" for setting, losses in search.losses.items())
    absent = "factors_lr and linear_wd are" if search.decays else "factors_lr is"
    job.info(
        f"{absent} not given: short trials on held-out rows "
        f"took {named(times, decay)}. Losses there, as multiples of the least: {tried}."
    )
    if linear.solve(state, search, rows, place, hp, job):
        schedule = Schedule(1, search.schedule.batch_size)
        place = Place(schedule, Sums(place.total.binary), place.scaling, exact=True, whole=("linear", state.learned()))
        set_rates(state, place)
        return place
    state.restart()
    place = Place(search.schedule, Sums(place.total.binary), place.scaling, setting=(times, decay), whole=place.whole)
    set_rates(state, place)
    return place
