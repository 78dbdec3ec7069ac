"""Processor time: how much work something takes, whatever else the machine does at the same time."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def of_children() -> float:
    """Seconds of all child processes of this one that have ended and were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def of_process(pid: int) -> float:
    """Seconds of a process so far, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
