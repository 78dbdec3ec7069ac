"""Hosts on one machine that end before all hosts have met. Only the process that started them can see it.

The others would wait as long as hosts wait for each other (``container.training.meeting``). So the leader is told, in
the name of the host that has ended. If it is the leader that has ended, the others are ended, too.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from container.training import meeting

KNOWN_SECONDS = 3.0
"""Seconds after which a leader that has met a host knows that it has ended, and why."""
LEADERLESS_SECONDS = 5.0
"""Seconds that hosts without a leader may run on: those that have met it end by themselves, and say why."""
_CONNECTION_SECONDS = 5.0


class LostHosts:
    """Watches the hosts whose processes this one has started.

    Args:
        names: their addresses, sorted. failures: where each writes its failure file. job: what they know their job by.
    """

    def __init__(self, names: Sequence[str], failures: Sequence[Path], job: str | None) -> None:
        self._names, self._failures, self._token = names, failures, meeting.token(job)
        self._seen: dict[int, float] = {}  # the hosts that have ended, and when that was seen
        self._told = set[int]()

    def look(self, codes: Sequence[int | None]) -> bool:
        """Tell the leader of hosts that have failed; whether those that still run are to be ended, as they have none.

        Args:
            codes: exit codes of all hosts; negative for a signal, None while they run.
        """
        now = time.monotonic()
        for rank, code in enumerate(codes):
            if code is not None:
                self._seen.setdefault(rank, now)
        if codes[0] is not None:
            return codes[0] != 0 and now - self._seen[0] > LEADERLESS_SECONDS
        for rank, since in self._seen.items():
            if codes[rank] and rank not in self._told and now - since > KNOWN_SECONDS:
                self._tell(rank, codes[rank] or 0)
        return False

    def reason(self, rank: int, code: int) -> str:
        """Why a host has failed: the text of its failure file, or one in its place."""
        with contextlib.suppress(OSError):
            return self._failures[rank].read_text(errors="replace")
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return meeting.lost(self._names[rank], f"its process ended {how} before it had met the others")

    def _tell(self, rank: int, code: int) -> None:
        """In the name of the host; again later, where the leader does not listen yet."""
        message = {"host": self._names[rank], "token": self._token, "failed": self.reason(rank, code)}
        with contextlib.suppress(OSError), socket.socket() as connection:
            connection.settimeout(_CONNECTION_SECONDS)
            connection.bind((self._names[rank], 0))
            connection.connect((self._names[0], meeting.PORT))
            connection.sendall(json.dumps(message).encode() + b"\n")
            self._told.add(rank)
            while connection.recv(1 << 16):  # until the leader has heard
                pass


def lost_leader(name: str, code: int) -> str:
    """The failure of a leader whose process was ended by a signal, and that could not write one itself."""
    return meeting.lost(name, f"it leads, and its process was ended by {signal.Signals(-code).name}")
