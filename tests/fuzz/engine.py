"""Runs a target over mutated input in a process of its own, with bounded memory and time, so that a crash is a finding.

Case ``number`` of ``target`` with ``seed`` is always the same input; what fails prints all three, and the input's hex.
"""

from __future__ import annotations

import atexit
import faulthandler
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.fuzz.mutations import mutate

ROOM = 1 << 30
"""Bytes of address space that a target may take beyond what it has when it begins."""

PATIENCE = 20
"""Seconds that one case may take."""

ROOT = Path(__file__).resolve().parents[2]


class Target(NamedTuple):
    """``check`` takes any input and raises where something is wrong with what is done with it; ``seeds`` are valid."""

    seeds: Sequence[bytes]
    check: Callable[[bytes], None]

    def case(self, name: str, seed: int, number: int) -> bytes:
        """The input of a case."""
        return mutate(Random(f"{seed}/{name}/{number}"), self.seeds)


def run(name: str, target: Target, seed: int, seconds: float, first: int, progress: Path) -> int:
    """Try cases for some seconds, from number ``first`` on; how many. Each number is noted before it is tried."""
    for valid in target.seeds:
        target.check(valid)
    address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    if not sanitized():
        resource.setrlimit(resource.RLIMIT_AS, (address_space + ROOM, resource.RLIM_INFINITY))
    number, end = first, time.monotonic() + seconds
    with progress.open("w") as note:
        while time.monotonic() < end:
            note.seek(0)
            note.write(f"{number:12}")
            note.flush()
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            target.check(target.case(name, seed, number))
            faulthandler.cancel_dump_traceback_later()
            number += 1
    return number - first


def sanitized() -> bool:
    """Whether this process has the address sanitizer, whose shadow memory is terabytes of address space."""
    return "libasan" in Path("/proc/self/maps").read_text()


class FuzzError(AssertionError):
    """An input that something goes wrong with."""


def hunt(name: str, seed: int, seconds: float, first: int = 0, **options: Any) -> str:
    """Run a target in a child; what it says. ``env`` and ``arguments`` are of the process that it is a fork of.

    Raises:
        FuzzError: naming seed, case and input.
    """
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder, "case")
        command = ["--child", name, "--seed", str(seed), "--progress", str(progress)]
        command += ["--seconds", str(seconds), "--first", str(first)]
        code, printed, errors = _in_fork(command, Path(folder), **options)
        if code == 0:
            return printed.strip()
        number = progress.read_text().strip() if progress.exists() else ""
    if not number:
        raise FuzzError(f"{name}: it fails before the first case\n{errors[-4000:]}")
    raise FuzzError(
        f"{name}, seed {seed}, case {number}: exit code {code}\n{errors[-4000:]}\n"
        f"again: python -m tests.fuzz --target {name} --seed {seed} --case {number}"
    )


_forking: dict[tuple[str, ...], subprocess.Popen[str]] = {}
"""By their arguments, processes that have imported all, which takes longer than a short hunt, and fork for each."""


def _in_fork(
    command: Sequence[str], folder: Path, env: dict[str, str] | None = None, arguments: Sequence[str] = ()
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``tests.fuzz`` with the arguments ``command``."""
    key = tuple(arguments)
    if key not in _forking:
        _forking[key] = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz", "--forks", *arguments],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(_forking[key].communicate)  # the end of its input is the end of it
    process = _forking[key]
    assert process.stdin is not None and process.stdout is not None
    output = [folder / "stdout", folder / "stderr"]
    print(json.dumps([list(command), *map(str, output)]), file=process.stdin, flush=True)
    code = int(process.stdout.readline())
    return code, *(file.read_text(errors="replace") for file in output)
