"""Training of a network on several hosts: each computes the gradients of its own rows, and all apply their sum.

Importing this module imports Keras, which takes seconds; only training does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from math import prod
from typing import Any

import keras
import numpy as np
from keras import ops

from algorithms.common.networks import ALIGNED, aligned, lent, seen
from algorithms.interface import Hosts


class Vector:
    """The layout of arrays of fixed shapes in one vector of float32, so that they are copied and summed together. Each
    begins at a multiple of ``ALIGNED``, so that TensorFlow splits the vector without a copy.

    Attributes:
        starts: where each begins. size: of the whole.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.starts = [0, *accumulate(-(-prod(shape) // ALIGNED) * ALIGNED for shape in shapes)]
        self.size = self.starts.pop()

    def joined(self, arrays: Sequence[Any]) -> Any:
        """The tensors as one; None stands for zeros."""
        parts = []
        ends = [*self.starts[1:], self.size]
        for array, shape, start, end in zip(arrays, self.shapes, self.starts, ends, strict=True):
            # TensorFlow has slices for embeddings; the conversion makes a plain array of them, those of a row added up.
            parts.append(ops.zeros(prod(shape)) if array is None else ops.reshape(ops.convert_to_tensor(array), (-1,)))
            if gap := end - start - prod(shape):
                parts.append(ops.zeros(gap))
        return ops.concatenate(parts)

    def parts(self, vector: np.ndarray) -> list[np.ndarray]:
        """The arrays that ``vector`` is made of, as parts of its memory."""
        places = zip(self.starts, self.shapes, strict=True)
        return [vector[start : start + prod(shape)].reshape(shape) for start, shape in places]

    def split(self, vector: Any) -> list[Any]:
        """The tensors that ``vector`` is made of."""
        # Keras cannot split at no place.
        parts = ops.split(vector, self.starts[1:]) if len(self.starts) > 1 else [vector] * len(self.starts)
        return [ops.reshape(part[: prod(shape)], shape) for part, shape in zip(parts, self.shapes, strict=True)]


class Kept(keras.optimizers.Optimizer):
    """An optimizer that only keeps the gradients of a step and changes no weight, so that a compiled step ends with
    them.

    Attributes:
        gradients: all of them, as ``Vector`` has them.
    """

    def __init__(self) -> None:
        super().__init__(learning_rate=0.0)

    def build(self, variables: list[Any]) -> None:
        """See Keras."""
        super().build(variables)
        self._vector = Vector([tuple(variable.shape) for variable in variables])
        self.gradients = self.add_variable((self._vector.size,), "zeros", "float32", name="gradients")

    def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> None:
        """See Keras; the gradients are of all variables, in the order in which these were built."""
        self.gradients.assign(self._vector.joined(grads))


class Together:
    """Takes the steps of a model, compiled with a ``Kept`` optimizer, by the gradients of all hosts.

    Batch norms use the batch of their own host; their running statistics are averaged over the hosts in each step, so
    that all hosts have the same network between steps.

    Args:
        optimizer: that of the job, built for the model's trainable variables.
        means: the loss is a mean over a host's rows, and the optimizer is to follow that over all hosts' rows; else
            both are sums.
    """

    def __init__(self, model: Any, kept: Kept, optimizer: Any, hosts: Hosts, *, means: bool = False) -> None:
        self._trained, self._seen = model.trainable_variables, _averages(model)
        self._kept, self._hosts, self._means = kept, hosts, means
        gradients, averages = (Vector([tuple(one.shape) for one in some]) for some in (self._trained, self._seen))
        self._apply = _compiled(partial(_follow, optimizer, gradients, averages, self._trained, self._seen))
        # Gradients, what batch norms have seen, the rows, and whether to stop. They are written in each step: new
        # memory for tens of megabytes would take longer than to fill it.
        self._own = aligned(gradients.size + averages.size + 2)
        self._gradients, self._averages = self._own[: gradients.size], self._own[gradients.size : -2]
        self._parts = [*gradients.parts(self._gradients), *averages.parts(self._averages)]

    def step(self, rows: float, stopped: Callable[[], bool] = lambda: False) -> tuple[int, bool]:
        """Apply the gradients of all hosts; this one's are those that the model has computed for its ``rows`` rows, if
        any.

        Returns the number of rows of all hosts, and whether one of them was ``stopped``. If there are no rows, nothing
        has changed and the epoch is over: each host must call this until then.
        """
        self._give(rows)
        self._own[-2:] = rows, stopped()
        self._hosts.sum_in_place(self._own)
        every, stops = self._own[-2:].tolist()
        if every:
            (self._own[:-2] if self._means else self._averages)[...] /= np.float32(every)
            self._apply(lent(self._gradients), ops.convert_to_tensor(self._averages))
        return int(every), bool(stops)

    def _give(self, rows: float) -> None:
        """Write what this host adds to the sum: gradients and statistics of batch norms, weighted by its rows."""
        if not rows:
            self._own[:] = 0
            return
        np.multiply(seen(self._kept.gradients), np.float32(rows if self._means else 1), out=self._gradients)
        for variable, part in zip(self._seen, self._parts[len(self._trained) :], strict=True):
            np.multiply(seen(variable), np.float32(rows), out=part)

    def align(self) -> None:
        """Give all hosts the leader's weights, as their processors may round differently."""
        variables = [*self._trained, *self._seen]
        for variable, part in zip(variables, self._parts, strict=True):
            part[...] = seen(variable) if self._hosts.rank == 0 else 0
        self._hosts.sum_in_place(self._own)
        for variable, part in zip(variables, self._parts, strict=True):
            variable.assign(part)


def compiled(model: Any, optimizer: Any, hosts: Hosts, **options: Any) -> Together | None:
    """Compile a model, whose loss is a mean over rows, with ``options`` of Keras. With other hosts it is given their
    leader's weights, and what takes its steps together with them is returned; None without."""
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


def _follow(
    optimizer: Any, of_trained: Vector, of_seen: Vector, trained: list[Any], seen: list[Any], gradients: Any, means: Any
) -> None:
    """Apply the gradients to the ``trained`` variables, and the ``means`` to the statistics of batch norms,
    ``seen``."""
    optimizer.apply(of_trained.split(gradients), trained)
    for variable, mean in zip(seen, of_seen.split(means), strict=True):
        variable.assign(mean)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, faster where the backend's single operations are slow."""
    if keras.config.backend() != "tensorflow":
        return function
    import tensorflow

    return tensorflow.function(function, autograph=False)


def _averages(model: Any) -> list[Any]:
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    return [variable for norm in norms for variable in (norm.moving_mean, norm.moving_variance)]
