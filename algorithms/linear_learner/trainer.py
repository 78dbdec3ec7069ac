"""Many linear models that take each step together, by mini-batches.

A batch is read and scaled once; one matrix product gives the scores of all models, a second one all gradients. The
parameters of m models with c outputs each are one array of shape (d + 1, m c), bias in the last row.

Several hosts have the same parameters, and step by the sum of their gradients, or each by itself with ``step_alone``
until ``agree``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from algorithms.common.hosts import ONE_HOST, from_leader, in_order, total
from algorithms.common.local_steps import Agreed, LocalSteps
from algorithms.hyperparameters import AUTO
from algorithms.interface import Hosts
from algorithms.linear_learner.grid import Setting, model_count, optimizer_name, settings
from algorithms.linear_learner.losses import make_loss
from algorithms.linear_learner.optimizers import SGD, Adam, Optimizer, RMSProp, threshold
from algorithms.linear_learner.preprocessing import Problem
from algorithms.linear_learner.scaling import ScaledRows, UnscaledRows, mean_and_deviation
from algorithms.linear_learner.selection import calibrate, counted_rows, half_standard_error
from algorithms.linear_learner.validation import Rows

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

FINAL_RATE = 0.01
"""The share of the first learning rate that the automatic schedule comes to in the last epoch."""
PLATEAU_RATE = 0.3
"""The factor of the learning rate after an epoch without improvement."""

_STEP, _SCORE, _PRODUCT = 1e-4, 1e-8, 2e-10
"""Estimated seconds: of a step, for each score, and for each multiplication."""


@dataclass(frozen=True)
class Winner:
    """The best model of all models and epochs, for scaled rows.

    Attributes:
        parameters: (d + 1, c).
        threshold: raw score from which a row is positive (binary classification).
        losses: its loss on each of this host's rows that models were compared on, (n,).
        objective: the mean of those of all hosts.
        lowest_objective: the lowest of all models' at the same time.
        value: its criterion on those rows, the higher the better; 0 where the loss is the criterion.
        margin: differences of ``value`` up to this one are chance.
    """

    parameters: np.ndarray
    threshold: float
    losses: np.ndarray
    objective: float
    lowest_objective: float
    value: float
    margin: float
    setting: Setting

    def beats(self, other: Winner, hosts: Hosts) -> bool:
        """Whether this model is better than ``other``; as in ``Trainer.best``, by loss first."""
        excess, error = _mean_and_error(self.losses - other.losses, hosts)
        if abs(excess) > error:
            return bool(excess < 0)
        if abs(self.value - other.value) <= self.margin:
            return self.objective < other.objective
        return self.value > other.value

    def equals(self, best: Winner, hosts: Hosts) -> bool:
        """Whether this model is as good as ``best`` within one standard error.

        The losses are compared row by row, which tells far smaller differences apart than two means would.
        """
        excess, error = _mean_and_error(self.losses - best.losses, hosts)
        return bool(self.value >= best.value - best.margin and excess <= error)


class Trainer:
    """The state of training: parameters, optimizer, schedule. One call of ``update`` is one step."""

    def __init__(self, hp: LinearLearnerHyperparameters, problem: Problem, seed: int, hosts: Hosts = ONE_HOST) -> None:
        self.hp, self.problem, self.hosts = hp, problem, hosts
        count = model_count(hp, problem.feature_dim, problem.outputs)
        self.settings = settings(hp, count, problem.positive_weights, problem.row_size, problem.sparse)
        count = len(self.settings)
        self.loss = make_loss(hp.loss_name, hp)
        width = count * problem.outputs
        self.parameters = self._initial(width, np.random.default_rng(seed))
        self.gradient = np.empty_like(self.parameters)
        self.decay = np.empty_like(self.parameters[:-1])
        self.optimizer = _optimizer(hp, self.parameters.shape, problem.sparse)
        self.rate = self._per_column("learning_rate")
        self.wd, self.l1 = self._per_column("wd"), self._per_column("l1")
        self.positive_weight = np.array([setting.positive_weight for setting in self.settings], np.float32)
        self.steps = 0
        self.epoch = 0
        self.damping = 1.0
        if hosts.size > 1:
            by_rows = isinstance(self.optimizer, SGD)
            self._alone = LocalSteps(hosts, [self.parameters], by_rows=by_rows)

    def _initial(self, width: int, rng: np.random.Generator) -> np.ndarray:
        """Every model starts at the same point, so that they differ by their settings only.

        It is 0 unless the job states one: a sparse column that no row has keeps the weight that it starts with.
        """
        hp, shape = self.hp, (self.problem.feature_dim, self.problem.outputs)
        if not hp.states("init_method", "init_scale", "init_sigma"):
            start = np.zeros(shape)
        elif hp.init_method == "uniform":
            start = rng.uniform(-hp.init_scale, hp.init_scale, shape)
        else:
            start = rng.normal(0, hp.init_sigma, shape)
        parameters = np.empty((shape[0] + 1, width), np.float32)
        parameters[:-1] = np.tile(start, width // shape[1])
        parameters[-1] = hp.init_bias if hp.use_bias else 0
        return parameters

    def _per_column(self, name: str) -> np.ndarray:
        values = np.array([getattr(setting, name) for setting in self.settings], np.float32)
        return np.repeat(values, self.problem.outputs)

    def update(self, features: ScaledRows, labels: np.ndarray, count: int | None = None) -> np.ndarray:
        """One step on scaled rows (n, d) and scaled labels (n,). Returns the sum of their losses by each model, (m,).

        Of sparse rows only the columns that they have values in take a step. A weight's moments are then those of the
        rows that tell of it: rare words would otherwise go on to move for many steps by the gradient of one row.

        Args:
            features: n >= 0 rows of this host where there are others; sparse on all or on none.
            count: rows of all hosts; None for those of this one.
        """
        return self._step(features, labels, count or len(labels), alone=self.hosts.size == 1)

    def step_alone(self, features: ScaledRows, labels: np.ndarray) -> np.ndarray:
        """``update`` by this host's rows alone, n > 0; the other hosts take it over with ``agree``."""
        columns = np.arange(len(self.parameters))
        if isinstance(features, UnscaledRows) and not isinstance(features.features, np.ndarray):
            columns = np.append(np.unique(features.features.indices), len(columns) - 1)
        self._alone.begin(columns, len(labels))
        return self._step(features, labels, len(labels), alone=True)

    def agree(self, *, stopped: bool) -> Agreed:
        """Give all hosts the same parameters, after steps of their own."""
        taken = self._alone.steps
        agreed = self._alone.exchange(np.zeros(0, np.float32), stopped=stopped)
        self.steps += agreed.steps - taken
        return agreed

    def seconds(self, rows: float, values: float) -> float:
        """Estimated seconds of a step by so many rows with so many values."""
        width = self.parameters.shape[1]
        return _STEP + width * (_SCORE * rows + _PRODUCT * values)

    def _step(self, features: ScaledRows, labels: np.ndarray, count: int, *, alone: bool) -> np.ndarray:
        narrowed = features.narrowed() if isinstance(features, UnscaledRows) else None
        if narrowed is None:
            gradient = self.gradient
            losses = self._gradient(features, labels, count, self.parameters, gradient)
            if not alone:
                (gradient,) = self.hosts.sum(gradient)
            self._descend(self.parameters, gradient, self.optimizer)
            return losses
        rows, columns = narrowed
        columns = np.append(columns, len(self.parameters) - 1)
        parameters = self.parameters[columns]
        gradient = np.empty_like(parameters)
        losses = self._gradient(rows, labels, count, parameters, gradient)
        if not alone:
            columns, gradient = self._of_all_hosts(columns, gradient)
            parameters = self.parameters[columns]
        optimizer = self.optimizer.part(columns)
        self._descend(parameters, gradient, optimizer)
        self.parameters[columns] = parameters
        self.optimizer.put(columns, optimizer)
        return losses

    def _of_all_hosts(self, columns: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns (u,) that occur on any host, in ascending order, and the sum of their gradients (u, m c)."""
        everywhere = self.hosts.gather([columns, gradient])
        together = np.unique(np.concatenate([own for own, _ in everywhere]))
        summed = np.zeros((len(together), gradient.shape[1]), np.float32)
        for own, part in everywhere:
            summed[np.searchsorted(together, own)] += part  # no column occurs twice
        return together, summed

    def _gradient(
        self, features: ScaledRows, labels: np.ndarray, count: int, parameters: np.ndarray, gradient: np.ndarray
    ) -> np.ndarray:
        """Puts the gradient of the mean over ``count`` rows, as far as these tell, into an array like ``parameters``
        (p + 1, m c). Returns the sums of the losses, (m,)."""
        scores = features.scores(parameters[:-1])
        scores += parameters[-1]
        loss, slopes = self.weighted_loss(scores, labels)
        slopes = slopes.reshape(scores.shape)
        slopes /= count
        features.gradient(slopes, gradient[:-1])
        np.sum(slopes, axis=0, out=gradient[-1])
        return loss.sum(axis=0)

    def weighted_loss(self, scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Loss (n, m) and slopes (n, m) or (n, m, c) of scores (n, m c), rows weighted by their class."""
        problem = self.problem
        if problem.outputs > 1:
            classes = labels.astype(np.int64)
            loss, slopes = self.loss(scores.reshape(len(labels), len(self.settings), problem.outputs), classes)
            if problem.class_weights is not None:
                weight = problem.class_weights[classes][:, None]
                loss, slopes = loss * weight, slopes * weight[:, :, None]
            return loss, slopes
        loss, slopes = self.loss(scores, labels[:, None])
        if self.hp.predictor_type == "binary_classifier" and (self.positive_weight != 1).any():
            weight = np.where(labels[:, None] > 0.5, self.positive_weight, np.float32(1))
            loss, slopes = loss * weight, slopes * weight
        return loss, slopes

    def _descend(self, parameters: np.ndarray, gradient: np.ndarray, optimizer: Optimizer) -> None:
        hp = self.hp
        if self.wd.any():
            decay = self.decay[: len(parameters) - 1]
            gradient[:-1] += np.multiply(parameters[:-1], self.wd, out=decay)
            if bias_wd := _or(hp.bias_wd_mult, 0.0):
                gradient[-1] += parameters[-1] * self.wd * np.float32(bias_wd)
        rate = np.maximum(self.rate * np.float32(self._schedule()), np.float32(self._least_rate()))
        bias_before = parameters[-1].copy()
        size = optimizer.step(parameters, gradient, rate)
        moved = parameters[-1] - bias_before
        parameters[-1] = bias_before + moved * np.float32(_or(hp.bias_lr_mult, 1.0)) if hp.use_bias else 0
        if self.l1.any():
            steps = size[:-1] if size.ndim == 2 else size
            threshold(parameters[:-1], steps * self.l1)
        self.steps += 1

    def _schedule(self) -> float:
        """Share of the learning rate at this step.

        The rate falls by ``lr_scheduler_factor`` every ``lr_scheduler_step`` steps. An automatic step is an epoch; an
        automatic factor falls once an epoch, by as much as brings the rate to ``FINAL_RATE`` in the last one, and
        faster after an epoch without improvement, so that training never ends before the rate was small.
        """
        hp = self.hp
        if not hp.use_lr_scheduler:
            return 1.0
        if hp.lr_scheduler_factor != AUTO and hp.lr_scheduler_step != AUTO:
            return float(hp.lr_scheduler_factor ** (self.steps // hp.lr_scheduler_step))
        if hp.lr_scheduler_factor != AUTO:
            return float(hp.lr_scheduler_factor**self.epoch)
        return float(FINAL_RATE ** (self.epoch / max(hp.epochs - 1, 1))) * self.damping

    def _least_rate(self) -> float:
        if not self.hp.use_lr_scheduler or self.hp.lr_scheduler_minimum_lr == AUTO:
            return 0.0
        return min(float(self.hp.lr_scheduler_minimum_lr), float(self.rate.min()))

    def end_epoch(self, improved: bool) -> None:
        """Count an epoch, for the schedule."""
        self.epoch += 1
        if not improved:
            self.damping *= PLATEAU_RATE

    def evaluate(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Loss of each row by each model (n, m), and for binary classification all raw scores (n, m), else (0, m)."""
        losses, kept = [], []
        for part, scores in rows.scores(self.parameters):
            losses.append(self.weighted_loss(scores, rows.scaled_labels[part])[0])
            if self.hp.predictor_type == "binary_classifier":
                kept.append(scores)
        raw = np.concatenate(kept) if kept else np.empty((0, len(self.settings)), np.float32)
        return np.concatenate(losses), raw

    def best(self, rows: Rows, training_losses: np.ndarray) -> Winner:
        """The best model as it stands, by the job's criterion on ``rows``.

        First the loss has to be near the lowest: within one standard error, row by row. Of those models the criterion
        decides, and where it is within half a standard error of the best, the loss in training (m,), on many more rows
        than ``rows``. So neither a lucky threshold nor chance on few rows prefers a model that has not converged.
        """
        losses, scores = self.evaluate(rows)
        objective = np.nan_to_num(mean_and_deviation(losses, self.hosts)[0], nan=np.inf, posinf=np.inf)
        near = _near_lowest(losses, objective, self.hosts)
        value, margin = np.zeros(len(self.settings)), 0.0
        thresholds = np.zeros(len(self.settings), np.float32)
        if self.hp.criterion is not None:
            scores, labels = in_order(self.hosts, np.arange(len(scores)), scores[:, near], rows.labels)
            count = int(_or(self.hp.num_calibration_samples, len(labels)))
            scores, labels = scores[:count], labels[:count]
            value[~near] = -np.inf
            value[near], thresholds[near] = from_leader(self.hosts, lambda: calibrate(scores, labels, self.hp))
            margin = half_standard_error(float(value.max()), counted_rows(labels, self.hp))
        allowed = near & (value >= value.max() - margin)
        index = int(np.where(allowed, np.nan_to_num(training_losses, nan=np.inf), np.inf).argmin())
        columns = slice(index * self.problem.outputs, (index + 1) * self.problem.outputs)
        return Winner(
            parameters=self.parameters[:, columns].copy(),
            threshold=float(thresholds[index]),
            losses=losses[:, index].copy(),
            objective=float(objective[index]),
            lowest_objective=float(objective.min()),
            value=float(value[index]),
            margin=margin,
            setting=self.settings[index],
        )


def _near_lowest(losses: np.ndarray, objective: np.ndarray, hosts: Hosts) -> np.ndarray:
    """Which models' losses (n, m) are within one standard error of the lowest, compared row by row; (m,) bool."""
    excess, error = _mean_and_error(losses - losses[:, [objective.argmin()]], hosts)
    return np.isfinite(objective) & ~(excess > error) | (objective == objective.min())


def _mean_and_error(excess: np.ndarray, hosts: Hosts) -> tuple[np.ndarray, np.ndarray]:
    """The mean over all hosts' rows (n, ...), and its standard error."""
    mean, deviation = mean_and_deviation(excess, hosts)
    return mean, deviation / np.sqrt(total(hosts, len(excess)))


def _or(value: float | str, automatic: float) -> float:
    return automatic if value == AUTO else value  # type: ignore[return-value]


def _optimizer(hp: LinearLearnerHyperparameters, shape: tuple[int, int], sparse: bool) -> Optimizer:
    match optimizer_name(hp, sparse):
        case "sgd":
            return SGD(shape, _or(hp.momentum, 0.0 if sparse else 0.9))
        case "rmsprop":
            return RMSProp(shape)
        case _:
            return Adam(shape, _or(hp.beta_1, 0.9), _or(hp.beta_2, 0.999))
