"""Where the body of a request ends: bodies of a stated length, and bodies in chunks (RFC 9112, sections 6 and 7).

Bytes are fed to a body as they arrive, in pieces of any size, until it is complete. A body keeps at most one byte more
than is allowed, by which the application sees that it is too long.
"""

from __future__ import annotations

import re

from recordio.limits import LONGEST_CHUNK_LINE, LONGEST_TRAILERS

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


class MalformedBodyError(ValueError):
    """The chunks of a body are not as RFC 9112 has them."""


class FixedBody:
    """A body of ``length`` bytes, of which at most ``most`` + 1 are kept; all if it is None."""

    def __init__(self, length: int, most: int | None) -> None:
        self.content = bytearray()
        self.received = 0
        self._left = length
        self._most = most

    def feed(self, data: bytearray) -> bool:
        """Take from the start of ``data`` what belongs to the body; whether that is now complete."""
        taken = min(self._left, len(data))
        _keep(self, data[:taken], self._most)
        del data[:taken]
        self._left -= taken
        return self._left == 0


class ChunkedBody:
    """A body in chunks, of whose content at most ``most`` + 1 bytes are kept; all if it is None."""

    def __init__(self, most: int | None) -> None:
        self.content = bytearray()
        self.received = 0
        self._most = most
        self._left = 0  # of the chunk that is being read, with the line end after it
        self._trailers: int | None = None  # their bytes so far, once the last chunk has come

    def feed(self, data: bytearray) -> bool:
        """As for ``FixedBody``.

        Raises:
            MalformedBodyError: the chunks are malformed.
        """
        position, whole = 0, False
        while not whole:
            if self._left:
                taken = self._chunk(data, position)
                if not taken:
                    break
                position += taken
                continue
            end = data.find(b"\n", position, position + LONGEST_CHUNK_LINE)
            if end < 0:
                if len(data) - position >= LONGEST_CHUNK_LINE:
                    raise MalformedBodyError(f"a line of the chunked body has over {LONGEST_CHUNK_LINE} bytes")
                break
            whole = self._line(bytes(data[position : end + 1]))
            position = end + 1
        del data[:position]
        return whole

    def _chunk(self, data: bytearray, position: int) -> int:
        """Bytes taken of the chunk that is being read; 0 where more must arrive first."""
        content = min(max(self._left - 2, 0), len(data) - position)
        if content:
            _keep(self, data[position : position + content], self._most)
            self._left -= content
            return content
        if len(data) - position < 2:
            return 0
        if data[position : position + 2] != b"\r\n":
            raise MalformedBodyError("a chunk is not followed by a line end: it is longer or shorter than it says")
        self._left = 0
        return 2

    def _line(self, line: bytes) -> bool:
        """Read a chunk's size or a trailer; whether it is the last line."""
        if not line.endswith(b"\r\n"):
            raise MalformedBodyError("a line of the chunked body does not end with CR LF")
        text = line[:-2]
        if self._trailers is None:
            size = _SIZE.fullmatch(text)
            if size is None:
                raise MalformedBodyError(f"{text[:40]!r} is not the size of a chunk")
            length = int(size[1], 16)
            self._left, self._trailers = (length + 2, None) if length else (0, 0)
            return False
        self._trailers += len(line)
        if self._trailers > LONGEST_TRAILERS or (text and not _TRAILER.fullmatch(text)):
            raise MalformedBodyError(f"{text[:40]!r} is not a trailer of a chunked body")
        return not text


def _keep(body: FixedBody | ChunkedBody, data: bytearray, most: int | None) -> None:
    body.received += len(data)
    room = len(data) if most is None else most + 1 - len(body.content)
    if room > 0:
        body.content += data[:room]
