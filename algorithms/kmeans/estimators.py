"""k-means as scikit-learn's estimator."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClusterMixin
from sklearn.metrics.pairwise import euclidean_distances

from algorithms.arrays import QuietJob
from algorithms.checkpoints import Checkpoint
from algorithms.estimators.streams import Streams
from algorithms.kmeans.checkpoints import Place, resume, to_checkpoint
from algorithms.kmeans.final import finalize
from algorithms.kmeans.fit import final_random, initialize, options_of, see
from algorithms.kmeans.model import KMeansModel
from algorithms.kmeans.state import State
from recordio.batches import Batch, cut


class KMeans(ClusterMixin, Streams):
    """Clusters; see ``algorithms/kmeans/README.md``.

    Attributes:
        cluster_centers_: (k, d), float32.
        labels_: (n,), int32: the cluster of each row; of ``fit`` alone.
        inertia_: the sum of squared distances of rows to their centers; of ``fit`` alone.
    """

    algorithm = "kmeans"

    def fit(self, X: Any, y: Any = None, **others: Any) -> Self:
        """Find the clusters of the rows of ``X``, (n, d); ``y`` is ignored."""
        super().fit(X, **others)
        found = self._ask(X)
        self.labels_ = found["closest_cluster"].astype(np.int32)
        self.inertia_ = float(np.square(found["distance_to_cluster"], dtype=np.float64).sum())
        return self

    def _learn(self) -> None:
        self.cluster_centers_ = self.model_.centers  # type: ignore[attr-defined]

    def _fit(self, batch: Batch, told: dict[str, Any]) -> Self:
        """Train in batches of no more rows than there are: nobody has to be warned of the default."""
        size = self.mini_batch_size
        if isinstance(size, int) and size > len(batch):
            told = told | {"mini_batch_size": len(batch)}
        return super()._fit(batch, told)

    def _check(self, values: Any, batch: Batch) -> None:
        if len(batch) < values.k:
            raise ValueError(f"n_samples={len(batch)} should be at least k={values.k}")

    def _begin(self, values: Any, job: QuietJob) -> State:
        return initialize(values, job.seed, job.hosts)

    def _see(self, state: State, batch: Batch, values: Any) -> None:
        for part in cut([batch], values.mini_batch_size):
            see(state, values.k, part.features)

    def _needed(self, values: Any) -> int:
        return int(values.k)

    def _finish(self, state: State, values: Any, job: QuietJob) -> KMeansModel:
        found = finalize(state, values.k, options_of(values), final_random(job.seed), job.info)
        return KMeansModel(found.centers)

    def _taken_apart(self, state: State) -> Checkpoint:
        return to_checkpoint(state, Place())

    def _put_together(self, state: State, kept: Checkpoint) -> None:
        resume(state, kept)

    def predict(self, X: Any) -> np.ndarray:
        """The cluster of each row, (n,), int32."""
        return self._ask(X)["closest_cluster"].astype(np.int32)

    def transform(self, X: Any) -> np.ndarray:
        """The distance of each row to each center, (n, k)."""
        self._check_fitted()
        rows = self._checked(X, reset=False)
        return euclidean_distances(rows, self.cluster_centers_).astype(np.float32, copy=False)

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the sum of squared distances, as scikit-learn's."""
        return -float(np.square(self._ask(X)["distance_to_cluster"], dtype=np.float64).sum())

    @property
    def _columns(self) -> int:
        return len(self.cluster_centers_)
