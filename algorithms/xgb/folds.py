"""Cross-validation: a booster for each fold, and what they predict for the rows they did not see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xgboost as xgb

from algorithms.common.randomness import draws
from algorithms.errors import TrainingDataError
from algorithms.events import Progress
from algorithms.interface import Job
from algorithms.xgb.boost import boost
from algorithms.xgb.data import group_starts
from algorithms.xgb.model import XGBModel, majority
from algorithms.xgb.monitor import Scores, measured
from algorithms.xgb.outputs import predicted_classes
from algorithms.xgb.parameters import XGBoostHyperparameters
from recordio.batches import Batch

PREDICTIONS = "predictions.csv"


def cross_validate(hyperparameters: XGBoostHyperparameters, rows: Batch, job: Job) -> list[xgb.Booster]:
    """``_kfold`` times ``_num_cv_round`` boosters; predictions for held-out rows go to the output folder."""
    folds, repetitions = hyperparameters.kfold or 0, hyperparameters.num_cv_round
    job.info(f"Run {repetitions}-round of {folds}-fold cross validation with {len(rows)} rows")
    boosters: list[xgb.Booster] = []
    scores: list[Scores] = []
    recorder = Recorder(hyperparameters.target, len(rows), repetitions)
    for repetition in range(repetitions):
        assigned = assign(rows, hyperparameters, folds, seed=(hyperparameters.seed or 0, repetition))
        for fold in range(folds):
            job.info(f"Train cross validation fold {fold + 1}")
            held = assigned == fold
            checkpoints = job.checkpoint_directory
            boosted = boost(
                hyperparameters,
                rows.taken(np.flatnonzero(~held)),
                validation := rows.taken(np.flatnonzero(held)),
                job,
                checkpoint_directory=None if checkpoints is None else checkpoints / f"model-{len(boosters)}",
                beside=tuple(boosters),
            )
            boosters.append(boosted.booster.reset())  # there will be many, each with what it keeps of the rows
            scores.append(boosted.scores)
            if boosted.stopped:
                return boosters
            recorder.record(repetition, held, boosted.booster, validation)
        job.info(f"The metrics of round {repetition + 1} cross validation")
        _report(hyperparameters, scores[-folds:], job)
    if repetitions > 1:
        job.info(f"The overall metrics of {repetitions}-round cross validation")
        _report(hyperparameters, scores, job)
    if job.output_directory is not None:
        assert rows.labels is not None
        job.info(f"Storing predictions on validation set(s) in {job.output_directory / PREDICTIONS}")
        recorder.save(job.output_directory / PREDICTIONS, rows.labels.ravel())
    return boosters


def _report(hyperparameters: XGBoostHyperparameters, scores: Sequence[Scores], job: Job) -> None:
    """Report the means over the folds as one more round. A fold that had ended before a restart has no scores."""
    known = [score for score in scores if score]
    if known:
        means = {name: float(np.mean([score[name] for score in known])) for name in known[0]}
        job.report(measured(hyperparameters.num_round, means))
        job.report(Progress(hyperparameters.num_round + 1, None))


def assign(rows: Batch, hyperparameters: XGBoostHyperparameters, folds: int, seed: tuple[int, int]) -> np.ndarray:
    """A fold for each row, shape (n,): classes, or whole queries, are dealt out evenly in random order.

    Raises:
        TrainingDataError: there are fewer rows, or queries, than folds.
    """
    assert rows.labels is not None
    generator = draws("folds", *(value % 2**32 for value in seed))
    if rows.groups is not None and hyperparameters.target.startswith("rank:"):
        starts = group_starts(rows.groups)
        sizes = np.diff(np.append(starts, len(rows)))
        return np.repeat(_dealt(np.zeros(len(starts)), folds, generator, "queries"), sizes)
    stratified = hyperparameters.target.startswith(("binary:", "multi:"))
    return _dealt(rows.labels.ravel() if stratified else np.zeros(len(rows)), folds, generator, "rows")


def _dealt(kinds: np.ndarray, folds: int, generator: np.random.Generator, what: str) -> np.ndarray:
    """A fold for each item: in random order within each kind, dealt out like cards, so that the sizes of the folds
    differ by one at most, and so do the numbers of items of each kind."""
    if len(kinds) < folds:
        raise TrainingDataError(f"_kfold is {folds}: there are {len(kinds)} {what}, too few for {folds} folds")
    shuffled = generator.permutation(len(kinds))
    order = shuffled[np.argsort(kinds[shuffled], kind="stable")]
    assigned = np.empty(len(kinds), np.int64)
    assigned[order] = np.arange(len(kinds)) % folds
    return assigned


class Recorder:
    """For every repetition the predictions of each row by the booster that was trained without it."""

    def __init__(self, objective: str, rows: int, repetitions: int) -> None:
        self._objective = objective
        self._classifies = objective.startswith(("binary:", "multi:"))
        self._values = np.zeros((repetitions, rows))  # class for classification, else the prediction
        self._probabilities = np.zeros((repetitions, rows))

    def record(self, repetition: int, held: np.ndarray, booster: xgb.Booster, rows: Batch) -> None:
        """Predict ``rows``, those for which ``held``, (all rows,), is true, by the booster that did not see them."""
        predictions = XGBModel([booster]).predict(rows)["score"]
        if not self._classifies:
            self._values[repetition, held] = predictions
            return
        self._values[repetition, held] = predicted_classes(self._objective, predictions)
        self._probabilities[repetition, held] = predictions.max(axis=1) if predictions.ndim == 2 else predictions

    def save(self, path: Path, labels: np.ndarray) -> None:
        """Rows of label and prediction; for classes of label, probability or score of the class, and class.

        Repetitions are averaged; of classes the most frequent is taken.
        """
        if self._classifies:
            columns = [labels, self._probabilities.mean(axis=0), majority(self._values)]
        else:
            columns = [labels, self._values.mean(axis=0)]
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(path, np.stack(columns, axis=1), delimiter=",", fmt="%f")
