"""A bound on the memory that the requests being answered take, in all workers together.

The memory for a request is estimated before it is used: for parsing from the length of the body; for predicting from
the number of rows, the numbers of an answer, and what the model says. The workers share ``SMALL_SHARE`` of the memory
for usual requests. A larger request, of which the whole server answers one at a time, may use ``LARGE_SHARE``; one that
would need more is refused (507). Together with bodies that are being received (``server.BUFFERED_SHARE``), requests use
at most three quarters of the memory, whatever their number.
"""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any

from container.resources import memory, processes
from container.settings import Settings
from recordio.room import Room

SMALL_SHARE, LARGE_SHARE = 8, 2
"""The memory divided by these is for all usual requests of all workers, and for one larger request."""

_PER_BYTE = 32
"""Bytes of memory for each byte of a body while it is parsed, rows included: an empty CSV field is one byte in the body
and 26 in memory."""

_PER_ROW, _PER_NUMBER = 256, 256
"""Bytes of memory for each row of an answer, and for each of its numbers. JSON takes the most: a number is a Python
float, a text, and a part of larger texts."""


_patient: ContextVar[bool] = ContextVar("patient", default=True)


class MustWaitError(Exception):
    """There is no memory for a request at once, and it is answered by whoever must not wait (``at_once``)."""


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Within the block ``RequestMemory.of`` raises MustWaitError instead of waiting."""
    token = _patient.set(False)
    try:
        yield
    finally:
        _patient.reset(token)


class RequestMemory:
    """Lets requests wait for memory. It is made before the workers fork, so that they share one turn for large
    requests.

    Args:
        share: bytes for the usual requests of one worker.
        most: bytes for one request.
    """

    def __init__(self, share: int, most: int) -> None:
        self._share, self._most = share, most
        self._room = Room(share)
        self._turn = threading.Lock()
        self._turn_of_all = tempfile.TemporaryFile()  # noqa: SIM115 - its lock ends with the process that holds it

    def of(self, needed: int) -> contextlib.AbstractContextManager[None]:
        """Wait until there are ``needed`` bytes for a request, and reserve them until the block ends.

        Raises:
            MemoryError: no request may take so much.
            MustWaitError: see there.
        """
        if needed > self._most:
            raise MemoryError(f"a request would take {needed} bytes of memory; {self._most} are the most")
        if not _patient.get():
            return self._now(needed)
        return self._room.of(needed) if needed <= self._share else self._alone()

    @contextlib.contextmanager
    def _now(self, needed: int) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._room.of(needed, patient=False))
            except BlockingIOError as error:
                raise MustWaitError from error
            yield

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._turn:  # of the threads, since the lock on the file is the process's
            fcntl.lockf(self._turn_of_all, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._turn_of_all, fcntl.LOCK_UN)


def workers(settings: Settings) -> int:
    """Server processes. Models that are loaded later are in the memory of the one process that loaded them."""
    return 1 if settings.multi_model else settings.workers or processes()


@cache
def shared(workers: int) -> RequestMemory:
    """The one of this server."""
    return RequestMemory(memory() // SMALL_SHARE // workers, memory() // LARGE_SHARE)


def of_body(body: bytes) -> int:
    """Bytes that parsing a request's body takes, with the rows that come of it."""
    return _PER_BYTE * len(body)


def of_answer(rows: int, width: float) -> int:
    """Bytes that ``rows`` rows of ``width`` numbers take, and the answer that is made of them."""
    return rows * int(_PER_ROW + _PER_NUMBER * width)


def width(columns: dict[str, Any]) -> float:
    """Numbers of an answer for each row, of a model's named columns."""
    rows = max((len(column) for column in columns.values()), default=0)
    sizes = (getattr(column, "size", None) or sum(map(_length, column)) for column in columns.values())
    return sum(sizes) / max(rows, 1)


def _length(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") else 1
