"""The model of a job that says nothing of how it is to be learned, where its rows are in memory: a machine by
variational Bayes, or the linear model with the penalty of the least loss, whichever held-out rows show to be better.

No steps are taken, so that rates, weight decays and starts that a job gives have no meaning here: with any of them
given, the job takes steps as it is told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from algorithms.checkpoints import Checkpoint
from algorithms.common.copies import agreement, row_keys, units
from algorithms.common.hosts import ONE_HOST, any_host, dealt, from_leader, in_order, packed, total, unpacked
from algorithms.common.randomness import draws
from algorithms.factorization_machines import linear, variational
from algorithms.factorization_machines.checkpoints import Place, set_rates
from algorithms.factorization_machines.passes import labels_of
from algorithms.factorization_machines.rows import Rows, fold_numbers
from algorithms.factorization_machines.scaling import Measure
from algorithms.factorization_machines.schedule import Schedule
from algorithms.factorization_machines.scores import Sums
from algorithms.factorization_machines.search import FOLDS, GROUPS, LIKELY, folds
from algorithms.factorization_machines.steps import State
from algorithms.interface import Job
from recordio.batches import Batch, Features, concatenate

if TYPE_CHECKING:
    from algorithms.factorization_machines import FactorizationMachinesHyperparameters

FEWEST_ROWS = 2
FEWEST_PASSES = 100
"""Jobs of fewer have so many rows that steps are done sooner than sweeps."""
SWEEPS = 0.4
"""At most so many sweeps of a factor for each pass of the job and each of its factors: what takes as long."""
MOST_DENSE = 1 << 20
"""Values of dense rows from which on steps, in products of matrices, are done sooner than sweeps."""
FEWEST_OF_CLASS = 20
"""Rows of each class that are held out, where there are so many: a handful decides by chance. Where chance would not
put about so many into each fold, classes are dealt out."""
TELLING = 8
"""Fewer rows do not show that a machine is better than the linear model, whatever they say."""
MOST_NUMBERS = 1 << 24
"""Factors of all features, of which sweeps keep several copies in float64: more take steps."""
_STARTS = (
    f"{term}_init_{what}" for term in ("bias", "linear", "factors") for what in ("method", "scale", "sigma", "value")
)
_STEPPED = (*linear.STEPPED, "factors_lr", "factors_wd", "eps", *_STARTS)
"""Hyperparameters that say how steps are to be taken: then they are."""


def is_due(place: Place, hp: FactorizationMachinesHyperparameters) -> bool:
    """Whether a job that is about to start at ``place`` leaves open how it is learned, and is of a size for this."""
    scaling = place.scaling
    if scaling is None or hp.states(*_STEPPED):
        return False
    if hp.feature_dim * hp.num_factors > MOST_NUMBERS:
        return False
    return scaling.rows >= FEWEST_ROWS and place.schedule.epochs >= FEWEST_PASSES


def is_of(found: Checkpoint) -> bool:
    """Whether a checkpoint was written here, before there was a model."""
    return "fits" in found.state


def run(
    state: State,
    rows: Rows,
    place: Place,
    hp: FactorizationMachinesHyperparameters,
    job: Job,
    found: Checkpoint | None = None,
) -> Place:
    """Give ``state`` the model. Returns the place of the pass that scores it; ``place`` itself where rows do not fit
    into memory, or nothing is compiled, and steps are to be taken.

    Args:
        found: the checkpoint to go on from (``is_of``).
    """
    everything = _of_all_hosts(rows, place, hp, job)
    if everything is None:
        return place
    choice = _Choice(place, hp, job, found)
    with threadpool_limits(1, "blas"):  # products of vectors, which wake threads only to wait for them
        learned, said, stopped = choice.of_leader(lambda: _of_columns(*everything, choice))
    job.info(said)
    state.put(learned)
    schedule = Schedule(1, place.schedule.batch_size)
    place = Place(schedule, Sums(place.total.binary), place.scaling, exact=True, undecided=stopped)
    place.whole = "model", state.learned()
    set_rates(state, place)
    return place


def _of_all_hosts(
    rows: Rows, place: Place, hp: FactorizationMachinesHyperparameters, job: Job
) -> tuple[Features, np.ndarray] | None:
    """Scaled rows (n, d) and labels (n,) of all hosts; None where they are too large."""
    hosts = job.hosts
    batches = [Batch(np.zeros((0, hp.feature_dim), np.float32), np.zeros(0, np.float32))]
    if not rows.in_memory:
        for _ in rows.batches():
            pass
    if any_host(hosts, not (rows.in_memory and variational.available())):
        return None
    batches = list(rows.batches()) or batches
    batch = concatenate(batches)
    if total(hosts, sum(array.nbytes for array in batch.arrays())) > rows.limit:
        return None
    if any_host(hosts, isinstance(batch.features, np.ndarray) and batch.features.size > MOST_DENSE):
        return None
    labels = labels_of(batch, hp)
    if place.scaling is not None and not place.total.binary:
        labels = place.scaling.labels(labels)
    features = dealt([unpacked(part) for part in hosts.gather(packed(batch.features))])
    return features, in_order(hosts, np.arange(len(labels)), labels)[0]


def _of_columns(features: Features, labels: np.ndarray, choice: _Choice) -> tuple[dict[str, np.ndarray], str]:
    """``_chosen`` of the columns that occur, which may be few of millions; the others' weights are 0."""
    if isinstance(features, np.ndarray) or not features.nnz:
        return _chosen(features, labels, choice)
    occurring = np.flatnonzero(np.bincount(features.indices, minlength=features.shape[1]))
    choice.alone = choice.alone[occurring]
    numbers = np.zeros(features.shape[1], np.int32)
    numbers[occurring] = np.arange(len(occurring))
    cells = features.data, numbers[features.indices], features.indptr
    narrow = sp.csr_array(cells, shape=(len(labels), len(occurring)))
    learned, said = _chosen(narrow, labels, choice)
    whole = {"bias": learned["bias"]}
    for name in ("linear", "factors"):
        whole[name] = np.zeros((choice.hp.feature_dim, *learned[name].shape[1:]), np.float32)
        whole[name][occurring] = learned[name]
    return whole, said


def _chosen(features: Features, labels: np.ndarray, choice: _Choice) -> tuple[dict[str, np.ndarray], str]:
    """The better model, and what is to be said of it, of rows that are scaled as if copies were there once: by a few
    that are most of all rows, columns in which they happen to agree would weigh most, on the rows held out, too. Of a
    table that was repeated as a whole each row is taken once: what is held out seems to tell more than it does."""
    copies = _copies(features, labels, choice.binary, choice.job.seed)
    known = copies.once()
    if known is None and (isinstance(features, sp.csr_array) or len(copies.first) == len(labels)):
        return _better(features, labels, copies, choice)
    measure = Measure(features.shape[1])
    measure.add(features[copies.first], labels[copies.first])
    if known is not None:
        features, labels, copies = features[known], labels[known], copies.of(known)
    scaling = measure.scaling(shifted=choice.is_linear, labels=False)
    learned, said = _better(scaling.batch(Batch(features)).features, labels, copies, choice)
    names = "bias", "linear", "factors"
    return dict(zip(names, scaling.restored(*(learned[name] for name in names)), strict=True)), said


def _better(
    features: Features, labels: np.ndarray, copies: _Copies, choice: _Choice
) -> tuple[dict[str, np.ndarray], str]:
    """A machine or a linear model. One that a stop finds is kept as it is."""
    binary, job, count = choice.binary, choice.job, len(copies.first)
    learned = choice.fit(*_distinct(features, labels, copies))
    found = int(np.count_nonzero(learned["factors"].any(axis=0)))
    said = f"No rates, decays or starts are given: variational Bayes found {found} of {choice.hp.num_factors} factors"
    if choice.stopped() or not choice.is_linear:
        return learned, f"{said}."
    parts = _parts(features, labels, copies, binary, job.seed)
    if not parts:  # two or three rows may all be in one fold
        return learned, f"{said}."
    scale = linear.scale_of([Batch(features)], features.shape[1], ONE_HOST)
    divided = [tuple(_part(features[rows], labels[rows], scale) for rows in pair) for pair in parts]
    penalty = linear.best_penalty(divided, count, binary, job, ONE_HOST)
    start = np.zeros(features.shape[1] + 1)
    of_machine, of_linear, out = np.zeros(GROUPS), np.zeros(GROUPS), 0
    for (known, held_out), (known_part, held_out_part) in zip(parts, divided, strict=True):
        if penalty is None or choice.stopped():
            return learned, f"{said}."
        weights = linear.minimum(known_part, penalty, start, binary, ONE_HOST)
        of_linear += np.roll(linear.losses_of(held_out_part, weights, binary, ONE_HOST), out)
        losses = partial(_losses, features=features[held_out], labels=labels[held_out], binary=binary)
        enough = _gains(of_linear, losses) if len(parts) == 1 else None
        rows = _distinct(features[known], labels[known], copies.of(known))
        of_machine += np.roll(losses(choice.fit(*rows, enough=enough)), out)
        # Each of few rows goes to a group of its own: all folds of one row in the first group would show no scatter.
        out += len(held_out) if count <= GROUPS else 0
    if penalty is None:
        return learned, f"{said}."
    gain = of_linear - of_machine
    share = float(of_machine.sum() / (of_linear.sum() or 1.0))
    of_linear_model = f"{share:.3f} times that of a linear model with penalty {penalty:.2g}"
    said += f"; on held-out rows, with as many factors as settle it, the loss is {of_linear_model}"
    if _is_sure(gain) and count >= TELLING:
        return learned, f"{said}: the factors are kept."
    weights = linear.minimum(_part(features, labels, scale), penalty, start, binary, ONE_HOST)
    linear_model = {
        "bias": weights[-1:].astype(np.float32),
        "linear": (weights[:-1] / scale).astype(np.float32),
        "factors": np.zeros_like(learned["factors"]),
    }
    if not found and not _is_sure(-gain):
        mean = {name: 0.5 * (learned[name] + linear_model[name]) for name in learned}
        return mean, f"{said}: the model is linear, with the mean of the weights of both."
    return linear_model, f"{said}: the linear model is kept, without interactions."


def _gains(on: np.ndarray, losses: Callable[[dict[str, np.ndarray]], np.ndarray]) -> variational.Enough:
    """Whether a machine's ``losses`` are surely less than others, (GROUPS,): more factors then decide nothing."""
    return lambda machine: _is_sure(on - losses(machine))


def _is_sure(gain: np.ndarray) -> bool:
    """Whether losses are less, beyond chance, by what a model gains on each group of held-out rows, (GROUPS,)."""
    return bool(gain.sum() > LIKELY * np.sqrt(GROUPS) * gain.std())


_OVER, _GOES_ON, _OFFERS = range(3)
"""What the leader tells hosts that wait for its choice."""
_SILENT = 0.1
"""Seconds in which it may tell nothing, and hears of no stop that another host was asked for."""
_NONE = -1
"""No fit is running."""


class _Choice:
    """A job's choice: what it is of, and its fits of machines, one after the other: those that are over, and where the
    running one is. A job that goes on from a checkpoint makes neither again.

    The leader makes the fits. Other hosts offer a checkpoint whenever it does: theirs say only how far it was, and a
    job goes on from the newest one that all hosts have.

    Attributes:
        binary: labels are classes. is_linear: the model may have a bias and linear weights, as the linear one has.
        alone: the columns (d,) that have no interactions.
    """

    def __init__(
        self, place: Place, hp: FactorizationMachinesHyperparameters, job: Job, found: Checkpoint | None
    ) -> None:
        self.hp, self.job, self.binary = hp, job, place.total.binary
        self.is_linear = hp.use_bias and hp.use_linear
        self.alone = np.zeros(hp.feature_dim, bool)
        if place.scaling is not None:
            self.alone[place.scaling.far] = True
        self._most = int(SWEEPS * place.schedule.epochs * hp.num_factors)
        self._done: list[dict[str, np.ndarray]] = []
        self._asked = 0
        self._begun: variational.Fit | None = None
        self._is_stopped, self._told = False, time.monotonic()
        if found is not None:
            self._done = [dict(found.kept[_name(number)]) for number in range(found.state["fits"])]
            if found.state["running"]:
                self._begun = variational.Fit(found.state["running"], found.arrays)

    def of_leader(
        self, make: Callable[[], tuple[dict[str, np.ndarray], str]]
    ) -> tuple[dict[str, np.ndarray], str, bool]:
        """What ``make`` gives on the leader, and whether a stop has cut it short; on all hosts, which follow it."""
        if self.job.hosts.rank != 0:
            self._follow()
            learned, said, stopped = from_leader(self.job.hosts, lambda: None)
            return learned, said, stopped
        learned, said = make()
        stopped = self.stopped()
        if stopped:
            self.offer()
        self._tell(_OVER)
        from_leader(self.job.hosts, lambda: (learned, said, stopped))
        return learned, said, stopped

    def _follow(self) -> None:
        """Offer checkpoints with the leader, until it has chosen."""
        while (told := self._tell())[0] != _OVER:
            if told[0] == _OFFERS:
                self.job.checkpoints.offer(partial(Checkpoint, _position(*told[1:]), {"fits": 0, "running": None}))

    def _tell(self, *of_leader: int) -> list[int]:
        """What the leader tells: what it is at, the number of fits that are over, and how far the running one is. All
        hosts tell whether a stop was asked for."""
        told = np.zeros(4, np.int64)
        told[: len(of_leader)] = of_leader
        told[3] = self._is_stopped or self.job.stop_requested
        *found, stops = self.job.hosts.sum(told)[0].tolist()
        self._is_stopped, self._told = stops > 0, time.monotonic()
        return found

    def stopped(self) -> bool:
        """On the leader: whether a stop was asked for, on any host."""
        self._is_stopped = self._is_stopped or self.job.stop_requested
        if not self._is_stopped and self.job.hosts.size > 1 and time.monotonic() > self._told + _SILENT:
            self._tell(_GOES_ON)
        return self._is_stopped

    def fit(
        self,
        features: Features,
        labels: np.ndarray,
        weights: np.ndarray | None = None,
        *,
        enough: variational.Enough | None = None,
    ) -> dict[str, np.ndarray]:
        """``variational.fit``, with what the job says."""
        self._asked += 1
        if self._asked <= len(self._done):
            return self._done[self._asked - 1]
        begun, self._begun = self._begun, None
        learned = variational.fit(
            features,
            labels,
            self.hp.num_factors,
            weights=weights,
            binary=self.binary,
            use_bias=self.hp.use_bias,
            use_linear=self.hp.use_linear,
            alone=self.alone,
            most=self._most,
            seed=self.job.seed,
            stopped=self.stopped,
            enough=enough,
            begun=begun,
            offer=self.offer,
        )
        if not self.stopped():
            self._done.append(learned)
        return learned

    def offer(self, steps: int = _NONE, running: Callable[[], variational.Fit] | None = None) -> None:
        """On the leader: a checkpoint of all hosts, between two fits or so many ``steps`` within one."""
        self._tell(_OFFERS, len(self._done), steps)
        self.job.checkpoints.offer(lambda: self._checkpoint(steps, None if running is None else running()))

    def _checkpoint(self, steps: int, running: variational.Fit | None) -> Checkpoint:
        numbers = {"fits": len(self._done), "running": None if running is None else dict(running.numbers)}
        kept = {_name(number): learned for number, learned in enumerate(self._done)}
        position = _position(len(self._done), steps)
        return Checkpoint(position, numbers, {} if running is None else running.arrays, kept)


def _position(fits: int, steps: int) -> str:
    return f"fit {fits}" + ("" if steps == _NONE else f", step {steps}")


def _name(number: int) -> str:
    return f"fit-{number}"


@dataclass(frozen=True)
class _Copies:
    """Which rows are copies of each other, and held out together.

    Attributes:
        first: the first row of each unit, (u,). unit: of each row, (n,). keys: of each row's values, (n,).
    """

    first: np.ndarray
    unit: np.ndarray
    keys: np.ndarray

    def once(self) -> np.ndarray | None:
        """The first rows, in their order, where each was repeated as often; None where some were more often."""
        times = np.bincount(self.unit)
        return np.sort(self.first) if times[0] > 1 and (times == times[0]).all() else None

    def of(self, rows: np.ndarray) -> _Copies:
        """Those of some rows, by their numbers."""
        _, first, unit = np.unique(self.unit[rows], return_index=True, return_inverse=True)
        return _Copies(first, unit, self.keys[rows])


def _copies(features: Features, labels: np.ndarray, binary: bool, seed: int) -> _Copies:
    keys = row_keys(features, seed)
    alike = partial(agreement, features, labels, keys, ONE_HOST)
    found = units(labels, keys, alike, classes=binary)
    _, first, unit = np.unique(found, return_index=True, return_inverse=True)
    return _Copies(first, unit, keys)


def _distinct(
    features: Features, labels: np.ndarray, copies: _Copies
) -> tuple[Features, np.ndarray, np.ndarray | None]:
    """Each row once, and what it weighs for its copies, (u,), of mean 1: they say no more than one of them."""
    if len(copies.first) == len(labels):
        return features, labels, None
    times = np.bincount(copies.unit)
    return features[copies.first], labels[copies.first], times / times.mean()


def _parts(
    features: Features, labels: np.ndarray, copies: _Copies, binary: bool, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The numbers of rows that are known and of rows that are held out, for each fold that has both."""
    first, count = copies.first, len(copies.first)
    many, held = next(((many, many) for most, many in linear.FEW_ROWS if count <= most), (FOLDS, folds(count)))
    rare = int(np.unique(labels[first], return_counts=True)[1].min()) if binary else count
    if binary and rare < FEWEST_OF_CLASS * many:
        own = _dealt_by_class(labels[first], copies.keys[first], many)
        held = max(held, min(many, math.ceil(FEWEST_OF_CLASS * many / rare)))
    else:
        own = fold_numbers(features, many, seed, draws("folds", seed))[first]
    own = own[copies.unit]
    parts = []
    for fold in range(held):
        out = own == fold
        if out.any() and not out.all():
            parts.append((np.flatnonzero(~out), np.flatnonzero(out)))
    return parts


def _dealt_by_class(labels: np.ndarray, keys: np.ndarray, folds: int) -> np.ndarray:
    """The fold (n,) of each row: rows of a class are dealt out in the order of their ``keys``, so that no fold is
    without a class of a few rows while another one has them all."""
    own = np.empty(len(labels), np.int64)
    own[np.lexsort((keys, labels))] = np.arange(len(labels)) % folds
    return own


def _part(features: Features, labels: np.ndarray, scale: np.ndarray) -> linear.Part:
    """Rows as ``linear`` takes them, with each column divided by its scale (d,)."""
    exact = features.astype(np.float64)
    divided = exact / scale if isinstance(exact, np.ndarray) else sp.csr_array(exact @ sp.diags_array(1 / scale))
    return linear.Part(divided, labels.astype(np.float64), np.zeros(len(labels)))


def _losses(learned: dict[str, np.ndarray], features: Features, labels: np.ndarray, binary: bool) -> np.ndarray:
    """Sums of a machine's losses on rows by group, (GROUPS,), as ``linear.losses_of`` has them."""
    squares = np.square(features) if isinstance(features, np.ndarray) else features.multiply(features)
    products = np.asarray(features @ learned["factors"])
    pairs = np.einsum("nk,nk->n", products, products) - squares @ np.square(learned["factors"]).sum(axis=1)
    scores = (learned["bias"] + features @ learned["linear"] + 0.5 * pairs).astype(np.float64)
    losses = np.logaddexp(0, scores) - labels * scores if binary else np.square(scores - labels)
    return np.bincount(np.arange(len(losses)) % GROUPS, losses, GROUPS)
