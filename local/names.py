"""What the features of a model are called: its job's page has it, for SageMaker's artifact has no place for names."""

from __future__ import annotations

import json
from pathlib import Path

from container.paths import Paths
from container.training import report


def of_features(model: Path) -> list[str] | None:
    """The names of the features, in their order, of the model in a job's folder; None where they are not known."""
    if model.name != Paths().model.name:
        return None
    try:
        told = json.loads((Paths(model.absolute().parent).output_data / report.DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    names = told.get("features") if isinstance(told, dict) else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
