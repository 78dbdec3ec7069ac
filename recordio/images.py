"""Images with their labels, as training gets them: MXNet's image records, augmented manifests, and lists of files.

An image record is a header, more labels where there is more than one, and the bytes of an image file:

    record = u32 flag, f32 label, u64 id, u64 id2, f32 * flag labels, image     all little endian

With flag 0 the label is the one in the header, else it means nothing and ``flag`` labels follow. Records stand in
RecordIO frames. Source: ``mx.recordio.pack`` and src/io/image_recordio.h of apache/mxnet 1.9.1.

In Pipe mode SageMaker makes records of an augmented manifest itself: the image, then the label as JSON text, in a frame
each. A ``.lst`` file has a line for each image: an index, labels, and a path, separated by tabs.

    >>> body = encode_record(b"...", [2])
    >>> decode_record(body, "train.rec: record 0")
    ImageRecord(labels=array([2.], dtype=float32), image=b'...', number=0)
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import struct
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from recordio.compression import decompressed
from recordio.errors import BadMagicError, FrameError, ImageError, ParseError, TruncatedRecordError
from recordio.framing import HEADER as FRAME_HEADER
from recordio.framing import MAX_LENGTH, Place, next_record, spans
from recordio.text import integer, real
from recordio.text import number as to_float32

HEADER = struct.Struct("<IfQQ")
_HEAD_BYTES = 512  # of a frame that are read for its labels at first: enough for 120 of them
_MOST_LABELS = 1 << 20
_COLUMNS = 3  # of a list: index, one label, path


class ImageRecord(NamedTuple):
    """``labels`` is float32 of shape (labels,); ``image`` the bytes of a file; ``number`` the id of the record."""

    labels: np.ndarray
    image: bytes
    number: int


def encode_record(image: bytes, labels: Sequence[float], number: int = 0) -> bytes:
    """The record of an image; one label goes into the header, as MXNet does it."""
    values = np.asarray(labels, "<f4")
    if len(values) == 1:
        return HEADER.pack(0, values[0], number, 0) + image
    return HEADER.pack(len(values), 0, number, 0) + values.tobytes() + image


def decode_record(body: bytes, where: str) -> ImageRecord:
    """The image and labels of a record; ``where`` it is, for errors.

    Raises
    ------
    ImageError
        it is too short for its header, for as many labels as it announces, or for an image after them.
    """
    labels, number, start = _header(memoryview(body), where)
    if start == len(body):
        raise ImageError(f"{where}: the record has no image after its header")
    return ImageRecord(labels, body[start:], number)


def _header(body: memoryview, where: str) -> tuple[np.ndarray, int, int]:
    """Labels, id, and where the image starts."""
    if len(body) < HEADER.size:
        raise ImageError(f"{where}: a record of {len(body)} bytes is none of an image: its header alone has 24")
    flag, label, number, _ = HEADER.unpack_from(body)
    if flag == 0:
        return np.array([label], np.float32), number, HEADER.size
    start = HEADER.size + 4 * flag
    if flag > _MOST_LABELS or start > len(body):
        raise ImageError(
            f"{where}: the record announces {flag} labels, and has {len(body) - HEADER.size} bytes; is this really an "
            "image record of MXNet?"
        )
    return np.frombuffer(body, "<f4", flag, HEADER.size).astype(np.float32), number, start


class RecordFile:
    """A file of image records, read in any order. One that is compressed with gzip becomes a temporary file first.

    The file is read, not mapped into memory: it may be cut short by somebody else while a job reads it.

    Attributes
    ----------
    labels
        those of each record.

    Raises
    ------
    FrameError
        it is not framed as RecordIO, or cut short.
    CompressedDataError
        it is compressed, and damaged or cut short.
    ImageError
        a record is none of an image.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self._descriptor = _opened(path, name)
        weakref.finalize(self, os.close, self._descriptor)
        self._spans = list(spans(self._descriptor, name))
        self.labels = [self._labels(number) for number in range(len(self))]

    def __len__(self) -> int:
        return len(self._spans)

    def place(self, number: int) -> str:
        """What errors call a record."""
        return f"{self._name}: record {number}"

    def read(self, number: int) -> bytes:
        """The image file of a record.

        Raises
        ------
        ImageError
            there is none.
        FrameError
            the file was changed since it was opened.
        """
        return decode_record(self._body(number), self.place(number)).image

    def _labels(self, number: int) -> np.ndarray:
        start, stop, whole = self._spans[number]
        if whole:
            head = self._bytes(start, min(stop, start + _HEAD_BYTES), number)
            body = memoryview(head)[FRAME_HEADER.size :]
            flag = HEADER.unpack_from(body)[0] if len(body) >= HEADER.size else 0
            if stop <= start + _HEAD_BYTES or HEADER.size + 4 * flag <= len(body):
                _, word = FRAME_HEADER.unpack_from(head)
                return _header(body[: word & MAX_LENGTH], self.place(number))[0]
        return decode_record(self._body(number), self.place(number)).labels

    def _body(self, number: int) -> bytes:
        start, stop, _ = self._spans[number]
        data = self._bytes(start, stop, number)
        place = Place(self._name, number, start)
        frame = next_record(memoryview(data), 0, len(data), place)
        if frame is None:
            raise FrameError(f"{place}: the file was changed while it was read")
        return frame.body

    def _bytes(self, start: int, stop: int, number: int) -> bytes:
        data = os.pread(self._descriptor, stop - start, start)
        if len(data) < stop - start:
            raise TruncatedRecordError(f"{Place(self._name, number, start)}: the file became shorter while it was read")
        return data


def _opened(path: Path, name: str) -> int:
    """A descriptor of the file, or of an unnamed temporary file with what is compressed in it."""
    with path.open("rb") as file:
        stream = decompressed(file, name)
        if stream is file:
            return os.dup(file.fileno())
        with tempfile.TemporaryFile() as plain:
            shutil.copyfileobj(stream, plain)
            plain.flush()
            return os.dup(plain.fileno())


class Labelled(NamedTuple):
    """An image of a stream: its file's bytes, its labels, and where it stood, for errors."""

    image: bytes
    labels: np.ndarray
    where: str


def image_records(records: Iterable[bytes], name: str) -> Iterator[Labelled]:
    """The images of a stream of image records.

    Raises
    ------
    ImageError
        a record is none of an image.
    """
    try:
        for count, body in enumerate(records):
            where = f"{name}: record {count}"
            record = decode_record(body, where)
            yield Labelled(record.image, record.labels, where)
    except BadMagicError as error:
        raise BadMagicError(
            f"{error} Image files as they are, in Pipe mode, need an augmented manifest, RecordWrapperType RecordIO "
            "and the content type application/x-image"
        ) from None


def manifest_records(records: Iterable[bytes], name: str) -> Iterator[Labelled]:
    """The images of an augmented manifest: a record of an image and one of its label in turn.

    Raises
    ------
    ImageError
        an image has no label after it.
    ParseError
        a label is neither a number nor a list of numbers.
    """
    image: bytes | None = None
    number = -1
    for number, body in enumerate(records):
        if image is None:
            image = body
            continue
        where = f"{name}: image {number // 2}"
        yield Labelled(image, parse_label(body, where), where)
        image = None
    if image is not None:
        raise ImageError(
            f"{name}: the last image, number {number // 2}, has no label after it; AttributeNames of the channel must "
            "name the image first, then the label"
        )


def parse_label(text: bytes, where: str) -> np.ndarray:
    """The label of an augmented manifest: JSON, a number (as text, too) or a list of them; float32 (labels,).

    Raises
    ------
    ParseError
        it is something else.

    >>> parse_label(b'"1"', "here"), parse_label(b"[0, 1, 1]", "here")
    (array([1.], dtype=float32), array([0., 1., 1.], dtype=float32))
    """
    try:
        value = _json(text)
        value = _json(value) if isinstance(value, str) else value
        return np.array([_number(item) for item in (value if isinstance(value, list) else [value])], np.float32)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise ParseError(
            f"{where}: the label {_shown(text)} is neither a number nor a JSON list of numbers; AttributeNames of the "
            "channel must name the image first, then the label"
        ) from None


def _json(text: bytes | str) -> Any:
    return json.loads(text, parse_float=real, parse_int=integer)


def _number(value: Any) -> float:
    found = float(to_float32(value.strip().encode())) if isinstance(value, str) else math.nan
    if isinstance(value, (int, float)):
        found = float(value)
    if not math.isfinite(found):
        raise ValueError(value)
    return found


def _shown(text: bytes) -> str:
    return repr(text[:40].decode(errors="replace"))


class Listed(NamedTuple):
    """A line of a ``.lst`` file: ``number`` is its index, ``labels`` float32 (labels,), ``path`` relative."""

    number: int
    labels: np.ndarray
    path: str
    where: str


def read_list(file: Path, name: str) -> list[Listed]:
    """The images that a ``.lst`` file names; empty lines do not count.

    Raises
    ------
    ParseError
        a line has too few columns, an index or label that is no number, an index that was there before, or a path that
        leaves the folder.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParseError(f"{name} is not text in UTF-8: byte {error.start}") from None
    listed: dict[int, Listed] = {}
    # Not splitlines: a file's name may have what Unicode calls a line separator.
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if not line.strip():
            continue
        entry = _read_line(line, f"{name}: line {number}")
        if entry.number in listed:
            raise ParseError(f"{entry.where}: the index {entry.number} is that of {listed[entry.number].where} too")
        listed[entry.number] = entry
    return list(listed.values())


def _read_line(line: str, where: str) -> Listed:
    columns = line.split("\t")
    if len(columns) < _COLUMNS:
        raise ParseError(f"{where}: {line[:80]!r} has {len(columns)} columns; index, label and path, with tabs between")
    first, *middle, path = (column.strip() for column in columns)
    try:
        index, labels = _number(first), np.array([_number(label) for label in middle], np.float32)
    except ValueError:
        raise ParseError(f"{where}: {line[:80]!r} has an index or label that is no number") from None
    if index != int(index):
        raise ParseError(f"{where}: the index {first} is not a whole number")
    parts = PurePosixPath(path).parts
    if not path or path.startswith("/") or ".." in parts:
        raise ParseError(f"{where}: the path '{path}' must be relative to the channel of the images, and inside it")
    return Listed(int(index), labels, path, where)
