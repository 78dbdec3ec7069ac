"""What two hosts exchange, and what more of them would take: ``python -m benchmarks.hosts --sizes``.

The hosts are in network namespaces of their own with a cable between them where these can be made, else at loopback
addresses. A step is what the job does again and again; where the number of its steps follows from its data, a sum.
State is what a host keeps, as its newest checkpoint has it. Seconds of a step are those since the hosts have met, from
reading to the saved model, by the steps (of networks, what more epochs take); those of its sums are the leader's, with
waiting for the other host. The last columns are the model of the cost: of n hosts in a ring each sends an n-th of the
bytes to its neighbour 2 n - 1 times (the engine's gathering takes n rounds where n - 1 would do), in ``HOP`` seconds
and at ``RATE`` bytes a second. Two hosts so send one and a half times what they sum, as the column of the wire shows.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.hosts_jobs import Job
from benchmarks.hosts_runs import ADDRESS, Run, run
from tests.hosts.group import NoNetworkError, cable

PREDICTED = (2, 4, 16, 64)
HOP, RATE = 1e-4, 1.25e9
"""Seconds for a message from host to host, and bytes a second, at 10 Gb/s in one data centre."""
LONGER = 4
"""Times as many epochs of a network: what they take more is the time of their steps, without that of compiling it."""
TREE_SUMS = 8
"""Sums of a tree of XGBoost, which are its own and not counted: one for each of six levels, the root and the score."""

HEAD = (
    "job",
    "state, kB",
    "a step",
    "steps",
    "sums",
    "kB",
    "kB on the wire",
    "ms",
    "ms of sums",
    *(f"{count} hosts, ms of sums" for count in PREDICTED),
)
"""From the column of sums on, of one step."""


class Sums(NamedTuple):
    """What the hosts of a job have summed: arrays, their bytes, and the seconds that it took."""

    count: int
    size: float
    seconds: float

    @classmethod
    def of(cls, log: str) -> Sums:
        """As the leader's log says."""
        found = re.search(r"summed (\d+) times over all hosts, (\S+) MB, in (\S+) s with waiting", log)
        assert found, log
        return cls(int(found[1]), float(found[2]) * 1e6, float(found[3]))


def measured(name: str, job: Job) -> tuple[object, ...]:
    """A line of the table: two hosts with half of the files each."""
    with tempfile.TemporaryDirectory() as folder, _network() as (names, prefixes, spaces):
        data = Path(folder, "data")
        job.write(data)

        def train(job: Job, base: str) -> Run:
            base_folder = Path(folder, base)
            return run(job, data, base_folder, 2, sharded=True, names=names, prefixes=prefixes, checkpoints=True)

        done = train(job, "two")
        wire = sum(_sent(space) for space in spaces) / 2 if spaces else None
        seconds, steps = done.together, job.step.count or Sums.of(done.log).count
        if job.epochs:
            epochs = {job.epochs: LONGER * int(job.hyperparameters[job.epochs])}
            longer = train(job._replace(hyperparameters={**job.hyperparameters, **epochs}), "longer")
            seconds = (longer.together - seconds) / (LONGER - 1)
        return _line(name, job, done, wire, 1e3 * seconds / steps)


def predicted(sums: float, size: float, hosts: int) -> float:
    """Seconds that so many sums, of ``size`` bytes in all, take ``hosts`` hosts.

    >>> round(predicted(1, 47e6, 4), 4)
    0.0665
    """
    return _messages(hosts) * (sums * HOP + size / hosts / RATE)


def _messages(hosts: int) -> int:
    """That a host sends for a sum."""
    return 2 * hosts - 1


def _line(name: str, job: Job, done: Run, wire: float | None, milliseconds: float) -> tuple[object, ...]:
    """``wire``: bytes that a host has sent; None where nobody has counted them. ``milliseconds``: of a step."""
    sums = Sums.of(done.log)
    if name == "xgboost" and wire is not None:
        sums = Sums(TREE_SUMS * (job.step.count or 0), 2 * wire / _messages(2), 0.0)
    steps = job.step.count or sums.count
    of_sums = f"{1e3 * sums.seconds / steps:.2f}" if sums.seconds else ""
    return (
        f"{name}, {job.size}",
        f"{done.checkpoint / 1e3:,.0f}" if done.checkpoint else "",
        job.step.name,
        f"{steps:,}",
        f"{sums.count / steps:.1f}",
        f"{sums.size / steps / 1e3:,.1f}",
        "" if wire is None else f"{wire / steps / 1e3:,.1f}",
        f"{milliseconds:,.1f}",
        of_sums,
        *(f"{1e3 * predicted(sums.count, sums.size, hosts) / steps:,.1f}" for hosts in PREDICTED),
    )


@contextmanager
def _network() -> Iterator[tuple[list[str], Sequence[Sequence[str]], list[str]]]:
    """Addresses of two hosts, what goes before their commands, and their namespaces, of which there may be none."""
    with ExitStack() as stack:
        try:
            prefixes, _ = stack.enter_context(cable(0))
        except NoNetworkError as error:
            print(f"over loopback: {error}")
            yield [ADDRESS.format(100 + host) for host in range(2)], (), []
            return
        yield [f"10.99.0.{100 + host}" for host in range(2)], prefixes, [prefix[-1] for prefix in prefixes]


def _sent(space: str) -> int:
    """Bytes that have left a network namespace by its end of the cable."""
    shown = subprocess.run(["ip", "-n", space, "-s", "-j", "link", "show", "end"], capture_output=True, check=True)
    (link,) = json.loads(shown.stdout)
    return int(link["stats64"]["tx"]["bytes"])
