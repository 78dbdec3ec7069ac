"""The words of documents, divided among the topics: one update of the mean-field method, or of CVB0."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

try:
    from algorithms.lda import _kernel  # type: ignore[attr-defined]
except ImportError:  # built without a compiler: numpy does the same, slower
    _kernel = None

_BLOCK_NUMBERS, _CACHED_NUMBERS = 1 << 22, 1 << 19
_BLOCK_WORDS = 1 << 21  # non-zeros of a block where no array of them times topics is made: sums in float32 are of one
_TINY = 1e-30


def blocks(counts: sp.csr_array, topics: int, numbers: int = _BLOCK_NUMBERS) -> Iterator[slice]:
    """Slices of documents, each of whose words times ``topics`` are at most ``numbers``; one document at least."""
    limit = max(1, numbers // topics)
    start, documents = 0, counts.shape[0]
    while start < documents:
        stop = int(np.searchsorted(counts.indptr, counts.indptr[start] + limit, side="right")) - 1
        stop = min(max(stop, start + 1), documents)
        yield slice(start, stop)
        start = stop


def update_blocks(counts: sp.csr_array, topics: int) -> Iterator[slice]:
    """Slices of documents of the size that is fastest for ``divide``."""
    return blocks(counts, topics, _BLOCK_NUMBERS if _kernel is None else _BLOCK_WORDS * topics)


def ratios(counts: sp.csr_array, mixtures: np.ndarray, words: np.ndarray) -> tuple[sp.csr_array, np.ndarray]:
    """Counts divided by the probabilities of their words, CSR as ``counts``, and these probabilities, (non-zeros,).

    Args:
        counts: (n, V) CSR. mixtures: (n, K). words: topics in columns, (V, K).
    """
    documents = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    probabilities = np.einsum("nk,nk->n", mixtures[documents], words[counts.indices])
    np.maximum(probabilities, _TINY, out=probabilities)
    return sp.csr_array((counts.data / probabilities, counts.indices, counts.indptr), counts.shape), probabilities


def divide(
    counts: sp.csr_array,
    mixtures: np.ndarray,
    words: np.ndarray,
    *,
    sizes: np.ndarray | None = None,
    expected: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """How many words of each document belong to each topic, (n, K) float32, and the log likelihood of all their words.

    Args:
        counts: (n, V) CSR float32. mixtures: theta, (n, K) float32. words: topics in columns, (V, K) float32.
        sizes: (n,) float32, words of each document and of its prior: then each word is left out of the mixture by which
            it is divided (CVB0). None for the mean-field update.
        expected: (V, K) float32, to which is added how many of each word belong to each topic.
    """
    if _kernel is not None:
        belonging = np.empty(mixtures.shape, np.float32)
        none = np.empty(0, np.float32)
        likelihood = _kernel.divide(
            np.ascontiguousarray(counts.data, np.float32),
            np.ascontiguousarray(counts.indices, np.int32),
            np.ascontiguousarray(counts.indptr, np.int64),
            np.ascontiguousarray(mixtures, np.float32),
            np.ascontiguousarray(words, np.float32),
            none if sizes is None else np.ascontiguousarray(sizes, np.float32),
            belonging,
            none if expected is None else expected,
            words.shape[1],
        )
        return belonging, float(likelihood)
    if sizes is None:
        return _mean_field(counts, mixtures, words, expected)
    return _collapsed(counts, mixtures, words, sizes, expected)


def _mean_field(
    counts: sp.csr_array, mixtures: np.ndarray, words: np.ndarray, expected: np.ndarray | None
) -> tuple[np.ndarray, float]:
    weights, probabilities = ratios(counts, mixtures, words)
    if expected is not None:
        expected += words * np.asarray(weights.T @ mixtures)
    return mixtures * np.asarray(weights @ words), float(counts.data @ np.log(probabilities))


def _collapsed(
    counts: sp.csr_array, mixtures: np.ndarray, words: np.ndarray, sizes: np.ndarray, expected: np.ndarray | None
) -> tuple[np.ndarray, float]:
    parts, likelihood = [], 0.0
    # The arrays of words times topics stay in the cache, unless the topics themselves are larger than they are.
    for part in blocks(counts, mixtures.shape[1], max(_CACHED_NUMBERS, words.size)):
        block, theta = counts[part], mixtures[part]
        of_each, every = np.diff(block.indptr), np.arange(block.nnz + 1)
        chosen = words[block.indices]  # (non-zeros, K), as what follows
        before = np.repeat(theta, of_each, axis=0)
        before *= chosen
        probabilities = np.maximum(before.sum(axis=1), _TINY)
        before /= probabilities[:, None]
        after = np.repeat(theta * sizes[part, None], of_each, axis=0)
        after -= before
        np.maximum(after, 0, out=after)
        after *= chosen
        after *= (block.data / np.maximum(after.sum(axis=1), _TINY))[:, None]
        ones = np.ones(block.nnz, np.float32)
        if expected is not None:
            expected += sp.csc_array((ones, block.indices, every), (len(words), block.nnz)) @ after
        parts.append(sp.csr_array((ones, every[:-1], block.indptr), (block.shape[0], block.nnz)) @ after)
        likelihood += float(block.data @ np.log(probabilities))
    return np.concatenate(parts), likelihood
