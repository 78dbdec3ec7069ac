"""The network that is trained, in Keras' public interface: the same code on TensorFlow, JAX and PyTorch.

For the counts x of a document of n words, with r = log(1 + x):

    encoder     layers of r, then mean m and log variance s of h, normal with independent parts
    draw        h = m + exp(s / 2) e, with e standard normal
    decoder     z = softmax(h), log p = log softmax(W z + b)
    loss        - x . log p / n  +  KL(N(m, exp s) || N(0, I)) / n

Importing this module imports Keras, which takes seconds; only training does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import scipy.sparse as sp
from keras import ops

from algorithms.common.gradients import Kept, Together
from algorithms.common.hosts import ONE_HOST
from algorithms.common.networks import variables_from_arrays, variables_to_arrays
from algorithms.common.optimizers import Adam
from algorithms.interface import Hosts
from algorithms.ntm.model import Affine, Loss, NTMModel
from algorithms.ntm.seeding import Seed

if TYPE_CHECKING:
    from algorithms.ntm import NTMHyperparameters

_ELSEWHERE: dict[str, Any] = {
    "epochs": 1,
    "mini_batch_size": 1,
    "num_patience_epochs": 1,
    "rescale_gradient": 1.0,
    "sub_sample": 1.0,
    "tolerance": 1e-3,
}
_COUPLED = ("adam", "rmsprop")
"""Optimizers for which MXNet adds weight decay to the gradient; the others subtract it from the weight itself."""

_NORM_EPSILON, _NORM_MOMENTUM = 1e-3, 0.9  # MXNet's
_FIRST_LOG_VARIANCE = -1.0
"""The first log variance of h. With less variance than the prior's, the decoder can tell documents apart from the
start; else the divergence would make all posteriors equal to the prior before it has learned to (the collapse of Bowman
et al., CoNLL 2016)."""


class Draw(keras.layers.Layer):
    """A draw from a normal distribution by its mean and log variance."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, mean: Any, log_variance: Any) -> Any:
        """(n, K) each."""
        return mean + ops.exp(log_variance / 2) * keras.random.normal(ops.shape(mean), seed=self.seeds)


class Losses(keras.layers.Layer):
    """Reconstruction and divergence of each document, (n, 2), in nats per word."""

    def call(self, counts: Any, logits: Any, mean: Any, log_variance: Any) -> Any:
        """Counts and logits (n, V), mean and log variance (n, K)."""
        lengths = ops.maximum(ops.sum(counts, axis=1), 1)
        reconstruction = ops.logsumexp(logits, axis=1) - ops.sum(counts * logits, axis=1) / lengths
        divergence = ops.sum(ops.square(mean) + ops.exp(log_variance) - log_variance - 1, axis=1) / (2 * lengths)
        return ops.stack([reconstruction, divergence], axis=1)


class Graph:
    """The Keras model, from counts to ``Losses``, and the layers that it is made of.

    ``start`` sets all weights back to those that training starts with, so that one process can train several models of
    one kind and compile their step once.
    """

    def __init__(self, values: NTMHyperparameters, hosts: int = 1) -> None:
        decay = values.weight_decay / hosts  # each adds the penalty's gradient to those that are summed
        penalty = keras.regularizers.L2(decay / 2) if decay and values.optimizer in _COUPLED else None
        dense = partial(keras.layers.Dense, kernel_initializer="zeros", kernel_regularizer=penalty)
        counts = keras.Input((values.feature_dim,))
        rows = ops.log1p(counts)
        self.layers = [dense(size) for size in values.layers]
        self.norms = [
            keras.layers.BatchNormalization(momentum=_NORM_MOMENTUM, epsilon=_NORM_EPSILON)
            for _ in (self.layers if values.batch_norm else ())
        ]
        for number, layer in enumerate(self.layers):
            rows = layer(rows)
            if self.norms:
                rows = self.norms[number](rows)
            rows = keras.layers.Activation(values.encoder_layers_activation)(rows)
        self.mean, self.log_variance = dense(values.num_topics), dense(values.num_topics)
        self.projection = dense(values.feature_dim)
        self.draw = Draw()
        mean, log_variance = self.mean(rows), self.log_variance(rows)
        logits = self.projection(ops.softmax(self.draw(mean, log_variance), axis=1))
        self.model = keras.Model(counts, Losses()(counts, logits, mean, log_variance))
        self.optimizer = _optimizer(values)
        self.optimizer.build(self.model.trainable_variables)
        self.kept = Kept() if hosts > 1 else None
        if self.kept:
            self.kept.build(self.model.trainable_variables)
        self.model.compile(self.kept or self.optimizer, _WeightedSum(), metrics=[reconstruction, divergence])
        self.variables = [*self.model.variables, *self.optimizer.variables]
        self._first = [value if (value := variable.numpy()).any() else None for variable in self.variables]

    def start(self, seed: Seed, random_seed: int, rank: int = 0) -> None:
        """Set the encoder's weights by Glorot's rule from ``random_seed``, and the decoder's from ``seed``. Each host
        draws h from a stream of random numbers of its own."""
        for variable, first in zip(self.variables, self._first, strict=True):
            variable.assign(ops.zeros(variable.shape, variable.dtype) if first is None else first)
        random = np.random.default_rng(random_seed)
        for layer in (*self.layers, self.mean, self.log_variance):
            inputs, outputs = layer.kernel.shape
            limit = np.sqrt(6 / (inputs + outputs))
            layer.kernel.assign(random.uniform(-limit, limit, (inputs, outputs)).astype(np.float32))
        self.log_variance.bias.assign(np.full(self.log_variance.bias.shape, _FIRST_LOG_VARIANCE, np.float32))
        self.projection.set_weights([seed.topics, seed.background])
        self.draw.seeds.state.assign(np.array([random_seed % 2**32, rank * _DRAWS_APART], np.uint32))


_DRAWS_APART = 1 << 25
"""Steps between the places of two hosts in the stream of random numbers: 100 hosts have room."""

_graph = lru_cache(maxsize=1)(Graph)


class Network:
    """A network in training.

    Args:
        size: documents of a full mini-batch.
        weight: of each document in the loss, a sum over the mini-batch.
        seed: topics and background that the decoder starts with.
        random_seed: of the encoder's first weights, and of the draws.
        hosts: which all do the same steps, each with its own documents.
    """

    def __init__(
        self,
        hyperparameters: NTMHyperparameters,
        size: int,
        weight: float,
        seed: Seed,
        random_seed: int,
        hosts: Hosts = ONE_HOST,
    ) -> None:
        self.size, self.weight, self._activation = size, weight, hyperparameters.encoder_layers_activation
        self._weights = np.zeros((size, 1), np.float32)
        self._sums, self._documents = np.zeros(2), 0
        # The key of the cached graph leaves out what does not change the graph.
        graph = self._graph = _graph(replace(hyperparameters, **_ELSEWHERE), hosts.size)
        graph.start(seed, random_seed, hosts.rank)
        self._hosts = hosts
        self._together = Together(graph.model, graph.kept, graph.optimizer, hosts) if graph.kept else None

    def step(self, counts: sp.csr_array | None, stopped: Callable[[], bool] = lambda: False) -> tuple[int, bool]:
        """Train on one mini-batch of at most ``size`` documents that have words, together with the other hosts'.

        Args:
            counts: (n, V); None where this host has no more. stopped: whether this host was asked to stop.

        Returns the documents of all hosts, and whether one of them was asked to stop.
        """
        rows = 0 if counts is None else counts.shape[0]
        if counts is not None:
            self._learn(counts, rows)
        if self._together is not None:
            return self._together.step(rows, stopped)
        return rows, rows > 0 and stopped()

    def _learn(self, counts: sp.csr_array, rows: int) -> None:
        self._weights[:rows], self._weights[rows:] = self.weight, 0
        # A short batch is filled up with its own documents, with weight 0: as all batches have one shape, the step is
        # compiled once.
        full = counts if rows == self.size else counts[np.resize(np.arange(rows), self.size)]
        means = self._graph.model.train_on_batch(full.toarray(), self._weights, return_dict=True)
        scale = self.size / self.weight  # the means are of weighted losses, and over filled rows too
        self._sums += [scale * float(means["reconstruction"]), scale * float(means["divergence"])]
        self._documents += rows

    def losses(self) -> Loss:
        """The mean loss of the documents of all hosts since the last call, each as of when it was trained on."""
        sums, documents = self._hosts.sum(self._sums, np.array([self._documents]))
        reconstruction, divergence = sums / documents[0]
        loss = Loss(float(reconstruction), float(divergence), int(documents[0]))
        self._sums, self._documents = np.zeros(2), 0
        return loss

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All that the next step depends on. Keras' metrics are not in it: they are reset before each step."""
        sums = np.array([*self._sums, self._documents], np.float64)
        return {**variables_to_arrays(self._graph.variables), "sums": sums}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what ``to_arrays`` gave.

        Raises:
            ModelError: the arrays are of another network.
        """
        variables_from_arrays(self._graph.variables, arrays)
        self._sums, self._documents = arrays["sums"][:2].copy(), int(arrays["sums"][2])

    def model(self) -> NTMModel:
        """The model of the present weights, copied, with batch norms folded into the layers before them."""
        graph = self._graph
        if self._together is not None:
            self._together.align()
        layers = [_affine(layer) for layer in graph.layers]
        for number, norm in enumerate(graph.norms):
            layers[number] = _folded(layers[number], *norm.get_weights())
        return NTMModel(
            tuple(layers),
            self._activation,
            _affine(graph.mean),
            _affine(graph.log_variance),
            _with_background(_affine(graph.projection)),
        )


def _affine(layer: Any) -> Affine:
    kernel, bias = layer.get_weights()
    return Affine(np.ascontiguousarray(kernel.T), bias.copy())


def _with_background(projection: Affine) -> Affine:
    """The decoder with its bias added to the weights, which changes nothing as topic weights sum to 1. The softmax of a
    column is then the distribution of words in a document of that topic alone, and not of the words that set the topic
    apart, however rare."""
    weight, bias = projection
    return Affine(weight + bias[:, None], np.zeros_like(bias))


def _folded(layer: Affine, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> Affine:
    """The layer and its batch norm in one."""
    scale = gamma / np.sqrt(variance + _NORM_EPSILON)
    return Affine(layer.weight * scale[:, None], (layer.bias - mean) * scale + beta)


class _WeightedSum(keras.losses.Loss):
    """The loss of a mini-batch: the weighted sum over documents. Keras passes their weights in the place of labels."""

    def __init__(self) -> None:
        super().__init__(reduction="sum")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(n, 1) and (n, 2) to (n,)."""
        return y_true[:, 0] * ops.sum(y_pred, axis=1)


def reconstruction(weights: Any, losses: Any) -> Any:
    """A metric: its mean over documents."""
    return ops.multiply(weights[:, 0], losses[:, 0])  # on PyTorch the weights come as an array


def divergence(weights: Any, losses: Any) -> Any:
    """A metric: its mean over documents."""
    return ops.multiply(weights[:, 0], losses[:, 1])


def _optimizer(hyperparameters: NTMHyperparameters) -> Any:
    """The optimizer with the constants of MXNet 1.x, which SageMaker's container runs on."""
    name, rate = hyperparameters.optimizer, hyperparameters.rate
    clip = float(hyperparameters.clip_gradient)
    options: dict[str, Any] = {"clipvalue": clip if np.isfinite(clip) else None}
    if hyperparameters.weight_decay and name not in _COUPLED:
        options["weight_decay"] = hyperparameters.weight_decay
    kinds: dict[str, Callable[..., Any]] = {
        "sgd": partial(keras.optimizers.SGD, rate),
        "adam": partial(Adam, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8),
        "adagrad": partial(keras.optimizers.Adagrad, rate, initial_accumulator_value=0.0, epsilon=1e-7),
        "adadelta": partial(keras.optimizers.Adadelta, rate, rho=0.9, epsilon=1e-5),
        "rmsprop": partial(keras.optimizers.RMSprop, rate, rho=0.9, epsilon=1e-8),
    }
    optimizer = kinds[name](**options)
    if "weight_decay" in options:
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta"])
    return optimizer
