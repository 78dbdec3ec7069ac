"""Bytes of memory that threads share out among themselves."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Room:
    """Memory that threads take from one store, each waiting until there is as much as it needs."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def of(self, needed: int, *, patient: bool = True) -> Iterator[None]:
        """Take ``needed`` bytes, of which there may never be more than the store has, while the block runs.

        Raises
        ------
        BlockingIOError
            there are not so many now, and ``patient`` is not set.
        """
        with self._changed:
            if not patient and self._free < needed:
                raise BlockingIOError(f"{needed} bytes of memory are not free now")
            self._changed.wait_for(lambda: self._free >= needed)
            self._free -= needed
        try:
            yield
        finally:
            with self._changed:
                self._free += needed
                self._changed.notify_all()
