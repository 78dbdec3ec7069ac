"""The state of training by mini-batches, and its checkpoints. Exact training is too short for any."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from algorithms.checkpoints import Checkpoint, rows_from_arrays, rows_to_arrays
from algorithms.common.stopping import EarlyStopping
from algorithms.linear_learner.trainer import Trainer, Winner
from algorithms.linear_learner.validation import Kept
from recordio.batches import Batch

_PLACE = ("size", "epoch", "steps", "seen", "over", "period", "step")
_NUMBERS = ("threshold", "objective", "lowest_objective", "value", "margin")


@dataclass
class Run:
    """The state of training.

    Attributes:
        size: rows of a step on this host in the running epoch.
        losses: (m,), the sum of each model's losses on this host's rows of the running epoch.
        epoch: epochs that are over.
        steps, seen: steps of the running epoch, and their rows.
        over: whether training has ended.
        period: steps between exchanges with other hosts; 1 if all steps are taken together.
        step: estimated seconds of a step.
        best, winner: of the epochs so far; see ``fit``.
    """

    trainer: Trainer
    kept: Kept
    stopping: EarlyStopping
    size: int
    losses: np.ndarray
    epoch: int = 0
    steps: int = 0
    seen: int = 0
    period: int = 1
    step: float = 0.0
    best: Winner | None = None
    winner: Winner | None = None
    over: bool = False


def to_checkpoint(run: Run) -> Checkpoint:
    """Parameters, optimizer and schedule, the best models so far, and from the second epoch on the rows that were kept
    of the first. Within the first they are collected again."""
    trainer, stopping = run.trainer, run.stopping
    state = {
        **{name: getattr(run, name) for name in _PLACE},
        "trainer": {name: getattr(trainer, name) for name in ("steps", "epoch", "damping")},
        "time": trainer.optimizer.time,
        "stopping": dataclasses.asdict(stopping),
    }
    arrays = {"losses": run.losses, **parameters_of(trainer)}
    for name, winner in (("best", run.best), ("winner", run.winner)):
        if winner is not None:
            state[name] = {**{item: getattr(winner, item) for item in _NUMBERS}, "setting": _setting(trainer, winner)}
            arrays |= {f"{name}.parameters": winner.parameters, f"{name}.losses": winner.losses}
    kept = {} if run.best is None else {"rows": batch_to_arrays(run.kept.batch())}
    position = f"epoch {run.epoch}" + (f" and {run.steps} steps" if run.steps else "")
    return Checkpoint(position, state, arrays, kept)


def resume(run: Run, found: Checkpoint) -> None:
    """Restore ``run`` from a checkpoint."""
    state, trainer = found.state, run.trainer
    for name in _PLACE:
        setattr(run, name, state[name])
    for name, value in state["trainer"].items():
        setattr(trainer, name, value)
    trainer.optimizer.time = state["time"]
    vars(run.stopping).update(state["stopping"])
    for name, array in parameters_of(trainer).items():
        array[...] = found.arrays[name]
    run.losses = found.arrays["losses"]
    if run.epoch:
        run.best, run.winner = (_winner(name, found, trainer) for name in ("best", "winner"))
        run.kept.rows, run.kept.full = [batch_from_arrays(found.kept["rows"])], True


def parameters_of(trainer: Trainer) -> Mapping[str, np.ndarray]:
    """The arrays that steps change, in place."""
    moments: Any = trainer.optimizer
    return {"parameters": trainer.parameters, **{name: getattr(moments, name) for name in moments.arrays}}


def _setting(trainer: Trainer, winner: Winner) -> int:
    return trainer.settings.index(winner.setting)


def _winner(name: str, found: Checkpoint, trainer: Trainer) -> Winner:
    numbers = dict(found.state[name])
    setting = trainer.settings[numbers.pop("setting")]
    parameters, losses = found.arrays[f"{name}.parameters"], found.arrays[f"{name}.losses"]
    return Winner(**numbers, parameters=parameters, losses=losses, setting=setting)


def batch_to_arrays(batch: Batch) -> dict[str, np.ndarray]:
    """Rows with their labels and weights."""
    arrays = rows_to_arrays("features", batch.features)
    more = {"labels": batch.labels, "weights": batch.weights}
    return arrays | {name: array for name, array in more.items() if array is not None}


def batch_from_arrays(arrays: Mapping[str, np.ndarray]) -> Batch:
    """What ``batch_to_arrays`` took apart."""
    return Batch(rows_from_arrays("features", arrays), arrays.get("labels"), arrays.get("weights"))
