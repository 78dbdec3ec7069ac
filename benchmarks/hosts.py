"""Several hosts of one core each beside one host of one core, from the same files to a saved model.

    python -m benchmarks.hosts                     # two hosts, all jobs
    python -m benchmarks.hosts --only pca --scale 0.1
    python -m benchmarks.hosts --only covertype --hosts 2 4
    python -m benchmarks.hosts --sizes --scale 0.1 # what two hosts exchange, and what that would cost more of them

Each host is a real ``train`` process with its own /opt/ml at a loopback address, bound to a core of its own where the
machine has enough. In the column "sharded" each host has its part of the files (ShardedByS3Key), in "replicated" all of
them. CPU is the processor time of the busiest host, which is what a run would take on machines with nothing else to do;
seconds are those of the clock, and mean nothing on a machine that does. What ``--sizes`` measures is told in
``hosts_sizes.py``; the jobs are in ``hosts_jobs.py``.

The ratios are of the CPU times of one host by that of the busiest of several: first of one that has the machine to
itself, then of the slower of as many jobs of one host that run at once. Hosts of one machine wait for its memory in
turn, which those of a cluster do not: where the two ratios differ, a cluster is nearer to the second.

The score is that of the training rows, where the log has one: of each before the step that learns from it, by what its
host knows then. Of rows that are in no file it is the saved model's accuracy. Where each of several hosts takes as many
rows for a step as one alone does, there is one with the rows of all, too, which takes as many steps.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import algorithms
from benchmarks import hosts_sizes
from benchmarks.common import table
from benchmarks.hosts_jobs import JOBS, Job
from benchmarks.hosts_runs import Run, run

HEAD = ("job", "hosts", "seconds", "CPU of one", "ratios", "score", "unseen", "sums of the leader")


def main() -> None:
    """Run the benchmarks named on the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=JOBS)
    parser.add_argument("--scale", type=float, default=1.0, help="of the data; 1 takes one host a minute or so")
    parser.add_argument("--hosts", type=int, nargs="+", default=[2], help="how many hosts to compare with one")
    parser.add_argument("--sizes", action="store_true", help="what two hosts exchange, instead of how fast they are")
    arguments = parser.parse_args()
    rows = []
    for name, make in JOBS.items():
        if arguments.only in (None, name):
            job = make(arguments.scale, np.random.default_rng(0))
            found = [hosts_sizes.measured(name, job)] if arguments.sizes else _compared(name, job, arguments.hosts)
            print(*(" | ".join(map(str, line)) for line in found), sep="\n", file=sys.stderr, flush=True)
            rows += found
    print(
        table("What hosts exchange", hosts_sizes.HEAD, rows) if arguments.sizes else table("Several hosts", HEAD, rows)
    )


def _compared(name: str, job: Job, sizes: list[int]) -> list[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        data, what = Path(folder, "data"), f"{name}, {job.size}"
        job.write(data)
        one = run(job, data, Path(folder) / "one", 1, sharded=False)
        lines = [(what, "1", *_line(job, one, ""))]
        for size in sizes:
            crowded = _at_once(job, data, Path(folder) / f"{size}-at-once", size)
            lines.append((what, f"1 of {size} jobs at once", *_line(job, crowded, "")))
            if job.batch:
                rows = size * job.hyperparameters[job.batch]
                larger = job._replace(hyperparameters={**job.hyperparameters, job.batch: rows})
                found = run(larger, data, Path(folder) / f"{size}-larger", 1, sharded=False)
                lines.append((what, f"1, {job.batch}={rows}", *_line(job, found, "")))
            for sharded in (True, False):
                way = "sharded" if sharded else "replicated"
                several = run(job, data, Path(folder) / f"{size}-{way}", size, sharded=sharded)
                ratio = f"{one.cpu / several.cpu:.2f}, {crowded.cpu / several.cpu:.2f}"
                lines.append((what, f"{size}, {way}", *_line(job, several, ratio)))
    return lines


def _at_once(job: Job, data: Path, base: Path, count: int) -> Run:
    """One of so many jobs of one host that run side by side and have nothing to do with each other."""
    with ThreadPoolExecutor(count) as pool:
        jobs = [pool.submit(run, job, data, base / str(core), 1, sharded=False, core=core) for core in range(count)]
    return max((one.result() for one in jobs), key=lambda one: one.cpu)


def _line(job: Job, found: Run, ratio: str) -> tuple[str, ...]:
    sums = re.search(r"summed (.*) with waiting", found.log)
    times = f"{found.seconds:.1f}", f"{found.cpu:.1f}", ratio
    return *times, _score(job, found.log), _accuracy(job, found.model), sums[1] if sums else ""


def _score(job: Job, log: str) -> str:
    scores = re.findall(rf"train {job.metric} <\w+>=(\S+)", log) if job.metric else []
    return f"{float(scores[-1]):.4f}" if scores else ""


def _accuracy(job: Job, model: Path) -> str:
    """On the rows that are in no file."""
    if job.unseen is None or job.unseen.labels is None:
        return ""
    labels = algorithms.load(model).predict(job.unseen)["predicted_label"]
    return f"{np.mean(labels == job.unseen.labels):.4f}"


if __name__ == "__main__":
    main()
