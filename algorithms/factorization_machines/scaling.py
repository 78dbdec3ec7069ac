"""Features and labels brought to one scale for training, and the machine brought back to theirs after it.

The learning rates suit features and labels around 1: at them, a weight cannot reach 500, nor one of 0.00001 settle. A
factorization machine on x' = (x - m) / s that predicts y' = (y - a) / c is one on x that predicts y:

    v_i = sqrt(c) v'_i / s_i        S = sum_j v_j m_j
    w_i = c w'_i / s_i - <v_i, S - m_i v_i>
    b = a + c b' - sum_i w_i m_i - (|S|^2 - sum_i m_i^2 |v_i|^2) / 2

Each line takes what the ones before it leave in float32, so that the bias makes up for what the others were rounded by.

Dense rows of which nearly all values are 0, such as users and items as one-hot columns, are taken for the sparse ones
that they are. Other dense columns get mean 0 and deviation 1; of those that lie far from 0 only the linear weights are
learned, since interactions on the features as they are would be differences of large squares. Sparse columns are not
shifted, but for those that every row has, such as a time beside a user and an item, which are treated as dense ones.
Large ones are made smaller, and where rows are then shorter than 1, all are made larger by one factor: a rare word must
not weigh as much as a common one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from algorithms.common.deviations import FEW_ROWS, drawn_together
from algorithms.interface import Hosts
from recordio.batches import Batch, canonical

FAR = 500
"""Deviations between a column's mean and 0, from which on it has no interactions: brought back, they would be what is
left of squares of the mean that are subtracted from each other, in float32."""
DENSE_SHARE = 0.05
"""Share of values that are not 0 below which dense rows are taken for sparse ones."""
_CONSTANT = 1e6
"""The same from which on a column is taken for a constant: its values differ by a few of float32's last bits."""


@dataclass(frozen=True)
class Scaling:
    """Attributes:
    rows: of one pass over the data.
    shift, scale: m and s of the features, (d,) float64; no shift is None.
    label_shift, label_scale: a and c.
    dense: whether rows are; then they are sparse on no host.
    """

    rows: int
    shift: np.ndarray | None
    scale: np.ndarray
    label_shift: float = 0.0
    label_scale: float = 1.0
    dense: bool = True

    @property
    def far(self) -> np.ndarray:
        """The columns whose factors stay 0, (f,); see ``FAR``."""
        return np.flatnonzero([] if self.shift is None else np.abs(self.shift) >= FAR * self.scale)

    def batch(self, batch: Batch) -> Batch:
        """A batch with its features scaled, dense only where all are, float32."""
        features = batch.features
        if isinstance(features, np.ndarray) and not self.dense:
            features = sp.csr_array(features)
        if isinstance(features, np.ndarray):
            moved = features if self.shift is None else features - self.shift
            return Batch((moved / self.scale).astype(np.float32), batch.labels)
        if self.shift is None:
            data = features.data
        else:
            features = canonical(features)
            data = features.data - self.shift[features.indices]
        data = (data / self.scale[features.indices]).astype(np.float32)
        scaled = copy.copy(features)  # a quarter of what a new array takes
        scaled.data = data
        return Batch(scaled, batch.labels)

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Scaled labels (n,), float32."""
        return ((labels - self.label_shift) / self.label_scale).astype(np.float32)

    def scores(self, scores: np.ndarray) -> np.ndarray:
        """Scores of the scaled machine, (n,), as they are of the labels."""
        return (scores * self.label_scale + self.label_shift).astype(np.float32)

    def restored(self, bias: np.ndarray, linear: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, ...]:
        """Bias (1,), linear weights (d,) and factors (d, k) on the features and labels as they are, float32; not finite
        where float32 cannot hold them."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._restored(bias, linear, factors)

    def _restored(self, bias: np.ndarray, linear: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, ...]:
        weights = self.label_scale * linear.astype(np.float64) / self.scale
        vectors = (np.sqrt(self.label_scale) * factors / self.scale[:, None]).astype(np.float32)
        offset = self.label_shift + self.label_scale * bias.astype(np.float64)
        if self.shift is None:
            return offset.astype(np.float32), weights.astype(np.float32), vectors
        exact = vectors.astype(np.float64)
        moved = self.shift[:, None] * exact  # m_j v_j
        total = moved.sum(axis=0)
        folded = (weights - np.einsum("dk,dk->d", exact, total - moved)).astype(np.float32)
        offset -= folded.astype(np.float64) @ self.shift + 0.5 * (total @ total - np.sum(moved * moved))
        return offset.astype(np.float32), folded, vectors


class Measure:
    """What one pass over the rows tells of their scale."""

    def __init__(self, width: int) -> None:
        self.rows = 0
        self._dense = True
        self._count, self._sum, self._squares = (np.zeros(width) for _ in range(3))
        self._labels: list[float] = [0.0, 0.0]

    def add(self, features: np.ndarray | sp.csr_array, labels: np.ndarray) -> None:
        """Rows (n, d) and their labels (n,)."""
        self.rows += len(labels)
        known = labels.astype(np.float64)
        self._labels = [self._labels[0] + float(known.sum()), self._labels[1] + float(known @ known)]
        if isinstance(features, np.ndarray):
            values = features.astype(np.float64)
            self._count += np.count_nonzero(values, axis=0)
            self._sum += values.sum(axis=0)
            self._squares += np.einsum("nd,nd->d", values, values)
            return
        self._dense = False
        features = canonical(features)
        places, values = features.indices, features.data.astype(np.float64)
        for total, parts in ((self._count, 1.0), (self._sum, values), (self._squares, values * values)):
            np.add.at(total, places, parts)  # an integer would take forty times as long

    def shared(self, hosts: Hosts) -> None:
        """Take in the rows of all hosts."""
        known = np.array([self.rows, *self._labels, not self._dense], float)
        known, self._count, self._sum, self._squares = hosts.sum(known, self._count, self._sum, self._squares)
        self.rows, self._labels, self._dense = int(known[0]), known[1:3].tolist(), not known[3]

    def scaling(self, *, shifted: bool, labels: bool) -> Scaling:
        """For a machine that may be ``shifted``, and where ``labels`` are numbers, not classes."""
        dense = self._dense and self._count.sum() >= DENSE_SHARE * self.rows * len(self._count)
        root = np.sqrt(self._squares / np.maximum(self._count, 1))
        length = np.sqrt(np.minimum(self._squares, self._count).sum() / self.rows)
        shift, scale = None, root if dense else np.maximum(root, min(length, 1.0))
        mean = self._sum / self.rows
        deviation = np.sqrt(np.maximum(self._squares / self.rows - mean * mean, 0))
        varies = (np.abs(mean) < _CONSTANT * deviation) & (dense | (self._count == self.rows))
        if shifted and (dense or varies.any()):
            if 1 < self.rows < FEW_ROWS:
                deviation[varies] = drawn_together(deviation[varies], self.rows)
            shift, scale = np.where(varies, mean, 0), np.where(varies, deviation, scale)
        scale[scale == 0] = 1
        if not labels:
            return Scaling(self.rows, shift, scale, dense=dense)
        mean_label = self._labels[0] / self.rows if shifted else 0.0
        spread = float(np.sqrt(max(self._labels[1] / self.rows - mean_label * mean_label, 0)))
        return Scaling(self.rows, shift, scale, float(mean_label), spread or 1.0, dense)
