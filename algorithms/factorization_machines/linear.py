"""The best linear model, solved exactly where the rows are in memory: trials have to show that interactions are better.

Steps at one rate for all weights come short of the minimum where columns differ in size or rows are few, and one weight
decay is not the best for all data. The losses of a linear model are convex, so that L-BFGS finds the minimum whatever
the scale, and its penalty is chosen by cross-validation, from a strong one to a weak one, each minimum the start of the
next (Friedman, Hastie and Tibshirani, Journal of Statistical Software 33, 2010).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from algorithms.common.hosts import any_host
from algorithms.common.lbfgs import Value, ahead, minimise_all
from algorithms.factorization_machines.checkpoints import Place
from algorithms.factorization_machines.passes import labels_of
from algorithms.factorization_machines.rows import Rows, parted
from algorithms.factorization_machines.search import FOLDS, GROUPS, LIKELY, NONE, Search
from algorithms.factorization_machines.steps import State
from algorithms.interface import Hosts, Job
from recordio.batches import Batch, Features, concatenate

if TYPE_CHECKING:
    from algorithms.factorization_machines import FactorizationMachinesHyperparameters

PENALTIES = tuple(float(10 ** (-0.5 * step)) for step in range(13))
"""Times the mean square of a row, from the strongest on."""
WORSE = 2
"""So many penalties after the best one, the path ends."""
FEW_ROWS = ((200, 10), (1000, FOLDS))
"""Up to so many rows, that many folds are all held out once; beyond, as many as trials have."""
PRIOR = 3.0
"""Times the number of rows to the power of -1.5, and the square of the decades between a penalty and the usual one:
what speaks against it before any row is seen, in logarithms of likelihood. Few rows say little of it."""
USUAL = {True: 0.2, False: 0.5}
"""By the number of rows, the usual penalty of classes and of numbers: that of the normal prior of weights which gives
scores a variance of 5, or leaves a quarter of the labels' variance to noise."""
UNLIKE = 100.0
"""Columns of sparse rows whose magnitudes differ so many times are brought to one."""
CAUTION = 1.0
"""Standard errors by which the penalty of classes may be worse than the best one and stronger: a probability that is
too sure costs more on other rows than one that is too cautious, and few of those that are held out show it."""
TOLERANCE, ITERATIONS = 1e-7, 200
MOST_CURVED = 0.25
"""The largest second derivative of the logistic loss."""
STEPPED: tuple[str, ...] = "linear_lr", "linear_wd", "bias_lr", "bias_wd", "rescale_grad", "clip_gradient"
"""Hyperparameters that say how the linear weights are to be learned: then they are."""


@dataclass(frozen=True)
class Part:
    """Rows (n, d), float64, labels (n,), and what else their scores have, (n,)."""

    features: Features
    labels: np.ndarray
    offset: np.ndarray

    def scores(self, weights: np.ndarray) -> np.ndarray:
        """Of weights and bias, (d + 1,): (n,)."""
        return np.asarray(self.features @ weights[:-1] + weights[-1] + self.offset)


def solve(
    state: State, search: Search, rows: Rows, place: Place, hp: FactorizationMachinesHyperparameters, job: Job
) -> bool:
    """Give a ``state`` that is at its start the best linear model, if that is better on the rows that trials held out
    than what they have found. Returns whether it has it."""
    with threadpool_limits(1, "blas"):  # products of two vectors, which wake threads only to wait for them
        return _solve(state, search, rows, place, hp, job)


def _solve(
    state: State, search: Search, rows: Rows, place: Place, hp: FactorizationMachinesHyperparameters, job: Job
) -> bool:
    if not (hp.use_linear and hp.use_bias) or hp.states(*STEPPED) or any_host(job.hosts, not rows.in_memory):
        return False
    if any_host(job.hosts, place.scaling is None or place.scaling.dense):
        return False  # dense columns are of one deviation, which steps at one rate suit
    state.linear[:], state.bias[:] = 0, 0
    binary, hosts, count = place.total.binary, job.hosts, place.scaling.rows if place.scaling else 0
    scale = scale_of(rows.batches(), hp.feature_dim, hosts)
    folds, held = next(((folds, folds) for most, folds in FEW_ROWS if count <= most), (FOLDS, search.folds))

    def pairs(folds: int, held: int) -> list[tuple[Part, ...]]:
        """The rows that are known and those that are held out, of so many of the folds."""
        return [
            tuple(_part(state, part, scale, place, hp) for part in parted(rows, fold, folds, job.seed, hosts))
            for fold in range(held)
        ]

    parts = pairs(folds, held)
    penalty = best_penalty(parts, count, binary, job, hosts)
    if penalty is None:
        return False
    start = np.zeros(hp.feature_dim + 1)
    losses = np.zeros(GROUPS)
    for known, out in parts[: search.folds] if folds == FOLDS else pairs(FOLDS, search.folds):
        losses += losses_of(out, minimum(known, penalty, start, binary, hosts), binary, hosts)
    others = np.array(search.losses[search.best()])
    gain = others - losses
    sure = LIKELY if search.best()[0] > NONE else 0.0  # interactions get better in a whole job, a linear model does not
    if not gain.sum() > sure * np.sqrt(GROUPS) * gain.std():
        return False
    weights = minimum(_part(state, rows, scale, place, hp), penalty, start, binary, hosts)
    state.linear[:], state.bias[:] = weights[:-1] / scale, weights[-1]
    job.info(
        f"The linear model, solved exactly with a penalty of {penalty:.2g} times the mean square of a row, has "
        f"{losses.sum() / others.sum():.3f} times that loss, without interactions: it is the model."
    )
    return True


def _part(state: State, rows: Rows, scale: np.ndarray, place: Place, hp: FactorizationMachinesHyperparameters) -> Part:
    """The rows with each column divided by its scale (d,), and their scores without linear weights and bias."""
    batches = list(rows.batches())
    if not batches:
        return Part(np.zeros((0, hp.feature_dim)), np.zeros(0), np.zeros(0))
    batch = concatenate(batches)
    labels = labels_of(batch, hp)
    if place.scaling is not None and not place.total.binary:
        labels = place.scaling.labels(labels)
    features = batch.features.astype(np.float64)
    features = (
        features / scale if isinstance(features, np.ndarray) else sp.csr_array(features @ sp.diags_array(1 / scale))
    )
    return Part(features, labels.astype(np.float64), state.scores(batch).astype(np.float64))


def scale_of(batches: Iterable[Batch], width: int, hosts: Hosts) -> np.ndarray:
    """What columns are divided by, (d,): sparse ones are left as they are unless their magnitudes are ``UNLIKE``."""
    squares, counts, dense = np.zeros(width), np.zeros(width), True
    for batch in batches:
        if not isinstance(batch.features, np.ndarray):
            dense = False
            values = batch.features.data.astype(np.float64)
            squares += np.bincount(batch.features.indices, values * values, width)
            counts += np.bincount(batch.features.indices[values != 0], minlength=width)
    squares, counts = hosts.sum(squares, counts)
    if any_host(hosts, not dense):
        root = np.sqrt(squares / np.maximum(counts, 1))
        known = root[root > 0]
        if known.size and known.max() > UNLIKE * known.min():
            return np.where(root > 0, root, 1.0)
    return np.ones(width)


def best_penalty(parts: list[tuple[Part, ...]], rows: int, binary: bool, job: Job, hosts: Hosts) -> float | None:
    """The penalty of the least loss on the second of each pair, of models of the first; None where a stop was asked
    for."""
    minima = [[np.zeros(known.features.shape[1] + 1)] for known, _ in parts]
    losses: list[float] = []
    by_group: list[np.ndarray] = []
    for penalty in PENALTIES:
        if any_host(hosts, job.stop_requested):
            return None
        found = []
        for (known, out), of_part in zip(parts, minima, strict=True):
            start = ahead(*np.array(of_part)[:, None])[0]
            of_part[:] = [*of_part[-2:], minimum(known, penalty, start, binary, hosts)]
            found.append(losses_of(out, of_part[-1], binary, hosts))
        by_group.append(np.sum(found, axis=0))
        losses.append(_against(float(np.sum(found)), penalty, rows, binary))
        if len(losses) - 1 - int(np.argmin(losses)) >= WORSE:
            break
    best = int(np.argmin(losses))
    if binary and parts:
        for stronger in range(best):
            worse = by_group[stronger] - by_group[best]
            if losses[stronger] - losses[best] <= CAUTION * np.sqrt(GROUPS) * worse.std():
                return PENALTIES[stronger]
    return PENALTIES[best]


def _against(loss: float, penalty: float, rows: int, binary: bool) -> float:
    """The loss of all rows that were held out, with what speaks against a penalty before any of so many rows is seen:
    that of classes is minus a logarithm of likelihood, and so is half the logarithm of the mean squared error."""
    unusual = float(PRIOR / rows**1.5 * np.log10(penalty * rows / USUAL[binary]) ** 2)
    return loss + rows * unusual if binary else loss * float(np.exp(2 * unusual))


def losses_of(part: Part, weights: np.ndarray, binary: bool, hosts: Hosts) -> np.ndarray:
    """Sums of the losses of all hosts' rows by group, (GROUPS,), as trials add them up."""
    scores = part.scores(weights)
    losses = np.logaddexp(0, scores) - part.labels * scores if binary else np.square(scores - part.labels)
    found = np.bincount(np.arange(len(losses)) % GROUPS, losses, GROUPS).astype(np.float64)  # integers, of no rows
    return np.asarray(hosts.sum(found)[0])


def minimum(part: Part, penalty: float, start: np.ndarray, binary: bool, hosts: Hosts) -> np.ndarray:
    """Weights and bias, (d + 1,), at the minimum of the mean loss with the penalty of the squared weights."""
    squares, count = hosts.sum(_squares(part.features), np.array([len(part.labels)], float))
    rows = max(float(count[0]), 1.0)
    decay = penalty * (squares.sum() / rows or 1.0)

    def value(numbers: list[int], points: list[np.ndarray]) -> list[Value]:
        (weights,) = points
        scores = part.scores(weights)
        if binary:
            losses, slopes = _logistic(scores, part.labels)
        else:
            slopes = scores - part.labels
            losses = 0.5 * slopes * slopes
        total = hosts.sum(np.concatenate([part.features.T @ slopes, [slopes.sum(), losses.sum()]]))[0] / rows
        gradient = total[:-1]
        gradient[:-1] += decay * weights[:-1]
        return [(float(total[-1] + 0.5 * decay * weights[:-1] @ weights[:-1]), gradient)]

    curved = MOST_CURVED if binary else 1.0
    inverse = 1 / (curved * np.append(squares / rows, 1.0) + np.append(np.full(len(squares), decay), 0.0))
    return minimise_all(value, [start], inverse, TOLERANCE, ITERATIONS, hosts=hosts)[0]


def _logistic(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logistic losses (n,) and slopes (n,) of scores and labels of 0 or 1, (n,), both by e = exp(-|score|): a chance
    near 0 keeps all its digits."""
    losses = np.abs(scores)
    np.exp(np.negative(losses, out=losses), out=losses)
    slopes = np.where(scores >= 0, 1.0, losses)
    slopes /= losses + 1
    slopes -= labels
    np.log1p(losses, out=losses)
    losses += np.maximum(scores, 0)
    losses -= labels * scores
    return losses, slopes


def _squares(features: Features) -> np.ndarray:
    """The sums of squares of columns, (d,)."""
    if isinstance(features, np.ndarray):
        return np.einsum("nd,nd->d", features, features)
    return np.bincount(features.indices, features.data * features.data, features.shape[1]).astype(np.float64)
