"""The command ``train`` from its first instruction on.

SIGTERM and Ctrl-C are heard before anything is imported that takes long. Until then the first process of a container
would never be told of them: Linux drops what such a process has no handler for.
"""

from __future__ import annotations

import signal
from typing import NoReturn

from container.signals import STOPPING, end


def train() -> NoReturn:
    """See ``container.__main__.train_command``."""
    for number in STOPPING:
        signal.signal(number, end)
    from container.__main__ import train_command

    train_command()
