"""Large objects of moto's S3, sent from their files: moto reads an object whole for each range that is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from werkzeug.wrappers import Request, Response

LARGE = 1 << 20
"""Bytes from which on an object is sent so."""

_PIECE = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-(\d+)/\d+")
_ONE_RANGE = re.compile(r"bytes=([0-9]+-[0-9]*|-[0-9]+)", re.IGNORECASE)
_OF_NO_EFFECT = re.compile(r"x-id|x-amz-.*|awsaccesskeyid|signature|expires", re.IGNORECASE)
"""Parameters that say who asks, in a presigned URL, or which operation it is, and do not change the answer."""


def without_malformed_range(environ: dict[str, Any]) -> dict[str, Any]:
    """The request without a Range that is none: S3 answers with the whole object then, where moto fails.

    What S3 does with 20 forms: a table of 9 May 2018 at mushanshitiancai.github.io.
    """
    if _ONE_RANGE.fullmatch(environ.get("HTTP_RANGE", "")):
        return environ
    return {name: value for name, value in environ.items() if name != "HTTP_RANGE"}


def answer(environ: dict[str, Any], moto: Any, kept: Callable[[str, str], Path | None]) -> Response | None:
    """The answer to a GetObject, with the headers that moto gives to a HeadObject; None where moto is to answer itself.

    Checksums are left out: those of HeadObject are another form than GetObject's.

    Args:
        kept: the file with the bytes of a bucket's key; None where there is none.
    """
    asked = [one.partition("=")[0] for one in environ.get("QUERY_STRING", "").split("&") if one]
    if environ["REQUEST_METHOD"] != "GET" or not all(map(_OF_NO_EFFECT.fullmatch, asked)):
        return None
    from moto.s3.responses import S3Response  # it is set up when it is first imported: server.py has said how

    if S3Response.subdomain_based_buckets(Request(environ)):  # the bucket is in the host's name, not in the path
        return None
    path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
    bucket, _, key = path.lstrip("/").partition("/")
    try:
        if (file := kept(bucket, key)) is None or (size := file.stat().st_size) < LARGE:
            return None
        stream = file.open("rb")
    except FileNotFoundError:  # it was deleted meanwhile
        return None
    head = Response.from_app(moto, environ | {"REQUEST_METHOD": "HEAD"}, buffered=True)
    part = _RANGE.fullmatch(head.headers.get("Content-Range", ""))
    start, stop = (int(part[1]), int(part[2]) + 1) if part else (0, size)
    if head.status_code not in (200, 206) or head.headers.get("Content-Length") != str(stop - start):
        stream.close()
        return None
    headers = [(name, value) for name, value in head.headers if not name.lower().startswith("x-amz-checksum-")]
    return Response(_pieces(stream, start, stop), head.status_code, headers, direct_passthrough=True)


def _pieces(stream: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    with stream:
        stream.seek(start)
        while start < stop and (piece := stream.read(min(_PIECE, stop - start))):
            start += len(piece)
            yield piece
