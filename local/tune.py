"""``oba tune``: training jobs of one algorithm as processes, and the best of their models in OUTPUT.

OUTPUT/jobs/0001 and so on are the folders of the training jobs, as ``oba train`` lays them out; OUTPUT/journal is
Optuna's record of them, by which a search that was interrupted goes on; OUTPUT/best is the best one's folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

from algorithms import registry
from algorithms.interface import Algorithm, Metric
from container import extras
from container.paths import Paths
from container.settings import ConfigurationError
from local import inputs, train
from local.columns import Columns
from local.parameters import Loudness
from local.tuning import arguments, history, process
from local.tuning.checks import check, with_open_ends
from local.tuning.config import GRID, Definition, TuningConfig
from local.tuning.ranges import CategoricalRange, Range
from local.tuning.tuner import Ending, Status, Trial, Tuner

_JOURNAL, _REQUEST, _JOBS, _BEST = "journal", "search.json", "jobs", "best"
_DEFAULT_JOBS = 20
_SHOWN_FAILURES = 3


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments and options of ``oba tune``; ``jobs`` is None for the default number."""

    algorithm: str
    channels: Mapping[str, Sequence[str]]
    given: Sequence[tuple[str, str]]
    output: Path
    objective: str | None = None
    strategy: str = "Bayesian"
    jobs: int | None = None
    parallel: int = 1
    seed: int = 0
    early_stopping: bool = False
    max_seconds: float | None = None
    target: float | None = None
    content_type: str | None = None
    columns: Columns = Columns()
    loudness: Loudness = Loudness.NORMAL


def run(request: Request) -> int:
    """Search, and return the exit code: 0 where there is a best model, 1 where all jobs failed, 130 or 143 where the
    search was stopped.

    Raises:
        click.UsageError: a hyperparameter, a range or the objective is not as declared.
        ConfigurationError: the data or the output folder cannot be used.
    """
    extras.check(request.algorithm)
    algorithm = registry.find(request.algorithm)
    ranges, static = arguments.split(algorithm, request.given)
    metric = arguments.objective(algorithm, request.objective, list(request.channels), ranges, static)
    train.declared_channels(algorithm, request.channels)
    config = _config(request, algorithm, metric, ranges, static)
    if why := arguments.why_never(algorithm, metric, ranges, static):
        raise click.UsageError(why)
    _check_channels(request)
    with _claimed(request, config):
        return _search(request, config, metric)


def _search(request: Request, config: TuningConfig, metric: Metric) -> int:
    journal = request.output / _JOURNAL
    _mend(journal)
    try:
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))
    except ValueError as error:
        raise ConfigurationError(
            f"{journal}, in which the search so far is kept, is damaged: {error}; give another --output"
        ) from error
    told = _Teller(request, config)
    tuner = Tuner(config, _runner(request, config, metric), storage=storage, changed=told)
    told.follow(tuner)
    code = _until_the_end(tuner, told)
    history.write(request.output, f"{request.algorithm}: tuning", tuner, maximize=config.maximize)
    return _finish(request, tuner, told, code)


def _mend(journal: Path) -> None:
    """Cut off an incomplete last line, as a full disk leaves it: Optuna would append to it."""
    if journal.is_file():
        content = journal.read_bytes()
        if whole := content.rpartition(b"\n")[0]:
            os.truncate(journal, len(whole) + 1)
        elif content:
            os.truncate(journal, 0)


def _config(
    request: Request,
    algorithm: type[Algorithm],
    metric: Metric,
    ranges: tuple[Range, ...],
    static: Mapping[str, str],
) -> TuningConfig:
    if request.strategy == GRID:
        ranges = tuple(_listed(one) for one in ranges)
    static = {**static, "_tuning_objective_metric": metric.name}
    definition = Definition(ranges=ranges, static=static, metric=metric.name, maximize=bool(metric.maximize))
    definition = with_open_ends(definition, algorithm)
    config = TuningConfig(
        definitions=(definition,),
        strategy=request.strategy,
        parallel=request.parallel,
        seed=request.seed,
        early_stopping=request.early_stopping,
        max_seconds=request.max_seconds,
        target=request.target,
        max_jobs=1,
    )
    combinations = config.combinations()
    most = request.jobs or (combinations if request.strategy == GRID and combinations else _DEFAULT_JOBS)
    config = replace(config, max_jobs=min(most, combinations or most))
    check(config, {"": algorithm}, tunable_only=False)
    return config


def _listed(one: Any) -> Any:
    """A short range of integers as a list of its values, of which a grid can be made."""
    count = one.count()
    if isinstance(one, CategoricalRange) or count is None or count > 1000:
        return one
    return CategoricalRange(one.name, tuple(str(number) for number in range(one.low, one.high + 1)))


def _check_channels(request: Request) -> None:
    for name, texts in request.channels.items():
        for text in texts:
            if text == inputs.STANDARD_INPUT:
                raise click.UsageError(
                    "standard input (-) can be read once, and a search trains many times: use a file"
                )
            found = inputs.found(text, f"channel '{name}'")
            inputs.check_outside(found, request.output, f"channel '{name}'")


@contextlib.contextmanager
def _claimed(request: Request, config: TuningConfig) -> Iterator[None]:
    """Prepare the output folder, and lock it for this process.

    Raises:
        ConfigurationError: another process searches there, or it holds something else.
    """
    _prepare(request, config)
    with (request.output / _REQUEST).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"--output {request.output}: another oba tune is at work there") from error
        yield


def _prepare(request: Request, config: TuningConfig) -> None:
    """Make the output folder, or go on in one where the same search has begun.

    Raises:
        ConfigurationError: it holds something else.
    """
    file = request.output / _REQUEST
    said = json.dumps(_said(request, config), indent=2)
    if file.is_file():
        if file.read_text() != said:
            raise ConfigurationError(
                f"--output {request.output}: another search has begun there (see {file}); give another folder, or the "
                "same arguments to go on with it"
            )
        return
    if request.output.exists() and any(request.output.iterdir()):
        raise ConfigurationError(f"--output {request.output}: the folder is not empty, and not of an earlier search")
    request.output.mkdir(parents=True, exist_ok=True)
    file.write_text(said)


def _said(request: Request, config: TuningConfig) -> dict[str, Any]:
    """What must not change for a search to go on; the number of jobs, and how many run at a time, may."""
    return {
        "algorithm": request.algorithm,
        "channels": {
            name: [str(path.resolve()) for text in texts for path in inputs.found(text, name)]
            for name, texts in request.channels.items()
        },
        "hyperparameters": dict(request.given),
        "objective": config.definitions[0].metric,
        "strategy": request.strategy,
        "seed": request.seed,
        **({"columns": dataclasses.asdict(request.columns)} if request.columns.given else {}),
    }


def _runner(request: Request, config: TuningConfig, metric: Metric) -> Any:
    options = [f"--channel={name}={text}" for name, texts in request.channels.items() for text in texts]
    if request.content_type:
        options += ["--content-type", request.content_type]
    if request.columns.label is not None:
        options.append(f"--label={request.columns.label}")
    if request.columns.header:
        options.append("--header")
    environment = {**process.threads(config.parallel, os.cpu_count() or 1), **os.environ}

    def run_one(trial: Trial) -> Ending:
        folder = request.output / _JOBS / f"{trial.number + 1:04d}"
        shutil.rmtree(folder, ignore_errors=True)
        command = process.train_command(request.algorithm, options, trial.hyperparameters, folder / "job")
        ending = process.run(command, folder, environment, trial, metric.regex)
        if ending.status is Status.COMPLETED:
            trial.score = train.scores(Paths(folder / "job")).get(metric.name)
        return ending

    return run_one


class _Teller:
    """Shows a line for each training job that ends."""

    def __init__(self, request: Request, config: TuningConfig) -> None:
        self._quiet = request.loudness is Loudness.QUIET
        self._verbose = request.loudness is Loudness.VERBOSE
        self._total = config.max_jobs
        self._tuner: Tuner | None = None

    def follow(self, tuner: Tuner) -> None:
        """Show the jobs of before, if the search goes on."""
        self._tuner = tuner
        if tuner.trials:
            self.tell(f"Going on after {len(tuner.trials)} training jobs of {self._total}")

    def __call__(self, trial: Trial) -> None:
        if trial.status is not Status.RUNNING:
            self.tell(history.line(trial, self._total, self._tuner.best if self._tuner else None))
        elif self._verbose:
            self.tell(f"[{trial.number + 1}/{self._total}] begins: {trial.tuned}")

    def tell(self, line: str) -> None:
        """Show a line, unless only warnings and errors are wanted."""
        if not self._quiet:
            click.echo(line)


def _until_the_end(tuner: Tuner, told: _Teller) -> int:
    """Search; Ctrl-C and SIGTERM stop the jobs that run, and keep what is done."""
    caught: list[int] = []

    def ask(number: int, _: object) -> None:
        caught.append(number)
        tuner.stop()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        why = tuner.tune()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    told.tell(f"Done: {why}.")
    return 128 + caught[0] if caught else 0


def _finish(request: Request, tuner: Tuner, told: _Teller, code: int) -> int:
    """Print the last lines: where the table and the chart are, the best model, the next command."""
    output, best = request.output, tuner.best
    if best is None:
        failures = [trial for trial in tuner.trials if trial.reason]
        for trial in failures[:_SHOWN_FAILURES]:
            click.echo(f"Error: job {trial.number + 1}: {trial.reason}", err=True)
        return code or 1
    link = output / _BEST
    link.unlink(missing_ok=True)
    link.symlink_to(Path(_JOBS) / f"{best.number + 1:04d}" / "job")
    values = " ".join(f"{name}={value}" for name, value in best.tuned.items())
    told.tell(f"History {output / history.PAGE}, {output / history.TABLE}")
    told.tell(f"Best    job {best.number + 1}: {values}  {best.definition.metric} {best.objective:.6g}")
    told.tell(f"Model   {link / 'model'}")
    told.tell(f"Next    oba predict --model {shlex.quote(str(link / 'model'))} --input FILE{request.columns.words}")
    if code:
        told.tell("Stopped: the same command goes on from here.")
    sys.stdout.flush()
    return code
