"""The end of training: from a state to k centers.

The working centers are clustered into k, which is what SageMaker's users see in the log as shrinking. The best few of
these clusterings are then refined on the sample, by Lloyd's iterations as on data in memory.

Reference: E. Liberty et al., "Elastic Machine Learning Algorithms in Amazon SageMaker", SIGMOD 2020, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from algorithms.common.blas import blas_threads, side_by_side, threads_for
from algorithms.common.reservoir import Reservoir
from algorithms.kmeans.copies import MOST_MERGED, merged, without_copies
from algorithms.kmeans.lloyd import BLOCK_ROWS, Clustering, Points, breathe, lloyd, lloyds, plus_pluses, uniform
from algorithms.kmeans.narrow import CHUNK, Coordinates, occurring, only
from algorithms.kmeans.sizes import MOST_THREADS, SMALL_PRODUCT, more_starts, small_rows, width
from algorithms.kmeans.state import State
from recordio.batches import Features

_BEST = 6  # clusterings of the working centers that are compared on rows; half as many where k centers are large
_MOST_NUMBERS = 1 << 17  # in centers that are not
_ALIKE = 1e-6  # relative difference of losses that is rounding
_TOGETHER = 10  # clusterings of the working centers that are made beside each other


class Options(NamedTuple):
    """How k centers are made from a state: the ``local_lloyd_*`` hyperparameters, ``auto`` resolved."""

    init_method: str = "kmeans++"
    max_iter: int = 300
    tol: float = 1e-4
    num_trials: int = 10


def finalize(
    state: State,
    k: int,
    options: Options,
    rng: np.random.Generator,
    log: Callable[[str], None],
    stopped: Callable[[], bool] = lambda: False,
    within: float | None = None,
) -> Clustering:
    """k centers, (k, d) float64, and the mean squared distance of the rows to them, estimated on the sample.

    The estimate is exact where the sample holds every row. The state stays as it is, so that several k can be tried.
    ``log`` receives the lines that SageMaker prints meanwhile; once ``stopped``, no more trials are begun.

    Args:
        within: after a stop, the mean squared distance of all rows to the working centers. Where these have seen more
            rows than a sample that is not full, as in another epoch than the last, they count in its place.

    Raises:
        ValueError: k is larger than the number of rows or of working centers.
    """
    if not 1 <= k <= min(state.size, state.rows):
        raise ValueError(f"k is {k}, with {state.size} working centers and {state.rows} rows")
    sample = state.sample.smaller(state.sample_size)
    with side_by_side(min(blas_threads(), MOST_THREADS)), threads_for(_operations(state, sample, k), SMALL_PRODUCT):
        if within is not None and len(state.sample) < min(state.rows, state.sample_size):
            working = state.weighted_centers()
            starts = _shrink(state, k, options, rng, log, stopped)
            found = _refined(working, _settled(working, starts, rng), options, rng)
            return Clustering(state.of_all_features(found.centers), found.msd + within)
        return _of_sample(state, sample, k, options, rng, log, stopped)


def _of_sample(
    state: State,
    sample: Reservoir,
    k: int,
    options: Options,
    rng: np.random.Generator,
    log: Callable[[str], None],
    stopped: Callable[[], bool],
) -> Clustering:
    """As ``finalize``, of the rows in the sample: in the features alone that occur in them, where these are few."""
    now = state.decay * state.time
    whole = sample.weighted(state.sample_size, now)
    rows = [features for features, _ in whole]
    whole = without_copies(whole)
    size = small_rows(k, width(rows))
    few = sum(len(weights) for _, weights in whole) <= size
    small = whole if few else sample.smaller(size).weighted(size, now)
    columns = occurring(rows)
    near = columns if few else occurring([features for features, _ in small])  # the centers of few rows have fewer yet
    starts = _shrink(state, k, options, rng, log, stopped, near)
    finalists = _settled(_narrowed(small, near), starts, rng)
    if near is not None and near is not columns:
        wide = rows[0].shape[1] if columns is None else len(columns)
        places: Any = near if columns is None else np.searchsorted(columns, near)
        finalists = [_widened(found, places, wide) for found in finalists]
    found = _refined(_narrowed(whole, columns), finalists, options, rng)
    # Where all rows of a center are 0, it is.
    return found if columns is None else _widened(found, columns, rows[0].shape[1])


def _narrowed(parts: list[tuple[Features, np.ndarray]], columns: np.ndarray | None) -> Points:
    """These weighted rows in some features alone, or in all where ``columns`` is None."""
    if columns is not None:
        parts = [(only(features, columns), weights) for features, weights in parts]
    return Points.join(parts)


def _widened(found: Clustering, places: np.ndarray, features: int) -> Clustering:
    """Centers of the features in these places, (k, u), as ones of more features, which are 0 in the others."""
    centers = np.zeros((len(found.centers), features))
    centers[:, places] = found.centers
    return Clustering(centers, found.msd)


def _operations(state: State, sample: Reservoir, k: int) -> float:
    """Floating-point operations of the largest product of ``finalize``."""
    size, features = state.used.shape
    rows = [part for part, _ in sample.weighted(state.sample_size, state.decay * state.time)]
    numbers = min(BLOCK_ROWS, len(sample)) * width(rows)
    return 2.0 * max(numbers * k, size * size * min(features, CHUNK))


def _shrink(
    state: State,
    k: int,
    options: Options,
    rng: np.random.Generator,
    log: Callable[[str], None],
    stopped: Callable[[], bool],
    columns: np.ndarray | None = None,
) -> list[np.ndarray]:
    """The best few clusterings of the working centers into k, each of shape (k, d), or (k, u) where only u features
    are wanted, ``columns``; fewer trials after a stop."""
    if state.size == k == len(state.centers):
        log("No shrinking is required as extra_center_factor is 1.")
        return [state.of_features(state.centers, columns)]
    used = state.weights > 0
    centers = state.used if used.all() else state.used[used]
    coordinates = Coordinates.of(centers) if len(centers) < centers.shape[1] else None
    points = Points.of(centers if coordinates is None else coordinates.values, state.weights[used])
    log(f"shrinking {len(state.centers)} centers into {k}")
    width = len(columns) if columns is not None else centers.shape[1]
    most = _BEST if k * width <= _MOST_NUMBERS else _BEST // 2
    best: list[Clustering] = []
    for first in range(0, options.num_trials, _TOGETHER):
        count = min(_TOGETHER, options.num_trials - first)
        found = lloyds(points, _starts(points, k, options, rng, count), max_iter=options.max_iter, tol=options.tol)
        for number, one in enumerate(found, first):
            log(f"local kmeans attempt #{number}. Current mean square distance {one.msd:f}")
        best = _ranked([*best, *found])[: int(np.clip(100 // k, 1, most))]
        if stopped():
            break
    log(f"finished shrinking process. Mean Square Distance = {best[0].msd:g}")
    if coordinates is not None:
        stacked = np.concatenate([found.centers for found in best])
        places = columns if columns is None or state.met is None else state.met.places(columns)
        return np.split(coordinates.back(stacked, places), len(best))
    return [state.of_features(found.centers, columns) for found in best]


def _starts(points: Points, k: int, options: Options, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """So many starts of a clustering of the working centers, each (k, d)."""
    if options.init_method == "random":
        return [uniform(points, k, rng) for _ in range(count)]
    return list(plus_pluses(points, k, rng, count))


def _settled(small: Points, starts: list[np.ndarray], rng: np.random.Generator) -> list[Clustering]:
    """The best few of ``starts``, each (k, d), compared on a part of the sample."""
    settled = _ranked(lloyds(small, starts, max_iter=10, tol=1e-3))
    # The runners-up stay in the race: a few thousand rows tell good local minima apart only roughly.
    return [breathe(small, settled[0], rng), *settled[1 : 1 + len(starts) // 3]]


def _refined(whole: Points, finalists: list[Clustering], options: Options, rng: np.random.Generator) -> Clustering:
    """The best of the ``finalists``, and of more where rows are few, settled on all of the sample."""
    k, features = len(finalists[0].centers), [block.features for block in whole.blocks]
    if count := more_starts(k, features):
        begun = lloyds(whole, list(plus_pluses(whole, k, rng, count)), max_iter=6, tol=5e-3)
        worth = [start.centers for start in _ranked(begun)[:3]]  # a few iterations tell
        best = _ranked(lloyds(whole, worth, max_iter=options.max_iter, tol=options.tol))[0]
        finalists += [best, breathe(whole, best, rng)]
    if k <= len(whole) <= MOST_MERGED:
        finalists.append(lloyd(whole, merged(whole.rows(np.arange(len(whole))), whole.weights, k), max_iter=1, tol=0))
    return _ranked(lloyds(whole, [found.centers for found in finalists], max_iter=options.max_iter, tol=1e-3))[0]


def _ranked(found: Sequence[Clustering]) -> list[Clustering]:
    """The best first. Those that are alike but for rounding stay in their order, so that it does not depend on that."""
    order = sorted(range(len(found)), key=lambda number: found[number].msd)
    ranks, least = {}, -np.inf
    for number in order:
        if not found[number].msd <= least * (1 + _ALIKE):
            least = found[number].msd
        ranks[number] = least
    return [found[number] for number in sorted(range(len(found)), key=lambda number: ranks[number])]
