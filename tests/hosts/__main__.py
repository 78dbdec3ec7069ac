"""Random losses of hosts, and random kills of jobs that go on.

``python -m tests.hosts losses --count 100 --seed 7``: three hosts train, and something happens to one of them at a
random moment from its start on. All others must end, in time, with code 1 and the same words in their failure files,
which name a host; or all with 0, where the job was over before, or where what happened harms nothing. The bounds are
those of the tests, a tenth of the real ones, which ``--real`` takes: hosts then wait 10 minutes for one that has not
come, so 33 losses take 25 minutes with ``--at-once 7``, most of which is waiting. Each is told when it is over.
``--algorithm`` chooses what they train, any of the nine.

``python -m tests.hosts kills --count 50 --seed 7``: two hosts train with checkpoints; one of them or both, or what
trains in them, are killed at random moments, most of them right after one of the checkpoints, and both are started
again until they come to their end. The model must be that of hosts that were left alone, bit for bit, and each start
must go on with the checkpoint that follows the one that it has found.

What goes wrong is printed with its number: ``--only 17`` with the same seed does that one again.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from algorithms import registry
from container.training import meeting
from tests import resuming
from tests.hosts.group import BOUNDS, Group, cable, group, own_network
from tests.hosts.test_losses import wait_until_it_takes
from tests.hosts.test_resuming import (
    MINI_BATCHES,
    MORE,
    NETWORKS,
    SOON_ALONE,
    every_point,
    filled,
    keeping,
    points,
    start_again,
)
from tests.kill.__main__ import EARLY, LONGER, is_half
from tests.opt_ml import Outcome

TYPE = "text/csv;label_size=0"
VALUES: dict[str, dict[str, str]] = {
    "pca": {"feature_dim": "20", "num_components": "3", "mini_batch_size": "20"},
    "kmeans": {"feature_dim": "20", "k": "5", "mini_batch_size": "50", "epochs": "3"},
    "lda": {"feature_dim": "20", "num_topics": "3", "mini_batch_size": "100"},
}
GOING_ON = ("kmeans", "pca", "lda", "factorization-machines", "linear-learner", "xgboost")
"""Algorithms whose jobs are killed unless others are named: the networks take ten times as long."""
MOST_STARTS = 8
SECONDS = 8.0
"""From the start of a process; jobs here take about as long, most of it to import what they need and to meet."""
BEFORE = f"{MINI_BATCHES}\n"
"""The linear learner writes no checkpoints otherwise."""


def seconds_of(hosts: Group) -> float:
    """About how long a job takes."""
    return SECONDS * (3 if hosts.algorithm in NETWORKS else 1)


def rows() -> bytes:
    counts = np.random.default_rng(4).poisson(1.0, (4000, 20))
    return b"\n".join(b",".join(b"%d" % value for value in row) for row in counts)


def most_seconds(bounds: Mapping[str, float]) -> float:
    """What hosts may take to end: a host that was lost before they met is one that has never come."""
    return bounds["PATIENCE"] + bounds["LINGER"] + 120


# ---- what happens to a host: each returns whether its own end is that of the others --------------------------------


def training_process(hosts: Group, place: int) -> int | None:
    """The process that trains, as soon as there is one."""
    process, until = hosts.processes[place], time.monotonic() + 30
    while process and process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            if found := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                return int(found[0])
        time.sleep(0.01)
    return None


def wait_until_met(hosts: Group) -> None:
    """Until the leader has printed that all are here, or has ended."""
    leader = hosts.processes[0]
    while leader and leader.poll() is None and "hosts are here" not in hosts.log(0):
        time.sleep(0.02)


def started(hosts: Group, moments: random.Random) -> None:
    """All hosts, at a random moment: from their start on, or since they have met, whatever else the machine does."""
    hosts.start(before=BEFORE)
    if moments.random() < 0.5:
        time.sleep(moments.uniform(0, seconds_of(hosts)))
    else:
        wait_until_met(hosts)
        time.sleep(moments.uniform(0, seconds_of(hosts) / (2 if hosts.algorithm in NETWORKS else 8)))


def killed(hosts: Group, place: int, moments: random.Random) -> bool:
    started(hosts, moments)
    hosts.signal(place, signal.SIGKILL)
    return False


def killed_training(hosts: Group, place: int, moments: random.Random) -> bool:
    hosts.start(before=BEFORE)
    process = training_process(hosts, place)
    time.sleep(moments.uniform(0, seconds_of(hosts)))
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return True


def stopped(hosts: Group, place: int, moments: random.Random) -> bool:
    """Longer than a host may be silent; it wakes when the others have ended."""
    started(hosts, moments)
    hosts.signal(place, signal.SIGSTOP)
    for other in range(len(hosts.hosts)):
        if other != place:
            hosts.outcome(other, most_seconds(hosts.bounds))
    hosts.signal(place, signal.SIGCONT)
    return True


def terminated(hosts: Group, place: int, moments: random.Random) -> bool:
    hosts.start()
    process = hosts.processes[place]
    assert process is not None
    wait_until_it_takes(process, signal.SIGTERM)
    time.sleep(moments.uniform(0, SECONDS))
    hosts.signal(place, signal.SIGTERM)
    return True


def failing(hosts: Group, place: int, moments: random.Random) -> bool:
    """An exception at the n-th sum, of which XGBoost's own are not counted."""
    most = 3 if hosts.algorithm == "xgboost" else 6
    before = f"""
from container.training import exchange
class Failing(exchange.Engine):
    def _sum(self, *arrays):
        if self.sums >= {moments.randrange(most)}:
            raise RuntimeError("it is broken")
        return super()._sum(*arrays)
exchange.Engine = Failing
"""
    hosts.start(*(other for other in range(3) if other != place), before=BEFORE)
    hosts.start(place, before=BEFORE + before)
    return True


def full_disk(hosts: Group, place: int, moments: random.Random) -> bool:
    for opt_ml in hosts.hosts:
        opt_ml.paths.checkpoints.mkdir()
    folders = [hosts.hosts[0].paths.model, hosts.hosts[place].paths.checkpoints]
    folder = folders[0] if hosts.algorithm == "xgboost" else moments.choice(folders)  # its leader alone writes them
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", folder], check=True)
    (folder / "filler").write_bytes(bytes(4096))
    hosts.start(before=BEFORE)
    for other in range(3):
        hosts.outcome(other, most_seconds(hosts.bounds))
    subprocess.run(["umount", "--lazy", folder], check=True)
    return True


def strangers(hosts: Group, place: int, moments: random.Random) -> bool:
    """Who send garbage, what a host would send, or nothing, all the time."""
    name = hosts.names[place].encode()
    hosts.start()
    lines = [b"", b"\n", b"[]\n", moments.randbytes(3000), b"GET / HTTP/1.1\r\n\r\n", b'{"host": "%s"}\n' % name]
    lines += [b'{"host": "%s", "version": "1"}\n{"failed": "no"}\n' % name, b"[" * 70_000, bytes(1 << 17)]
    until = time.monotonic() + 2 * SECONDS
    with contextlib.ExitStack() as stack:
        while time.monotonic() < until and any(process and process.poll() is None for process in hosts.processes):
            with contextlib.suppress(OSError):
                connection = stack.enter_context(socket.create_connection((hosts.names[0], meeting.PORT), 1))
                connection.sendall(moments.choice(lines))
            time.sleep(0.02)
    return True


def late(hosts: Group, place: int, moments: random.Random) -> bool:
    hosts.start(*(other for other in range(3) if other != place))
    time.sleep(moments.uniform(0, BOUNDS["PATIENCE"]))
    hosts.start(place)
    return True


def cut(hosts: Group, place: int, moments: random.Random) -> bool:
    """Both of two hosts lose the other."""
    started(hosts, moments)
    hosts.cut()
    return True


def absent(hosts: Group, place: int, moments: random.Random) -> bool:
    hosts.start(*(other for other in range(3) if other != place))
    return False


def other_job(hosts: Group, place: int, moments: random.Random) -> bool:
    """Other hyperparameters, other data, another version, another token."""
    kind, before, token = moments.randrange(4), "", "1"
    if kind == 0:
        hosts.hosts[place].hyperparameters(VALUES[hosts.algorithm], mini_batch_size="21")
    elif kind == 1:
        hosts.hosts[place].channel("train", rows()[:-9] + b"1,1,1,1,1", TYPE)
    elif kind == 2:
        before = "from container import distribution; distribution.version = lambda: '0.0.1'"
    else:
        token = "2"
    hosts.start(*(other for other in range(3) if other != place), OBA_JOB_TOKEN="1")
    hosts.start(place, before=before, OBA_JOB_TOKEN=token)
    return kind != 3


KINDS: list[Callable[[Group, int, random.Random], bool]] = [
    killed,
    killed_training,
    stopped,
    terminated,
    failing,
    full_disk,
    strangers,
    late,
    absent,
    cut,
    other_job,
]
MUST_FAIL = (failing, full_disk, absent, other_job)
MUST_TRAIN = (strangers,)


def wrong(kind: Callable[..., bool], outcomes: dict[int, Outcome], hosts: Group, *, leads: bool) -> str | None:
    """What is not as it should be of the ends that should be alike; None where all is well."""
    codes = {outcome.code for outcome in outcomes.values()}
    texts = {outcome.failure for outcome in outcomes.values()}
    if len(codes) != 1 or not codes <= {0, 1, 143}:
        return f"codes {codes}: {texts}"
    code = codes.pop()
    if (code == 1 and kind in MUST_TRAIN) or (code != 1 and kind in MUST_FAIL) or (code == 143) > (kind is terminated):
        return f"code {code}: {texts}"
    if code != 1:
        return f"failure files {texts}" if texts != {None} else None
    same = {str(text).replace(hosts.names[0], "leader") for text in texts}
    if None in texts or not all(any(name in str(text) for name in hosts.names) for text in texts):
        return f"failure files {texts}"
    # Of a leader that is silent nobody tells the others: those whom it has met say so, the rest that it is not there.
    apart = kind in (absent, cut) or (kind is stopped and leads)
    if len(same) > 1 and not apart and not all("not there" in text for text in same):
        return f"different failure files {texts}"
    left = [file for outcome in outcomes.values() for file in outcome.model_files if file != "filler"]
    return f"left {left}" if left else None


def lose(number: int, seed: int, bounds: dict[str, float], names: Sequence[str]) -> tuple[str, str | None, float]:
    """One loss: its kind, what is wrong, and how long the others took to end."""
    moments = random.Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    name, place = moments.choice(sorted(VALUES) if kind is other_job else names), moments.randrange(3)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        size, network, own = (2, "10.99", 1 + number % 250) if kind is cut else (3, own_network(), 1 + number % 250)
        place = min(place, size - 1)
        prefixes, cutting = stack.enter_context(cable(own)) if kind is cut else ([[]] * size, lambda: None)
        values = VALUES[name] if name in VALUES else values_of(name)
        hosts = stack.enter_context(group(folder, size, own, name, values, network))
        hosts.replicated("train", rows(), TYPE) if name in VALUES else filled(hosts, name)
        hosts.bounds, hosts.prefixes, hosts.cut = bounds, prefixes, cutting
        alike = kind(hosts, place, moments)
        happened = time.monotonic()
        counted = [other for other in range(size) if alike or other != place]
        try:
            outcomes = {other: hosts.outcome(other, most_seconds(bounds)) for other in counted}
        except subprocess.TimeoutExpired:
            return kind.__name__, f"{name}, host {place}: one does not end", time.monotonic() - happened
        problem = wrong(kind, outcomes, hosts, leads=place == 0)
        return kind.__name__, problem and f"{name}, host {place}: {problem}", time.monotonic() - happened


# ---- kills of jobs that go on ---------------------------------------------------------------------------------------

WENT_ON = re.compile(r"Training goes on after (.*), from checkpoint|Resuming from iteration (\d+)")

_EAGER_XGBOOST = """
from algorithms.xgb import checkpoints as of_xgboost
of_xgboost._SHARE_OF_TIME = float("inf")
"""


def values_of(name: str) -> dict[str, str]:
    """A job long enough to be killed in."""
    longer = LONGER | {"ntm": {"epochs": "30", "num_patience_epochs": "30"}}
    return {**registry.find(name).configurations[0].hyperparameters, **MORE[name], **longer.get(name, {})}


@dataclass(frozen=True)
class Undisturbed:
    """What two hosts do that are left alone: their model, the seconds that they take after they have met, and of each
    the points at which it writes checkpoints."""

    model: dict[str, bytes]
    seconds: float
    points: list[list[str]]


@cache
def undisturbed(name: str) -> Undisturbed:
    """Of hosts without checkpoints, and of others that write each of theirs, which must come to the same model."""
    models, seconds, found = list[dict[str, bytes]](), 0.0, list[list[str]]()
    for before in (SOON_ALONE, eagerly(name)):
        with tempfile.TemporaryDirectory() as folder, group(Path(folder), 2, 1, name, values_of(name)) as hosts:
            filled(hosts, name)
            if before != SOON_ALONE:
                keeping(hosts)
            hosts.start(before=before)
            wait_until_met(hosts)
            began = time.monotonic()
            for outcome in hosts.outcomes(300):
                assert outcome.code == 0, outcome.log
            seconds = time.monotonic() - began
            models.append(resuming.artifact(hosts.hosts[0]))
            found = [written(hosts, place) for place in range(2)]
    assert models[0] == models[1], f"{name}: checkpoints change the model"
    return Undisturbed(models[0], seconds, found)


def eagerly(name: str) -> str:
    """Code by which hosts write every checkpoint that they offer."""
    return every_point() + (_EAGER_XGBOOST if name == "xgboost" else "")


def written(hosts: Group, place: int) -> list[str]:
    """Where a host has written checkpoints in its last start, without those of a stop where it has just written one.
    XGBoost's leader writes one each round."""
    if hosts.algorithm == "xgboost":
        return re.findall(r"^\[(\d+)\]\ttrain-", hosts.log(place), re.MULTILINE)
    return [point for point, _ in itertools.groupby(points(hosts, place))]


def wait_for_points(hosts: Group, count: int) -> None:
    """Until the leader has written so many checkpoints in its last start, or has ended."""
    leader = hosts.processes[0]
    while leader and leader.poll() is None and len(written(hosts, 0)) < count:
        time.sleep(0.01)


def kill_some(hosts: Group, moments: random.Random, counts: Counter[str]) -> None:
    """One host or both: its first process, or the one that trains."""
    number = signal.SIGTERM if moments.random() < 0.25 else signal.SIGKILL
    places = [0, 1] if moments.random() < 0.3 else [moments.randrange(2)]
    killed = [training_process(hosts, place) if moments.random() < 0.5 else None for place in places]
    for place, process in zip(places, killed, strict=True):
        with contextlib.suppress(ProcessLookupError):
            if process is None:
                hosts.signal(place, number)
            else:
                os.kill(process, number)
    counts[number.name] += 1
    counts["on both hosts"] += len(places) == 2


def strayed(hosts: Group, expected: Undisturbed) -> str | None:
    """What is not as it should be of a start: each host writes the checkpoints of undisturbed hosts from the one that
    it goes on from, and where they write together, both go on from the same one."""
    begins = []
    for place, whole in enumerate(expected.points):
        found = re.search(
            r"Training goes on after (.*), from checkpoint|Resuming from iteration (\d+)", hosts.log(place)
        )
        if found and hosts.algorithm != "xgboost" and found[1] not in whole:
            return f"host {place} goes on after {found[1]!r}, where an undisturbed one has no checkpoint"
        begin = 0 if not found else int(found[2]) if found[2] else whole.index(found[1]) + 1
        mine = written(hosts, place)
        if mine != whole[begin:][: len(mine)]:
            return f"host {place} has begun with checkpoint {begin} of {whole}, and written {mine}"
        begins.append(begin)
    together = hosts.algorithm not in ("kmeans", "pca", "xgboost")
    return f"hosts go on from their checkpoints {begins}" if together and begins[0] != begins[1] else None


def go_on(number: int, seed: int, names: tuple[str, ...]) -> Counter[str]:
    """Kills of one job, until it comes to its end."""
    moments, counts, name = random.Random(f"{seed} {number}"), Counter[str](jobs=1), names[number % len(names)]
    expected = undisturbed(name)
    problem: str | None = None
    with (
        tempfile.TemporaryDirectory() as folder,
        group(Path(folder), 2, 2 + number % 250, name, values_of(name)) as hosts,
    ):
        keeping(filled(hosts, name))
        for attempt in range(MOST_STARTS + 1):
            start_again(hosts, eagerly(name))
            if moments.random() < EARLY:
                wait = moments.uniform(0, seconds_of(hosts) + expected.seconds)
            elif moments.random() < 0.3:
                wait_until_met(hosts)
                wait = moments.uniform(0, 1.1 * expected.seconds)
            else:  # networks are compiled for most of the time, before their first
                wait_for_points(hosts, moments.randrange(1, len(expected.points[0]) + 1))
                wait = moments.uniform(0, 0.1)
            if attempt < MOST_STARTS:
                time.sleep(wait)
                kill_some(hosts, moments, counts)
            outcomes = hosts.outcomes(300)
            counts["half"] += is_half(name, hosts.hosts[0])
            counts["went on"] += WENT_ON.search(hosts.log(0)) is not None
            problem = problem or strayed(hosts, expected)
            if [outcome.code for outcome in outcomes] == [0, 0]:
                break
        counts["unequal"] += resuming.artifact(hosts.hosts[0]) != expected.model
        counts["strayed"] += problem is not None
        if counts["unequal"] or problem:
            print(number, name, problem, *(outcome.log[-1500:] for outcome in outcomes), sep="\n", flush=True)
    return counts


def main() -> int:
    """Whether anything went wrong, as an exit code."""
    parser = argparse.ArgumentParser("python -m tests.hosts", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("what", choices=["losses", "kills"])
    parser.add_argument("--count", type=int, default=20, help="losses, or jobs that are killed")
    parser.add_argument("--minutes", type=float, default=30, help="after which none is begun")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one of them")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--real", action="store_true", help="with the bounds of the product")
    parser.add_argument("--algorithm", action="append", choices=sorted(MORE))
    options = parser.parse_args()
    until, total, wrongs = time.monotonic() + 60 * options.minutes, Counter[str](), 0
    bounds = {name: getattr(meeting, name) for name in BOUNDS} if options.real else BOUNDS

    names = tuple(options.algorithm or (GOING_ON if options.what == "kills" else sorted(VALUES)))
    for name in names if options.what == "kills" else ():
        undisturbed(name)

    def one(number: int) -> None:
        nonlocal wrongs
        if time.monotonic() > until:
            return
        if options.what == "kills":
            total.update(go_on(number, options.seed, names))
            return
        kind, problem, seconds = lose(number, options.seed, bounds, names)
        total[kind] += 1
        total["as they should"] += problem is None
        if seconds > 60:
            total[f"later than 60 s ({kind})"] += 1
        wrongs += problem is not None
        print(f"{number} {kind}, {seconds:.0f} s: {problem or 'as it should'}", flush=True)

    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(one, range(options.count) if options.only is None else [options.only]))
    print(f"--seed {options.seed}: " + ", ".join(f"{count} {what}" for what, count in sorted(total.items())))
    return int(bool(wrongs or total["half"] or total["unequal"] or total["strayed"]))


if __name__ == "__main__":
    sys.exit(main())
