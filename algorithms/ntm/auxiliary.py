"""The auxiliary channel: the words behind the ids, and vectors of words to judge topics by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algorithms.errors import ChannelError

VOCABULARY = "vocab.txt"


@dataclass(frozen=True)
class Auxiliary:
    """Attributes:
    words: V of them. vectors: (V, d) float32, zeros for words that have none; None where no vectors were given.
    """

    words: list[str]
    vectors: np.ndarray | None = None

    @property
    def unknown(self) -> int:
        """The number of words without a vector."""
        return 0 if self.vectors is None else int((~self.vectors.any(axis=1)).sum())


def read(folder: Path, feature_dim: int) -> Auxiliary:
    """The vocabulary, and the word vectors in the other .txt file where there is one.

    Raises:
        ChannelError: a file is missing, is not UTF-8, or does not have the lines that it should have.
    """
    path = folder / VOCABULARY
    if not path.is_file():
        present = ", ".join(sorted(item.name for item in folder.glob("*"))) if folder.is_dir() else ""
        raise ChannelError(f"channel 'auxiliary' has no file '{VOCABULARY}'; it holds: {present or 'nothing'}")
    words = [line for _, line in _lines(path)]
    if len(words) != feature_dim:
        raise ChannelError(
            f"feature_dim is {feature_dim}, but '{VOCABULARY}' of channel 'auxiliary' has {len(words)} lines; it "
            "must have one word a line, in the order of the ids"
        )
    for number, word in enumerate(words, 1):
        if not word:
            raise ChannelError(f"line {number} of '{VOCABULARY}' of channel 'auxiliary' has no word")
    others = [item for item in sorted(folder.glob("*.txt")) if item.name != VOCABULARY and item.is_file()]
    if len(others) > 1:
        names = ", ".join(item.name for item in others)
        raise ChannelError(
            f"channel 'auxiliary' has several .txt files besides '{VOCABULARY}': {names}; at most one is expected, "
            "with word vectors"
        )
    return Auxiliary(words, _vectors(others[0], words) if others else None)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1, without white space around them."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                yield number, line.strip()
    except UnicodeDecodeError as error:
        raise ChannelError(f"'{path.name}' of channel 'auxiliary' is not UTF-8: {error.reason}") from None


def _vectors(path: Path, words: list[str]) -> np.ndarray:
    """The vectors of the vocabulary's words, (V, d) float32; no more is held in memory, whatever the file's length."""
    places = {word: place for place, word in enumerate(words)}
    found: np.ndarray | None = None
    for number, line in _lines(path):
        word, _, rest = line.partition(" ")
        if number == 1 and len(rest.split()) == 1:
            continue  # word2vec's head: how many words and numbers there are
        if word not in places:
            continue
        try:
            vector = np.array(rest.split(), np.float32)
        except ValueError:
            raise ChannelError(f"line {number} of '{path.name}' is no word with its numbers: {line[:60]!r}") from None
        if found is None:
            found = np.zeros((len(words), len(vector)), np.float32)
        if len(vector) != found.shape[1] or not np.isfinite(vector).all():
            raise ChannelError(
                f"line {number} of '{path.name}' has {len(vector)} numbers, of which all must be finite; "
                f"{found.shape[1]} were expected as in the lines before"
            )
        found[places[word]] = vector
    if found is None or not found.shape[1]:
        raise ChannelError(f"'{path.name}' of channel 'auxiliary' has no vector of any word of '{VOCABULARY}'")
    return found
