"""Options that several commands of ``oba`` share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from local.parameters import Loudness

F = TypeVar("F", bound=Callable[..., Any])

FOLDER = click.Path(file_okay=False, path_type=Path)
MODEL = click.Path(exists=True, path_type=Path)


def with_loudness(function: F) -> F:
    """The options ``--quiet`` and ``--verbose``."""
    function = click.option("-v", "--verbose", is_flag=True, help="All lines that the image prints.")(function)
    return click.option("-q", "--quiet", is_flag=True, help="Warnings and errors alone.")(function)


def loudness_of(*, quiet: bool, verbose: bool) -> Loudness:
    """What the two options say. Raises click.UsageError where both are given."""
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other")
    return Loudness.QUIET if quiet else Loudness.VERBOSE if verbose else Loudness.NORMAL


def need(package: str, extra: str) -> None:
    """Refuse a command whose package is not installed, by the name of the extra that has it."""
    if importlib.util.find_spec(package) is None:
        raise click.ClickException(
            f"this command needs the package '{package}': pip install 'open-builtin-algorithms[{extra}]'"
        )
