"""Clustering of weighted rows held in memory: distances as matrix products, k-means++, Lloyd's iterations, breathing.

Squared distances are taken apart, ||x - c||^2 = ||x||^2 - 2 (x.c - ||c||^2 / 2), so that the bulk of the work is one
matrix product (GEMM); rows are visited in blocks whose products stay in the processor's cache. The term in brackets is
called the score: the nearest center is the one of the highest score.

References:
    S. Lloyd, "Least squares quantization in PCM", IEEE Trans. Information Theory 28(2), 1982.
    D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    B. Fritzke, "Breathing k-means", arXiv:2006.15666, 2020.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp

from algorithms.common.blas import mapped
from recordio.batches import Features

R = TypeVar("R")

_BLOCK_SCORES = 1 << 19  # scores of a block: 2 MB of float32
BLOCK_ROWS = 8192
_PARTS = 4  # of dense rows, at least, where the products of each are worth it
_PART_OPERATIONS = 1e7  # a quarter of a millisecond, ten times what it takes to hand a part to another thread
_SMALL_PICKS = 1 << 21  # multiplications up to which a dense matrix is quicker than setting up a sparse one
_FEW_CENTERS = 32  # of which BLAS is slow at making the products in their order
_MANY_CENTERS = 128  # of a set, among which argmax is quicker than passes over the scores, if a row's lie together
_MOST_TOGETHER = 1 << 20  # numbers in the centers of all starts that are followed beside each other: 8 MB
_TAME_NORM = 1e30  # squared norms up to here leave float32 room for products
_TAME_SPREAD = 1e-3  # least share of the variance in the squared norms that float32 can resolve well

_ALIKE = 1e-5  # relative difference of potentials that rounding may make
_BREATHS = 20
_LEAST_GAIN = 3e-3  # of a breath, as a share of the loss


class Block(NamedTuple):
    """Rows with their squared norms and weights; ``features`` is float64 where float32 would not do."""

    features: Features  # (n, d)
    norms: np.ndarray  # (n,), float64
    weights: np.ndarray  # (n,), float64

    @property
    def is_sparse(self) -> bool:
        """Whether the features are a CSR array."""
        return sp.issparse(self.features)


class Nearest(NamedTuple):
    """For each row the nearest center's index and the squared distance to it; (sets, n) of several sets of centers."""

    labels: np.ndarray  # (n,), intp
    distances: np.ndarray  # (n,), float64, squared


@dataclass(frozen=True)
class Points:
    """Weighted rows in one or more blocks."""

    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, features: Features, weights: np.ndarray | None = None) -> Points:
        """Points of one block of rows (n, d); weights (n,) are 1 where none are given."""
        return cls((_block(features, np.ones(features.shape[0]) if weights is None else weights),))

    @classmethod
    def join(cls, parts: list[tuple[Features, np.ndarray]]) -> Points:
        """Points of several blocks of (features, weights), without a copy."""
        return cls(tuple(_block(features, weights) for features, weights in parts))

    def __len__(self) -> int:
        return sum(block.features.shape[0] for block in self.blocks)

    @cached_property
    def starts(self) -> np.ndarray:
        """Numbers of the first rows of the blocks, and that of all rows, (blocks + 1,)."""
        return np.cumsum([0, *(block.features.shape[0] for block in self.blocks)])

    @cached_property
    def norms(self) -> np.ndarray:
        """Squared norms, shape (n,), float64."""
        return np.concatenate([block.norms for block in self.blocks])

    @cached_property
    def weights(self) -> np.ndarray:
        """Weights, shape (n,), float64."""
        return np.concatenate([block.weights for block in self.blocks])

    @cached_property
    def rounding(self) -> np.ndarray:
        """Squared distances, shape (n,), that the rounding of products makes of none."""
        parts = [8.0 * np.finfo(block.features.dtype).eps * block.norms for block in self.blocks]
        return np.concatenate(parts)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The rows at ``indices``, dense: shape (len(indices), d), float64."""
        if len(self.blocks) == 1:
            return _dense(self.blocks[0].features[indices].astype(np.float64))
        found = np.empty((len(indices), self.blocks[0].features.shape[1]))
        owners = np.searchsorted(self.starts, indices, side="right") - 1
        for at in np.unique(owners):
            mine = owners == at
            found[mine] = _dense(self.blocks[at].features[indices[mine] - self.starts[at]])
        return found

    def scored(
        self,
        centers: np.ndarray,
        function: Callable[[int, Block, np.ndarray], R],
        norms: np.ndarray | None = None,
        sets: int = 1,
    ) -> list[R]:
        """What ``function`` makes of each of the blocks small enough for the cache, in order: it is given the number of
        the block's first row, the block, and the scores (k, rows), which it may change; in Fortran's order where each
        of the ``sets`` that the centers are of has many.

        ``norms``, (k,), are the squared ones of the centers where these have more features than the rows given here.
        """
        of_each = len(centers) // sets
        half_norms = (squared_norms(centers) if norms is None else norms)[:, None] / 2
        narrow = np.float32 if half_norms.max() < _TAME_NORM else np.float64
        kinds = {block.features.dtype: np.result_type(block.features.dtype, narrow) for block in self.blocks}
        order: Literal["C", "F"] = "F" if self.blocks[0].is_sparse else "C"  # as products read them
        prepared = {kind: (centers.astype(kind, order), half_norms.astype(kind)) for kind in set(kinds.values())}

        def use(start: int, part: Block) -> R:
            lines, halves = prepared[kinds[part.features.dtype]]
            # SciPy makes the products of sparse rows in the other order, and turning them takes time.
            together = of_each > (_FEW_CENTERS if part.is_sparse else _MANY_CENTERS)
            scores = (part.features @ lines.T).T if together else _products(lines, part.features)
            scores -= halves
            return function(start, part, scores)

        parts = self.parts(min(max(_BLOCK_SCORES // len(centers), 64), BLOCK_ROWS), len(centers))
        return list(mapped(use, parts))

    def parts(self, step: int, centers: int, *, least: int = 1, sparse: bool = True) -> list[tuple[int, Block]]:
        """The rows in parts of at most ``step``, each with the number of its first row; of dense ones for whose
        products with so many centers a few threads are worth it, some more, of no less than ``least`` rows. The
        division does not depend on the number of threads, and so not what rounding makes of these products. Without
        those of sparse blocks if they are not asked for."""
        parts: list[tuple[int, Block]] = []
        for start, block in zip(self.starts.tolist(), self.blocks, strict=False):
            bounds = _bounds(block, step, centers, least) if sparse or not block.is_sparse else []
            for first, last in itertools.pairwise(bounds):
                whole = len(bounds) == 2
                parts.append((start + first, block if whole else Block(*(values[first:last] for values in block))))
        return parts


def _bounds(block: Block, step: int, centers: int, least: int) -> list[int]:
    """The first row of each part of a block, and the number of all; see ``Points.parts``."""
    count, width = block.features.shape
    if block.is_sparse:  # parts of it are copies
        return [*range(0, count, step), count]
    worth = int(2.0 * count * width * centers / _PART_OPERATIONS)
    number = max(-(-count // step), min(worth, _PARTS, count // least), 1)
    return [count * part // number for part in range(number + 1)]


def _products(lines: np.ndarray, features: Features) -> np.ndarray:
    """Products (k, n), in C's order, of centers (k, d) with rows (n, d)."""
    if isinstance(features, np.ndarray) and len(lines) > _FEW_CENTERS:
        return lines @ features.T
    return np.ascontiguousarray((features @ lines.T).T)


def _block(features: Features, weights: np.ndarray) -> Block:
    """Widens the rows to float64 where their norms, or a common offset far above their spread, ask for it."""
    with np.errstate(over="ignore"):
        norms = squared_norms(features)
    if features.dtype == np.float32 and not _tame(features, norms):
        features = features.astype(np.float64)
        norms = squared_norms(features)
    return Block(features, norms, weights)


def _tame(features: Features, norms: np.ndarray) -> bool:
    """Whether float32 products of these rows neither overflow nor lose the distances between them."""
    if not norms.max(initial=0) < _TAME_NORM:
        return False
    step = max(1, len(norms) // 256)  # a few rows show an offset as well as all
    offset = np.square(np.asarray(features[::step].mean(axis=0), dtype=np.float64)).sum()
    typical = norms[::step].mean()
    return bool(typical - offset >= _TAME_SPREAD * typical)


def squared_norms(features: Features) -> np.ndarray:
    """Squared Euclidean norm of each row, shape (n,), float64."""
    if isinstance(features, np.ndarray):
        return np.einsum("ij,ij->i", features, features).astype(np.float64)
    return np.asarray(features.power(2).sum(axis=1), dtype=np.float64)


def _dense(features: Features) -> np.ndarray:
    return features if isinstance(features, np.ndarray) else features.toarray()


def nearest(points: Points, centers: np.ndarray, norms: np.ndarray | None = None) -> Nearest:
    """The nearest of ``centers`` (k, d) for each row; of several at the same distance the first. See ``Points.scored``
    for ``norms``."""
    found = _nearest_of_each(points, centers, 1, norms)
    return Nearest(found.labels[0], found.distances[0])


def _nearest_of_each(points: Points, centers: np.ndarray, sets: int, norms: np.ndarray | None = None) -> Nearest:
    """As ``nearest``, in each of several sets of k centers, (sets * k, d): labels and distances of shape (sets, n).

    One product with all sets takes little longer than with one: reading the rows is most of the work of few centers.
    """
    k = len(centers) // sets

    def best_of(start: int, block: Block, scores: np.ndarray) -> Nearest:
        labels, highest = _highest(scores.reshape(sets, k, -1))
        return Nearest(labels, np.maximum(block.norms - 2.0 * highest, 0))

    labels, distances = zip(*points.scored(centers, best_of, norms, sets), strict=True)
    return Nearest(_joined(labels), _joined(distances))


def _highest(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of scores (sets, k, n) the number of the highest of each k, of several the first, and that score: both (sets, n).

    By passes over all scores where those of a row do not lie together: argmax would have a loop for each few of them.
    """
    k = scores.shape[1]
    if scores.strides[1] < scores.strides[2]:
        labels = scores.transpose(2, 0, 1).argmax(axis=2).T  # a view in C's order, which takes no copy
        return labels, np.take_along_axis(scores, labels[:, None], 1)[:, 0]
    highest = scores.max(axis=1)
    places = np.arange(k - 1, -1, -1, dtype=np.min_scalar_type(k))[:, None]
    return k - 1 - (places * (scores == highest[:, None])).max(axis=1).astype(np.intp), highest


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def sums(points: Points, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums of the rows with each label, shape (k, d), and sums of their weights, shape (k,); float64.

    Labels may be of several sets, (sets, n): then so are the results, (sets, k, d) and (sets, k).
    """
    lines = labels.reshape(-1, len(points))
    size = len(lines) * k
    several = lines + np.arange(0, size, k)[:, None]
    width = points.blocks[0].features.shape[1]
    # Of sparse rows a feature's sums stand together, as the products of the next iteration read them.
    totals = np.zeros((width, size)).T if points.blocks[0].is_sparse else np.zeros((size, width))

    def of_part(start: int, part: Block) -> np.ndarray:
        own = several[:, start : start + len(part.weights)]
        return np.asarray(_picks(own, part.weights.astype(part.features.dtype), size, width) @ part.features)

    # Sums in float32 of one bounded part at a time keep its precision; across parts they add up in float64. Of fewer
    # rows than labels the sums would be larger than the rows, and adding them up would take longer than making them.
    for found in mapped(of_part, points.parts(BLOCK_ROWS, size, least=size, sparse=False)):
        totals += found
    for start, block in zip(points.starts, points.blocks, strict=False):
        for line in several[:, start : start + len(block.weights)] if block.is_sparse else ():
            _add_sparse(totals, block, line)
    masses = np.bincount(several.ravel(), np.tile(points.weights, len(lines)), size)
    shape = labels.shape[:-1]
    return totals.reshape(*shape, k, width), masses.reshape(*shape, k)


def _add_sparse(totals: np.ndarray, block: Block, labels: np.ndarray) -> None:
    """Add each row of a sparse block, by its weight, to its label's line of ``totals`` (k, d), in Fortran's order, an
    entry at a time."""
    features: Any = block.features
    lengths = np.diff(features.indptr)
    places = features.indices.astype(np.int64) * len(totals) + np.repeat(labels, lengths)
    # In place: most of the totals, which may be a thousand times as many as the entries, are not even read.
    np.add.at(totals.T.reshape(-1), places, features.data * np.repeat(block.weights, lengths))


def _picks(labels: np.ndarray, weights: np.ndarray, size: int, width: int) -> np.ndarray | sp.csc_array:
    """The matrix (size, n) that has each row's weight in the lines of its labels (sets, n), to be multiplied with rows
    of so many features."""
    sets, count = labels.shape
    if count * size * width > _SMALL_PICKS:
        pointers = np.arange(0, labels.size + 1, sets)
        return sp.csc_array((np.repeat(weights, sets), labels.T.ravel(), pointers), shape=(size, count))
    picks = np.zeros((size, count), weights.dtype)
    picks[labels, np.arange(count)] = weights
    return picks


def plus_plus(points: Points, k: int, rng: np.random.Generator, chosen: np.ndarray | None = None) -> np.ndarray:
    """k rows far from each other, shape (k, d), by greedy k-means++: the best of 2 + log k draws each time.

    Where there are fewer than k distinct rows, some are chosen again. ``chosen`` (j, d) are centers that exist
    already: they are kept away from, and are not part of the result.

    Time O(n k d log k).
    """
    return _plus_plus(points, k, rng, 1, chosen)[0]


def plus_pluses(points: Points, k: int, rng: np.random.Generator, count: int) -> np.ndarray:
    """As ``plus_plus``, ``count`` times beside each other: shape (count, k, d)."""
    return _plus_plus(points, k, rng, count)


def _plus_plus(
    points: Points, k: int, rng: np.random.Generator, count: int, chosen: np.ndarray | None = None
) -> np.ndarray:
    weights = points.weights
    draws, sets = 2 + int(np.log(k)), np.arange(count)
    if chosen is None or not len(chosen):
        first = points.rows(_drawn(np.broadcast_to(weights, (count, len(weights))), 1, rng)[:, 0])
        picked = [first]
        closest = _nearest_of_each(points, first, count).distances
        closest[closest <= points.rounding] = 0
    else:
        picked, closest = [], np.tile(nearest(points, chosen).distances, (count, 1))
    while len(picked) < k:
        potential = weights * closest
        if not potential.any():  # every row is a center already
            missing = k - len(picked)
            rest = points.rows(rng.integers(len(points), size=missing * count))
            picked.extend(rest.reshape(missing, count, rest.shape[1]))
            break
        drawn = _drawn(potential, draws, rng)
        candidates = points.rows(drawn.ravel())
        after, sums_of_parts = zip(*_with_candidates(points, candidates, closest), strict=True)
        left = np.sum(sums_of_parts, axis=0, dtype=np.float64)
        # The first of those that are as good but for rounding: of two rows beside each other either is often.
        best = np.argmax(left <= left.min(axis=1, keepdims=True) * (1 + _ALIKE), axis=1)
        # A row has no distance to itself or to its copies, whatever rounding says: never choose it twice.
        closest = _joined([part[sets, best] for part in after]).astype(np.float64)
        closest[closest <= points.rounding] = 0
        closest[sets, drawn[sets, best]] = 0
        picked.append(candidates.reshape(count, draws, candidates.shape[1])[sets, best])
    return np.stack(picked, axis=1)


def _with_candidates(
    points: Points, candidates: np.ndarray, closest: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Squared distances to the nearest center, (sets, n) ``closest``, if one of some candidates (sets * draws, d) of
    its set becomes one, (sets, draws, rows), and their sums, weighted as a share of the largest weight, (sets, draws);
    for each part of the rows."""
    sets, heaviest = len(closest), points.weights.max()

    def of_part(start: int, block: Block, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores *= -2
        scores += block.norms.astype(scores.dtype)
        distances = np.maximum(scores, 0, out=scores).reshape(sets, -1, scores.shape[1])
        before = closest[:, None, start : start + scores.shape[1]]
        np.minimum(distances, before.astype(scores.dtype), out=distances)
        return distances, distances @ (block.weights / heaviest).astype(scores.dtype)

    return points.scored(candidates, of_part)


def _drawn(weights: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Indices (sets, draws), drawn for each line of weights (sets, n) with probability by weight, with replacement;
    any where all weights of a line are 0, as where every row is a center already."""
    bounds = np.cumsum(weights, axis=1)
    wanted = rng.random((len(weights), draws)) * bounds[:, -1:]
    drawn = np.array([line.searchsorted(sought, side="right") for line, sought in zip(bounds, wanted, strict=True)])
    for past in np.flatnonzero(drawn.max(axis=1) == weights.shape[1]):  # rounding led past the end, or all are 0
        last = np.flatnonzero(weights[past])[-1:]
        drawn[past] = np.minimum(drawn[past], last) if len(last) else rng.integers(weights.shape[1], size=draws)
    return drawn


def uniform(points: Points, k: int, rng: np.random.Generator, chosen: np.ndarray | None = None) -> np.ndarray:
    """k rows at random, none twice while there are enough, shape (k, d); ``chosen`` changes nothing."""
    indices = rng.permutation(len(points))
    return points.rows(np.resize(indices, k))


class Clustering(NamedTuple):
    """Centers of shape (k, d), float64, and the mean squared distance to them."""

    centers: np.ndarray
    msd: float


def lloyd(points: Points, centers: np.ndarray, *, max_iter: int, tol: float) -> Clustering:
    """Lloyd's iterations from ``centers`` (k, d) until the loss falls by less than ``tol`` of itself.

    A center without rows moves to the row with the largest weighted squared distance. Time O(n k d) an iteration.
    """
    return lloyds(points, [centers], max_iter=max_iter, tol=tol)[0]


def lloyds(points: Points, starts: Sequence[np.ndarray], *, max_iter: int, tol: float) -> list[Clustering]:
    """As ``lloyd``, from several starts of k centers (k, d) beside each other, each until its own end.

    One after the other where the centers of all together would no longer be small beside the rows.
    """
    if len(starts) > 1 and len(starts) * starts[0].size > _MOST_TOGETHER:
        return [lloyd(points, start, max_iter=max_iter, tol=tol) for start in starts]
    weights = points.weights
    mass = weights.sum()
    best = [Clustering(centers, np.inf) for centers in starts]
    going, centers = list(range(len(starts))), list(starts)
    for iteration in range(max_iter + 1):
        found = _nearest_of_each(points, centers[0] if len(centers) == 1 else np.concatenate(centers), len(centers))
        still = []
        for place, (number, loss) in enumerate(zip(going, (found.distances @ weights / mass).tolist(), strict=True)):
            gain = best[number].msd - loss
            if gain > 0:
                best[number] = Clustering(centers[place], loss)
            if gain > tol * loss:
                still.append(place)
        if not still or iteration == max_iter:
            break
        if len(still) < len(going):
            going = [going[place] for place in still]
            found = Nearest(found.labels[still], found.distances[still])
        centers = _means(points, found, len(starts[0]))
    return best


def _means(points: Points, found: Nearest, k: int) -> list[np.ndarray]:
    """The means of the rows of each label, (k, d), for each line of labels (sets, n)."""
    totals, masses = sums(points, found.labels, k)
    means = totals / np.where(masses > 0, masses, 1)[..., None]
    for number in np.flatnonzero((masses == 0).any(axis=1)):
        empty = np.flatnonzero(masses[number] == 0)[: len(points)]
        costs = points.weights * found.distances[number]
        worst = np.argpartition(costs, len(costs) - len(empty))[len(costs) - len(empty) :]
        means[number, empty] = points.rows(worst)
    return list(means)


def breathe(points: Points, start: Clustering, rng: np.random.Generator) -> Clustering:
    """Leave local minima: add centers where the error is largest, settle, drop those of least use, settle again.

    Repeated while a round is worth it. The paper goes on until a single center in motion gains nothing; stopping at
    the first small gain instead costs a fraction of that time, and most of it where local minima are alike.
    """
    moved = min(5 + len(start.centers) // 20, len(start.centers))
    best = start
    for _ in range(_BREATHS):
        inflated = np.concatenate([best.centers, _where_needed(points, best.centers, moved, rng)])
        inflated = lloyd(points, inflated, max_iter=3, tol=0).centers
        surplus = len(inflated) - len(start.centers)
        deflated = np.delete(inflated, _least_useful(points, inflated, surplus), axis=0)
        trial = lloyd(points, deflated, max_iter=4, tol=1e-3)
        enough = trial.msd >= best.msd * (1 - _LEAST_GAIN)
        best = trial if trial.msd < best.msd else best
        if enough:
            break
    return best


def _where_needed(points: Points, centers: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """One row, drawn by its squared distance, of each of the ``count`` clusters with the largest error."""
    found = nearest(points, centers)
    costs = points.weights * found.distances
    errors = np.bincount(found.labels, costs, len(centers))
    # An exponential race: the first row of a cluster to arrive has been drawn with probability by its cost.
    with np.errstate(divide="ignore", over="ignore"):
        arrival = rng.exponential(size=len(costs)) / costs
    order = np.lexsort((arrival, found.labels))
    clusters, firsts = np.unique(found.labels[order], return_index=True)
    worst = np.argsort(errors[clusters])[::-1][:count]
    return points.rows(order[firsts[worst]])


def _least_useful(points: Points, centers: np.ndarray, count: int) -> np.ndarray:
    """The centers whose rows would lose least by moving to their second nearest, no two of them neighbours."""

    def use_of(start: int, block: Block, scores: np.ndarray) -> np.ndarray:
        best, first = (found[0] for found in _highest(scores[None]))
        scores[best, np.arange(len(best))] = -np.inf
        return np.bincount(best, block.weights * (first - scores.max(axis=0)), len(centers))

    use = np.sum(points.scored(centers, use_of), axis=0)
    between = squared_norms(centers) - 2 * centers @ centers.T
    np.fill_diagonal(between, np.inf)
    neighbour = between.argmin(axis=1)
    removed: list[int] = []
    kept = np.zeros(len(centers), bool)
    order = np.argsort(use)
    for center in order:
        if len(removed) < count and not kept[center]:
            removed.append(center)
            kept[neighbour[center]] = True
    spare = [center for center in order if center not in set(removed)]
    return np.array(removed + spare[: count - len(removed)])
