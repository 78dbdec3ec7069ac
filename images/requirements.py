"""Print the lock file of an algorithm's image: ``python images/requirements.py kmeans`` prints ``locks/core.lock``.

With ``gpu`` after the name it is that of the builds for GPUs, where the algorithm has any; with ``cpu serve``, that of
what serving needs: models of the networks answer without the framework that trained them. Without a name it prints the
names of all algorithms.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from algorithms.registry import ALGORITHMS

DEVICES = ("cpu", "gpu")
PURPOSES = ("all", "serve")


def lock_of(algorithm: str, device: str = "cpu", purpose: str = "all") -> str:
    """The file's path from the root of the project.

    Raises:
        SystemExit: there is no such algorithm, device or purpose.
    """
    if device not in DEVICES:
        raise SystemExit(f"DEVICE is '{device}'; it must be one of {', '.join(DEVICES)}")
    if purpose not in PURPOSES:
        raise SystemExit(f"PURPOSE is '{purpose}'; it must be one of {', '.join(PURPOSES)}")
    if purpose == "serve" and device == "gpu":
        raise SystemExit("PURPOSE is 'serve' and DEVICE is 'gpu'; models are served on CPUs")
    build = "gpu-" if device == "gpu" else "serve-" if purpose == "serve" else ""
    if algorithm == "all":
        return f"locks/{build}all.lock"
    if algorithm not in ALGORITHMS:
        names = ", ".join(sorted(ALGORITHMS))
        raise SystemExit(f"ALGORITHM is '{algorithm}'; it must be all or one of {names}")
    extra = ALGORITHMS[algorithm].extra
    return f"locks/{build}{extra}.lock" if extra else "locks/core.lock"


if __name__ == "__main__":
    print(lock_of(*sys.argv[1:]) if len(sys.argv) > 1 else " ".join(ALGORITHMS))
