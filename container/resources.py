"""How much of the machine the process may use."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from pathlib import Path

_MEMORY = Path("/sys/fs/cgroup/memory.max")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def processes(quota: Path = _QUOTA) -> int:
    """Number of processes that can compute at once: the CPUs of the process, or fewer where a container's limit
    (``docker run --cpus``) is less. The limit is read from ``quota``, in the format of cgroup v2."""
    available = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text().split()
        return max(1, min(available, math.ceil(int(allowed) / int(period))))
    except (OSError, ValueError):  # no such file outside of containers; "max" where there is no limit
        return available


def memory(limit: Path = _MEMORY) -> int:
    """Bytes of memory of the machine, or fewer where a container's limit (``docker run --memory``) is less. The limit
    is read from ``limit``, in the format of cgroup v2."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(installed, int(limit.read_text()))
    except (OSError, ValueError):  # no such file outside of containers; "max" where there is no limit
        return installed


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def return_large_blocks(size: int) -> None:
    """Let memory of at least ``size`` bytes go back to the system when it is freed.

    glibc raises that bound by itself up to 32 MB, so that each thread keeps what its largest image took. Other C
    libraries lack the call, and the habit.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, size)
        libc.mallopt(_TRIM_THRESHOLD, 4 * size)
