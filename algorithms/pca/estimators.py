"""Principal components as scikit-learn's estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from algorithms.estimators.base import Transforms


class PCA(Transforms):
    """Principal components, the largest first; see ``algorithms/pca/README.md``.

    Attributes:
        components_: (num_components, d), float32.
        singular_values_: (num_components,), float32.
        mean_: (d,), float32; zeros with ``subtract_mean=False``.
    """

    algorithm = "pca"

    def _learn(self) -> None:
        model: Any = self.model_
        self.components_ = np.ascontiguousarray(model.v.T[::-1])
        self.singular_values_ = model.s[::-1].copy()
        self.mean_ = np.zeros(model.feature_dim, np.float32) if model.mean is None else model.mean

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """The projections, (n, num_components), float32."""
        return self._ask(X)["projection"][:, ::-1]

    def inverse_transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Rows (n, d) whose projections are ``X``."""
        check_is_fitted(self)
        return np.asarray(X) @ self.components_ + self.mean_
