"""The one table: each algorithm, reader and server beside its best peer, its physical limit, and how good both are.

    python -m benchmarks                          # all: half an hour on two cores
    python -m benchmarks --only kmeans pca        # some
    python -m benchmarks --quick                  # less data and fewer rounds, in minutes
    python -m benchmarks --write docs/measured.md # and a page of it, with versions, processor and date

A benchmark runs in a process of its own, one after the other; a line appears as soon as it is measured. ``times ahead``
is taken round by round, and above 1 where ours is better. The best peer is the fastest whose result is at most 1 %
worse than ours, or else the one with the best result. ``of it`` is our speed as a share of the limit's.

The page is written anew after each benchmark, and keeps those that were measured before: their figures lie beside it,
as JSON. So a run that is cut short is not lost, and one benchmark can be renewed by ``--only``. One that fails is
named at the end, with exit code 1.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import apart, four_digits, table
from benchmarks.costs import Cost, costs
from benchmarks.lines import Line, as_table

NAMES = (
    "readers",
    "kmeans",
    "pca",
    "linear_learner",
    "factorization_machines",
    "xgboost_",
    "topics",
    "ntm",
    "images",
    "seq2seq",
    "serving",
    "wide",
    "processes",
)
COSTS = "costs"
HEAD = "# Measured\n\nWritten by `python -m benchmarks --write docs/measured.md`; [the method](benchmarks.md).\n\n"
PACKAGES = ("numpy", "scipy", "xgboost", "tensorflow", "scikit-learn", "pyarrow", "faiss-cpu", "tomotopy", "gensim")
PACKAGES += ("myfm", "xlearn", "vowpalwabbit", "polars")


class Part(NamedTuple):
    """What one benchmark gave: its lines, or the costs of all algorithms; when, where, and in how many seconds."""

    lines: Sequence[Line]
    costs: Sequence[Cost]
    day: str
    seconds: float
    machine: str


def main() -> None:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="*", choices=[*NAMES, COSTS], default=[*NAMES, COSTS])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    arguments = parser.parse_args()
    found: dict[str, Part] = {}
    failed = {}
    for name in arguments.only:
        try:
            found[name] = _measured(name, arguments.quick)
        except Exception as error:  # one benchmark's fault must not cost the others' hour
            failed[name] = f"{name} ({type(error).__name__}: {error})"
            print(f"{name}: failed:\n{reason(error)}", file=sys.stderr, flush=True)
            continue
        print(f"{name}: {found[name].seconds:.0f} s", file=sys.stderr, flush=True)
        if arguments.write is not None:
            _renew(arguments.write, name, found[name])
    print(text(found))
    if failed:
        sys.exit(f"failed: {', '.join(failed.values())}")


def reason(error: BaseException) -> str:
    """Where a benchmark failed, in its own process; and what a program that it started wrote."""
    told = "".join(traceback.format_exception(error))
    written = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    return f"{told}\n{written}" if written else told


def _measured(name: str, quick: bool) -> Part:
    started = time.perf_counter()
    lines = [] if name == COSTS else apart(collected, name, quick)
    million = costs(quick) if name == COSTS else []
    return Part(lines, million, today(), time.perf_counter() - started, machine())


def _renew(page: Path, name: str, part: Part) -> None:
    """Put a part into the page and into the file of figures beside it."""
    figures = page.with_suffix(".json")
    parts = read(figures.read_text()) if figures.exists() else {}
    parts[name] = part
    figures.write_text(written(parts))
    page.write_text(f"{HEAD}{text(parts)}")


def written(parts: Mapping[str, Part]) -> str:
    """The figures as JSON, which ``read`` reads."""
    return json.dumps({name: part._asdict() for name, part in parts.items()}, indent=1, default=float) + "\n"


def read(figures: str) -> dict[str, Part]:
    """What ``written`` wrote."""
    return {
        name: Part(**part)._replace(
            lines=[Line(*line) for line in part["lines"]], costs=[Cost(*c) for c in part["costs"]]
        )
        for name, part in json.loads(figures).items()
    }


def text(parts: Mapping[str, Part]) -> str:
    """The tables, what is behind in them, and what they were measured on."""
    parts = {name: parts[name] for name in (*NAMES, COSTS) if name in parts}
    lines = [line for part in parts.values() for line in part.lines]
    million = [cost for part in parts.values() for cost in part.costs]
    tables = [as_table("Beside the best peer", lines)] if lines else []
    tables += [_cost_table(million)] if million else []
    return "\n".join([*tables, f"\n{behind(lines)}\n", *_measured_on(parts)]) + "\n"


def _measured_on(parts: Mapping[str, Part]) -> Iterable[str]:
    """A sentence for each day and machine."""
    there = dict.fromkeys((part.day, part.machine) for part in parts.values())
    for day, where in there:
        names = [name for name, part in parts.items() if (part.day, part.machine) == (day, where)]
        minutes = sum(parts[name].seconds for name in names) / 60
        yield f"{', '.join(names)}: {minutes:.0f} minutes on {day}; {where}.\n"


def collected(name: str, quick: bool) -> list[Line]:
    """The lines of one benchmark, each printed to standard error when it is there."""
    lines = []
    for line in importlib.import_module(f"benchmarks.{name}").lines(quick):
        ahead = "" if line.ahead is None else f", {line.ahead:.2f} times {line.peer}"
        print(f"  {line.what}: {four_digits(line.ours)} {line.unit}{ahead}", file=sys.stderr, flush=True)
        lines.append(line)
    return lines


def behind(lines: Sequence[Line]) -> str:
    """A sentence on the lines in which the peer is better."""
    slower = [f"{line.what} ({line.ahead:.2f})" for line in lines if line.ahead is not None and line.ahead < 1]
    return f"Behind in {len(slower)} of {len(lines)} lines{': ' if slower else ''}{'; '.join(slower)}."


def today() -> str:
    """The date, by Coordinated Universal Time."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def machine() -> str:
    """Processor, cores, and the versions of what was measured."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"{_processor()}; Python {platform.python_version()}, {', '.join(found)}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{models[0] if models else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _cost_table(found: Sequence[Cost]) -> str:
    columns = ("", "rows", "training: processor s", "peak MB", "predicting: processor s", "peak MB")
    return table("A million rows cost", columns, found)
