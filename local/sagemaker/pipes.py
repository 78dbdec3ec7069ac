"""Channels in Pipe mode: their objects, or the lines of their augmented manifests, into the FIFOs of a host's folder.

Nothing is stored on the way. Of an augmented manifest (JSON lines), each line sends the attributes that the channel
names, in the channel's order: what an S3 URI names where the attribute's name ends in ``-ref``, else the value itself.
Source: "Augmented Manifest Files for Training Jobs" in Amazon SageMaker's developer guide.
"""

from __future__ import annotations

import errno
import io
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from container.paths import Paths
from local.sagemaker import channels, s3
from local.sagemaker.errors import JobError
from local.sagemaker.s3 import Object
from local.sagemaker.store import Record
from recordio.compression import decompressed
from recordio.errors import CompressedDataError
from recordio.framing import write_frame

_PAUSE = 0.02
_PIECE = 1 << 20
_REFERENCE = "-ref"


class Content(Protocol):
    """What a channel has: entries, whose order may be shuffled and which may be dealt to hosts, and their bytes."""

    entries: Sequence[Any]

    def pieces(self, entry: Any) -> Iterator[bytes]:
        """The bytes of an entry. Raises JobError."""
        ...


def content(client: Any, channel: Record, job: Record) -> Content:
    """The content of a channel.

    Raises:
        JobError: there is none, or its manifest is malformed.
    """
    source = channel["DataSource"]["S3DataSource"]
    wrapped = channel.get("RecordWrapperType") == "RecordIO"
    gzip = channel.get("CompressionType") == "Gzip"
    if source["S3DataType"] == channels.AUGMENTED:
        return _Lines(client, source["S3Uri"], source["AttributeNames"], wrapped, gzip)
    return _Objects(client, channels.objects(client, channel, job), wrapped, gzip)


class _Objects:
    """Whole objects, each of which is one record where they are wrapped."""

    def __init__(self, client: Any, found: list[Object], wrapped: bool, gzip: bool) -> None:
        self.entries: Sequence[Any] = found
        self._client, self._wrapped, self._gzip = client, wrapped, gzip

    def pieces(self, entry: Object) -> Iterator[bytes]:
        """Its bytes, or its frame."""
        stream = s3.body(self._client, entry.bucket, entry.key)
        place = f"s3://{entry.bucket}/{entry.key}"
        return _framed(_read(stream, self._gzip, place)) if self._wrapped else _read(stream, self._gzip, place)


class _Lines:
    """The lines of an augmented manifest, as the texts and places that they send.

    Raises:
        JobError: it is malformed; all lines are looked at before the first is sent.
    """

    def __init__(self, client: Any, uri: str, names: list[str], wrapped: bool, gzip: bool) -> None:
        self._client, self._wrapped, self._gzip = client, wrapped, gzip
        text = s3.body(client, *s3.split(uri)).read()
        numbered = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if not numbered:
            raise JobError(f"{uri} is an augmented manifest without lines")
        self.entries: Sequence[Any] = [_attributes(line, names, f"{uri}, line {number}") for number, line in numbered]

    def pieces(self, entry: tuple[bytes | Object, ...]) -> Iterator[bytes]:
        """Its attributes, each in a frame of its own where they are wrapped."""
        for value in entry:
            read = iter((value,)) if isinstance(value, bytes) else self._object(value)
            yield from _framed(read) if self._wrapped else read

    def _object(self, one: Object) -> Iterator[bytes]:
        return _read(s3.body(self._client, one.bucket, one.key), self._gzip, f"s3://{one.bucket}/{one.key}")


def _attributes(line: bytes, names: list[str], where: str) -> tuple[bytes | Object, ...]:
    """What a line sends: text as it is, all else as JSON; an object for a reference."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise JobError(f"{where} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise JobError(f"{where}: expected a JSON object, with {', '.join(names)}")
    if missing := [name for name in names if name not in record]:
        raise JobError(f"{where}: there is no attribute '{missing[0]}', which AttributeNames has")
    return tuple(_value(name, record[name], where) for name in names)


def _value(name: str, value: Any, where: str) -> bytes | Object:
    if not name.endswith(_REFERENCE):
        return (value if isinstance(value, str) else json.dumps(value)).encode(errors="replace")
    try:
        bucket, key = s3.split(value)
    except (JobError, AttributeError) as error:
        raise JobError(f"{where}: '{name}' is {json.dumps(value)[:100]}; expected s3://BUCKET/KEY") from error
    return Object(bucket, key, "")


def _read(stream: Any, gzip: bool, place: str) -> Iterator[bytes]:
    """The bytes of an object, decompressed where the channel says that they are compressed."""
    if not gzip:
        yield from stream.iter_chunks(_PIECE)
        return
    source = decompressed(io.BufferedReader(stream, _PIECE), place)
    try:
        while piece := source.read(_PIECE):
            yield piece
    except CompressedDataError as error:
        raise JobError(f"{place} cannot be decompressed: {error}") from error


def _framed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """One RecordIO record of all pieces: its length stands before them."""
    frame = io.BytesIO()
    write_frame(frame, b"".join(pieces))
    yield frame.getvalue()


def _write(stream: BinaryIO, piece: bytes) -> None:
    """All of a piece: a FIFO takes what has room."""
    view = memoryview(piece)
    while view:
        view = view[stream.write(view) :]


class Feeder:
    """Writes a channel into the FIFOs ``<channel>_<epoch>``, one after the other, straight from S3.

    Args:
        share: which of how many hosts this is; (0, 1) where each gets all.

    Attributes:
        error: why it ended before its reader did; None where it did not.
    """

    def __init__(self, content: Content, paths: Paths, channel: Record, share: tuple[int, int]) -> None:
        self._content, self._seed, self._share = content, channels.seed(channel), share
        self._folder, self._name = paths.data, channel["ChannelName"]
        self._ended = threading.Event()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin with the first epoch."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def close(self) -> None:
        """The process that reads has ended."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        epoch = 0
        while not self._ended.is_set():
            fifo = self._folder / f"{self._name}_{epoch}"
            os.mkfifo(fifo)
            if (descriptor := self._opened(fifo)) is None:
                return
            with os.fdopen(descriptor, "wb", buffering=0) as stream:
                self._feed(stream, epoch)
            epoch += 1

    def _feed(self, stream: BinaryIO, epoch: int) -> None:
        entries, (rank, size) = self._content.entries, self._share
        if self._seed is not None:
            entries = channels.shuffled(entries, self._seed, epoch)
        try:
            for entry in entries[rank::size]:
                for piece in self._content.pieces(entry):
                    _write(stream, piece)
        except BrokenPipeError:  # a reader that leaves early is no error
            pass
        except Exception as error:  # whatever it is: the reader must not take what came for all there is
            self.error = error
            self._ended.wait()

    def _opened(self, fifo: Path) -> int | None:
        """A descriptor for writing, once somebody reads; None where nobody will any more."""
        while not self._ended.is_set():
            try:
                descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    return None
                time.sleep(_PAUSE)
                continue
            os.set_blocking(descriptor, True)
            return descriptor
        return None
