"""What the features of a model are called: its job's page has it, for SageMaker's artifact has no place for names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from container.paths import Paths
from container.training import report


def of_features(model: Path, folder: Path, width: int | None = None) -> list[str] | None:
    """The names of the features, in their order, of the model in a job's folder; None where they are not known.

    A page of another job is told of, and left out of account: its names are of other files, or not as many.

    Args:
        model: the folder, or the archive in it, as the command names it.
        folder: the model's files.
        width: how many features the model takes; None for any number.
    """
    place = model.resolve()  # '.' has no name, and a link's job is where it leads
    place = place.parent if place.is_file() else place
    if place.name != Paths().model.name:
        return None
    page = Paths(place.parent).output_data / report.DATA
    try:
        told = json.loads(page.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    names = told.get("features") if isinstance(told, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    if width in (None, len(names)) and _is_of(told, folder):
        return names
    click.echo(f"Warning: {page} is of another model: what its features are called is not known", err=True)
    return None


def _is_of(told: Mapping[str, Any], folder: Path) -> bool:
    """The files that the page tells of are those of this model."""
    digests = told.get("model")
    if not isinstance(digests, dict) or not digests:
        return False
    files = {file.name: file for file in folder.rglob("*") if file.is_file()}
    return all(name in files and report.digest(files[name]) == digest for name, digest in digests.items())
