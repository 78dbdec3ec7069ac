"""The bodies of uploads to S3: out of AWS's chunks, and compared with the lengths and checksums that came with them.

moto compares nothing, keeps nothing of what curl calls a form, and copies all that it has at each chunk: 40 MB in
chunks of 64 KB took 25 s.

Sources: "Signature Version 4: transferring payload in multiple chunks" of S3's API reference, "Checking object
integrity" of its user guide.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from werkzeug.exceptions import BadRequest
from werkzeug.wsgi import get_input_stream

from local.sagemaker.errors import AwsError

_IN_MEMORY = 1 << 24
"""Bytes of a body up to which it is in memory; moto reads it from there, or from a file."""

_PIECE = 1 << 20
_LONGEST_LINE = 1 << 13
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[^\r\n]*)?\r\n")
_CHECKSUM, _SHA256, _MD5 = "HTTP_X_AMZ_CHECKSUM_", "HTTP_X_AMZ_CONTENT_SHA256", "HTTP_CONTENT_MD5"
_CHUNKED, _UNSIGNED = "STREAMING-", "UNSIGNED-PAYLOAD"
_OF_TRANSFER = ("HTTP_TRANSFER_ENCODING", "wsgi.input_terminated")

_FORMS, _BYTES = ("application/x-www-form-urlencoded", "multipart/form-data"), "binary/octet-stream"
"""What curl --data-binary sends unasked: moto would take the fields of a form out of the body, and keep an empty
object. S3's media type of an object without one stands for it."""


class _Sum(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_KINDS: dict[str, Callable[[], _Sum]] = {
    _SHA256: hashlib.sha256,
    _MD5: lambda: hashlib.md5(usedforsecurity=False),
    f"{_CHECKSUM}CRC32": _Crc32,
    f"{_CHECKSUM}SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    f"{_CHECKSUM}SHA256": hashlib.sha256,
}
"""By the names that their headers have in WSGI. CRC-32C and CRC-64/NVME, for which Python has nothing, are kept and not
compared."""


@contextlib.contextmanager
def received(environ: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The request with its body as it was before the client put it in chunks, and what followed it as headers.

    Raises:
        AwsError: the body is not what its lengths and checksums say.
        OSError: the disk for temporary files is full.
    """
    if environ["REQUEST_METHOD"] != "PUT":
        yield environ
        return
    is_chunked = environ.get(_SHA256, "").startswith(_CHUNKED)
    stated = {name: environ[name] for name in _KINDS if name in environ}
    if is_chunked or stated.get(_SHA256) == _UNSIGNED:
        stated.pop(_SHA256)
    announced = map(_variable, environ.get("HTTP_X_AMZ_TRAILER", "").split(","))
    sums = {name: _KINDS[name]() for name in {*stated, *announced} & _KINDS.keys()}
    trailers: dict[str, str] = {}
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as body:
        for piece in _pieces(environ, trailers if is_chunked else None):
            body.write(piece)
            for one in sums.values():
                one.update(piece)
        size = str(body.tell())
        body.seek(0)
        if is_chunked and size != environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH", size):
            told = f"x-amz-decoded-content-length is not the number of bytes in chunks, {size}"
            raise AwsError("IncompleteBody", told)
        stated |= trailers
        for name in stated.keys() & sums.keys():
            _compare(name, stated[name], sums[name].digest())
        given = {name: value for name, value in environ.items() if name not in _OF_TRANSFER} | trailers
        if is_chunked:
            given[_SHA256] = _UNSIGNED
        if given.get("CONTENT_TYPE", "").lower().startswith(_FORMS):
            given["CONTENT_TYPE"] = _BYTES
        yield given | {"wsgi.input": body, "CONTENT_LENGTH": size}


def _pieces(environ: dict[str, Any], trailers: dict[str, str] | None) -> Iterator[bytes]:
    """The body; out of chunks, with the lines after them as ``trailers``, where there is a place for these.

    Raises:
        AwsError: it is cut short, or not in chunks.
    """
    reader: io.BufferedReader = io.BufferedReader(get_input_stream(environ))  # type: ignore[arg-type]
    try:
        yield from iter(lambda: reader.read(_PIECE), b"") if trailers is None else _chunks(reader, trailers)
    except (BadRequest, OSError, ValueError) as error:  # ValueError: werkzeug's, within one of HTTP's own chunks
        raise AwsError("IncompleteBody", "The body ends before its length says, or is not in chunks") from error


def _chunks(reader: io.BufferedReader, trailers: dict[str, str]) -> Iterator[bytes]:
    """The contents of the chunks; checksums in the lines after the last one go into ``trailers``.

    Raises:
        OSError: there is no chunk where one should be.
    """
    while (left := _size(reader.readline(_LONGEST_LINE))) > 0:
        while left > 0 and (piece := reader.read(min(left, _PIECE))):
            yield piece
            left -= len(piece)
        if left or reader.readline(3) != b"\r\n":
            raise OSError("a chunk is shorter or longer than it says")
    while line := reader.readline(_LONGEST_LINE).strip():
        name, _, value = line.decode("latin-1").partition(":")
        if (variable := _variable(name)).startswith(_CHECKSUM):
            trailers[variable] = value.strip()
    reader.read()


def _size(line: bytes) -> int:
    """The bytes of the chunk that a line begins. Raises OSError where it begins none."""
    if (size := _SIZE.fullmatch(line)) is None:
        raise OSError("a chunk does not begin with its size")
    return int(size[1], 16)


def _variable(header: str) -> str:
    """A header's name as WSGI has it."""
    return f"HTTP_{header.strip().upper().replace('-', '_')}"


def _compare(name: str, stated: str, digest: bytes) -> None:
    if name == _SHA256:
        if stated.lower() != digest.hex():
            told = "The provided 'x-amz-content-sha256' header does not match what was computed."
            raise AwsError("XAmzContentSHA256Mismatch", told)
    elif stated != base64.b64encode(digest).decode():
        kind = "Content-MD5" if name == _MD5 else name.removeprefix(_CHECKSUM)
        raise AwsError("BadDigest", f"The {kind} you specified did not match what we received.")
