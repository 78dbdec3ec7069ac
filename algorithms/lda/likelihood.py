"""Topic mixtures of documents, and the steps that raise the likelihood of topics.

Both repeat one update, the mean-field one of zeroth order: a word of a document belongs to topic k in proportion to
theta_k beta_kw, where theta is the document's mean mixture (alpha + words in k) / (alpha0 + words). The last steps are
those of CVB0, the simplest of the updates that Asuncion et al. (UAI 2009) compare, and as good as the best of them:
there a word's own belonging is taken out of the document's mixture, which matters where documents have few words.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import scipy.sparse as sp
from scipy.special import gammaln, psi

from algorithms.common.hosts import ONE_HOST, from_leader
from algorithms.common.topics import npmi
from algorithms.interface import Hosts
from algorithms.lda.belonging import blocks, divide, ratios, update_blocks

LEAST_SMOOTHING, _MOST_SMOOTHING = 0.01, 1.0
"""Bounds of the smoothing, the number of each word that every topic is assumed to have had beforehand, so that no word
is impossible. It is fitted: in few documents many words are missing just by chance, in many hardly any."""

_PRIOR_DOCUMENTS, _PRIOR_STEPS, _PRIOR_TOLERANCE = 1 << 13, 20, 1e-4
_LEAST_PRIOR = 1e-5
_GUESS_WEIGHT = 3
"""The weight of the first guess of the prior against the documents: rate and largest shape of a gamma distribution
around it. Fitted to a few short documents alone the prior would be nearly 0, as some topics explain each of them
wholly."""
_SMOOTHING_NUMBERS, _SMOOTHING_STEPS, _SMOOTHING_TOLERANCE = 1 << 16, 5, 1e-3
_TINY = 1e-30
_COHERENCE_DOCUMENTS, _FIRST_WORDS = 1 << 16, 10
_LEAST_COHERENCE = 0.1
"""The lowest NPMI by which topics are compared; lower values are mostly noise."""
_PART_WORDS = 64
_DIVERGED_WORDS = 1 << 9  # words whose divergences are computed at a time: what stays in the cache
_INFERENCE_STEPS, _INFERENCE_ROUNDS, _INFERENCE_TOLERANCE = 10, 20, 1e-5


class Ascent:
    """Topics on their way up the likelihood.

    Args:
        counts: (D, V) CSR float32, of this host.
        alpha: (K,).
        beta: (K, V), rows that sum to 1.
        hosts: which all call the same methods; what one does next depends on sums and the leader's numbers alone.

    Attributes:
        alpha: (K,) float64. words: topics in columns, (V, K) float32.
        mixtures: theta of each document, (D, K) float32. Memory: that, and the non-zeros.
        smoothing: what is added to the number of each word in each topic.
        sizes: words of each topic, (K,) float64, with the smoothing.
    """

    def __init__(self, counts: sp.csr_array, alpha: np.ndarray, beta: np.ndarray, hosts: Hosts = ONE_HOST) -> None:
        self.counts = counts
        self.alpha = alpha
        self.words = np.ascontiguousarray(beta.T, np.float32)
        start = np.asarray(counts @ self.words) + np.float32(_TINY)
        self.mixtures = start / start.sum(axis=1, keepdims=True)
        self.smoothing, self.sizes = LEAST_SMOOTHING, np.zeros(len(alpha))
        self._lengths = np.asarray(counts.sum(axis=1), np.float32).reshape(-1, 1)
        self._hosts = hosts
        sizes = hosts.sum(np.array([len(self._lengths), self._lengths.sum()], np.float64))[0]
        self._documents, self._every_word = int(sizes[0]), max(float(sizes[1]), 1.0)

    def sweep(self, *, collapsed: bool = False) -> float:
        """One update of all mixtures, then of all topics; ``collapsed`` for that of CVB0.

        Returns the mean log likelihood of a word before it.
        """
        alpha = self.alpha.astype(np.float32)
        parts = list(update_blocks(self.counts, len(alpha)))
        of_block = np.empty(self.words.shape, np.float32)
        expected = of_block if len(parts) == 1 else np.zeros(self.words.shape)  # beyond a block float32 loses words
        likelihood = 0.0
        for rows in parts:
            of_block[:] = 0
            sizes = self._lengths[rows] + alpha.sum()
            belonging, gained = divide(
                self.counts[rows],
                self.mixtures[rows],
                self.words,
                sizes=sizes[:, 0] if collapsed else None,
                expected=of_block,
            )
            self.mixtures[rows] = (belonging + alpha) / sizes
            likelihood += gained
            if expected is not of_block:
                expected += of_block
        expected, likelihoods = self._hosts.sum(
            expected if self._hosts.size == 1 else expected.astype(np.float64), np.array([likelihood])
        )
        expected += expected.dtype.type(self.smoothing)
        self.sizes = expected.sum(axis=0, dtype=np.float64)
        expected /= self.sizes.astype(expected.dtype)
        self.words = expected.astype(np.float32, copy=False)
        return float(likelihoods[0]) / self._every_word

    def fit_prior(self, guess: float) -> None:
        """Set ``alpha`` to its maximum a posteriori estimate, given the expected words of each topic in each document,
        and ``guess`` as its expected sum.

        The fixed point of T. Minka, "Estimating a Dirichlet distribution", 2000, equation 55, with expected numbers of
        words in the place of counts. A part of the documents is enough where there are many. Documents of a single word
        are left out: they say nothing of how mixed documents are, and such a word, shared among topics, counts as less
        than one of each, which would lower the prior to next to nothing.
        """
        step = max(1, self._documents // _PRIOR_DOCUMENTS)
        lengths = self._lengths[::step].astype(np.float64)
        used = lengths[:, 0] > 1
        lengths = lengths[used]
        belonging = self.mixtures[::step][used] * (lengths + self.alpha.sum()) - self.alpha
        np.maximum(belonging, _TINY, out=belonging)
        some, belonging = _whole(belonging)
        for _ in range(_PRIOR_STEPS):
            alpha, total = self.alpha, self.alpha.sum()
            gained, expectations = self._hosts.sum(
                (some * (psi(belonging + alpha) - psi(alpha))).sum(axis=0),
                np.array([(psi(lengths + total) - psi(total)).sum()]),
            )
            step_of = partial(_prior_step, alpha, gained, float(expectations[0]), guess)
            self.alpha, over = from_leader(self._hosts, step_of)
            if over:
                break

    def fit_smoothing(self) -> None:
        """Set ``smoothing`` to its maximum likelihood estimate by the same fixed point, from a part of a large
        vocabulary. There must have been a ``sweep``."""
        self.smoothing = from_leader(self._hosts, self._fitted_smoothing)

    def _fitted_smoothing(self) -> float:
        vocabulary, smoothing = len(self.words), self.smoothing
        some_words = self.words[:: max(1, self.words.size // _SMOOTHING_NUMBERS)].astype(np.float64)
        some, expected = _whole(np.maximum(some_words * self.sizes - smoothing, _TINY))
        sizes = np.maximum(self.sizes - vocabulary * smoothing, _TINY)
        for _ in range(_SMOOTHING_STEPS):
            before, total = smoothing, vocabulary * smoothing
            gained = (some * (psi(expected + before) - psi(before))).sum() / len(some_words)
            if not (lost := (psi(sizes + total) - psi(total)).sum()) > 0:
                break  # no topic has a word
            smoothing = min(max(before * gained / lost, LEAST_SMOOTHING), _MOST_SMOOTHING)
            if abs(smoothing - before) < _SMOOTHING_TOLERANCE * before:
                break
        return float(smoothing)

    def shares(self) -> np.ndarray:
        """The share of each topic in the words of the corpus, (K,) float64."""
        (mass,) = self._hosts.sum(np.asarray((self._lengths * self.mixtures).sum(axis=0, dtype=np.float64)))
        return mass / mass.sum()

    def drop_least(self, number: int, *, coherent: bool = False) -> None:
        """Leave out the least informative topics, and spread their prior over the others.

        A topic's share times its divergence from the mixture of the other topics is the likelihood that its words would
        lose without it. So a small topic that no other resembles is kept rather than a large one of common words.
        Topics that are noise of a few words diverge most of all; the cube root of the divergence limits their worth.
        With it both the corpora of known topics and the texts of ``benchmarks/topics.py`` come out no worse than by
        share alone, and mostly better.

        ``coherent``: the worth counts coherence, too, by which readers judge topics (Lau, Newman, Baldwin, EACL 2014):
        do a topic's first words occur in the same documents? A mixture of two themes has little of it.
        """
        shares = self.shares()
        divergences = np.zeros(len(shares))
        for start in range(0, len(self.words), _DIVERGED_WORDS):
            words = self.words[start : start + _DIVERGED_WORDS].astype(np.float64)
            others = (words @ shares)[:, None] - shares * words
            others /= np.maximum(1 - shares, _TINY)
            divergences += (words * np.log(np.maximum(words, _TINY) / np.maximum(others, _TINY))).sum(axis=0)
        worth = shares * np.cbrt(divergences)
        if coherent:
            worth *= self._coherences()
        order = from_leader(self._hosts, lambda: np.argsort(worth, kind="stable"))
        kept = np.sort(order[number:])
        self.alpha = self.alpha[kept] * (self.alpha.sum() / self.alpha[kept].sum())
        self.words = np.ascontiguousarray(self.words[:, kept])
        mixtures = self.mixtures[:, kept] + np.float32(_TINY)
        self.mixtures = mixtures / mixtures.sum(axis=1, keepdims=True)

    def _coherences(self) -> np.ndarray:
        """NPMI of each topic in a part of the documents, (K,) float64, but no less than ``_LEAST_COHERENCE``."""
        step = max(1, self._documents // _COHERENCE_DOCUMENTS)
        found = npmi(_first_words(self.words), self.counts[::step], self._hosts)
        return np.maximum(found, _LEAST_COHERENCE)


def _first_words(words: np.ndarray) -> np.ndarray:
    """The n likeliest words of each topic, unordered, (K, n), of topics in columns, (V, K).

    Only n parts of the vocabulary are searched, those with the largest maxima, as no other part can have one of them.
    """
    number, parts = min(_FIRST_WORDS, len(words)), np.arange(0, len(words), _PART_WORDS)
    best = np.maximum.reduceat(words, parts, axis=0)
    chosen = np.argpartition(best, -min(number, len(parts)), axis=0)[-number:]
    candidates = (parts[chosen][:, None] + np.arange(_PART_WORDS)[:, None]).reshape(-1, words.shape[1])
    inside = candidates < len(words)
    values = np.where(inside, np.take_along_axis(words, np.where(inside, candidates, 0), axis=0), -1)
    first = np.argpartition(values, -number, axis=0)[-number:]
    return np.ascontiguousarray(np.take_along_axis(candidates, first, axis=0).T)


def _whole(expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For expected numbers of words the probability that there is any, and the number given that there is.

    True numbers are whole: half a word expected in each of two documents is one word in one of them, which tells more
    of a small prior. So do Teh, Newman, Welling (NIPS 2006); the probability is that of the Poisson distribution.
    """
    some = -np.expm1(-expected)
    return some, expected / some


def _prior_step(alpha: np.ndarray, gained: np.ndarray, expected: float, guess: float) -> tuple[np.ndarray, bool]:
    """The next prior of the fixed-point iteration, and whether the iteration is over."""
    if not (expected > 0 and gained.max() > 0):
        return alpha, True  # the prior is so large that, in float64, documents say nothing of it
    rate = _GUESS_WEIGHT / max(guess, 1)
    after = np.maximum((alpha * gained + rate * guess / len(alpha)) / (expected + rate), _LEAST_PRIOR)
    return after, bool(np.abs(after - alpha).max() < _PRIOR_TOLERANCE * alpha.sum())


def infer(counts: sp.csr_array, alpha: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Parameters gamma of the Dirichlet distribution of each document's mixture, (n, K) float32.

    A document's answer does not depend on the others in ``counts``. One without words gets alpha.
    """
    lengths = np.asarray(counts.sum(axis=1), np.float32).reshape(-1, 1)
    gamma = (alpha + lengths / len(alpha)).astype(np.float32)
    for rows in blocks(counts, len(alpha)):
        gamma[rows] = _converge(counts[rows], gamma[rows], alpha.astype(np.float32), words)
    return gamma


def _converge(counts: sp.csr_array, gamma: np.ndarray, alpha: np.ndarray, words: np.ndarray) -> np.ndarray:
    moving = np.flatnonzero(np.diff(counts.indptr))
    for _ in range(_INFERENCE_ROUNDS):
        if not len(moving):
            break
        part, current = counts[moving], gamma[moving]
        for _ in range(_INFERENCE_STEPS):
            before = current / current.sum(axis=1, keepdims=True)
            current = alpha + divide(part, before, words)[0]
        gamma[moving] = current
        change = np.abs(current / current.sum(axis=1, keepdims=True) - before).max(axis=1)
        moving = moving[change > _INFERENCE_TOLERANCE]
    return gamma


def log_likelihood_bound(counts: sp.csr_array, gamma: np.ndarray, alpha: np.ndarray, words: np.ndarray) -> float:
    """A lower bound of the log likelihood of documents under the model: Blei, Ng, Jordan (JMLR 2003), equation 15.

    Args:
        gamma: as ``infer`` finds it, (n, K); the bound holds for any.
    """
    gamma = gamma.astype(np.float64)
    expected = psi(gamma) - psi(gamma.sum(axis=1, keepdims=True))  # E[log theta], (n, K)
    bound = float(np.sum((alpha - gamma) * expected + gammaln(gamma)) - np.sum(gammaln(gamma.sum(axis=1))))
    bound += len(gamma) * float(gammaln(alpha.sum()) - gammaln(alpha).sum())
    geometric = np.exp(expected)
    for rows in blocks(counts, len(alpha)):
        block = counts[rows]
        bound += float(block.data @ np.log(ratios(block, geometric[rows], words)[1]))
    return bound
