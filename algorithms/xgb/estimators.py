"""XGBoost as scikit-learn's estimators."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.utils.metaestimators import available_if

from algorithms.arrays import ArrayStream
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

    @property
    def feature_importances_(self) -> np.ndarray:
        """The mean gain of the splits of each feature, (d,), summing to 1, as XGBoost's own estimators have it.

        Raises:
            AttributeError: the model is linear.
        """
        self._check_fitted()
        model: Any = self.model_
        return model.importances()

    @staticmethod
    def _classes(model: Any) -> int:
        return model.classes if model.objective.startswith(("binary:", "multi:")) and model.targets == 1 else 0

    def fit(  # type: ignore[override]
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        **others: Any,
    ) -> Self:
        """Train on the rows of ``X``, (n, d), with NaN for what is missing; labels ``y`` and weights are (n,).

        Raises:
            ValueError: the hyperparameters or the data cannot be used; the message names each.
        """
        self._refuse(others)
        return self._fit_weighted(X, y, sample_weight)

    def _fit(self, batch: Batch, told: dict[str, Any]) -> Self:
        return super()._fit(batch, told | _weighted(batch))

    def _is_first(self) -> bool:
        """Whether there is no model that rows could go on from."""
        return "model_" not in vars(self)

    def _go_on(self, batch: Batch, told: dict[str, Any]) -> Self:
        """Add ``num_round`` rounds on these rows, as a job with the model so far in its channel ``model``.

        Raises:
            ValueError: the hyperparameters or the rows cannot be used; the model is then as it was.
        """
        if self._is_first():
            return self._fit(batch, told)
        values = self._stated(batch, told | _weighted(batch))
        before: Any = self.model_
        if values.objective is not None and before.objective != values.target:
            raise ValueError(f"objective is {values.objective}, and the model's is {before.objective}")
        with tempfile.TemporaryDirectory() as folder:
            before.save(Path(folder))
            return self._train(values, {"train": ArrayStream(batch), "model": Path(folder)})


def _weighted(batch: Batch) -> dict[str, Any]:
    return {} if batch.weights is None else {"csv_weights": 1}


class XGBoostClassifier(Boosted, Classifies):
    """Boosted trees; see ``algorithms/xgb/README.md``.

    Attributes:
        classes_: the labels, sorted.
    """

    algorithm = "xgboost"
    fixed = frozenset({"objective", "num_class", "csv_weights"})

    def _kind(self, count: int) -> dict[str, Any]:
        return {"objective": "binary:logistic"} if count == 2 else {"objective": "multi:softprob", "num_class": count}

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Add ``num_round`` rounds on the rows of ``X``, (n, d), with labels ``y``, (n,), to the model so far.

        That may be from ``partial_fit``, ``fit`` or ``load``. Two classes start from a probability of 0.5, and not from
        their share in the first rows, which may be of one class.

        Args:
            classes: all labels that may come; needed where there is no model yet, for the rows may not have each.
            sample_weight: (n,); None for 1.

        Raises:
            ValueError: the hyperparameters, the rows or the labels cannot be used; the model is then as it was.
        """
        is_first = self._is_first()
        rows, labels, weights = self._rows(X, y, sample_weight, reset=is_first)
        numbers = self._numbers_of_batch(labels, classes, is_first=is_first)
        start = {"base_score": 0.5} if is_first and self.base_score is None and self._count() == 2 else {}
        return self._go_on(Batch(rows, numbers, weights), self._kind(self._count()) | start)

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row, (n,)."""
        score = self._ask(X)["score"]
        numbers = predicted_classes(self.model_.objective, score)  # type: ignore[attr-defined]
        return self.classes_[numbers.astype(np.int64)]

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]  # scikit-learn has no types
    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (n, classes), in the order of ``classes_``."""
        return self._probabilities(X)


class XGBoostRegressor(Boosted, Regresses):
    """Boosted trees; see ``algorithms/xgb/README.md``. ``objective`` may be any of XGBoost's for numbers."""

    algorithm = "xgboost"
    fixed = frozenset({"num_class", "csv_weights"})

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Add ``num_round`` rounds; see ``XGBoostClassifier.partial_fit``."""
        rows, labels, weights = self._rows(X, y, sample_weight, y_numeric=True, reset=self._is_first())
        return self._go_on(Batch(rows, self._numbers(labels), weights), self._kind())

    def _kind(self) -> dict[str, Any]:
        return {}
