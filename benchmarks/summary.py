"""The one table: each algorithm, reader and server beside its best peer, its physical limit, and how good both are.

    python -m benchmarks                          # all: about an hour on two cores
    python -m benchmarks --only kmeans pca        # some
    python -m benchmarks --quick                  # less data and fewer rounds, in minutes
    python -m benchmarks --write docs/measured.md # and a page of it, with versions, processor and date

A benchmark runs in a process of its own, one after the other; a line appears as soon as it is measured. ``times ahead``
is taken round by round, and above 1 where ours is better. The best peer is the fastest whose result is at most 1 %
worse than ours, or else the one with the best result. ``of it`` is our speed as a share of the limit's.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.common import apart, table
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
PACKAGES = ("numpy", "scipy", "xgboost", "tensorflow", "scikit-learn", "pyarrow", "faiss-cpu", "tomotopy", "gensim")
PACKAGES += ("myfm", "xlearn", "vowpalwabbit", "polars")


def main() -> None:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="*", choices=[*NAMES, "costs"], default=[*NAMES, "costs"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    arguments = parser.parse_args()
    began, lines = time.perf_counter(), []
    for name in (name for name in arguments.only if name != "costs"):
        started = time.perf_counter()
        lines += apart(collected, name, arguments.quick)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    parts = [as_table("Beside the best peer", lines)] if lines else []
    if "costs" in arguments.only:
        parts.append(_cost_table(costs(arguments.quick)))
    parts.append(f"\n{behind(lines)}\n\n{machine()}; {(time.perf_counter() - began) / 60:.0f} minutes.\n")
    print(*parts, sep="\n")
    if arguments.write is not None:
        arguments.write.write_text(page(parts, sys.argv[1:]))


def collected(name: str, quick: bool) -> list[Line]:
    """The lines of one benchmark, each printed to standard error when it is there."""
    lines = []
    for line in importlib.import_module(f"benchmarks.{name}").lines(quick):
        ahead = "" if line.ahead is None else f", {line.ahead:.2f} times {line.peer}"
        print(f"  {line.what}: {line.ours:.4g} {line.unit}{ahead}", file=sys.stderr, flush=True)
        lines.append(line)
    return lines


def behind(lines: Sequence[Line]) -> str:
    """A sentence on the lines in which the peer is better."""
    slower = [f"{line.what} ({line.ahead:.2f})" for line in lines if line.ahead is not None and line.ahead < 1]
    return f"Behind in {len(slower)} of {len(lines)} lines{': ' if slower else ''}{'; '.join(slower)}."


def machine() -> str:
    """Processor, cores, date, and the versions of what was measured."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"{day}; {_processor()}; Python {platform.python_version()}, {', '.join(found)}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{models[0] if models else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def page(parts: Iterable[str], arguments: Sequence[str]) -> str:
    """The documentation's page."""
    command = " ".join(["python -m benchmarks", *arguments])
    head = f"# Measured\n\nWritten by `{command}`; [the method](benchmarks.md).\n"
    return "\n".join([head, *parts]).rstrip() + "\n"


def _cost_table(found: Sequence[Cost]) -> str:
    columns = ("", "rows", "training: processor s", "peak MB", "predicting: processor s", "peak MB")
    return table("A million rows cost", columns, found)
