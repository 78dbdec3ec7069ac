"""Gradient boosting with XGBoost, as SageMaker's image 3.0 runs it.

What is learned is a sum of trees (or, with booster gblinear, a linear model), each round adding the trees that lower
the regularised loss most (Chen and Guestrin, "XGBoost: A Scalable Tree Boosting System", KDD 2016). All of that is
the library's: the same data and hyperparameters give the same model as ``xgboost.train``, unless rounds draw random
numbers, for which each has a seed of its own (``algorithms.xgb.monitor.reseed``). Added here is what SageMaker puts
around it: channels and formats, checks and messages, more metrics, k-fold cross-validation, checkpoints, continuing
from an earlier model, selectable outputs, and reading the models of all earlier versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from algorithms.interface import (
    CSV,
    FAST_FILE,
    FILE,
    FILES,
    LABELS_REQUIRED,
    LIBSVM,
    MODEL,
    PARQUET,
    RECORDIO,
    Algorithm,
    Channel,
    Column,
    Configuration,
    Job,
    Metric,
    Serving,
    Stream,
)
from algorithms.xgb import model
from algorithms.xgb.fit import fit
from algorithms.xgb.model import XGBModel
from algorithms.xgb.names import MAXIMIZED, METRICS, MULTI, OBJECTIVES
from algorithms.xgb.outputs import KEYS
from algorithms.xgb.parameters import XGBoostHyperparameters

_SMALLEST_TREE = 2_000
"""Fewest bytes that XGBoost keeps for a tree without a split; 5,300 a tree were measured while 100,000 were grown."""

_FORMATS = (LIBSVM, CSV, PARQUET, RECORDIO)
_TWO_VALUES = ("binary:", "reg:logistic", "rank:")
"""Objectives that the tests' small data sets give the labels 0 and 1; the others get numbers above 0."""


def _rows(name: str, help: str, required: bool = False) -> Channel:
    return Channel(
        name=name,
        help=help,
        required=required,
        accepts=_FORMATS,
        labels=LABELS_REQUIRED,
        default_type=LIBSVM,
        missing_values=True,
        non_finite=True,  # NaN is a missing value, in every format
    )


def _classes(objective: str) -> dict[str, str]:
    return {"num_class": "3"} if objective in MULTI else {}


class XGBoost(Algorithm):
    """SageMaker's ``xgboost``.

    >>> from algorithms.hyperparameters import parse
    >>> values = parse(XGBoostHyperparameters, {"num_round": "20", "eta": "0.2", "objective": "binary:logistic"})
    >>> values.library()
    {'eta': 0.2, 'objective': 'binary:logistic'}
    """

    name = "xgboost"
    title = "XGBoost"
    summary = "Gradient boosted trees and linear models for regression, classification, ranking and survival."
    hyperparameters = XGBoostHyperparameters
    channels = (
        _rows("train", "Rows to learn from; the label comes first.", required=True),
        _rows("validation", "Rows to measure after each round, and to stop by."),
        Channel(
            name="model",
            help="An earlier model to boost further.",
            accepts=(MODEL,),
            gives=FILES,
            modes=(FILE, FAST_FILE),
            default_type=MODEL,
        ),
    )
    columns = (Column("score", "The prediction; for multi:softprob a probability for each class."),)
    metrics = tuple(
        Metric(
            name=f"validation:{metric}",
            regex=rf".*\[[0-9]+\].*#011validation-{metric}:(\S+)",
            maximize=metric in MAXIMIZED,
            objective=True,
        )
        for metric in METRICS
    )
    serving = Serving(
        accepts=(CSV, LIBSVM, RECORDIO),
        dialect="xgboost",
        missing_values=True,
        outputs=KEYS,
        multi_model=True,
    )
    log_dialect = "xgboost"
    several_hosts = True
    own_checkpoints = "**/xgboost-checkpoint.*"
    configurations = (
        *(
            Configuration(
                name=objective.replace(":", "-"),
                hyperparameters={"num_round": "3", "nthread": "1", "objective": objective, **_classes(objective)},
                classes=3 if objective in MULTI else 2 if objective.startswith(_TWO_VALUES) else None,
            )
            for objective in OBJECTIVES
            if objective != "aft_loss_distribution"  # is in SageMaker's list, but no objective
        ),
        *(
            Configuration(name=name, hyperparameters={"num_round": "3", "nthread": "1", **more})
            for name, more in (
                ("gblinear", {"booster": "gblinear", "updater": "coord_descent"}),
                ("dart", {"booster": "dart", "rate_drop": "0.5"}),
                ("exact", {"tree_method": "exact"}),
                ("lossguide", {"tree_method": "approx", "grow_policy": "lossguide", "max_leaves": "3"}),
                ("forest", {"num_parallel_tree": "2", "subsample": "0.5"}),
                ("folds", {"_kfold": "3"}),
            )
        ),
    )
    load = staticmethod(model.load)
    recognises = staticmethod(model.recognises)

    @classmethod
    def fit(cls, hyperparameters: XGBoostHyperparameters, channels: Mapping[str, Stream], job: Job) -> XGBModel:
        """Boost ``num_round`` rounds on the ``train`` channel."""
        return fit(hyperparameters, channels, job)

    @classmethod
    def load_first(cls, directory: Path) -> XGBModel:
        """The first of the folder's model files."""
        return model.load(directory, first=True)

    @classmethod
    def loading_memory(cls, directory: Path) -> int:
        """Estimated from the kind of each file and its number of trees; see ``reckoning``."""
        return model.loading_memory(directory)

    @classmethod
    def weight_column(cls, hyperparameters: XGBoostHyperparameters) -> bool:
        """Whether ``csv_weights`` says so."""
        return hyperparameters.csv_weights == 1

    @classmethod
    def memory(cls, hyperparameters: XGBoostHyperparameters) -> int:
        """Bytes of the trees that are certain to be grown; early stopping may end a job after few rounds.

        For a cross-validation: of the trees of all boosters, and of their predictions for one row of each fold.
        """
        rounds = min(
            hyperparameters.num_round, (hyperparameters.early_stopping_rounds or hyperparameters.num_round) + 1
        )
        classes = hyperparameters.num_class or 1
        boosters = (hyperparameters.kfold or 1) * (hyperparameters.num_cv_round if hyperparameters.kfold else 1)
        if hyperparameters.booster == "gblinear":
            size = 8 * classes  # float32 weights of a feature and of the bias
        else:
            size = _SMALLEST_TREE * rounds * classes * (hyperparameters.num_parallel_tree or 1)
        return boosters * (size + (16 if hyperparameters.kfold else 0))
