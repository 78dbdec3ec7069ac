"""Stand-ins for the world around an algorithm: a job that only remembers, a channel held in memory."""

from __future__ import annotations

import contextlib
import threading
import time
import unittest.mock
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp

from algorithms.checkpoints import Checkpoints, NoCheckpoints
from algorithms.common.hosts import OneHost
from algorithms.events import Event, Measured, Score
from algorithms.interface import Hosts, Model
from container.training import exchange
from container.training.report import History
from recordio.batches import Batch, concatenate, rebatch

T = TypeVar("T")


@dataclass
class FakeJob:
    """Implements ``algorithms.interface.Job`` by appending every call to a list.

    ``stop_after`` makes ``stop_requested`` true from its n-th reading on; None never does.
    """

    seed: int = 0
    checkpoint_directory: Path | None = None
    output_directory: Path | None = None
    hosts: Hosts = field(default_factory=OneHost)
    memory: int | None = None
    owns_process: bool = False
    stop_after: int | None = None
    messages: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    timers: list[tuple[str, float]] = field(default_factory=list)
    intermediates: list[Model] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    stop_readings: int = 0

    @property
    def stop_requested(self) -> bool:
        self.stop_readings += 1
        return self.stop_after is not None and self.stop_readings > self.stop_after

    def nothing_to_keep(self) -> AbstractContextManager[None]:
        return nullcontext()

    def info(self, message: str) -> None:
        self.messages.append(message)

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def report(self, event: Event) -> None:
        self.events.append(event)

    @contextlib.contextmanager
    def timer(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timers.append((name, time.perf_counter() - start))

    def save_intermediate(self, model: Model, checkpoint: str | None = None) -> None:
        self.intermediates.append(model)
        if checkpoint is not None:
            self.saved.append(checkpoint)

    # ---- what tests ask of it ----------------------------------------------------------------------------------

    def of(self, kind: type[T]) -> list[T]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def measured(self, dataset: str | None = None, metric: str | None = None) -> list[tuple[int | None, Score]]:
        """(step, score) of whole epochs and of the final model: all, or those of a data set or metric."""
        every = [(event.step, score) for event in self.of(Measured) if event.batch is None for score in event.scores]
        return [
            (step, score)
            for step, score in every
            if dataset in (None, score.dataset) and metric in (None, score.metric)
        ]

    def values(self, dataset: str | None = None, metric: str | None = None) -> list[float]:
        """The values of ``measured``."""
        return [score.value for _, score in self.measured(dataset, metric)]

    @property
    def scores(self) -> dict[tuple[str, str], float]:
        """What the report says of the model, by data set and metric."""
        history = History()
        for event in self.events:
            history.add(event)
        return history.finals

    def last(self, dataset: str, metric: str) -> float:
        """The latest value reported for a metric. Raises IndexError where there was none."""
        return self.values(dataset, metric)[-1]

    @property
    def rounds(self) -> list[tuple[int | None, list[tuple[str, float]]]]:
        """The rounds of XGBoost, each score named as in ``train-rmse``."""
        return [
            (event.step, [(f"{score.dataset}-{score.metric}", score.value) for score in event.scores])
            for event in self.of(Measured)
        ]


class _Table:
    """Where hosts that are threads lay down their values, until all have taken them."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=60)
        self.values: list[Any] = [None] * size

    def exchanged(self, rank: int, value: Any) -> list[Any]:
        self.values[rank] = value
        self.barrier.wait()
        values = list(self.values)
        self.barrier.wait()
        return values


class ThreadHosts:
    """Implements ``algorithms.interface.Hosts`` for one of several threads."""

    def __init__(self, rank: int, size: int, table: _Table) -> None:
        self.rank, self.size, self._table = rank, size, table

    def sum(self, *arrays: np.ndarray) -> list[np.ndarray]:
        shapes = [(array.shape, array.dtype) for array in arrays]
        values = self._table.exchanged(self.rank, (shapes, [array.copy() for array in arrays]))
        assert all(other == shapes for other, _ in values), f"hosts sum different things: {[one for one, _ in values]}"
        return [np.sum(parts, axis=0, dtype=parts[0].dtype) for parts in zip(*(own for _, own in values), strict=True)]

    def sum_in_place(self, array: np.ndarray) -> None:
        array[...] = self.sum(array)[0]

    def gather(self, value: Any) -> list[Any]:
        return [exchange.decode(text) for text in self._table.exchanged(self.rank, exchange.encode(value))]


def on_hosts(size: int, run: Callable[[Hosts], Any]) -> list[Any]:
    """What ``run`` returns on each of ``size`` hosts that are threads. An error of any is raised here."""
    table = _Table(size)

    def guarded(rank: int) -> Any:
        try:
            return run(ThreadHosts(rank, size, table) if size > 1 else OneHost())
        except BaseException:
            table.barrier.abort()
            raise

    return _in_threads(size, guarded)


def on_engine(size: int, run: Callable[[Hosts], Any]) -> list[Any]:
    """The same with the real engine, whose communicators are of threads.

    Such hosts have their listening sockets in common: none may shut those of the others, nor look at one that another
    is about to close.
    """
    with unittest.mock.patch.object(exchange, "_listening", lambda: iter(())):
        return _on_engine(size, run)


def _on_engine(size: int, run: Callable[[Hosts], Any]) -> list[Any]:
    tracker, port = exchange.start_tracker("127.0.0.1", size)

    def connected(rank: int) -> Any:
        engine = exchange.connect("127.0.0.1", port, rank, size)
        try:
            return run(engine)
        finally:
            engine.close()

    try:
        return _in_threads(size, connected)
    finally:
        exchange.stop_tracker(tracker)


def _in_threads(size: int, run: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(run, rank) for rank in range(size)]
    errors = [error for future in futures if (error := future.exception())]
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    return [future.result() for future in futures]


class MemoryStream:
    """Implements ``algorithms.interface.Stream`` on arrays or batches.

    ``cuts`` are the sizes in which the rows come when no size is asked for; all at once by default. ``epochs_begun``
    counts iterations, ``epochs_left`` the ones a pipe of that many epochs would still give.

    >>> [len(batch) for batch in MemoryStream(np.zeros((5, 2))).batches(2)]
    [2, 2, 1]
    """

    def __init__(
        self,
        features: np.ndarray | sp.csr_array | Sequence[Batch],
        labels: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        *,
        cuts: Sequence[int] = (),
        epochs_left: int | None = None,
    ) -> None:
        if isinstance(features, Sequence):
            self._all = list(features)
        else:
            if sp.issparse(features):
                rows: Any = sp.csr_array(features, dtype=np.float32)
            else:
                rows = np.ascontiguousarray(features, dtype=np.float32)
            self._all = [Batch(rows, _float32(labels), _float32(weights), groups)]
        self._cuts = tuple(cuts)
        self.epochs_left = epochs_left
        self.epochs_begun = 0

    @property
    def repeats(self) -> bool:
        return self.epochs_left is None

    def batches(self, size: int | None = None) -> Iterator[Batch]:
        if self.epochs_left is not None:
            assert self.epochs_left > 0, "the channel was read more often than a pipe allows"
            self.epochs_left -= 1
        self.epochs_begun += 1
        return rebatch(self._all, size) if size is not None else self._as_cut()

    def _as_cut(self) -> Iterator[Batch]:
        if not self._cuts:
            yield from self._all
            return
        whole, start = concatenate(self._all), 0
        for cut in self._cuts:
            yield whole.rows(start, start + cut)
            start += cut
        if start < len(whole):
            yield whole.rows(start, len(whole))


def _float32(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None else np.asarray(values, dtype=np.float32)
