"""Estimators that learn classes or numbers from labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets
from sklearn.utils.validation import _check_sample_weight

from algorithms import loading
from algorithms.errors import ModelError
from algorithms.estimators.base import Estimator
from recordio.batches import Batch


def _refuse_texts(y: Any) -> None:
    """Raises ValueError for a label that is a text and not a number; NumPy's error names neither ``y`` nor a way
    out."""
    values = np.asarray(y)
    for value in values.ravel() if values.dtype.kind in "OU" else ():
        try:
            float(value if isinstance(value, str) else 0)
        except ValueError:
            raise ValueError(
                f"y has the text {str(value)!r}, and numbers are expected; for classes there are the classifiers"
            ) from None


class Supervised(ABC, Estimator):
    """The base of estimators that are trained from rows and labels, checked in scikit-learn's words."""

    def _rows(self, X: Any, y: Any, sample_weight: Any, **options: Any) -> tuple[Any, Any, Any]:
        if options.get("y_numeric"):
            _refuse_texts(y)
        finite = "allow-nan" if self._missing else True
        rows, labels = self._checked(X, y=y, ensure_all_finite=finite, **options)
        weights = sample_weight
        if weights is not None:
            weights = _check_sample_weight(weights, rows, dtype=np.float32, ensure_non_negative=True)
        return self._as_csr(rows), labels, weights

    @staticmethod
    @abstractmethod
    def _classes(model: Any) -> int:
        """The number of classes of a model; 0 for a regression."""


class Classifies(ClassifierMixin, Supervised):
    """The base of classifiers. Classes are numbered in the order of their labels; ``_kind`` of a subclass gives the
    hyperparameters that make the algorithm classify.

    Attributes:
        classes_: the labels, sorted.
    """

    _several: ClassVar[bool] = True

    def _fit_weighted(self, X: Any, y: Any, sample_weight: Any) -> Self:
        rows, labels, weights = self._rows(X, y, sample_weight)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        return self._fit(Batch(rows, numbers.astype(np.float32), weights), self._kind(self._count()))

    def _count(self) -> int:
        """The number of classes. Raises ValueError if this estimator cannot have so many."""
        count = len(self.classes_)
        if count < 2:
            only = self.classes_.tolist()[0]
            raise ValueError(f"{type(self).__name__} needs two classes or more; y has one class: {only!r}")
        if count > 2 and not self._several:
            raise ValueError(
                f"Only binary classification is supported by {type(self).__name__}. "
                "The type of the target is multiclass"
            )
        return count

    @classmethod
    def load(cls, path: str | Path, classes: Any = None) -> Self:
        """See ``Estimator.load``. The artifact has numbers in place of labels.

        Args:
            classes: the labels, sorted, as ``classes_`` of the estimator that was saved; None for 0, 1, 2, …

        Raises:
            ValueError: there are not as many of them as the model has, or two are the same.
        """
        loaded = loading.load(path, cls.algorithm)
        count = cls._classes(loaded.model)
        if not count:
            raise ModelError(f"'{path}' is no model of classes that {cls.__name__} can be; algorithms.load takes it")
        labels = np.arange(count) if classes is None else np.asarray(classes)
        if labels.shape != (count,):
            raise ValueError(f"classes has {len(labels)} labels; the model in '{path}' has {count} classes")
        if len(set(labels.tolist())) < count:
            raise ValueError(f"classes has a label twice: {', '.join(map(str, labels.tolist()))}")
        estimator = cls._with(loaded)
        estimator.classes_ = labels
        return estimator

    def _numbers_of_batch(self, labels: np.ndarray, classes: Any, *, is_first: bool) -> np.ndarray:
        """The class numbers of a batch's labels, float32. The first batch comes with all ``classes``, which it may
        lack.

        Raises:
            ValueError: in scikit-learn's words, or one of the labels is none of the classes.
        """
        check_classification_targets(labels)
        if is_first:
            self.__dict__.pop("classes_", None)  # of a first call that failed
        _check_partial_fit_first_call(self, classes)
        unknown = np.setdiff1d(labels, self.classes_)
        if unknown.size:
            raise ValueError(
                f"y has {unknown.tolist()[0]!r}, which is none of the classes of the first call: {self.classes_}"
            )
        return np.searchsorted(self.classes_, labels).astype(np.float32)

    @abstractmethod
    def _kind(self, count: int) -> dict[str, Any]:
        """Hyperparameters for ``count`` classes."""

    def _probabilities(self, X: Any) -> np.ndarray:
        score = self._ask(X)["score"]
        return score if score.ndim == 2 else np.stack([1 - score, score], axis=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = self._several
        return tags


class Regresses(RegressorMixin, Supervised):
    """The base of regressors, which predict the column ``score``. ``_kind`` of a subclass gives the hyperparameters."""

    def _fit_weighted(self, X: Any, y: Any, sample_weight: Any) -> Self:
        rows, labels, weights = self._rows(X, y, sample_weight, y_numeric=True)
        return self._fit(Batch(rows, self._numbers(labels), weights), self._kind())

    @staticmethod
    def _numbers(labels: np.ndarray) -> np.ndarray:
        """The labels in float32. Raises ValueError if they are dates, or beyond its range."""
        if np.asarray(labels).dtype.kind in "mM":
            raise ValueError(f"y has dates, times or durations ({labels.dtype}), and numbers are expected")
        with np.errstate(over="ignore"):
            labels = labels.astype(np.float32)
        if not np.isfinite(labels).all():
            raise ValueError("y has a value beyond the range of float32, in which models are trained")
        return labels

    @classmethod
    def _with(cls, loaded: loading.LoadedModel) -> Self:
        if cls._classes(loaded.model):
            raise ModelError(f"the model is one of classes, and {cls.__name__} predicts numbers")
        return super()._with(loaded)

    @abstractmethod
    def _kind(self) -> dict[str, Any]:
        """Hyperparameters of this kind."""

    def predict(self, X: Any) -> np.ndarray:
        """The number predicted of each row, (n,), float32."""
        return self._ask(X)["score"].astype(np.float32)


class Unweighted(Supervised):
    """``fit`` of algorithms without weights of rows."""

    def fit(self, X: Any, y: Any, **others: Any) -> Self:  # type: ignore[override]
        """Train on the rows of ``X``, (n, d), and their labels ``y``, (n,).

        Raises:
            ValueError: the hyperparameters or the data cannot be used; the message names each.
            TypeError: there are ``others``.
        """
        self._refuse(others)
        return self._fit_weighted(X, y, None)


class PredictsLabels(Classifies):
    """``predict`` of classes by the column ``predicted_label``."""

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row, (n,)."""
        numbers = self._ask(X)["predicted_label"].astype(np.int64)
        return self.classes_[numbers]
