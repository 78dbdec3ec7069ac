"""Hours of fuzzing by hand: ``python -m tests.fuzz --seed 7 --minutes 60``; one case again: ``--target T --case N``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from container.imports import without_unused_packages
from tests.fuzz import targets
from tests.fuzz.engine import FuzzError, hunt, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the targets in turn until the time is over; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1, help="for all targets together")
    parser.add_argument("--target", choices=targets.NAMES, action="append", help="by default all")
    parser.add_argument("--case", type=int, help="run this one case here, after printing its input in hex")
    parser.add_argument("--forks", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--extensions", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.extensions:
        targets.use_extensions(options.extensions)
    if options.forks:
        return _serve_forks()
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


def _serve_forks() -> int:
    """For each line of standard input a fork with its arguments and files for its output; its exit code on one line."""
    with without_unused_packages():  # as in the commands, and each fork starts sooner
        for line in sys.stdin:
            child = os.fork()
            if not child:
                _be_fork(*json.loads(line))
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return 0


def _be_fork(arguments: list[str], *output: str) -> None:
    code = 1
    try:
        for number, file in enumerate(output, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
        code = main(arguments)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def _hunt(name: str, seed: int, seconds: float) -> int:
    try:
        print(hunt(name, seed, seconds), flush=True)
    except FuzzError as failure:
        print(failure, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
