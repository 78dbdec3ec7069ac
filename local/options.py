"""Options that several commands of ``oba`` share."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from local.parameters import AlgorithmName, DataPath, Loudness, ModelPath, Pair

F = TypeVar("F", bound=Callable[..., Any])

FOLDER = click.Path(file_okay=False, path_type=Path)
MODEL = ModelPath()
DATA = DataPath()


def with_channels(kinds: str) -> Callable[[F], F]:
    """The options that name data, which become one argument: ``channels``, the paths of each channel that has any.

    Args:
        kinds: what a path may be, for the help text.
    """
    options = (
        click.option(
            "--train", multiple=True, type=DATA, metavar="PATH", help=f"Channel train: {kinds}. May be repeated."
        ),
        click.option("--validation", multiple=True, type=DATA, metavar="PATH", help="Channel validation, likewise."),
        click.option("--test", multiple=True, type=DATA, metavar="PATH", help="Channel test, likewise."),
        click.option("--channel", "others", multiple=True, type=Pair("PATH"), help="Any other channel, likewise."),
    )

    def decorated(function: F) -> F:
        @functools.wraps(function)
        def command(
            *arguments: Any,
            train: Sequence[str],
            validation: Sequence[str],
            test: Sequence[str],
            others: Sequence[tuple[str, str]],
            **named: Any,
        ) -> Any:
            channels = {"train": list(train), "validation": list(validation), "test": list(test)}
            for name, path in others:
                channels.setdefault(name, []).append(path)
            return function(*arguments, channels={name: paths for name, paths in channels.items() if paths}, **named)

        return cast(F, functools.reduce(lambda inner, option: option(inner), reversed(options), command))

    return decorated


with_model = click.option(
    "--model", required=True, type=MODEL, metavar="PATH", help="The folder of the model or of its job, or model.tar.gz."
)
with_algorithm = click.option(
    "--algorithm", type=AlgorithmName(), metavar="NAME", help="Algorithm of the model.  [default: by the model's files]"
)
with_content_type = click.option(
    "--content-type", metavar="TYPE", help="Content type of the channels.  [default: by the suffixes of the files]"
)


def with_columns(function: F) -> F:
    """The options ``--label`` and ``--header``."""
    function = click.option(
        "--header",
        is_flag=True,
        help="The first line of CSV files names the columns; --label NAME implies it.",
    )(function)
    return click.option(
        "--label",
        metavar="NAME|INDEX",
        help="The label's column in CSV and Parquet files, by name or by number from 0; -1: the last.  "
        "[default: the first]",
    )(function)


def with_loudness(function: F) -> F:
    """The options ``--quiet`` and ``--verbose``."""
    function = click.option("-v", "--verbose", is_flag=True, help="Show all lines that the image prints.")(function)
    return click.option("-q", "--quiet", is_flag=True, help="Show warnings and errors alone.")(function)


def loudness_of(*, quiet: bool, verbose: bool) -> Loudness:
    """What the two options say. Raises click.UsageError where both are given."""
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other")
    return Loudness.QUIET if quiet else Loudness.VERBOSE if verbose else Loudness.NORMAL


def need(package: str, extra: str) -> None:
    """Refuse a command whose package is not installed, by the name of the extra that has it."""
    if importlib.util.find_spec(package) is None:
        from container.extras import installing  # it imports NumPy, which `oba serve` must set up first

        raise click.ClickException(f"this command needs the package '{package}': {installing(extra)}")
