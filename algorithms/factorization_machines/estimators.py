"""Factorization machines as scikit-learn's estimators."""

from __future__ import annotations

from typing import Any

import numpy as np

from algorithms.estimators.supervised import PredictsLabels, Regresses, Supervised, Unweighted


class Machines(Supervised):
    """How many classes a model has."""

    @staticmethod
    def _classes(model: Any) -> int:
        return 0 if model.predictor_type == "regressor" else 2


class FactorizationMachinesClassifier(Machines, Unweighted, PredictsLabels):
    """Two classes by pairs of features; see ``algorithms/factorization_machines/README.md``.

    Attributes:
        classes_: the labels, sorted.
    """

    algorithm = "factorization-machines"
    fixed = frozenset({"predictor_type"})
    _several = False

    def _kind(self, count: int) -> dict[str, Any]:
        return {"predictor_type": "binary_classifier"}

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """The probability of each class, (n, 2), in the order of ``classes_``."""
        return self._probabilities(X)


class FactorizationMachinesRegressor(Machines, Unweighted, Regresses):
    """Numbers by pairs of features; see ``algorithms/factorization_machines/README.md``."""

    algorithm = "factorization-machines"
    fixed = frozenset({"predictor_type"})

    def _kind(self) -> dict[str, Any]:
        return {"predictor_type": "regressor"}
