"""What an algorithm reports while it trains: ``job.report(event)``.

An event says what was measured, and not how a log writes it: that is the matter of the log dialect that the algorithm
names (``Algorithm.log_dialect``; the dialects are in ``container/training/dialects``).

    >>> Measured.of("test", "accuracy", 0.5, maximize=True)
    Measured(scores=(Score(dataset='test', metric='accuracy', value=0.5, maximize=True),), step=None, batch=None)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Score:
    """One value of a metric.

    Attributes
    ----------
    dataset
        ``train``, ``validation`` or ``test``.
    maximize
        more is better.
    """

    dataset: str
    metric: str
    value: float
    maximize: bool = False


@dataclass(frozen=True)
class Measured:
    """What was measured together: at the end of an epoch, a round or a checkpoint, or of the model that is left.

    Attributes
    ----------
    step
        the number of the epoch, round or checkpoint, as the algorithm counts them; None for the final model.
    batch
        the number of the batch within the epoch; None for the whole of it.
    """

    scores: tuple[Score, ...]
    step: int | None = None
    batch: int | None = None

    @classmethod
    def of(
        cls,
        dataset: str,
        metric: str,
        value: float,
        *,
        maximize: bool = False,
        step: int | None = None,
        batch: int | None = None,
    ) -> Measured:
        """A single score."""
        return cls((Score(dataset, metric, float(value), maximize),), step, batch)


@dataclass(frozen=True)
class FinalScore:
    """A score of the final model for its user to see; one that tuning reads is in ``Measured``, too."""

    dataset: str
    metric: str
    value: float


@dataclass(frozen=True)
class Chosen:
    """Which model is left, where it may be that of an earlier step: its scores are those that were measured there.

    Attributes
    ----------
    step
        as in ``Measured``; None where the model is that of no step.
    scores
        those of it that this run of the job did not measure at that step.
    """

    step: int | None
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True)
class StoppingCriterion:
    """The value by which training is stopped early, after an epoch."""

    epoch: int
    name: str
    value: float


@dataclass(frozen=True)
class Progress:
    """So many epochs or rounds are done, of ``total`` where that is known. Closes an epoch."""

    done: int
    total: int | None


@dataclass(frozen=True)
class Throughput:
    """How fast rows were read: in an epoch, or in the last batches of one.

    Attributes
    ----------
    epoch, batch
        the epoch, and the number of the last batch in it; None for a whole epoch.
    scores
        what was measured of the epoch up to this batch.
    """

    rows: int
    seconds: float
    epoch: int | None = None
    batch: int | None = None
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True)
class Duration:
    """How long an epoch, or the time since the last checkpoint, took.

    Attributes
    ----------
    step
        the number of the epoch or checkpoint.
    counts
        how much was done until then, as in ``{"updates": 100}``.
    """

    step: int
    seconds: float
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelValues:
    """Values of one of several models that are trained at once, after an epoch."""

    values: Mapping[str, float]
    epoch: int
    model: int


Event = Measured | FinalScore | Chosen | StoppingCriterion | Progress | Throughput | Duration | ModelValues
