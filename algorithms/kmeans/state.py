"""What training keeps of the rows that it has seen: a state of fixed size, which sees each batch once.

It has K = k * extra_center_factor working centers, moved by every batch, and a sample of the rows of bounded size.

Reference: E. Liberty et al., "Elastic Machine Learning Algorithms in Amazon SageMaker", SIGMOD 2020, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from algorithms.common.reservoir import Reservoir
from algorithms.interface import Hosts
from algorithms.kmeans.lloyd import Points, lloyd, nearest, plus_plus, squared_norms, sums, uniform
from algorithms.kmeans.narrow import WORTH, Met, occurring, only
from algorithms.kmeans.sizes import CAPACITY
from recordio.batches import Batch, Features

_ROOM = 2  # times the features that were met so far: of memory in large pages little is left untouched
_LARGE_BATCH = 1 << 20  # numbers in the rows of a batch of which some may stand for all
_ENOUGH_ROWS, _ENOUGH_ROWS_A_CENTER = 1024, 32

INITIALISERS = {"random": uniform, "kmeans++": plus_plus}


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
        chosen = _distinct(self._initialiser(points, count, self.rng, self.used))
        count = len(chosen)
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
            # Room for more, as the next rows bring some: memory that nothing is written to takes none.
            wider = np.zeros((len(self.centers), min(_ROOM * met, self.met.width // WORTH)))
            wider[:, :before] = self.centers[:, :before]
            self.centers = wider

    @property
    def used(self) -> np.ndarray:
        """The centers without the room for features to come: (K, u), or (K, d) where they hold all."""
        return self.centers if self.met is None else self.centers[:, : len(self.met.features)]

    def widen(self) -> None:
        """Let the centers hold all features."""
        if self.met is not None:
            self.centers, self.met = self.of_all_features(self.centers), None

    def of_all_features(self, centers: np.ndarray) -> np.ndarray:
        """Centers of the features that were met as ones of all, (k, d)."""
        if self.met is None:
            return centers
        wide = np.zeros((len(centers), self.met.width))
        wide[:, self.met.features] = centers[:, : len(self.met.features)]
        return wide

    def of_features(self, centers: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
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
            The sum of the squared distances of the rows to the working centers as they were before, estimated from the
            rows that were used where these are not all.
        """
        columns, count = occurring([features]), features.shape[0]
        if len(self.centers) < self.size:
            self.initialize(features)
        else:
            self._meet(features, columns)
        times = self.time + np.arange(1.0, count + 1) if times is None else times
        self.pass_time(times[-1])
        weights = np.exp(-self.decay * (self.time - times))
        counts = np.ones(count)
        if columns is None:
            rows, weights, counts = self._some(features, weights)
            points = Points.of(rows, weights)
            found = nearest(points, self.centers)
        else:  # only these features of the centers matter to the products
            points = Points.of(only(features, columns), weights)
            found = nearest(points, self.of_features(self.centers, columns), squared_norms(self.used))
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
        return float(counts @ found.distances)

    def _some(self, features: Features, weights: np.ndarray) -> tuple[Features, np.ndarray, np.ndarray]:
        """Rows (m, d) of a batch (n, d) that move the centers as all of them would, with the sums of the weights of
        those for which each stands, (m,), and their number, (m,).

        Of a large batch it is one row, drawn, of each few in succession: the centers are where the search for k of them
        starts, and means of some dozens of rows a batch are as good for that as means of hundreds.
        """
        count = features.shape[0]
        each = count // max(_ENOUGH_ROWS, _ENOUGH_ROWS_A_CENTER * self.size)
        if each < 2 or not isinstance(features, np.ndarray) or features.size < _LARGE_BATCH:
            return features, weights, np.ones(count)
        starts = np.arange(0, count, each)
        counts = np.diff(starts, append=count)
        return features[starts + self.rng.integers(counts)], np.add.reduceat(weights, starts), counts.astype(float)

    def _step(self, moved: np.ndarray, places: np.ndarray, share: np.ndarray, means: np.ndarray) -> None:
        """Centers (m,) towards means that are 0 except in some places, (m, u), by a share of the way, (m, 1)."""
        centers = self.used
        for center, part, mean in zip(moved, share[:, 0], means, strict=True):
            centers[center] *= 1 - part
            centers[center, places] += part * mean

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
            points = self.weighted_centers()
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

    def weighted_centers(self) -> Points:
        """The working centers that have rows, (m, d), weighted by these."""
        used = self.weights > 0
        return Points.of(self.used[used], self.weights[used])


def _distinct(centers: np.ndarray) -> np.ndarray:
    """The first of each among centers (k, d) that are the same: of two, rounding would decide which one rows join."""
    if len(np.unique(centers.sum(axis=1))) == len(centers):  # as it is of nearly all data, and soon told
        return centers
    firsts = {center.tobytes(): number for number, center in reversed(list(enumerate(centers)))}
    return centers[sorted(firsts.values())]


def _reduced(points: Points, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = nearest(points, centers).labels
    totals, masses = sums(points, labels, len(centers))
    used = masses > 0
    return totals[used] / masses[used][:, None], masses[used]
