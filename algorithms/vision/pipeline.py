"""Batches of decoded images, made in threads beside training: Pillow and NumPy let go of the interpreter's lock.

A thread makes a whole batch. Reading runs ahead of decoding, decoding of training; what waits between them is bounded.
So are the decoded images that are kept for the next epochs, before anything of them is varied.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np

from algorithms.vision.augment import Preparation
from algorithms.vision.examples import Example, Examples
from recordio.prefetch import ahead, parallel

_MOST_BYTES = 1 << 29
"""Bytes of decoded batches that may wait or be in work."""

_MOST_THREADS = 6
"""With more of them the interpreter's lock is what they wait for: on 16 cores rates fell from four threads on."""


class ImageBatch(NamedTuple):
    """``images`` (size, height, width, channels) uint8; ``targets`` (size, ...). The first ``valid`` are new;
    the rest, at the end of an epoch, are its first ones again."""

    images: np.ndarray
    targets: np.ndarray
    valid: int


class Pipeline:
    """The batches of a channel.

    Args:
        size: of every batch: a last one that is not full is filled up with the first images of the epoch, as MXNet
            does, so that the network is compiled for one size.
        seed: of the order and the augmentation.
        shuffled: images come in another order each epoch.
        rank: of the host; each augments its images otherwise.
        keep: bytes of decoded images that may be kept for epochs to come; those that find no room are decoded anew.
    """

    def __init__(
        self,
        examples: Examples,
        prepare: Preparation,
        size: int,
        seed: int,
        *,
        shuffled: bool,
        rank: int = 0,
        keep: int = 0,
    ) -> None:
        self._examples = examples
        self._prepare = prepare
        self._size = size
        self._seed = seed
        self._rank = [rank] if rank else []
        self._shuffled = shuffled
        self._kept, self._room, self._lock = dict[str, np.ndarray](), keep if self.repeats else 0, threading.Lock()
        room = _MOST_BYTES // (size * prepare.height * prepare.width * prepare.channels)
        self._threads = max(1, min(len(os.sched_getaffinity(0)), _MOST_THREADS, room - 2))

    @property
    def repeats(self) -> bool:
        """An epoch can be read again from its start: False in Pipe mode."""
        return self._examples.count is not None

    def epoch(self, number: int, after: int = 0) -> Generator[ImageBatch]:
        """One epoch, without its first ``after`` batches. Leaving it early closes what is open.

        Raises:
            DataError: the data is not what it claims to be.
            TrainingDataError: a label is none that there can be.
        """
        order = np.random.default_rng([self._seed, number]) if self._shuffled else None

        def batches() -> Iterator[tuple[int, tuple[list[Example], int]]]:
            return itertools.islice(enumerate(self._cut(self._examples.epoch(order))), after, None)

        def make(numbered: tuple[int, tuple[list[Example], int]]) -> ImageBatch:
            batch, (examples, count) = numbered
            random = np.random.default_rng([self._seed, number, batch, *self._rank])
            height, width, channels = self._prepare.height, self._prepare.width, self._prepare.channels
            images = np.empty((len(examples), height, width, channels), np.uint8)
            for image, example in zip(images, examples, strict=True):  # parts are views: none outlives its copy
                image[:] = self._prepare.varied(self._opened(example), random)
            return ImageBatch(images, np.stack([example.target for example in examples]), count)

        return ahead(lambda _: parallel(make, batches(), self._threads), 1)

    def _opened(self, example: Example) -> np.ndarray:
        """The pixels of an image, known by where it stands."""
        kept = self._kept.get(example.where)
        if kept is not None:
            return kept
        found = self._prepare.opened(example.load(), example.where)
        with self._lock:
            if example.where not in self._kept and found.nbytes <= self._room:
                self._room -= found.nbytes
                self._kept[example.where] = found
        return found

    def _cut(self, examples: Iterator[Example]) -> Iterator[tuple[list[Example], int]]:
        """Lists of ``size`` examples, and how many of them count."""
        first: list[Example] = []
        batch: list[Example] = []
        for example in examples:
            batch.append(example)
            if len(batch) == self._size:
                first = first or batch
                yield batch, len(batch)
                batch = []
        if batch:
            source, count = first or batch, len(batch)
            while len(batch) < self._size:
                batch = batch + source[: self._size - len(batch)]
            yield batch, count
