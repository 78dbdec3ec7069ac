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


def engine(name: str, default: str) -> Any:
    """A hyperparameter that set up MXNet in the closed containers: any value is taken, and has no effect."""
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
