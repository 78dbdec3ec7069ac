"""XGBoost's trees for other programs: see ``docs/export.md``."""

from __future__ import annotations

import json
from typing import Any

from algorithms.errors import ExportError
from algorithms.xgb.model import XGBModel

_OF_CLASSES = ("binary:logistic", "binary:hinge", "multi:softprob", "multi:softmax")


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


def to_sklearn(model: XGBModel) -> Any:
    """XGBoost's own estimator of scikit-learn's kind, with the rounds that the model predicts with.

    An ``XGBClassifier`` where the objective has classes, an ``XGBRanker`` where it ranks, else an ``XGBRegressor``;
    ``predict`` of the last two is ``score``.

    Raises:
        ExportError: there are several models.
    """
    if len(model.boosters) > 1:
        raise ExportError(
            f"this model of xgboost cannot be exported to sklearn: it is {len(model.boosters)} models that answer "
            "together, and an estimator of XGBoost holds one"
        )
    from xgboost import XGBClassifier, XGBRanker, XGBRegressor

    booster, rounds = model.boosters[0], model.rounds[0]
    kept = booster[:rounds] if rounds else booster
    if model.objective in _OF_CLASSES and model.targets == 1:
        estimator = XGBClassifier()
    else:
        estimator = XGBRanker() if model.objective.startswith("rank:") else XGBRegressor()
    estimator.load_model(bytearray(kept.save_raw("ubj")))
    estimator.get_booster().set_attr(best_iteration=None, best_score=None)
    if model.objective == "multi:softprob" and model.classes == 2:
        # XGBClassifier takes two columns for two labels of a row; by this objective it answers the same, by class.
        estimator.get_booster().set_param({"objective": "multi:softmax"})
        estimator.objective = "multi:softmax"
    return estimator
