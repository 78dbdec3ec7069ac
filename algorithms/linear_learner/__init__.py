"""Linear learner: linear regression and classification, with many models trained in one pass.

Mini-batch gradient descent on a choice of losses. Regularisation and learning rate are not searched one job after
the other: neighbouring settings are trained side by side, and the best model of all epochs is kept, judged on the
validation channel or on rows held out of training. For two classes the decision threshold is calibrated for the
criterion that was asked for.

Source: Liberty et al., "Elastic Machine Learning Algorithms in Amazon SageMaker", SIGMOD 2020, section 4.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from algorithms.common.engine import PROGRESS, THROUGHPUT, engine, quality, tuning_metric
from algorithms.events import Chosen, FinalScore, Score
from algorithms.hyperparameters import (
    AUTO,
    Hyperparameters,
    Tunable,
    choice,
    flag,
    integer,
    real,
)
from algorithms.interface import (
    CSV,
    JSON,
    JSON_LINES,
    LABELS_REQUIRED,
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
from algorithms.linear_learner import model, results
from algorithms.linear_learner.fit import train
from algorithms.linear_learner.grid import models_memory
from algorithms.linear_learner.losses import objective_name
from algorithms.linear_learner.model import BINARY, MULTICLASS, REGRESSOR, LinearModel

LOSSES = {
    REGRESSOR: (
        "squared_loss",
        "absolute_loss",
        "eps_insensitive_squared_loss",
        "eps_insensitive_absolute_loss",
        "quantile_loss",
        "huber_loss",
    ),
    BINARY: ("logistic", "hinge_loss"),
    MULTICLASS: ("softmax_loss",),
}
"""The losses of each predictor type; ``auto`` is the first."""
ALL_LOSSES = tuple(loss for losses in LOSSES.values() for loss in losses)

_ADAM, _SGD, _SCHEDULED = "optimizer is adam", "optimizer is sgd", "use_lr_scheduler is true"
FEWEST_CLASSES = 3
_EARLIER_CRITERIA = ("f1", "cross_entropy_loss")
"""Names of 2017, which the SageMaker SDK's class still takes."""
OrAuto: TypeAlias = Any
"""A value of the declared kind, or one of the words that it may be instead."""


@dataclass(frozen=True, kw_only=True)
class LinearLearnerHyperparameters(Hyperparameters):
    """See the README of this folder."""

    predictor_type: str = choice(BINARY, MULTICLASS, REGRESSOR, help="Kind of label.")
    num_classes: Any = integer(
        default=None,
        at_least=1,  # what is below 3 is taken where it has no effect, as it is there
        at_most=1_000_000,
        when=f"predictor_type is {MULTICLASS}",
        help="Number of classes, 3 or more.",
    )
    accuracy_top_k: int = integer(
        default=3, at_least=1, when=f"predictor_type is {MULTICLASS}", help="k of the top-k accuracy."
    )
    balance_multiclass_weights: bool = flag(
        default=False, when=f"predictor_type is {MULTICLASS}", help="Weigh classes so that all count the same."
    )
    beta_1: OrAuto = real(
        default=AUTO, auto=True, at_least=0, below=1, when=_ADAM, help="Decay of the mean gradient; auto is 0.9."
    )
    beta_2: OrAuto = real(
        default=AUTO, auto=True, at_least=0, below=1, when=_ADAM, help="Decay of the mean square; auto is 0.999."
    )
    bias_lr_mult: OrAuto = real(
        default=AUTO, auto=True, above=0, help="The bias' learning rate as a multiple; auto is 1."
    )
    bias_wd_mult: OrAuto = real(default=AUTO, auto=True, at_least=0, help="The bias' wd as a multiple; auto is 0.")
    binary_classifier_model_selection_criteria: str = choice(
        "accuracy",
        "f_beta",
        "precision_at_target_recall",
        "recall_at_target_precision",
        "loss_function",
        *_EARLIER_CRITERIA,
        default="accuracy",
        adapted=True,
        when=f"predictor_type is {BINARY}",
        help="By what the best model and its threshold are chosen; f1 is f_beta with 1, and cross_entropy_loss is "
        "loss_function, by their names of 2017.",
    )
    early_stopping_patience: int = integer(
        default=3, at_least=1, help="Epochs without improvement before training ends."
    )
    early_stopping_tolerance: float = real(
        default=0.001, above=0, help="A smaller relative improvement of the loss is none."
    )
    epochs: int = integer(default=15, at_least=1, help="Most passes over the training data.")
    f_beta: float = real(default=1.0, above=0, help="Beta of the F scores.")
    feature_dim: OrAuto = integer(
        default=AUTO, auto=True, at_least=1, help="Number of features; auto takes it from the data."
    )
    huber_delta: float = real(
        default=1.0, above=0, when="loss is huber_loss", help="Error from which the loss is linear, in scaled labels."
    )
    init_bias: float = real(default=0.0, help="The bias to start from.")
    init_method: str = choice(
        "uniform", "normal", default="uniform", adapted=True, help="Distribution of the weights to start from."
    )
    init_scale: float = real(
        default=0.07, adapted=True, above=0, when="init_method is uniform", help="Largest weight to start from."
    )
    init_sigma: float = real(
        default=0.01,
        adapted=True,
        above=0,
        when="init_method is normal",
        help="Standard deviation of the weights to start from.",
    )
    l1: OrAuto = real(
        default=AUTO, auto=True, at_least=0, tunable=Tunable(1e-7, 1), help="L1 penalty; auto tries several."
    )
    learning_rate: OrAuto = real(
        default=AUTO, auto=True, above=0, tunable=Tunable(1e-5, 1), help="Step size; auto tries several."
    )
    loss: str = choice(*ALL_LOSSES, default=AUTO, auto=True, help="Training loss; auto is the predictor type's first.")
    loss_insensitivity: float = real(
        default=0.01,
        above=0,
        when="loss is eps_insensitive_*",
        help="Errors below this are free, in scaled labels.",
    )
    lr_scheduler_factor: OrAuto = real(
        default=AUTO,
        auto=True,
        above=0,
        below=1,
        when=_SCHEDULED,
        help="Each reduction's factor; auto ends at a hundredth of the start.",
    )
    lr_scheduler_minimum_lr: OrAuto = real(
        default=AUTO, auto=True, above=0, when=_SCHEDULED, help="Least learning rate; auto has none."
    )
    lr_scheduler_step: OrAuto = integer(
        default=AUTO, auto=True, at_least=1, when=_SCHEDULED, help="Steps between reductions; auto is an epoch."
    )
    margin: float = real(default=1.0, above=0, when="loss is hinge_loss", help="Margin of the hinge loss.")
    mini_batch_size: int = integer(
        default=1000, adapted=True, at_least=1, tunable=Tunable(100, 5000), help="Rows of a step."
    )
    momentum: OrAuto = real(
        default=AUTO, auto=True, at_least=0, below=1, when=_SGD, help="Momentum of SGD; auto is 0.9, for sparse rows 0."
    )
    normalize_data: OrAuto = flag(
        default=True, adapted=True, auto=True, help="Scale features to deviation 1; auto does."
    )
    normalize_label: OrAuto = flag(
        default=AUTO, auto=True, when=f"predictor_type is {REGRESSOR}", help="Scale labels to deviation 1; auto does."
    )
    num_calibration_samples: OrAuto = integer(
        default=AUTO,
        auto=True,
        at_least=1,
        when=f"predictor_type is {BINARY}",
        help="Rows to find the threshold on; auto takes all that are kept.",
    )
    num_models: OrAuto = integer(
        default=AUTO, auto=True, at_least=1, help="Models trained side by side; auto is 32, or what fits in 1 GiB."
    )
    num_point_for_scaler: int = integer(
        default=10_000, adapted=True, at_least=1, help="First rows, from which scales are learned."
    )
    optimizer: str = choice(
        "sgd", "adam", "rmsprop", default=AUTO, auto=True, help="Optimizer; auto is adam, for sparse rows sgd."
    )
    positive_example_weight_mult: OrAuto = real(
        default=1.0,
        above=0,
        words=("balanced", AUTO),
        when=f"predictor_type is {BINARY}",
        tunable=Tunable(1e-5, 1e5),
        help="Weight of positive rows; balanced makes both classes count the same, auto tries three.",
    )
    quantile: float = real(
        default=0.5, above=0, below=1, when="loss is quantile_loss", help="Share of labels below the prediction."
    )
    target_precision: float = real(
        default=0.8,
        above=0,
        below=1,
        when="binary_classifier_model_selection_criteria is recall_at_target_precision",
        help="Precision to hold.",
    )
    target_recall: float = real(
        default=0.8,
        above=0,
        below=1,
        when="binary_classifier_model_selection_criteria is precision_at_target_recall",
        help="Recall to hold.",
    )
    unbias_data: OrAuto = flag(default=AUTO, auto=True, help="Shift features to mean 0; auto is use_bias.")
    unbias_label: OrAuto = flag(
        default=AUTO, auto=True, when=f"predictor_type is {REGRESSOR}", help="Shift labels to mean 0; auto is use_bias."
    )
    use_bias: bool = flag(default=True, tunable=Tunable(choices=("true", "false")), help="Whether there is a bias.")
    use_lr_scheduler: bool = flag(default=True, help="Reduce the learning rate as training goes on.")
    wd: OrAuto = real(
        default=AUTO, auto=True, at_least=0, tunable=Tunable(1e-7, 1), help="L2 penalty; auto tries several."
    )
    tuning_objective_metric: str = tuning_metric("then one model is trained.")
    kvstore: str = engine("_kvstore", AUTO)
    num_kv_servers: str = engine("_num_kv_servers", AUTO)
    num_gpus: str = engine("_num_gpus", AUTO)
    log_level: str = engine("_log_level", "info")
    enable_profiler: str = engine("_enable_profiler", "false")

    def __post_init__(self) -> None:
        """Read the earlier names of criteria as today's."""
        if self.binary_classifier_model_selection_criteria == "f1":
            object.__setattr__(self, "binary_classifier_model_selection_criteria", "f_beta")
            object.__setattr__(self, "f_beta", 1.0)
        elif self.binary_classifier_model_selection_criteria == "cross_entropy_loss":
            object.__setattr__(self, "binary_classifier_model_selection_criteria", "loss_function")

    @property
    def loss_name(self) -> str:
        """The loss, ``auto`` resolved."""
        return LOSSES[self.predictor_type][0] if self.loss == AUTO else self.loss

    @property
    def criterion(self) -> str | None:
        """What chooses model and threshold of a binary classifier; None where the loss does."""
        criterion = self.binary_classifier_model_selection_criteria
        return None if self.predictor_type != BINARY or criterion == "loss_function" else criterion

    @property
    def target(self) -> tuple[str, float] | None:
        """The name and value of what the threshold of a binary classifier is to hold; None of other criteria."""
        match self.criterion:
            case "precision_at_target_recall":
                return "target_recall", self.target_recall
            case "recall_at_target_precision":
                return "target_precision", self.target_precision
        return None

    @property
    def outputs(self) -> int:
        """Scores of one model: the number of classes, or 1."""
        return self.num_classes if self.predictor_type == MULTICLASS else 1

    def check(self) -> list[str]:
        """Rules between fields."""
        problems = []
        if self.predictor_type == MULTICLASS and self.num_classes is None:
            problems.append(f"Hyperparameter 'num_classes' is required where predictor_type is {MULTICLASS}")
        elif self.predictor_type == MULTICLASS and self.num_classes < FEWEST_CLASSES:
            problems.append(
                f"Hyperparameter 'num_classes': {self.num_classes} is below {FEWEST_CLASSES}; two classes are for "
                f"predictor_type {BINARY}"
            )
        if self.loss_name not in LOSSES[self.predictor_type]:
            allowed = ", ".join((AUTO, *LOSSES[self.predictor_type]))
            problems.append(f"Hyperparameter 'loss': '{self.loss}' is not for a {self.predictor_type}, but {allowed}")
        return problems

    def unlogged(self, metric: str, channels: Collection[str] | None = None) -> str | None:
        """The scores of another predictor type. Without a channel ``validation`` its loss is that of held-out rows."""
        own = [name for name, _ in _SCORES[self.predictor_type]]
        others = {name for names in _SCORES.values() for name, _ in names} - {*own}
        if metric.partition(":")[2] not in others:
            return None if metric == "validation:objective_loss" else super().unlogged(metric, channels)
        return f"predictor_type is {self.predictor_type}, of which are logged objective_loss, {', '.join(own)}"


_SCORES = {
    REGRESSOR: (("mse", "mse"), ("absolute_loss", "absolute_loss"), ("rmse", "rmse")),
    BINARY: (
        ("binary_classification_accuracy", "binary_classification_accuracy"),
        ("binary_f_beta", r"binary_f_\S+"),
        ("precision", "precision"),
        ("recall", "recall"),
        ("roc_auc_score", "roc_auc_score"),
    ),
    MULTICLASS: (
        ("multiclass_accuracy", "multiclass_accuracy"),
        ("multiclass_top_k_accuracy", r"multiclass_top_k_accuracy_\S+"),
        ("dcg", "dcg"),
        ("macro_recall", "macro_recall"),
        ("macro_precision", "macro_precision"),
        ("macro_f_beta", r"macro_f_\S+"),
    ),
}
"""What a predictor type is judged by besides the objective's loss: the name of the metric, and in the log."""
_OBJECTIVE = r"\S+_objective"
"""What the log calls the objective's loss, by the name of the loss."""


def _metrics() -> tuple[Metric, ...]:
    """The published list of MetricDefinitions, completed for all three data sets."""
    declared = [
        PROGRESS,
        THROUGHPUT,
        quality("test:objective_loss", logged=_OBJECTIVE, objective=True),
    ]
    for dataset in ("train", "validation"):
        tunable = dataset == "validation"
        declared += [
            quality(f"{dataset}:objective_loss", logged=_OBJECTIVE, each_epoch=True, objective=tunable),
            quality(f"{dataset}:objective_loss:final", logged=_OBJECTIVE),
        ]
    for dataset in ("train", "validation", "test"):
        tunable = dataset != "train"
        for score, names in ((False, _SCORES[REGRESSOR]), (True, _SCORES[BINARY] + _SCORES[MULTICLASS])):
            declared += [
                quality(f"{dataset}:{name}", logged=pattern, score=score, objective=tunable) for name, pattern in names
            ]
        declared += [
            quality(f"{dataset}:{name}", score=True, maximize=maximize)
            for name, maximize in (("multiclass_balanced_accuracy", True), ("multiclass_log_loss", False))
        ]
    return tuple(declared)


class LinearLearner(Algorithm):
    """Linear models by mini-batch gradient descent, many at once."""

    name = "linear-learner"
    title = "Linear Learner"
    summary = "Linear regression and two-class or many-class classification."
    hyperparameters = LinearLearnerHyperparameters
    channels = tuple(
        Channel(name=name, help=help, required=name == "train", accepts=(RECORDIO, CSV), labels=LABELS_REQUIRED)
        for name, help in (
            ("train", "Rows to train on; CSV has the label in the first column."),
            ("validation", "Rows to choose the best model and its threshold on."),
            ("test", "Rows that the final model is scored on."),
        )
    )
    columns = (
        Column("score", "The prediction or probability; for many classes a probability for each."),
        Column("predicted_label", "The class; classifiers only."),
    )
    metrics = _metrics()
    serving = Serving(accepts=(CSV, JSON, JSON_LINES, RECORDIO), answers=(JSON, JSON_LINES, RECORDIO), multi_model=True)
    configurations = tuple(
        Configuration(
            name=name,
            hyperparameters={"predictor_type": predictor_type, "mini_batch_size": "20", "num_models": "4", **more},
            classes={BINARY: 2, MULTICLASS: 3, REGRESSOR: None}[predictor_type],
        )
        for name, predictor_type, more in (
            ("binary", BINARY, {}),
            ("binary-hinge", BINARY, {"loss": "hinge_loss", "binary_classifier_model_selection_criteria": "f_beta"}),
            ("multiclass", MULTICLASS, {"num_classes": "3", "balance_multiclass_weights": "true"}),
            *((f"regressor-{loss}", REGRESSOR, {"loss": loss, "epochs": "5"}) for loss in LOSSES[REGRESSOR]),
            ("regressor-sgd", REGRESSOR, {"optimizer": "sgd", "epochs": "5", "normalize_data": "false"}),
        )
    )
    several_hosts = True
    load = staticmethod(model.load)
    recognises = staticmethod(model.recognises)

    @classmethod
    def fit(cls, hyperparameters: Any, channels: Mapping[str, Stream], job: Job) -> LinearModel:
        """Train, choose, and report; see ``Algorithm.fit``."""
        hp: LinearLearnerHyperparameters = hyperparameters
        validation = results.validation_rows(channels["validation"], hp, job) if "validation" in channels else None
        trained = train(hp, channels["train"], validation, job)
        model = results.final_model(trained, hp)
        dataset = "train" if trained.validation_rows is None else "validation"
        judged = trained.validation_rows or trained.train_rows
        final = results.kept_scores(model, trained, judged, hp, job.hosts)
        objective = Score("validation", objective_name(hp.loss_name), trained.winner.objective)
        job.report(Chosen(None, (objective,)))
        for name, value in final.items():
            job.report(FinalScore(dataset, name, value))
        for name, value in final.items():
            results.report_quality(job, dataset, name, value)
        if trained.validation_rows is not None:
            for name, value in results.kept_scores(model, trained, trained.train_rows, hp, job.hosts).items():
                results.report_quality(job, "train", name, value)
        job.info(f"Best model found for hyperparameters: {results.described(trained, hp)}")
        if (warning := results.doubtful(model, trained, hp, job.hosts)) is not None:
            job.warning(warning)
        if "test" in channels:
            tested = results.test_scores(model, trained, channels["test"], hp, job.hosts)
            for name, value in tested.items():
                job.report(FinalScore("test", name, value))
            for name, value in tested.items():
                results.report_quality(job, "test", name, value)
        else:
            job.info("Test data is not provided.")
        return model

    @classmethod
    def memory(cls, hyperparameters: Any) -> int:
        """Weights, gradients and moments of the models; of one feature where the data decides their number."""
        hp: LinearLearnerHyperparameters = hyperparameters
        return models_memory(hp, cls.feature_dim(hp) or 1, hp.outputs)

    @classmethod
    def feature_dim(cls, hyperparameters: Any) -> int | None:
        """The declared number of features; None for ``auto``."""
        return None if hyperparameters.feature_dim == AUTO else hyperparameters.feature_dim
