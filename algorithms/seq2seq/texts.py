"""From two parallel text files to what training reads: records of tokens, and vocabularies.

A line of one file is the translation of the same line of the other; white space separates tokens. The vocabularies are
those of the training lines, the most frequent tokens first.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TextIO

import numpy as np

from algorithms.common.randomness import draws
from algorithms.errors import TrainingDataError
from algorithms.seq2seq.vocabulary import SOURCE_FILE, SYMBOLS, TARGET_FILE, Vocabulary
from recordio.sequences import Pairs, Ragged, encode

TRAIN_FILE, VALIDATION_FILE = "train.rec", "val.rec"
Line = tuple[str, str]


@dataclass(frozen=True)
class Made:
    """How many pairs and tokens there are: what a user wants to know."""

    train: int
    validation: int
    left_out: int
    source_vocabulary: int
    target_vocabulary: int


def make(
    source: Path,
    target: Path,
    output: Path,
    *,
    validation: tuple[Path, Path] | None = None,
    share: float = 0.05,
    size: int = 50_000,
    least: int = 1,
    lower: bool = False,
    seed: int = 0,
) -> Made:
    """Write ``train/train.rec``, ``validation/val.rec`` and ``vocab/vocab.src.json``, ``vocab/vocab.trg.json``.

    Args:
        validation: two more files; without them ``share`` of the lines is held out, all lines of a source together, so
            that none is seen in training.
        size, least: most tokens of a vocabulary, and how often each occurs at least. lower: fold to lower case.

    Raises:
        TrainingDataError: the files differ in length, or there is nothing to train on.
    """
    lines, left_out = _read(source, target, lower)
    if validation is None:
        lines, held_out = _split(lines, share, seed)
    else:
        held_out, more = _read(*validation, lower)
        left_out += more
    if not lines or not held_out:
        raise TrainingDataError(
            f"{source} and {target} give {len(lines)} pairs to train on and {len(held_out)} to validate with; "
            "there must be at least one of each"
        )
    vocabularies = [_count((line[side] for line in lines), size, least) for side in (0, 1)]
    for folder, name, part in (("train", TRAIN_FILE, lines), ("validation", VALIDATION_FILE, held_out)):
        (output / folder).mkdir(parents=True, exist_ok=True)
        (output / folder / name).write_bytes(encode(_pairs(part, vocabularies)))
    (output / "vocab").mkdir(exist_ok=True)
    for name, vocabulary in zip((SOURCE_FILE, TARGET_FILE), vocabularies, strict=True):
        (output / "vocab" / name).write_text(vocabulary.to_json(), "utf-8")
    return Made(len(lines), len(held_out), left_out, len(vocabularies[0]), len(vocabularies[1]))


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _read(source: Path, target: Path, lower: bool) -> tuple[list[Line], int]:
    """The pairs of lines, and how many are left out because a side is empty."""
    with ExitStack() as stack:
        files = [stack.enter_context(_open(path)) for path in (source, target)]
        try:
            pairs = list(zip_longest(*files))
        except UnicodeDecodeError as error:
            raise TrainingDataError(f"{source} or {target} is not UTF-8: {error.reason}") from None
    if pairs and None in pairs[-1]:
        counts = [sum(line is not None for line in side) for side in zip(*pairs, strict=True)]
        raise TrainingDataError(f"{source} has {counts[0]} lines, but {target} has {counts[1]}; they must be parallel")
    kept = [(_fold(one, lower), _fold(other, lower)) for one, other in pairs if one.strip() and other.strip()]
    return kept, len(pairs) - len(kept)


def _fold(line: str, lower: bool) -> str:
    return line.strip().lower() if lower else line.strip()


def _split(lines: Sequence[Line], share: float, seed: int) -> tuple[list[Line], list[Line]]:
    """Training and held-out lines; a source is on one side only."""
    sources = sorted({line[0] for line in lines})
    chosen = draws("held out", seed).permutation(len(sources))[: max(1, round(share * len(sources)))]
    held_out = {sources[number] for number in chosen}
    return [line for line in lines if line[0] not in held_out], [line for line in lines if line[0] in held_out]


def _count(lines: Iterable[str], size: int, least: int) -> Vocabulary:
    counts = Counter(token for line in lines for token in line.split())
    for symbol in SYMBOLS:
        counts.pop(symbol, None)
    frequent = sorted((token for token, count in counts.items() if count >= least), key=lambda t: (-counts[t], t))
    return Vocabulary.of(frequent[:size])


def _pairs(lines: Sequence[Line], vocabularies: Sequence[Vocabulary]) -> Pairs:
    def ids(side: int) -> Iterator[np.ndarray]:
        return (vocabularies[side].ids(line[side]) for line in lines)

    return Pairs(Ragged.of(ids(0)), Ragged.of(ids(1)))
