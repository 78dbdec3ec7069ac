"""Where images and labels come from: record files, image files with a list, and pipes; and what labels must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from algorithms.errors import ChannelError, TrainingDataError
from algorithms.image_classification.architecture import Architecture
from algorithms.interface import IMAGE_RECORDIO, RecordStream
from recordio.images import Labelled, RecordFile, image_records, manifest_records, read_list
from recordio.sources import FileSource

MULTI_HOT, CLASS_ID = "multi-hot", "class-id"
_KEPT_BYTES = 64 << 20
"""Bytes of images of a pipe that wait to be drawn from in random order."""


class Example(NamedTuple):
    """One image to train on: ``load`` gives the bytes of its file; ``target`` is its class, int32 of shape (), or 0
    and 1 for each class, float32 (num_classes,)."""

    load: Callable[[], bytes]
    target: np.ndarray
    where: str


class Examples:
    """A channel's images.

    Attributes:
        targets: those of all images; None in Pipe mode, where nobody can know before they come.
    """

    targets: list[np.ndarray] | None = None

    def epoch(self, random: np.random.Generator | None = None) -> Iterator[Example]:
        """One pass over the images, in an order drawn from ``random`` where it is given.

        Raises:
            DataError: the data is not what it claims to be.
            TrainingDataError: a label is not one of the classes.
        """
        raise NotImplementedError


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

    def __init__(self, open_epoch: Callable[[], Iterator[Labelled]], target: Callable[..., np.ndarray]) -> None:
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


def of_channel(name: str, channels: Mapping[str, Any], form: Architecture) -> Examples:
    """The images of the channel ``name``, with the list of ``<name>_lst`` where they are image files.

    Raises:
        ChannelError: the list, or the wrapping of a pipe's images, is missing; or the label format is unknown.
        DataError: the files are not what they claim to be.
        TrainingDataError: a label is not one of the classes.
    """
    stream: RecordStream = channels[name]
    label_format = stream.parameters.get("label-format", MULTI_HOT)
    if label_format not in (MULTI_HOT, CLASS_ID):
        raise ChannelError(f"Channel '{name}': label-format '{label_format}' is not one of {MULTI_HOT}, {CLASS_ID}")
    to_target = partial(target, form=form, label_format=label_format)
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


def _of_record_files(folder: Path, to_target: Callable[..., np.ndarray]) -> Iterator[Example]:
    """The .rec files, or else all files of a folder: im2rec leaves a .lst and an .idx beside."""
    files = FileSource(folder).files()
    for path in [file for file in files if file.name.endswith((".rec", ".rec.gz"))] or files:
        records = RecordFile(path, f"{folder.name}/{path.relative_to(folder)}")
        for number, labels in enumerate(records.labels):
            where = records.place(number)
            yield Example(partial(records.read, number), to_target(labels, where), where)


def _of_list(name: str, folder: Path, lists: Path, to_target: Callable[..., np.ndarray]) -> Iterator[Example]:
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


def target(labels: np.ndarray, where: str, form: Architecture, label_format: str = MULTI_HOT) -> np.ndarray:
    """What the network is trained to say of an image with ``labels``, (labels,): see ``Example``.

    Raises:
        TrainingDataError: they are not classes of the network.

    >>> target(np.array([0.0, 2.0]), "here", Architecture(20, (3, 16, 16), 3, multi_label=True), CLASS_ID)
    array([1., 0., 1.], dtype=float32)
    """
    if not form.multi_label:
        if len(labels) != 1:
            raise TrainingDataError(f"{where}: {len(labels)} labels where one is expected; set multi_label to 1")
        _check_classes(labels, where, form.num_classes)
        return np.array(labels[0], np.int32)
    if label_format == CLASS_ID:
        _check_classes(labels, where, form.num_classes)
        hot = np.zeros(form.num_classes, np.float32)
        hot[labels.astype(np.int64)] = 1
        return hot
    if len(labels) != form.num_classes or not np.isin(labels, (0, 1)).all():
        raise TrainingDataError(
            f"{where}: the labels {_shown(labels)} are not {form.num_classes} (num_classes) times 0 or 1 "
            "(multi_label); if they are ids of classes, add label-format=class-id to the content type"
        )
    return labels.astype(np.float32)


def _check_classes(labels: np.ndarray, where: str, num_classes: int) -> None:
    for label in labels:
        if not 0 <= label < num_classes or label != int(label):
            raise TrainingDataError(
                f"{where}: the label {label:g} is not a class from 0 to {num_classes - 1} (num_classes)"
            )


def _shown(labels: np.ndarray) -> str:
    return "[" + ", ".join(f"{label:g}" for label in labels[:8]) + (", …]" if len(labels) > 8 else "]")
