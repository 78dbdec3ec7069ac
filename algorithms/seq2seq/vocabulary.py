"""Vocabularies: JSON objects from token to id, as Sockeye and SageMaker's example write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from algorithms.common.documents import read_json

PAD, UNKNOWN, BEGIN, END = range(4)
SYMBOLS = ("<pad>", "<unk>", "<s>", "</s>")
"""The tokens of the first four ids."""

SOURCE_FILE, TARGET_FILE = "vocab.src.json", "vocab.trg.json"


class Vocabulary:
    """Tokens and their ids, 0 to ``len(vocabulary) - 1``.

    Raises:
        ValueError: the ids are not those, or the first four are not those of ``SYMBOLS``.

    >>> vocabulary = Vocabulary({**{token: id for id, token in enumerate(SYMBOLS)}, "so": 4, "good": 5})
    >>> vocabulary.ids("so very good").tolist()
    [4, 1, 5]
    >>> vocabulary.text([4, 5])
    'so good'
    """

    def __init__(self, ids: dict[str, int]) -> None:
        if not isinstance(ids, dict) or not all(type(value) is int for value in ids.values()):
            raise ValueError("it must be a JSON object from tokens to integers")
        self._ids = ids
        self._tokens = sorted(ids, key=ids.__getitem__)
        for value, token in enumerate(self._tokens):
            if ids[token] != value:
                raise ValueError(f"the ids must be 0, 1, 2 and so on, each once, but {token!r} has {ids[token]}")
        for value, symbol in enumerate(SYMBOLS):
            if ids.get(symbol) != value:
                raise ValueError(f"the token {symbol!r} must have the id {value}, not {ids.get(symbol)}")

    @classmethod
    def of(cls, tokens: Iterable[str]) -> Vocabulary:
        """The symbols, then ``tokens`` in their order."""
        return cls({token: number for number, token in enumerate((*SYMBOLS, *tokens))})

    def __len__(self) -> int:
        return len(self._tokens)

    def ids(self, text: str) -> np.ndarray:
        """The ids of the tokens of a text, which white space separates, (n,) int32."""
        return np.array([self._ids.get(token, UNKNOWN) for token in text.split()], np.int32)

    def text(self, ids: Sequence[int] | np.ndarray) -> str:
        """The tokens of ids with a space between them."""
        return " ".join(self._tokens[int(value)] for value in ids)

    def to_json(self) -> str:
        """The text of the file. A lone surrogate, which UTF-8 cannot encode, is written as JSON's escape."""
        text = json.dumps(self._ids, ensure_ascii=False, indent=0)
        return text.encode("utf-8", "backslashreplace").decode()


def read(file: Path) -> Vocabulary:
    """The vocabulary of a file.

    Raises:
        ValueError: it is none; the message names the file. OSError: it cannot be read.
    """
    try:
        return Vocabulary(read_json(file.read_bytes(), file.name))
    except ValueError as error:  # a ModelError is one
        raise ValueError(f"'{file.name}' is no vocabulary: {error}") from None
