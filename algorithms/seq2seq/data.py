"""Pairs of sequences as batches: cut to a length, put into buckets by length, padded, with inputs and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algorithms.common.hosts import ONE_HOST
from algorithms.errors import TrainingDataError
from algorithms.interface import Hosts
from algorithms.seq2seq.layers import Source
from algorithms.seq2seq.vocabulary import BEGIN, END, PAD
from recordio.sequences import Pairs, Ragged
from recordio.shares import Share

_POOL = 32
"""Batches that are sorted by length together: there is little padding, and no two epochs have the same batches."""


@dataclass(frozen=True)
class Batch:
    """B pairs.

    Attributes:
        source: (B, S).
        target: (B, T) int32, ``<s>`` and the target.
        places: (n,) int32, the places of the flattened target that count.
        labels: (n,) int32, the token that follows at each of them.
        weights: (n,) float32, 0 for padding.
    """

    source: Source
    target: np.ndarray
    places: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """All but the labels and weights, in the order in which the network takes them."""
        s = self.source
        return s.ids, s.lengths, s.reverse, s.mask, self.target, self.places


def check(pairs: Pairs, channel: str, source_vocabulary: int, target_vocabulary: int) -> None:
    """See that every sequence can be trained on.

    Raises:
        TrainingDataError: a sequence is empty, or an id is not of its vocabulary.
    """
    for what, ragged, size in (
        ("source", pairs.source, source_vocabulary),
        ("target", pairs.target, target_vocabulary),
    ):
        empty = np.flatnonzero(ragged.lengths == 0)
        if len(empty):
            raise TrainingDataError(f"channel '{channel}', record {empty[0]}: its {what} is empty")
        outside = np.flatnonzero((ragged.values < 0) | (ragged.values >= size))
        if len(outside):
            record = int(np.searchsorted(ragged.offsets, outside[0], side="right")) - 1
            raise TrainingDataError(
                f"channel '{channel}', record {record}: its {what} has the token {ragged.values[outside[0]]}, "
                f"but the vocabulary of the {what} has the tokens 0 to {size - 1}"
            )


def cut(ragged: Ragged, longest: int) -> Ragged:
    """Each sequence cut to its first ``longest`` tokens."""
    lengths = ragged.lengths
    if not len(lengths) or lengths.max() <= longest:
        return ragged
    kept = np.minimum(lengths, longest)
    place = np.arange(len(ragged.values)) - np.repeat(ragged.offsets[:-1], lengths)
    return Ragged(ragged.values[place < longest], np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)]))


def part(pairs: Pairs, share: Share) -> Pairs:
    """The pairs of a share."""
    if share.of == 1:
        return pairs
    mine = range(share.rank, len(pairs.source), share.of)
    return Pairs(*(Ragged.of([ragged[number] for number in mine]) for ragged in pairs))


def longest_ratio(pairs: Pairs, hosts: Hosts = ONE_HOST) -> float:
    """Of the ratio of the target's length to the source's, over the pairs of all hosts, the mean plus twice the
    standard deviation."""
    ratios = pairs.target.lengths / pairs.source.lengths
    total, count = hosts.sum(np.array([ratios.sum(), len(ratios)], np.float64))[0]
    squares = hosts.sum(np.array([np.square(ratios - total / count).sum()]))[0][0]
    return float(total / count + 2 * np.sqrt(squares / count))


def buckets(pairs: Pairs, width: int | None) -> list[np.ndarray]:
    """The numbers of the pairs of each bucket, shorter ones first.

    A bucket holds what fits ``width``, 2 ``width``, ... tokens on both sides, the target with ``</s>``. Without a width
    there is one.
    """
    longest = np.maximum(pairs.source.lengths, pairs.target.lengths + 1)
    if width is None:
        return [np.arange(len(longest))]
    number = (longest + width - 1) // width
    return [np.flatnonzero(number == value) for value in np.unique(number)]


def epoch(
    pairs: Pairs, groups: Sequence[np.ndarray], size: int, random: np.random.Generator, *, by_length: bool
) -> list[np.ndarray]:
    """The numbers of the pairs of each batch of an epoch, in random order; ``groups`` are the buckets."""
    found: list[np.ndarray] = []
    lengths = pairs.target.lengths * (1 << 20) + pairs.source.lengths
    for group in groups:
        order = random.permutation(group)
        if by_length:
            pools = [order[at : at + _POOL * size] for at in range(0, len(order), _POOL * size)]
            order = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        found += [order[at : at + size] for at in range(0, len(order), size)]
    return [found[index] for index in random.permutation(len(found))]


def fill(sequences: Sequence[np.ndarray], width: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The sequences padded with ``<pad>``, (B, S) int32, and their lengths, (B,) int32."""
    lengths = np.array([len(sequence) for sequence in sequences], np.int32)
    ids = np.full((len(sequences), width or int(lengths.max())), PAD, np.int32)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = np.concatenate(sequences)
    return ids, lengths


def sources(sequences: Sequence[np.ndarray], width: int | None = None) -> Source:
    """A batch of sources that are not empty."""
    ids, lengths = fill(sequences, width)
    place = np.arange(ids.shape[1], dtype=np.int32)
    inside = place < lengths[:, None]
    reverse = np.where(inside, lengths[:, None] - 1 - place, place).astype(np.int32)
    return Source(ids, lengths, reverse, inside.astype(np.float32))


def batch(pairs: Pairs, numbers: np.ndarray, step: int | None = None, size: int = 0) -> Batch:
    """The batch of these pairs, of the smallest shape. For backends that compile a program for each shape, ``step``
    makes lengths multiples of it, and the number of sentences ``size``: those that fill the batch have weight 0."""
    source = [pairs.source[number] for number in numbers]
    target = [pairs.target[number] for number in numbers]
    count = len(numbers)
    if step is not None:
        source += [np.full(1, END, np.int32)] * (size - count)
        target += [np.zeros(0, np.int32)] * (size - count)
    longest = [max(map(len, source)), max(map(len, target)) + 1]
    widths = longest if step is None else [-(-length // step) * step for length in longest]
    ids, lengths = fill([np.concatenate([[BEGIN], part]) for part in target], widths[1])
    follow, _ = fill([np.append(part, END) for part in target], widths[1])
    counted = np.arange(widths[1]) < lengths[:, None]
    counted[count:] = False
    places = np.flatnonzero(counted).astype(np.int32)
    if step is not None:
        places = np.arange(counted.size, dtype=np.int32)
    labels = follow.ravel()[places]
    return Batch(sources(source, widths[0]), ids, places, labels, counted.ravel()[places].astype(np.float32))
