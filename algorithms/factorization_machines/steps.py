"""Training of factorization machines by lazy Adam: a step touches only the features that occur in its batch.

With P = X V, of shape (n, k), Rendle's identity gives the score w0 + X w + (|P|^2 - X^2 |V|^2) / 2 row by row, and its
gradients X^T (g P) - diag(X^2^T g) V for V and X^T g for w, where g (n,) is the slope of the loss. All products are
taken over the columns that occur, so the cost of a batch follows its non-zeros, whatever the number of features.

Sources: Rendle, "Factorization Machines", ICDM 2010, section III; Kingma and Ba, "Adam", ICLR 2015, with the moments
of a row decayed only when the row occurs, as MXNet's lazy update does.
"""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from scipy.special import expit

from algorithms.common.hosts import ONE_HOST
from algorithms.common.local_steps import CACHE, Agreed, LocalSteps, due_after
from algorithms.interface import Hosts
from recordio.batches import Batch, Features

try:
    from algorithms.factorization_machines import _kernel  # type: ignore[attr-defined]
except ImportError:  # built without a compiler: numpy does the same, slower
    _kernel = None

if TYPE_CHECKING:
    from algorithms.factorization_machines import FactorizationMachinesHyperparameters


def kernel() -> Any:
    """The compiled inner loops; None where there are none."""
    return _kernel


BETA_1, BETA_2 = np.float32(0.9), np.float32(0.999)
DEFAULT_EPSILON = 1e-8
_STEP, _ROW, _VALUE, _FACTOR = 5e-5, 1e-7, 1e-8, 2.5e-10
"""Seconds of a step, of each row, of each value and of each factor of that."""
_NEAR, _FAR = (2.5e-8, 1.7e-9), (1e-7, 3.5e-9)
"""Seconds of each column that occurs, and of each factor of that, where parameters and moments are in the processor's
caches for the most part, and where they are not."""
_LARGE = 1 << 22  # bytes from which NumPy asks for huge pages
_PAGE = 4096  # bytes
_SPREAD = 16
"""Huge pages are asked for where the first step writes to one in so many pages or more: steps to come will write to the
rest of them."""


class DenseRows:
    """A dense batch: all columns occur."""

    def __init__(self, features: np.ndarray, linear: np.ndarray, factors: np.ndarray) -> None:
        self.features, self.factors = features, factors
        self.columns = slice(None)
        self.squares = features * features
        self.products = features @ factors  # (n, k)
        pairs = _square_lengths(self.products) - self.squares @ _square_lengths(factors)
        self.scores = features @ linear + np.float32(0.5) * pairs

    def gradients(self, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the linear weights (d,) and the factors (d, k), for the slope (n,) of the loss in each row's score."""
        gradient = self.features.T @ (self.products * slopes[:, None])
        gradient -= (self.squares.T @ slopes)[:, None] * self.factors
        return self.features.T @ slopes, gradient


class SparseRows:
    """A sparse batch over the columns that occur in it, which are numbered anew from 0 to u - 1.

    Attributes:
        columns: (u,) int64, the feature numbers that occur, in no order.
    """

    def __init__(self, features: sp.csr_array, linear: np.ndarray, factors: np.ndarray, position: np.ndarray) -> None:
        """``position`` is scratch space; see ``_numbered``."""
        self.linear, self.factors = linear, factors
        indices = features.indices.astype(np.int64)
        self.columns, self.compact = _numbered(indices, position)
        self.cells = (features.data, indices, features.indptr.astype(np.int64))
        self.rows = features.shape[0]
        if _kernel is None:
            self._numpy_scores()
        else:
            self.products = np.empty((self.rows, factors.shape[1]), np.float32)
            self.scores = np.empty(self.rows, np.float32)
            _kernel.forward(*self.cells, linear, factors, self.products, self.scores)

    def _numpy_scores(self) -> None:
        values, _, starts = self.cells
        shape = (self.rows, len(self.columns))
        self.values = sp.csr_array((values, self.compact, starts), shape=shape)
        self.squares = sp.csr_array((values * values, self.compact, starts), shape=shape)
        self.current = self.factors[self.columns]
        self.products = self.values @ self.current
        pairs = _square_lengths(self.products) - self.squares @ _square_lengths(self.current)
        self.scores = self.values @ self.linear[self.columns] + np.float32(0.5) * pairs

    def gradients(self, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the linear weights (u,) and the factors (u, k), for the slope (n,) of the loss in each row's score."""
        if _kernel is None:
            gradient = self.values.T @ (self.products * slopes[:, None])
            gradient -= (self.squares.T @ slopes)[:, None] * self.current
            return self.values.T @ slopes, gradient
        linear = np.zeros(len(self.columns), np.float32)
        gradient = np.zeros((len(self.columns), self.factors.shape[1]), np.float32)
        _kernel.backward(*self.cells, self.linear, self.factors, self.compact, self.products, slopes, linear, gradient)
        return linear, gradient


def _numbered(columns: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of the columns (n,) that differ, (u,), in no order, and the number (n,) that each column has among them.

    ``position`` is scratch space of one int32 for each feature; its content means nothing.
    """
    if _kernel is not None:
        different, numbers = np.empty(len(columns), np.int64), np.empty(len(columns), np.int64)
        count = _kernel.number(columns, position, different, numbers)
        return different[:count], numbers
    order = np.arange(len(columns), dtype=np.int32)
    position[columns] = order  # of equal columns, one wins: it stands for all
    different = columns[position[columns] == order]
    position[different] = order[: len(different)]
    return different, position[columns].astype(np.int64)


def _square_lengths(vectors: np.ndarray) -> np.ndarray:
    return np.einsum("nk,nk->n", vectors, vectors)


@dataclass(frozen=True)
class Term:
    """How the bias, the linear weights or the factors are stepped.

    Attributes:
        clip: gradients are cut to minus and plus this; infinity for no cut.
    """

    rate: float
    decay: float
    epsilon: float
    clip: float


class Moments:
    """Adam's two running means of one parameter array, zero at the start.

    A row that is written takes a page of 4 kB, and those never touched cost no memory. NumPy asks for huge pages, with
    which a row here and a row there would soon fill all of the memory with zeros: they are for steps that go
    everywhere, a third of whose time here goes to small pages.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._pages: list[mmap.mmap] = []
        self._row = 4 * math.prod(shape[1:])  # bytes
        self.first = self._zeros(shape)
        self.second = self._zeros(shape)

    def _zeros(self, shape: tuple[int, ...]) -> np.ndarray:
        size = 4 * math.prod(shape)
        if size < _LARGE or not hasattr(mmap, "MADV_NOHUGEPAGE"):
            return np.zeros(shape, np.float32)
        pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared ones have other pages
        with contextlib.suppress(OSError):  # a kernel without huge pages
            pages.madvise(mmap.MADV_NOHUGEPAGE)
        self._pages.append(pages)
        return np.frombuffer(pages, np.float32).reshape(shape)

    def expect(self, columns: np.ndarray | slice) -> None:
        """Before the first step, which is on these columns: ask for huge pages where they are nearly everywhere."""
        pages, self._pages = self._pages, []
        if not pages or (isinstance(columns, np.ndarray) and not self._are_spread(columns)):
            return
        for one in pages:
            with contextlib.suppress(OSError):
                one.madvise(mmap.MADV_HUGEPAGE)

    def _are_spread(self, columns: np.ndarray) -> bool:
        written = np.zeros(self.first.nbytes // _PAGE + 1, bool)
        written[columns * self._row // _PAGE] = True
        return bool(_SPREAD * np.count_nonzero(written) >= len(written))

    def step(
        self, parameters: np.ndarray, columns: np.ndarray | slice, gradient: np.ndarray, term: Term, time: int
    ) -> None:
        """Step number ``time`` on ``parameters[columns]``, in place; ``gradient`` may be overwritten."""
        self.expect(columns)
        rate = term.rate * np.sqrt(1 - float(BETA_2) ** time) / (1 - float(BETA_1) ** time)
        if _kernel is not None:
            if isinstance(columns, slice):  # of all, which are as one row
                columns, width = np.zeros(1, np.int64), parameters.size
            else:
                width = math.prod(parameters.shape[1:])
            rates = (BETA_1, BETA_2, rate, term.epsilon, term.decay, term.clip)
            _kernel.adam(parameters, self.first, self.second, columns, gradient, width, *rates)
            return
        if np.isfinite(term.clip):
            np.clip(gradient, -term.clip, term.clip, out=gradient)
        gradient += np.float32(term.decay) * parameters[columns]
        first, second = self.first[columns], self.second[columns]
        first += (1 - BETA_1) * (gradient - first)
        second += (1 - BETA_2) * (gradient * gradient - second)
        self.first[columns], self.second[columns] = first, second
        parameters[columns] -= np.float32(rate) * first / (np.sqrt(second) + np.float32(term.epsilon))


class State:
    """Parameters and optimizer state: fixed in size from the first batch on.

    Several hosts have the same, and step by the sum of their gradients, over the columns that occur on any, or each by
    itself with ``step_alone`` until ``agree``.

    Attributes:
        bias: (1,) float32; linear: (d,) float32; factors: (d, k) float32.
    """

    def __init__(self, hp: FactorizationMachinesHyperparameters, seed: int, hosts: Hosts = ONE_HOST) -> None:
        self._hosts, self._seed, self.hp = hosts, seed, hp
        self.position = np.empty(hp.feature_dim, np.int32)
        self.alone = np.zeros(0, np.int64)
        self.set_rates()
        self._start()

    def set_rates(self, times: float = 1.0, decay: float = 1.0, speed: float = 1.0) -> None:
        """Learn factors at ``times`` the job's rate, and all but the bias at ``speed`` times theirs; let linear weights
        decay by ``decay`` times the job's ``linear_wd``."""
        hp = self.hp
        self.rates = {"bias": hp.bias_lr, "linear": speed * hp.linear_lr, "factors": speed * times * hp.factors_lr}
        self.linear_wd = decay * hp.linear_wd

    def stand_still(self) -> None:
        """Learn nothing from the steps to come."""
        self.rates = dict.fromkeys(self.rates, 0.0)

    def restart(self) -> None:
        """Go back to where training started. What was learned is given up first: it may fill most of the memory."""
        del self.linear, self.factors, self.moments
        if self._hosts.size > 1:
            del self._alone
        self._start()

    def _start(self) -> None:
        hp, d, k = self.hp, self.hp.feature_dim, self.hp.num_factors
        rng = np.random.default_rng(self._seed)
        self.bias = _initial(rng, (1,), hp.bias_init_method, hp.bias_init_scale, hp.bias_init_sigma, hp.bias_init_value)
        self.linear = _initial(
            rng, (d,), hp.linear_init_method, hp.linear_init_scale, hp.linear_init_sigma, hp.linear_init_value
        )
        self.factors = _initial(
            rng, (d, k), hp.factors_init_method, hp.factors_init_scale, hp.factors_init_sigma, hp.factors_init_value
        )
        if not hp.use_bias:
            self.bias[:] = 0
        if not hp.use_linear:
            self.linear[:] = 0
        self.moments = {name: Moments(getattr(self, name).shape) for name in ("bias", "linear", "factors")}
        self.factors[self.alone] = 0
        self.time = 0
        self.share = 1.0
        if self._hosts.size > 1:
            self._alone = LocalSteps(self._hosts, [self.linear, self.factors], by_rows=False)
        self.last: Features = np.zeros((0, d), np.float32)

    def learned(self) -> dict[str, np.ndarray]:
        """A copy of the parameters, by name."""
        return {name: getattr(self, name).copy() for name in ("bias", "linear", "factors")}

    def put(self, learned: Mapping[str, np.ndarray]) -> None:
        """Take the parameters that ``learned`` gave."""
        for name, array in learned.items():
            getattr(self, name)[...] = array

    def leave_alone(self, columns: np.ndarray) -> None:
        """From now on these columns of dense rows have no interactions: their factors are 0, and stay so."""
        self.alone = columns
        self.factors[columns] = 0

    def begin(self, epoch: int, epochs: int) -> None:
        """Set the learning rates for an epoch, from 0: they fall linearly, to the last epoch's ``1 / epochs``.

        Adam at a constant rate ends in a cloud around the optimum as wide as the rate; the job's rates are the first
        epoch's.
        """
        self.share = 1 - epoch / epochs

    def update(self, batch: Batch, labels: np.ndarray, count: int | None = None) -> np.ndarray:
        """One step. Returns the scores (n,) of the rows as they were before it.

        Args:
            batch: of this host; of n >= 0 rows where there are others, sparse on all hosts or on none.
            count: rows of all hosts; None for those of this one.
        """
        rows, scores, gradients = self._found(batch, labels, count or len(labels))
        columns, gradients = self._of_all_hosts(rows.columns, gradients)
        self._follow(columns, gradients)
        return scores

    def step_alone(self, batch: Batch, labels: np.ndarray) -> np.ndarray:
        """The same by this host's rows alone, n > 0, which other hosts know of after ``agree``."""
        rows, scores, gradients = self._found(batch, labels, len(labels))
        columns = np.arange(len(self.linear)) if isinstance(rows.columns, slice) else rows.columns
        if not self._alone.steps:
            self._bias_before = self.bias.copy()
        self._alone.begin(columns, len(labels), self._due)
        self._follow(rows.columns, gradients)
        return scores

    @property
    def _due(self) -> int:
        """From how many steps of this host on a column is exchanged: at once where that is soon done."""
        if self.size <= CACHE:
            return 1
        return due_after(self.share * max(self.rates["linear"], self.rates["factors"]), self._hosts.size)

    def agree(self, *, stopped: bool, step: float | None) -> Agreed:
        """Let hosts know what others have learned by steps of their own; all have the same parameters where ``step`` is
        None. See ``LocalSteps.exchange``."""
        started = self.time - self._alone.steps
        before = self._bias_before if self._alone.steps else self.bias
        agreed = self._alone.exchange(self.bias - before, stopped=stopped, step=step)
        self.bias = before + agreed.common
        self.time = started + agreed.steps
        return agreed

    def apart_to_arrays(self) -> dict[str, np.ndarray]:
        """What this host has learned and others do not know of, for a checkpoint."""
        return {} if self._hosts.size == 1 else self._alone.to_arrays()

    def apart_from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what ``apart_to_arrays`` gave."""
        if arrays:
            self._alone.from_arrays(arrays)

    @property
    def size(self) -> int:
        """Bytes of parameters and moments."""
        return 3 * (self.bias.nbytes + self.linear.nbytes + self.factors.nbytes)

    def seconds(self, rows: float, values: float, columns: float) -> float:
        """What a step by so many rows takes, about, of so many values that are not 0 in so many columns."""
        width = self.factors.shape[1]
        column, factor = _NEAR if self.size <= CACHE else _FAR
        return _STEP + _ROW * rows + (_VALUE + _FACTOR * width) * values + (column + factor * width) * columns

    def _found(
        self, batch: Batch, labels: np.ndarray, count: int
    ) -> tuple[DenseRows | SparseRows, np.ndarray, list[np.ndarray]]:
        """Of this host's rows: themselves, their scores (n,), and the gradients of the bias, the linear weights and
        the factors, of the mean over ``count`` rows."""
        rows = self._rows(batch.features)
        if len(batch):
            self.last = batch.features
        scores = rows.scores + self.bias
        slopes = self._slopes(scores, labels, count)
        return rows, scores, [slopes.sum(keepdims=True), *rows.gradients(slopes)]

    def _follow(self, columns: np.ndarray | slice, gradients: list[np.ndarray]) -> None:
        """One step by gradients of the bias, the linear weights and the factors."""
        hp, (bias, linear, factors) = self.hp, gradients
        self.time += 1
        if self.alone.size:
            factors[self.alone if isinstance(columns, slice) else np.isin(columns, self.alone)] = 0
        self._step("factors", columns, factors, hp.factors_wd)
        if hp.use_linear:
            self._step("linear", columns, linear, self.linear_wd)
        if hp.use_bias:
            self._step("bias", slice(None), bias, hp.bias_wd)

    def scores(self, batch: Batch) -> np.ndarray:
        """Scores (n,) as the parameters stand, float32."""
        return self._rows(batch.features).scores + self.bias

    def _of_all_hosts(
        self, columns: np.ndarray | slice, gradients: list[np.ndarray]
    ) -> tuple[np.ndarray | slice, list[np.ndarray]]:
        """Columns that occur on any host, and the sums of the gradients of the bias, the linear weights and the
        factors."""
        if self._hosts.size == 1:
            return columns, gradients
        if isinstance(columns, slice):
            return columns, self._hosts.sum(*gradients)
        bias, linear, factors = gradients
        lists = self._hosts.gather(columns)
        together, places = _numbered(np.concatenate(lists), self.position)
        start = sum(map(len, lists[: self._hosts.rank]))
        mine = places[start : start + len(columns)]  # no column occurs twice
        width = factors.shape[1]
        numbers = np.zeros(1 + len(together) * (1 + width), np.float32)  # of one sum
        of_bias, of_linear, of_factors = np.split(numbers, [1, 1 + len(together)])
        of_factors = of_factors.reshape(len(together), width)
        of_bias[:], of_linear[mine], of_factors[mine] = bias, linear, factors
        self._hosts.sum_in_place(numbers)
        return together, [of_bias, of_linear, of_factors]

    def _rows(self, features: Features) -> DenseRows | SparseRows:
        if isinstance(features, np.ndarray):
            return DenseRows(features, self.linear, self.factors)
        return SparseRows(features, self.linear, self.factors, self.position)

    @property
    def share_of_interactions(self) -> float:
        """Spread of what the interactions add to the scores, as a share of the scores' own, on the last step's rows."""
        if not self.last.shape[0]:
            return 1.0  # only other hosts have rows
        scores = self._rows(self.last).scores
        spread = float(np.std(scores))
        return float(np.std(scores - self.last @ self.linear)) / spread if spread > 0 else 0.0

    def _slopes(self, scores: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
        """Derivative of the batch's loss by its scores: mean of (s - y)^2 / 2, or of the log loss."""
        predictions = expit(scores) if self.hp.predictor_type == "binary_classifier" else scores
        scale = 1 / count if self.hp.rescale_grad is None else self.hp.rescale_grad
        return (predictions - labels) * np.float32(scale)

    def _step(self, name: str, columns: np.ndarray | slice, gradient: np.ndarray, decay: float) -> None:
        epsilon = DEFAULT_EPSILON if self.hp.eps is None else self.hp.eps
        clip = self.hp.clip_gradient or 0
        term = Term(self.rates[name] * self.share, decay, epsilon, clip if clip > 0 else np.inf)
        self.moments[name].step(getattr(self, name), columns, gradient, term, self.time)


def _initial(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    method: str,
    scale: float | None,
    sigma: float,
    value: float | None,
) -> np.ndarray:
    """Values to start from, float32, made in place: the array may fill most of the memory. ``scale`` and ``value`` are
    optional in SageMaker's guide, without a default: the size that a normal start has serves."""
    array = np.empty(shape, np.float32)
    if method == "constant":
        array.fill(sigma if value is None else value)
    elif method == "uniform":
        rng.random(out=array, dtype=np.float32)
        array -= np.float32(0.5)
        array *= np.float32(2 * (np.sqrt(3) * sigma if scale is None else scale))
    else:
        rng.standard_normal(out=array, dtype=np.float32)
        array *= np.float32(sigma)
    return array
