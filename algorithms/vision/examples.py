"""Where images and labels come from: record files, image files with a list, and pipes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from algorithms.errors import ChannelError, TrainingDataError
from algorithms.interface import IMAGE_RECORDIO, RecordStream
from recordio.images import Labelled, RecordFile, image_records, manifest_records, read_list
from recordio.sources import FileSource

ToTarget = Callable[[np.ndarray, str], np.ndarray]
"""From the labels of an image, (labels,), and where it stands, to what a network is trained to say of it."""

_KEPT_BYTES = 64 << 20
"""Bytes of images of a pipe that wait to be drawn from in random order."""


class Example(NamedTuple):
    """One image to train on.

    Attributes:
        load: gives the bytes of its file. target: what ``ToTarget`` made of its labels. where: it stands, for errors.
    """

    load: Callable[[], bytes]
    target: np.ndarray
    where: str


class Examples(ABC):
    """A channel's images.

    Attributes:
        targets: those of all images; None in Pipe mode, where nobody can know before they come.
    """

    targets: list[np.ndarray] | None = None

    @abstractmethod
    def epoch(self, random: np.random.Generator | None = None) -> Iterator[Example]:
        """One pass over the images, in an order drawn from ``random`` where it is given.

        Raises:
            DataError: the data is not what it claims to be.
            TrainingDataError: a label is none that there can be.
        """


class StoredExamples(Examples):
    """Images that can be read in any order.

    Args:
        examples: all of them, in the order of the channel.

    Raises:
        TrainingDataError: there are none.
    """

    def __init__(self, examples: list[Example], name: str) -> None:
        if not examples:
            raise TrainingDataError(f"Channel '{name}' has no images")
        self._examples = examples
        self.targets = [example.target for example in examples]

    def epoch(self, random: np.random.Generator | None = None) -> Iterator[Example]:
        """See ``Examples``."""
        order = range(len(self._examples)) if random is None else random.permutation(len(self._examples))
        return (self._examples[number] for number in order)


class PipedExamples(Examples):
    """Images that come once, one after the other. A random order is drawn among those that fit into memory.

    Args:
        open_epoch: gives the images of the next FIFO.
        target: the target of an image's labels.
    """

    def __init__(self, open_epoch: Callable[[], Iterator[Labelled]], target: ToTarget) -> None:
        self._open_epoch = open_epoch
        self._target = target

    def epoch(self, random: np.random.Generator | None = None) -> Iterator[Example]:
        """See ``Examples``."""
        if random is None:
            yield from map(self._example, self._open_epoch())
            return
        waiting: list[Labelled] = []
        size = 0
        for labelled in self._open_epoch():
            waiting.append(labelled)
            size += len(labelled.image)
            while size > _KEPT_BYTES:
                drawn = int(random.integers(len(waiting)))
                waiting[drawn], waiting[-1] = waiting[-1], waiting[drawn]
                size -= len(waiting[-1].image)
                yield self._example(waiting.pop())
        for number in random.permutation(len(waiting)):
            yield self._example(waiting[number])

    def _example(self, labelled: Labelled) -> Example:
        return Example(lambda: labelled.image, self._target(labelled.labels, labelled.where), labelled.where)


def of_channel(name: str, channels: Mapping[str, Any], to_target: ToTarget) -> Examples:
    """The images of the channel ``name``, with the list of ``<name>_lst`` where they are image files.

    Raises:
        ChannelError: the list, or the wrapping of a pipe's images, is missing.
        DataError: the files are not what they claim to be.
        TrainingDataError: a label is none that there can be.
    """
    stream: RecordStream = channels[name]
    is_records = stream.media_type == IMAGE_RECORDIO
    if stream.folder is None:
        if not (is_records or stream.wrapped):
            raise ChannelError(
                f"Channel '{name}': {stream.media_type} in Pipe mode needs an augmented manifest and RecordWrapperType "
                "RecordIO, which say where an image ends and what its label is"
            )
        read = manifest_records if stream.wrapped else image_records
        return PipedExamples(lambda: read(stream.records(), name), to_target)
    if is_records:
        return StoredExamples(list(_of_record_files(stream.folder, to_target)), name)
    if f"{name}_lst" not in channels:
        raise ChannelError(
            f"Channel '{name}_lst' is missing: {stream.media_type} in File mode needs it, with a .lst file of the "
            f"images in '{name}'{_hint(stream.folder)}"
        )
    return StoredExamples(list(_of_list(name, stream.folder, channels[f"{name}_lst"], to_target)), name)


def _hint(folder: Path) -> str:
    """What else may be meant where image files are expected and there are record files."""
    records = next((file.name for file in FileSource(folder).files() if file.name.endswith((".rec", ".rec.gz"))), None)
    return (
        "" if records is None else f". '{records}' looks like records of images: their ContentType is {IMAGE_RECORDIO}"
    )


def _of_record_files(folder: Path, to_target: ToTarget) -> Iterator[Example]:
    """The .rec files, or else all files of a folder: im2rec leaves a .lst and an .idx beside."""
    files = FileSource(folder).files()
    for path in [file for file in files if file.name.endswith((".rec", ".rec.gz"))] or files:
        records = RecordFile(path, f"{folder.name}/{path.relative_to(folder)}")
        for number, labels in enumerate(records.labels):
            where = records.place(number)
            yield Example(partial(records.read, number), to_target(labels, where), where)


def _of_list(name: str, folder: Path, lists: Path, to_target: ToTarget) -> Iterator[Example]:
    files = FileSource(lists).files()
    files = [file for file in files if file.suffix == ".lst"] or files
    if len(files) != 1:
        raise ChannelError(f"Channel '{name}_lst' must have one .lst file, and has {len(files)}")
    for entry in read_list(files[0], f"{name}_lst/{files[0].name}"):
        path = folder / entry.path
        if not path.is_file():
            raise TrainingDataError(
                f"{entry.where}: there is no file '{entry.path}' in channel '{name}'{_hint(folder)}"
            )
        yield Example(path.read_bytes, to_target(entry.labels, entry.where), f"{name}/{entry.path}")
