"""Mixed requests on many connections for a long time: no error, the same answers, no growth of memory.

    python -m benchmarks.soak                              # an hour for each of the nine algorithms
    python -m benchmarks.soak --seconds 600 --only kmeans  # ten minutes for one

The requests are those of ``docs/requests.md``: each content type that the algorithm takes, with each answer, on a small
model; every answer must be what is written there. 64 connections stay open. Memory is that of the server and its
workers, after a tenth of the time and at the end. The exit code is 1 where an answer was wrong, or memory has grown by
more than a twentieth and 40 MB: what workers share at first becomes their own with time.
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
from pathlib import Path
from typing import NamedTuple

import numpy as np

from algorithms import registry
from benchmarks.common import table
from examples.requests import Exchange, exchanges
from tests.algorithms.small_models import MODELS
from tests.server import running

PROCESSES, THREADS = 8, 8
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
    before: float
    after: float

    @property
    def sound(self) -> bool:
        """Whether all was answered rightly and memory stayed."""
        return not self.errors and self.after < self.before * GROWTH + GROWTH_BYTES / 1e6


def main() -> None:
    """Print a line an algorithm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=3600, help="for each algorithm")
    arguments = parser.parse_args()
    found = []
    for name in arguments.only:
        found.append(soaked(name, arguments.seconds))
        print(f"{name}: {found[-1].requests:,} requests, {found[-1].errors} errors {found[-1].wrong}", flush=True)
    columns = ("", "requests", "errors", "p50 ms", "p99 ms", "longest", "MB at a tenth", "MB at the end")
    rows = [(one.algorithm, f"{one.requests:,}", one.errors, *one[4:]) for one in found]
    print(table(f"{PROCESSES * THREADS} connections, {arguments.seconds:.0f} s each", columns, rows))
    raise SystemExit(not all(one.sound for one in found))


def soaked(name: str, seconds: float) -> Soaked:
    """Serve a small model of the algorithm and ask it for so long."""
    asked = list(exchanges(registry.find(name)))
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "model").mkdir()
        MODELS[name]().save(base / "model")
        with running(base, ALGORITHM=name) as server, multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
            stop = time.time() + seconds
            clients = [pool.apply_async(_ask, (server.port, asked, stop, number)) for number in range(PROCESSES)]
            time.sleep(seconds / 10)
            before = memory(server.process.pid)
            results = [client.get() for client in clients]
            after = memory(server.process.pid)
    latencies = np.concatenate([one[0] for one in results]) * 1000
    wrong = [problem for one in results for problem in one[1]]
    middle, late = np.percentile(latencies, [50, 99]).tolist()
    first = wrong[0] if wrong else ""
    return Soaked(name, len(latencies), len(wrong), first, middle, late, float(latencies.max()), before, after)


def memory(process: int) -> float:
    """Megabytes that a process and all its children have, as far as they are not shared (Linux)."""
    total, left = 0, [process]
    while left:
        one = Path(f"/proc/{left.pop()}")
        rollup = (one / "smaps_rollup").read_text()
        total += int(rollup.partition("\nPss:")[2].split()[0])
        left += [int(child) for task in (one / "task").iterdir() for child in (task / "children").read_text().split()]
    return total * 1024 / 1e6


def _ask(port: int, asked: Sequence[Exchange], stop: float, number: int) -> tuple[np.ndarray, list[str]]:
    """Seconds of each request, and what was wrong with answers, from the connections of one process."""
    seconds = array("d")
    wrong: list[str] = []
    threads = [
        threading.Thread(target=_connection, args=(port, asked, stop, number * THREADS + thread, seconds, wrong))
        for thread in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.array(seconds), wrong


def _connection(
    port: int, asked: Sequence[Exchange], stop: float, at: int, seconds: array[float], wrong: list[str]
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while time.time() < stop:
        one = asked[at % len(asked)]
        at += 1
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
