"""Training, from channels to a model: what is read, what is refused, and which kind of run it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from algorithms.common.hosts import any_host
from algorithms.errors import ChannelError, HyperparameterError, TrainingDataError
from algorithms.hyperparameters import fields, wire_values
from algorithms.interface import Job, Stream
from algorithms.xgb import data
from algorithms.xgb.boost import boost
from algorithms.xgb.documents import why_unsound
from algorithms.xgb.folds import cross_validate
from algorithms.xgb.messages import logged
from algorithms.xgb.model import XGBModel, load_start
from algorithms.xgb.names import ACCURACY_OF_INTERVALS
from algorithms.xgb.parameters import XGBoostHyperparameters
from algorithms.xgb.portable import is_portable
from recordio.batches import Batch
from recordio.limits import MOST_FEATURES


def fit(hyperparameters: XGBoostHyperparameters, channels: Mapping[str, Stream], job: Job) -> XGBModel:
    """A model of the ``train`` channel; see ``algorithms.xgb.XGBoost``.

    Raises:
        ChannelError: ``process_type`` is update, and there is no model to update.
        TrainingDataError: the rows have no features or more than can be served, or labels or weights that the
            objective cannot learn.
    """
    _warn_of_unused(hyperparameters, channels, job)
    if hyperparameters.process_type == "update" and "model" not in channels:
        raise ChannelError("process_type update changes the trees of an earlier model: give it in a channel 'model'")
    hosts = job.hosts
    job.info("Single node training." if hosts.size == 1 else f"Distributed node training with {hosts.size} hosts.")
    if hosts.size > 1:
        _refuse_what_one_host_does(hyperparameters)
        hyperparameters = _of_several_hosts(hyperparameters, job)
    train, validation = _rows(channels, hyperparameters, job)
    start = _start(channels["model"], hyperparameters, job) if "model" in channels else None
    if start is not None:
        width = start.num_features()
        train = _as_wide_as_the_model(train, "train", width)
        validation = None if validation is None else _as_wide_as_the_model(validation, "validation", width)
    with logged(job):
        if hyperparameters.kfold is not None:
            joined = train if validation is None else data.of_both(train, validation)
            del train, validation
            boosters = cross_validate(hyperparameters, joined, job)
            _refuse_unsound(boosters)
            return XGBModel(boosters)
        checkpoints = job.checkpoint_directory
        boosted = boost(hyperparameters, train, validation, job, start=start, checkpoint_directory=checkpoints)
        _refuse_unsound([boosted.booster])
        _warn_of_no_split(boosted.booster, train, hyperparameters, job)
        return XGBModel([boosted.booster])


def _rows(
    channels: Mapping[str, Stream], hyperparameters: XGBoostHyperparameters, job: Job
) -> tuple[Batch, Batch | None]:
    """The rows of the channels ``train`` and, where there is one, ``validation``, of one width.

    Raises:
        TrainingDataError: see ``fit``.
    """
    train = _read("train", channels, hyperparameters, job)
    validation = _read("validation", channels, hyperparameters, job) if "validation" in channels else None
    job.info(f"Train matrix has {len(train)} rows and {train.feature_dim} columns")
    if not train.feature_dim:
        raise TrainingDataError("Channel 'train' has rows without any feature: there is nothing to learn from")
    if train.feature_dim > MOST_FEATURES:
        raise TrainingDataError(f"Rows have {train.feature_dim} features, and at most {MOST_FEATURES} can be served")
    if validation is not None:
        job.info(f"Validation matrix has {len(validation)} rows")
        train, validation = _of_one_width(train, validation)
        _warn_of_same_rows(train, validation, job)
    if beyond := [feature for feature in hyperparameters.constrained_features if feature >= train.feature_dim]:
        job.warning(
            f"Hyperparameter 'interaction_constraints' names feature {max(beyond)}, and rows have {train.feature_dim}, "
            "which count from 0"
        )
    return train, validation


def _warn_of_unused(hyperparameters: XGBoostHyperparameters, channels: Mapping[str, Stream], job: Job) -> None:
    values = wire_values(hyperparameters)
    for name, field in fields(XGBoostHyperparameters).items():
        if field.no_effect and values[name] != field.default:
            job.warning(f"Hyperparameter '{name}': {field.no_effect}")
    watched = "validation" in channels or hyperparameters.kfold is not None
    if hyperparameters.tuning_objective_metric == f"validation:{ACCURACY_OF_INTERVALS}":
        job.warning(
            f"Hyperparameter '_tuning_objective_metric': higher values of {ACCURACY_OF_INTERVALS} are better, and "
            "SageMaker's tuning jobs look for the lowest: with validation:aft-nloglik they find the best model"
        )
    if hyperparameters.early_stopping_rounds is not None and not watched:
        job.warning("Hyperparameter 'early_stopping_rounds' has no effect without a channel 'validation'")


def _refuse_what_one_host_does(hyperparameters: XGBoostHyperparameters) -> None:
    """Refuse what only one host can do: XGBoost has no ``grow_colmaker`` for several, and with ``gblinear`` each host
    would have weights of its own."""
    problems = []
    if "grow_colmaker" in (hyperparameters.updater or ()):
        problems.append("Hyperparameter 'updater': grow_colmaker trains on one host; use tree_method hist or approx")
    if hyperparameters.booster == "gblinear":
        problems.append("Hyperparameter 'booster': gblinear trains on one host; use gbtree or dart")
    if hyperparameters.kfold is not None:
        problems.append("Hyperparameter '_kfold': cross-validation trains on one host; leave it out")
    if problems:
        raise HyperparameterError([f"{problem}, or set the instance count to 1" for problem in problems])


def _of_several_hosts(hyperparameters: XGBoostHyperparameters, job: Job) -> XGBoostHyperparameters:
    """The hyperparameters with ``approx`` in place of ``exact``, as in XGBoost 0.72, the image's first version; later
    versions refuse it."""
    if hyperparameters.tree_method != "exact":
        return hyperparameters
    job.warning("Hyperparameter 'tree_method': exact needs all rows on one host; approx is used, as XGBoost 0.72 does")
    return replace(hyperparameters, tree_method="approx")


def _read(name: str, channels: Mapping[str, Stream], hyperparameters: XGBoostHyperparameters, job: Job) -> Batch:
    rows = data.read(channels[name], name, job.hosts, job.memory)
    assert rows.labels is not None
    data.check_labels(rows.labels.ravel(), name, hyperparameters, job.hosts)
    data.check_weights(rows.weights, name, job.hosts)
    data.check_weighed_metrics(rows.weights, name, hyperparameters)
    return rows


def _of_one_width(train: Batch, validation: Batch) -> tuple[Batch, Batch]:
    """Both channels with as many features as the wider one: in sparse rows the features beyond are missing values.

    Raises:
        TrainingDataError: dense rows differ.
    """
    width = max(train.feature_dim, validation.feature_dim)
    if not all(rows.is_sparse or rows.feature_dim == width for rows in (train, validation)):
        raise TrainingDataError(
            f"Channel 'validation' has rows of {validation.feature_dim} features, and channel 'train' of "
            f"{train.feature_dim}"
        )
    return data.of_width(train, width), data.of_width(validation, width)


def _refuse_unsound(boosters: Sequence[xgb.Booster]) -> None:
    """Refuse boosters with numbers that are not finite: XGBoost goes on growing trees then, and none can be served."""
    for booster in boosters:
        if (reason := why_unsound(booster)) is not None:
            raise TrainingDataError(
                f"Training ended with a model that cannot be served: {reason}. Where numbers grow beyond all bounds, "
                "or a leaf divides 0 by 0, a lower eta, and lambda or min_child_weight above 0, keep them finite; "
                "max_depth keeps trees shallow"
            )


def _warn_of_no_split(booster: xgb.Booster, train: Batch, hyperparameters: XGBoostHyperparameters, job: Job) -> None:
    """Warn of a model that is a constant, which nothing else tells but that its scores do not change."""
    labels = np.asarray(train.labels).ravel()
    differ = any_host(job.hosts, bool(labels.size and labels.min() < labels.max()))
    if not differ or hyperparameters.booster == "gblinear" or booster.get_score(importance_type="weight"):
        return
    large = ""
    if hyperparameters.target == "reg:squaredlogerror":
        large = " Of large labels reg:squaredlogerror has second derivatives near 0: divide the labels, or lower both."
    job.warning(
        "No tree has a split: the model gives all rows the same score. Where rows differ, min_child_weight "
        f"({hyperparameters.min_child_weight or 1:g}, against the sum of the second derivatives of a leaf's rows) or "
        f"gamma may forbid splits.{large}"
    )


def _warn_of_same_rows(train: Batch, validation: Batch, job: Job) -> None:
    """SageMaker's container warns of files of one name and size; here the rows themselves are compared."""
    if not any_host(job.hosts, not data.are_same(train, validation)):
        job.warning(
            "Channels 'train' and 'validation' hold the same rows. This is usually not intentional, and the "
            "validation scores then say nothing of the model on new rows"
        )


def _as_wide_as_the_model(rows: Batch, channel: str, width: int) -> Batch:
    if rows.feature_dim > width or (rows.feature_dim < width and not rows.is_sparse):
        raise TrainingDataError(
            f"Channel '{channel}' has rows of {rows.feature_dim} features, and the model in channel 'model' takes "
            f"{width}"
        )
    return data.of_width(rows, width)


def _start(folder: Any, hyperparameters: XGBoostHyperparameters, job: Job) -> xgb.Booster:
    """The booster in the folder of the ``model`` channel, ready to be continued."""
    if hyperparameters.kfold is not None:
        raise ChannelError("Channel 'model' and _kfold exclude each other: its trees have seen the rows of all folds")
    booster = load_start(Path(folder))
    earlier = XGBModel([booster])
    classes = 0 if earlier.objective.startswith("binary:") else earlier.classes
    if classes != (hyperparameters.num_class or 0):
        raise HyperparameterError(
            [f"Hyperparameter 'num_class' does not fit the model in channel 'model', which has {classes} classes"]
        )
    if hyperparameters.objective is not None and hyperparameters.target != earlier.objective:
        job.warning(
            f"Hyperparameter 'objective' is {hyperparameters.objective}, and the model in channel 'model' was trained "
            f"for {earlier.objective}: its scores now count as those of {hyperparameters.objective}"
        )
    if hyperparameters.base_score is not None:
        job.warning("Hyperparameter 'base_score' has no effect: the model in channel 'model' keeps its own")
    if not is_portable(booster):
        job.warning(
            "The classes of the model in channel 'model' start from different scores, so that what is made of it can "
            "be read by XGBoost 3.1 and later only"
        )
    booster.set_attr(best_iteration=None, best_score=None)  # they tell of the earlier job's data
    return booster
