"""How much of the machine the process may use: the least of the machine's own and of the limits of its control groups.

Containers (``docker run --cpus --memory``, a Pod's ``resources.limits``) and systemd's units are limited by control
groups, in one of two versions. In version 2 a group has ``cpu.max`` ("50000 100000", or "max") and ``memory.max``; in
version 1, each controller has groups of its own with ``cpu.cfs_quota_us`` (-1 for none), ``cpu.cfs_period_us`` and
``memory.limit_in_bytes``. ``/proc/self/cgroup`` has the group's path; a limit of any group above it holds, too. In a
container that path may be the host's, which is not mounted there: the root is then the container's own group.

Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_GROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def processes(groups: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Number of processes that can compute at once: the CPUs of the process, or fewer where a limit is less."""
    available = len(os.sched_getaffinity(0))
    quotas = [share for folder in _folders("cpu", groups, membership) if (share := _cpus(folder)) is not None]
    return max(1, min([available, *map(math.ceil, quotas)]))


def memory(groups: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Bytes of memory of the machine, or fewer where a limit is less."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [
        limit
        for folder in _folders("memory", groups, membership)
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := _number(folder / name)) is not None and limit > 0
    ]
    return min([installed, *limits])


SPINS = 2000
"""What a thread of GNU's OpenMP waits for others in turns of a loop before it sleeps: some 50 microseconds."""


def sleep_soon() -> None:
    """Have threads of OpenMP that wait for each other leave the processor soon.

    By default they spin for 300,000 turns, while the thread that they wait for may want their processor: beside busy
    processes a small job of XGBoost then takes six times as long and more, as ``python -m benchmarks.xgboost_ --only
    busy`` prints. It has an effect before OpenMP is loaded; what the environment says stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def limit_threads() -> None:
    """Have BLAS, OpenMP and TensorFlow start no more threads than the limits let compute at once.

    They count the machine's CPUs: of 64 threads that share a limit of two CPUs, most wait while the others hold what
    they need. It has an effect before NumPy is imported only. What the environment says stays.
    """
    allowed = processes()
    if allowed < len(os.sched_getaffinity(0)):
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ.setdefault(name, str(allowed))


def _folders(controller: str, groups: Path, membership: Path) -> Iterator[Path]:
    """The folders of the groups that limit this process, of both versions."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # no Linux, or /proc hidden
        lines = []
    yield groups
    yield groups / controller
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        for root in (groups / controller,) if controllers else (groups, groups / "unified"):
            relative = PurePosixPath(path.lstrip("/"))
            for group in (relative, *relative.parents):
                if group.parts and ".." not in group.parts:
                    yield root / group


def _cpus(folder: Path) -> float | None:
    """CPUs that the group in ``folder`` may use at once; None where it has no limit."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no such file; "max" where there is no limit
        allowed, length = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return allowed / length if allowed and length and allowed > 0 else None


def _number(file: Path) -> int | None:
    """The number in a file; None where there is no file, or no number in it."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def return_freed() -> None:
    """Give memory back to the system that was freed in small blocks: glibc keeps it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def return_large_blocks(size: int) -> None:
    """Let memory of at least ``size`` bytes go back to the system when it is freed.

    glibc raises that bound by itself up to 32 MB, so that each thread keeps what its largest image took. Other C
    libraries lack the call, and the habit.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, size)
        libc.mallopt(_TRIM_THRESHOLD, 4 * size)
