"""From an input file to the payloads of requests: split into records, filtered, and packed again."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from local import columns, inputs
from local.batch.options import LINE, RECORDIO, SINGLE, UNCOMPRESSED, Options
from local.batch.processing import Processing
from recordio import content_type
from recordio.compression import GZIP
from recordio.framing import frames, write_frame
from recordio.quoting import quoted


class BatchError(ValueError):
    """A file cannot be transformed. The message names it, and what in it."""


@dataclass
class Payload:
    """The body of a request: the records in it, as they stand in the file, and how many bytes they come to."""

    body: bytearray = field(default_factory=bytearray)
    records: list[bytes] = field(default_factory=list)


def payloads(file: Path, options: Options, processing: Processing, limit: int | None) -> Iterator[Payload]:
    """The requests for one file, in order. If the file is split, only one of them is in memory at a time.

    Args:
        limit: bytes of a payload; None for no limit.

    Raises:
        BatchError: a record is larger than that, or cannot be filtered.
        recordio.errors.DataError: the file is no RecordIO.
    """
    payload = Payload()
    for place, record in _records(file, options, processing):
        body = processing.request(record, place)
        if limit is not None and len(body) > limit:
            raise BatchError(
                f"{place} has {len(body)} bytes, more than a request may have ({limit}, MaxPayloadInMB)"
                + ("" if options.split_type else "; split the file with SplitType Line or RecordIO")
            )
        full = limit is not None and len(payload.body) + len(body) > limit
        if payload.records and (full or options.strategy == SINGLE):
            yield payload
            payload = Payload()
        payload.body += body
        payload.records.append(record)
    if payload.records:
        yield payload


def _records(file: Path, options: Options, processing: Processing) -> Iterator[tuple[str, bytes]]:
    """The records of a file with their places. Lines keep their end; the last one gets one; blank lines are none."""
    with inputs.opened(file) if options.compression != UNCOMPRESSED else file.open("rb") as stream:
        header = _skip_header(stream, file, options, processing) if options.header else 0
        if options.split_type == LINE:
            for number, line in enumerate(stream, 1 + header):
                if line.strip():
                    yield f"{file}: line {number}", line if line.endswith(b"\n") else line + b"\n"
        elif options.split_type == RECORDIO:
            for number, record in enumerate(frames(stream, str(file))):
                frame = io.BytesIO()
                write_frame(frame, record)
                yield f"{file}: record {number}", frame.getvalue()
        elif content := stream.read():
            yield str(file), content


def _skip_header(stream: BinaryIO, file: Path, options: Options, processing: Processing) -> int:
    """Read the header, which is the first line that is not blank; its number, 0 where there is none.

    Raises:
        BatchError: the header cannot be told from the rows, or is another than the model's.
    """
    for number, line in enumerate(iter(stream.readline, b""), 1):
        if line.strip():
            place = f"{file}: line {number}"
            if line.startswith(GZIP):
                raise BatchError(f"{file} is a gzip file, whose header only --compression-type Gzip can leave out")
            if b"\0" in line or line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # UTF-32-LE begins so, too
                raise BatchError(f"{place}: the text is in UTF-16 or UTF-32; convert the file to UTF-8")
            if b"\r" in line.rstrip(b"\r\n"):  # the line is then the whole file
                raise BatchError(f"{place}: its lines end with a carriage return alone; write them with newlines")
            _check_header(line, place, options, processing)
            return number
    return 0


def _check_header(line: bytes, place: str, options: Options, processing: Processing) -> None:
    """See that the columns that are sent are the model's features, in their order, where it is known what these are.

    Raises:
        BatchError: naming the first column that is another.
    """
    if options.features is None:
        return
    media = content_type.parse(options.content_type)
    sent = columns.header(columns.opened(io.BytesIO(processing.request(line, place)), media), media.delimiter.decode())
    for number, (name, feature) in enumerate(zip_longest(sent, options.features)):
        if name != feature:
            found, wanted = ("no column" if one is None else quoted(one) for one in (name, feature))
            raise BatchError(
                f"{place}: column {number} (counted from 0) of what is sent is {found}, and the model was trained with "
                f"{wanted} there; --input-filter chooses columns, and oba predict --header puts them in order"
            )
