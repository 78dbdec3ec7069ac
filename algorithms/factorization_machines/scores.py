"""Scores that are summed batch by batch, so that no row needs to be kept."""

from __future__ import annotations

import numpy as np
from scipy.special import entr, expit

from algorithms.events import Score
from algorithms.interface import Hosts


class Sums:
    """Sums over rows for the metrics of regression or of two-class classification at a threshold of 0.5."""

    def __init__(self, binary: bool) -> None:
        self.binary = binary
        self.rows = 0
        self.squared = self.absolute = self.cross_entropy = 0.0
        self.label_sum = self.label_squares = 0.0
        self.right = self.hits = self.claimed = self.positives = 0

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Add rows: scores before the sigmoid and labels, both (n,)."""
        self.rows += len(labels)
        known = labels.astype(np.float64)
        self.label_sum += float(known.sum())
        self.label_squares += float(known @ known)
        if self.binary:
            positive, predicted = labels > 0.5, expit(scores) >= 0.5
            self.cross_entropy += float(np.sum(np.logaddexp(0, scores) - labels * scores, dtype=np.float64))
            self.right += int(np.sum(positive == predicted))
            self.hits += int(np.sum(positive & predicted))
            self.claimed += int(predicted.sum())
            self.positives += int(positive.sum())
        else:
            error = scores.astype(np.float64) - labels  # squares of float32 may be beyond it
            self.squared += float(error @ error)
            self.absolute += float(np.abs(error).sum())

    def shared(self, hosts: Hosts) -> None:
        """Take in the rows of all hosts."""
        names = tuple(name for name in vars(self) if name != "binary")
        for name, total in zip(
            names, hosts.sum(np.array([getattr(self, name) for name in names], float))[0], strict=True
        ):
            setattr(self, name, type(getattr(self, name))(total))

    @property
    def finite(self) -> bool:
        """Whether all scores so far were finite."""
        return bool(np.isfinite(self.squared + self.cross_entropy))

    @property
    def loss(self) -> float:
        """The mean squared error, or cross entropy."""
        return (self.cross_entropy if self.binary else self.squared) / self.rows

    @property
    def of_constant(self) -> float:
        """The least loss of scores that are all the same."""
        mean = self.label_sum / self.rows
        if self.binary:
            return float(entr(mean) + entr(1 - mean))
        return max(self.label_squares / self.rows - mean * mean, 0.0)

    @property
    def of_nothing(self) -> float:
        """The loss of scores of 0, at which training starts on labels as they are."""
        return float(np.log(2)) if self.binary else self.label_squares / self.rows

    def scores(self, dataset: str) -> tuple[Score, ...]:
        """Each metric, in the order of SageMaker's log."""
        if self.binary:
            f_1 = 2 * self.hits / max(self.claimed + self.positives, 1)
            return (
                Score(dataset, "binary_classification_accuracy", self.right / self.rows, maximize=True),
                Score(dataset, "binary_classification_cross_entropy", self.cross_entropy / self.rows),
                Score(dataset, "binary_f_1.000", f_1, maximize=True),
            )
        mse = self.squared / self.rows
        return (
            Score(dataset, "rmse", mse**0.5),
            Score(dataset, "mse", mse),
            Score(dataset, "absolute_loss", self.absolute / self.rows),
        )
