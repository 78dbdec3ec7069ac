"""The trained model: k centers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from algorithms.common import mxnet_files
from algorithms.errors import ModelError
from algorithms.figures import Figure, Heatmap, Pictures, Sample, Table, largest, names_of, spread, strongest
from algorithms.interface import NO_PARAMETERS, Model
from algorithms.kmeans.lloyd import squared_norms
from recordio.batches import Batch, Features

_BLOCK_NUMBERS = 1 << 20  # numbers of a block of rows or of products: 8 MB
_LEAST_PICTURE, _MOST_PICTURES = 5, 100  # side of a picture that shows something; centers shown
_ROUNDING = 1e-12  # bound of what rounding does to a squared distance, relative to the norms that it is made of
_CANCELLED = 1e-6  # squared distances below this share of the norms are computed again, without cancellation


class KMeansModel(Model):
    """Finds the nearest center of each row.

    Attributes:
        centers: shape (k, d), float32.
    """

    def __init__(self, centers: np.ndarray) -> None:
        self.centers = np.ascontiguousarray(centers, dtype=np.float32)
        self._wide = self.centers.astype(np.float64)
        self._norms = squared_norms(self._wide)

    @property
    def feature_dim(self) -> int:
        """Number of features of a row."""
        return int(self.centers.shape[1])

    def predict(self, batch: Batch, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, np.ndarray]:
        """``closest_cluster``: the index of the nearest center, the lowest of several at exactly the same distance;
        ``distance_to_cluster``: the Euclidean distance to it. Both of shape (n,), float32.

        Raises:
            PredictionError: the rows have another number of features than the centers.
        """
        labels, squared = self.nearest(batch.features)
        with np.errstate(over="ignore"):  # a distance beyond float32 is infinite there
            return {
                "closest_cluster": labels.astype(np.float32),
                "distance_to_cluster": np.sqrt(squared).astype(np.float32),
            }

    def nearest(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Index of the nearest center (n,), and the squared distance to it (n,), float64, for rows (n, d).

        Raises:
            PredictionError: d is not the number of features of the centers.
        """
        count, dim = features.shape
        self.check_width(Batch(features))
        widest = len(self.centers) if sp.issparse(features) else max(dim, len(self.centers))
        step = max(1, _BLOCK_NUMBERS // widest)
        if count <= step:  # the usual request
            return self._nearest(features.astype(np.float64))
        labels, squared = np.empty(count, np.intp), np.empty(count)
        for start in range(0, count, step):
            rows = slice(start, start + step)
            labels[rows], squared[rows] = self._nearest(features[rows].astype(np.float64))
        return labels, squared

    def _nearest(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """By ||x||^2 - 2 x.c + ||c||^2; where rounding may decide, by ||x - c||^2."""
        norms = squared_norms(features)
        squared = np.asarray(features @ self._wide.T)  # (n, k)
        squared *= -2
        squared += self._norms
        squared += norms[:, None]
        labels = squared.argmin(axis=1)
        best = squared[np.arange(len(labels)), labels]
        scale = norms + self._norms[labels]
        rivals = squared - _ROUNDING * self._norms <= (best + _ROUNDING * (norms + scale))[:, None]
        unsure = (rivals.sum(axis=1) > 1) | (best < _CANCELLED * scale)
        for row in unsure.nonzero()[0] if unsure.any() else ():
            labels[row], best[row] = self._exactly(features[[row]], np.flatnonzero(rivals[row]))
        return labels, best

    def _exactly(self, row: Features, candidates: np.ndarray) -> tuple[int, float]:
        differences = (row if isinstance(row, np.ndarray) else row.toarray()) - self._wide[candidates]
        squared = np.einsum("ij,ij->i", differences, differences)
        best = int(squared.argmin())
        return int(candidates[best]), float(squared[best])

    def figures(self, sample: Sample | None) -> list[Figure]:
        """How many rows are nearest to each center, and the centers; as pictures where they are square."""
        figures: list[Figure] = []
        if sample is not None:
            counts = np.bincount(self.nearest(sample.rows.features)[0], minlength=len(self.centers))
            note = f"Of {len(sample.rows):,} rows of {sample.dataset}."
            names = [f"center {number}" for number in range(len(counts))]
            figures.append(largest("Rows nearest to each center", counts, names, note))
            figures += self._apart(sample) if sample.names else []
        side = math.isqrt(self.feature_dim)
        if side * side == self.feature_dim and side >= _LEAST_PICTURE:
            pictures = self.centers[:_MOST_PICTURES].reshape(-1, side, side)
            captions = [f"center {number}" for number in range(len(pictures))]
            note = f"The features of a center, as a picture of {side} by {side}."
            figures.append(Pictures(title="Centers", images=pictures, captions=captions, note=note))
        else:
            columns = names_of(sample)
            figures.append(Heatmap(title="Centers", values=self.centers, x="feature", y="center", columns=columns))
        return figures

    def _apart(self, sample: Sample) -> list[Table]:
        """Of each center the features that are furthest from their means."""
        mean, deviation = spread(sample)
        apart = (self.centers - mean) / np.where(deviation > 0, deviation, 1)
        note = f"In standard deviations from the mean of the rows of {sample.dataset}, the largest first."
        return strongest("What sets each center apart", apart, "center", sample, note=note)

    def save(self, directory: Path) -> None:
        """Write ``model_algo-1``: an MXNet list of one array, the centers."""
        mxnet_files.save(directory / mxnet_files.MODEL_FILE, [self.centers])


def load(directory: Path) -> KMeansModel:
    """The model that ``save``, SageMaker, or a user's ``mx.nd.save("model_algo-1", [centers])`` wrote.

    Raises:
        ModelError: there is no such file, or it holds something else.
    """
    path = mxnet_files.find(directory)
    arrays = mxnet_files.load(path)
    if not isinstance(arrays, list) or not _is_one_matrix([array.shape for array in arrays]):
        raise ModelError(f"'{path.name}' does not hold a k-means model: a list of one array of shape (k, features)")
    return KMeansModel(mxnet_files.float32(arrays[0], f"'{path.name}': the array of centers"))


def recognises(directory: Path) -> bool:
    """Whether the folder holds a list of exactly one matrix; reads the header only."""
    try:
        shapes = mxnet_files.shapes(mxnet_files.find(directory))
    except ModelError:
        return False
    return isinstance(shapes, list) and _is_one_matrix(shapes)


def _is_one_matrix(shapes: list[tuple[int, ...]]) -> bool:
    return len(shapes) == 1 and len(shapes[0]) == 2 and min(shapes[0]) > 0
