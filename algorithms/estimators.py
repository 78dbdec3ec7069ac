"""The algorithms as scikit-learn's estimators, made from their declarations.

Every hyperparameter with an effect is a constructor argument of the same name and default (``lambda_`` for ``lambda``,
as Python keeps that word), in Python's types or as a job's strings; what a job must state, but the data tells, may be
left out: ``feature_dim``, ``num_classes`` and ``num_class``, and ``mini_batch_size`` where it has no default.
scikit-learn is imported here and nowhere else.

    >>> import numpy as np
    >>> from algorithms.estimators import KMeans
    >>> X = np.float32([[0, 0], [0, 1], [9, 9], [9, 8]])
    >>> found = KMeans(k=2, random_state=0).fit(X)
    >>> found.cluster_centers_[found.predict([[8, 8]])].tolist()
    [[9.0, 8.5]]

``KMeans``, ``PCA``, ``LDA``, ``NTM``; and of the three that predict labels one that classifies and one for numbers:
``LinearLearnerClassifier`` and ``LinearLearnerRegressor``, ``FactorizationMachinesClassifier`` and
``FactorizationMachinesRegressor``, ``XGBoostClassifier`` and ``XGBoostRegressor``. Image classification and seq2seq
have none: their data is no matrix of features. There is no ``partial_fit``: each of them reads its data several times,
or decides by all of it.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import logging
import tarfile
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, ClusterMixin, RegressorMixin, TransformerMixin
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from algorithms import hyperparameters, registry
from algorithms.archives import extract
from algorithms.arrays import ArrayStream, QuietJob
from algorithms.interface import Algorithm, Model
from recordio.batches import Batch

logger = logging.getLogger(__name__)

_SEEDS = 2**31 - 1
_BATCH = 500


class _Estimator(BaseEstimator):
    """What all of them share. A subclass names its ``algorithm``, and ``fixed`` hyperparameters that follow from what
    kind of estimator it is.

    Attributes:
        model_: the trained ``algorithms.interface.Model``.
    """

    algorithm: ClassVar[str]
    fixed: ClassVar[frozenset[str]] = frozenset()
    _missing: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "algorithm" in cls.__dict__:
            cls.__init__ = _constructor(cls)  # type: ignore[method-assign]

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Train on the rows of ``X``, (n, d); ``y`` is ignored.

        Raises:
            ValueError: the hyperparameters or the data cannot be used; the message names each.
        """
        rows = validate_data(self, X, accept_sparse="csr", dtype=np.float32, ensure_min_samples=1)
        return self._fit(Batch(_csr(rows)), {})

    def _fit(self, batch: Batch, told: dict[str, Any]) -> Self:
        """Train; ``told`` are hyperparameters that the data and the kind of estimator say."""
        algorithm = registry.find(self.algorithm)
        values = hyperparameters.parse(algorithm.hyperparameters, _stated(self, algorithm, batch, told))
        seed = int(check_random_state(self.random_state).randint(_SEEDS))
        self.model_: Model = algorithm.fit(values, {"train": ArrayStream(batch)}, QuietJob(seed, logger))
        return self

    def _ask(self, X: Any) -> dict[str, Any]:  # noqa: N803
        check_is_fitted(self)
        finite = "allow-nan" if self._missing else True
        rows = validate_data(
            self, X, reset=False, accept_sparse="csr", dtype=np.float32, ensure_all_finite=finite
        )
        return self.model_.predict(Batch(_csr(rows)))

    def save(self, path: str | Path) -> None:
        """Write the model as SageMaker's artifact: a ``model.tar.gz``, which ``algorithms.load`` and ``serve`` open."""
        check_is_fitted(self)
        Path(path).write_bytes(_packed(self.model_))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = _packed(state["model_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state.get("model_"), bytes):
            state = state | {"model_": _unpacked(self.algorithm, state["model_"])}
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self._missing
        return tags


# ---- without labels -------------------------------------------------------------------------------------------------


class KMeans(ClusterMixin, TransformerMixin, _Estimator):
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

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The cluster of each row, (n,), int32."""
        return self._ask(X)["closest_cluster"].astype(np.int32)

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """The distance of each row to each center, (n, k)."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, accept_sparse="csr", dtype=np.float32)
        return euclidean_distances(rows, self.cluster_centers_)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Minus the sum of squared distances, as scikit-learn's."""
        return -float(np.square(self._ask(X)["distance_to_cluster"], dtype=np.float64).sum())

    @property
    def _n_features_out(self) -> int:
        return int(self.cluster_centers_.shape[0])


class PCA(TransformerMixin, _Estimator):
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


class _Topics(TransformerMixin, _Estimator):
    """Topics of documents, which are rows of counts.

    Attributes:
        components_: (num_topics, d): the probability of each word in each topic.
    """

    column: ClassVar[str]

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """The share of each topic in each document, (n, num_topics)."""
        return self._ask(X)[self.column]

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
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


# ---- with labels ----------------------------------------------------------------------------------------------------


class _Supervised(_Estimator):
    def _rows(self, X: Any, y: Any, sample_weight: Any, **options: Any) -> tuple[Any, Any, Any]:  # noqa: N803
        finite = "allow-nan" if self._missing else True
        rows, labels = validate_data(
            self, X, y, accept_sparse="csr", dtype=np.float32, ensure_all_finite=finite, **options
        )
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, rows, dtype=np.float32)
        return _csr(rows), labels, weights


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
                f"Only binary classification is supported by {type(self).__name__}. The type of the target is multiclass"
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
    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Train on the rows of ``X``, (n, d), and their labels ``y``, (n,).

        Raises:
            ValueError: the hyperparameters or the data cannot be used; the message names each.
        """
        return self._fit_weighted(X, y, None)  # type: ignore[attr-defined]


class _PredictsLabels(_Classifier):
    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The class of each row, (n,)."""
        return self.classes_[self._ask(X)["predicted_label"].astype(np.int64)]


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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train on the rows of ``X``, (n, d), with NaN for what is missing; labels ``y`` and weights are (n,).

        Raises:
            ValueError: the hyperparameters or the data cannot be used; the message names each.
        """
        return self._fit_weighted(X, y, sample_weight)  # type: ignore[attr-defined]

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
        return self.classes_[self._probabilities(X).argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """The probability of each class, (n, classes), in the order of ``classes_``."""
        return self._probabilities(X)


class XGBoostRegressor(_Boosted, _Regressor):
    """Boosted trees; see ``algorithms/xgb/README.md``. ``objective`` may be any of XGBoost's for numbers."""

    algorithm = "xgboost"
    fixed = frozenset({"num_class", "csv_weights"})

    def _kind(self) -> dict[str, Any]:
        return {}


# ---- from declarations to constructors ------------------------------------------------------------------------------


def _arguments(cls: type[_Estimator]) -> dict[str, hyperparameters.Field]:
    """The hyperparameters that ``cls`` takes, by attribute: those with an effect that it does not set itself."""
    declaration = registry.find(cls.algorithm).hyperparameters
    found = {item.name: item.metadata["hyperparameter"] for item in dataclasses.fields(declaration)}
    left_out = cls.fixed | {"tuning_objective_metric", "feature_dim"}
    return {name: field for name, field in found.items() if field.no_effect is None and name not in left_out}


def _constructor(cls: type[_Estimator]) -> Any:
    """``__init__`` with a keyword for each hyperparameter, as its signature and its help say."""
    declared = _arguments(cls)
    defaults = {name: None if field.required else _shown(field.default) for name, field in declared.items()}
    if "seed" not in defaults:
        defaults["random_state"] = None

    def __init__(self: _Estimator, **given: Any) -> None:  # noqa: N807
        for name in given:
            if name not in defaults:
                raise TypeError(f"{cls.__name__}() got an unexpected keyword argument '{name}'")
        for name, default in defaults.items():
            setattr(self, name, given.get(name, default))

    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in defaults.items()]
    __init__.__signature__ = inspect.Signature([me, *keywords])  # type: ignore[attr-defined]
    lines = [f"{name}: {field.help} {field.expected().capitalize()}." for name, field in declared.items()]
    if "random_state" in defaults:
        lines.append("random_state: an integer for the same model every time, a RandomState, or None.")
    __init__.__doc__ = "\n".join(["Args:", *(f"    {line}" for line in lines)])
    return __init__


def _shown(default: Any) -> Any:
    """A default that scikit-learn's ``clone`` and ``repr`` can compare: no tuples of several types, no functions."""
    return default


def _stated(estimator: _Estimator, algorithm: type[Algorithm], batch: Batch, told: dict[str, Any]) -> dict[str, str]:
    """A job's strings. A default is not stated, for the algorithm may adapt it to the data."""
    declared = {item.name: item.metadata["hyperparameter"] for item in dataclasses.fields(algorithm.hyperparameters)}
    arguments = _arguments(type(estimator))
    values = {
        name: value
        for name, field in arguments.items()
        if (value := getattr(estimator, name)) is not None and not _same(value, field.default)
    }
    if "feature_dim" in declared:
        values["feature_dim"] = batch.feature_dim
    if "mini_batch_size" in declared and declared["mini_batch_size"].required:
        values.setdefault("mini_batch_size", min(_BATCH, len(batch)))
    return {declared[name].name or name: _text(value) for name, value in (values | told).items()}


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and value == default


def _text(value: Any) -> str:
    """As a job writes it: JSON, except that texts stand without quotes."""
    value = value.item() if isinstance(value, np.generic) else value
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return value if isinstance(value, str) else json.dumps(value)


def _csr(rows: Any) -> Any:
    import scipy.sparse as sp

    return sp.csr_array(rows) if sp.issparse(rows) else np.ascontiguousarray(rows)


def _packed(model: Model) -> bytes:
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=stream, mode="w:gz") as tar:
        model.save(Path(folder))
        for file in sorted(Path(folder).iterdir()):
            tar.add(file, file.name)
    return stream.getvalue()


def _unpacked(algorithm: str, content: bytes) -> Model:
    with tempfile.TemporaryDirectory() as base:
        archive, folder = Path(base) / "model.tar.gz", Path(base) / "model"
        archive.write_bytes(content)
        folder.mkdir()
        extract(archive, folder)
        return registry.find(algorithm).load(folder)
