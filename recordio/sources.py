"""Where bytes come from: files, FIFOs and request bodies. The only code that opens input.

A source gives, for each epoch, a context manager over an iterator of named binary streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol


class Named(NamedTuple):
    """An open binary stream and the name that error messages give it."""

    name: str
    stream: BinaryIO


class Source(Protocol):
    """Input that can be read epoch after epoch."""

    def epoch(self) -> AbstractContextManager[Iterator[Named]]:
        """The streams of the next epoch, each open until the next is asked for; leaving the block closes all."""
        ...
