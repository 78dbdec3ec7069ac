"""Every hyperparameter of the xgboost algorithm, and how the ones of the library reach it.

A hyperparameter made by ``_library`` is passed on only where the job sets it. Its declared default is the documented
one, which is also what XGBoost does when it is not told: so that an unset ``eta`` is 0.3 for trees, and what XGBoost
thinks best for the linear booster.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from algorithms.hyperparameters import Hyperparameters, Tunable, choice, flag, integer, listing, real, text
from algorithms.xgb import rules
from algorithms.xgb.names import (
    LINEAR_UPDATERS,
    METRICS,
    MULTI,
    OBJECTIVES,
    REMOVED_UPDATERS,
    TREE_GROWERS,
    UPDATING_UPDATERS,
)

_DROPPED = "Accepted, without effect: "
_TREES = "booster is gbtree or dart"


def _library(declare: Callable[..., Any], *choices: str, default: Any = None, **options: Any) -> Any:
    """A hyperparameter of the library: None until it is set, whatever ``default`` documents."""
    declared = declare(*choices, default=default, **options)
    return dataclasses.field(default=None, metadata={**declared.metadata, "library": True})


def _tuned(low: float, high: float) -> Tunable:
    return Tunable(low=low, high=high, scale="Linear")


@dataclass(frozen=True, kw_only=True)
class XGBoostHyperparameters(Hyperparameters):
    """What a training job may set."""

    num_round: int = integer(at_least=1, tunable=_tuned(1, 4000), help="Rounds of boosting.")
    csv_weights: int = integer(
        default=0, at_least=0, at_most=1, when="text/csv", help="1: the column after the label holds instance weights."
    )
    early_stopping_rounds: int | None = integer(
        default=None,
        at_least=1,
        when="there is a validation channel",
        help="Stop after this many rounds without gain of the last metric on the validation data; keep the best.",
    )
    booster: str | None = _library(choice, "gbtree", "gblinear", "dart", default="gbtree", help="Kind of base learner.")
    verbosity: int | None = _library(
        integer, default=1, at_least=0, at_most=3, help="0 silent, 1 warnings, 2 information, 3 debugging."
    )
    nthread: int | None = _library(integer, at_least=1, help="Threads; all by default.")
    eta: float | None = _library(
        real,
        default=0.3,
        at_least=0,
        at_most=1,
        aliases=("learning_rate",),
        tunable=_tuned(0.1, 0.5),
        help="Shrinkage of each step.",
    )
    gamma: float | None = _library(
        real,
        default=0.0,
        at_least=0,
        aliases=("min_split_loss",),
        when=_TREES,
        tunable=_tuned(0, 5),
        help="Least gain of a split.",
    )
    max_depth: int | None = _library(
        integer, default=6, at_least=0, when=_TREES, tunable=_tuned(0, 10), help="Depth of a tree; 0 for no limit."
    )
    min_child_weight: float | None = _library(
        real, default=1.0, at_least=0, when=_TREES, tunable=_tuned(0, 120), help="Least sum of hessians in a child."
    )
    max_delta_step: float | None = _library(
        real, default=0.0, at_least=0, when=_TREES, tunable=_tuned(0, 10), help="Largest leaf output; 0 for no limit."
    )
    subsample: float | None = _library(
        real, default=1.0, above=0, at_most=1, when=_TREES, tunable=_tuned(0.5, 1), help="Share of rows for a tree."
    )
    colsample_bytree: float | None = _library(
        real, default=1.0, above=0, at_most=1, when=_TREES, tunable=_tuned(0.5, 1), help="Share of columns for a tree."
    )
    colsample_bylevel: float | None = _library(
        real, default=1.0, above=0, at_most=1, when=_TREES, tunable=_tuned(0.1, 1), help="Share of columns for a level."
    )
    colsample_bynode: float | None = _library(
        real, default=1.0, above=0, at_most=1, when=_TREES, tunable=_tuned(0.1, 1), help="Share of columns for a split."
    )
    lambda_: float | None = _library(
        real,
        name="lambda",
        default=1.0,
        at_least=0,
        aliases=("reg_lambda",),
        tunable=_tuned(0, 1000),
        help="L2 penalty of weights.",
    )
    alpha: float | None = _library(
        real,
        default=0.0,
        at_least=0,
        aliases=("reg_alpha",),
        tunable=_tuned(0, 1000),
        help="L1 penalty of weights.",
    )
    tree_method: str | None = _library(
        choice,
        *("auto", "exact", "approx", "hist", "gpu_hist"),
        default="auto",
        when=_TREES,
        help="How splits are found; gpu_hist is hist on a GPU, and is refused where XGBoost was built without.",
    )
    sketch_eps: float | None = real(
        default=0.03,
        above=0,
        below=1,
        help="Accuracy of the approximate method's sketch.",
        no_effect=_DROPPED + "max_bin takes its place since XGBoost 2.",
    )
    scale_pos_weight: float | None = _library(
        real, default=1.0, above=0, when="there are two classes", help="Weight of positive rows against negative ones."
    )
    updater: tuple[str, ...] | None = _library(
        listing,
        choices=(*TREE_GROWERS, *REMOVED_UPDATERS, "sync", *UPDATING_UPDATERS, *LINEAR_UPDATERS),
        help="Steps that build or change a round's trees, in order; XGBoost chooses them by tree_method.",
    )
    dsplit: str | None = choice(
        *("row", "col"),
        default=None,
        help="How the data is split between hosts.",
        no_effect=_DROPPED + "XGBoost itself knows how the data is split.",
    )
    refresh_leaf: int | None = _library(
        integer,
        default=1,
        at_least=0,
        at_most=1,
        when="updater contains refresh",
        help="1: refresh changes leaves too; 0: statistics only.",
    )
    process_type: str | None = _library(
        choice,
        *("default", "update"),
        default="default",
        help="update: change the trees of the model channel instead of growing new ones.",
    )
    grow_policy: str | None = _library(
        choice,
        *("depthwise", "lossguide"),
        default="depthwise",
        when="tree_method is hist or approx",
        help="Split nearest to the root first, or where the loss falls most.",
    )
    max_leaves: int | None = _library(
        integer, default=0, at_least=0, when="grow_policy is lossguide", help="Leaves of a tree; 0 for no limit."
    )
    max_bin: int | None = _library(
        integer, default=256, at_least=0, when="tree_method is hist or approx", help="Bins of a feature, 2 or more."
    )
    predictor: str = choice(
        *("auto", "cpu_predictor", "gpu_predictor"),
        default="auto",
        help="Where predictions are made.",
        no_effect=_DROPPED + "XGBoost 2 decides by its device.",
    )
    monotone_constraints: tuple[str, ...] | None = _library(
        listing,
        choices=("-1", "0", "1"),
        when="tree_method is set to exact or hist",
        help="For each feature 1 (rising), -1 (falling) or 0 (free), as in (1,-1,0).",
    )
    interaction_constraints: str | None = _library(
        text,
        at_least=1,
        when="tree_method is set to exact, hist or approx",
        help="Groups of features that may meet in a tree, by their numbers from 0, as in [[0,1],[2,3,4]].",
    )
    sample_type: str | None = _library(
        choice, *("uniform", "weighted"), default="uniform", when="booster is dart", help="How dropped trees are drawn."
    )
    normalize_type: str | None = _library(
        choice, *("tree", "forest"), default="tree", when="booster is dart", help="How new trees are weighted."
    )
    rate_drop: float | None = _library(
        real, default=0.0, at_least=0, at_most=1, when="booster is dart", help="Share of trees that are dropped."
    )
    one_drop: int | None = _library(
        integer, default=0, at_least=0, at_most=1, when="booster is dart", help="1: always drop one tree or more."
    )
    skip_drop: float | None = _library(
        real, default=0.0, at_least=0, at_most=1, when="booster is dart", help="Chance of a round without dropping."
    )
    lambda_bias: float = real(
        default=0.0,
        at_least=0,
        at_most=1,
        when="booster is gblinear",
        help="L2 penalty of the bias.",
        no_effect=_DROPPED + "XGBoost has not regularised the bias since 1.0.",
    )
    tweedie_variance_power: float | None = _library(
        real, default=1.5, above=1, below=2, when="objective is reg:tweedie", help="Power of the variance of the mean."
    )
    objective: str | None = _library(choice, *OBJECTIVES, default="reg:squarederror", help="What is learned.")
    num_class: int | None = _library(integer, at_least=2, when="objective is multi:", help="Number of classes.")
    base_score: float | None = _library(
        real,
        at_least=0,
        help="First prediction of all rows; taken from the labels when unset, as in XGBoost 2, and 0.5 for classes.",
    )
    kfold: int | None = integer(
        name="_kfold",
        default=None,
        at_least=2,
        help="Folds of a cross-validation over train and validation together; a model for each is kept.",
    )
    num_cv_round: int = integer(
        name="_num_cv_round", default=1, at_least=1, when="_kfold is set", help="Repetitions of the cross-validation."
    )
    tuning_objective_metric: str | None = choice(
        *(f"validation:{metric}" for metric in METRICS),
        name="_tuning_objective_metric",
        default=None,
        help="What a tuning job watches; it is evaluated besides eval_metric.",
    )
    eval_metric: tuple[str, ...] | None = listing(
        choices=METRICS,
        also=r"(error@[+-]?|ndcg@|map@)([0-9]+\.?[0-9]*|\.[0-9]+)|error@[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{1,2}",
        default=None,
        help="Metrics of each round, and error, ndcg and map with a number, as in ndcg@5; XGBoost's for the objective.",
    )
    seed: int | None = _library(integer, default=0, above=-(2**31), below=2**31 - 1, help="Seed of random numbers.")
    num_parallel_tree: int | None = _library(
        integer, default=1, at_least=1, when=_TREES, help="Trees of a round: a boosted forest where above 1."
    )
    save_model_on_termination: bool = flag(
        default=False, help="Keep the model of the last round, so that a job that is stopped leaves one."
    )
    aft_loss_distribution: str | None = _library(
        choice,
        *("normal", "logistic", "extreme"),
        default="normal",
        when="objective is survival:aft",
        help="Distribution of the noise.",
    )
    aft_loss_distribution_scale: float | None = _library(
        real, default=1.0, at_least=0, when="objective is survival:aft", help="Scale of the noise."
    )
    deterministic_histogram: bool = flag(
        default=True, help="Same sums on every GPU run.", no_effect=_DROPPED + "histograms are deterministic now."
    )
    sampling_method: str | None = _library(
        choice,
        *("uniform", "gradient_based"),
        default="uniform",
        when="subsample is below 1",
        help="How rows are drawn.",
    )
    prob_buffer_row: int | None = integer(  # xgboost:1 took 1.0, as AWS's Kubernetes samples state it
        default=None,
        at_least=1,
        help="Size of a buffer for rows.",
        no_effect=_DROPPED + "XGBoost has had no such parameter since 0.7.",
    )
    use_dask_gpu_training: bool = flag(
        default=False, help="Train on several GPUs with Dask; refused, since this build of XGBoost has no GPU code."
    )
    single_precision_histogram: bool = flag(
        default=False,
        help="Sum gradients in single precision.",
        no_effect=_DROPPED + "XGBoost dropped the choice in 1.6.",
    )
    silent: bool = flag(default=False, help="Print less.", no_effect=_DROPPED + "verbosity took its place.")

    @property
    def target(self) -> str:
        """The objective under its present name."""
        return "reg:squarederror" if self.objective in (None, "reg:linear") else str(self.objective)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics to evaluate, in order, each once: those of ``eval_metric``, then the tuning job's.

        XGBoost knows ``error@0.5`` as ``error``, and ``error@1e-1`` as ``error@0.1``: of two names of one metric the
        first is kept.
        """
        tuned = (self._tuned_metric,) if self._tuned_metric else ()
        kept: dict[str, str] = {}
        for name in (*tuned, *(self.eval_metric or ())):
            kept.setdefault(_known_as(name), name)
        names = dict.fromkeys(_known_as(name) for name in (*(self.eval_metric or ()), *tuned))
        return tuple(kept[name] for name in names)

    @property
    def _tuned_metric(self) -> str | None:
        return self.tuning_objective_metric.partition(":")[2] if self.tuning_objective_metric else None

    @property
    def decisive_metric(self) -> str | None:
        """The metric that early stopping goes by: the tuning job's, else the last; None for the objective's own."""
        if self._tuned_metric or not self.eval_metric:
            return self._tuned_metric
        last = _known_as(self.eval_metric[-1])
        return next(name for name in self.metrics if _known_as(name) == last)

    @property
    def grows_histograms(self) -> bool:
        """Whether only the ``hist`` method grows trees, so that XGBoost never needs the values of the features."""
        return (
            self.booster in (None, "gbtree")
            and self.tree_method in (None, "auto", "hist")
            and self.updater is None
            and self.process_type != "update"
        )

    @property
    def constrained_features(self) -> set[int]:
        """The features that ``interaction_constraints`` names."""
        return {feature for group in rules.groups(self.interaction_constraints or "") or [] for feature in group}

    @property
    def is_exact(self) -> bool:
        """Trees are grown by the exact method, which needs all rows in one place. ``updater`` overrides the method."""
        if self.booster == "gblinear":
            return False
        return "grow_colmaker" in self.updater if self.updater else self.tree_method == "exact"

    @property
    def draws(self) -> bool:
        """Rounds draw random numbers: rows, columns or trees that are left out. Linear boosters leave out nothing, and
        neither do updates of trees."""
        if self.booster == "gblinear" or self.process_type == "update":
            return False
        shares = (self.subsample, self.colsample_bytree, self.colsample_bylevel, self.colsample_bynode)
        return self.booster == "dart" or any(share is not None and share < 1 for share in shares)

    @property
    def keeps_sampled_bins(self) -> bool:
        """The approximate method makes bins from the first round's sample of rows, and may keep them for all rounds."""
        approximate = self.tree_method == "approx" or "grow_histmaker" in (self.updater or ())
        return approximate and self.subsample is not None and self.subsample < 1

    def library(self) -> dict[str, Any]:
        """Parameters for ``xgboost.train``: what was set, in XGBoost's spelling."""
        given = {
            item.metadata["hyperparameter"].name or item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.metadata.get("library") and getattr(self, item.name) is not None
        }
        if self.objective is not None:
            given["objective"] = self.target
        if self.target in MULTI:
            # XGBoost 3.1 and later would start each class from a score of its own, which older versions cannot hold.
            given.setdefault("base_score", 0.5)
        if self.tree_method == "gpu_hist":
            given |= {"tree_method": "hist", "device": "cuda"}
        if self.updater:
            given["updater"] = ",".join(self.updater)
        if self.interaction_constraints:
            given["interaction_constraints"] = json.dumps(rules.groups(self.interaction_constraints))
        if self.monotone_constraints:
            given["monotone_constraints"] = f"({','.join(self.monotone_constraints)})"
        return given

    def unlogged(self, metric: str, channels: Collection[str] | None = None) -> str | None:
        """What needs rows to validate on: those of a channel, or of the folds."""
        return None if self.kfold is not None else super().unlogged(metric, channels)

    def check(self) -> list[str]:
        """Rules between fields; see ``rules``."""
        return rules.problems(self)


def _known_as(metric: str) -> str:
    """XGBoost's own name of a metric with a number.

    >>> [_known_as(name) for name in ("error@1e-1", "error@.50", "ndcg@5", "rmse")]
    ['error@0.1', 'error', 'ndcg@5', 'rmse']
    """
    name, _, number = metric.partition("@")
    if not number:
        return metric
    if name == "error":
        return "error" if float(number) == 0.5 else f"error@{float(number):g}"
    return f"{name}@{int(float(number))}"
