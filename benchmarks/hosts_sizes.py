"""What two hosts exchange, and what more of them would take: ``python -m benchmarks.hosts --sizes``.

The hosts are in network namespaces of their own with a cable between them where these can be made, else at loopback
addresses. A step is what the job does again and again; where the number of its steps follows from its data, a sum.
State is what a host keeps, as its newest checkpoint has it. Seconds of a step are those since the hosts have met, from
reading to the saved model, by the steps; those of its sums are the leader's, with waiting for the other host. Of
networks, all is what more epochs take. The last columns are the model of the cost: of n hosts in a ring each sends an
n-th of the bytes to its neighbour 2 n - 1 times (the engine's gathering takes n rounds where n - 1 would do), in
``HOP`` seconds and at ``RATE`` bytes a second. Two hosts so send one and a half times what they sum, as the column of
the wire shows.
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

import numpy as np

from benchmarks.hosts_jobs import Job
from benchmarks.hosts_runs import ADDRESS, Run, run
from tests.hosts.group import NoNetworkError, cable

PREDICTED = (2, 4, 16, 64)
HOP, RATE = 1e-4, 1.25e9
"""Seconds for a message from host to host, and bytes a second, at 10 Gb/s in one data centre."""
LONGER = 4
"""Times as many epochs of a network: what they take more is what their steps take, without compiling it."""
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


class Totals(NamedTuple):
    """What the hosts of a job have exchanged, and how long it took.

    Attributes:
        sums, size: arrays that were summed, and their bytes. waited: seconds of the leader for that. sent: bytes that a
            host has sent; NaN where nobody has counted them. seconds: since the hosts have met.
    """

    sums: float
    size: float
    waited: float
    sent: float
    seconds: float

    @classmethod
    def of(cls, done: Run, sent: float) -> Totals:
        """As the leader's log says."""
        found = re.search(r"summed (\d+) times over all hosts, (\S+) MB, in (\S+) s with waiting", done.log)
        assert found, done.log
        return cls(int(found[1]), float(found[2]) * 1e6, float(found[3]), sent, done.together)

    def without(self, other: Totals) -> Totals:
        """What this one has more."""
        return Totals(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    def by(self, steps: float) -> Totals:
        """Of one step."""
        return Totals(*(one / steps for one in self))


def measured(name: str, job: Job) -> tuple[object, ...]:
    """A line of the table: two hosts with half of the files each."""
    with tempfile.TemporaryDirectory() as folder, _network() as (names, prefixes, spaces):
        data = Path(folder, "data")
        job.write(data)

        def train(job: Job, base: str) -> tuple[Run, Totals]:
            before, base_folder = _sent(spaces), Path(folder, base)
            done = run(job, data, base_folder, 2, sharded=True, names=names, prefixes=prefixes, checkpoints=True)
            return done, Totals.of(done, _sent(spaces) - before)

        done, totals = train(job, "two")
        steps = job.step.count or totals.sums
        if job.epochs:
            epochs = {job.epochs: LONGER * int(job.hyperparameters[job.epochs])}
            _, more = train(job._replace(hyperparameters={**job.hyperparameters, **epochs}), "longer")
            totals = more.without(totals).by(LONGER - 1)
        if name == "xgboost":
            totals = totals._replace(sums=TREE_SUMS * steps, size=2 * totals.sent / _messages(2), waited=np.nan)
        return _line(f"{name}, {job.size}", done.checkpoint, job.step.name, steps, totals.by(steps))


def predicted(sums: float, size: float, hosts: int) -> float:
    """Seconds that so many sums, of ``size`` bytes in all, take ``hosts`` hosts.

    >>> round(predicted(1, 47e6, 4), 4)
    0.0665
    """
    return _messages(hosts) * (sums * HOP + size / hosts / RATE)


def _messages(hosts: int) -> int:
    """That a host sends for a sum."""
    return 2 * hosts - 1


def _line(job: str, checkpoint: int, step: str, steps: float, one: Totals) -> tuple[object, ...]:
    """``checkpoint``: its bytes; 0 where there is none. ``one``: of one step."""
    thousands = [f"{part / 1e3:,.1f}" for part in (one.size, one.sent)]
    milliseconds = [f"{1e3 * part:,.1f}" for part in (one.seconds, one.waited)]
    more = [f"{1e3 * predicted(one.sums, one.size, hosts):,.1f}" for hosts in PREDICTED]
    state = f"{checkpoint / 1e3:,.0f}" if checkpoint else ""
    return job, state, step, f"{steps:,}", f"{one.sums:.1f}", *thousands, *milliseconds, *more


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


def _sent(spaces: Sequence[str]) -> float:
    """Bytes that have left network namespaces by their end of the cable, on the average; NaN without any."""
    sent = []
    for space in spaces:
        shown = subprocess.run(["ip", "-n", space, "-s", "-j", "link", "show", "end"], capture_output=True, check=True)
        (link,) = json.loads(shown.stdout)
        sent.append(int(link["stats64"]["tx"]["bytes"]))
    return float(np.mean(sent)) if sent else np.nan
