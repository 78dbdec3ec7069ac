"""The ``Job`` that ``fit`` is given: log and metric lines, timers, the artifact."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from algorithms.checkpoints import Checkpoints, NoCheckpoints
from algorithms.common.hosts import OneHost
from algorithms.common.reservoir import Reservoir
from algorithms.events import Chosen, Event, FinalScore, Measured, Progress, StoppingCriterion
from algorithms.interface import Hosts, Model, RecordStream, Stream
from container.logs import DataIterator, Summary, logger
from container.training import dialects
from container.training.artifact import Artifact
from container.training.dialects import Dialect, Line
from container.training.history import LINES, LinesWritten
from container.training.output import Output
from container.training.report import History
from container.training.stop import Stop
from recordio.batches import Batch
from recordio.errors import DataError

T = TypeVar("T")

_OF_ALL_HOSTS = (Measured, FinalScore, StoppingCriterion)
"""What is measured of all hosts' rows: a tuning job reads it in the leader's log, and there alone."""


class TrainingJob:
    """Implements ``algorithms.interface.Job`` for one run of ``train``.

    Attributes:
        owns_process: see there; every job has a process.

    Args:
        dialect: writes the lines of the log.
        memory: bytes that the job may take.
    """

    owns_process = True

    def __init__(
        self,
        *,
        dialect: Dialect,
        seed: int,
        artifact: Artifact,
        stop: Stop,
        checkpoint_directory: Path | None = None,
        output_directory: Path | None = None,
        output: Output,
        hosts: Hosts | None = None,
        memory: int | None = None,
    ) -> None:
        self.seed = seed
        self.checkpoints: Checkpoints = NoCheckpoints()
        self.hosts: Hosts = hosts or OneHost()
        self.checkpoint_directory = checkpoint_directory
        self.output_directory = output_directory
        self.output = output
        self.memory = memory
        self.history = History()
        self._dialect = dialect
        self._artifact = artifact
        self._stop = stop
        self._started = self._timers_since = time.time()
        self._timers: dict[str, Summary] = {}
        self.lines = LinesWritten()
        self._watchers: dict[str, _Watcher] = {}
        self.is_interrupted = False

    @property
    def stop_requested(self) -> bool:
        """A stop was asked for."""
        return self._stop.requested

    def nothing_to_keep(self) -> contextlib.AbstractContextManager[None]:
        """A stop ends the job at once while the block runs."""
        return self._stop.nothing_to_keep()

    def info(self, message: str) -> None:
        """One line for the log."""
        self._once(logger.info, message)

    def warning(self, message: str) -> None:
        """One line for the log that the user should see."""
        self._once(logger.warning, message)

    def _once(self, log: Callable[[str, str], None], message: str) -> None:
        """Write a line, unless an interrupted run of this job has done so already."""
        if self.lines.is_new():
            log("%s", message)
            self.lines.wrote()

    def _write(self, lines: Iterable[Line], kind: str = LINES) -> None:
        for line in lines:
            if self.lines.is_new(kind):
                dialects.write((line,))
                self.lines.wrote(kind)

    def report(self, event: Event) -> None:
        """Log lines, learning curves, the bar at the foot of a terminal. Progress closes an epoch: the timers so far
        get their line. Nothing of an epoch that a stop has cut short after a checkpoint: the run that goes on from
        there tells of the whole of it."""
        if self.is_interrupted and not isinstance(event, Chosen):
            return
        self.history.add(event)
        if self.hosts.rank == 0 or not isinstance(event, _OF_ALL_HOSTS):
            self._write(self._dialect.event(event))
        if isinstance(event, Progress):
            self.write_timers(epoch=event.done - 1)
            self.output.steps(event.done, event.total)

    @contextlib.contextmanager
    def timer(self, name: str) -> Iterator[None]:
        """Measures a block, in milliseconds."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._timers.setdefault(name, Summary()).add(1000 * (time.perf_counter() - start))

    def save_intermediate(self, model: Model, checkpoint: str | None = None) -> None:
        """Make ``model`` the artifact of the job as it stands."""
        self._artifact.write(model)
        if checkpoint is not None and self.hosts.rank == 0:
            self._write(self._dialect.saved(self._artifact.directory / checkpoint))

    # ---- for container.training.checkpoints ---------------------------------------------------------------------

    def state(self, *, epoch_over: bool) -> dict[str, Any]:
        """What was measured and written so far, for a checkpoint between two epochs or in the midst of one."""
        return {
            "curves": self.history.curves,
            "finals": [[dataset, metric, value] for (dataset, metric), value in self.history.finals.items()],
            "channels": {channel: watcher.state(epoch_over=epoch_over) for channel, watcher in self._watchers.items()},
            "lines": self.lines.counts() | ({} if epoch_over else self._reread_lines()),
        }

    def _reread_lines(self) -> dict[str, int]:
        """The lines about the training channel when its last epoch began, which is read from its start again."""
        return self._watchers["train"].lines_before if "train" in self._watchers else {}

    def resume(self, lines: Path, state: Mapping[str, Any] | None) -> None:
        """Go on from such a state, or from the start, with the file that counts the lines written."""
        if state is not None:
            self.history.curves = state["curves"]
            self.history.finals = {(dataset, metric): value for dataset, metric, value in state["finals"]}
            for channel, counts in state["channels"].items():
                self._watchers[channel].resume(counts)
        self.lines.begin(lines, None if state is None else state["lines"])

    def ends_early(self) -> None:
        """A stop was asked for, and there is a checkpoint to go on from."""
        self.is_interrupted = True
        self.lines.stop()

    # ---- for container.training.train ---------------------------------------------------------------------------

    def watch(self, channel: str, stream: Stream, note: str) -> Stream:
        """``stream``, with what is read of it counted for the ``#metrics`` lines and the output.

        ``note`` is added to errors in its data.
        """
        self._watchers[channel] = watcher = _Watcher(self, channel, note)
        return _Watched(watcher, stream, self.history.sample_of(channel))

    def watch_records(self, channel: str, stream: RecordStream, note: str) -> RecordStream:
        """The same for a channel of records."""
        self._watchers[channel] = watcher = _Watcher(self, channel, note)
        return _WatchedRecords(watcher, stream)

    def data_iterator(self, meta: str, counts: DataIterator, start: float, *, epoch: int | None = None) -> None:
        """The ``#metrics`` line about what was read of a channel since ``start``."""
        self._metrics(start, time.time(), counts.summaries(), epoch=epoch, kind=meta, Meta=meta)

    def write_timers(self, *, epoch: int | None = None) -> None:
        """The ``#metrics`` line of the timers since the line before; none where nothing was measured."""
        if self._timers:
            self._metrics(self._timers_since, time.time(), self._timers, epoch=epoch, kind="timers")
        self._timers, self._timers_since = {}, time.time()

    def close(self, setup_seconds: float) -> None:
        """The last lines of a job that went well."""
        if not self.is_interrupted:
            self.lines.forget()
        self.write_timers()
        now = time.time()
        total = now - self._started
        closing = {"setuptime": Summary.of(1000 * setup_seconds), "totaltime": Summary.of(1000 * total)}
        self._metrics(self._started, now, closing)

    def _metrics(
        self, start: float, end: float, values: Mapping[str, Summary], *, kind: str = LINES, **dimensions: Any
    ) -> None:
        stated = {name: value for name, value in dimensions.items() if value is not None}
        self._write(self._dialect.metrics(start, end, values, stated), kind)


class _Watcher:
    """Counts what passes of a channel. Train is the channel whose epochs are numbered."""

    def __init__(self, job: TrainingJob, channel: str, note: str) -> None:
        self._job = job
        self._meta = f"{'training' if channel == 'train' else channel}_data_iter"
        self._is_train = channel == "train"
        self._note = note
        self._counts = DataIterator()
        self._began = self._counts  # as they were when the last epoch began
        self.lines_before: dict[str, int] = {}  # the numbers of lines then

    def state(self, *, epoch_over: bool) -> dict[str, int]:
        """The counts from which a run that goes on counts: an epoch that is not over is read from its start again."""
        return dataclasses.asdict(self._began if self._is_train and not epoch_over else self._counts)

    def resume(self, state: Mapping[str, int]) -> None:
        """Count on from ``state``."""
        self._began = self._counts = DataIterator(**state)

    def watch(self, items: Generator[T], size: Callable[[T], int]) -> Generator[T]:
        """One epoch, of items of ``size`` rows; its line is written when it was read to the end."""
        start, epoch = time.time(), self._counts.resets
        self._began = dataclasses.replace(self._counts)
        kinds = (self._meta, "init_train_data_iter")
        self.lines_before = {kind: self._job.lines.counts().get(kind, 0) for kind in kinds}
        self._counts.begin()
        try:
            with contextlib.closing(items):  # leaving early closes the epoch at once
                for item in items:
                    self._count(size(item), start)
                    yield item
        except DataError as error:
            error.add_note(self._note)
            raise
        self._job.data_iterator(self._meta, self._counts, start, epoch=epoch if self._is_train else None)

    def _count(self, rows: int, start: float) -> None:
        self._counts.add(rows)
        if self._is_train:
            self._job.output.rows(rows)
            if self._counts.batches == 1:
                self._job.data_iterator("init_train_data_iter", self._counts, start)


class _Watched:
    """A stream whose batches are counted as they pass."""

    def __init__(self, watcher: _Watcher, stream: Stream, sample: Reservoir) -> None:
        self._watcher = watcher
        self._stream = stream
        self._sample = sample
        self._sampled = False

    @property
    def repeats(self) -> bool:
        """That of the stream."""
        return self._stream.repeats

    def batches(self, size: int | None = None) -> Generator[Batch]:
        """One epoch of the stream."""
        batches = self._watcher.watch(self._stream.batches(size), len)
        if self._sampled:
            return batches
        self._sampled = True
        return self._sampling(batches)

    def _sampling(self, batches: Generator[Batch]) -> Generator[Batch]:
        """The first epoch, of which some rows are kept for the report."""
        with contextlib.closing(batches):
            for batch in batches:
                self._sample.add(batch)
                yield batch


class _WatchedRecords:
    """A stream whose records are counted as they pass."""

    def __init__(self, watcher: _Watcher, stream: RecordStream) -> None:
        self._watcher = watcher
        self._stream = stream
        self.media_type, self.parameters = stream.media_type, stream.parameters
        self.folder, self.wrapped = stream.folder, stream.wrapped
        self.share, self.may_be_empty = stream.share, stream.may_be_empty

    def records(self, *, whole: bool = False) -> Generator[bytes]:
        """One epoch of the stream."""
        return self._watcher.watch(self._stream.records(whole=whole), lambda record: 1)
