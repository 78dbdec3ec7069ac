"""The steps of a network that several hosts train: each finds the gradients of its own rows, and all follow their sum.

Importing this module imports Keras, which takes seconds; only training does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from algorithms.common.hosts import from_leader
from algorithms.common.networks import seen, to_numpy
from algorithms.interface import Hosts


class Kept(keras.optimizers.Optimizer):
    """An optimizer that keeps the gradients of a step and changes nothing, so that compiled code ends with them."""

    def __init__(self) -> None:
        super().__init__(learning_rate=0.0)

    def build(self, variables: list[Any]) -> None:
        """See Keras."""
        super().build(variables)
        self.gradients = [self.add_variable_from_reference(variable, name="gradient") for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """See Keras."""
        # The sum makes a plain array of the slices that TensorFlow has for embeddings, with those of a row added up.
        whole = ops.add(ops.zeros_like(variable), gradient)
        self.assign(self.gradients[self._get_variable_index(variable)], whole)


class Together:
    """The steps of a model, compiled with a ``Kept`` optimizer, by the gradients of all hosts.

    Batch norms see the batch of their own host; what they keep of it is averaged over the hosts in each step, so that
    all hosts have the same network between steps.

    Args:
        optimizer: that of the job, built for the model's trainable variables.
        means: the loss is a mean over a host's rows, and the optimizer is to follow that over all hosts' rows; else
            both are sums.
    """

    def __init__(self, model: Any, kept: Kept, optimizer: Any, hosts: Hosts, *, means: bool = False) -> None:
        self._trained, self._seen = model.trainable_variables, _averages(model)
        self._kept, self._hosts, self._means = kept, hosts, means
        self._apply = _compiled(partial(_follow, optimizer, self._trained, self._seen))
        # Written in each step: new memory for tens of megabytes would take longer than to fill it.
        self._own = [np.empty(variable.shape, np.float32) for variable in (*self._trained, *self._seen)]

    def step(self, rows: float, stopped: Callable[[], bool] = lambda: False) -> tuple[int, bool]:
        """Follow the gradients that the model has found for ``rows`` rows of this host; none where there are no rows.

        Returns the rows of all hosts, and whether one of them was ``stopped``. Without rows nothing has changed,
        and the epoch has ended: each host calls this until then.
        """
        *sums, told = self._hosts.sum(*self._given(rows), np.array([rows, stopped()], np.float32))
        if told[0]:
            for number, (total, own) in enumerate(zip(sums, self._own, strict=True)):
                is_mean = self._means or number >= len(self._trained)
                np.divide(total, told[0] if is_mean else np.float32(1), out=own)
            tensors = [ops.convert_to_tensor(one) for one in self._own]
            self._apply(tensors[: len(self._trained)], tensors[len(self._trained) :])
        return int(told[0]), bool(told[1])

    def _given(self, rows: float) -> list[np.ndarray]:
        """What this host adds to the sums: gradients, and what batch norms have seen, by its rows."""
        if not rows:
            return [np.zeros(one.shape, np.float32) for one in self._own]
        share = np.float32(rows if self._means else 1)
        shares = [share] * len(self._trained) + [np.float32(rows)] * len(self._seen)
        for variable, times, own in zip((*self._kept.gradients, *self._seen), shares, self._own, strict=True):
            np.multiply(seen(variable), times, out=own)
        return self._own

    def align(self) -> None:
        """The leader's weights on all hosts, whose processors may round otherwise."""
        variables = [*self._trained, *self._seen]
        weights = from_leader(self._hosts, lambda: [to_numpy(variable) for variable in variables])
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)


def compiled(model: Any, optimizer: Any, hosts: Hosts, **options: Any) -> Together | None:
    """Compile a model, whose loss is a mean over rows, with ``options`` of Keras: where there are other hosts, for
    steps that all make together, from the leader's weights on; None where there are none."""
    optimizer.build(model.trainable_variables)
    if hosts.size == 1:
        model.compile(optimizer, **options)
        return None
    kept = Kept()
    kept.build(model.trainable_variables)
    model.compile(kept, **options)
    together = Together(model, kept, optimizer, hosts, means=True)
    together.align()
    return together


def _follow(optimizer: Any, trained: list[Any], seen: list[Any], gradients: list[Any], averages: list[Any]) -> None:
    optimizer.apply(gradients, trained)
    for variable, average in zip(seen, averages, strict=True):
        variable.assign(average)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, faster where the backend's single operations are slow."""
    if keras.config.backend() != "tensorflow":
        return function
    import tensorflow

    return tensorflow.function(function, autograph=False)


def _averages(model: Any) -> list[Any]:
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    return [variable for norm in norms for variable in (norm.moving_mean, norm.moving_variance)]
