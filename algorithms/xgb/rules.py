"""Rules between hyperparameters: SageMaker's, and those that XGBoost itself would only tell in the middle of a job."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING

import numpy as np
import xgboost as xgb

from algorithms.xgb.names import LINEAR_UPDATERS, MULTI, REMOVED_UPDATERS, TREE_GROWERS, UPDATING_UPDATERS

if TYPE_CHECKING:
    from algorithms.xgb.parameters import XGBoostHyperparameters

_CLASSES = (
    *("accuracy", "balanced_accuracy", "f1", "f1_macro", "precision_macro", "precision_micro", "recall_macro"),
    "recall_micro",
)
_TWO_CLASSES = ("f1_binary", "precision", "recall")
_NUMBERS = ("mse", "r2")
_ONE_PREDICTION = (
    *("cox-nloglik", "error", "gamma-deviance", "gamma-nloglik", "logloss", "mae", "map", "mape", "mphe", "ndcg"),
    *("poisson-nloglik", "rmse", "rmsle", "tweedie-nloglik"),
)
_LOGARITHMS = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox")
_LOGISTIC = ("binary:logistic", "reg:logistic")
_FLOAT32 = (1.2e-38, 3.4e38)
_TUPLES = str.maketrans("()", "[]")
_LAST_COMMA = re.compile(r",\s*\]")


def problems(values: XGBoostHyperparameters) -> list[str]:
    """What is wrong with these hyperparameters together, a sentence each."""
    found = [
        *_number_problems(values),
        *_objective_problems(values),
        *_tree_problems(values),
        *_updater_problems(values),
    ]
    found += [problem for metric in values.metrics if (problem := _metric_problem(values, metric))]
    if values.use_dask_gpu_training:
        found.append("Hyperparameter 'use_dask_gpu_training': true needs GPUs, and this image is built for CPUs")
    return found


def _number_problems(values: XGBoostHyperparameters) -> list[str]:
    """Refuse numbers that XGBoost cannot hold in the 32 bits that it keeps, or refuses once they are rounded to
    these."""
    problems = []
    for item in dataclasses.fields(values):
        value, field = getattr(values, item.name), item.metadata["hyperparameter"]
        if not item.metadata.get("library") or not isinstance(value, int | float) or not value:
            continue
        low, high = (1, 2**31 - 1) if isinstance(value, int) else _FLOAT32
        if not low <= abs(value) <= high:
            name = field.name or item.name
            problems.append(f"Hyperparameter '{name}': {value} is not 0 or a number of {low:g} to {high:g} in size")
    power = values.tweedie_variance_power
    if power is not None and float(f"{power:g}") in (1, 2):
        problems.append(
            f"Hyperparameter 'tweedie_variance_power': {power} is 1 or 2 to six digits, by which XGBoost calls its "
            "metric"
        )
    if values.base_score == 0 and values.target in _LOGARITHMS:
        problems.append(f"Hyperparameter 'base_score': objective {values.target} starts from its logarithm, 0 has none")
    if values.base_score is not None and values.target in _LOGISTIC and not 0 < np.float32(values.base_score) < 1:
        # XGBoost until 3.0 refuses 0 and 1; later ones start from 1e-6 or 1 - 1e-6, where gradients are too small to
        # learn.
        problems.append(
            f"Hyperparameter 'base_score': objective {values.target} starts from a probability of 32 bits above 0 and "
            f"below 1, and not from {values.base_score}"
        )
    return problems


def _objective_problems(values: XGBoostHyperparameters) -> list[str]:
    if values.objective == "aft_loss_distribution":
        return [
            "Hyperparameter 'objective': XGBoost has no objective 'aft_loss_distribution', though SageMaker lists "
            "it; use survival:aft and the hyperparameter aft_loss_distribution"
        ]
    if values.target in MULTI and values.num_class is None:
        return [f"Hyperparameter 'num_class' is required where objective is {values.target}"]
    if values.target not in MULTI and values.num_class is not None:
        return [f"Hyperparameter 'num_class' is only for {' and '.join(MULTI)}, and objective is {values.target}"]
    return []


def _tree_problems(values: XGBoostHyperparameters) -> list[str]:
    problems = []
    if values.tree_method == "gpu_hist" and not has_gpu_code():
        problems.append(
            "Hyperparameter 'tree_method': gpu_hist needs a GPU, and this image is built for CPUs: use hist"
        )
    if values.is_exact and values.max_depth == 0:
        problems.append("Hyperparameter 'max_depth': tree_method exact needs a limit, and 0 is none")
    if values.is_exact and values.colsample_bynode is not None and values.colsample_bynode < 1:
        problems.append("Hyperparameter 'colsample_bynode': below 1 needs tree_method hist or approx")
    sampled = values.subsample is not None and values.subsample < 1
    if values.is_exact and sampled and values.sampling_method == "gradient_based":
        problems.append("Hyperparameter 'sampling_method': gradient_based needs tree_method hist or approx")
    if values.max_bin is not None and values.max_bin < 2:
        problems.append(f"Hyperparameter 'max_bin': '{values.max_bin}' is not an integer of at least 2")
    if values.monotone_constraints and values.tree_method not in ("exact", "hist"):
        problems.append("Hyperparameter 'monotone_constraints' can only be used with tree_method exact or hist")
    if values.interaction_constraints is not None:
        if values.tree_method not in ("exact", "hist", "approx"):
            problems.append(
                "Hyperparameter 'interaction_constraints' can only be used with tree_method exact, hist or approx"
            )
        if groups(values.interaction_constraints) is None:
            problems.append(
                f"Hyperparameter 'interaction_constraints': '{values.interaction_constraints}' is not a list of "
                "lists of feature numbers from 0, as in [[0,1],[2,3,4]]"
            )
    return problems


def _updater_problems(values: XGBoostHyperparameters) -> list[str]:
    chosen = values.updater or ()
    if values.process_type == "update":
        if not chosen or not set(chosen) <= set(UPDATING_UPDATERS) or values.booster not in (None, "gbtree"):
            return [
                "Hyperparameter 'process_type': update needs booster gbtree, and an updater made of "
                f"{' and '.join(UPDATING_UPDATERS)} only"
            ]
        return []
    if not chosen:
        return []
    if values.booster == "gblinear":
        if len(chosen) == 1 and chosen[0] in LINEAR_UPDATERS:
            return []
        return [f"Hyperparameter 'updater': booster gblinear takes one of {', '.join(LINEAR_UPDATERS)}"]
    if gone := sorted(set(chosen) & set(REMOVED_UPDATERS)):
        return [
            f"Hyperparameter 'updater': XGBoost 3 has no {' and '.join(gone)}; use one of {', '.join(TREE_GROWERS)}"
        ]
    if set(chosen) & set(LINEAR_UPDATERS) or sum(updater in TREE_GROWERS for updater in chosen) != 1:
        return [f"Hyperparameter 'updater': trees take exactly one of {', '.join(TREE_GROWERS)}, and no linear updater"]
    return []


def _metric_problem(values: XGBoostHyperparameters, metric: str) -> str | None:
    objective = values.target
    classes = 2 if objective.startswith("binary:") or objective == "reg:logistic" else values.num_class or 0
    # SageMaker looks at eval_metric only: a tuning job may watch what XGBoost can reckon of the objective.
    with_auc = ("binary:", "rank:") if metric in (values.eval_metric or ()) else ("binary:", "rank:", "multi:", "reg:")
    refused = {
        f"{', '.join(with_auc[:-1])} and {with_auc[-1]} objectives": metric == "auc"
        and not objective.startswith(with_auc),
        "objective survival:aft": metric in ("aft-nloglik", "interval-regression-accuracy")
        and objective != "survival:aft",
        "multi: objectives": metric in ("merror", "mlogloss") and objective not in MULTI,
        "binary: and multi: objectives": metric in _CLASSES and not classes,
        "objectives of two classes": metric in _TWO_CLASSES and classes != 2,
        "objectives of one number a row": metric.partition("@")[0] in (*_NUMBERS, *_ONE_PREDICTION)
        and objective in MULTI,
    }
    for where, wrong in refused.items():
        if wrong:
            return f"Metric '{metric}' can only be applied to {where}, and objective is {objective}"
    return None


def has_gpu_code() -> bool:
    """Whether this build of XGBoost can use a GPU."""
    return bool(xgb.build_info()["USE_CUDA"])


def groups(text: str) -> list[list[int]] | None:
    """The groups of ``interaction_constraints``, as JSON or as Python writes lists and tuples; None where it has none.

    >>> groups("[[0,1],[2,3,4]]") == groups("[(0, 1), (2, 3, 4),]")
    True
    """
    if not _pairs_up(text):
        return None
    try:
        found = json.loads(_LAST_COMMA.sub("]", text.translate(_TUPLES)))
    except (ValueError, RecursionError):
        return None
    right = (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(group, list) and group and all(map(_is_feature, group)) for group in found)
    )
    return found if right else None


def _pairs_up(text: str) -> bool:
    """Whether each bracket is closed by one of its own kind."""
    opened: list[str] = []
    for mark in text:
        if mark in "[(":
            opened.append(mark)
        elif mark in "])" and (not opened or opened.pop() + mark not in ("[]", "()")):
            return False
    return not opened


def _is_feature(item: object) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**31
