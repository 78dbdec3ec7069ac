"""What the features of a model are called, for commands: see ``algorithms.feature_names``."""

from __future__ import annotations

from pathlib import Path

import click

from algorithms import feature_names


def of_features(model: Path, folder: Path, width: int | None = None) -> list[str] | None:
    """See ``feature_names.of_job``; a report of another model is told of on standard error."""
    return feature_names.of_job(model, folder, width, lambda text: click.echo(f"Warning: {text}", err=True))
