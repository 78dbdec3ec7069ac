"""The network that is trained, in Keras' public interface: the same code on TensorFlow, JAX and PyTorch.

For the counts x of a document of n words, with r = log(1 + x):

    encoder     layers of r, then mean m and log variance s of h, normal with independent parts
    draw        h = m + exp(s / 2) e, with e standard normal
    decoder     z = softmax(h), log p = log softmax(W z + b)
    loss        - x . log p / n  +  KL(N(m, exp s) || N(0, I)) / n

Importing this module imports Keras, which takes seconds; only training does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import scipy.sparse as sp
from keras import ops

from algorithms.ntm.model import Affine, Loss, NTMModel
from algorithms.ntm.seeding import Seed

if TYPE_CHECKING:
    from algorithms.ntm import NTMHyperparameters

_COUPLED = ("adam", "rmsprop")
"""Optimizers whose weight decay in MXNet is a part of the gradient; the others take it off the weight itself."""

_NORM_EPSILON, _NORM_MOMENTUM = 1e-3, 0.9  # MXNet's
_FIRST_LOG_VARIANCE = -2.0
"""Where h varies less at first than its prior, the decoder can tell documents apart from the start, and the divergence
does not drive the two together before it has learned to (Bowman et al., CoNLL 2016, call that collapse)."""


class Draw(keras.layers.Layer):
    """A draw from a normal distribution by its mean and log variance."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, mean: Any, log_variance: Any) -> Any:
        """(n, K) each."""
        return mean + ops.exp(log_variance / 2) * keras.random.normal(ops.shape(mean), seed=self.seeds)


class Losses(keras.layers.Layer):
    """Reconstruction and divergence of each document, (n, 2), in nats for each of its words."""

    def call(self, counts: Any, logits: Any, mean: Any, log_variance: Any) -> Any:
        """Counts and logits (n, V), mean and log variance (n, K)."""
        lengths = ops.maximum(ops.sum(counts, axis=1), 1)
        reconstruction = ops.logsumexp(logits, axis=1) - ops.sum(counts * logits, axis=1) / lengths
        divergence = ops.sum(ops.square(mean) + ops.exp(log_variance) - log_variance - 1, axis=1) / (2 * lengths)
        return ops.stack([reconstruction, divergence], axis=1)


class Network:
    """Encoder and decoder, with the optimizer.

    Args:
        size: documents of a full mini-batch. seed: topics and background that the decoder starts with.
        random_seed: of the draws.
    """

    def __init__(self, hyperparameters: NTMHyperparameters, size: int, seed: Seed, random_seed: int) -> None:
        self._values, self.size = hyperparameters, size
        self._weights = np.zeros((size, 1), np.float32)
        self._means: dict[str, Any] = {}
        self._steps = self._documents = 0
        self._norms: list[Any] = []
        decay = hyperparameters.weight_decay
        self._penalty = keras.regularizers.L2(decay / 2) if decay and hyperparameters.optimizer in _COUPLED else None
        counts = keras.Input((hyperparameters.feature_dim,))
        rows = ops.log1p(counts)
        self._layers = [self._dense(size) for size in hyperparameters.layers]
        for layer in self._layers:
            rows = keras.layers.Activation(hyperparameters.encoder_layers_activation)(self._normalised(layer(rows)))
        self._mean = self._dense(hyperparameters.num_topics)
        self._log_variance = self._dense(
            hyperparameters.num_topics, bias_initializer=keras.initializers.Constant(_FIRST_LOG_VARIANCE)
        )
        self._projection = self._dense(hyperparameters.feature_dim)
        mean, log_variance = self._mean(rows), self._log_variance(rows)
        logits = self._projection(ops.softmax(Draw(random_seed)(mean, log_variance), axis=1))
        self._keras = keras.Model(counts, Losses()(counts, logits, mean, log_variance))
        self._projection.set_weights([seed.topics, seed.background])
        self._keras.compile(
            optimizer=_optimizer(hyperparameters),
            loss=_WeightedSum(hyperparameters.rescale_gradient),
            metrics=[reconstruction, divergence],
        )

    def _dense(self, units: int, **options: Any) -> Any:
        return keras.layers.Dense(units, kernel_regularizer=self._penalty, **options)

    def _normalised(self, rows: Any) -> Any:
        if not self._values.batch_norm:
            return rows
        norm = keras.layers.BatchNormalization(momentum=_NORM_MOMENTUM, epsilon=_NORM_EPSILON)
        self._norms.append(norm)
        return norm(rows)

    def step(self, counts: sp.csr_array) -> None:
        """Train on one mini-batch of at most ``size`` documents that have words."""
        rows = counts.shape[0]
        self._weights[:rows], self._weights[rows:] = 1, 0
        # A short batch is filled with its own documents, at no weight: of one shape, the step is compiled once.
        full = counts if rows == self.size else counts[np.resize(np.arange(rows), self.size)]
        self._means = self._keras.train_on_batch(full.toarray(), self._weights, return_dict=True)
        self._steps += 1
        self._documents += rows

    def losses(self) -> Loss:
        """The means over the documents since this was last called, each at the time when it was trained on."""
        rows = self._steps * self.size
        reconstruction, divergence = (float(self._means[name]) * rows for name in ("reconstruction", "divergence"))
        loss = Loss(reconstruction / self._documents, divergence / self._documents, self._documents)
        self._keras.reset_metrics()
        self._steps = self._documents = 0
        return loss

    def model(self) -> NTMModel:
        """A copy of what the network is now, batch norms folded into the layers before them."""
        layers = [_affine(layer) for layer in self._layers]
        for number, norm in enumerate(self._norms):
            layers[number] = _folded(layers[number], *norm.get_weights())
        return NTMModel(
            tuple(layers),
            self._values.encoder_layers_activation,
            _affine(self._mean),
            _affine(self._log_variance),
            _affine(self._projection),
        )


def _affine(layer: Any) -> Affine:
    kernel, bias = layer.get_weights()
    return Affine(np.ascontiguousarray(kernel.T), bias.copy())


def _folded(layer: Affine, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> Affine:
    """The layer and its batch norm in one."""
    scale = gamma / np.sqrt(variance + _NORM_EPSILON)
    return Affine(layer.weight * scale[:, None], (layer.bias - mean) * scale + beta)


class _WeightedSum(keras.losses.Loss):
    """The sum over documents; where Keras expects the truth, it gets their weights."""

    def __init__(self, factor: float) -> None:
        super().__init__(reduction="sum")
        self._factor = factor

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(n, 1) and (n, 2) to (n,)."""
        return self._factor * y_true[:, 0] * ops.sum(y_pred, axis=1)


def reconstruction(weights: Any, losses: Any) -> Any:
    """A metric: its mean over documents."""
    return weights[:, 0] * losses[:, 0]


def divergence(weights: Any, losses: Any) -> Any:
    """A metric: its mean over documents."""
    return weights[:, 0] * losses[:, 1]


def _optimizer(hyperparameters: NTMHyperparameters) -> Any:
    """The optimizer with the constants of MXNet 1.x, which SageMaker's container runs on."""
    name, rate = hyperparameters.optimizer, hyperparameters.learning_rate
    clip = float(hyperparameters.clip_gradient)
    options: dict[str, Any] = {"clipvalue": clip if np.isfinite(clip) else None}
    if hyperparameters.weight_decay and name not in _COUPLED:
        options["weight_decay"] = hyperparameters.weight_decay
    kinds: dict[str, Callable[..., Any]] = {
        "sgd": partial(keras.optimizers.SGD, rate),
        "adam": partial(keras.optimizers.Adam, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8),
        "adagrad": partial(keras.optimizers.Adagrad, rate, initial_accumulator_value=0.0, epsilon=1e-7),
        "adadelta": partial(keras.optimizers.Adadelta, 1.0, rho=0.9, epsilon=1e-5),
        "rmsprop": partial(keras.optimizers.RMSprop, rate, rho=0.9, epsilon=1e-8),
    }
    optimizer = kinds[name](**options)
    if "weight_decay" in options:
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta"])
    return optimizer
