"""The trained network without Keras: what it says of a document, and its artifact, a ZIP that real MXNet runs.

The encoder is a few small products, so numpy answers requests; a server needs no TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import expit, softmax

from algorithms.common import mxnet_archive, mxnet_files, topics
from algorithms.common.documents import read_json
from algorithms.common.hosts import ONE_HOST
from algorithms.common.mxnet_symbols import Graph
from algorithms.errors import ModelError
from algorithms.figures import Figure, Sample
from algorithms.interface import NO_PARAMETERS, Hosts, Model
from recordio.batches import Batch, cut

TOPIC_WEIGHTS = "topic_weights"
META, SYMBOL, PARAMETERS = "meta.json", "symbol.json", "params"
_BLOCK_NUMBERS = 1 << 22
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": expit,
    "tanh": np.tanh,
    "relu": lambda values: np.maximum(values, 0),
}


class Affine(NamedTuple):
    """x W' + b, with ``weight`` W of shape (outputs, inputs) and ``bias`` b (outputs,), float32."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, rows: Any) -> np.ndarray:
        """(n, inputs), dense or sparse, to (n, outputs)."""
        return np.asarray(rows @ self.weight.T) + self.bias


class Loss(NamedTuple):
    """A bound of the negative log likelihood in nats for each word of a document, its mean over documents.

    Attributes:
        reconstruction: - log p(x | z). divergence: KL(q(h | x) || N(0, I)). documents: how many there were.
    """

    reconstruction: float
    divergence: float
    documents: int

    @property
    def total(self) -> float:
        """What is minimised."""
        return self.reconstruction + self.divergence


@dataclass(frozen=True)
class NTMModel(Model):
    """Encoder and decoder.

    Attributes:
        layers: of the encoder, each followed by ``activation``, one of ``ACTIVATIONS``.
        mean, log_variance: of h, of which the softmax is the document's topic weights.
        projection: the decoder, from K topic weights to logits of V words. The softmax of column k of its weight is
            topic k.
        described: words, sizes and coherence of the topics, which only training knows; not in the artifact.
    """

    layers: tuple[Affine, ...]
    activation: str
    mean: Affine
    log_variance: Affine
    projection: Affine
    described: topics.Described | None = None

    @property
    def feature_dim(self) -> int:
        """Size of the vocabulary."""
        return len(self.projection.weight)

    @property
    def topics(self) -> np.ndarray:
        """The probability of each word in each topic, (K, V), rows that sum to 1."""
        return softmax(self.projection.weight.T, axis=1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All numbers of the model, by name."""
        named = {**{f"layer{number}": layer for number, layer in enumerate(self.layers)}, **self._heads()}
        return {f"{name}.{part}": array for name, layer in named.items() for part, array in layer._asdict().items()}

    def _heads(self) -> dict[str, Affine]:
        return {"mean": self.mean, "log_variance": self.log_variance, "projection": self.projection}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], layers: int, activation: str) -> NTMModel:
        """The model that ``to_arrays`` took apart."""

        def affine(name: str) -> Affine:
            return Affine(arrays[f"{name}.weight"], arrays[f"{name}.bias"])

        encoder = tuple(affine(f"layer{number}") for number in range(layers))
        return cls(encoder, activation, affine("mean"), affine("log_variance"), affine("projection"))

    def predict(self, batch: Batch, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, np.ndarray]:
        """``topic_weights``, (n, K) float32: the softmax of the mean of h."""
        return {TOPIC_WEIGHTS: softmax(self.mean(self._encode(self._counts(batch))), axis=1)}

    def loss(self, batches: Iterable[Batch], random: np.random.Generator, hosts: Hosts = ONE_HOST) -> Loss:
        """The loss on the documents of all hosts, with one draw of h for each; NaN if no document has words, and NaN or
        infinite if training has diverged."""
        sums, documents = np.zeros(2), 0
        for batch in cut(batches, max(1, _BLOCK_NUMBERS // self.feature_dim)):
            counts = sp.csr_array(self._counts(batch))
            counts = counts[np.diff(counts.indptr) > 0]
            noise = random.standard_normal((counts.shape[0], len(self.mean.bias)), np.float32)
            with np.errstate(over="ignore", invalid="ignore"):
                sums += self._sums(counts, noise)
            documents += counts.shape[0]
        sums, every = hosts.sum(sums, np.array([documents]))
        documents = int(every[0])
        with np.errstate(invalid="ignore"):
            reconstruction, divergence = sums / documents
        return Loss(float(reconstruction), float(divergence), documents)

    def _sums(self, counts: sp.csr_array, noise: np.ndarray) -> tuple[float, float]:
        hidden = self._encode(counts)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        logits = self.projection(softmax(mean + np.exp(log_variance / 2) * noise, axis=1))
        lengths = np.asarray(counts.sum(axis=1)).reshape(-1)
        documents = np.repeat(np.arange(len(logits)), np.diff(counts.indptr))
        words = np.bincount(documents, counts.data * logits[documents, counts.indices], len(logits))
        largest = logits.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(logits - largest).sum(axis=1)) + largest[:, 0]
        divergence = (np.square(mean) + np.exp(log_variance) - log_variance - 1).sum(axis=1) / 2
        return float((normaliser - words / lengths).sum()), float((divergence / lengths).sum())

    def _counts(self, batch: Batch) -> Any:
        self.check_width(batch)
        topics.check_counts(batch.features)
        return batch.features

    def _encode(self, counts: Any) -> np.ndarray:
        rows: Any = counts.log1p() if sp.issparse(counts) else np.log1p(counts)
        for layer in self.layers:
            rows = ACTIVATIONS[self.activation](layer(rows))
        return rows

    def figures(self, sample: Sample | None) -> list[Figure]:
        """The topics, with documents of ``sample``."""
        weights = None if sample is None else self.predict(sample.rows)[TOPIC_WEIGHTS]
        return topics.figures(self.described, sample, weights)

    def save(self, directory: Path) -> None:
        """Write ``model_algo-1``."""
        words, topics = self.projection.weight.shape
        meta = {"feature_dim": words, "num_topics": topics, "encoder_layers": [len(one.bias) for one in self.layers]}
        affine = {f"encoder{number}": layer for number, layer in enumerate(self.layers)}
        affine |= {"mean": self.mean, "log_variance": self.log_variance, "projection": self.projection}
        parameters: dict[str, np.ndarray] = {}
        for name, (weight, bias) in affine.items():
            parameters |= {f"arg:{name}_weight": weight, f"arg:{name}_bias": bias}
        members: dict[str, mxnet_archive.Member] = {
            META: json.dumps(meta | {"encoder_layers_activation": self.activation}),
            SYMBOL: self._symbol(),
            PARAMETERS: parameters,
        }
        mxnet_archive.save(directory / mxnet_files.MODEL_FILE, members)

    def _symbol(self) -> str:
        """The graph from ``data`` to topic weights, its first output. Further outputs are the words of such documents
        and log variances."""
        graph = Graph()

        def affine(name: str, rows: int, outputs: int) -> int:
            weight, bias = graph.variable(f"{name}_weight"), graph.variable(f"{name}_bias")
            return graph.add("FullyConnected", name, rows, weight, bias, num_hidden=outputs)

        rows = graph.add("log1p", "log_counts", graph.variable("data"))
        for number, layer in enumerate(self.layers):
            rows = affine(f"encoder{number}", rows, len(layer.bias))
            rows = graph.add("Activation", f"activation{number}", rows, act_type=self.activation)
        weights = graph.add("softmax", TOPIC_WEIGHTS, affine("mean", rows, len(self.mean.bias)))
        words = graph.add("softmax", "words", affine("projection", weights, self.feature_dim))
        return graph.to_json(weights, words, affine("log_variance", rows, len(self.log_variance.bias)))


def load(directory: Path) -> NTMModel:
    """The model that ``save`` wrote, or another program in the same layout.

    Raises:
        ModelError: there is no such file, it is damaged, or its arrays do not fit each other.
    """
    path = mxnet_files.find(directory)
    members = mxnet_archive.load(path)
    try:
        arrays = mxnet_files.load(members[PARAMETERS])
        meta = read_json(members[META], f"{META} in {path.name}")
        symbol = read_json(members[SYMBOL], f"{SYMBOL} in {path.name}")
        if not (isinstance(arrays, dict) and isinstance(meta, dict) and isinstance(symbol, dict)):
            raise ModelError(f"'{path.name}' is not a neural topic model")
        model = _assemble(arrays, str(meta.get("encoder_layers_activation")), path.name)
    except ModelError:
        raise
    except (KeyError, ValueError) as error:
        raise ModelError(f"'{path.name}' is not a neural topic model, or is damaged: {error}") from error
    _check(model, path.name)
    return model


def _assemble(arrays: dict[str, np.ndarray], activation: str, file: str) -> NTMModel:
    def affine(name: str) -> Affine:
        names = f"{name}_weight", f"{name}_bias"
        return Affine(*(mxnet_files.float32(arrays[f"arg:{part}"], f"'{file}': array {part}") for part in names))

    depth = sum(name.startswith("arg:encoder") and name.endswith("_weight") for name in arrays)
    layers = tuple(affine(f"encoder{number}") for number in range(depth))
    return NTMModel(layers, activation, affine("mean"), affine("log_variance"), affine("projection"))


def _fits(part: Affine) -> bool:
    return part.weight.ndim == 2 and part.weight.size > 0 and part.bias.shape == part.weight.shape[:1]


def _check(model: NTMModel, name: str) -> None:
    """Raises ModelError where the parts do not fit."""
    if model.activation not in ACTIVATIONS:
        raise ModelError(f"'{name}': activation '{model.activation}' is not one of {', '.join(ACTIVATIONS)}")
    parts = (*model.layers, model.mean, model.log_variance, model.projection)
    if not model.layers or any(not _fits(part) for part in parts):
        raise ModelError(f"'{name}': a layer's weight and bias do not fit each other")
    hidden, topics = len(model.layers[-1].bias), len(model.mean.bias)
    chain = [model.feature_dim, *(len(layer.bias) for layer in model.layers)]
    expected = [*zip(chain[1:], chain, strict=False), (topics, hidden), (topics, hidden), (model.feature_dim, topics)]
    found = [part.weight.shape for part in parts]
    if found != expected:
        raise ModelError(f"'{name}': weights of shapes {found} do not fit each other")


def recognises(directory: Path) -> bool:
    """Whether the folder holds a neural topic model's archive."""
    path = directory / mxnet_files.MODEL_FILE
    if not mxnet_archive.holds(path, META, SYMBOL, PARAMETERS):
        return False
    try:
        return '"projection_weight"' in mxnet_archive.load(path)[SYMBOL].decode()
    except (ModelError, UnicodeDecodeError):
        return False
