"""Docker's health check of a container: ``python -m container.health`` exits with 0 where all is well.

A container that serves is well when ``GET /ping`` answers 200. One that trains is well while it runs.
"""

from __future__ import annotations

import http.client
import os
import sys
from pathlib import Path

_MAIN_PROCESS = Path("/proc/1/cmdline")
_SECONDS = 4


def serves(command_line: bytes) -> bool:
    """Whether the main process of a container, by its arguments as in /proc, is the server.

    >>> serves(b"/opt/venv/bin/python3\\0/opt/venv/bin/serve\\0"), serves(b"/sbin/docker-init\\0--\\0train\\0")
    (True, False)
    """
    return any(os.path.basename(word) == b"serve" for word in command_line.split(b"\0"))  # noqa: PTH119 - bytes


def healthy(port: int) -> bool:
    """Whether the server on this machine's ``port`` says that it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> int:
    """The exit status."""
    if not serves(_MAIN_PROCESS.read_bytes()):
        return 0
    return 0 if healthy(int(os.environ.get("SAGEMAKER_BIND_TO_PORT") or 8080)) else 1


if __name__ == "__main__":
    sys.exit(main())
