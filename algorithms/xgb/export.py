"""XGBoost's trees for other programs: see ``docs/export.md``."""

from __future__ import annotations

import json
from typing import Any

from algorithms.xgb.model import XGBModel


def to_onnx(model: XGBModel) -> Any:
    """``score``.

    Raises:
        ExportError: the model has something that ONNX cannot say.
    """
    from algorithms.xgb import onnx_trees

    return onnx_trees.boosters(model)


def to_json(model: XGBModel) -> dict[str, Any]:
    """XGBoost's own JSON of each booster, which ``xgboost.Booster(model_file=...)`` reads."""
    return {
        "objective": model.objective,
        "boosters": [json.loads(bytes(booster.save_raw("json"))) for booster in model.boosters],
    }
