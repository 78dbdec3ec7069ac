"""Hours of fuzzing by hand: ``python -m tests.fuzz --seed 7 --minutes 60``; one case again: ``--target T --case N``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz import targets
from tests.fuzz.engine import FuzzError, hunt, run


def main() -> int:
    """Fuzz the targets in turn until the time is over; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1, help="for all targets together")
    parser.add_argument("--target", choices=targets.NAMES, action="append", help="by default all")
    parser.add_argument("--case", type=int, help="run this one case here, after printing its input in hex")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--extensions", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.extensions:
        targets.use_extensions(options.extensions)
    if options.child:
        target = targets.make(options.child)
        count = run(options.child, target, options.seed, options.seconds, options.first, options.progress)
        print(f"{options.child}: {count} cases")
        return 0
    names = options.target or targets.NAMES
    if options.case is not None:
        target = targets.make(names[0])
        data = target.case(names[0], options.seed, options.case)
        print(data.hex() if len(data) < 100_000 else f"{data[:1000].hex()}... ({len(data)} bytes)")
        target.check(data)
        return 0
    return max([_hunt(name, options.seed, options.minutes * 60 / len(names)) for name in names])


def _hunt(name: str, seed: int, seconds: float) -> int:
    try:
        print(hunt(name, seed, seconds), flush=True)
    except FuzzError as failure:
        print(failure, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
