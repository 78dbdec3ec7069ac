"""Runs a target over mutated input in a process of its own, with bounded memory and time, so that a crash is a finding.

Case ``number`` of ``target`` with ``seed`` is always the same input; what fails prints all three, and the input's hex.
"""

from __future__ import annotations

import faulthandler
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

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
        return mutate(Random(f"{seed}/{name}/{number}"), self.seeds)  # noqa: S311 - not for secrets


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


def hunt(name: str, seed: int, seconds: float, first: int = 0, **options: dict[str, str] | list[str]) -> str:
    """Run a target in a child; what it says.

    Raises:
        FuzzError: naming seed, case and input.
    """
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder, "case")
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--child",
            name,
            "--seed",
            str(seed),
            "--progress",
            str(progress),
        ]
        command += ["--seconds", str(seconds), "--first", str(first), *options.get("arguments", [])]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, errors="replace", env=options.get("env"), check=False
        )
        if done.returncode == 0:
            return done.stdout.strip()
        number = progress.read_text().strip() if progress.exists() else ""
    if not number:
        raise FuzzError(f"{name}: it fails before the first case\n{done.stderr[-4000:]}")
    raise FuzzError(
        f"{name}, seed {seed}, case {number}: exit code {done.returncode}\n{done.stderr[-4000:]}\n"
        f"again: python -m tests.fuzz --target {name} --seed {seed} --case {number}"
    )
