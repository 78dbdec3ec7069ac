"""A sketch: few rows that approximate the covariance of all rows seen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy import linalg

from algorithms.checkpoints import rows_from_arrays, rows_to_arrays
from algorithms.common.blas import squared, threads_for
from algorithms.common.hosts import packed, unpacked
from algorithms.interface import Hosts
from algorithms.pca.components import Components, check_finite, check_range, check_rows, ordered
from algorithms.pca.gram import Rows, means
from algorithms.pca.iterate import leading
from recordio.batches import Features

_STEP_ROWS = 128  # least rows of a step of the sketch
_FEW = 4  # times the rows of the sketch: so few rows make a step
_NOISE = 1e-6  # relative error of sums of float32 products
_HELD = 1 << 24  # non-zeros of sparse rows that are held before they enter the sketch: 128 MB
_TOLERANCE = 1e-3  # of the squared singular values of rows that are held


class Sketch:
    """Approximate: l rows R with R'R close to C, and the projection Y = C Omega on l random directions.

    Each step appends new rows to R, rotates the rows so that they are orthogonal, and keeps the l longest. That follows
    the leading components closely, but drops what is small in every step even if it adds up. So the projection of what
    was dropped is kept, too, as Y - R'R Omega, from which its main part is restored in the end (the Nystrom
    approximation of a positive semidefinite matrix).

    A batch is centred by its own mean. The scatter between that mean and the mean of the rows before is one more row,
    which points from one to the other.

    Sparse rows are kept as they come, and enter the sketch many at a time, since a step costs l d, however few
    non-zeros its rows have. If all rows can be kept there is no sketch, and the components are those of the rows.

    Memory: 16 l d bytes and a block of rows; sparse rows up to 256 MB. Time: about 8 l d multiplications a row; for
    sparse rows some ten or hundred times their non-zeros.

    References: Levy, Lindenbaum, "Sequential Karhunen-Loeve basis extraction", IEEE Trans. Image Processing 2000;
    Ross et al., "Incremental learning for robust visual tracking", IJCV 2008 (the mean); Tropp et al., "Fixed-rank
    approximation of a positive-semidefinite matrix from streaming data", NeurIPS 2017.
    """

    def __init__(self, feature_dim: int, size: int, *, centred: bool, seed: int = 0) -> None:
        self.feature_dim = feature_dim
        self.size = size
        self.centred = centred
        self._sketched = 0  # rows that the sketch stands for; there are more, which are held
        self.block_rows = _step_rows(size)
        self.threads = 1  # BLAS' own do better
        self._seed = seed
        self._mean = np.zeros(feature_dim)
        self._total = 0.0  # trace of C
        self._kept = np.zeros((0, feature_dim), np.float32)  # R
        self._held = Rows(feature_dim)

    @cached_property
    def _omega(self) -> np.ndarray:
        return np.random.default_rng(self._seed).standard_normal((self.feature_dim, self.size), dtype=np.float32)

    @cached_property
    def _projected(self) -> np.ndarray:  # Y
        return np.zeros((self.feature_dim, self.size))

    @property
    def rows(self) -> int:
        """Number of rows seen."""
        return self._sketched + self._held.count

    def update(self, features: Features) -> None:
        """Take in these rows (m, d)."""
        if sp.issparse(features):
            self._held.add(features)
            if self._held.nonzeros > _HELD:
                self._pour()
            return
        self._pour()
        for start in range(0, features.shape[0], self.block_rows):
            block = features[start : start + self.block_rows]
            count = block.shape[0]
            mean = block.mean(axis=0, dtype=np.float64) if self.centred else np.zeros(self.feature_dim)
            bridge = self._bridge(count, mean)
            with threads_for(2.0 * (count + self.size) ** 2 * self.feature_dim):
                self._absorb(np.concatenate([self._kept, bridge]), _Block.of(block, mean))
                self._add_projected(bridge)

    def _pour(self) -> None:
        """Move the sparse rows that are kept into the sketch."""
        if not self._held.count:
            return
        rows = self._held.together()
        self._held = Rows(self.feature_dim)
        count = rows.shape[0]
        mean = means(rows) if self.centred else np.zeros(self.feature_dim)
        bridge = self._bridge(count, mean)
        block = _Block.of(rows, mean)
        squares = float(np.square(rows.data, dtype=np.float64).sum()) - count * float(mean @ mean)
        if count <= _FEW * self.size or not squares > 0:
            self._absorb(np.concatenate([self._kept, bridge]), block)
        else:
            before = np.concatenate([self._kept, bridge]).astype(np.float64)
            s, vt = leading(rows, mean, self.size, tolerance=_TOLERANCE, others=before)
            check_finite(s)
            self._kept = (s[:, None] * vt).astype(np.float32)
            self._projected += block.transposed_times(block.times(self._omega))
            self._total += squares
        self._add_projected(bridge)

    def _bridge(self, count: int, mean: np.ndarray) -> np.ndarray:
        """The row, (1, d), that stands for the scatter between the mean so far and a batch's, (0, d) if there is none;
        the mean is updated."""
        before = self._sketched
        self._sketched += count
        if not self.centred:
            return np.zeros((0, self.feature_dim), np.float32)
        step = mean - self._mean
        weight = np.sqrt(before * count / self._sketched)
        self._mean += step * (count / self._sketched)
        return (weight * step)[None].astype(np.float32)

    def _add_projected(self, rows: np.ndarray) -> None:
        self._projected += rows.T @ (rows @ self._omega)
        self._total += float(np.vdot(rows, rows))

    def _absorb(self, rows: np.ndarray, block: _Block | None = None) -> None:
        """Replace R by the l longest orthogonal rows with nearly the scatter of ``rows`` (m, d) and ``block``
        together."""
        gram = squared(rows)
        if block is not None:
            crossed, products = block.times(rows.T), block.gram()
            gram = np.block([[gram, crossed.T], [crossed, products]])
            self._projected += block.transposed_times(block.times(self._omega))
            self._total += float(np.trace(products, dtype=np.float64))
        check_finite(gram)
        with threads_for(4.0 * len(gram) ** 3):
            vectors = np.linalg.eigh(gram.astype(np.float64))[1]
        rotation = vectors[:, -self.size :].astype(np.float32)
        self._kept = rotation[: len(rows)].T @ rows
        if block is not None:
            self._kept += block.transposed_times(rotation[len(rows) :]).T

    def merge(self, other: Sketch) -> None:
        """Take in what another state has seen, which was initialised alike."""
        if not other._sketched:  # rows that are held stay exact
            for block in other._held.blocks:
                self.update(block)
            return
        self._pour()
        other._pour()
        bridge = self._bridge(other.rows, other._mean)
        self._absorb(np.concatenate([self._kept, other._kept, bridge]))
        self._add_projected(bridge)
        self._projected += other._projected
        self._total += other._total

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The rows that are held, and the sketch except its random directions, which follow from the seed."""
        blocks = self._held.blocks
        arrays = {"blocks": np.array(len(blocks)), "rows": np.array(self._sketched)}
        for number, block in enumerate(blocks):
            arrays |= rows_to_arrays(f"block{number}", block)
        if self._sketched:
            arrays |= {"total": np.array(self._total), "mean": self._mean, "kept": self._kept}
            arrays["projected"] = self._projected
        return arrays

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See ``State``."""
        self._sketched = int(arrays["rows"])
        if self._sketched:
            self._mean, self._total = arrays["mean"], float(arrays["total"])
            self._kept, self._projected = arrays["kept"], arrays["projected"]
        for number in range(int(arrays["blocks"])):
            self._held.add(rows_from_arrays(f"block{number}", arrays))

    def shared(self, hosts: Hosts) -> None:
        """The sketches of all hosts, with a row each for the step from the common mean to the host's own."""
        if hosts.size == 1:
            return
        sketched, nonzeros = hosts.sum(np.array([self._sketched, self._held.nonzeros]))[0]
        if not sketched and nonzeros <= _HELD:
            parts = hosts.gather([packed(block) for block in self._held.blocks])
            self._held = Rows(self.feature_dim)
            for part in parts:
                for block in part:
                    self._held.add(unpacked(block))
            return
        self._pour()
        own, count = self._mean, self.rows
        counts, sums = hosts.sum(np.array([count]), count * own)
        total = max(int(counts[0]), 1)
        if self.centred:
            self._mean = sums / total
            bridge = (np.sqrt(count) * (own - self._mean))[None].astype(np.float32)
            self._kept = np.concatenate([self._kept, bridge])
            self._add_projected(bridge)
        self._sketched = int(counts[0])
        self._projected, traces = hosts.sum(self._projected, np.array([self._total]))
        self._total = float(traces[0])
        kept = hosts.gather(self._kept)
        if hosts.rank == 0:
            self._absorb(np.concatenate(kept))

    def finalize(self, k: int) -> Components:
        """The k leading components of R'R and the restored part of what R dropped."""
        check_rows(self.rows, k)
        if not self._sketched:
            held = self._held.decomposed(k, centred=self.centred, tolerance=_TOLERANCE / 4)  # nothing mends it later
            check_range(held[3])
            return ordered(*held)
        self._pour()
        check_finite(self._projected)
        with threads_for(8.0 * self.size**2 * self.feature_dim):
            rows = np.concatenate([self._kept.astype(np.float64), self._restored()])
            _, s, vt = linalg.svd(rows, full_matrices=False, overwrite_a=True, check_finite=False)
        mean = self._mean if self.centred else None
        return ordered(s[:k][::-1], vt[:k][::-1].T, mean, self._total)

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
        if self.mean is None:
            return squared(self.rows)
        products = self.rows @ self.rows.T
        crossed = (self.rows @ self.mean)[:, None]
        return products.toarray() - crossed - crossed.T + self.mean @ self.mean


def _step_rows(sketch_rows: int) -> int:
    return max(sketch_rows, _STEP_ROWS)
