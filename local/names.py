"""What the features of a model are called: its job's page has it, for SageMaker's artifact has no place for names."""

from __future__ import annotations

import json
from pathlib import Path

from container.paths import Paths
from container.training import report


def of_features(model: Path, width: int | None = None) -> list[str] | None:
    """The names of the features, in their order, of the model in a job's folder; None where they are not known, or are
    not as many as the model's features (None for any number): then the page is of another job."""
    folder = model.resolve()  # '.' has no name, and a link's job is where it leads
    if folder.name != Paths().model.name:
        return None
    try:
        told = json.loads((Paths(folder.parent).output_data / report.DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    names = told.get("features") if isinstance(told, dict) else None
    if not isinstance(names, list) or width not in (None, len(names)):
        return None
    return names if all(isinstance(name, str) for name in names) else None
