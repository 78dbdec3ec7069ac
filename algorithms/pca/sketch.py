"""Few rows that stand for all rows seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy import linalg

from algorithms.interface import Hosts
from algorithms.pca.components import Components, check_finite, check_rows, ordered
from recordio.batches import Features

_STEP_ROWS = 128  # least rows of a step of the sketch
_NOISE = 1e-6  # relative error of sums of float32 products


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
        check_finite(gram)
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
        check_rows(self.rows, k)
        check_finite(self._projected)
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
        products = self.rows @ self.rows.T
        if self.mean is None:
            return products
        crossed = (self.rows @ self.mean)[:, None]
        return products.toarray() - crossed - crossed.T + self.mean @ self.mean


def _step_rows(sketch_rows: int) -> int:
    return max(sketch_rows, _STEP_ROWS)
