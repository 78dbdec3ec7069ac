"""The linear learner as scikit-learn's estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if

from algorithms.estimators.supervised import PredictsLabels, Regresses, Supervised, Unweighted


def _gives_probabilities(estimator: Any) -> bool:
    loss = estimator.model_.loss if hasattr(estimator, "model_") else estimator.loss
    if loss not in ("auto", "logistic", "softmax_loss"):
        raise AttributeError(f"loss={loss!r} gives scores and no probabilities")
    return True


class Linear(Supervised):
    """How many classes a model has."""

    @staticmethod
    def _classes(model: Any) -> int:
        return {"binary_classifier": 2, "multiclass_classifier": len(model.bias), "regressor": 0}[model.predictor_type]


class LinearLearnerClassifier(Linear, Unweighted, PredictsLabels):
    """Logistic regression, linear support vector machines and their like; see ``algorithms/linear_learner/README.md``.

    Attributes:
        classes_: the labels, sorted.
    """

    algorithm = "linear-learner"
    fixed = frozenset({"predictor_type", "num_classes"})

    def _kind(self, count: int) -> dict[str, Any]:
        if count == 2:
            return {"predictor_type": "binary_classifier"}
        return {"predictor_type": "multiclass_classifier", "num_classes": count}

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]  # scikit-learn has no types
    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """The probability of each class, (n, classes), in the order of ``classes_``."""
        return self._probabilities(X)


class LinearLearnerRegressor(Linear, Unweighted, Regresses):
    """Linear regression; see ``algorithms/linear_learner/README.md``."""

    algorithm = "linear-learner"
    fixed = frozenset({"predictor_type", "num_classes"})

    def _kind(self) -> dict[str, Any]:
        return {"predictor_type": "regressor"}
