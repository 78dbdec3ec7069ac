"""Train with extreme hyperparameters, in processes whose memory and time are bounded.

``python -m tests.algorithms.extremes`` reads a line of an algorithm's cases as JSON and answers with a line. It imports
an algorithm once and forks for every line, before anything has started a thread: what a job leaves behind in its
process meets the other cases of its hyperparameter at most. Where one ends the process, the next have a new one.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from algorithms import hyperparameters, registry
from algorithms.errors import AlgorithmInputError, TrainingStopped
from algorithms.factorization_machines import schedule, selection
from algorithms.hyperparameters import AUTO, Field
from algorithms.interface import ROWS, Algorithm, Configuration
from container.training.train import check_memory
from recordio.batches import Batch
from recordio.errors import DataError
from tests.algorithms import samples
from tests.algorithms.fakes import FakeJob, MemoryStream

THOROUGH = os.environ.get("OBA_THOROUGH") == "1"
LARGE = 100_000 if THOROUGH else 20_000
"""An integer that a user may give who wants "many"; as many trees or classes take seconds that no stop shortens."""
LARGEST = 2**31 - 1
TINY, HUGE = 2 * float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
"""The smallest and the largest number that a hyperparameter can be, besides 0."""
MEMORY = 4 << 30
"""Bytes of the machine that ``Algorithm.memory`` is compared with; a job may map 2 GiB more before it fails."""
STOP_SECONDS, CPU_SECONDS, WALL_SECONDS = 1.0 if THOROUGH else 0.1, 20, 400
"""A job is asked to stop after the first (of the processor), and must have ended before the others: nobody waits for
2^31 epochs, but stopping must work with them. What an extreme does to a job shows in its first steps."""
LEAVE_SECONDS = 12.0
"""Of the processor, after which a library that builds a network is left."""
WIDEST = 1000
"""More features than this are given as sparse rows."""
MANY_CLASSES = None if THOROUGH or os.environ.get("CI") else 5
"""Rows of the jobs for ``num_classes``, of which each has a million scores, and 61 take 15 seconds: all in CI."""


# ---- cases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One job: a hyperparameter's extreme value, and how many rows, images or pairs it has (None for all)."""

    configuration: str
    name: str = ""
    value: str = ""
    count: int | None = None
    more: dict[str, str] = field(default_factory=dict)

    def strings(self, algorithm: str) -> dict[str, str]:
        """The hyperparameters as a job states them."""
        plain = samples.configurations(algorithm)[self.configuration].hyperparameters
        return {**plain, **self.more, **({self.name: self.value} if self.name else {})}


def values(declared: Field) -> Iterator[str]:
    """Both ends of a range, or every word; where there is no end, a large value and the largest."""
    yield from ((AUTO,) if declared.auto else ())
    yield from declared.words
    if declared.kind == "integer":
        low = declared.at_least if declared.above is None else declared.above + 1
        high = declared.at_most if declared.below is None else declared.below - 1
        yield from map(str, (-LARGEST, -1, 0) if low is None else (int(low),))
        yield from map(str, (LARGE, LARGEST) if high is None else (int(high),))
    elif declared.kind == "real":
        low = declared.at_least if declared.above is None else max(TINY, _next(declared.above, math.inf))
        high = declared.at_most if declared.below is None else _next(declared.below, -math.inf)
        yield from map(repr, (-HUGE, -1.0, 0.0) if low is None else (float(low), *((TINY,) if low == 0 else ())))
        yield from map(repr, (1e6, HUGE) if high is None else (float(high),))
    elif declared.kind == "flag":
        yield from ("true", "false")
    elif declared.kind in ("choice", "listing"):
        yield from declared.choices


def _next(end: float, towards: float) -> float:
    """The next float32 inside an open end."""
    return float(np.nextafter(np.float32(end), np.float32(towards)))


def cases(algorithm: type[Algorithm], name: str) -> Iterator[Case]:
    """Each extreme of a hyperparameter, with all the data, two of it and one, where the hyperparameter matters."""
    declared = hyperparameters.fields(algorithm.hyperparameters)
    configuration, more = where_it_matters(algorithm, declared, name)
    for value in values(declared[name]):
        for count in (MANY_CLASSES if name == "num_classes" else None, 2, 1):
            yield Case(configuration.name, name, value, count, more)


def where_it_matters(
    algorithm: type[Algorithm], declared: dict[str, Field], name: str
) -> tuple[Configuration, dict[str, str]]:
    """A configuration in which the hyperparameter has an effect, as its ``when`` says, and what must be set besides."""
    other, _, words = (declared[name].when or "").partition(" is ")
    word = words.split(" or ")[0]
    if other not in declared or (declared[other].kind == "choice" and word not in declared[other].choices):
        return algorithm.configurations[0], {}
    for configuration in algorithm.configurations:
        if configuration.hyperparameters.get(other) == word:
            return configuration, {}
    return algorithm.configurations[0], {other: word}


# ---- one case, in a process of its hyperparameter -------------------------------------------------------------------


class ImpatientJob(FakeJob):
    """A job that is asked to stop soon."""

    def __init__(self) -> None:
        super().__init__()
        self.started = time.process_time()

    @property
    def stop_requested(self) -> bool:
        return time.process_time() - self.started > STOP_SECONDS

    @contextlib.contextmanager
    def nothing_to_keep(self) -> Iterator[None]:
        """As ``container.training.stop``: what cannot hear of the stop, as a library that builds a network of 100,000
        layers, is left soon after it."""

        def leave(*_: object) -> None:
            raise TrainingStopped("there was no model yet")

        signal.signal(signal.SIGPROF, leave)
        signal.setitimer(signal.ITIMER_PROF, LEAVE_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def run(algorithm: type[Algorithm], case: Case) -> dict[str, str]:
    """What comes of a case: ``outcome`` trained, stopped or refused with ``message``, or wrong with what is wrong."""
    try:
        wrong = _train(algorithm, case)
    except TrainingStopped:
        return {"outcome": "stopped", "message": ""}
    except (AlgorithmInputError, DataError) as error:
        return {"outcome": "refused", "message": f"{type(error).__name__}: {error}"}
    except BaseException as error:  # a fault, whatever it is
        return {"outcome": "wrong", "message": f"{type(error).__name__}: {error}"[:300]}
    return {"outcome": "wrong" if wrong else "trained", "message": wrong}


def _train(algorithm: type[Algorithm], case: Case) -> str:
    """Train as a job does, and look at predictions; what is wrong with them."""
    configuration = samples.configurations(algorithm.name)[case.configuration]
    parsed = hyperparameters.parse(algorithm.hyperparameters, case.strings(algorithm.name))
    check_memory(algorithm, parsed, MEMORY)
    with tempfile.TemporaryDirectory() as folder, samples.around(configuration):
        if not samples.has_rows(configuration):
            channels = samples.channels(algorithm, configuration, Path(folder), count=case.count)
            algorithm.fit(parsed, channels, ImpatientJob())
            return ""
        features, labels = _rows(algorithm, configuration, algorithm.feature_dim(parsed), case.count)
        channels = {c.name: MemoryStream(features, labels) for c in algorithm.channels if c.gives == ROWS}
        model = algorithm.fit(parsed, channels, ImpatientJob())
        model.save(Path(folder))
        return _wrong(algorithm, algorithm.load(Path(folder)).predict(Batch(features)), features.shape[0])


def _rows(algorithm: type[Algorithm], configuration: Configuration, width: int | None, count: int | None) -> Any:
    """Features and labels; beyond ``WIDEST`` features the rows are sparse."""
    narrow = samples.width(algorithm, configuration)
    rows: Any = samples.features(configuration, count or samples.COUNT, min(width or narrow, WIDEST))
    labels = samples.labels(configuration, rows) if samples.labelled(algorithm) else None
    if width is not None and width > WIDEST:
        rows = sp.csr_array(rows)
        rows = sp.csr_array((rows.data, rows.indices, rows.indptr), shape=(rows.shape[0], width))
    return rows, labels


def _wrong(algorithm: type[Algorithm], columns: dict[str, np.ndarray], count: int) -> str:
    if not columns or not set(columns) <= {column.name for column in algorithm.columns}:
        return f"predicts {list(columns)}"
    for name, column in columns.items():
        if column.shape[0] != count:
            return f"{name} has shape {column.shape} for {count} rows"
        if not np.isfinite(column).all():
            return f"{name} is not finite"
    return ""


# ---- processes ------------------------------------------------------------------------------------------------------


class Runner:
    """A process that runs cases one after the other."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "tests.algorithms.extremes"]
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, **one, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def __call__(self, name: str, cases: Sequence[Case]) -> list[dict[str, str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, *map(asdict, cases)]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def main() -> None:
    """Answer lines of cases from standard input until it ends."""
    if not THOROUGH:  # the fewest passes with all that may be in a job: factorization machines make thousands
        schedule.SMALL_STEPS, schedule.PASSES = 0, selection.FEWEST_PASSES
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    for line in sys.stdin:
        name, *given = json.loads(line)
        algorithm, cases = registry.find(name), [Case(**one) for one in given]
        found: list[dict[str, str]] = []
        while len(found) < len(cases):
            found += _in_child(algorithm, cases[len(found) :])
        answers.write(json.dumps(found) + "\n")
        answers.flush()


def _in_child(algorithm: type[Algorithm], cases: Sequence[Case]) -> list[dict[str, str]]:
    """What comes of the cases, up to the first that ends their process."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        _limit_memory()
        for case in cases:
            _limit_time()
            os.write(write, json.dumps(run(algorithm, case)).encode() + b"\n")
        os._exit(0)
    os.close(write)
    found = []
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while ready := bool(select.select([pipe], [], [], WALL_SECONDS)[0]):
            if not (line := pipe.readline()):
                break
            found.append(json.loads(line))
    if not ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if len(found) < len(cases):
        died = f"killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {status >> 8}"
        message = died if ready else f"still running after {WALL_SECONDS} s"
        found.append({"outcome": "wrong", "message": message})
    return found


def _limit_memory() -> None:
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY + (2 << 30),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time() -> None:
    """From now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + CPU_SECONDS, hard))


def accepted(case: Case, found: dict[str, str], plain: Callable[[Case], dict[str, str]]) -> bool:
    """Whether a case ended as it may: trained, stopped on request, or refused with a reason that a user can use.

    ``plain`` says what comes of a case without the extreme: a refusal of the data needs no hyperparameter's name.
    """
    if found["outcome"] != "refused":
        return found["outcome"] in ("trained", "stopped")
    of_memory = "of memory" in found["message"]
    of_metric = f"Metric '{case.value.rpartition(':')[2]}'" in found["message"]
    return of_memory or of_metric or case.name in found["message"] or plain(case)["outcome"] == "refused"


if __name__ == "__main__":
    main()
