"""The steps of a network that several hosts train: each finds the gradients of its own rows, and all follow their sum.

Importing this module imports Keras, which takes seconds; only training does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from algorithms.common.hosts import from_leader
from algorithms.common.networks import to_numpy
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
        self.assign(self.gradients[self._get_variable_index(variable)], ops.convert_to_tensor(gradient))


class Together:
    """The steps of a model, compiled with a ``Kept`` optimizer, by the sum of all hosts' gradients.

    Args:
        optimizer: that of the job, built for the model's trainable variables; it is given sums.
    """

    def __init__(self, model: Any, kept: Kept, optimizer: Any, hosts: Hosts) -> None:
        self._model, self._kept, self._hosts = model, kept, hosts
        self._apply = _compiled(lambda gradients: optimizer.apply(gradients, model.trainable_variables))

    def step(self, rows: int, stopped: Callable[[], bool]) -> tuple[int, bool]:
        """Follow the gradients that the model has found for ``rows`` rows of this host; none where there are no rows.

        Returns the rows of all hosts, and whether one of them was ``stopped``. Without rows nothing has changed,
        and the epoch has ended: each host calls this until then.
        """
        variables = self._model.trainable_variables
        if rows:
            found = [to_numpy(gradient) for gradient in self._kept.gradients]
        else:
            found = [np.zeros(variable.shape, np.float32) for variable in variables]
        *sums, told = self._hosts.sum(*found, np.array([rows, stopped()], np.float32))
        if told[0]:
            self._apply([ops.convert_to_tensor(gradient) for gradient in sums])
        return int(told[0]), bool(told[1])

    def align(self) -> None:
        """The leader's weights on all hosts, whose processors may round otherwise; and the mean of what each has seen
        of its own batches, which are the averages of batch norms."""
        trained, seen = self._model.trainable_variables, _averages(self._model)
        weights = from_leader(self._hosts, lambda: [to_numpy(variable) for variable in trained])
        for variable, value in zip(trained, weights, strict=True):
            variable.assign(value)
        for variable, total in zip(seen, self._hosts.sum(*map(to_numpy, seen)), strict=True):
            variable.assign(total / self._hosts.size)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, faster where the backend's single operations are slow."""
    if keras.config.backend() != "tensorflow":
        return function
    import tensorflow

    return tensorflow.function(function, autograph=False)


def _averages(model: Any) -> list[Any]:
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    return [variable for norm in norms for variable in (norm.moving_mean, norm.moving_variance)]
