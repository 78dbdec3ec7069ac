"""Where images and labels come from: record files, image files with a list, and pipes."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from algorithms.common.hosts import ONE_HOST
from algorithms.errors import ChannelError, TrainingDataError
from algorithms.interface import IMAGE_RECORDIO, Hosts, RecordStream
from recordio.errors import EmptyDataError
from recordio.images import Labelled, Listed, RecordFile, image_records, manifest_records, read_list
from recordio.shares import ALL, Share
from recordio.sources import FileSource

ToTarget = Callable[[np.ndarray, str], np.ndarray]
"""Makes the training target of an image of its labels, (labels,), and its place, for errors."""

_KEPT_BYTES = 64 << 20
"""Most bytes of a pipe's images that are held to be drawn in random order."""


class Example(NamedTuple):
    """One image to train on.

    Attributes:
        load: gives the bytes of its file. target: what ``ToTarget`` made of its labels. where: it stands, for errors,
            and to tell it from all others of its channel.
    """

    load: Callable[[], bytes]
    target: np.ndarray
    where: str


class Examples(ABC):
    """A channel's images, or the part of them that this host takes.

    Attributes:
        count: images of all hosts; None in Pipe mode, where nobody can know before they come.
    """

    count: int | None = None

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
        examples: all that are here, in the order of the channel.
        share: the part of them that this host takes: of a random order, too, so that hosts who have the same images
            take each once an epoch, and together those of one host in its order.

    Raises:
        TrainingDataError: no host has any.
    """

    def __init__(self, examples: list[Example], name: str, share: Share = ALL, hosts: Hosts = ONE_HOST) -> None:
        self._examples, self._share = examples, share
        self.count = len(examples) if share.of > 1 else int(hosts.sum(np.array([len(examples)]))[0][0])
        if not self.count:
            raise TrainingDataError(f"Channel '{name}' has no images")

    def epoch(self, random: np.random.Generator | None = None) -> Iterator[Example]:
        """See ``Examples``."""
        order = np.arange(len(self._examples)) if random is None else random.permutation(len(self._examples))
        return (self._examples[number] for number in order[self._share.rank :: self._share.of])


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


def of_channel(name: str, channels: Mapping[str, Any], to_target: ToTarget, hosts: Hosts = ONE_HOST) -> Examples:
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
        return StoredExamples(_of_record_files(stream, to_target), name, stream.share, hosts)
    if f"{name}_lst" not in channels:
        raise ChannelError(
            f"Channel '{name}_lst' is missing: {stream.media_type} in File mode needs it, with a .lst file of the "
            f"images in '{name}'{_hint(stream.folder)}"
        )
    listed = _of_list(name, stream, channels[f"{name}_lst"], to_target, hosts)
    return StoredExamples(listed, name, stream.share, hosts)


def _hint(folder: Path) -> str:
    """A hint for a folder with record files where image files are expected."""
    records = next((file.name for file in sorted(folder.glob("**/*")) if file.name.endswith((".rec", ".rec.gz"))), None)
    return (
        "" if records is None else f". '{records}' looks like records of images: their ContentType is {IMAGE_RECORDIO}"
    )


def _of_record_files(stream: RecordStream, to_target: ToTarget) -> list[Example]:
    """The .rec files, or else all files of a folder: im2rec leaves a .lst and an .idx beside."""
    folder, found = stream.folder, list[Example]()
    assert folder is not None
    try:
        files = FileSource(folder).files()
    except EmptyDataError:
        if stream.may_be_empty:
            return found
        raise
    for path in [file for file in files if file.name.endswith((".rec", ".rec.gz"))] or files:
        records = RecordFile(path, f"{folder.name}/{path.relative_to(folder)}")
        for number, labels in enumerate(records.labels):
            where = records.place(number)
            found.append(Example(partial(records.read, number), to_target(labels, where), where))
    return found


def _of_list(name: str, stream: RecordStream, lists: Path, to_target: ToTarget, hosts: Hosts) -> list[Example]:
    """The images of a list. Where they are spread over the hosts, those of the list that are here."""
    files = FileSource(lists).files()
    files = [file for file in files if file.suffix == ".lst"] or files
    if len(files) != 1:
        raise ChannelError(f"Channel '{name}_lst' must have one .lst file, and has {len(files)}")
    folder = stream.folder
    assert folder is not None
    entries = list(read_list(files[0], f"{name}_lst/{files[0].name}"))
    here = [(folder / entry.path).is_file() for entry in entries]
    known = _on_a_host(entries, here, hosts) if stream.may_be_empty else here
    if not all(known):
        entry = entries[known.index(False)]
        raise TrainingDataError(f"{entry.where}: there is no file '{entry.path}' in channel '{name}'{_hint(folder)}")
    return [
        Example((folder / entry.path).read_bytes, to_target(entry.labels, entry.where), f"{name}/{entry.path}")
        for entry, is_here in zip(entries, here, strict=True)
        if is_here
    ]


def _on_a_host(entries: Sequence[Listed], here: list[bool], hosts: Hosts) -> list[bool]:
    """Which files of a list are on a host, where all have the same list; where each has its own, which are here."""
    digest = hashlib.sha256("\0".join(entry.path for entry in entries).encode()).hexdigest()
    if len(set(hosts.gather(digest))) > 1:
        return here
    return [bool(count) for count in hosts.sum(np.array(here, np.int32))[0]]
