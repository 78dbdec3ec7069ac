"""Topics to start from: a few steps of probabilistic latent semantic analysis on the first documents.

A decoder that starts from noise learns the words of the corpus first and tells documents apart only later; some
topics never do, and the posterior of h falls to its prior (component collapse; A. Srivastava, C. Sutton, ICLR 2017).
One that starts from rough topics has nothing to break out of. The steps are those of expectation maximisation
(T. Hofmann, "Probabilistic Latent Semantic Indexing", SIGIR 1999), each document with the same weight, as in the loss.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

DOCUMENTS = 8000
_STEPS = 30
_STRENGTH = 0.5
_BACKGROUND_COUNT = 0.5  # of each word beforehand, so that none is impossible
_WORD_SMOOTHING, _TOPIC_SMOOTHING = 0.01, 0.05
_BLOCK_NUMBERS = 1 << 22
_TINY = 1e-12


class Seed(NamedTuple):
    """What the decoder starts with.

    Attributes:
        topics: log of how much likelier each word is in each topic than in the corpus, (K, V) float32.
        background: log probability of each word in the corpus, (V,) float32.
    """

    topics: np.ndarray
    background: np.ndarray


def find(counts: sp.csr_array, num_topics: int, random: np.random.Generator) -> Seed:
    """Topics of the documents ``counts``, (D, V), of which each has words.

    Memory: V K numbers, twice. Cost: the non-zeros times K, thirty times.
    """
    words = np.asarray(counts.sum(axis=0), np.float64).reshape(-1) + _BACKGROUND_COUNT
    background = (words / words.sum()).astype(np.float32)
    lengths = np.asarray(counts.sum(axis=1), np.float32).reshape(-1)
    shares = sp.csr_array(sp.diags_array(1 / lengths) @ counts, dtype=np.float32)
    topics = _first(counts, background, num_topics, random)
    mixtures = np.full((counts.shape[0], num_topics), 1 / num_topics, np.float32)
    for _ in range(_STEPS):
        topics, mixtures = _step(shares, topics, mixtures, background)
    return Seed(_STRENGTH * np.log(topics / background), np.log(background))


def _first(counts: sp.csr_array, background: np.ndarray, num_topics: int, random: np.random.Generator) -> np.ndarray:
    """Half the background, half the words of a few documents, (K, V)."""
    few = max(1, counts.shape[0] // (4 * num_topics))
    topics = np.empty((num_topics, counts.shape[1]), np.float32)
    for topic in topics:
        words = np.asarray(counts[random.integers(counts.shape[0], size=few)].sum(axis=0)).reshape(-1)
        topic[:] = (words / words.sum() + background) / 2
    return topics


def _step(
    shares: sp.csr_array, topics: np.ndarray, mixtures: np.ndarray, background: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    words = np.ascontiguousarray(topics.T)
    expected = np.zeros_like(words)
    updated = np.empty_like(mixtures)
    longest = max(1, shares.nnz // max(1, shares.shape[0]))
    size = max(1, _BLOCK_NUMBERS // (len(topics) * longest))
    for start in range(0, len(mixtures), size):
        rows = slice(start, start + size)
        block, theta = shares[rows], mixtures[rows]
        owners = np.repeat(np.arange(len(theta)), np.diff(block.indptr))
        block.data /= np.einsum("nk,nk->n", theta[owners], words[block.indices]) + _TINY
        expected += np.asarray(block.T @ theta)
        updated[rows] = theta * np.asarray(block @ words) + _TOPIC_SMOOTHING / len(topics)
    topics = (expected * words).T + _WORD_SMOOTHING * background
    return topics / topics.sum(axis=1, keepdims=True), updated / updated.sum(axis=1, keepdims=True)
