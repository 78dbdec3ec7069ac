"""Topics to start from: a few steps of probabilistic latent semantic analysis on the first documents.

A decoder that starts from noise learns the words of the corpus first and tells documents apart only later; some
topics never do, and the posterior of h falls to its prior (component collapse; A. Srivastava, C. Sutton, ICLR 2017).
One that starts from rough topics has no such point to leave. The steps are those of expectation maximisation
(T. Hofmann, "Probabilistic Latent Semantic Indexing", SIGIR 1999), with a little of the corpus in each topic, so that
rare words need evidence, and a little of each topic in every document.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from algorithms.common.hosts import ONE_HOST, from_leader
from algorithms.interface import Hosts

DOCUMENTS = 8000
_STEPS = 60
_STRENGTH = 0.5
"""The share of the topics' log ratios that W starts with. W grows in any case, as the weights z of a document are far
from (1, 0, …, 0); topics that start strong would stay as rough as they are."""

_BACKGROUND_COUNT = 0.5  # of each word beforehand, so that none is impossible
_WORD_SMOOTHING = 0.005  # words of the corpus in a topic beforehand, as a share of the mean words of a topic
_TOPIC_SMOOTHING = 1.0  # words of a document beforehand, spread over the topics
_MOST_PRODUCTS = 1 << 26  # non-zeros times topics: what a step costs
_BLOCK_NUMBERS = 1 << 22
_TINY = 1e-12


class Seed(NamedTuple):
    """What the decoder starts with.

    Attributes:
        topics: how much likelier each word is in each topic than in the corpus, a part of its log, (K, V) float32.
        background: log probability of each word in the corpus, (V,) float32.
    """

    topics: np.ndarray
    background: np.ndarray


def none(num_topics: int, feature_dim: int) -> Seed:
    """That of a network whose weights are set otherwise."""
    return Seed(np.zeros((num_topics, feature_dim), np.float32), np.zeros(feature_dim, np.float32))


def find(counts: sp.csr_array, num_topics: int, random: np.random.Generator, hosts: Hosts = ONE_HOST) -> Seed:
    """Topics of the documents ``counts``, (D, V), each of which has words; of the first of them if all are too many.

    Memory: V K numbers, a few times.

    Args:
        hosts: which all have the same documents, and each takes the steps of its part of them.
    """
    words = np.asarray(counts.sum(axis=0), np.float64).reshape(-1) + _BACKGROUND_COUNT
    background = (words / words.sum()).astype(np.float32)
    enough = int(np.searchsorted(counts.indptr, _MOST_PRODUCTS // num_topics))
    counts = counts[: max(1, enough)]
    topics = from_leader(hosts, lambda: _first(counts, background, num_topics, random))
    smoothing = _WORD_SMOOTHING * float(counts.sum()) / num_topics * background
    own = np.array_split(np.arange(counts.shape[0]), hosts.size)[hosts.rank]
    counts = counts[own]
    mixtures = np.full((len(own), num_topics), 1 / num_topics, np.float32)
    for _ in range(_STEPS):
        expected, mixtures = _step(counts, topics, mixtures)
        topics = hosts.sum(expected)[0] + smoothing
        topics /= topics.sum(axis=1, keepdims=True)
    found = from_leader(hosts, lambda: [np.float32(_STRENGTH) * np.log(topics / background), np.log(background)])
    return Seed(*found)


def _first(counts: sp.csr_array, background: np.ndarray, num_topics: int, random: np.random.Generator) -> np.ndarray:
    """First topics, (K, V): each is half the corpus, half the words of a few documents."""
    few = max(1, counts.shape[0] // (4 * num_topics))
    topics = np.empty((num_topics, counts.shape[1]), np.float32)
    for topic in topics:
        words = np.asarray(counts[random.integers(counts.shape[0], size=few)].sum(axis=0)).reshape(-1)
        topic[:] = (words / words.sum() + background) / 2
    return topics


def _step(counts: sp.csr_array, topics: np.ndarray, mixtures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step: the expected number of each word in each topic, (K, V), and the documents' mixtures, (D, K)."""
    words = np.ascontiguousarray(topics.T)
    expected = np.zeros_like(words)
    updated = np.empty_like(mixtures)
    size = max(1, _BLOCK_NUMBERS * len(mixtures) // (len(topics) * max(1, counts.nnz)))
    for start in range(0, len(mixtures), size):
        rows = slice(start, start + size)
        block, theta = counts[rows], mixtures[rows]
        owners = np.repeat(np.arange(len(theta)), np.diff(block.indptr))
        block.data = block.data / (np.einsum("nk,nk->n", theta[owners], words[block.indices]) + np.float32(_TINY))
        expected += np.asarray(block.T @ theta)
        updated[rows] = theta * np.asarray(block @ words) + _TOPIC_SMOOTHING / len(topics)
    return (expected * words).T, updated / updated.sum(axis=1, keepdims=True)
