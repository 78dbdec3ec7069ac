"""Print the lock file of an algorithm's image: ``python images/requirements.py kmeans`` prints ``locks/core.lock``.

Without a name it prints those of all algorithms.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from algorithms.registry import ALGORITHMS


def lock_of(algorithm: str) -> str:
    """The file's path from the root of the project.

    Raises:
        SystemExit: there is no such algorithm.
    """
    if algorithm == "all":
        return "locks/all.lock"
    if algorithm not in ALGORITHMS:
        names = ", ".join(sorted(ALGORITHMS))
        raise SystemExit(f"ALGORITHM is '{algorithm}'; it must be all or one of {names}")
    return f"locks/{ALGORITHMS[algorithm].extra or 'core'}.lock"


if __name__ == "__main__":
    print(lock_of(sys.argv[1]) if len(sys.argv) > 1 else " ".join(ALGORITHMS))
