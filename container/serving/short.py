"""Which requests the loop of a worker answers by itself, as handing one to a thread may take longer than its answer.

Waking the thread, and each waiting for the other over Python's lock, take 100 to 200 us of the processor.
"""

from __future__ import annotations

import time

SOON_SECONDS = 0.001
"""Of the processor, within which a short request is answered: for so long nobody else is heard, a ping neither."""

LONGEST = 1 << 14
"""Bytes of a body, beyond which no request is short."""

_PATIENCE = 100


class ShortRequests:
    """Learns how long the body of a short request may be, from those whose time grows with it (``Direct.is_steady``).

    As long as any that was answered soon, of late; where one was not, half as long as what its rate allows. Rows may
    be so dense in a body, or so few, that its length says little of its time: after a short request that was not
    answered soon, the length does not grow for 100 times as long as that took. So whatever clients send, the loop
    spends a hundredth of its time on requests that are not short.
    """

    def __init__(self) -> None:
        self._longest = -1
        self._fixed_until = 0.0

    def learn(self, length: int, seconds: float) -> None:
        """A body of ``length`` bytes took so many seconds of the processor."""
        if seconds > SOON_SECONDS:
            if self.has(length):
                self._fixed_until = time.monotonic() + _PATIENCE * seconds
            self._longest = min(self._longest, int(length * SOON_SECONDS / seconds) // 2)
        elif length <= LONGEST and time.monotonic() >= self._fixed_until:
            self._longest = max(self._longest, length)

    def has(self, length: int) -> bool:
        """Whether a body of ``length`` bytes is likely to be answered soon."""
        return length <= self._longest
