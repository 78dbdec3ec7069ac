"""Results of training: the final model and its metrics; and the validation rows by which it is chosen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from algorithms.common.hosts import total
from algorithms.errors import TrainingDataError
from algorithms.events import Measured
from algorithms.interface import Hosts, Job, Stream
from algorithms.linear_learner import metrics
from algorithms.linear_learner.fit import Trained
from algorithms.linear_learner.losses import objective_name
from algorithms.linear_learner.model import BINARY, MULTICLASS, LinearModel, softmax
from algorithms.linear_learner.preprocessing import Problem
from algorithms.linear_learner.selection import CONFIDENCE, held
from algorithms.linear_learner.together import alike
from algorithms.linear_learner.validation import Rows
from recordio.batches import Batch, concatenate

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

ONE_SIDED = 0.99
"""If a threshold takes at least this share of rows for positive, it is doubtful."""
VALIDATION_MEMORY = 1 << 30
"""Most bytes of validation rows that all hosts keep; of a larger channel the first rows are used, with a warning."""


def validation_rows(stream: Stream, hp: LinearLearnerHyperparameters, job: Job) -> Batch:
    """This host's validation rows, read once: in Pipe mode there may be no second FIFO.

    Raises:
        TrainingDataError: there are none.
    """
    kept: list[Batch] = []
    size = 0
    for batch in stream.batches(hp.mini_batch_size):
        kept.append(batch)
        features = batch.features
        size += features.nbytes if isinstance(features, np.ndarray) else features.nnz * 8
        if size > VALIDATION_MEMORY // job.hosts.size:
            rows = sum(len(part) for part in kept)
            job.warning(f"Channel 'validation' is large: its first {rows} rows are used.")
            break
    kept = alike(kept, "validation", job.hosts)
    if not kept:
        raise TrainingDataError("Channel 'validation' has no rows: verify that it contains non-empty files.")
    return concatenate(kept)


def final_model(trained: Trained, hp: LinearLearnerHyperparameters) -> LinearModel:
    """The winner for raw features and raw labels.

    Raises:
        TrainingDataError: values of features are so small that their weights are beyond float32.
    """
    return unscaled(trained.winner.parameters, trained.problem, trained.winner.threshold, hp)


def unscaled(
    parameters: np.ndarray, problem: Problem, threshold: float, hp: LinearLearnerHyperparameters
) -> LinearModel:
    """The model of parameters (d + 1, c) for scaled features and labels; see ``final_model``."""
    labels = problem.label_scaler
    weight, bias = problem.scaler.unscale(parameters[:-1], parameters[-1])
    weight, bias = weight * labels.scale, bias * labels.scale + labels.shift
    beyond = np.flatnonzero((np.abs(weight) > np.finfo(np.float32).max).any(axis=1))
    if beyond.size:
        raise TrainingDataError(
            f"weights of {beyond.size} of {len(weight)} features are beyond float32 (number {beyond[0]}, from 0, has "
            f"{weight[beyond[0]][0]:g}), since the values of these features are tiny: multiply them in the data, so "
            "that they are about 1"
        )
    return LinearModel(
        weight=np.ascontiguousarray(weight.T, np.float32),
        bias=bias.astype(np.float32),
        predictor_type=hp.predictor_type,
        loss=hp.loss_name,
        threshold=threshold,
    )


def kept_scores(
    model: LinearModel, trained: Trained, rows: Rows, hp: LinearLearnerHyperparameters, hosts: Hosts
) -> dict[str, float]:
    """All metrics of the final model on rows that were kept."""
    raw = np.concatenate([scores for _, scores in rows.scores(trained.winner.parameters)])
    return _all_metrics(raw, rows.labels, rows.scaled_labels, trained, model, hp, hosts)


def doubtful(model: LinearModel, trained: Trained, hp: LinearLearnerHyperparameters, hosts: Hosts) -> str | None:
    """A warning about a threshold that misses the stated target, or takes nearly all rows; None for any other."""
    if hp.criterion in (None, "accuracy"):
        return None
    target = (
        ""
        if hp.target is None
        else "a {} of {:g} that holds on rows to come with {:.0%}".format(*hp.target, CONFIDENCE)
    )
    advice = "Give more positive rows or a lower target, or compare the scores with a threshold of your own."
    if (reached := held(trained.winner.value, hp)) is not None:
        return (
            f"No threshold reaches {target}: the one that comes nearest is used, of which the rows at hand promise "
            f"{reached:.2g}. {advice}"
        )
    rows = trained.validation_rows or trained.train_rows
    raw = np.concatenate([scores for _, scores in rows.scores(trained.winner.parameters)])[:, 0]
    counts = hosts.sum(np.array([(raw >= model.threshold).sum(), (rows.labels > 0.5).sum(), len(raw)]))
    taken, positives, count = counts[0].tolist()
    if taken < ONE_SIDED * count or positives >= ONE_SIDED * count:
        return None
    return (
        f"The threshold takes {taken} of {count} rows for positive, and {positives} are: "
        f"no other serves {target or hp.criterion} better. {advice}"
    )


def test_scores(
    model: LinearModel, trained: Trained, stream: Stream, hp: LinearLearnerHyperparameters, hosts: Hosts
) -> dict[str, float]:
    """All metrics of the final model on the test channel. Memory: the scores and labels of all rows.

    Raises:
        TrainingDataError: the channel has no rows.
    """
    scaler = trained.problem.scaler
    parameters = trained.winner.parameters
    raw, labels = [np.empty((0, parameters.shape[1]), np.float32)], [np.empty(0, np.float32)]
    for batch in stream.batches(hp.mini_batch_size):
        raw.append(scaler.rows(batch.features, parameters.shape[1]).scores(parameters[:-1]) + parameters[-1])
        labels.append(np.asarray(batch.labels).reshape(-1))
    joined = np.concatenate(labels)
    if not total(hosts, len(joined)):
        raise TrainingDataError("Channel 'test' has no rows: verify that it contains non-empty files.")
    scaled = trained.problem.label_scaler.apply(joined)
    return _all_metrics(np.concatenate(raw), joined, scaled, trained, model, hp, hosts)


def _all_metrics(
    raw: np.ndarray,
    labels: np.ndarray,
    scaled_labels: np.ndarray,
    trained: Trained,
    model: LinearModel,
    hp: LinearLearnerHyperparameters,
    hosts: Hosts,
) -> dict[str, float]:
    """The objective and the predictor type's metrics, of raw scores (n, outputs) for scaled rows."""
    loss = trained.loss
    if hp.predictor_type == MULTICLASS:
        classes = labels.astype(np.int64)
        losses = loss(raw[:, None, :], classes)[0]
        scores = metrics.multiclass(softmax(raw), classes, hp.accuracy_top_k, hp.f_beta, hosts)
    elif hp.predictor_type == BINARY:
        losses = loss(raw, scaled_labels[:, None])[0]
        scores = metrics.binary(raw[:, 0], labels, model.threshold, hp.f_beta, hosts)
    else:
        losses = loss(raw, scaled_labels[:, None])[0]
        labels_scaler = trained.problem.label_scaler
        scores = metrics.regression(raw[:, 0] * labels_scaler.scale + labels_scaler.shift, labels, hosts)
    value, rows = hosts.sum(np.array([losses.sum(dtype=np.float64), len(losses)]))[0].tolist()
    return {objective_name(hp.loss_name): value / rows, **scores}


def report_quality(job: Job, dataset: str, name: str, value: float) -> None:
    """A metric of the final model."""
    minimize = name.endswith("_objective") or name in metrics.MINIMIZED
    job.report(Measured.of(dataset, name, value, maximize=not minimize))


def described(trained: Trained, hp: LinearLearnerHyperparameters) -> str:
    """The winner's settings as JSON."""
    setting = trained.winner.setting
    return json.dumps(
        {
            "lr_scheduler_step": hp.lr_scheduler_step,
            "wd": setting.wd,
            "optimizer": trained.optimizer,
            "lr_scheduler_factor": hp.lr_scheduler_factor,
            "l1": setting.l1,
            "learning_rate": setting.learning_rate,
            "lr_scheduler_minimum_lr": hp.lr_scheduler_minimum_lr,
        }
    )
