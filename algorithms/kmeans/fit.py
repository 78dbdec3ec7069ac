"""Training: a state of fixed size that sees each batch once, and from which centers for any k up to its size follow.

The state keeps K = k * extra_center_factor working centers, moved by every batch, and a sample of the rows of bounded
size. Shrinking clusters the working centers into k (what SageMaker's users see in the log); the result is then refined
on the sample, by Lloyd's iterations as on data in memory.

Reference: E. Liberty et al., "Elastic Machine Learning Algorithms in Amazon SageMaker", SIGMOD 2020, sections 3 and 4.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from algorithms.common.blas import threads_for
from algorithms.common.hosts import any_host, from_leader
from algorithms.common.reservoir import Reservoir
from algorithms.errors import TrainingDataError, TrainingStopped
from algorithms.events import Progress, Throughput
from algorithms.hyperparameters import AUTO
from algorithms.interface import Hosts, Job, Stream
from algorithms.kmeans.checkpoints import Place, join, resume, to_checkpoint
from algorithms.kmeans.copies import MOST_MERGED, merged, without_copies
from algorithms.kmeans.lloyd import (
    BLOCK_ROWS,
    Clustering,
    Points,
    breathe,
    lloyd,
    nearest,
    plus_plus,
    squared_norms,
    sums,
    uniform,
)
from algorithms.kmeans.narrow import CHUNK, Coordinates, Met, occurring, only
from algorithms.kmeans.sizes import CAPACITY, extra_centers, more_starts, sample_rows, small_rows, trials, width
from recordio.batches import Batch, Features

if TYPE_CHECKING:
    from algorithms.kmeans import KMeansHyperparameters

SMALL_PRODUCT = 2e8
"""Floating-point operations of a product, a few milliseconds of one processor, that BLAS threads are not to share."""
INITIALISERS = {"random": uniform, "kmeans++": plus_plus}


class Options(NamedTuple):
    """How k centers are made from a state: the ``local_lloyd_*`` hyperparameters, ``auto`` resolved."""

    init_method: str = "kmeans++"
    max_iter: int = 300
    tol: float = 1e-4
    num_trials: int = 10


class State:
    """Working centers and a sample of what was seen so far. Its size does not depend on the number of rows.

    Attributes:
        size: number of working centers K; fewer until as many rows were seen.
        centers: shape (K, d), float64: weighted means of the rows that were nearest when they came. Of sparse rows
            (K, u) or wider: they hold the features that were met, and zeros beyond.
        met: these features; None where centers hold all.
        weights: shape (K,), float64: weights of these rows by now.
        rows: number of rows seen, here and in the states that were merged.
        time: the clock by which weights decay: the place of the last row among all of this host, counted from 1.
        decay: logarithm of what a row's weight loses with each later row; 0 for none.
        sample: some of the rows.
    """

    def __init__(
        self,
        size: int,
        sample_size: int,
        rng: np.random.Generator,
        *,
        init_method: str = "random",
        half_life: float = 0,
    ) -> None:
        self.size = size
        self.centers = np.empty((0, 0))
        self.met: Met | None = None
        self.weights = np.empty(0)
        self.rows = 0
        self.time: float = 0
        self.decay = float(np.log(2) / half_life) if half_life else 0.0
        self.sample = Reservoir(rng, CAPACITY, sample_size)
        self.sample_size = sample_size
        self.rng = rng
        self._initialiser = INITIALISERS[init_method]

    def initialize(self, features: Features) -> None:
        """Choose working centers among these rows (n, d), n >= 1, as far as there are not enough yet."""
        self._meet(features, occurring([features]))
        points = Points.of(features if self.met is None else self.met.narrowed(features))
        count = min(self.size - len(self.centers), len(points))
        known = self.centers if self.met is None else self.centers[:, : len(self.met.features)]
        chosen = self._initialiser(points, count, self.rng, known)
        if len(self.centers):
            padded = np.zeros((count, self.centers.shape[1]))
            padded[:, : chosen.shape[1]] = chosen
            chosen = np.concatenate([self.centers, padded])
        self.centers = chosen
        self.weights = np.concatenate([self.weights, np.zeros(count)])

    def _meet(self, features: Features, columns: np.ndarray | None) -> None:
        """Let the centers hold what these rows (n, d) have, of which ``occurring`` says ``columns``."""
        if self.met is None:
            if columns is not None and not len(self.centers):
                self.met = Met(features.shape[1], columns)
            return
        before = len(self.met.features)
        if columns is None or not self.met.meet(columns):
            self.widen()
        elif len(self.centers) and (met := len(self.met.features)) > self.centers.shape[1]:
            wider = np.zeros((len(self.centers), met + met // 2))  # room for more: the next rows bring some
            wider[:, :before] = self.centers[:, :before]
            self.centers = wider

    def widen(self) -> None:
        """Let the centers hold all features."""
        if self.met is not None:
            self.centers, self.met = self._wide(self.centers), None

    def _wide(self, centers: np.ndarray) -> np.ndarray:
        """Centers of the features that were met as ones of all, (k, d)."""
        if self.met is None:
            return centers
        wide = np.zeros((len(centers), self.met.width))
        wide[:, self.met.features] = centers[:, : len(self.met.features)]
        return wide

    def _of(self, centers: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
        """Centers in some features alone; as they are where it is None."""
        if columns is None:
            return centers
        return centers.take(columns if self.met is None else self.met.places(columns), axis=1)

    def keep(self, rows: int) -> None:
        """The sample is to have so many rows."""
        self.sample_size = self.sample.size = rows

    def pass_time(self, time: float) -> None:
        """Let the weights decay until then."""
        if time > self.time:
            self.weights = self.weights * np.exp(-self.decay * (time - self.time))
            self.time = time

    def update(self, features: Features, times: np.ndarray | None = None, *, keep: bool = True) -> float:
        """Move the working centers by these rows (n, d), n >= 1.

        Args:
            times: of the rows, (n,), increasing; they follow those before where it is None. Rows that another host has
                left unread may be older than what was seen.
            keep: offer the rows to the sample. Rows that are read again in another epoch belong into it once.

        Returns:
            The sum of the squared distances of the rows to the working centers as they were before.
        """
        columns = occurring([features])
        if len(self.centers) < self.size:
            self.initialize(features)
        else:
            self._meet(features, columns)
        count = features.shape[0]
        times = self.time + np.arange(1.0, count + 1) if times is None else times
        self.pass_time(times[-1])
        ages = self.time - times
        weights = np.exp(-self.decay * ages)
        if columns is None:
            points = Points.of(features, weights)
            found = nearest(points, self.centers)
        else:  # only these features of the centers matter to the products
            points = Points.of(only(features, columns), weights)
            found = nearest(points, self._of(self.centers, columns), squared_norms(self.centers))
        totals, masses = sums(points, found.labels, len(self.centers))
        self.weights = self.weights + masses
        moved = masses > 0
        share = (masses[moved] / self.weights[moved])[:, None]
        means = totals[moved] / masses[moved][:, None]
        # A step from the old mean to the new rows' mean: no product of large weights, so nothing overflows.
        if columns is None:
            self.centers[moved] += share * (means - self.centers[moved])
        else:
            places = columns if self.met is None else self.met.places(columns)
            self._step(np.flatnonzero(moved), places, share, means)
        self.rows += count
        if keep:
            self.sample.add(Batch(features), self.decay * times)
        return float(found.distances.sum())

    def _step(self, moved: np.ndarray, places: np.ndarray, share: np.ndarray, means: np.ndarray) -> None:
        """Centers (m,) towards means that are 0 except in some places, (m, u), by a share of the way, (m, 1)."""
        for center, part, mean in zip(moved, share[:, 0], means, strict=True):
            self.centers[center] *= 1 - part
            self.centers[center, places] += part * mean

    def merge(self, others: Iterable[State]) -> None:
        """Take in states of other parts of the data, each as recent as this one.

        The union of all working centers, if there are too many, is clustered into ``size`` of them.
        """
        self.widen()
        for other in others:
            if not other.rows:
                continue
            other.widen()
            self.centers = np.concatenate([self.centers.reshape(-1, other.centers.shape[1]), other.centers])
            self.weights = np.concatenate([self.weights, other.weights])
            self.sample.merge(other.sample, self.decay * (self.time - other.time))
            self.rows += other.rows
        if len(self.centers) > self.size:
            points = self._weighted_centers()
            centers = lloyd(points, plus_plus(points, self.size, self.rng), max_iter=20, tol=1e-3).centers
            self.centers, self.weights = _reduced(points, centers)

    def shared(self, hosts: Hosts) -> None:
        """Merge the states of all hosts into the leader's; the others keep their own.

        Of all hosts' samples together no more rows travel than one sample holds.
        """
        if hosts.size == 1:
            return
        self.keep(max(hosts.gather(self.sample_size)))  # a host without rows does not know of how many numbers they are
        self.widen()
        clock = self.decay * self.time  # keys as they are now: the hosts' clocks have run differently far
        keys = np.concatenate(hosts.gather(self.sample.keys() + clock))
        if len(keys) > self.sample_size:
            self.sample.limit(float(np.partition(keys, self.sample_size)[self.sample_size]) - clock)
        states = hosts.gather(
            {
                "centers": self.centers,
                "weights": self.weights,
                "rows": self.rows,
                "time": self.time,
                "sample": self.sample.to_arrays(),
            }
        )
        if hosts.rank == 0:
            self.merge(self._like(state) for state in states[1:])

    def _like(self, packed: dict[str, Any]) -> State:
        """Another host's state."""
        state = State(self.size, self.sample_size, self.rng)
        state.centers, state.weights = packed["centers"], packed["weights"]
        state.rows, state.time = packed["rows"], packed["time"]
        state.sample.from_arrays(packed["sample"])
        return state

    def finalize(
        self,
        k: int,
        options: Options,
        rng: np.random.Generator,
        log: Callable[[str], None],
        stopped: Callable[[], bool] = lambda: False,
        within: float | None = None,
    ) -> Clustering:
        """k centers, and the mean squared distance of the rows to them, estimated on the sample.

        The estimate is exact where the sample holds every row. The state stays as it is, so that several k can be
        tried. ``log`` receives the lines that SageMaker prints meanwhile; once ``stopped``, no more trials are made.

        Args:
            within: after a stop, the mean squared distance of all rows to the working centers. Where these have seen
                more rows than a sample that is not full, as in another epoch than the last, they count in its place.

        Raises:
            ValueError: k is larger than the number of rows or of working centers.
        """
        if not 1 <= k <= min(self.size, self.rows):
            raise ValueError(f"k is {k}, with {self.size} working centers and {self.rows} rows")
        with threads_for(self._operations(k), SMALL_PRODUCT):
            if within is not None and len(self.sample) < min(self.rows, self.sample_size):
                working = self._weighted_centers()
                found = _refined(working, working, self._shrink(k, options, rng, log, stopped), options, rng)
                return Clustering(self._wide(found.centers), found.msd + within)
            now = self.decay * self.time
            whole = self.sample.weighted(self.sample_size, now)
            rows = [features for features, _ in whole]
            whole = without_copies(whole)
            size = small_rows(k, width(rows))
            few = sum(len(weights) for _, weights in whole) <= size
            small = whole if few else self.sample.weighted(size, now)
            columns = occurring(rows)
            starts = self._shrink(k, options, rng, log, stopped, columns)
            if columns is None:
                return _refined(Points.join(small), Points.join(whole), starts, options, rng)
            # A center is 0 where all of its rows are.
            small, whole = (
                [(only(features, columns), weights) for features, weights in part] for part in (small, whole)
            )
            found = _refined(Points.join(small), Points.join(whole), starts, options, rng)
            centers = np.zeros((k, rows[0].shape[1]))
            centers[:, columns] = found.centers
            return Clustering(centers, found.msd)

    def _operations(self, k: int) -> float:
        """Of the largest product of ``finalize``."""
        size, features = self.centers.shape
        rows = [part for part, _ in self.sample.weighted(self.rows, self.decay * self.time)]
        numbers = min(BLOCK_ROWS, len(self.sample)) * width(rows)
        return 2.0 * max(numbers * k, size * size * min(features, CHUNK))

    def _weighted_centers(self) -> Points:
        used = self.weights > 0
        return Points.of(self.centers[used], self.weights[used])

    def _shrink(
        self,
        k: int,
        options: Options,
        rng: np.random.Generator,
        log: Callable[[str], None],
        stopped: Callable[[], bool],
        columns: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """The best few clusterings of the working centers into k, each of shape (k, d), or (k, u) where only u features
        are wanted, ``columns``; fewer trials after a stop."""
        if self.size == k == len(self.centers):
            log("No shrinking is required as extra_center_factor is 1.")
            return [self._of(self.centers, columns)]
        used = self.weights > 0
        centers = self.centers if used.all() else self.centers[used]
        coordinates = Coordinates.of(centers) if len(centers) < centers.shape[1] else None
        points = Points.of(centers if coordinates is None else coordinates.values, self.weights[used])
        log(f"shrinking {len(self.centers)} centers into {k}")
        best: list[Clustering] = []
        for number in range(options.num_trials):
            start = INITIALISERS[options.init_method](points, k, rng, None)
            found = lloyd(points, start, max_iter=options.max_iter, tol=options.tol)
            log(f"local kmeans attempt #{number}. Current mean square distance {found.msd:f}")
            best = sorted([*best, found], key=_msd)[: int(np.clip(100 // k, 1, 3))]
            if stopped():
                break
        log(f"finished shrinking process. Mean Square Distance = {best[0].msd:g}")
        if coordinates is not None:
            stacked = np.concatenate([found.centers for found in best])
            places = columns if columns is None or self.met is None else self.met.places(columns)
            return np.split(coordinates.back(stacked, places), len(best))
        return [self._of(found.centers, columns) for found in best]


def _refined(
    small: Points, whole: Points, starts: list[np.ndarray], options: Options, rng: np.random.Generator
) -> Clustering:
    """The best of ``starts``, each (k, d), compared on a part of the sample and settled on all of it."""
    settled = sorted((lloyd(small, start, max_iter=10, tol=1e-3) for start in starts), key=_msd)
    # The runner-up stays in the race: a few thousand rows tell good local minima apart only roughly.
    finalists = [breathe(small, settled[0], rng), *settled[1:2]]
    k, features = len(settled[0].centers), [block.features for block in whole.blocks]
    begun = [lloyd(whole, plus_plus(whole, k, rng), max_iter=6, tol=5e-3) for _ in range(more_starts(k, features))]
    more = [
        lloyd(whole, start.centers, max_iter=options.max_iter, tol=options.tol)
        for start in sorted(begun, key=_msd)[:3]  # a few iterations tell which are worth all
    ]
    if more:
        best = min(more, key=_msd)
        finalists += [best, breathe(whole, best, rng)]
    if k <= len(whole) <= MOST_MERGED:
        finalists.append(lloyd(whole, merged(whole.rows(np.arange(len(whole))), whole.weights, k), max_iter=1, tol=0))
    return min((lloyd(whole, found.centers, max_iter=options.max_iter, tol=1e-3) for found in finalists), key=_msd)


def _msd(clustering: Clustering) -> float:
    return clustering.msd


def _reduced(points: Points, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = nearest(points, centers).labels
    totals, masses = sums(points, labels, len(centers))
    used = masses > 0
    return totals[used] / masses[used][:, None], masses[used]


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
    of_others = partial(join, make=new_state, hosts=job.hosts)
    found = job.checkpoints.latest(alone=True, join=of_others)
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
    rows = int(job.hosts.sum(np.array([state.rows]))[0][0])
    within = None
    if any_host(job.hosts, stopped):
        if rows < k:
            raise TrainingStopped(f"only {rows} rows had been read")
        told, distances = job.hosts.sum(place.total + place.recent)[0]
        within = float(distances / max(told, 1))
        job.warning(f"Training was asked to stop: the clusters are those of the {rows} rows read so far.")
    elif rows < k * hyperparameters.epochs:
        rows //= hyperparameters.epochs
        raise TrainingDataError(f"k is {k}, but the train channel has only {rows} rows: lower k, or give more rows")
    with job.timer("finalize.time"):
        state.shared(job.hosts)
        rng = final_random(job.seed)
        centers, msd = from_leader(
            job.hosts, lambda: state.finalize(k, options, rng, job.info, lambda: job.stop_requested, within)
        )
        return Clustering(centers, msd)


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
    """The random numbers of a job's ``State.finalize``."""
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
