"""The JSON of models: their arrays as lists, by the names of the model's own attributes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from algorithms.interface import Model
from algorithms.xgb.model import XGBModel


def arrays(model: Model) -> dict[str, Any]:
    """What a model of a few arrays holds: the fields of a dataclass, or the public attributes."""
    if dataclasses.is_dataclass(model):
        held = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    else:
        held = {name: value for name, value in vars(model).items() if not name.startswith("_") and value is not None}
    return {name: _plain(value) for name, value in held.items()}


def boosters(model: XGBModel) -> dict[str, Any]:
    """XGBoost's own JSON of each booster, which ``xgboost.Booster(model_file=...)`` reads."""
    return {
        "objective": model.objective,
        "boosters": [json.loads(bytes(booster.save_raw("json"))) for booster in model.boosters],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "_asdict"):
        return {name: _plain(one) for name, one in value._asdict().items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
