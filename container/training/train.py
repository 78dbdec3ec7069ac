"""One training job from its files to its artifact, for any algorithm."""

from __future__ import annotations

import time
from pathlib import Path

from algorithms import hyperparameters, registry
from algorithms.errors import HyperparameterError, TrainingStopped
from algorithms.hyperparameters import Hyperparameters
from algorithms.interface import Algorithm, Model
from container import extras, logs, resources
from container.logs import logger
from container.paths import Paths
from container.serving import models
from container.settings import ConfigurationError, Settings
from container.training import channels, config, dialects, failure, report
from container.training.artifact import Artifact
from container.training.checkpoints import CheckpointStore
from container.training.columns import Columns
from container.training.config import TrainingConfig
from container.training.dialects import Dialect
from container.training.hosts import HostOfSeveral, SoleHost
from container.training.identity import identity
from container.training.job import TrainingJob
from container.training.output import Output, PlainOutput, ToldOutput
from container.training.stop import Stop
from recordio.quoting import quoted
from recordio.sources import ReadingStopped

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
    artifact = Artifact(paths.model, leads=host.leads, image_version=settings.image_version)
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
    started = time.monotonic()
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
    with channels.opened(paths, algorithm, configured, job, columns) as streams:
        setup_seconds = time.monotonic() - started
        _keep_checkpoints(paths, algorithm, configured, job, started)
        _warn_of_objective(algorithm, configured, job)
        model = algorithm.fit(configured.hyperparameters, streams, job)
    columns.check()
    stop.disarm()
    files = _write(artifact, model, job, dialect)
    if host.leads:
        about = _about(algorithm, configured, time.monotonic() - started, dialect_of.step)
        report.write(paths.output_data, about, job.history, model, columns.features, files)
    job.close(setup_seconds)
    host.leave()
    return _ended(job, stop)


def _keep_checkpoints(
    paths: Paths, algorithm: type[Algorithm], configured: TrainingConfig, job: TrainingJob, started: float
) -> None:
    """Have the job, which began at ``started`` (monotonic), keep checkpoints where it has a folder for them."""
    if (directory := configured.checkpoint_directory) is not None:
        who = identity(algorithm, configured, paths, job.hosts)
        job.checkpoints = CheckpointStore(
            directory, who, job, started=started, stopped=lambda: job.stop_requested, hosts=job.hosts
        )


def _write(artifact: Artifact, model: Model, job: TrainingJob, dialect: Dialect) -> list[Path]:
    """Make the model the artifact, with a log line for each of its files; these."""
    with job.timer("model.serialize.time"):
        files = [artifact.directory / file for file in artifact.write(model)]
    for file in files:
        dialects.write(dialect.serialized(file))
    return files


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
