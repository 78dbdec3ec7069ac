"""Requests to the translator: sources as texts or tokens, and for which of them attention is wanted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from algorithms.errors import PredictionError
from algorithms.interface import Items
from algorithms.seq2seq.vocabulary import Vocabulary

_log = logging.getLogger(__name__)

DIGITS = 6
"""Digits after the point of a weight in a matrix."""

MATRIX = "attention_matrix"


def sources(values: Sequence[str | np.ndarray], vocabulary: Vocabulary, longest: int) -> list[np.ndarray]:
    """The token ids of each source, (n,) integers, cut to ``longest`` tokens as in training.

    Raises:
        PredictionError: there is none, or one is not of the vocabulary.
    """
    if not len(values):
        raise PredictionError("the request has no sequences")
    found = [vocabulary.ids(value) if isinstance(value, str) else value for value in values]
    for number, ids in enumerate(found):
        outside = ids[(ids < 0) | (ids >= len(vocabulary))]
        if len(outside):
            raise PredictionError(
                f"record {number}: there is no token {outside[0]}; the tokens are 0 to {len(vocabulary) - 1}"
            )
    return _cut(found, longest)


def _cut(sources: list[np.ndarray], longest: int) -> list[np.ndarray]:
    lengths = [len(ids) for ids in sources]
    if max(lengths) > longest:
        _log.warning(
            "%d of %d sequences are longer than max_seq_len_source, %d; the longest has %d tokens. Only the first %d "
            "tokens of a sequence are translated.",
            sum(length > longest for length in lengths),
            len(lengths),
            longest,
            max(lengths),
            longest,
        )
    return [ids[:longest] for ids in sources]


def matrices(items: Items, parameters: Mapping[str, str]) -> list[bool]:
    """Whether each item is to be answered with its attention.

    Raises:
        PredictionError: the parameter is neither true nor false.
    """
    asked = [{**parameters, **own}.get(MATRIX, "false") for own in items.parameters or [{}] * len(items)]
    for value in asked:
        if value not in ("true", "false"):
            raise PredictionError(f'"{MATRIX}" must be "true" or "false", and is "{value[:40]}"')
    return [value == "true" for value in asked]
