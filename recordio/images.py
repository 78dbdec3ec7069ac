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

import json
import math
import mmap
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from recordio.errors import ImageError, ParseError
from recordio.framing import HEADER as FRAME_HEADER
from recordio.framing import WHOLE, Place, next_record, spans

HEADER = struct.Struct("<IfQQ")
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

    Raises:
        ImageError: it is too short for its header, for as many labels as it announces, or for an image after them.
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
    """A file of image records, mapped into memory and read in any order.

    Attributes:
        labels: those of each record.

    Raises:
        FrameError: it is not framed as RecordIO, or cut short.
        ImageError: a record is none of an image.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        with path.open("rb") as file:
            self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._spans = list(spans(self._memory, name))
        self.labels = [self._labels(number) for number in range(len(self))]

    def __len__(self) -> int:
        return len(self._spans)

    def place(self, number: int) -> str:
        """What errors call a record."""
        return f"{self._name}: record {number}"

    def read(self, number: int) -> bytes:
        """The image file of a record.

        Raises:
            ImageError: there is none.
        """
        return decode_record(self._body(number), self.place(number)).image

    def _labels(self, number: int) -> np.ndarray:
        start, stop = self._spans[number]
        with memoryview(self._memory) as view:
            _, word = FRAME_HEADER.unpack_from(view, start)
            if word >> 29 != WHOLE:  # labels may be cut in two
                return decode_record(self._body(number), self.place(number)).labels
            with view[start + FRAME_HEADER.size : min(stop, start + FRAME_HEADER.size + word)] as body:
                return _header(body, self.place(number))[0]

    def _body(self, number: int) -> bytes:
        start, stop = self._spans[number]
        with memoryview(self._memory) as view:
            frame = next_record(view, start, stop, Place(self._name, number, start))
        assert frame is not None  # the span ends where the record does
        return frame.body


class Labelled(NamedTuple):
    """An image of a stream: its file's bytes, its labels, and where it stood, for errors."""

    image: bytes
    labels: np.ndarray
    where: str


def image_records(records: Iterable[bytes], name: str) -> Iterator[Labelled]:
    """The images of a stream of image records.

    Raises:
        ImageError: a record is none of an image.
    """
    for number, body in enumerate(records):
        where = f"{name}: record {number}"
        record = decode_record(body, where)
        yield Labelled(record.image, record.labels, where)


def manifest_records(records: Iterable[bytes], name: str) -> Iterator[Labelled]:
    """The images of an augmented manifest: a record of an image and one of its label in turn.

    Raises:
        ImageError: an image has no label after it.
        ParseError: a label is neither a number nor a list of numbers.
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

    Raises:
        ParseError: it is something else.

    >>> parse_label(b'"1"', "here"), parse_label(b"[0, 1, 1]", "here")
    (array([1.], dtype=float32), array([0., 1., 1.], dtype=float32))
    """
    try:
        value = json.loads(text)
        value = json.loads(value) if isinstance(value, str) else value
        return np.array([_number(item) for item in (value if isinstance(value, list) else [value])], np.float32)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise ParseError(
            f"{where}: the label {_shown(text)} is neither a number nor a JSON list of numbers; AttributeNames of the "
            "channel must name the image first, then the label"
        ) from None


def _number(value: Any) -> float:
    number = float(value) if isinstance(value, (int, float, str)) else math.nan
    if not math.isfinite(number):
        raise ValueError(value)
    return number


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

    Raises:
        ParseError: a line has too few columns, an index or label that is no number, an index that was there before,
            or a path that leaves the folder.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParseError(f"{name} is not text in UTF-8: byte {error.start}") from None
    listed: dict[int, Listed] = {}
    for number, line in enumerate(text.splitlines(), start=1):
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
