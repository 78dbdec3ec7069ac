"""Training: the epochs of a job, each of which shows the state every row once, and the centers that follow from it.

Reference: E. Liberty et al., "Elastic Machine Learning Algorithms in Amazon SageMaker", SIGMOD 2020, sections 3 and 4.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from algorithms.common.blas import blas_threads, side_by_side, threads_for
from algorithms.common.hosts import any_host, from_leader, total
from algorithms.errors import TrainingDataError, TrainingStopped
from algorithms.events import Progress, Throughput
from algorithms.hyperparameters import AUTO
from algorithms.interface import Hosts, Job, Stream
from algorithms.kmeans.checkpoints import Place, join, resume, to_checkpoint
from algorithms.kmeans.final import Options, finalize
from algorithms.kmeans.lloyd import Clustering
from algorithms.kmeans.sizes import MOST_THREADS, SMALL_PRODUCT, extra_centers, sample_rows, trials, width
from algorithms.kmeans.state import State
from recordio.batches import Features

if TYPE_CHECKING:
    from algorithms.kmeans import KMeansHyperparameters


def train(hyperparameters: KMeansHyperparameters, stream: Stream, job: Job) -> Clustering:
    """Read the channel ``epochs`` times; k centers and their mean squared distance on it.

    After a stop they are those of the rows until then.

    Raises:
        TrainingDataError: there are fewer rows than clusters.
        TrainingStopped: a stop was asked for before so many were read.
    """
    k = hyperparameters.k
    new_state = partial(initialize, hyperparameters, job.seed, job.hosts)
    state = new_state()
    options = options_of(hyperparameters)
    if hyperparameters.extra_center_factor == AUTO:
        job.info(f"'extra_center_factor' was set to 'auto', evaluated to {state.size // k}.")
    if hyperparameters.local_lloyd_num_trials == AUTO:
        job.info(f"'local_lloyd_num_trials' was set to 'auto', evaluated to {options.num_trials}.")
    found = job.checkpoints.latest(alone=True, join=partial(join, make=new_state, hosts=job.hosts))
    place = Place() if found is None else resume(state, found)
    stopped = False
    while place.passed.epoch < hyperparameters.epochs and not stopped:
        started = time.perf_counter()
        with job.timer("update.time"):
            _one_epoch(state, place, hyperparameters, stream, job)
        if not (stopped := place.passed.stopped):
            place.passed.epoch_over()
            job.report(Progress(place.passed.epoch, hyperparameters.epochs))
        job.report(Throughput(state.rows - place.before, time.perf_counter() - started))
        place.before = state.rows
        if not stopped:
            job.checkpoints.offer(lambda: to_checkpoint(state, place), epoch_over=True, alone=True)
    within = _check_rows(state, place, hyperparameters, job, stopped=any_host(job.hosts, stopped))
    with job.timer("finalize.time"):
        state.shared(job.hosts)
        rng = final_random(job.seed)
        centers, msd = from_leader(
            job.hosts, lambda: finalize(state, k, options, rng, job.info, lambda: job.stop_requested, within)
        )
        return Clustering(centers, msd)


def _check_rows(
    state: State, place: Place, hyperparameters: KMeansHyperparameters, job: Job, *, stopped: bool
) -> float | None:
    """Refuse to make more clusters than all hosts have rows; the ``within`` of ``finalize``.

    Raises:
        TrainingDataError, TrainingStopped: see ``train``.
    """
    k, rows = hyperparameters.k, total(job.hosts, state.rows)
    if not stopped:
        if rows < k * hyperparameters.epochs:
            rows //= hyperparameters.epochs
            raise TrainingDataError(f"k is {k}, but channel 'train' has only {rows} rows: lower k, or give more rows")
        return None
    if rows < k:
        raise TrainingStopped(f"only {rows} rows had been read")
    told, distances = job.hosts.sum(place.total + place.recent)[0]
    job.warning(f"Training was asked to stop: the clusters are those of the {rows} rows read so far.")
    return float(distances / max(told, 1))


def initialize(hyperparameters: KMeansHyperparameters, seed: int, hosts: Hosts) -> State:
    """The state to start with on this host."""
    k, factor = hyperparameters.k, hyperparameters.extra_center_factor
    own = _seeds(seed)[0]
    return State(
        k * (factor if isinstance(factor, int) else extra_centers(k, hyperparameters.feature_dim)),
        k,
        np.random.default_rng(own.spawn(hosts.rank)[-1] if hosts.rank else own),
        init_method=hyperparameters.init_method,
        half_life=hyperparameters.half_life_time_size / hosts.size,  # rows pass on all hosts at once
    )


def options_of(hyperparameters: KMeansHyperparameters) -> Options:
    """How a job with these hyperparameters makes its centers from the state."""
    tried = hyperparameters.local_lloyd_num_trials
    return Options(
        hyperparameters.local_lloyd_init_method,
        hyperparameters.local_lloyd_max_iter,
        hyperparameters.local_lloyd_tol,
        tried if isinstance(tried, int) else trials(hyperparameters.k),
    )


def final_random(seed: int) -> np.random.Generator:
    """The random numbers of a job's ``finalize``."""
    return np.random.default_rng(_seeds(seed)[1])


def _seeds(seed: int) -> list[np.random.SeedSequence]:
    return np.random.SeedSequence(seed).spawn(2)


def see(state: State, k: int, features: Features, times: np.ndarray | None = None, *, keep: bool = True) -> float:
    """``State.update``, with a sample for up to k centers."""
    wanted = sample_rows(k, width([features]))
    state.keep(min(wanted, state.sample_size) if state.rows else wanted)  # the fullest batch bounds its bytes
    with threads_for(2.0 * width([features]) * features.shape[0] * state.size, SMALL_PRODUCT):
        return state.update(features, times, keep=keep)


def _one_epoch(state: State, place: Place, hyperparameters: KMeansHyperparameters, stream: Stream, job: Job) -> None:
    """Move the working centers by every row once, or until a stop; the sample is of the last epoch."""
    keep = place.passed.epoch == hyperparameters.epochs - 1
    size = hyperparameters.mini_batch_size
    with side_by_side(min(blas_threads(), MOST_THREADS)):
        for features in place.passed.read(stream, size, job, lambda: to_checkpoint(state, place)):
            times = place.began + place.passed.places + 1
            _tell(place, features, see(state, hyperparameters.k, features, times, keep=keep), size, job)
    if place.passed.stopped:
        return
    place.began += place.passed.rows
    state.pass_time(place.began)  # where others had seen the last rows


def _tell(place: Place, rows: Features, squared_distances: float, size: int, job: Job) -> None:
    """Log how far rows are from the working centers, at batches 10, 20, ... 90, 100, 200, ... 900, 1000 and so on."""
    if place.told == 0 and rows.shape[0] < size:
        job.warning(
            f"Batch size {size} is bigger than the first batch data. "
            f"Effective batch size used to initialize is {rows.shape[0]}"
        )
    place.told += 1
    place.recent += (rows.shape[0], squared_distances)
    if place.told < 10 or place.told % 10 ** int(np.log10(place.told)):
        return
    place.total += place.recent
    short, long = (float(total / rows) for rows, total in (place.recent, place.total))
    job.info(f"Iter {place.told}: Short term msd {short:f}. Long term msd {long:f}")
    place.recent = np.zeros(2)
