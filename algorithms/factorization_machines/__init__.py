"""Factorization machines: a linear model with low-rank interactions of all pairs of features, for sparse data.

Each feature i has a weight w_i and a vector v_i of ``num_factors`` numbers; a pair of features adds <v_i, v_j> x_i x_j,
so that a pair never seen together still has a prediction. Recommenders are the usual case: one column for each user,
one for each item, and two ones in each row.

Source: Rendle, "Factorization Machines", ICDM 2010.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from algorithms.common.engine import PROGRESS, THROUGHPUT, engine, quality, tuning_metric
from algorithms.factorization_machines import model
from algorithms.factorization_machines.fit import judge, train
from algorithms.factorization_machines.model import BINARY, REGRESSOR, FactorizationMachine
from algorithms.factorization_machines.steps import State
from algorithms.hyperparameters import Hyperparameters, Tunable, choice, flag, integer, real
from algorithms.interface import (
    JSON,
    JSON_LINES,
    LABELS_REQUIRED,
    RECORDIO,
    Algorithm,
    Channel,
    Column,
    Configuration,
    Job,
    Serving,
    Stream,
)

_WIDE = Tunable(1e-8, 512)


def _init_method(term: str) -> Any:
    return choice("normal", "uniform", "constant", default="normal", adapted=True, help=f"How the {term} start.")


def _init_scale(term: str, prefix: str) -> Any:
    return real(
        default=None,
        adapted=True,
        at_least=0,
        tunable=_WIDE,
        when=f"{prefix}_init_method is uniform",
        help=f"The {term} start between minus and plus this; if it is not given, with standard deviation "
        f"{prefix}_init_sigma.",
    )


def _init_sigma(term: str, prefix: str, default: float) -> Any:
    return real(
        default=default,
        adapted=True,
        at_least=0,
        tunable=_WIDE,
        when=f"{prefix}_init_method is normal",
        help=f"Standard deviation of the start of the {term}.",
    )


def _init_value(term: str, prefix: str) -> Any:
    return real(
        default=None,
        adapted=True,
        tunable=_WIDE,
        when=f"{prefix}_init_method is constant",
        help=f"The start of the {term}; {prefix}_init_sigma if it is not given.",
    )


def _rate(term: str, default: float, more: str = "") -> Any:
    return real(default=default, adapted=True, at_least=0, tunable=_WIDE, help=f"Learning rate of the {term}.{more}")


def _decay(term: str, default: float) -> Any:
    return real(default=default, adapted=True, at_least=0, tunable=_WIDE, help=f"Weight decay of the {term}.")


@dataclass(frozen=True, kw_only=True)
class FactorizationMachinesHyperparameters(Hyperparameters):
    """See the README of this folder."""

    feature_dim: int = integer(at_least=1, help="Number of features.")
    num_factors: int = integer(at_least=1, help="Length of each feature's vector.")
    predictor_type: str = choice(BINARY, REGRESSOR, help="Kind of label.")
    bias_init_method: str = _init_method("bias")
    bias_init_scale: float | None = _init_scale("bias", "bias")
    bias_init_sigma: float = _init_sigma("bias", "bias", 0.01)
    bias_init_value: float | None = _init_value("bias", "bias")
    bias_lr: float = _rate("bias", 0.1)
    bias_wd: float = _decay("bias", 0.01)
    clip_gradient: float | None = real(
        default=None, adapted=True, help="Gradients are cut to minus and plus this; not where it is 0 or less."
    )
    epochs: int | None = integer(
        default=None,
        at_least=1,
        tunable=Tunable(1, 1000),
        help="Passes over the training data. Where not given: as many as training needs, in batches of no more than a "
        "hundredth of the rows, on features and labels brought to one scale; one in Pipe mode.",
    )
    eps: float | None = real(
        default=None, adapted=True, above=0, help="Adam's guard against division by zero; 1e-8 if not given."
    )
    factors_init_method: str = _init_method("factors")
    factors_init_scale: float | None = _init_scale("factors", "factors")
    factors_init_sigma: float = _init_sigma("factors", "factors", 0.001)
    factors_init_value: float | None = _init_value("factors", "factors")
    factors_lr: float = _rate(
        "factors", 0.0001, " Where neither it nor epochs is given: from 0 to 0.003, by trials on held-out rows."
    )
    factors_wd: float = _decay("factors", 0.00001)
    linear_init_method: str = _init_method("linear weights")
    linear_init_scale: float | None = _init_scale("linear weights", "linear")
    linear_init_sigma: float = _init_sigma("linear weights", "linear", 0.01)
    linear_init_value: float | None = _init_value("linear weights", "linear")
    linear_lr: float = _rate("linear weights", 0.001)
    linear_wd: float = _decay("linear weights", 0.001)
    mini_batch_size: int = integer(default=1000, at_least=1, tunable=Tunable(100, 10000), help="Rows of a step.")
    rescale_grad: float | None = real(
        default=None,
        adapted=True,
        above=0,
        help="Factor on gradients before the step; one over the rows of the batch if not given.",
    )
    use_bias: bool = flag(default=True, help="Whether there is a bias.")
    use_linear: bool = flag(default=True, help="Whether there are linear weights.")
    batch_metrics_publish_interval: int = integer(
        default=500, at_least=1, help="Batches between two log lines with the scores of a batch."
    )
    tuning_objective_metric: str = tuning_metric()
    optimizer: str = choice(
        "adam", name="_optimizer", default="adam", help="Optimizer.", no_effect="Accepted; Adam is the only one."
    )
    learning_rate: str = engine("_learning_rate", "1.0")
    wd: str = engine("_wd", "1.0")
    data_format: str = engine("_data_format", "record")
    use_full_symbolic: str = engine("_use_full_symbolic", "true")
    kvstore: str = engine("_kvstore", "auto")
    num_kv_servers: str = engine("_num_kv_servers", "auto")
    num_gpus: str = engine("_num_gpus", "auto")
    log_level: str = engine("_log_level", "info")

    def unlogged(self, metric: str, channels: Collection[str] | None = None) -> str | None:
        """The test channel's scores of the other predictor type."""
        dataset, _, name = metric.partition(":")
        binary = name.startswith("binary")
        if dataset != "test" or binary == (self.predictor_type == BINARY):
            return super().unlogged(metric, channels)
        own = "test:rmse is" if binary else "the metrics test:binary_* are"
        return f"predictor_type is {self.predictor_type}, of which {own} logged"


class FactorizationMachines(Algorithm):
    """Factorization machines for sparse regression and two-class classification."""

    name = "factorization-machines"
    title = "factorization-machines"
    summary = "Linear model with low-rank pairwise interactions, for sparse data."
    hyperparameters = FactorizationMachinesHyperparameters
    channels = (
        Channel(name="train", help="Rows to train on.", required=True, accepts=(RECORDIO,), labels=LABELS_REQUIRED),
        Channel(
            name="test", help="Rows that the final model is scored on.", accepts=(RECORDIO,), labels=LABELS_REQUIRED
        ),
    )
    columns = (
        Column("score", "Prediction, or the probability of class 1."),
        Column("predicted_label", "The class; classification only."),
    )
    metrics = (
        quality("test:rmse", objective=True),
        quality("test:binary_classification_accuracy", score=True, objective=True),
        quality("test:binary_classification_cross_entropy", objective=True),
        quality("test:binary_f_beta", logged=r"binary_f_\S+", score=True, objective=True),
        *(quality(f"train:{name}", each_epoch=True) for name in ("rmse", "mse", "absolute_loss")),
        PROGRESS,
        THROUGHPUT,
    )
    serving = Serving(accepts=(JSON, JSON_LINES, RECORDIO), answers=(JSON, JSON_LINES, RECORDIO))
    several_hosts = True
    configurations = tuple(
        Configuration(
            name=predictor_type,
            hyperparameters={
                "predictor_type": predictor_type,
                "feature_dim": "4",
                "num_factors": "2",
                "mini_batch_size": "20",
            },
            classes=classes,
        )
        for predictor_type, classes in ((BINARY, 2), (REGRESSOR, None))
    )
    load = staticmethod(model.load)
    recognises = staticmethod(model.recognises)

    @classmethod
    def memory(cls, hyperparameters: FactorizationMachinesHyperparameters) -> int:
        """Parameters and Adam's two moments, float32, the column numbers of a batch, and a trial's parameters where
        there may be trials."""
        hp = hyperparameters
        arrays = 3 if hp.epochs is not None or hp.states("factors_lr") else 4
        return hp.feature_dim * (4 * arrays * (hp.num_factors + 1) + 8)

    @classmethod
    def fit(cls, hyperparameters: Any, channels: Mapping[str, Stream], job: Job) -> FactorizationMachine:
        """Train, then score the test channel; see ``Algorithm.fit``."""
        hp: FactorizationMachinesHyperparameters = hyperparameters
        job.info("[Sparse network] Building a sparse network.")
        state = State(hp, job.seed, job.hosts)
        model = train(state, channels["train"], hp, job)
        if "test" in channels:
            judge(model, channels["test"], hp, job)
        else:
            job.info("Test data is not provided.")
        return model
