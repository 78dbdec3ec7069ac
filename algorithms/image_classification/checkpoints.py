"""The state of a job for its checkpoints: network, optimizer, the running epoch, and the epochs kept before it.

The order of images and their augmentation follow from the seed, the epoch and the number of the batch: no random
generator is part of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from algorithms.checkpoints import Checkpoint
from algorithms.common.networks import variables_from_arrays, variables_to_arrays
from algorithms.common.stopping import EarlyStopping
from algorithms.image_classification.keeping import Keeper, Parameters
from algorithms.interface import Job

if TYPE_CHECKING:
    from algorithms.image_classification.fit import Trainer


class Resumer:
    """Offers the state of a job to its checkpoints, and restores that of an earlier run."""

    def __init__(self, job: Job, trainer: Trainer, keeper: Keeper, stopping: EarlyStopping) -> None:
        self._job, self._trainer = job, trainer
        self._keeper, self._stopping = keeper, stopping

    def resume(self) -> tuple[int, bool]:
        """Take up the newest checkpoint; the epoch to go on with, 0 where there is none, and whether all are over."""
        found = self._job.checkpoints.latest()
        if found is None:
            return 0, False
        state, trainer = found.state, self._trainer
        variables_from_arrays(trainer.variables(), found.arrays)
        trainer.batches, trainer.totals = state["batches"], dict(state["totals"])
        if trainer.weights is not None:
            trainer.weights.resume(found.arrays["class_weights"])
        self._keeper.restore(state["best"], [(number, found.kept[_name(number)]) for number in state["kept"]])
        if state["last"] is not None:
            self._keeper.last = dict(found.kept[_name(state["last"] + 1)]), state["last"]
        vars(self._stopping).update(state["stopping"])
        return state["epoch"], state["over"]

    def offer(self, epoch: int, *, epoch_over: bool = False, over: bool = False) -> None:
        """Offer a checkpoint after so many epochs."""
        self._job.checkpoints.offer(lambda: self._checkpoint(epoch, over), epoch_over=epoch_over)

    def _checkpoint(self, epoch: int, over: bool) -> Checkpoint:
        trainer, keeper = self._trainer, self._keeper
        state = {
            "epoch": epoch,
            "over": over,
            "batches": trainer.batches,
            "totals": trainer.totals,
            "best": keeper.best,
            "kept": keeper.kept,
            "last": keeper.last[1] if keeper.last and keeper.newest is None else None,
            "stopping": dataclasses.asdict(self._stopping),
        }
        arrays = variables_to_arrays(trainer.variables())
        if trainer.weights is not None:
            arrays["class_weights"] = trainer.weights.state()
        position = f"epoch {epoch}" + (f" and {trainer.batches} batches" if trainer.batches else "")
        return Checkpoint(position, state, arrays, _Kept(keeper))


def _name(epoch: int) -> str:
    """The name of the group of parameters after an epoch, counted from 1."""
    return f"epoch-{epoch:04d}"


class _Kept(Mapping[str, Parameters]):
    """The parameters that are kept; those of earlier epochs are read from their files when they are asked for."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._names = {_name(number): number for number in keeper.kept}
        if keeper.newest is None and keeper.last is not None:
            self._names[_name(keeper.last[1] + 1)] = keeper.last[1] + 1

    def __getitem__(self, name: str) -> dict[str, np.ndarray]:
        return self._keeper.parameters(self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
