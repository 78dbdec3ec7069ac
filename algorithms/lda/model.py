"""The topics, what they say of a document, and their artifact: ``model_algo-1``, an MXNet list of alpha and beta."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from algorithms.common import mxnet_files, topics
from algorithms.common.hosts import ONE_HOST
from algorithms.errors import ModelError
from algorithms.figures import Figure, Sample
from algorithms.interface import NO_PARAMETERS, Hosts, Model
from algorithms.lda.likelihood import infer, log_likelihood_bound
from recordio.batches import Batch

TOPIC_MIXTURE = "topic_mixture"
_ROUNDING = 1e-5  # of the sum of a topic's probabilities in float32


@dataclass(frozen=True)
class LDAModel(Model):
    """Attributes:
    alpha: the Dirichlet prior of a document's topics, (K,) float32.
    beta: the probability of each word in each topic, (K, V) float32, rows that sum to 1.
    described: words, sizes and coherence of the topics, which only training knows; not in the artifact.
    """

    alpha: np.ndarray
    beta: np.ndarray
    described: topics.Described | None = None

    @property
    def feature_dim(self) -> int:
        """Size of the vocabulary."""
        return self.beta.shape[1]

    @property
    def shares(self) -> np.ndarray:
        """The expected share of each topic, (K,)."""
        return self.alpha / self.alpha.sum()

    @cached_property
    def _words(self) -> np.ndarray:
        return np.ascontiguousarray(self.beta.T)

    def predict(self, batch: Batch, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, np.ndarray]:
        """``topic_mixture``, (n, K) float32: the mean of its posterior, or of the prior for a document without
        words."""
        gamma = infer(self._counts(batch), self.alpha, self._words)
        return {TOPIC_MIXTURE: gamma / gamma.sum(axis=1, keepdims=True)}

    def per_word_log_likelihood(self, batches: Iterable[Batch], hosts: Hosts = ONE_HOST) -> float:
        """A lower bound of the log likelihood of all hosts' documents, in nats for each of their words; NaN without
        words."""
        bound = words = 0.0
        for batch in batches:
            counts = self._counts(batch)
            gamma = infer(counts, self.alpha, self._words)
            bound += log_likelihood_bound(counts, gamma, self.alpha.astype(np.float64), self._words)
            words += float(counts.sum())
        bound, words = hosts.sum(np.array([bound, words]))[0].tolist()
        return bound / words if words else float("nan")

    def _counts(self, batch: Batch) -> sp.csr_array:
        self.check_width(batch)
        topics.check_counts(batch.features)
        return sp.csr_array(batch.features)

    def figures(self, sample: Sample | None) -> list[Figure]:
        """The topics, with documents of ``sample``."""
        mixtures = None if sample is None else self.predict(sample.rows)[TOPIC_MIXTURE]
        return topics.figures(self.described, sample, mixtures)

    def save(self, directory: Path) -> None:
        """Write ``model_algo-1``."""
        mxnet_files.save(directory / mxnet_files.MODEL_FILE, [self.alpha, self.beta])


def load(directory: Path) -> LDAModel:
    """The model that ``save``, SageMaker, or a user's ``mx.nd.save(file, [alpha, beta])`` wrote.

    Raises:
        ModelError: there is no such file, or it holds something else.
    """
    path = mxnet_files.find(directory)
    arrays = mxnet_files.load(path)
    if not isinstance(arrays, list) or not _are_alpha_and_beta([array.shape for array in arrays]):
        raise ModelError(
            f"'{path.name}' does not hold an LDA model: a list of alpha, of shape (topics,), and beta, (topics, words)"
        )
    alpha = mxnet_files.float32(arrays[0], f"'{path.name}': alpha")
    beta = mxnet_files.float32(arrays[1], f"'{path.name}': beta")
    if (alpha <= 0).any():
        raise ModelError(f"'{path.name}': alpha has values of 0 or less; those of a Dirichlet prior are above 0")
    sums = beta.sum(axis=1, keepdims=True, dtype=np.float64)
    if (beta < 0).any() or (sums <= 0).any():
        raise ModelError(f"'{path.name}': the rows of beta must be probabilities")
    if np.abs(sums - 1).max() > _ROUNDING:  # else the model would not be the one that was saved, to the last bit
        beta = beta / sums.astype(np.float32)  # in float32: half the memory meanwhile
    return LDAModel(alpha, beta)


def recognises(directory: Path) -> bool:
    """Whether the folder holds a list of a vector and a matrix that fit; reads the header only."""
    try:
        shapes = mxnet_files.shapes(mxnet_files.find(directory))
    except ModelError:
        return False
    return isinstance(shapes, list) and _are_alpha_and_beta(shapes)


def _are_alpha_and_beta(shapes: list[tuple[int, ...]]) -> bool:
    if [len(shape) for shape in shapes] != [1, 2]:
        return False
    (topics,), (rows, words) = shapes
    return topics == rows > 0 and words > 0
