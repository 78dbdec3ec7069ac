"""k-means as scikit-learn's estimator."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClusterMixin
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils.validation import check_is_fitted

from algorithms.estimators.base import Transforms
from recordio.batches import Batch


class KMeans(ClusterMixin, Transforms):
    """Clusters; see ``algorithms/kmeans/README.md``.

    Attributes:
        cluster_centers_: (k, d), float32.
        labels_: (n,), int32: the cluster of each row.
        inertia_: the sum of squared distances of rows to their centers.
    """

    algorithm = "kmeans"

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Find the clusters of the rows of ``X``, (n, d); ``y`` is ignored."""
        super().fit(X)
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

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The cluster of each row, (n,), int32."""
        return self._ask(X)["closest_cluster"].astype(np.int32)

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """The distance of each row to each center, (n, k)."""
        check_is_fitted(self)
        rows = self._checked(X, reset=False)
        return euclidean_distances(rows, self.cluster_centers_).astype(np.float32, copy=False)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Minus the sum of squared distances, as scikit-learn's."""
        return -float(np.square(self._ask(X)["distance_to_cluster"], dtype=np.float64).sum())

    @property
    def _columns(self) -> int:
        return len(self.cluster_centers_)
