"""What ``fit`` is given of each channel of a job: its rows, its records, or its folder."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from algorithms.archives import ArchiveError, extract
from algorithms.errors import ChannelError
from algorithms.hyperparameters import Hyperparameters
from algorithms.interface import FILES, LABELS_REQUIRED, PIPE, RECORDS, Algorithm, Channel
from container.paths import Paths
from container.training.columns import Columns
from container.training.config import ChannelConfig, TrainingConfig
from container.training.job import TrainingJob
from recordio.readers import ChannelRecords, ChannelStream, RowFormat
from recordio.shares import Share
from recordio.sources import FileSource, PipeSource, Source


@contextlib.contextmanager
def opened(
    paths: Paths, algorithm: type[Algorithm], configured: TrainingConfig, job: TrainingJob, columns: Columns
) -> Iterator[dict[str, Any]]:
    """The channels of the job by name, as ``Algorithm.fit`` takes them; those of rows and records counted by ``job``.

    Raises:
        ChannelError: an earlier model's archive is broken.
        ContentTypeError: no reader takes a channel's content type.
    """
    with contextlib.ExitStack() as stack:
        given: dict[str, Any] = {}
        for name, channel in configured.channels.items():
            if channel.declared.gives == FILES:
                given[name] = stack.enter_context(unpacked(paths.channel(name)))
            elif channel.declared.gives == RECORDS:
                given[name] = job.watch_records(name, _records(paths, channel, job), _note(channel))
            else:
                rows = row_format(algorithm, configured.hyperparameters, channel.declared)
                given[name] = job.watch(name, _rows(paths, channel, rows, job, columns), _note(channel))
        yield given


def _records(paths: Paths, channel: ChannelConfig, job: TrainingJob) -> ChannelRecords:
    folder = None if channel.mode == PIPE else paths.channel(channel.declared.name)
    source, share, may_be_empty = _source(paths, channel, job)
    return ChannelRecords(
        source, channel.content_type, folder=folder, wrapped=channel.wrapped, share=share, may_be_empty=may_be_empty
    )


def _rows(paths: Paths, channel: ChannelConfig, rows: RowFormat, job: TrainingJob, columns: Columns) -> ChannelStream:
    source, share, may_be_empty = _source(paths, channel, job)
    return ChannelStream(
        source,
        channel.content_type,
        rows,
        share=share,
        may_be_empty=may_be_empty,
        order=columns.of_channel[channel.declared.name],
    )


def _source(paths: Paths, channel: ChannelConfig, job: TrainingJob) -> tuple[Source, Share, bool]:
    """Where a channel's bytes are, this host's share of them, and whether there may be none."""
    name = channel.declared.name
    source: Source = FileSource(paths.channel(name))
    if channel.mode == PIPE:
        source = PipeSource(paths.data, name, lambda: job.stop_requested)
    share = Share() if channel.sharded else Share(job.hosts.rank, job.hosts.size)
    return source, share, channel.sharded and job.hosts.size > 1


def row_format(algorithm: type[Algorithm], values: Hyperparameters, declared: Channel) -> RowFormat:
    """What the rows of a channel must look like."""
    labelled = declared.labels == LABELS_REQUIRED
    return RowFormat(
        feature_dim=algorithm.feature_dim(values),
        labels="required" if labelled else "none",
        label_size=1 if labelled else None,
        weights=algorithm.weight_column(values),
        missing=declared.missing_values,
        finite=not declared.non_finite,
    )


@contextlib.contextmanager
def unpacked(folder: Path) -> Iterator[Path]:
    """The files of an earlier model: SageMaker leaves model.tar.gz packed, other users unpack or rename it.

    Raises:
        ChannelError: the archive is broken, or has members that would leave the folder.
    """
    archive = _archive(folder)
    if archive is None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as directory:
        try:
            extract(archive, Path(directory))
        except ArchiveError as error:
            raise ChannelError(f"{archive} is not a model archive: {error}") from error
        yield Path(directory)


def _archive(folder: Path) -> Path | None:
    """``model.tar.gz``, or the folder's only file where that is an archive of another name."""
    named = folder / "model.tar.gz"
    if named.is_file():
        return named
    files = [file for file in folder.iterdir() if not file.name.startswith(".")] if folder.is_dir() else []
    return files[0] if len(files) == 1 and files[0].is_file() and files[0].name.endswith((".tar.gz", ".tgz")) else None


def _note(channel: ChannelConfig) -> str:
    """What a user must know who sees that the rows cannot be read."""
    default = "" if channel.stated else ", the default where the job states no ContentType"
    return f"Channel '{channel.declared.name}' is read as {channel.content_type}{default}."
