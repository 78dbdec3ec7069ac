"""Answers of InvokeEndpointWithResponseStream: parts of the model's answer as messages of AWS's event streams.

A message has its length and that of its headers, their CRC-32, the headers, the part, and the CRC-32 of all before it.
Source: "Event stream encoding" in Amazon Transcribe's developer guide.
"""

from __future__ import annotations

import struct
import zlib

MEDIA_TYPE = "application/vnd.amazon.eventstream"
_PART = 1 << 16
_TEXT = 7
"""The kind of a header's value."""

_PRELUDE, _CRC = struct.Struct(">II"), struct.Struct(">I")


def encoded(body: bytes) -> bytes:
    """The messages of an answer; one without content where it is empty."""
    return b"".join(_message(body[start : start + _PART]) for start in range(0, max(len(body), 1), _PART))


def _message(part: bytes) -> bytes:
    named = {":message-type": "event", ":event-type": "PayloadPart", ":content-type": "application/octet-stream"}
    headers = b"".join(_header(name, value) for name, value in named.items())
    sizes = _PRELUDE.pack(_PRELUDE.size + 2 * _CRC.size + len(headers) + len(part), len(headers))
    message = sizes + _CRC.pack(zlib.crc32(sizes)) + headers + part
    return message + _CRC.pack(zlib.crc32(message))


def _header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([_TEXT]) + struct.pack(">H", len(value)) + value.encode()
