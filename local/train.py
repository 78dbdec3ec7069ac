"""``oba train``: lays out OUTPUT as /opt/ml, the data linked and not copied, and trains there with the image's code.

All that can be wrong with the command is found before anything of an earlier run in the same folder is taken away.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from algorithms import hyperparameters, registry
from algorithms.errors import HyperparameterError
from algorithms.figures import short
from algorithms.interface import CSV, FILES, LABELS_NONE, LABELS_REQUIRED, ROWS, Algorithm, Channel
from container import extras
from container.paths import Paths
from container.settings import ConfigurationError, Settings
from container.training import report
from container.training import train as training
from local import inputs, remote, suffixes, tables, together
from local.columns import Columns
from local.parameters import Loudness, did_you_mean
from local.progress import Console
from recordio import content_type
from recordio.errors import DataError
from recordio.quoting import quoted
from recordio.readers import ChannelStream, RowFormat
from recordio.sources import FileSource

_SHOWN_SCORES = 6
_LEAST_KNOWN_FIRST = ("test", "validation", "train")
_ANY_WIDTH = "1000000"
"""A ``feature_dim`` that is large enough for all other hyperparameters."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments and options of ``oba train``.

    Attributes:
        channels: for each channel, the files, folders or patterns that it is read from.
        given: the hyperparameters, as they came.
        content_type: of all channels that take it; None leaves it to the suffixes.
        columns: where the label is in CSV and Parquet files, and whether CSV has a header.
        checkpoints: a folder where they are kept between runs; None where there are none.
        hosts: how many processes train together, as hosts of their own.
    """

    algorithm: str
    channels: Mapping[str, Sequence[str]]
    given: Sequence[tuple[str, str]]
    output: Path
    content_type: str | None = None
    columns: Columns = Columns()
    checkpoints: Path | None = None
    hosts: int = 1
    loudness: Loudness = Loudness.NORMAL


def run(request: Request) -> int:
    """Train, and return the exit code of ``train``.

    Raises:
        click.UsageError: a hyperparameter or a channel is not as declared.
        ConfigurationError: the data or the output folder cannot be used.
    """
    extras.check(request.algorithm)
    algorithm = registry.find(request.algorithm)
    given = _given(algorithm, request.given)
    declared = declared_channels(algorithm, request.channels)
    _check_values(algorithm, any_width(algorithm) | given)
    paths = Paths(request.output.absolute())
    _check_output(paths)
    label = _prepare(request, algorithm, given, declared, paths)
    console = Console(sys.stdout, sys.stderr, request.loudness)
    if label is not None:
        console.tell(f"Label   the first column, {quoted(label)}; --label NAME takes another")
    try:
        if request.hosts > 1:
            code = together.run(paths, request.algorithm, request.hosts, console)
        else:
            code = training.run(paths, Settings(base_directory=paths.base, algorithm=request.algorithm), console)
    finally:
        console.close()
    if code == training.SUCCESS and request.loudness is not Loudness.QUIET:
        columns = request.columns if label is None else replace(request.columns, label=label)
        _tell_what_came(request.output, columns, paths, console)
    return code


def _prepare(
    request: Request,
    algorithm: type[Algorithm],
    given: dict[str, str],
    declared: Mapping[str, Channel],
    paths: Paths,
) -> str | None:
    """Put the job's data and configuration where training looks. The name of the column that is the label by default.

    Raises:
        click.UsageError, ConfigurationError: see ``run``.
    """
    request.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.base, prefix=".input-") as folder:
        files = {name: _files(name, texts, Path(folder)) for name, texts in request.channels.items()}
        _check_apart(paths, files)
        readable = tables.converted(declared, files, request.content_type, request.columns, Path(folder) / "made")
        names, label = _columns(declared, files, request)
        files = {name: found for name, (found, _) in readable.items()}
        types = {name: _content_type(declared[name], *readable[name]) for name in files}
        values = _feature_dim(algorithm, files, types) | given
        _check_values(algorithm, values)
        _clear(paths)
        _lay_out(paths, files, Path(folder))
    _write(paths.input_data_config, {name: {"TrainingInputMode": "File", "ContentType": types[name]} for name in files})
    _write(paths.hyperparameters, values)
    if names:
        _write(paths.columns, {"columns": names})
    if request.checkpoints is not None:
        request.checkpoints.mkdir(parents=True, exist_ok=True)
        paths.checkpoints.symlink_to(request.checkpoints.resolve())
    return label


def _tell_what_came(output: Path, columns: Columns, paths: Paths, console: Console) -> None:
    """Print the last lines: where model and report are, the scores, the next command."""
    console.tell(f"Model   {output / 'model'}")
    if (paths.output_data / "report.html").is_file():
        console.tell(f"Report  {output / 'output' / 'data' / 'report.html'}")
    found = scores(paths)
    if names := _least_known(found):
        shown = ", ".join(f"{name} {short(found[name])}" for name in names[:_SHOWN_SCORES])
        console.tell(f"Scores  {shown}{' …' if len(names) > _SHOWN_SCORES else ''}")
    console.tell(f"Next    oba predict --model {shlex.quote(str(output / 'model'))} --input FILE{columns.words}")


def scores(paths: Paths) -> dict[str, float]:
    """The scores in the report, by name as in ``test:msd``; none if there is no report."""
    try:
        told = json.loads((paths.output_data / report.DATA).read_text())["scores"]
    except OSError:  # it could not be written, as the log says
        return {}
    return {name: value for name, value in told.items() if value is not None}


def _least_known(found: Mapping[str, float]) -> list[str]:
    """The names of the scores on the most independent data set: test, else validation, else train."""
    for dataset in _LEAST_KNOWN_FIRST:
        if names := [name for name in found if name.startswith(f"{dataset}:")]:
            return names
    return []


# ---- checks before anything is touched ------------------------------------------------------------------------------


def _given(algorithm: type[Algorithm], pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    known = hyperparameters.by_every_name(algorithm.hyperparameters)
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            public = [one for one in known if not one.startswith("_")]
            raise click.UsageError(
                f"{algorithm.name} has no hyperparameter '{name}'; {did_you_mean(name, public)} "
                f"(oba describe {algorithm.name} --text explains them)"
            )
        if name in given:
            raise click.UsageError(f"hyperparameter '{name}' is given twice: {given[name]} and {value}")
        given[name] = value
    return given


def declared_channels(algorithm: type[Algorithm], names: Mapping[str, Any]) -> dict[str, Channel]:
    """The declared channels by name.

    Raises:
        click.UsageError: one of ``names`` is not among them, or a required one is not among ``names``.
    """
    declared = {channel.name: channel for channel in algorithm.channels}
    for name in names:
        if name not in declared:
            raise click.UsageError(f"{algorithm.name} has no channel '{name}'; {did_you_mean(name, declared)}")
    for channel in algorithm.channels:
        if channel.required and channel.name not in names:
            option = f"--{channel.name} PATH" if channel.name in ("train", "validation", "test") else None
            raise click.UsageError(
                f"{algorithm.name} needs channel '{channel.name}': "
                f"{option or f'--channel {channel.name}=PATH'} ({channel.help})"
            )
    return declared


def _check_values(algorithm: type[Algorithm], values: Mapping[str, str]) -> None:
    declared = hyperparameters.fields(algorithm.hyperparameters)
    missing = [name for name, field in declared.items() if field.required and name not in values]
    if missing:
        lines = "".join(f"\n  {name}=VALUE  {declared[name].expected()}: {declared[name].help}" for name in missing)
        raise click.UsageError(f"{algorithm.name} needs more hyperparameters:{lines}")
    try:
        hyperparameters.parse(algorithm.hyperparameters, values)
    except HyperparameterError as error:
        raise click.UsageError(str(error)) from error


def any_width(algorithm: type[Algorithm]) -> dict[str, str]:
    """A ``feature_dim`` for checks before the data is looked at, where one is required."""
    field = hyperparameters.fields(algorithm.hyperparameters).get("feature_dim")
    return {"feature_dim": _ANY_WIDTH} if field is not None and field.required else {}


def _check_output(paths: Paths) -> None:
    """Refuse an output folder with files under the names of a run's, but not of an earlier run."""
    there = [folder for folder in (paths.base / "input", paths.model, paths.output) if folder.exists()]
    if there and not paths.hyperparameters.is_file():
        raise ConfigurationError(f"--output {paths.base}: {there[0].name}/ is there already, and not of an earlier run")
    if paths.checkpoints.exists() and not paths.checkpoints.is_symlink():
        raise ConfigurationError(f"--output {paths.base}: checkpoints/ is there already, and not of an earlier run")


def _check_apart(paths: Paths, files: Mapping[str, Sequence[Path]]) -> None:
    """Refuse data that an earlier run in the output folder made or linked: it would be removed before it is read."""
    taken_away = _of_earlier_runs(paths)
    for name, found in files.items():
        inputs.check_outside(found, paths.base, f"channel '{name}'")
        for path in found:
            if any(place.is_relative_to(folder) for place in inputs.places(path) for folder in taken_away):
                raise ConfigurationError(
                    f"channel '{name}': {path} is of the run whose place this one takes; "
                    f"give another --output than {paths.base}"
                )


# ---- data -----------------------------------------------------------------------------------------------------------


def _files(channel: str, texts: Sequence[str], folder: Path) -> list[Path]:
    found = []
    for text in texts:
        if text == inputs.STANDARD_INPUT:
            found.append(inputs.spooled(folder / inputs.SPOOLED))
        elif remote.is_address(text):
            found += remote.fetched(text, folder / channel / str(len(found)), f"channel '{channel}'")
        else:
            found += inputs.found(text, f"channel '{channel}'")
    return found


def _content_type(channel: Channel, paths: Sequence[Path], stated: str | None) -> str:
    """The content type by suffix. A CSV file of an algorithm without labels is said to have none."""
    if channel.gives == FILES:
        return channel.default_type
    if stated is not None and content_type.parse(stated).media_type in channel.accepts:
        return stated
    media = stated or inputs.media_type(paths, channel.accepts, f"channel '{channel.name}'")
    if media not in channel.accepts:
        first = inputs.files_of(paths)[0]
        if stated is None and (known := suffixes.other_form(first, channel.accepts)) is not None:
            raise ConfigurationError(f"channel '{channel.name}': {first}: {known}")
        raise ConfigurationError(
            f"channel '{channel.name}': {media} ({paths[0]}) is not taken; use {' or '.join(channel.accepts)}"
        )
    return f"{media};label_size=0" if media == CSV and channel.labels == LABELS_NONE else media


def _columns(
    declared: Mapping[str, Channel], files: Mapping[str, Sequence[Path]], request: Request
) -> tuple[list[str], str | None]:
    """The names of the columns of the training data, if they have any, and that of the label by default, if it is
    one."""
    if "train" not in files:
        return [], None
    channel = declared["train"]
    names = tables.names(channel, files["train"], request.content_type, request.columns)
    return names, tables.label_by_default(channel, names, request.content_type, request.columns)


def _feature_dim(
    algorithm: type[Algorithm], files: Mapping[str, Sequence[Path]], types: Mapping[str, str]
) -> dict[str, str]:
    """``feature_dim`` as the first training rows have it, if the algorithm requires it."""
    field = hyperparameters.fields(algorithm.hyperparameters).get("feature_dim")
    channel = {channel.name: channel for channel in algorithm.channels}.get("train")
    if field is None or not field.required or channel is None or channel.gives != ROWS or "train" not in types:
        return {}
    labelled = channel.labels == LABELS_REQUIRED
    rows = RowFormat(labels="required" if labelled else "none", missing=True, finite=False)
    stream = ChannelStream(FileSource(files["train"][0]), content_type.parse(types["train"]), rows)
    try:
        for first in stream.batches():
            return {"feature_dim": str(first.feature_dim)}
    except DataError as error:
        error.add_note(f"Channel 'train' is read as {types['train']}.")
        raise
    return {}


# ---- the folder of the job ------------------------------------------------------------------------------------------


def _of_earlier_runs(paths: Paths) -> tuple[Path, ...]:
    return paths.base / "input", paths.model, paths.output, paths.base / together.FOLDER


def _clear(paths: Paths) -> None:
    """Remove an earlier run in the same folder, except its checkpoints, which are elsewhere."""
    for folder in _of_earlier_runs(paths):
        if folder.exists():
            shutil.rmtree(folder)
    paths.checkpoints.unlink(missing_ok=True)


def _lay_out(paths: Paths, files: Mapping[str, Sequence[Path]], temporary: Path) -> None:
    """Link each channel's files and folders into its folder; standard input is moved there."""
    for name, found in files.items():
        channel = paths.channel(name)
        if len(found) == 1 and found[0].is_dir():
            channel.parent.mkdir(parents=True, exist_ok=True)
            channel.symlink_to(found[0].resolve())
            continue
        channel.mkdir(parents=True)
        for number, path in enumerate(found):
            place = channel / path.name.lstrip("._")  # a file that is named here is data, whatever its name
            place = place if not place.exists() and place != channel else channel / f"{number}-{place.name}"
            if path.is_relative_to(temporary):
                path.replace(place)
            else:
                place.symlink_to(path.resolve())


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2))
