"""Uploads in parts, joined on disk: moto would hold the object in memory, two to four times."""

from __future__ import annotations

import hashlib
import mmap
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moto.s3.exceptions import EntityTooSmall, InvalidPart, MalformedXML
from moto.s3.models import FakeMultipart, MultipartChecksumBuilder
from moto.s3.utils import compute_checksum
from moto.settings import S3_UPLOAD_PART_MIN_SIZE

_PIECE = 1 << 20


def join(upload: FakeMultipart, named: Iterable[tuple[int, str]], file: Path) -> tuple[str, Any]:
    """Write the parts that a request names into ``file``, as ``FakeMultipart.complete`` joins them.

    Returns:
        The object's ETag, and its checksum as moto keeps it.

    Raises:
        InvalidPart, EntityTooSmall, MalformedXML: as S3 refuses the request.
    """
    digests: list[bytes] = []
    last: Any = None
    checksum = MultipartChecksumBuilder(
        upload.metadata.get("x-amz-checksum-algorithm"), upload.metadata.get("x-amz-checksum-type")
    )
    composite = checksum.checksum_type == "COMPOSITE"
    with file.open("xb") as stream:
        for number, etag in named:
            part: Any = upload.parts.get(number)
            if part is None or part.etag.strip('"') != etag.strip('"'):
                raise InvalidPart
            if last is not None and last.contentsize < S3_UPLOAD_PART_MIN_SIZE:
                raise EntityTooSmall
            digests.append(bytes.fromhex(part.etag.strip('"')))
            if composite:
                checksum.addPart(part.value)
            with part.lock:
                part._value_buffer.seek(0)
                shutil.copyfileobj(part._value_buffer, stream, _PIECE)
            last = part
    if last is None:
        raise MalformedXML
    etag = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
    return f"{etag}-{len(digests)}", checksum.build() if composite else _whole(file, checksum)


def _whole(file: Path, checksum: MultipartChecksumBuilder) -> tuple[str, str, int]:
    """The checksum of all bytes, as ``MultipartChecksumBuilder.build`` gives it."""
    algorithm = checksum.checksum_algorithm
    if not file.stat().st_size:
        return checksum.checksum_type, compute_checksum(b"", algorithm).decode(), 1
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return checksum.checksum_type, compute_checksum(content, algorithm).decode(), 1  # type: ignore[arg-type]
