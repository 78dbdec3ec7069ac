"""The metrics, objectives and updaters of SageMaker's XGBoost."""

from __future__ import annotations

MAXIMIZED = (
    *("accuracy", "auc", "aucpr", "balanced_accuracy", "f1", "f1_binary", "f1_macro", "map", "ndcg", "precision"),
    *("r2", "recall", "precision_macro", "precision_micro", "recall_macro", "recall_micro"),
)
MINIMIZED = (
    *("aft-nloglik", "cox-nloglik", "error", "gamma-deviance", "gamma-nloglik", "interval-regression-accuracy"),
    *("logloss", "mae", "mape", "merror", "mlogloss", "mphe", "mse", "poisson-nloglik", "rmse", "rmsle"),
    "tweedie-nloglik",
)
METRICS = (*MAXIMIZED, *MINIMIZED)
"""In the directions of SageMaker's tuning jobs."""
ACCURACY_OF_INTERVALS = "interval-regression-accuracy"
"""The share of rows whose prediction lies within their bounds: higher is better, though tuning jobs minimise it."""
HIGHER_IS_BETTER = (*MAXIMIZED, ACCURACY_OF_INTERVALS)

OF_ROWS = (
    *("error", "gamma-deviance", "gamma-nloglik", "logloss", "mae", "mape", "mphe", "poisson-nloglik", "rmse", "rmsle"),
    "tweedie-nloglik",
)
"""XGBoost's own metrics that are means over rows, for each of which it looks up a weight."""
OF_QUERIES = ("map", "ndcg")

MULTI = ("multi:softmax", "multi:softprob")
OBJECTIVES = (
    *("binary:logistic", "binary:logitraw", "binary:hinge", "count:poisson", *MULTI),
    *("rank:pairwise", "rank:ndcg", "rank:map", "reg:linear", "reg:squarederror", "reg:logistic", "reg:gamma"),
    *("reg:pseudohubererror", "reg:squaredlogerror", "reg:absoluteerror", "reg:tweedie", "survival:aft"),
    *("survival:cox", "aft_loss_distribution"),
)
TREE_GROWERS = ("grow_colmaker", "grow_histmaker")
REMOVED_UPDATERS = ("distcol", "grow_skmaker")
LINEAR_UPDATERS = ("shotgun", "coord_descent")
UPDATING_UPDATERS = ("refresh", "prune")
