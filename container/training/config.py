"""The job's JSON files, read and checked as a whole before any data is touched.

SageMaker writes every field; the local modes of its SDKs leave out most of inputdataconfig.json, and jobs outside
SageMaker may have neither that file nor resourceconfig.json. What is absent gets the default stated here; what is
present must be right. All problems of all files are reported together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from algorithms import hyperparameters
from algorithms.errors import HyperparameterError
from algorithms.hyperparameters import Hyperparameters
from algorithms.interface import FAST_FILE, FILE, PIPE, RECORDIO, ROWS, Algorithm, Channel
from container.paths import Paths
from container.settings import ConfigurationError
from container.training import group
from container.training.group import Group, kind, read_object
from recordio import content_type
from recordio.content_type import ContentType
from recordio.errors import ContentTypeError, EmptyDataError
from recordio.quoting import quoted
from recordio.sources import FileSource

_ROOT = PurePosixPath("/opt/ml")
_MODES = {mode.lower(): mode for mode in (FILE, FAST_FILE, PIPE)}
_SHARDED = "ShardedByS3Key"
_DISTRIBUTIONS = ("FullyReplicated", _SHARDED)
UNSUPPORTED = {
    "debughookconfig.json": "SageMaker Debugger",
    "profilerconfig.json": "SageMaker Profiler",
    "tensorboardoutputconfig.json": "output for TensorBoard",
}
"""Files in which a job asks for what there is not here, and what that is."""


@dataclass(frozen=True)
class ChannelConfig:
    """How one channel of this job is to be read.

    Attributes:
        declared: what the algorithm says of the channel.
        mode: ``File``, ``FastFile`` or ``Pipe``.
        content_type: as the job states it, or the channel's default.
        stated: the job states a content type.
        wrapped: the job asks for each object in a RecordIO record of its own.
        sharded: each host has files of its own (``ShardedByS3Key``), possibly none; otherwise each has all.
    """

    declared: Channel
    mode: str
    content_type: ContentType
    stated: bool
    wrapped: bool = False
    sharded: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that a job says of itself, checked.

    Attributes:
        provided: the hyperparameters as they came, for the log.
        channels: by name, in the order of the job's file.
        group: the hosts of the job.
        checkpoint_directory: None where the job keeps no checkpoints.
        columns: what the columns of the data are called, in the order in which they are read; none where nobody says.
    """

    hyperparameters: Hyperparameters
    provided: Mapping[str, Any]
    channels: Mapping[str, ChannelConfig]
    group: Group
    checkpoint_directory: Path | None
    columns: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The name of this host, which stands in metric lines."""
        return self.group.host


def read(paths: Paths, algorithm: type[Algorithm]) -> TrainingConfig:
    """The configuration of the job in ``paths`` for ``algorithm``.

    Raises:
        ConfigurationError: with a line for each problem of any of the files.
    """
    problems: list[str] = []
    provided, values = _hyperparameters(paths, algorithm, problems)
    hosts = group.checked(paths, problems)
    if hosts.size > 1 and not algorithm.several_hosts:
        problems.append(
            f"The job runs on {hosts.size} hosts ({', '.join(hosts.hosts)}), but {algorithm.name} trains on one: "
            "set the instance count to 1"
        )
    channels = _channels(paths, algorithm, hosts, problems)
    checkpoints = _checkpoint_directory(paths, problems)
    columns = _columns(paths, problems)
    if problems or values is None:
        raise ConfigurationError(*problems)
    return TrainingConfig(
        hyperparameters=values,
        provided=provided,
        channels=channels,
        group=hosts,
        checkpoint_directory=checkpoints,
        columns=columns,
    )


def unsupported(paths: Paths) -> list[Path]:
    """Files of the job that ask for what there is not here."""
    return [paths.config / name for name in UNSUPPORTED if (paths.config / name).exists()]


def _columns(paths: Paths, problems: list[str]) -> tuple[str, ...]:
    stated = (read_object(paths.columns, problems) or {}).get("columns", [])
    if isinstance(stated, list) and all(isinstance(name, str) for name in stated):
        return tuple(stated)
    problems.append(f"{paths.columns}: 'columns' is {kind(stated)}; a list of names is expected")
    return ()


def _hyperparameters(
    paths: Paths, algorithm: type[Algorithm], problems: list[str]
) -> tuple[Mapping[str, Any], Hyperparameters | None]:
    """The hyperparameters as they came, and typed; the latter None where they cannot be used."""
    provided = read_object(paths.hyperparameters, problems)
    if provided is None and problems:
        return {}, None  # which are missing cannot be said of a file that cannot be read
    try:
        return provided or {}, hyperparameters.parse(algorithm.hyperparameters, provided or {})
    except HyperparameterError as error:
        problems.extend(error.problems)
        return provided or {}, None


# ---- channels -------------------------------------------------------------------------------------------------------


def _channels(paths: Paths, algorithm: type[Algorithm], hosts: Group, problems: list[str]) -> dict[str, ChannelConfig]:
    configured = read_object(paths.input_data_config, problems)
    if configured is None:
        if paths.input_data_config.exists():
            return {}  # there is one problem already; what follows from it is noise
        configured = {folder.name: {} for folder in _folders(paths.data)}
    declared = {channel.name: channel for channel in algorithm.channels}
    channels = {}
    for name, entry in configured.items():
        if name not in declared:
            problems.append(f"Channel {quoted(name)} is not one of {algorithm.name}: it takes {_listed(declared)}")
            continue
        channel = _channel(declared[name], entry, problems)
        if channel is not None:
            channels[name] = channel
            if hosts.size == 1 or not channel.sharded:  # of several hosts, some may have no file of a channel
                problems.extend(folder_problems(paths.channel(name), channel))
    problems.extend(
        f"Channel '{name}' is required, and the job has none: {algorithm.name} takes {_listed(declared)}"
        for name in declared
        if declared[name].required and name not in configured
    )
    return channels


def _folders(data: Path) -> list[Path]:
    """The channels of a job without inputdataconfig.json, as plain Docker or Kubernetes users start it."""
    folders = data.iterdir() if data.is_dir() else ()
    return sorted(folder for folder in folders if folder.is_dir() and not folder.name.startswith("."))


def _listed(declared: Mapping[str, Channel]) -> str:
    return ", ".join(f"'{name}'" + (" (required)" if channel.required else "") for name, channel in declared.items())


def _channel(declared: Channel, entry: Any, problems: list[str]) -> ChannelConfig | None:
    """The checked channel; None where it cannot be used, with the problems noted."""
    where = f"Channel '{declared.name}'"
    if not isinstance(entry, dict):
        problems.append(f"{where}: {kind(entry)} is not its configuration")
        return None
    found: list[str] = []
    mode = _mode(declared, entry, found)
    media = _content_type(declared, entry, found)
    distribution = entry.get("S3DistributionType") or _DISTRIBUTIONS[0]
    if distribution not in _DISTRIBUTIONS:
        found.append(f"S3DistributionType {quoted(distribution)} is not one of {', '.join(_DISTRIBUTIONS)}")
    compression = entry.get("CompressionType") or "None"  # what is compressed is told by its content, in any mode
    if compression not in ("None", "Gzip"):
        found.append(f"CompressionType {quoted(compression)} is not one of None, Gzip")
    wrapper = entry.get("RecordWrapperType") or "None"
    if wrapper not in ("None", "RecordIO"):
        found.append(f"RecordWrapperType {quoted(wrapper)} is not one of None, RecordIO")
    elif wrapper == "RecordIO" and declared.gives == ROWS and media is not None and media.media_type != RECORDIO:
        found.append(
            f"RecordWrapperType 'RecordIO' would wrap each object in a RecordIO frame, which is no {media.media_type}"
            " any more; leave it out"
        )
    problems.extend(f"{where}: {problem}" for problem in found)
    if found or mode is None or media is None:
        return None
    return ChannelConfig(
        declared,
        mode,
        media,
        stated=bool(entry.get("ContentType")),
        wrapped=wrapper == "RecordIO" and mode == PIPE,
        sharded=distribution == _SHARDED,
    )


def _mode(declared: Channel, entry: Mapping[str, Any], found: list[str]) -> str | None:
    stated = entry.get("TrainingInputMode") or FILE
    mode = _MODES.get(str(stated).lower())
    if mode not in declared.modes:
        found.append(f"TrainingInputMode {quoted(stated)} is not supported; use {' or '.join(declared.modes)}")
        return None
    return mode


def _content_type(declared: Channel, entry: Mapping[str, Any], found: list[str]) -> ContentType | None:
    stated = entry.get("ContentType") or declared.default_type
    try:
        media = content_type.parse(str(stated))
    except ContentTypeError as error:
        found.append(str(error))
        return None
    if media.media_type not in declared.accepts:
        found.append(f"ContentType {quoted(stated)} is not supported; use {' or '.join(declared.accepts)}")
        return None
    return media


def folder_problems(folder: Path, channel: ChannelConfig) -> list[str]:
    """What keeps a channel of files from being read at all. FIFOs come into being later, and are not looked for."""
    if channel.mode == PIPE:
        return []
    try:
        FileSource(folder).files()
    except EmptyDataError as error:
        return [f"Channel '{channel.declared.name}' is empty: {error}"]
    except OSError as error:
        return [f"Channel '{channel.declared.name}': {error.filename} cannot be read: {error.strerror}"]
    return []


# ---- checkpoints ------------------------------------------------------------------------------------------------


def _checkpoint_directory(paths: Paths, problems: list[str]) -> Path | None:
    """Where checkpoints go: where the job says, else ``/opt/ml/checkpoints`` where that exists."""
    configured = read_object(paths.checkpoint_config, problems)
    if configured is None:
        # What the log says of files there names the folder that ``oba train --checkpoints`` was given, not its link.
        return paths.checkpoints.resolve() if paths.checkpoints.is_dir() else None
    stated = configured.get("LocalPath") or str(_ROOT / "checkpoints")
    if not isinstance(stated, str) or not PurePosixPath(stated).is_absolute():
        problems.append(f"{paths.checkpoint_config}: LocalPath {kind(stated)} is not an absolute path")
        return None
    local = PurePosixPath(stated)
    # Another root than /opt/ml moves the contract's folders, this one included.
    return paths.base / local.relative_to(_ROOT) if local.is_relative_to(_ROOT) else Path(local)
