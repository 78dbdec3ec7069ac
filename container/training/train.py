"""One training job from its files to its artifact, for any algorithm."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from algorithms import hyperparameters, registry
from algorithms.archives import ArchiveError, extract
from algorithms.errors import ChannelError, HyperparameterError, TrainingStopped
from algorithms.hyperparameters import Hyperparameters
from algorithms.interface import FILES, LABELS_REQUIRED, PIPE, RECORDS, Algorithm, Channel
from container import extras, logs, resources
from container.logs import logger
from container.paths import Paths
from container.serving import models
from container.settings import ConfigurationError, Settings
from container.training import config, dialects, failure, report
from container.training.artifact import Artifact
from container.training.checkpoints import CheckpointStore
from container.training.columns import Columns
from container.training.config import ChannelConfig, TrainingConfig
from container.training.hosts import HostOfSeveral, SoleHost
from container.training.identity import identity
from container.training.job import Output, PlainOutput, ToldOutput, TrainingJob
from container.training.stop import Stop
from recordio.quoting import quoted
from recordio.readers import ChannelRecords, ChannelStream, RowFormat
from recordio.shares import Share
from recordio.sources import FileSource, PipeSource, ReadingStopped, Source

SUCCESS = 0
GIB = 1 << 30
_GOES_ON = ": start the job again, and it goes on"
LARGE = 1000
"""Integers from here on are named where a model needs too much memory."""
DEFAULT_SEED = 0
"""Two jobs with the same configuration and data give the same model."""


def run(paths: Paths, settings: Settings, output: Output | None = None, host: HostOfSeveral | None = None) -> int:
    """Train the job in ``paths`` and return the exit code of the process.

    0: a model was written, possibly after a stop was asked for. 1: it failed, and the failure file says why.
    143, 130: stopped by SIGTERM or Ctrl-C before there was a model, or after a checkpoint from which the next run goes
    on; the model in the folder is then as far as training came.

    ``output`` is standard output by default. ``host`` is this one, where others train with it: then its supervisor
    decides how the job ends.
    """
    output = output or (ToldOutput(settings.progress) if settings.progress else PlainOutput())
    logs.configure(stream=output)
    if host is not None:
        return _run(paths, settings, output, host)
    failure.forget(paths.failure)
    return _run(paths, settings, output, SoleHost(paths.failure))


def _run(paths: Paths, settings: Settings, output: Output, host: SoleHost | HostOfSeveral) -> int:
    artifact = Artifact(paths.model, leads=host.leads)
    code = failure.EXIT_CODE
    with Stop() as stop:
        try:
            code = _train(paths, settings, artifact, stop, output, host)
        except BaseException as error:  # SystemExit too: a library must not end a failed job with code 0
            stop.disarm()
            # That another host was asked to stop may be known here before this one is.
            asked = stop.requested or (isinstance(error, TrainingStopped) and not host.alone)
            of_stop = isinstance(error, (TrainingStopped, ReadingStopped, KeyboardInterrupt)) or stop.insisted
            if asked and of_stop:
                code = _stopped(artifact, stop, error)
            else:
                artifact.discard()
                host.failed(error)
    return code


def _stopped(artifact: Artifact, stop: Stop, reason: BaseException) -> int:
    """The exit code of a job that was asked to stop before ``fit`` had a model to return."""
    advice = stop.advice()
    if artifact.exists:
        logger.warning("Training was stopped (%s); the model is the one saved last%s.", reason, advice)
        return stop.exit_code if advice else SUCCESS
    logger.warning("Training was stopped before there was a model (%s)%s.", reason, advice)
    return stop.exit_code


def _train(
    paths: Paths,
    settings: Settings,
    artifact: Artifact,
    stop: Stop,
    output: Output,
    host: SoleHost | HostOfSeveral,
) -> int:
    """Train and write the model; the exit code."""
    started, clock = time.time(), time.monotonic()
    algorithm = find(settings)
    extras.check(algorithm.name)
    dialect_of = dialects.find(algorithm.log_dialect)
    logs.configure(dialect_of.frame, output)
    configured = config.read(paths, algorithm)
    _log_start(paths, algorithm, configured)
    dialect = dialect_of(algorithm.title, configured.host)
    dialects.write(dialect.worker(checkpoints=configured.checkpoint_directory is not None))
    memory = resources.memory() // settings.hosts_here
    check_memory(algorithm, configured.hyperparameters, memory)
    artifact.prepare()
    paths.output_data.mkdir(parents=True, exist_ok=True)
    with stop.nothing_to_keep():
        hosts = host.meet(paths, algorithm, configured)
    seed = getattr(configured.hyperparameters, "seed", None)
    job = TrainingJob(
        dialect=dialect,
        seed=DEFAULT_SEED if seed is None else seed,
        artifact=artifact,
        stop=stop,
        checkpoint_directory=configured.checkpoint_directory,
        output_directory=paths.output_data if host.leads else None,
        output=output,
        hosts=hosts,
        memory=memory,
    )
    stop.advice = lambda: _GOES_ON if _has_checkpoints(algorithm, job) else ""
    columns = Columns(paths, configured, hosts)
    with contextlib.ExitStack() as stack:
        channels = {
            name: stack.enter_context(_opened(paths, algorithm, configured, channel, job, columns))
            for name, channel in configured.channels.items()
        }
        setup_seconds = time.time() - started
        if (directory := configured.checkpoint_directory) is not None:
            who = identity(algorithm, configured, paths, hosts)
            job.checkpoints = CheckpointStore(
                directory, who, job, started=clock, stopped=lambda: stop.requested, hosts=hosts
            )
        _warn_of_objective(algorithm, configured, job)
        model = algorithm.fit(configured.hyperparameters, channels, job)
    columns.check()
    stop.disarm()
    with job.timer("model.serialize.time"):
        files = [paths.model / file for file in artifact.write(model)]
    for file in files:
        dialects.write(dialect.serialized(file))
    if host.leads:
        about = _about(algorithm, configured, time.time() - started, dialect_of.step)
        report.write(paths.output_data, about, job.history, model, columns.features, files)
    job.close(setup_seconds)
    host.leave()
    return _ended(job, stop)


def _ended(job: TrainingJob, stop: Stop) -> int:
    """The exit code of a job whose model is written."""
    if job.is_interrupted:  # whoever starts jobs again, as Kubernetes does, must not take this one for done
        logger.warning("The model is that of a job that was interrupted%s.", _GOES_ON)
        return stop.exit_code
    if job.stop_requested:
        logger.warning("The model is that of a job that was asked to stop, as far as training came.")
    return SUCCESS


def _warn_of_objective(algorithm: type[Algorithm], configured: TrainingConfig, job: TrainingJob) -> None:
    """Where a tuning job would look for its objective in vain, as its training jobs would end well."""
    objective = getattr(configured.hyperparameters, "tuning_objective_metric", None)
    if objective and all(objective != metric.name for metric in algorithm.metrics):
        known = [metric.name for metric in algorithm.metrics if metric.objective or metric.name.startswith("test:")]
        job.warning(
            f"Hyperparameter '_tuning_objective_metric': {quoted(objective)} is no metric of {algorithm.name}, which "
            f"has {', '.join(known)}. A tuning job finds no value of it but by a Regex of its own"
        )
    elif objective and (why := configured.hyperparameters.unlogged(objective, configured.channels)) is not None:
        job.warning(
            f"Hyperparameter '_tuning_objective_metric': {objective} is never logged: {why}. A tuning job finds no "
            "value of it"
        )


def _has_checkpoints(algorithm: type[Algorithm], job: TrainingJob) -> bool:
    """Whether there is something from which the job would go on."""
    directory = job.checkpoint_directory
    if directory is not None and algorithm.own_checkpoints is not None:
        return any(directory.glob(algorithm.own_checkpoints))
    return isinstance(job.checkpoints, CheckpointStore) and job.checkpoints.has_any


def _about(algorithm: type[Algorithm], configured: TrainingConfig, seconds: float, step: str) -> report.About:
    """What the report says of the job."""
    values = hyperparameters.wire_values(configured.hyperparameters)
    channels = [(name, f"{one.content_type}, {one.mode}") for name, one in configured.channels.items()]
    return report.About(
        algorithm=algorithm.name,
        summary=algorithm.summary,
        hyperparameters=[(name, report.shown(value)) for name, value in values.items()],
        channels=channels,
        seconds=seconds,
        step=step,
    )


def check_memory(algorithm: type[Algorithm], values: Hyperparameters, available: int) -> None:
    """Refuse a model that cannot fit into ``available`` bytes, before any data is read.

    Raises:
        HyperparameterError: it cannot.
    """
    needed = algorithm.memory(values)
    if needed > available:
        declared = hyperparameters.by_attribute(type(values))
        large = sorted(
            f"{declared[attribute].name or attribute}={value}"
            for attribute in values.given
            if type(value := getattr(values, attribute)) is int and value >= LARGE
        )
        named = f" ({', '.join(large)})" if large else ""
        raise HyperparameterError(
            [
                f"the model that these hyperparameters describe{named} needs at least {needed / GIB:,.1f} GiB of "
                f"memory, and this machine or container, or this host's share of it, has {available / GIB:,.1f} GiB"
            ]
        )


def find(settings: Settings) -> type[Algorithm]:
    """The algorithm that the environment names.

    Raises:
        ConfigurationError: it names none, or one that is not here.
    """
    if settings.algorithm is None:
        raise ConfigurationError(
            f"Environment variable ALGORITHM is not set; set it to one of {', '.join(sorted(registry.ALGORITHMS))}"
        )
    return models.named(settings.algorithm)


@contextlib.contextmanager
def _opened(
    paths: Paths,
    algorithm: type[Algorithm],
    configured: TrainingConfig,
    channel: ChannelConfig,
    job: TrainingJob,
    columns: Columns,
) -> Iterator[Any]:
    """What ``fit`` is given of a channel: its rows, its records, or its folder."""
    name = channel.declared.name
    if channel.declared.gives == FILES:
        with unpacked(paths.channel(name)) as folder:
            yield folder
        return
    source: Source = FileSource(paths.channel(name))
    folder_of_records: Path | None = paths.channel(name)
    if channel.mode == PIPE:
        source, folder_of_records = PipeSource(paths.data, name, lambda: job.stop_requested), None
    share = Share() if channel.sharded else Share(job.hosts.rank, job.hosts.size)
    part: Any = {"share": share, "may_be_empty": channel.sharded and job.hosts.size > 1}
    if channel.declared.gives == RECORDS:
        records = ChannelRecords(
            source, channel.content_type, folder=folder_of_records, wrapped=channel.wrapped, **part
        )
        yield job.watch_records(name, records, _note(channel))
        return
    rows = row_format(algorithm, configured.hyperparameters, channel.declared)
    part |= {"columns": columns.of_job, "order": columns.of_channel[name]}
    yield job.watch(name, ChannelStream(source, channel.content_type, rows, **part), _note(channel))


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
    """The files of an earlier model: SageMaker leaves model.tar.gz packed in the channel, other users unpack it.

    Raises:
        ChannelError: the archive is broken, or has members that would leave the folder.
    """
    archive = folder / "model.tar.gz"
    if not archive.is_file():
        yield folder
        return
    with tempfile.TemporaryDirectory() as directory:
        try:
            extract(archive, Path(directory))
        except ArchiveError as error:
            raise ChannelError(f"{archive} is not a model archive: {error}") from error
        yield Path(directory)


def _note(channel: ChannelConfig) -> str:
    """What a user must know who sees that the rows cannot be read."""
    default = "" if channel.stated else ", the default where the job states no ContentType"
    return f"Channel '{channel.declared.name}' is read as {channel.content_type}{default}."


def _log_start(paths: Paths, algorithm: type[Algorithm], configured: TrainingConfig) -> None:
    defaults = {
        name: field.default
        for name, field in hyperparameters.fields(algorithm.hyperparameters).items()
        if field.default is not None
    }
    logs.configuration(defaults, configured.provided, paths.hyperparameters)
    for sentence in configured.hyperparameters.overruled:
        logger.warning("%s", sentence)
    for file in config.unsupported(paths):
        logger.warning("%s: %s is not supported; training goes on without it", file.name, config.UNSUPPORTED[file.name])
