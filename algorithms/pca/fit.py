"""Training: states of bounded size that see each row once, and the components that follow from them.

``Covariance`` adds up the exact products of all features: O(d^2) memory. ``Exact`` does so too once there are more rows
than features, and keeps the rows themselves until then. ``Sketch`` keeps l << d rows that stand for
all rows seen, and a random projection of their covariance: O(l d) memory. Both are merged without loss of quality, so
parts of the data can be seen by several workers.

Names: X (n, d) rows, c (d,) a fixed shift, mu (d,) the mean, C (d, d) the scatter matrix, the sum of
(x - mu)(x - mu)' over the rows, or of x x' where the mean is not subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp
from scipy import linalg

from algorithms.checkpoints import rows_from_arrays, rows_to_arrays
from algorithms.common.hosts import packed, unpacked
from algorithms.errors import TrainingDataError
from algorithms.interface import Hosts
from algorithms.pca.gram import Rows
from recordio.batches import Features

_BLOCK_ROWS = 4096  # rows of one float32 product: enough for BLAS' full speed, few enough for its accuracy
_SHIFT_ROWS = 512  # first rows whose mean is the shift
_DOUBLE_DIM = 256  # up to here float64 products cost less than reading the rows
_DENSE_SHARE = 0.05  # from this share of nonzeros on, a dense product of a block is faster than a sparse one
_SMALL_DIM = 1024  # up to here, and up to 4 times its rows, a sketch is slower than the covariance and hardly smaller
_STEP_ROWS = 128  # least rows of a step of the sketch
_TOO_LARGE = "the features are too large: their squares exceed the range of float32 numbers"
_NOISE = 1e-6  # relative error of sums of float32 products


class Components(NamedTuple):
    """What is learned: float32, in ascending order of s.

    Attributes:
        s: shape (k,), singular values of the rows, centred where there is a mean.
        v: shape (d, k), orthonormal columns.
        mean: shape (1, d); None where it was not subtracted.
        total: sum of the squared distances of all rows from the mean (of their squares where it is not subtracted),
            of which the components hold the sum of ``s ** 2``.
    """

    s: np.ndarray
    v: np.ndarray
    mean: np.ndarray | None
    total: float

    @property
    def explained(self) -> float:
        """The share of ``total`` that the components hold."""
        return min(float(np.square(self.s, dtype=np.float64).sum()) / self.total, 1.0) if self.total > 0 else 1.0


class State(Protocol):
    """What has been seen so far. ``block_rows`` is the number of rows that ``update`` handles best at a time."""

    block_rows: int

    @property
    def rows(self) -> int:
        """Number of rows seen."""
        ...

    def update(self, features: Features) -> None:
        """See these rows (m, d), once."""
        ...

    def shared(self, hosts: Hosts) -> None:
        """Take in what all hosts have seen. The leader has all of it then; the others need not."""
        ...

    def finalize(self, k: int) -> Components:
        """The k components; the state remains as it is. Raises TrainingDataError where the rows do not do."""
        ...

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of what was seen."""
        ...

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Become the state that was taken apart by ``to_arrays``; this one must have been initialised alike."""
        ...


def initialize(feature_dim: int, k: int, *, centred: bool, extra: int | None = None, seed: int = 0) -> State:
    """The state to start with.

    Args:
        k: number of components that will be asked for.
        extra: None for exact components; for a sketch, the number of its rows beyond k.
        seed: of the sketch. States that will be merged need the same.
    """
    if extra is not None:
        sketch_rows = min(k + extra, feature_dim)
        if feature_dim > max(_SMALL_DIM, 4 * sketch_rows):
            return Sketch(feature_dim, sketch_rows, centred=centred, seed=seed)
    if feature_dim <= _DOUBLE_DIM:
        return Covariance(feature_dim, centred=centred)
    return Exact(feature_dim, centred=centred)


class Exact:
    """Exact: the rows themselves while there are no more than features, which takes less memory than their covariance
    and much less time; the covariance from then on.

    Memory: 4 bytes a stored number of the rows, and 16 n^2 bytes while the components are computed; see
    ``Covariance`` beyond d rows.
    """

    def __init__(self, feature_dim: int, *, centred: bool) -> None:
        self.feature_dim = feature_dim
        self.centred = centred
        self.block_rows = _BLOCK_ROWS
        self._held = Rows(feature_dim)
        self._covariance: Covariance | None = None

    @property
    def rows(self) -> int:
        """Number of rows seen."""
        return self._covariance.rows if self._covariance else self._held.count

    def update(self, features: Features) -> None:
        """See these rows (m, d)."""
        if self._covariance is None and self._held.count + features.shape[0] <= self.feature_dim:
            self._held.add(features)
        else:
            self._poured().update(features)

    def _poured(self) -> Covariance:
        """The covariance, which has seen the rows that were held."""
        if self._covariance is None:
            self._covariance = Covariance(self.feature_dim, centred=self.centred)
            for block in self._held.blocks:
                self._covariance.update(block)
            self._held = Rows(self.feature_dim)
        return self._covariance

    def merge(self, other: Exact) -> None:
        """Take in what another state has seen."""
        if other._covariance is not None:
            self._poured().merge(other._covariance)
        for block in other._held.blocks:
            self.update(block)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The covariance's, or the blocks of rows that are held."""
        if self._covariance is not None:
            return self._covariance.to_arrays()
        blocks = self._held.blocks
        parts = [rows_to_arrays(f"block{number}", block) for number, block in enumerate(blocks)]
        return {"blocks": np.array(len(blocks)), **{name: array for part in parts for name, array in part.items()}}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See ``State``."""
        if "blocks" not in arrays:
            self._covariance = Covariance(self.feature_dim, centred=self.centred)
            self._covariance.from_arrays(arrays)
            return
        for number in range(int(arrays["blocks"])):
            self._held.add(rows_from_arrays(f"block{number}", arrays))

    def shared(self, hosts: Hosts) -> None:
        """The rows of all hosts while they are no more than features together, and their covariance from then on."""
        if hosts.size == 1:
            return
        if hosts.sum(np.array([self.rows]))[0][0] > self.feature_dim:
            self._poured().shared(hosts)
            return
        parts = hosts.gather([packed(block) for block in self._held.blocks])
        self._held = Rows(self.feature_dim)
        for part in parts:
            for block in part:
                self._held.add(unpacked(block))

    def finalize(self, k: int) -> Components:
        """The k leading components."""
        if self._covariance is not None:
            return self._covariance.finalize(k)
        _check_rows(self._held.count, k)
        s, v, mean, total = self._held.decomposed(k, centred=self.centred)
        _check_range(total)
        return _components(s, v, mean, total)


class Covariance:
    """Exact: the sum of (x - c, 1)(x - c, 1)' over the rows, which holds their products, sums and number.

    The shift c is the mean of the first rows, 0 where these are sparse. It keeps the products small where the mean is
    large beside the spread; what it misses of the mean is corrected in the end.

    Memory: 12 d^2 bytes, and as much again while the components are computed. Time: d^2 multiplications a row.
    """

    def __init__(self, feature_dim: int, *, centred: bool) -> None:
        self.feature_dim = feature_dim
        self.centred = centred
        self.rows = 0
        self.block_rows = _BLOCK_ROWS
        width = feature_dim + 1
        dtype = np.float64 if feature_dim <= _DOUBLE_DIM else np.float32
        self._shift: np.ndarray = np.zeros(feature_dim, dtype)
        self._block = np.ones((_BLOCK_ROWS, width), dtype)
        self._products = np.empty((width, width), dtype)
        self._moments = np.zeros((width, width))

    def update(self, features: Features) -> None:
        """See these rows (m, d)."""
        for start in range(0, features.shape[0], _BLOCK_ROWS):
            block: Any = features[start : start + _BLOCK_ROWS]
            if sp.issparse(block) and block.nnz >= _DENSE_SHARE * block.shape[0] * self.feature_dim:
                block = block.toarray()
            if self.rows == 0 and self.centred and not sp.issparse(block):
                self._shift[:] = block[:_SHIFT_ROWS].mean(axis=0, dtype=np.float64)
            if sp.issparse(block):
                self._add_sparse(block)
            else:
                self._add_dense(block)
            self.rows += block.shape[0]

    def _add_dense(self, block: np.ndarray) -> None:
        rows = self._block[: len(block)]
        np.subtract(block, self._shift, out=rows[:, :-1])
        self._moments += np.matmul(rows.T, rows, out=self._products)  # NumPy sees the symmetry: half the work

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
        if not self.rows:
            self._shift = other._shift.copy()
        step = other._shift.astype(np.float64) - self._shift
        self._moments += other._moments
        self._moments += _terms_of_step(other._moments[-1, :-1], other.rows, step)
        self.rows += other.rows

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The shift, the moments about it, and the number of rows."""
        return {"shift": self._shift, "moments": self._moments, "rows": np.array(self.rows)}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See ``State``."""
        self._shift, self._moments, self.rows = arrays["shift"], arrays["moments"], int(arrays["rows"])

    def shared(self, hosts: Hosts) -> None:
        """The moments of all hosts, each shifted to the common mean first."""
        if hosts.size == 1:
            return
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
        _check_rows(self.rows, k)
        d = self.feature_dim
        scatter, mean = self._moments[:d, :d], None
        if self.centred:
            offset = self._moments[d, :d] / self.rows
            mean = self._shift + offset
            scatter = scatter - np.outer(self.rows * offset, offset)
        _check_finite(scatter)
        total = float(np.trace(scatter))
        squares, v = linalg.eigh(scatter, subset_by_index=(d - k, d - 1), check_finite=False)
        return _components(np.sqrt(np.maximum(squares, 0)), v, mean, total)


def _terms_of_step(sums: np.ndarray, count: int, step: np.ndarray) -> np.ndarray:
    """What the moments of rows gain where ``step`` (d,) is added to each of ``count`` rows of the given sums (d,)."""
    terms = np.zeros((len(step) + 1, len(step) + 1))
    crossed = np.outer(sums + count / 2 * step, step)
    terms[:-1, :-1] = crossed + crossed.T
    terms[-1, :-1] = terms[:-1, -1] = count * step
    return terms


class Sketch:
    """Approximate: l rows R with R'R close to C, and the projection Y = C Omega on l random directions.

    Each step puts new rows below R, rotates them so that they are orthogonal, and keeps the l longest. That follows
    the leading components closely, but lets go for good what is small in every step even if it adds up: the state
    also holds what was let go, seen through Omega, as Y - R'R Omega. From that its main part is restored in the end
    (Nystrom's approximation of a positive semidefinite matrix).

    A batch is centred by its own mean; one more row, which points from the mean so far to the batch's, then makes up
    the scatter about the common mean.

    Memory: 16 l d bytes and a block of rows. Time: about 8 l d multiplications a row.

    References: Levy, Lindenbaum, "Sequential Karhunen-Loeve basis extraction", IEEE Trans. Image Processing 2000;
    Ross et al., "Incremental learning for robust visual tracking", IJCV 2008 (the mean); Tropp et al., "Fixed-rank
    approximation of a positive-semidefinite matrix from streaming data", NeurIPS 2017.
    """

    def __init__(self, feature_dim: int, size: int, *, centred: bool, seed: int = 0) -> None:
        self.feature_dim = feature_dim
        self.size = size
        self.centred = centred
        self.rows = 0
        self.block_rows = _step_rows(size)
        self._omega = np.random.default_rng(seed).standard_normal((feature_dim, size), dtype=np.float32)
        self._mean = np.zeros(feature_dim)
        self._total = 0.0  # trace of C
        self._kept = np.zeros((0, feature_dim), np.float32)  # R
        self._projected = np.zeros((feature_dim, size))  # Y

    def update(self, features: Features) -> None:
        """See these rows (m, d)."""
        for start in range(0, features.shape[0], self.block_rows):
            block = features[start : start + self.block_rows]
            count = block.shape[0]
            mean = block.mean(axis=0, dtype=np.float64) if self.centred else np.zeros(self.feature_dim)
            bridge = self._bridge(count, mean)
            self._absorb(np.concatenate([self._kept, bridge]), _Block.of(block, mean))
            self._add_projected(bridge)

    def _bridge(self, count: int, mean: np.ndarray) -> np.ndarray:
        """The row (1, d), or none (0, d), that stands for the step between two means; the mean moves on."""
        if not self.centred:
            self.rows += count
            return np.zeros((0, self.feature_dim), np.float32)
        step = mean - self._mean
        weight = np.sqrt(self.rows * count / (self.rows + count))
        self.rows += count
        self._mean += step * (count / self.rows)
        return (weight * step)[None].astype(np.float32)

    def _add_projected(self, rows: np.ndarray) -> None:
        self._projected += rows.T @ (rows @ self._omega)
        self._total += float(np.vdot(rows, rows))

    def _absorb(self, rows: np.ndarray, block: _Block | None = None) -> None:
        """Replace R by the l longest orthogonal rows that stand for ``rows`` (m, d) and ``block``."""
        gram = rows @ rows.T
        if block is not None:
            crossed, products = block.times(rows.T), block.gram()
            gram = np.block([[gram, crossed.T], [crossed, products]])
            self._projected += block.transposed_times(block.times(self._omega))
            self._total += float(np.trace(products, dtype=np.float64))
        _check_finite(gram)
        rotation = np.linalg.eigh(gram.astype(np.float64))[1][:, -self.size :].astype(np.float32)
        self._kept = rotation[: len(rows)].T @ rows
        if block is not None:
            self._kept += block.transposed_times(rotation[len(rows) :]).T

    def merge(self, other: Sketch) -> None:
        """Take in what another state has seen, which was initialised alike."""
        if not other.rows:
            return
        bridge = self._bridge(other.rows, other._mean)
        self._absorb(np.concatenate([self._kept, other._kept, bridge]))
        self._add_projected(bridge)
        self._projected += other._projected
        self._total += other._total

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All but the random directions, which follow from the seed."""
        return {
            "mean": self._mean,
            "total": np.array(self._total),
            "kept": self._kept,
            "projected": self._projected,
            "rows": np.array(self.rows),
        }

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See ``State``."""
        self._mean, self._total, self.rows = arrays["mean"], float(arrays["total"]), int(arrays["rows"])
        self._kept, self._projected = arrays["kept"], arrays["projected"]

    def shared(self, hosts: Hosts) -> None:
        """The sketches of all hosts, with a row each for the step from the common mean to the host's own."""
        if hosts.size == 1:
            return
        own, count = self._mean, self.rows
        counts, sums = hosts.sum(np.array([count]), count * own)
        total = max(int(counts[0]), 1)
        if self.centred:
            self._mean = sums / total
            bridge = (np.sqrt(count) * (own - self._mean))[None].astype(np.float32)
            self._kept = np.concatenate([self._kept, bridge])
            self._add_projected(bridge)
        self.rows = int(counts[0])
        self._projected, traces = hosts.sum(self._projected, np.array([self._total]))
        self._total = float(traces[0])
        kept = hosts.gather(self._kept)
        if hosts.rank == 0:
            self._absorb(np.concatenate(kept))

    def finalize(self, k: int) -> Components:
        """The k leading components of R'R and of what is restored of the rest."""
        _check_rows(self.rows, k)
        _check_finite(self._projected)
        rows = np.concatenate([self._kept.astype(np.float64), self._restored()])
        _, s, vt = linalg.svd(rows, full_matrices=False, overwrite_a=True, check_finite=False)
        mean = self._mean if self.centred else None
        return _components(s[:k][::-1], vt[:k][::-1].T, mean, self._total)

    def _restored(self) -> np.ndarray:
        """Rows N (m, d), m <= l, with N'N close to the part of C that R does not hold."""
        kept = self._kept.astype(np.float64)
        rest = self._projected - kept.T @ (kept @ self._omega)  # (C - R'R) Omega
        core = self._omega.T @ rest
        values, vectors = linalg.eigh((core + core.T) / 2)
        scale = float(np.einsum("ij,ij->", self._omega, self._projected))  # trace of Omega' C Omega
        sound = values > _NOISE * scale
        return (rest @ (vectors[:, sound] / np.sqrt(values[sound]))).T


class _Block:
    """Centred rows (m, d) of a sparse batch, kept as the batch and its mean; of a dense one as a plain array."""

    def __init__(self, rows: Any, mean: np.ndarray | None) -> None:
        self.rows = rows
        self.mean = mean

    @classmethod
    def of(cls, rows: Any, mean: np.ndarray) -> _Block:
        if sp.issparse(rows):
            return cls(rows, mean.astype(np.float32))
        return cls(rows - mean.astype(np.float32), None)

    def times(self, right: np.ndarray) -> np.ndarray:
        product = self.rows @ right
        return product if self.mean is None else product - self.mean @ right

    def transposed_times(self, right: np.ndarray) -> np.ndarray:
        product = self.rows.T @ right
        return product if self.mean is None else product - np.outer(self.mean, right.sum(axis=0))

    def gram(self) -> np.ndarray:
        """(m, m) products of the rows with each other."""
        products = self.rows @ self.rows.T
        if self.mean is None:
            return products
        crossed = (self.rows @ self.mean)[:, None]
        return products.toarray() - crossed - crossed.T + self.mean @ self.mean


def _step_rows(sketch_rows: int) -> int:
    return max(sketch_rows, _STEP_ROWS)


def _components(s: np.ndarray, v: np.ndarray, mean: np.ndarray | None, total: float) -> Components:
    """``s`` and the columns of ``v`` in ascending order. Signs: the largest entry of a column is positive."""
    signs = np.sign(v[np.abs(v).argmax(axis=0), np.arange(v.shape[1])])
    centre = None if mean is None else mean[None].astype(np.float32)
    return Components(s.astype(np.float32), np.ascontiguousarray(v * signs, np.float32), centre, total)


def _check_rows(rows: int, k: int) -> None:
    if rows < k:
        raise TrainingDataError(f"num_components is {k}, but the train channel has only {rows} rows")


def _check_finite(products: np.ndarray) -> None:
    if not np.isfinite(products).all():
        raise TrainingDataError(_TOO_LARGE)


def _check_range(total: float) -> None:
    if not total <= np.finfo(np.float32).max:
        raise TrainingDataError(_TOO_LARGE)
