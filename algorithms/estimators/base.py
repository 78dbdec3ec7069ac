"""What the estimators share: a constructor made from a declaration, training from arrays, and the artifact."""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from algorithms import hyperparameters, loading, registry
from algorithms.answers import answer
from algorithms.archives import extract, pack
from algorithms.arrays import ArrayStream, QuietJob
from algorithms.errors import TrainingDataError
from algorithms.frames import no_number, not_numbered
from algorithms.interface import Algorithm, Model
from recordio.batches import Batch, canonical, check_sparse, without_zeros

logger = logging.getLogger("algorithms.estimators")

_SEEDS = 2**31 - 1
_BATCH = 500
_CHANNEL = re.compile(r"([Cc])hannel 'train'")


class Estimator(BaseEstimator):
    """The base of all estimators. A subclass names its ``algorithm``, and the ``fixed`` hyperparameters, which follow
    from the kind of estimator and are no arguments.

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

    def fit(self, X: Any, y: Any = None, **others: Any) -> Self:  # scikit-learn's name
        """Train on the rows of ``X``, (n, d); ``y`` is ignored.

        Raises:
            ValueError: the hyperparameters or the data cannot be used; the message names each.
            TypeError: there are ``others``.
        """
        self._refuse(others)
        rows = self._checked(X, ensure_min_samples=1)
        return self._fit(Batch(self._as_csr(rows)), {})

    def _refuse(self, others: Mapping[str, Any]) -> None:
        """Refuse unknown arguments of ``fit`` and ``partial_fit``; Python's error would name a base class."""
        for name in others:
            why = ": of the estimators XGBoost's alone take weights of rows" if name == "sample_weight" else ""
            raise TypeError(f"{type(self).__name__} is fitted without the argument '{name}'{why}")

    def _checked(self, X: Any, **options: Any) -> Any:
        """What scikit-learn's ``validate_data`` gives, float32, dense or CSR.

        Raises:
            ValueError: in scikit-learn's words; a value of a frame that is not a number is named with its column; see
                ``check_sparse``.
        """
        if sp.issparse(X):
            check_sparse(X)
        if found := no_number(X):
            raise ValueError(
                f"{found}, and numbers are expected: encode it (a text by OneHotEncoder, a date as days), or drop it"
            )
        return validate_data(self, X, accept_sparse="csr", dtype=np.float32, **options)

    def _as_csr(self, rows: Any) -> Any:
        """Rows as the readers give them: C-contiguous, or a CSR array if they are sparse."""
        if not sp.issparse(rows):
            return np.ascontiguousarray(rows)
        found = canonical(sp.csr_array(rows))
        return found if self._missing else without_zeros(found)

    def _fit(self, batch: Batch, told: dict[str, Any]) -> Self:
        """Train; ``told`` are hyperparameters that follow from the data and the kind of estimator.

        Raises:
            ImportError: a package that training needs is not installed.
        """
        values = self._stated(batch, told)
        self._check(values, batch)
        return self._train(values, {"train": ArrayStream(batch)})

    def _train(self, values: Any, channels: dict[str, Any]) -> Self:
        """Train as a job does with these parsed hyperparameters and channels.

        Raises:
            ImportError: see ``_fit``.
        """
        algorithm = registry.find(self.algorithm)
        try:
            with speaking_of_data():
                self.model_: Model = algorithm.fit(values, channels, QuietJob(self._seed(), logger))
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{type(self).__name__} is trained with the package '{error.name}', which is not installed: "
                f"pip install '.[{registry.ALGORITHMS[self.algorithm].extra}]' in a clone of this project"
            ) from error
        self._learn()
        return self

    def _stated(self, batch: Batch, told: dict[str, Any]) -> Any:
        """The parsed hyperparameters: the constructor's, what the rows tell, and those that are ``told``.

        Raises:
            HyperparameterError: some cannot be used.
        """
        algorithm = registry.find(self.algorithm)
        return hyperparameters.parse(algorithm.hyperparameters, _stated(self, algorithm, batch, told))

    def _seed(self) -> int:
        return int(check_random_state(getattr(self, "random_state", None)).randint(_SEEDS))  # XGBoost has a seed

    def _learn(self) -> None:
        """Set the attributes of scikit-learn's conventions from the model."""

    def _check(self, values: Any, batch: Batch) -> None:
        """Refuse rows that do not fit the parsed hyperparameters, in scikit-learn's words."""

    def _check_fitted(self) -> None:
        """Raises NotFittedError, a ValueError, where there is no model."""
        check_is_fitted(self)

    def _ask(self, X: Any) -> dict[str, Any]:
        batch = self._batch(X)
        return answer(self.model_, batch)

    def _batch(self, X: Any) -> Batch:
        """Rows for the model to predict.

        Raises:
            ValueError: there is no model, or the rows do not fit it.
        """
        self._check_fitted()
        if self.model_.takes_categories and (found := not_numbered(X)):
            raise ValueError(found)
        finite = "allow-nan" if self._missing else True
        return Batch(self._as_csr(self._checked(X, reset=False, ensure_all_finite=finite)))

    def save(self, path: str | Path) -> None:
        """Write the model as SageMaker's artifact: a ``model.tar.gz``, which ``algorithms.load`` and ``serve`` open."""
        self._check_fitted()
        with tempfile.TemporaryDirectory() as folder:
            self.model_.save(Path(folder))
            pack(Path(folder), Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """An estimator with the model of a folder or a ``model.tar.gz``, as ``save`` or SageMaker wrote it; or of what
        ``algorithms.load`` takes besides.

        The artifact has no hyperparameters: the estimator's are the defaults. Pickle keeps them. ``feature_names_in_``
        is there where the folder is that of a job whose columns had names.

        Raises:
            FileNotFoundError: there is no such path.
            ModelError: there is no model, or one of another kind.
        """
        return cls._with(loading.load(path, cls.algorithm))

    @classmethod
    def _with(cls, loaded: loading.LoadedModel) -> Self:
        estimator = cls()
        estimator.model_ = loaded.model
        if loaded.feature_dim is not None:
            estimator.n_features_in_ = loaded.feature_dim
        if loaded.feature_names is not None:
            estimator.feature_names_in_ = np.array(loaded.feature_names, object)
        estimator._learn()
        return estimator

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")  # scikit-learn looks for names that end in _, as lambda_ does

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "model_" in state:
            with tempfile.TemporaryDirectory() as folder:
                self.save(Path(folder) / "model.tar.gz")
                state["model_"] = (Path(folder) / "model.tar.gz").read_bytes()
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


@contextlib.contextmanager
def speaking_of_data() -> Iterator[None]:
    """Errors about the data say "the data" in place of "channel 'train'": estimators are given arrays, no channels."""
    try:
        yield
    except TrainingDataError as error:
        message = _CHANNEL.sub(lambda found: "The data" if found[1] == "C" else "the data", str(error))
        raise TrainingDataError(message) from error


class Transforms(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """The base of transformers: rows to the columns that the model computes, float32."""

    @property
    def _n_features_out(self) -> int:
        return int(self._columns)

    @property
    def _columns(self) -> int:
        """How many there are."""
        return len(self.components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


# ---- from declarations to constructors ------------------------------------------------------------------------------


def _arguments(cls: type[Estimator]) -> dict[str, hyperparameters.Field]:
    """The hyperparameters that are arguments of ``cls``, by attribute: those with an effect that it does not set
    itself."""
    found = hyperparameters.by_attribute(registry.find(cls.algorithm).hyperparameters)
    left_out = cls.fixed | {"tuning_objective_metric", "feature_dim"}
    return {name: field for name, field in found.items() if field.no_effect is None and name not in left_out}


def _constructor(cls: type[Estimator]) -> Any:
    """``__init__`` with a keyword for each hyperparameter, as its signature and its help say."""
    declared = _arguments(cls)
    defaults = {name: None if field.required else field.default for name, field in declared.items()}
    if "seed" not in defaults:
        defaults["random_state"] = None

    def __init__(self: Estimator, **given: Any) -> None:  # noqa: N807
        for name in given:
            if name not in defaults:
                raise TypeError(f"{cls.__name__}() got an unexpected keyword argument '{name}'")
        for name, default in defaults.items():
            setattr(self, name, given.get(name, default))

    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in defaults.items()
    ]
    __init__.__qualname__ = f"{cls.__qualname__}.__init__"  # as errors name it
    __init__.__signature__ = inspect.Signature([me, *keywords])  # type: ignore[attr-defined]
    lines = [f"{name}: {field.help} {_sentence(field.expected())}" for name, field in declared.items()]
    if "random_state" in defaults:
        lines.append("random_state: an integer for the same model every time, a RandomState, or None.")
    __init__.__doc__ = "\n".join(["Take hyperparameters by name.", "", "Args:", *(f"    {line}" for line in lines)])
    return __init__


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."  # str.capitalize makes JSON json


def _stated(estimator: Estimator, algorithm: type[Algorithm], batch: Batch, told: dict[str, Any]) -> dict[str, str]:
    """The hyperparameters as a job states them. Defaults are left out, as the algorithm may adapt them to the data."""
    declared = hyperparameters.by_attribute(algorithm.hyperparameters)
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


def _unpacked(algorithm: str, content: bytes) -> Model:
    with tempfile.TemporaryDirectory() as base:
        archive, folder = Path(base) / "model.tar.gz", Path(base) / "model"
        archive.write_bytes(content)
        folder.mkdir()
        extract(archive, folder)
        return registry.find(algorithm).load(folder)
