"""The network that is trained, in Keras. Only ``fit`` imports this, because Keras takes seconds to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from algorithms.common.gradients import Together, compiled
from algorithms.common.hosts import ONE_HOST
from algorithms.common.networks import seen
from algorithms.common.optimizers import SGD, Adam
from algorithms.interface import Hosts
from algorithms.seq2seq.architecture import Architecture
from algorithms.seq2seq.data import Batch
from algorithms.seq2seq.layers import (
    Drops,
    Source,
    Step,
    decode_with_teacher,
    encode,
    kernels,
    laid_out,
    parameters_of,
    remember,
    score,
)

DYNAMIC = keras.backend.backend() in ("tensorflow", "torch")
"""Whether the backend takes batches of any shape. JAX compiles a program for each, so it gets few shapes."""


class _Cell(keras.layers.Layer):
    """A step of a loop as a cell of ``keras.layers.RNN``; what the step looks at besides is in its closure."""

    def __init__(self, step: Callable[[Any, list[Any]], tuple[Any, list[Any]]], widths: list[int]) -> None:
        super().__init__()
        self._step = step
        self.state_size = widths
        self.built = True

    def call(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """One step."""
        return self._step(inputs, list(states))


def loop(step: Step, inputs: Any, states: list[Any], kernel: Any, multiplied: Callable[[Any], Any] | None) -> Any:
    """``layers.Loop`` on the backend's tensors."""
    outputs: list[Any] = []
    if multiplied is not None and DYNAMIC:
        inputs, kernel = _given(inputs, kernel, lambda: multiplied(outputs[0])), _product(kernel)
    cell = _Cell(partial(step, kernel), [state.shape[-1] for state in states])
    outputs.append(keras.layers.RNN(cell, return_sequences=True)(inputs, initial_state=states))
    return outputs[0]


def _given(inputs: Any, kernel: Any, multiplied: Callable[[], Any]) -> Any:
    """``inputs``, (B, T, ...), through which the gradient reaches ``kernel``, (K, N) or (n, K, N), too, as one product
    for all steps. Otherwise each step of the loop would compute a gradient as large as the kernel, and add it.

    What is multiplied with the kernel, (B, T, K), is an output of the loop itself, known by the time of the gradients.
    """
    layers, (width, gates) = kernel.shape[:-2], kernel.shape[-2:]

    def given(inputs: Any, kernel: Any) -> tuple[Any, Callable[..., tuple[Any, Any]]]:
        def grad(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
            change = args[0] if upstream is None else upstream
            rows = ops.reshape(multiplied(), (*layers, -1, width))
            changes = ops.reshape(change[:, :, :gates], (*layers, -1, gates))
            return change, ops.matmul(ops.swapaxes(rows, -1, -2), changes)

        return inputs, grad

    return ops.custom_gradient(given)(inputs, kernel)


def _product(kernel: Any) -> Callable[[Any], Any]:
    """``values @ kernel`` for each step of a loop, with a gradient for ``values`` only. For it the kernel is transposed
    once, and not in each step."""
    kernel = ops.stop_gradient(kernel)
    turned = ops.swapaxes(kernel, -1, -2)

    def multiplied(values: Any) -> tuple[Any, Callable[..., Any]]:
        def grad(*args: Any, upstream: Any = None) -> Any:
            return ops.matmul(args[0] if upstream is None else upstream, turned)

        return ops.matmul(values, kernel), grad

    return ops.custom_gradient(multiplied)


class _KerasDrops(Drops):
    """Dropout layers, at work while training."""

    def __init__(self, rates: Mapping[str, float], seed: int) -> None:
        self.layers = {
            name: keras.layers.Dropout(rate, seed=seed + number)
            for number, (name, rate) in enumerate(rates.items())
            if rate > 0
        }

    def _at(self, name: str, values: Any) -> Any:
        return self.layers[name](values, training=True) if name in self.layers else values

    def embedded_source(self, values: Any) -> Any:
        return self._at("embed_dropout_source", values)

    def embedded_target(self, values: Any) -> Any:
        return self._at("embed_dropout_target", values)

    def convolved(self, values: Any) -> Any:
        return self._at("cnn_hidden_dropout", values)

    def mask(self, like: Any, width: int) -> Any:
        if "rnn_decoder_hidden_dropout" not in self.layers:
            return None
        ones = ops.repeat(ops.ones_like(like[:, :, :1]), width, axis=2)
        return self._at("rnn_decoder_hidden_dropout", ones)


class Network(keras.Model):
    """Encoder and decoder with teacher forcing: scores of the target vocabulary at the places that count.

    Args:
        parameters: the start, by name; see ``architecture.initial``. rates: of dropout, by hyperparameter.
    """

    def __init__(
        self, architecture: Architecture, parameters: Mapping[str, np.ndarray], rates: Mapping[str, float], seed: int
    ) -> None:
        super().__init__()
        self._architecture = architecture
        self._drops = _KerasDrops(rates, seed)
        self._dropout_layers = list(self._drops.layers.values())  # so that Keras finds their seeds
        # A table has no place for the dropout of embeddings.
        self._tables = not {"embed_dropout_source", "embed_dropout_target"} & self._drops.layers.keys()
        self._named = {}
        for name, value in laid_out(architecture, parameters).items():
            self._named[name] = self.add_weight(name=name, shape=value.shape, initializer="zeros")
            self._named[name].assign(value)

    def call(self, inputs: tuple[Any, ...]) -> Any:
        """(n, V) scores for the n places of ``Batch.places``."""
        ids, lengths, reverse, mask, target, places = inputs
        source, a = Source(ids, lengths, reverse, mask), self._architecture
        laid = {name: _read(name, value) for name, value in self._named.items()}
        k = kernels(ops, a, laid, tables=self._tables)
        memory = remember(ops, a, k, encode(ops, loop, a, k, source, self._drops), source)
        hidden = decode_with_teacher(ops, loop, a, k, memory, source, target, self._drops)
        counted = ops.take(ops.reshape(hidden, (-1, a.decoder_width)), places, axis=0)
        return score(ops, k, counted)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the trainable variables, in their order, as ``layers.laid_out`` gives them."""
        return tuple(self._named)

    def arrays(self) -> list[np.ndarray]:
        """The trainable variables as arrays to read before the next update, float32."""
        return [seen(value) for value in self._named.values()]

    def named_arrays(self, values: Sequence[np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """A copy of the parameters by name, float32: as they are now, or of ``values`` such as ``arrays`` gives.
        (PyTorch has other ``parameters``.)"""
        laid = zip(self._named, self.arrays() if values is None else values, strict=True)
        return parameters_of(self._architecture, {name: np.array(value, np.float32) for name, value in laid})

    def make_train_function(self, force: bool = False) -> Any:
        """See Keras, whose own makes a program of TensorFlow's for the shapes of the first batch alone, and another for
        those that follow: that takes seconds."""
        if keras.backend.backend() != "tensorflow":
            return super().make_train_function(force)
        if force or getattr(self, "train_function", None) is None:
            self.train_function = _of_any_shape(self.train_step)
        return None

    def learn(self, batch: Batch) -> dict[str, float]:
        """One update, or with other hosts this host's gradients; ``loss``, the mean over tokens, and ``accuracy`` if
        asked for."""
        logs = self.train_on_batch(batch.inputs, batch.labels, sample_weight=batch.weights, return_dict=True)
        return {name: float(value) for name, value in logs.items()}


def _of_any_shape(step: Callable[[Any], Any]) -> Callable[[Iterator[Any]], Any]:
    """A step as Keras calls it, as one program of TensorFlow's for batches (``Batch.inputs``, labels, weights)."""
    import tensorflow

    def of(axes: int, kind: str = "int32") -> Any:
        return tensorflow.TensorSpec([None] * axes, kind)

    inputs = (of(2), of(1), of(2), of(2, "float32"), of(2), of(1))
    batch = (inputs, of(1), of(1, "float32"))
    compiled = tensorflow.function(step, input_signature=[batch], autograph=False)
    return lambda batches: compiled(next(batches))


def _read(name: str, value: Any) -> Any:
    """A weight as a tensor. TensorFlow's gradient of an embedding has a row for each occurrence of a token, and Keras
    clips and squares these one by one; times 1, it is the sum of them."""
    return ops.multiply(value, 1.0) if name.endswith("embed_weight") else ops.convert_to_tensor(value)


def prepare(network: Network, optimizer: Any, hosts: Hosts = ONE_HOST, *, accuracy: bool) -> Together | None:
    """Make the network ready for ``learn``, where there are other hosts as a part of the steps of all. The loss is the
    mean over tokens.

    Only JAX compiles by XLA: TensorFlow's own kernels take any shape without compiling anew.
    """
    return compiled(
        network,
        optimizer,
        hosts,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight"),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")] if accuracy else [],
        jit_compile=keras.backend.backend() == "jax",
    )


def make_optimizer(values: Any) -> Any:
    """The optimizer that the hyperparameters name. Biases have no weight decay; gradients are clipped one by one."""
    clip = {"clipvalue": values.clip_gradient} if values.clip_gradient > 0 else {}
    options = {"learning_rate": values.learning_rate, "weight_decay": values.weight_decay or None, **clip}
    if values.optimizer_type == "sgd":
        optimizer = SGD(momentum=values.momentum or 0.0, **options)
    elif values.optimizer_type == "rmsprop":
        optimizer = keras.optimizers.RMSprop(**options)
    else:
        optimizer = Adam(**options)
    if values.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer
