"""The heads of usual requests and of their answers, without gunicorn's parser and WSGI in between.

A usual request is a ``POST /invocations`` with a stated length and nothing in its head that changes how it is to be
received. gunicorn and the application would do the same with it, in 70 us of the processor instead of 15, and get all
others: whatever here is not known to be harmless.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from gunicorn.util import http_date

_LINE = b"POST /invocations HTTP/1.1\r\n"
_LONGEST = 8000  # bytes, fewer than gunicorn takes for one field
_FIELDS = re.compile(rb"(?:[0-9A-Za-z-]+:[\t -~]*\r\n){1,50}")
_LENGTH = re.compile(r"[0-9]{1,15}")
_KEPT_ALIVE = ("", "keep-alive")
_UNUSUAL = frozenset(
    ("TRANSFER-ENCODING", "EXPECT", "UPGRADE", "TRAILER", "TE", "X-FORWARDED-PROTO", "X-FORWARDED-PROTOCOL")
    + ("X-FORWARDED-SSL",)
)


@dataclass(slots=True)
class Usual:
    """Attributes:
    environ: the fields of the head, as WSGI names them. length: of the body, in bytes.
    """

    environ: dict[str, str]
    length: int
    method: ClassVar[str] = "POST"


def usual(head: bytes) -> Usual | None:
    """The request of this head, which ends with an empty line; None where it is not usual, or not even HTTP."""
    if not head.startswith(_LINE) or len(head) > _LONGEST:
        return None
    block = head[len(_LINE) : -2]
    if not _FIELDS.fullmatch(block):
        return None
    lines = block.decode("ascii").split("\r\n")[:-1]
    fields = {name.upper(): value.strip(" \t") for name, _, value in (line.partition(":") for line in lines)}
    length = fields.pop("CONTENT-LENGTH", "")
    is_known = len(fields) == len(lines) - 1 and _UNUSUAL.isdisjoint(fields)  # no name came twice
    if not (is_known and _LENGTH.fullmatch(length) and fields.get("CONNECTION", "").lower() in _KEPT_ALIVE):
        return None
    environ = {f"HTTP_{name.replace('-', '_')}": value for name, value in fields.items()}
    if "HTTP_CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
    return Usual(environ, int(length))


def response(status: str, headers: Iterable[tuple[str, str]], body: bytes, *, keep: bool) -> bytes:
    """A whole response, as gunicorn writes it; ``keep`` says whether the connection stays open."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    connection = "keep-alive" if keep else "close"
    head = f"HTTP/1.1 {status}\r\nServer: gunicorn\r\nDate: {_date(int(time.time()))}\r\nConnection: {connection}\r\n"
    return f"{head}{fields}\r\n".encode("latin-1") + body


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return http_date(second)
