"""How much of the machine the process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

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
