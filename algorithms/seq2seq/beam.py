"""Beam search over many sentences at once, on anything that can say how likely each next token is.

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
    """What a decoder says of the hypotheses of a beam, a row each.

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


def search(
    decoder: Decoder, states: list[np.ndarray], limits: np.ndarray, width: int, *, keep_weights: bool = False
) -> list[Hypothesis]:
    """The best hypothesis of each sentence.

    Args:
        states: of the decoder before the first token, arrays of (sentences, ...).
        limits: the most tokens of each target, (sentences,), at least 1. width: of the beam.
        keep_weights: the hypotheses have weights, which are (T, 0) otherwise.
    """
    sentences = [_Sentence(int(limit)) for limit in limits]
    active = np.arange(len(sentences))
    beam = 1  # all hypotheses of the first step are the same
    totals = np.zeros((len(active), 1))
    tokens = np.full((len(active), 1, 1), BEGIN, np.int32)  # sentences, beam, time
    history: list[np.ndarray] = []  # weights of each step, (sentences, beam, S)
    for time in range(1, int(max(limits)) + 1):
        step = decoder(tokens[:, :, -1].ravel(), states, np.repeat(active, beam))
        scores, chosen = _candidates(step.scores, totals, 2 * width)
        parents, words = chosen // step.scores.shape[1], (chosen % step.scores.shape[1]).astype(np.int32)
        rows = np.arange(len(active))[:, None]
        if keep_weights:
            history.append(step.weights.reshape(len(active), beam, -1))
        last = np.array([time == sentences[number].limit for number in active])
        best = np.arange(scores.shape[1]) < width  # an </s> counts only where it is among the best
        ended = ((words == END) & best | last[:, None] & best) & np.isfinite(scores)
        for row, place in zip(*np.nonzero(ended), strict=True):
            _finish(
                sentences[active[row]], row, parents[row, place], words[row, place], scores[row, place], tokens, history
            )
        left = np.array(
            [not last[row] and len(sentences[number].finished) < width for row, number in enumerate(active)], bool
        )
        # the best that go on: those that ended are moved to the back
        order = np.argsort(np.where(words == END, np.inf, -scores), axis=1, kind="stable")[:, :width]
        left &= np.isfinite(scores[rows, order[:, :1]]).ravel() & (words[rows, order[:, :1]] != END).ravel()
        if not left.any():
            break
        order, parents, words, scores = order[left], parents[left], words[left], scores[left]
        rows = np.arange(len(order))[:, None]
        parents, words = parents[rows, order], words[rows, order]
        totals = np.where(words == END, -np.inf, scores[rows, order])
        flat = (np.flatnonzero(left)[:, None] * beam + parents).ravel()
        kept = np.flatnonzero(left)[:, None]
        tokens = np.concatenate([tokens[kept, parents], words[:, :, None]], axis=2)
        history = [weights[kept, parents] for weights in history]
        states = [state[flat] for state in step.states]
        active, beam = active[left], order.shape[1]
    return [max(sentence.finished, key=lambda found: found.score) for sentence in sentences]


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

    They lie in the ``count`` blocks with the largest maxima, so most of a large vocabulary is only looked at once.
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


def _finish(
    sentence: _Sentence, row: int, parent: int, word: int, total: float, tokens: np.ndarray, history: list[np.ndarray]
) -> None:
    whole = tokens[row, parent, 1:]
    score = total / (len(whole) + 1)
    if word != END:  # cut at the limit
        whole = np.append(whole, word)
    seen = [step[row, parent] for step in history[: len(whole)]]
    weights = np.array(seen) if seen else np.zeros((len(whole), history[0].shape[2] if history else 0), np.float32)
    sentence.finished.append(Hypothesis(whole, float(score), weights))
