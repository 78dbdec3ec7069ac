"""XGBoost as scikit-learn's estimators."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils.metaestimators import available_if

from algorithms.estimators.supervised import Classifies, Regresses, Supervised
from algorithms.xgb.outputs import predicted_classes
from recordio.batches import Batch


def _gives_probabilities(estimator: Any) -> bool:
    objective = estimator.model_.objective if hasattr(estimator, "model_") else "binary:logistic"
    if objective not in ("binary:logistic", "multi:softprob"):
        raise AttributeError(f"objective={objective!r} gives classes and no probabilities")
    return True


class Boosted(Supervised):
    """XGBoost's NaN are missing values, and rows may have weights."""

    _missing = True

    @staticmethod
    def _classes(model: Any) -> int:
        return model.classes if model.objective.startswith(("binary:", "multi:")) and model.targets == 1 else 0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # type: ignore[override]  # noqa: N803
        """Train on the rows of ``X``, (n, d), with NaN for what is missing; labels ``y`` and weights are (n,).

        Raises:
            ValueError: the hyperparameters or the data cannot be used; the message names each.
        """
        return self._fit_weighted(X, y, sample_weight)

    def _fit(self, batch: Batch, told: dict[str, Any]) -> Self:
        return super()._fit(batch, told | ({} if batch.weights is None else {"csv_weights": 1}))


class XGBoostClassifier(Boosted, Classifies):
    """Boosted trees; see ``algorithms/xgb/README.md``.

    Attributes:
        classes_: the labels, sorted.
    """

    algorithm = "xgboost"
    fixed = frozenset({"objective", "num_class", "csv_weights"})

    def _kind(self, count: int) -> dict[str, Any]:
        return {"objective": "binary:logistic"} if count == 2 else {"objective": "multi:softprob", "num_class": count}

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The class of each row, (n,)."""
        score = self._ask(X)["score"]
        numbers = predicted_classes(self.model_.objective, score)  # type: ignore[attr-defined]
        return self.classes_[numbers.astype(np.int64)]

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]  # scikit-learn has no types
    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """The probability of each class, (n, classes), in the order of ``classes_``."""
        return self._probabilities(X)


class XGBoostRegressor(Boosted, Regresses):
    """Boosted trees; see ``algorithms/xgb/README.md``. ``objective`` may be any of XGBoost's for numbers."""

    algorithm = "xgboost"
    fixed = frozenset({"num_class", "csv_weights"})

    def _kind(self) -> dict[str, Any]:
        return {}
