"""gzip, told by its first bytes and decompressed on the way: in every input mode, whatever the name of the file.

SageMaker itself decompresses only in Pipe mode (``CompressionType: Gzip``). None of the formats read here begins with
gzip's magic number, so nothing is taken for it that is not. A piece of a few kilobytes is decompressed at a time, when
the reader asks for it: however high the ratio, no more than that is in memory. Source: RFC 1952.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import BinaryIO, cast

from recordio.errors import CompressedDataError

GZIP = b"\x1f\x8b"
_MAGIC = {
    GZIP: "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\0": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PK\x03\x04": "a ZIP archive, as spreadsheets are",
}
"""First bytes, with which no format begins that is read here."""
_BUFFER_BYTES = 1 << 16


def compression(start: bytes) -> str | None:
    """In what way data that starts so is compressed, in words; None where it is not."""
    return next((words for magic, words in _MAGIC.items() if start.startswith(magic)), None)


def decompressed(stream: BinaryIO, name: str) -> BinaryIO:
    """The stream (a buffered one), or what is compressed in it by gzip; ``name`` is what error messages call it.

    Reading from what is returned raises CompressedDataError where the data is damaged or ends early. Several members
    one after the other are read as one, as gzip itself does.

    Raises
    ------
    CompressedDataError
        the data is compressed in another way.
    """
    start = cast(io.BufferedReader, stream).peek(max(map(len, _MAGIC)))
    if not start.startswith(GZIP):
        if (words := compression(start)) is not None:
            raise CompressedDataError(f"{name}: the data is {words}; gzip alone is decompressed: unpack it first")
        return stream
    return cast(BinaryIO, io.BufferedReader(_Gunzip(stream, name), _BUFFER_BYTES))


class _Gunzip(io.RawIOBase):
    """What is compressed in a stream, which it closes with itself; with errors of our own."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        super().__init__()
        self._stream = stream
        self._members = gzip.GzipFile(fileobj=stream, mode="rb")
        self._name = name

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._members.close()
        self._stream.close()
        super().close()

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        try:
            return self._members.readinto(target)
        except EOFError:
            raise CompressedDataError(f"{self._name}: the gzip data ends early; was the file cut short?") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise CompressedDataError(f"{self._name}: the gzip data is damaged: {error}") from error
