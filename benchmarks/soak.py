"""Mixed requests on many connections for a long time: no error, the same answers, no growth of memory.

    python -m benchmarks.soak                              # an hour, a server of each of the nine algorithms at once
    python -m benchmarks.soak --seconds 600 --only kmeans  # ten minutes of one, which then has the machine to itself

The requests are those of ``docs/requests.md``: each content type that the algorithm takes, with each answer, on a small
model; every answer must be what is written there. 64 connections to each server stay open, and 64 clients ask the
servers in turn. Memory is that of a server and its workers, after a tenth of the time, after half of it and at the end.
The exit code is 1 where an answer was wrong, or memory has grown by more than a twentieth and 40 MB: what workers share
at first becomes their own with time.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import tempfile
import threading
import time
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from algorithms import registry
from benchmarks.common import table
from examples.requests import Exchange, exchanges
from tests.algorithms.small_models import MODELS
from tests.server import Server, running

PROCESSES, THREADS = 8, 8
MOMENTS = (0.1, 0.5, 1.0)
"""Of the time, at which memory is looked at."""
GROWTH, GROWTH_BYTES = 1.05, 40_000_000


class Soaked(NamedTuple):
    """What came of one server: latencies in milliseconds, memory in megabytes; ``wrong`` is the first wrong answer."""

    algorithm: str
    requests: int
    errors: int
    wrong: str
    p50: float
    p99: float
    longest: float
    early: float
    halfway: float
    late: float

    @property
    def sound(self) -> bool:
        """Whether all was answered rightly and memory stayed."""
        return not self.errors and self.late < self.early * GROWTH + GROWTH_BYTES / 1e6


class Heard(NamedTuple):
    """What one process of clients has of one server: seconds of each request, and what was wrong with answers."""

    seconds: array[float]
    wrong: list[str]


def main() -> None:
    """Print a line an algorithm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=3600)
    arguments = parser.parse_args()
    found = soaked(arguments.only, arguments.seconds)
    for one in found:
        print(f"{one.algorithm}: {one.requests:,} requests, {one.errors} errors {one.wrong}")
    columns = ("", "requests", "errors", "p50 ms", "p99 ms", "longest", "MB at a tenth", "MB halfway", "MB at the end")
    rows = [(one.algorithm, f"{one.requests:,}", one.errors, *one[4:]) for one in found]
    print(table(f"{PROCESSES * THREADS} connections to each server, {arguments.seconds:.0f} s", columns, rows))
    raise SystemExit(not all(one.sound for one in found))


def soaked(names: Sequence[str], seconds: float) -> list[Soaked]:
    """Serve a small model of each algorithm and ask them all for so long."""
    asked = [list(exchanges(registry.find(name))) for name in names]
    with ExitStack() as stack:
        servers = [_serving(name, stack) for name in names]
        ports = [server.port for server in servers]
        pool = stack.enter_context(multiprocessing.get_context("fork").Pool(PROCESSES))
        started = time.time()
        given = (ports, asked, started + seconds)
        clients = [pool.apply_async(_ask, (*given, number * THREADS)) for number in range(PROCESSES)]
        sizes = []
        for moment in MOMENTS:
            time.sleep(max(started + moment * seconds - time.time(), 0))
            sizes.append([memory(server.process.pid) for server in servers])
        heard = [client.get() for client in clients]
    return [
        _summed(name, of_server, of_memory)
        for name, of_server, of_memory in zip(names, zip(*heard, strict=True), zip(*sizes, strict=True), strict=True)
    ]


def _serving(name: str, stack: ExitStack) -> Server:
    """A server of a small model, until the stack ends."""
    base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (base / "model").mkdir()
    MODELS[name]().save(base / "model")
    return stack.enter_context(running(base, ALGORITHM=name))


def _summed(name: str, heard: Sequence[Heard], sizes: Sequence[float]) -> Soaked:
    latencies = np.concatenate([one.seconds for one in heard]) * 1000
    wrong = [problem for one in heard for problem in one.wrong]
    middle, late = np.percentile(latencies, [50, 99]).tolist()
    first = wrong[0] if wrong else ""
    return Soaked(name, len(latencies), len(wrong), first, middle, late, float(latencies.max()), *sizes)


def memory(process: int) -> float:
    """Megabytes that a process and all its children have, as far as they are not shared (Linux)."""
    total, left = 0, [process]
    while left:
        one = Path(f"/proc/{left.pop()}")
        rollup = (one / "smaps_rollup").read_text()
        total += int(rollup.partition("\nPss:")[2].split()[0])
        left += [int(child) for task in (one / "task").iterdir() for child in (task / "children").read_text().split()]
    return total * 1024 / 1e6


def _ask(ports: Sequence[int], asked: Sequence[Sequence[Exchange]], stop: float, first: int) -> list[Heard]:
    """What the clients of one process hear of each server."""
    heard = [Heard(array("d"), []) for _ in ports]
    threads = [
        threading.Thread(target=_client, args=(ports, asked, stop, first + thread, heard)) for thread in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return heard


def _client(
    ports: Sequence[int], asked: Sequence[Sequence[Exchange]], stop: float, at: int, heard: Sequence[Heard]
) -> None:
    """Ask one server after the other, each on a connection that stays open, each time with its next request."""
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for port in ports]
    while time.time() < stop:
        turn, place = divmod(at, len(ports))
        at += 1
        requests, connection, (seconds, wrong) = asked[place], connections[place], heard[place]
        one = requests[turn % len(requests)]
        started = time.perf_counter()
        try:
            connection.request(
                "POST", "/invocations", one.body, {"Content-Type": one.content_type, "Accept": one.accept}
            )
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            wrong.append(f"{one.content_type}: {error!r}")
            connection.close()
            continue
        seconds.append(time.perf_counter() - started)
        if response.status != 200 or answer != one.answer:
            wrong.append(f"{one.content_type} to {one.accept}: {response.status} {answer[:200]!r}")


if __name__ == "__main__":
    main()
