"""Training on rows as they come, without an end (``partial_fit``): a model can be made at any time.

The first rows are kept, and the model is the one that a job makes of all of them: from few rows steps learn little, and
from rows in the order of their classes the wrong things. Once there are more rows, steps on each batch start from it.

Models of several settings are stepped side by side, as in a job by mini-batches, and since rows are scored before they
are learned from, the loss so far tells the best of them without rows of their own (Blum, Kalai and Langford, "Beating
the hold-out: bounds for k-fold and progressive cross-validation", COLT 1999). Of each model the mean of its steps is
kept, later ones counting more, which is nearer to the minimum than the last step (Shamir and Zhang, "Stochastic
gradient descent for non-smooth optimization", ICML 2013).

The first rows tell the scales of features and labels, which are learned anew whenever a quarter more of them is there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from algorithms.arrays import ArrayStream, QuietJob
from algorithms.checkpoints import Checkpoint
from algorithms.common.hosts import ONE_HOST
from algorithms.hyperparameters import AUTO
from algorithms.linear_learner.checkpoints import batch_from_arrays, batch_to_arrays, parameters_of
from algorithms.linear_learner.design import as_stored
from algorithms.linear_learner.fit import are_thin, scaled_batch, stored_values, train
from algorithms.linear_learner.model import BINARY, LinearModel
from algorithms.linear_learner.preprocessing import Problem, check_labels, one_label, study
from algorithms.linear_learner.results import final_model, unscaled
from algorithms.linear_learner.scaling import ScaledRows, UnscaledRows
from algorithms.linear_learner.trainer import Trainer
from recordio.batches import Batch, concatenate

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

EXACT_ROWS, EXACT_CELLS = 2000, 1 << 22
"""Most rows, and values of rows times outputs, for which a new model is made of all rows, in fractions of a second."""
STEP_ROWS = 8
"""Rows of a step if ``mini_batch_size`` is not stated: few, since a row may be seen only once."""
SAMPLE_BYTES = 1 << 24
"""Of the first rows, from which scales are learned; ``num_point_for_scaler`` rows at the most."""
GROWTH = 1.25
"""Scales are learned again once there are so many times the rows of the last time."""
OTHER_LABELS = 2
"""From so many times the scale of the labels on, gradients are others than those that an optimizer remembers."""
STEADY_STEPS = 500
"""Steps after which, about, the learning rate falls with one over the square root of their number."""
LATE_STEPS, LATE_ROWS = 3, 2
"""In the mean of steps, and in that of losses, what came at time t counts t to the power of one less than this: of
steps the last tenth counts 27 %, of rows 19 %."""
MEAN_CELLS = 1 << 17
"""Most parameters for which each step is added to their mean."""


class StreamTrainer(Trainer):
    """A trainer for an unknown number of steps: the learning rate falls with their number."""

    def _schedule(self) -> float:
        """Share of the learning rate at this step; what a job states of a schedule in steps holds."""
        hp = self.hp
        if not hp.use_lr_scheduler or (hp.lr_scheduler_factor != AUTO and hp.lr_scheduler_step != AUTO):
            return super()._schedule()
        return float((1 + self.steps / STEADY_STEPS) ** -0.5)


class Learning:
    """The state of training.

    Attributes:
        rows: how many were seen.
    """

    def __init__(self, hp: LinearLearnerHyperparameters, seed: int, start: LinearModel | None = None) -> None:
        """
        Args:
            start: the model to go on from.
        """
        self.hp, self.seed, self.start = hp, seed, start
        self.rows = 0
        self._sample: list[Batch] = []
        self._sampled = self._sample_bytes = self._studied = 0
        self._trainer: StreamTrainer | None = None
        self._mean = np.empty((0, 0), np.float32)
        self._losses = np.empty(0)

    def see(self, batch: Batch) -> None:
        """Step on these rows, n >= 1, which must not be changed afterwards.

        Raises:
            TrainingDataError: labels are not those of the predictor type.
            ValueError: no model's losses are finite.
        """
        check_labels(one_label(batch), self.hp)
        batch = Batch(as_stored(batch.features, ONE_HOST), batch.labels)
        size = self.hp.mini_batch_size if self.hp.states("mini_batch_size") else STEP_ROWS
        for start in range(0, len(batch), size):
            part = batch.rows(start, start + size)
            if self._trainer is None and self.start is None:
                if self._is_exact(part):
                    self._keep(part)
                    self.rows += len(part)
                    continue
                self._go_on_by_steps(size)
            self._learn(part)
        if self._trainer is not None and not np.isfinite(self._losses).any():
            raise ValueError(
                "the losses are not finite: scale the features, or choose a smaller learning_rate. What was learned is "
                "lost, and partial_fit starts anew"
            )

    def _is_exact(self, part: Batch) -> bool:
        """Whether a model is made of all rows anew, after these too."""
        cells = (self._sample_bytes + sum(array.nbytes for array in part.arrays())) / 4 * self.hp.outputs
        return not self.rows or (self.rows + len(part) <= EXACT_ROWS and cells <= EXACT_CELLS)

    def _go_on_by_steps(self, size: int) -> None:
        """From the model of all rows so far. If that has no row of some class, as where rows are sorted, it is too sure
        that there is none: then the rows are stepped on, ``size`` at a time."""
        kept, classes = concatenate(self._sample), 2 if self.hp.predictor_type == BINARY else self.hp.outputs
        if len(np.unique(one_label(kept))) >= classes:
            self.start = self.model()
            self._study(self._sampled).steps = self.rows // STEP_ROWS
            return
        self._sample, self._sampled, self._sample_bytes, self.rows = [], 0, 0, 0
        for start in range(0, len(kept), size):
            self._learn(kept.rows(start, start + size))

    def _keep(self, part: Batch) -> None:
        """Add rows to those that scales are learned from."""
        self._sample.append(part)
        self._sampled += len(part)
        self._sample_bytes += sum(array.nbytes for array in part.arrays())

    def _scaled_for(self, part: Batch) -> StreamTrainer:
        """What steps, after these rows were added to those that scales are learned from."""
        full = self._sampled >= self.hp.num_point_for_scaler or self._sample_bytes >= SAMPLE_BYTES
        if self._trainer is not None and full:
            return self._trainer
        self._keep(part)
        if self._trainer is not None and self._sampled < GROWTH * self._studied:
            return self._trainer
        return self._study(self._sampled)

    def _study(self, rows: int) -> StreamTrainer:
        """Learn scales from the first ``rows`` rows."""
        self._sample = [concatenate(self._sample)]
        trainer = StreamTrainer(self.hp, study(self._sample[0].rows(0, rows), self.hp), self.seed)
        start = self._start(trainer)
        if self.start is not None and len(trainer.settings) > 1:
            trainer.rate[-trainer.problem.outputs :] = 0  # one stays: the others have to be better than it
        if self._trainer is None:
            trainer.parameters += start
            self._mean = trainer.parameters.copy()
            self._losses = np.zeros(len(trainer.settings))
        else:
            # What was learned stays as it is in units of the features' deviations: of a column that hardly varied so
            # far, a weight for its values as they are would be far too large. What labels it gives stays, too.
            share = np.float32(self._trainer.problem.label_scaler.scale / trainer.problem.label_scaler.scale)
            earlier = self._start(self._trainer)
            trainer.parameters[:] = start + share * (self._trainer.parameters - earlier)
            self._mean = start + share * (self._mean - earlier)
            trainer.steps = self._trainer.steps
            known = type(trainer.optimizer) is type(self._trainer.optimizer)  # else rows became sparse, or dense
            if known and 1 / OTHER_LABELS < share < OTHER_LABELS:
                trainer.optimizer = self._trainer.optimizer
        self._trainer, self._studied = trainer, rows
        return trainer

    def _start(self, trainer: StreamTrainer) -> np.ndarray:
        """(d + 1, m c) parameters of the model to go on from, or zeros."""
        if self.start is None:
            return np.zeros_like(trainer.parameters)
        return np.tile(_parameters(self.start, trainer.problem), len(trainer.settings))

    def _learn(self, part: Batch) -> None:
        """A step by these rows."""
        trainer = self._scaled_for(part)
        with np.errstate(over="ignore", invalid="ignore"):  # losses that are not finite are told of in ``see``
            self._step(trainer, part)

    def _step(self, trainer: StreamTrainer, part: Batch) -> None:
        thin = trainer.problem.sparse and are_thin(stored_values(part), len(part) * part.feature_dim)
        rows, labels = scaled_batch(part, trainer, thin=thin)
        of_means = None if self.start is None else self._losses_of_means(trainer, rows, labels)
        of_steps = trainer.update(rows, labels)
        losses = (of_steps if of_means is None else of_means) / len(part)
        self.rows += len(part)
        share = LATE_ROWS * len(part) / (self.rows + (LATE_ROWS - 1) * len(part))
        self._losses += share * (losses - self._losses)
        every = 1 + trainer.parameters.size // MEAN_CELLS
        if trainer.steps % every == 0:
            share = LATE_STEPS / (trainer.steps // every + LATE_STEPS - 1)
            self._mean += np.float32(share) * (trainer.parameters - self._mean)

    def _losses_of_means(self, trainer: StreamTrainer, rows: ScaledRows, labels: np.ndarray) -> np.ndarray:
        """(m,) the sums of the losses of what would be kept of each model now. Beside a model that stays as it is
        their last steps seem worse than they are."""
        means = self._mean[:-1]
        if isinstance(rows, UnscaledRows) and (narrowed := rows.narrowed()) is not None:
            rows, means = narrowed[0], means[narrowed[1]]
        scores = rows.scores(means) + self._mean[-1]
        return np.asarray(trainer.weighted_loss(scores, labels)[0].sum(axis=0))

    def model(self) -> LinearModel:
        """The best model so far.

        Raises:
            TrainingDataError: see ``results.unscaled``.
        """
        if self._trainer is None:
            job = QuietJob(self.seed, logging.getLogger(__name__))
            trained = train(self.hp, ArrayStream(concatenate(self._sample)), None, job)
            return final_model(trained, self.hp)
        problem = self._trainer.problem
        best = int(np.nan_to_num(self._losses, nan=np.inf).argmin())
        parameters = self._mean[:, best * problem.outputs : (best + 1) * problem.outputs]
        return unscaled(parameters, problem, 0.0, self.hp)

    def to_checkpoint(self) -> Checkpoint:
        """All of the state, after rows were seen."""
        state = {"rows": self.rows, "studied": self._studied, "sampled": self._sampled, "bytes": self._sample_bytes}
        arrays: dict[str, np.ndarray] = {}
        kept: dict[str, dict[str, np.ndarray]] = {"sample": batch_to_arrays(concatenate(self._sample))}
        if self._trainer is not None:
            state |= {"steps": self._trainer.steps, "time": self._trainer.optimizer.time}
            arrays |= {"mean": self._mean, "losses": self._losses, **parameters_of(self._trainer)}
        if self.start is not None:
            kept["start"] = {"weight": self.start.weight, "bias": self.start.bias}
        return Checkpoint(f"{self.rows} rows", state, arrays, kept)

    def resume(self, found: Checkpoint) -> None:
        """Give a new state what the checkpoint has."""
        state, start = found.state, found.kept.get("start")
        self.start = None
        if start is not None:
            self.start = LinearModel(start["weight"], start["bias"], self.hp.predictor_type, self.hp.loss_name)
        self._sample = [batch_from_arrays(found.kept["sample"])]
        self.rows, self._sampled, self._sample_bytes = state["rows"], state["sampled"], state["bytes"]
        if "steps" not in state:
            return
        trainer = self._study(state["studied"])
        trainer.steps, trainer.optimizer.time = state["steps"], state["time"]
        for name, array in parameters_of(trainer).items():
            array[...] = found.arrays[name]
        self._mean, self._losses = found.arrays["mean"], found.arrays["losses"]


def _parameters(model: LinearModel, problem: Problem) -> np.ndarray:
    """(d + 1, c) for scaled features and labels."""
    labels = problem.label_scaler
    weight = model.weight.T.astype(np.float64) / labels.scale
    bias = (model.bias.astype(np.float64) - labels.shift) / labels.scale + problem.scaler.shift @ weight
    return np.vstack([weight * problem.scaler.scale[:, None], bias]).astype(np.float32)
