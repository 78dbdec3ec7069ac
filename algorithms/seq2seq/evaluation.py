"""How good a network is on held-out pairs: perplexity and accuracy given the true tokens before, BLEU of
translations."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from algorithms.common.hosts import ONE_HOST, from_leader
from algorithms.interface import Hosts
from algorithms.seq2seq.data import batch, buckets
from algorithms.seq2seq.translator import Translator
from algorithms.seq2seq.vocabulary import Vocabulary
from recordio.sequences import Pairs

T = TypeVar("T")
R = TypeVar("R")

_BATCH = 64
_MOST_EXPONENT = 700.0  # of a float; a perplexity beyond it says no more


def judge(translator: Translator, pairs: Pairs, hosts: Hosts = ONE_HOST) -> dict[str, float]:
    """Scores on the pairs of all hosts, given the true tokens before each token; ``</s>`` counts as one.

    ``perplexity`` is e to the mean negative log likelihood of a token, NaN if training has diverged; ``accuracy`` is
    the share of tokens that are the likeliest.
    """

    def sums(numbers: np.ndarray) -> tuple[float, int, int]:
        with np.errstate(over="ignore", invalid="ignore"):
            losses, hits = translator.judge(batch(pairs, numbers))
        return float(losses.sum(dtype=np.float64)), int(hits.sum()), len(losses)

    parts = [group[at : at + _BATCH] for group in buckets(pairs, 5) for at in range(0, len(group), _BATCH)]
    mine = np.sum([(0.0, 0, 0), *_in_threads(sums, parts)], axis=0)
    loss, right, count = hosts.sum(mine)[0]
    return {"perplexity": perplexity(loss / count), "accuracy": float(right / count)}


def _in_threads(work: Callable[[T], R], parts: Iterable[T]) -> list[R]:
    """``work`` on each part, in order, one CPU for each: the matrix products of a step are too small to share."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(work, parts))


def perplexity(loss: float) -> float:
    """e to a mean negative log likelihood in nats.

    >>> perplexity(0)
    1.0
    """
    return math.exp(min(loss, _MOST_EXPONENT))


def bleu(found: Sequence[str], true: Sequence[str]) -> float:
    """BLEU of a corpus, 0 to 1, on the tokens as they are (sacrebleu with ``tokenize='none'``; K. Papineni et al., ACL
    2002; M. Post, WMT 2018).

    >>> bleu(["a b c d e"], ["a b c d e"])
    1.0
    """
    import sacrebleu

    return sacrebleu.corpus_bleu(list(found), [list(true)], tokenize="none", force=True).score / 100


def sentence_bleu(found: str, true: str) -> float:
    """BLEU of a single sentence, 0 to 1: of the n-grams that it is long enough for, smoothed (sacrebleu's own).

    >>> sentence_bleu("a b", "a b"), sentence_bleu("a b", "c d")
    (1.0, 0.0)
    """
    import sacrebleu

    return sacrebleu.sentence_bleu(found, [true], tokenize="none").score / 100


def translate_and_score(
    translator: Translator,
    pairs: Pairs,
    numbers: Sequence[int],
    beam: int,
    vocabulary: Vocabulary,
    hosts: Hosts = ONE_HOST,
) -> float:
    """BLEU of the pairs of these numbers, and of those of the other hosts."""
    order = sorted(numbers, key=lambda number: len(pairs.source[number]))
    parts = [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]
    found = _in_threads(lambda part: translator.translate([pairs.source[number] for number in part], beam), parts)
    texts = [vocabulary.text(hypothesis.tokens) for part in found for hypothesis in part]
    true = [vocabulary.text(pairs.target[number]) for number in order]
    told = hosts.gather([texts, true])
    return float(
        from_leader(
            hosts, lambda: bleu([one for part, _ in told for one in part], [one for _, part in told for one in part])
        )
    )
