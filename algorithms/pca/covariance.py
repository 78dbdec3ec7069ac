"""The products of all pairs of features, added up exactly."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, eigsh

from algorithms.common.blas import SMALL_PRODUCT, blas_threads, squared, threads_for, workers
from algorithms.interface import Hosts
from algorithms.pca.components import Components, check_finite, check_rows, ordered
from recordio.batches import Features

BLOCK_ROWS = 4096  # rows of one float32 product: enough for BLAS' full speed, few enough for its accuracy
_SHIFT_ROWS = 512  # first rows whose mean is the shift
DOUBLE_DIM = 256  # up to here float64 products cost less than reading the rows
_WHOLE_DIM = 2048  # up to here all eigenvectors cost little more than the wanted ones
_FEW = 20  # times the components: with so many features the wanted ones alone are cheaper
_MOST_THREADS = 4  # with a block of rows and a matrix of products each; BLAS alone makes use of more
_NOISE = 1e-12  # of a scatter matrix that is the difference of two
_DENSE_SHARE = 0.05  # from this share of nonzeros on, a dense product of a block is faster than a sparse one


class _Slot(NamedTuple):
    """A block of rows (m, d + 1), the last of each number 1, and their products (d + 1, d + 1)."""

    rows: np.ndarray
    products: np.ndarray


class Covariance:
    """Exact: the sum of (x - c, 1)(x - c, 1)' over the rows, which holds their products, sums and number.

    The shift c is the mean of the first rows, or 0 if these are sparse. It keeps the products small if the mean is
    large compared with the spread; its difference from the mean of all rows is corrected in the end.

    Within ``side_by_side`` each block of rows is multiplied by one of the ``workers``, while the next are read and
    copied. The caller's rows are copied before ``update`` returns, and products are added in the order of the rows, so
    neither which was first nor, up to 4, the number of threads matters to the result; more of them share each product,
    which BLAS rounds in its own way.

    Memory: 12 d^2 bytes (16 d^2 up to 256 features), and where several threads work, up to 4 of them with 2,048
    features at most, 4 d^2 (8 d^2) for each; and 24 d^2 while the components are computed; beyond 2,048 features the
    wanted ones alone are iterated on, by products of the scatter matrix with vectors. Time: d^2 multiplications a row.
    """

    def __init__(self, feature_dim: int, *, centred: bool) -> None:
        self.feature_dim = feature_dim
        self.centred = centred
        self.rows = 0
        self.block_rows = BLOCK_ROWS
        self.threads = threads_for_blocks(feature_dim)
        width = feature_dim + 1
        self._dtype = np.float64 if feature_dim <= DOUBLE_DIM else np.float32
        self._shift: np.ndarray = np.zeros(feature_dim, self._dtype)
        self._free = [self._new_slot()]
        self._running: deque[tuple[_Slot, Future[np.ndarray]]] = deque()
        self._moments = np.zeros((width, width))

    def update(self, features: Features) -> None:
        """Take in these rows (m, d)."""
        for start in range(0, features.shape[0], self.block_rows):
            block: Any = features[start : start + self.block_rows]
            if sp.issparse(block) and block.nnz >= _DENSE_SHARE * block.shape[0] * self.feature_dim:
                block = block.toarray()
            if self.rows == 0 and self.centred and not sp.issparse(block):
                self._shift[:] = block[:_SHIFT_ROWS].mean(axis=0, dtype=np.float64)
            if sp.issparse(block):
                self._settle()
                self._add_sparse(block)
            else:
                self._add_dense(block)
            self.rows += block.shape[0]

    def _add_dense(self, block: np.ndarray) -> None:
        at_work = workers()
        for part in _parts(block, self.feature_dim):
            if at_work:
                self._settle(at_work.threads)  # one more than threads: none waits while products are added
            slot = self._free.pop() if self._free else self._new_slot()
            rows = slot.rows[: len(part)]
            np.subtract(part, self._shift, out=rows[:, :-1])
            if at_work:
                self._running.append((slot, at_work.pool.submit(squared, rows.T, slot.products)))
                continue
            with threads_for(_operations(len(part), self.feature_dim)):
                squared(rows.T, slot.products)
            self._moments += slot.products
            self._free.append(slot)

    def _new_slot(self) -> _Slot:
        width = self.feature_dim + 1
        return _Slot(np.ones((BLOCK_ROWS, width), self._dtype), np.empty((width, width), self._dtype))

    def _settle(self, most: int = 0) -> None:
        """Add the products that are being computed, until no more than ``most`` are."""
        while len(self._running) > most:
            slot, done = self._running.popleft()
            done.result()
            self._moments += slot.products
            self._free.append(slot)

    def _add_sparse(self, block: sp.csr_array) -> None:
        """Products of the rows as they are, then the terms of the shift: the rows never become dense."""
        d = self.feature_dim
        values = block.astype(np.float64)
        sums, count = values.sum(axis=0), block.shape[0]
        products = (values.T @ values).tocoo()
        self._moments[products.row, products.col] += products.data
        self._moments[d, :d] += sums
        self._moments[:d, d] += sums
        self._moments[d, d] += count
        if self._shift.any():
            self._moments += _terms_of_step(sums, count, -self._shift)

    def merge(self, other: Covariance) -> None:
        """Take in what another state has seen."""
        if not other.rows:
            return
        self._settle()
        other._settle()
        if not self.rows:
            self._shift = other._shift.copy()
        step = other._shift.astype(np.float64) - self._shift
        self._moments += other._moments
        self._moments += _terms_of_step(other._moments[-1, :-1], other.rows, step)
        self.rows += other.rows

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The shift, the moments about it, and the number of rows."""
        self._settle()
        return {"shift": self._shift, "moments": self._moments, "rows": np.array(self.rows)}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See ``State``."""
        self._shift, self._moments, self.rows = arrays["shift"], arrays["moments"], int(arrays["rows"])

    def shared(self, hosts: Hosts) -> None:
        """The moments of all hosts, each shifted to the common mean first."""
        if hosts.size == 1:
            return
        self._settle()
        counts, sums = hosts.sum(np.array([self.rows]), self.rows * self._shift + self._moments[-1, :-1])
        total = int(counts[0])
        if total and self.centred:
            common = (sums / total).astype(self._shift.dtype)
            step = self._shift.astype(np.float64) - common
            self._moments += _terms_of_step(self._moments[-1, :-1], self.rows, step)
            self._shift = common
        (self._moments,) = hosts.sum(self._moments)
        self.rows = total

    def finalize(self, k: int) -> Components:
        """The k leading eigenvectors of the scatter matrix."""
        check_rows(self.rows, k)
        self._settle()
        d = self.feature_dim
        sums = self._moments[d, :d]
        mean = self._shift + sums / self.rows if self.centred else None
        scatter = self._moments[:d, :d]
        missed = sums / np.sqrt(self.rows) if self.centred else np.zeros(d)  # scatter - missed missed': about the mean
        check_finite(self._moments[: d + 1, : d + 1].sum(axis=0))
        total = float(np.trace(scatter) - missed @ missed)
        if d > _WHOLE_DIM and d > _FEW * k and total > _NOISE * float(np.trace(scatter)):
            squares, v = _iterated(scatter, missed, k)
        else:
            centred = scatter - np.outer(missed, missed)
            with threads_for(4.0 * d**3):
                squares, v = linalg.eigh(centred, subset_by_index=(d - k, d - 1), check_finite=False, overwrite_a=True)
        return ordered(np.sqrt(np.maximum(squares, 0)), v, mean, total)


def _parts(block: np.ndarray, feature_dim: int) -> Iterator[np.ndarray]:
    """The rows in blocks of one product each; the last ones, which have no others beside them, in two halves."""
    last = len(block) // BLOCK_ROWS * BLOCK_ROWS
    for start in range(0, last, BLOCK_ROWS):
        yield block[start : start + BLOCK_ROWS]
    rest = block[last:]
    half = len(rest) // 2 if _operations(len(rest), feature_dim) >= 2 * SMALL_PRODUCT else 0
    for part in (rest[:half], rest[half:]):
        if len(part):
            yield part


def _operations(rows: int, feature_dim: int) -> float:
    """Floating-point operations of the products of so many rows."""
    return rows * (feature_dim + 1.0) ** 2


def threads_for_blocks(feature_dim: int) -> int:
    """How many blocks are computed beside each other: one for each of BLAS' threads where these are few, and the blocks
    neither so small that threads are not worth it, nor their products so large that memory is short."""
    worth = _operations(BLOCK_ROWS, feature_dim) >= SMALL_PRODUCT and feature_dim <= _WHOLE_DIM
    threads = blas_threads() if worth else 1
    return threads if threads <= _MOST_THREADS else 1


def reckoned(feature_dim: int) -> int:
    """Fewest bytes that the covariance of so many features takes."""
    return 12 * (feature_dim + 1) ** 2


def _iterated(scatter: np.ndarray, missed: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest eigenvalues of scatter - missed missed', rising, and their eigenvectors (d, k), to float64's
    rounding: Lanczos' method."""

    def times(vector: np.ndarray) -> np.ndarray:
        return scatter @ vector - np.multiply.outer(missed, missed @ vector)

    operator = LinearOperator(scatter.shape, matvec=times, matmat=times, dtype=np.float64)
    squares, v = eigsh(operator, k=k, which="LA", v0=np.random.default_rng(0).standard_normal(len(missed)))
    order = np.argsort(squares)
    return squares[order], v[:, order]


def _terms_of_step(sums: np.ndarray, count: int, step: np.ndarray) -> np.ndarray:
    """The change of the moments if ``step`` (d,) is added to each of ``count`` rows whose sums are ``sums`` (d,)."""
    terms = np.zeros((len(step) + 1, len(step) + 1))
    crossed = np.outer(sums + count / 2 * step, step)
    terms[:-1, :-1] = crossed + crossed.T
    terms[-1, :-1] = terms[:-1, -1] = count * step
    return terms
