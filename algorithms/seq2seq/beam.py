"""Beam search over many sentences at once, with any decoder that scores the next token.

Hypotheses are compared by their log probability divided by their length with ``</s>`` (Y. Wu et al., "Google's Neural
Machine Translation System", 2016, section 7, with alpha 1 and without the constant 5; Sockeye 1.x's default). A
sentence is done when it has as many finished hypotheses as the beam is wide, or reaches its limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from algorithms.seq2seq.vocabulary import BEGIN, END, PAD

NEVER = (PAD, BEGIN)
"""Tokens that no target has."""
_BLOCK = 64


class Step(NamedTuple):
    """The output of a decoder for the hypotheses of a beam, one in each row.

    Attributes:
        scores: (rows, V) before softmax. weights: (rows, S), of the source's tokens. states: arrays of (rows, ...).
    """

    scores: np.ndarray
    weights: np.ndarray
    states: list[np.ndarray]


Decoder = Callable[[np.ndarray, list[np.ndarray], np.ndarray], Step]
"""``decoder(tokens, states, sentences)``: the step after ``tokens``, (rows,), of sentences, (rows,)."""


@dataclass
class Hypothesis:
    """A finished target: its tokens without ``</s>``, (T,), score, and the weights of the source, (T, S)."""

    tokens: np.ndarray
    score: float
    weights: np.ndarray


@dataclass
class _Sentence:
    limit: int
    finished: list[Hypothesis] = field(default_factory=list)

    def best(self) -> Hypothesis:
        """The best finished hypothesis; an empty one if the decoder gave no finite scores."""
        nothing = Hypothesis(np.zeros(0, np.int32), -np.inf, np.zeros((0, 0), np.float32))
        return max(self.finished, key=lambda found: found.score, default=nothing)


def search(
    decoder: Decoder, states: list[np.ndarray], limits: np.ndarray, width: int, *, keep_weights: bool = False
) -> list[Hypothesis]:
    """The best hypothesis of each sentence.

    Args:
        states: of the decoder before the first token, arrays of (sentences, ...).
        limits: the most tokens of each target, (sentences,), at least 1. width: of the beam.
        keep_weights: the hypotheses have weights, which are (T, 0) otherwise.
    """
    running = _Search(decoder, states, limits, width, keep_weights)
    time = 1
    while running.step(time):
        time += 1
    return [sentence.best() for sentence in running.sentences]


class _Search:
    """The hypotheses of all sentences that are not done.

    Attributes:
        active: numbers of these sentences, (A,). totals: log probabilities, (A, beam). tokens: (A, beam, time) with
            ``<s>``. history: weights of each step, (A, beam, S). states: of the decoder, (A beam, ...).
    """

    def __init__(
        self, decoder: Decoder, states: list[np.ndarray], limits: np.ndarray, width: int, keep_weights: bool
    ) -> None:
        self.sentences = [_Sentence(int(limit)) for limit in limits]
        self._decoder, self._width, self._keep_weights = decoder, width, keep_weights
        self._active = np.arange(len(limits))
        self._totals = np.zeros((len(limits), 1))  # all hypotheses of the first step are the same
        self._tokens = np.full((len(limits), 1, 1), BEGIN, np.int32)
        self._history: list[np.ndarray] = []
        self._states = states

    def step(self, time: int) -> bool:
        """Extend each hypothesis by a token; whether sentences are left."""
        count, beam = self._totals.shape
        step = self._decoder(self._tokens[:, :, -1].ravel(), self._states, np.repeat(self._active, beam))
        self._states = step.states
        if self._keep_weights:
            self._history.append(step.weights.reshape(count, beam, -1))
        scores, chosen = _candidates(step.scores, self._totals, 2 * self._width)
        parents, words = chosen // step.scores.shape[1], (chosen % step.scores.shape[1]).astype(np.int32)
        last = np.array([time == self.sentences[number].limit for number in self._active])
        self._finish(parents, words, scores, last)
        full = np.array([len(self.sentences[number].finished) >= self._width for number in self._active])
        return self._go_on(parents, words, scores, ~(last | full))

    def _finish(self, parents: np.ndarray, words: np.ndarray, scores: np.ndarray, last: np.ndarray) -> None:
        """Keep the hypotheses that ended. An ``</s>`` counts only where it is among the best; the limit ends all."""
        best = np.arange(scores.shape[1]) < self._width
        ended = best & ((words == END) | last[:, None]) & np.isfinite(scores)
        for row, place in zip(*np.nonzero(ended), strict=True):
            parent, word = parents[row, place], words[row, place]
            whole = self._tokens[row, parent, 1:]
            score = float(scores[row, place]) / (len(whole) + 1)
            if word != END:  # cut at the limit
                whole = np.append(whole, word)
            seen = [step[row, parent] for step in self._history[: len(whole)]]
            size = self._history[0].shape[2] if self._history else 0
            weights = np.array(seen) if seen else np.zeros((len(whole), size), np.float32)
            self.sentences[self._active[row]].finished.append(Hypothesis(whole, score, weights))

    def _go_on(self, parents: np.ndarray, words: np.ndarray, scores: np.ndarray, left: np.ndarray) -> bool:
        """Go on with the best that did not end, of the sentences that are ``left``."""
        totals = np.where(words == END, -np.inf, scores)
        order = np.argsort(-totals, axis=1, kind="stable")[:, : self._width]
        totals = np.take_along_axis(totals, order, axis=1)
        kept = np.flatnonzero(left & np.isfinite(totals[:, 0]))[:, None]
        parents, words = parents[kept, order[kept[:, 0]]], words[kept, order[kept[:, 0]]]
        rows = (kept * self._totals.shape[1] + parents).ravel()
        self._tokens = np.concatenate([self._tokens[kept, parents], words[:, :, None]], axis=2)
        self._history = [weights[kept, parents] for weights in self._history]
        self._states = [state[rows] for state in self._states]
        self._totals, self._active = totals[kept[:, 0]], self._active[kept[:, 0]]
        return bool(len(kept))


def _candidates(scores: np.ndarray, totals: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The best continuations of each sentence in falling order: log probabilities, (sentences, count), and
    hypothesis times V plus token, of the same shape."""
    size = scores.shape[1]
    highest = scores.max(axis=1, keepdims=True)
    log_sums = highest[:, 0] + np.log(np.exp(scores - highest).sum(axis=1))
    scores[:, NEVER] = -np.inf
    top = _top(scores, min(count, size))
    values = np.take_along_axis(scores, top, axis=1).astype(np.float64) - log_sums[:, None]
    values = totals[:, :, None] + values.reshape(*totals.shape, -1)
    places = np.arange(totals.shape[1])[None, :, None] * size + top.reshape(values.shape)
    values, places = values.reshape(len(totals), -1), places.reshape(len(totals), -1)
    order = np.lexsort((places, -values), axis=1)[:, :count]  # equal scores: the lower token, wherever it is computed
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(places, order, axis=1)


def _top(scores: np.ndarray, count: int) -> np.ndarray:
    """Where the ``count`` largest of each row are, in any order, (rows, count).

    They are in the ``count`` blocks with the largest maxima; so most of a large vocabulary is only read once.
    """
    rows, size = scores.shape
    blocks = size // _BLOCK
    places = np.broadcast_to(np.arange(size), scores.shape)
    if blocks > 2 * count:
        maxima = scores[:, : blocks * _BLOCK].reshape(rows, blocks, _BLOCK).max(axis=2)
        best = np.argpartition(maxima, blocks - count, axis=1)[:, blocks - count :]
        inside = (best[:, :, None] * _BLOCK + np.arange(_BLOCK)).reshape(rows, -1)
        rest = np.broadcast_to(np.arange(blocks * _BLOCK, size), (rows, size - blocks * _BLOCK))
        places = np.concatenate([inside, rest], axis=1)
        scores = np.take_along_axis(scores, places, axis=1)
    largest = np.argpartition(scores, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count :]
    return np.take_along_axis(places, largest, axis=1)
