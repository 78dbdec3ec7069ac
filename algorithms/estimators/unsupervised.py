"""Clusters, components and topics."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClusterMixin, TransformerMixin
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from algorithms.estimators.base import Estimator
from recordio.batches import Batch


class KMeans(ClusterMixin, TransformerMixin, Estimator):
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
        self.cluster_centers_ = self.model_.centers  # type: ignore[attr-defined]
        self.labels_ = found["closest_cluster"].astype(np.int32)
        self.inertia_ = float(np.square(found["distance_to_cluster"], dtype=np.float64).sum())
        return self

    def _check(self, values: Any, batch: Batch) -> None:
        if len(batch) < values.k:
            raise ValueError(f"n_samples={len(batch)} should be at least k={values.k}")

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The cluster of each row, (n,), int32."""
        return self._ask(X)["closest_cluster"].astype(np.int32)

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """The distance of each row to each center, (n, k)."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, accept_sparse="csr", dtype=np.float32)
        return euclidean_distances(rows, self.cluster_centers_).astype(np.float32, copy=False)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Minus the sum of squared distances, as scikit-learn's."""
        return -float(np.square(self._ask(X)["distance_to_cluster"], dtype=np.float64).sum())

    @property
    def _n_features_out(self) -> int:
        return int(self.cluster_centers_.shape[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class PCA(TransformerMixin, Estimator):
    """Principal components, the largest first; see ``algorithms/pca/README.md``.

    Attributes:
        components_: (num_components, d), float32.
        singular_values_: (num_components,), float32.
        mean_: (d,), float32; zeros with ``subtract_mean=False``.
    """

    algorithm = "pca"

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Find the components of the rows of ``X``, (n, d); ``y`` is ignored."""
        super().fit(X)
        model: Any = self.model_
        self.components_ = np.ascontiguousarray(model.v.T[::-1])
        self.singular_values_ = model.s[::-1].copy()
        self.mean_ = np.zeros(model.feature_dim, np.float32) if model.mean is None else model.mean
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """The projections, (n, num_components), float32."""
        return self._ask(X)["projection"][:, ::-1]

    def inverse_transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Rows (n, d) whose projections are ``X``."""
        check_is_fitted(self)
        return np.asarray(X) @ self.components_ + self.mean_

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class _Topics(TransformerMixin, Estimator):
    """Topics of documents, which are rows of counts.

    Attributes:
        components_: (num_topics, d): the probability of each word in each topic.
    """

    column: ClassVar[str]

    def _check(self, values: Any, batch: Batch) -> None:
        check_non_negative(batch.features, type(self).__name__)

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """The share of each topic in each document, (n, num_topics)."""
        return self._ask(X)[self.column]

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class LDA(_Topics):
    """Latent Dirichlet allocation; see ``algorithms/lda/README.md``.

    Attributes:
        components_: (num_topics, d): the probability of each word in each topic.
        alpha_: (num_topics,): the prior of the topics.
    """

    algorithm = "lda"
    column = "topic_mixture"

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Find the topics of the documents ``X``, counts of words, (n, d); ``y`` is ignored."""
        super().fit(X)
        model: Any = self.model_
        self.components_, self.alpha_ = model.beta, model.alpha
        return self


class NTM(_Topics):
    """The neural topic model; see ``algorithms/ntm/README.md``. Training needs Keras and TensorFlow.

    Attributes:
        components_: (num_topics, d): the probability of each word in each topic.
    """

    algorithm = "ntm"
    column = "topic_weights"

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Find the topics of the documents ``X``, counts of words, (n, d); ``y`` is ignored."""
        super().fit(X)
        model: Any = self.model_
        self.components_ = model.topics
        return self
