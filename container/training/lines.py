"""Messages between hosts about the job itself, and between a host's two processes: a JSON object a line, bounded."""

from __future__ import annotations

import json
import socket
from typing import Any

from recordio.limits import LONGEST_MEETING_LINE

_PIECE = 1 << 16


class MalformedLineError(ValueError):
    """What came is no message: whoever sent it is none of ours."""


class Lines:
    """A connection that is read and written without waiting.

    Attributes:
        closed: the other side has closed it, or it is broken; what came before was received.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.closed = False
        self._came = b""
        self._waiting = b""

    def fileno(self) -> int:
        """For ``select``."""
        return self.connection.fileno()

    @property
    def wants_to_write(self) -> bool:
        """Whether something waits until the other side reads."""
        return bool(self._waiting) and not self.closed

    def receive(self) -> list[dict[str, Any]]:
        """The messages that are here.

        Raises:
            MalformedLineError: a line is too long, or no JSON object.
        """
        while not self.closed and len(self._came) <= LONGEST_MEETING_LINE:
            try:
                piece = self.connection.recv(_PIECE)
            except BlockingIOError:
                break
            except OSError:
                piece = b""
            self.closed = not piece
            self._came += piece
        *lines, self._came = self._came.split(b"\n")
        if any(len(line) > LONGEST_MEETING_LINE for line in (*lines, self._came)):
            raise MalformedLineError("a line is too long")
        return [_message(line) for line in lines]

    def send(self, **message: Any) -> None:
        """Send a message, now or as soon as the other side reads."""
        self._waiting += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send of what waits as much as is taken."""
        while self._waiting and not self.closed:
            try:
                self._waiting = self._waiting[self.connection.send(self._waiting) :]
            except BlockingIOError:
                if len(self._waiting) > LONGEST_MEETING_LINE:  # nobody reads for hours: beats fill the socket first
                    self.closed = True
                return
            except OSError:
                self._waiting = b""  # reading tells the rest, after the messages that came before the end

    def close(self) -> None:
        """Close the connection."""
        self.closed = True
        self.connection.close()


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedLineError("a line is no JSON") from error
    if not isinstance(message, dict):
        raise MalformedLineError("a line is no JSON object")
    return message
