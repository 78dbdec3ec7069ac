"""How good a network is on held-out pairs: perplexity and accuracy with a teacher, BLEU of what it finds itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from algorithms.seq2seq.data import batch, buckets
from algorithms.seq2seq.translator import Translator
from algorithms.seq2seq.vocabulary import Vocabulary
from recordio.sequences import Pairs

_BATCH = 64
_MOST_EXPONENT = 700.0  # of a float; a perplexity beyond it says no more


def judge(translator: Translator, pairs: Pairs) -> dict[str, float]:
    """``perplexity``, e to the mean negative log likelihood of a token, and ``accuracy``, the share of tokens that are
    the likeliest; both with ``</s>``, and with the true tokens before each."""
    loss = right = count = 0.0
    for group in buckets(pairs, 5):
        for at in range(0, len(group), _BATCH):
            losses, hits = translator.judge(batch(pairs, group[at : at + _BATCH]))
            loss += float(losses.sum(dtype=np.float64))
            right += int(hits.sum())
            count += len(losses)
    return {"perplexity": perplexity(loss / count), "accuracy": right / count}


def perplexity(loss: float) -> float:
    """Of a mean negative log likelihood, in nats.

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


def translate_and_score(
    translator: Translator, pairs: Pairs, numbers: Sequence[int], beam: int, vocabulary: Vocabulary
) -> float:
    """BLEU of the pairs of these numbers."""
    found = translator.translate([pairs.source[number] for number in numbers], beam)
    texts = [vocabulary.text(hypothesis.tokens) for hypothesis in found]
    return bleu(texts, [vocabulary.text(pairs.target[number]) for number in numbers])
