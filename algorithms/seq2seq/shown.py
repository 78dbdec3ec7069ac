"""Translations of validation pairs for the page about a job, with their BLEU, and what the network attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from algorithms.figures import Figure, Heatmap, Table
from algorithms.seq2seq.evaluation import bleu, sentence_bleu
from recordio.sequences import Pairs

if TYPE_CHECKING:
    from algorithms.seq2seq.beam import Hypothesis
    from algorithms.seq2seq.model import Seq2SeqModel

_SENTENCES = 12
_LONGEST = 12
"""Tokens of a pair whose attention can be read on a page."""


def figures(model: Seq2SeqModel, pairs: Pairs) -> list[Figure]:
    """Some translations, evenly from all pairs, and the attention of one."""
    count = len(pairs.source)
    if not count:
        return []
    numbers = np.unique(np.linspace(0, count - 1, _SENTENCES).astype(int))
    sources = [pairs.source[number] for number in numbers]
    found = model.translator.translate(sources, model.beam_size, weights=True)
    true = [model.target.text(pairs.target[number]) for number in numbers]
    said = [model.target.text(one.tokens) for one in found]
    rows = [
        [model.source.text(source), reference, translation, f"{sentence_bleu(translation, reference):.2f}"]
        for source, reference, translation in zip(sources, true, said, strict=True)
    ]
    table = Table(
        title="Translations",
        columns=("source", "reference", "translation", "BLEU"),
        rows=rows,
        note=f"{len(rows)} of {count:,} pairs of validation; BLEU of these together is {bleu(said, true):.3f}.",
    )
    return [table, *_attention(model, sources, found)]


def _attention(model: Seq2SeqModel, sources: Sequence[np.ndarray], found: Sequence[Hypothesis]) -> list[Figure]:
    """Of the longest pair that can be read, if there is one."""
    readable = [
        (len(source), number)
        for number, (source, one) in enumerate(zip(sources, found, strict=True))
        if len(source) <= _LONGEST and 0 < len(one.tokens) <= _LONGEST
    ]
    if not readable:
        return []
    source, one = sources[max(readable)[1]], found[max(readable)[1]]
    return [
        Heatmap(
            title="Attention",
            values=np.round(one.weights[: len(one.tokens)].astype(float), 2),
            x="source",
            y="translation",
            rows=[model.target.text([token]) for token in one.tokens],
            columns=[model.source.text([token]) for token in source],
            written=True,
            note="Where in the source the network looks as it writes each token; a row sums to 1.",
        )
    ]
