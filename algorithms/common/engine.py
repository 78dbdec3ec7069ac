"""Hyperparameters and metrics that the closed algorithms have in common."""

from __future__ import annotations

from typing import Any

from algorithms.hyperparameters import text
from algorithms.interface import Metric

_ENGINE = {
    "_kvstore": "Parameter store.",
    "_num_kv_servers": "Servers of the parameter store.",
    "_num_gpus": "GPUs.",
    "_log_level": "Log level.",
    "_enable_profiler": "Profiler.",
    "_data_format": "Format of the data.",
    "_use_full_symbolic": "Engine mode.",
    "_learning_rate": "Overall rate.",
    "_wd": "Overall weight decay.",
}

PROGRESS = Metric(name="train:progress", regex=r"#progress_metric: host=\S+, completed (\S+) %")
THROUGHPUT = Metric(
    name="train:throughput", regex=r"#throughput_metric: host=\S+, train throughput=(\S+) records/second"
)


def quality(
    name: str,
    *,
    score: bool = False,
    logged: str | None = None,
    each_epoch: bool = False,
    maximize: bool | None = None,
    objective: bool = False,
) -> Metric:
    """A metric in the ``#quality_metric`` lines of most closed algorithms, by its name, as in ``test:msd``.

    Args:
        score: the line has ``<score>`` and not ``<loss>``; the metric is to be maximized, unless ``maximize`` is
        stated. logged: a pattern for the metric's name in the line; by default the part of ``name`` after the data set.
        each_epoch: the line is that of an epoch, not of the final model. objective: it may be the objective of a tuning
        job.

    >>> quality("test:msd").regex
    '#quality_metric: host=\\\\S+, test msd <loss>=(\\\\S+)'
    """
    dataset, _, metric = name.partition(":")
    epoch, kind = r"epoch=\S+, " if each_epoch else "", "score" if score else "loss"
    return Metric(
        name=name,
        regex=rf"#quality_metric: host=\S+, {epoch}{dataset} {logged or metric} <{kind}>=(\S+)",
        maximize=score if maximize is None else maximize,
        objective=objective,
    )


def engine(name: str, default: str) -> Any:
    """A hyperparameter of MXNet in the closed containers: any value is accepted, and has no effect."""
    return text(
        name=name,
        default=default,
        help=_ENGINE[name],
        no_effect="Accepted; it set up the closed container's engine.",
    )


def tuning_metric(effect: str | None = None) -> Any:
    """The metric that a tuning job reads from the log; ``effect`` is what else it does."""
    if effect is not None:
        return text(name="_tuning_objective_metric", default="", help=f"Set by tuning jobs; {effect}")
    return text(
        name="_tuning_objective_metric",
        default="",
        help="Set by tuning jobs.",
        no_effect="Metrics are logged all the same; the tuning job reads its objective from the log.",
    )
