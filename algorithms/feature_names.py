"""What the features of a model are called: its job's report has it, for SageMaker's artifact has no place for names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

REPORT = "report.json"
"""The file in a job's ``output/data`` that has the names (``features``), and the digests of the model (``model``)."""


def of_job(model: Path, folder: Path, width: int | None, warn: Callable[[str], object]) -> list[str] | None:
    """The names of the features, in their order, of the model in a job's folder; None where they are not known.

    A report of another job is told of, and left out of account: its names are of other files, or not as many.

    Args:
        model: the folder ``model`` of the job, or the archive in it, as the user names it.
        folder: the model's files.
        width: how many features the model takes; None for any number.
        warn: is told of a report of another model.
    """
    place = model.resolve()  # '.' has no name, and a link's job is where it leads
    place = place.parent if place.is_file() else place
    if place.name != "model":
        return None
    report = place.parent / "output" / "data" / REPORT
    try:
        told = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    names = told.get("features") if isinstance(told, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    if width in (None, len(names)) and _is_of(told, folder):
        return names
    warn(f"{report} is of another model: what its features are called is not known")
    return None


def _is_of(told: Mapping[str, Any], folder: Path) -> bool:
    """The files that the report tells of are those of this model."""
    digests = told.get("model")
    if not isinstance(digests, dict) or not digests:
        return False
    files = {file.name: file for file in folder.rglob("*") if file.is_file()}
    return all(name in files and digest(files[name]) == expected for name, expected in digests.items())


def digest(file: Path) -> str:
    """SHA-256 of what a file of a model holds, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
