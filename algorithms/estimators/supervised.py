"""Classes and numbers, learned from labels."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from algorithms.estimators.base import Estimator, as_csr
from recordio.batches import Batch


class _Supervised(Estimator):
    def _rows(self, X: Any, y: Any, sample_weight: Any, **options: Any) -> tuple[Any, Any, Any]:  # noqa: N803
        finite = "allow-nan" if self._missing else True
        rows, labels = validate_data(
            self, X, y, accept_sparse="csr", dtype=np.float32, ensure_all_finite=finite, **options
        )
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, rows, dtype=np.float32)
        return as_csr(rows), labels, weights


class _Classifier(ClassifierMixin, _Supervised):
    """
    Attributes:
        classes_: the labels, sorted.
    """

    _several: ClassVar[bool] = True

    def _fit_weighted(self, X: Any, y: Any, sample_weight: Any) -> Self:  # noqa: N803
        rows, labels, weights = self._rows(X, y, sample_weight)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        count = len(self.classes_)
        if count < 2:
            raise ValueError(f"{type(self).__name__} needs two classes or more; y has one class: {self.classes_[0]!r}")
        if count > 2 and not self._several:
            raise ValueError(
                f"Only binary classification is supported by {type(self).__name__}. "
                "The type of the target is multiclass"
            )
        return self._fit(Batch(rows, numbers.astype(np.float32), weights), self._kind(count))

    def _kind(self, count: int) -> dict[str, Any]:
        """Hyperparameters for so many classes."""
        raise NotImplementedError

    def _probabilities(self, X: Any) -> np.ndarray:  # noqa: N803
        score = self._ask(X)["score"]
        return score if score.ndim == 2 else np.stack([1 - score, score], axis=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = self._several
        return tags


class _Regressor(RegressorMixin, _Supervised):
    def _fit_weighted(self, X: Any, y: Any, sample_weight: Any) -> Self:  # noqa: N803
        rows, labels, weights = self._rows(X, y, sample_weight, y_numeric=True)
        return self._fit(Batch(rows, labels.astype(np.float32), weights), self._kind())

    def _kind(self) -> dict[str, Any]:
        """Hyperparameters of this kind."""
        raise NotImplementedError

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The number predicted of each row, (n,), float32."""
        return self._ask(X)["score"].astype(np.float32)


class _Unweighted(_Supervised):
    def fit(self, X: Any, y: Any) -> Self:  # type: ignore[override]  # noqa: N803
        """Train on the rows of ``X``, (n, d), and their labels ``y``, (n,).

        Raises:
            ValueError: the hyperparameters or the data cannot be used; the message names each.
        """
        return self._fit_weighted(X, y, None)


class _PredictsLabels(_Classifier):
    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The class of each row, (n,)."""
        numbers = self._ask(X)["predicted_label"].astype(np.int64)
        return self.classes_[numbers]


def _gives_probabilities(estimator: Any) -> bool:
    if estimator.loss not in ("auto", "logistic", "softmax_loss"):
        raise AttributeError(f"loss={estimator.loss!r} gives scores and no probabilities")
    return True


class LinearLearnerClassifier(_Unweighted, _PredictsLabels):
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

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """The probability of each class, (n, classes), in the order of ``classes_``."""
        return self._probabilities(X)


class LinearLearnerRegressor(_Unweighted, _Regressor):
    """Linear regression; see ``algorithms/linear_learner/README.md``."""

    algorithm = "linear-learner"
    fixed = frozenset({"predictor_type", "num_classes"})

    def _kind(self) -> dict[str, Any]:
        return {"predictor_type": "regressor"}


class FactorizationMachinesClassifier(_Unweighted, _PredictsLabels):
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


class FactorizationMachinesRegressor(_Unweighted, _Regressor):
    """Numbers by pairs of features; see ``algorithms/factorization_machines/README.md``."""

    algorithm = "factorization-machines"
    fixed = frozenset({"predictor_type"})

    def _kind(self) -> dict[str, Any]:
        return {"predictor_type": "regressor"}


class _Boosted(_Supervised):
    """XGBoost's NaN are missing values, and rows may have weights."""

    _missing = True

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # type: ignore[override]  # noqa: N803
        """Train on the rows of ``X``, (n, d), with NaN for what is missing; labels ``y`` and weights are (n,).

        Raises:
            ValueError: the hyperparameters or the data cannot be used; the message names each.
        """
        return self._fit_weighted(X, y, sample_weight)

    def _fit(self, batch: Batch, told: dict[str, Any]) -> Self:
        return super()._fit(batch, told | ({} if batch.weights is None else {"csv_weights": 1}))


class XGBoostClassifier(_Boosted, _Classifier):
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
        numbers = self._probabilities(X).argmax(axis=1)
        return self.classes_[numbers]

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """The probability of each class, (n, classes), in the order of ``classes_``."""
        return self._probabilities(X)


class XGBoostRegressor(_Boosted, _Regressor):
    """Boosted trees; see ``algorithms/xgb/README.md``. ``objective`` may be any of XGBoost's for numbers."""

    algorithm = "xgboost"
    fixed = frozenset({"num_class", "csv_weights"})

    def _kind(self) -> dict[str, Any]:
        return {}
