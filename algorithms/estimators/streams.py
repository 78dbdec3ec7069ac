"""Estimators of algorithms whose state takes rows as they come: ``partial_fit``."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

from sklearn.utils.validation import check_is_fitted

from algorithms.arrays import QuietJob
from algorithms.checkpoints import Checkpoint
from algorithms.estimators.base import Estimator, Transforms, logger, speaking_of_data
from algorithms.estimators.supervised import Classifies, Regresses
from algorithms.interface import Model
from recordio.batches import Batch

_TOLD_FIRST = ("n_features_in_", "feature_names_in_", "classes_")


def _is_learned(name: str) -> bool:
    """Whether an attribute is learned from data, by scikit-learn's convention, and not set by the first batch."""
    return name.endswith("_") and not name.startswith("_") and name not in _TOLD_FIRST


@dataclass
class _Stream:
    """What ``partial_fit`` has seen.

    Attributes:
        values: the parsed hyperparameters, as they were at the first batch.
        seed: of all its random numbers.
        state: of bounded size, the algorithm's own; it has the number of ``rows``.
    """

    values: Any
    seed: int
    state: Any


class Streaming(ABC, Estimator):
    """The base of estimators with ``partial_fit``. The model is made when it is first asked for after a batch, as
    making it may take much longer than updating the state.

    A subclass implements the methods from ``_begin`` on. They take the algorithm's own state, parsed hyperparameters
    (``values``), and a job that has the seed.
    """

    _stream: _Stream | None = None

    def _fit(self, batch: Batch, told: dict[str, Any]) -> Self:
        """Train on these rows alone, whatever was seen before."""
        self._stream = None
        return super()._fit(batch, told)

    @property
    def _is_first(self) -> bool:
        """Whether the next batch is the first one, which fixes the number of features and the classes."""
        return self._stream is None

    def _check_goes_on(self) -> None:
        """Raises ValueError if there is a model that is not from ``partial_fit``, from which it cannot go on."""
        if self._stream is None and "model_" in vars(self):
            raise ValueError(
                f"this {type(self).__name__} has its model from fit or load, which keep nothing that partial_fit could "
                "go on from: give all batches to partial_fit, from the first one on (sklearn.base.clone starts anew)"
            )

    def _go_on(self, batch: Batch, told: dict[str, Any]) -> Self:
        """Update the state by these rows; for ``told`` see ``_fit``.

        Raises:
            ValueError: they cannot be used. Then the state, which has seen some of them, is dropped.
        """
        if self._stream is None:
            values, seed = self._stated(batch, told), self._seed()
            self._stream = _Stream(values, seed, self._begin(values, QuietJob(seed, logger)))
        self._forget()
        try:
            with speaking_of_data():
                self._see(self._stream.state, batch, self._stream.values)
        except Exception:
            self._stream = None
            raise
        return self

    def _forget(self) -> None:
        """Drop the model and all attributes that were learned from it, as the state has changed."""
        for name in [name for name in vars(self) if _is_learned(name)]:
            delattr(self, name)

    def __getattr__(self, name: str) -> Any:
        """A learned attribute, for which the model is made."""
        stream = self._stream
        if _is_learned(name) and stream is not None and "model_" not in vars(self) and self._has_enough(stream):
            self.model_ = self._finish(stream.state, stream.values, QuietJob(stream.seed, logger))
            self._learn()
            return getattr(self, name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def _has_enough(self, stream: _Stream) -> bool:
        return int(stream.state.rows) >= self._needed(stream.values)

    def _check_fitted(self) -> None:
        stream = self._stream
        if stream is None or self._has_enough(stream):
            check_is_fitted(self)
            return
        told = f"{stream.state.rows} of the {self._needed(stream.values)} rows or more that it needs"
        check_is_fitted(self, msg=f"This %(name)s instance is not fitted yet: partial_fit has seen {told}.")

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if (stream := state.get("_stream")) is not None:
            state["_stream"] = (stream.values, stream.seed, self._taken_apart(stream.state))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if isinstance(self._stream, tuple):
            values, seed, kept = self._stream
            self._stream = _Stream(values, seed, self._begin(values, QuietJob(seed, logger)))
            self._put_together(self._stream.state, copy.deepcopy(kept))  # of copy.copy, both would go on in its arrays

    @abstractmethod
    def _begin(self, values: Any, job: QuietJob) -> Any:
        """The state to start with."""

    @abstractmethod
    def _see(self, state: Any, batch: Batch, values: Any) -> None:
        """Update the state by these rows, n >= 1, whose features will not be changed."""

    @abstractmethod
    def _needed(self, values: Any) -> int:
        """The fewest rows for a model."""

    @abstractmethod
    def _finish(self, state: Any, values: Any, job: QuietJob) -> Model:
        """The model of the state, which remains as it is."""

    @abstractmethod
    def _taken_apart(self, state: Any) -> Checkpoint:
        """The state as a checkpoint."""

    @abstractmethod
    def _put_together(self, state: Any, kept: Checkpoint) -> None:
        """Restore a new state from the checkpoint of another."""


class Streams(Streaming, Transforms):
    """``partial_fit`` of rows without labels."""

    def partial_fit(self, X: Any, y: Any = None, **others: Any) -> Self:
        """Go on with the rows of ``X``, (n, d), n >= 1; ``y`` is ignored.

        The model is that of all rows since the first call, as ``fit`` would make it of them in one pass, in memory that
        does not grow with their number. There is none before there are enough rows. Hyperparameters hold as they are at
        the first call; pickle keeps what was seen, ``save`` the model alone.

        Raises:
            ValueError: the hyperparameters or the rows cannot be used, or the model is one of ``fit`` or ``load``,
                which keep nothing to go on from.
        """
        self._refuse(others)
        self._check_goes_on()
        rows = self._checked(X, ensure_min_samples=1, reset=self._is_first, copy=True)
        return self._go_on(Batch(self._as_csr(rows)), {})


class StreamsClasses(Streaming, Classifies):
    """``partial_fit`` of rows with class labels."""

    def partial_fit(self, X: Any, y: Any, classes: Any = None, **others: Any) -> Self:
        """Go on with the rows of ``X``, (n, d), n >= 1, and their labels ``y``, (n,), in steps of ``mini_batch_size``.

        Hyperparameters hold as they are at the first call; pickle keeps the optimizer's state, ``save`` the model.

        Args:
            classes: all labels that may come; needed in the first call, where the batch may not have each.

        Raises:
            ValueError: the hyperparameters, the rows or the labels cannot be used, or the model is one of ``fit`` or
                ``load``, and keeps nothing to go on from.
        """
        self._refuse(others)
        self._check_goes_on()
        is_first = self._is_first
        rows, labels, _ = self._rows(X, y, None, reset=is_first, copy=True)
        numbers = self._numbers_of_batch(labels, classes, is_first=is_first)
        return self._go_on(Batch(rows, numbers), self._kind(self._count()))


class StreamsNumbers(Streaming, Regresses):
    """``partial_fit`` of rows with numbers as labels."""

    def partial_fit(self, X: Any, y: Any, **others: Any) -> Self:
        """Go on with the rows of ``X``, (n, d), n >= 1, and their numbers ``y``, (n,), in steps of ``mini_batch_size``.

        Hyperparameters, and the scale of ``y``, hold as they are at the first call; pickle keeps the optimizer's state,
        ``save`` the model.

        Raises:
            ValueError: see ``StreamsClasses.partial_fit``.
        """
        self._refuse(others)
        self._check_goes_on()
        rows, labels, _ = self._rows(X, y, None, y_numeric=True, reset=self._is_first, copy=True)
        return self._go_on(Batch(rows, self._numbers(labels)), self._kind())
