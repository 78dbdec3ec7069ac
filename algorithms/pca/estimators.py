"""Principal components as scikit-learn's estimator."""

from __future__ import annotations

from typing import Any

import numpy as np

from algorithms import pca
from algorithms.arrays import QuietJob
from algorithms.checkpoints import Checkpoint
from algorithms.estimators.streams import Streams
from algorithms.pca.fit import State
from algorithms.pca.model import PCAModel
from recordio.batches import Batch


class PCA(Streams):
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

    def _begin(self, values: Any, job: QuietJob) -> State:
        return pca.new_state(values, job)

    def _see(self, state: State, batch: Batch, values: Any) -> None:
        state.update(batch.features)

    def _needed(self, values: Any) -> int:
        return int(values.num_components)

    def _finish(self, state: State, values: Any, job: QuietJob) -> PCAModel:
        return pca.model_of(state.finalize(values.num_components))

    def _taken_apart(self, state: State) -> Checkpoint:
        return Checkpoint("", arrays=state.to_arrays())

    def _put_together(self, state: State, kept: Checkpoint) -> None:
        state.from_arrays(kept.arrays)

    def transform(self, X: Any) -> np.ndarray:
        """The projections, (n, num_components), float32."""
        return self._ask(X)["projection"][:, ::-1]

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Rows (n, d) whose projections are ``X``."""
        self._check_fitted()
        return np.asarray(X) @ self.components_ + self.mean_
