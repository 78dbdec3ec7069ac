"""Imported by programs of the SDKs: nobody sleeps for long. A job takes seconds here, and the SDKs, made for jobs of
minutes, look for its end every 5 to 30 seconds. What gives up after so many looks needs more of them."""

import time

LONGEST = 0.5
_sleep = time.sleep


def _shorter(seconds: float) -> None:
    _sleep(min(seconds, LONGEST))


time.sleep = _shorter
