"""Checkpoints of a running job, so that one that was stopped from outside (a spot instance, say) goes on where it was.

In the job's checkpoint folder are the ``.params`` files that will be in the artifact, and one file with all that the
next epoch needs: parameters, the optimizer's variables, and what was best so far. The order of images and their
augmentation follow from the seed and the epoch, so that a job that went on ends as one that was never stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from algorithms.common import mxnet_files
from algorithms.common.networks import to_numpy
from algorithms.errors import ModelError
from algorithms.image_classification import network
from algorithms.image_classification.keeping import EarlyStopping, Keeper
from algorithms.image_classification.model import PREFIX, load_arrays, params_file
from algorithms.interface import Job

STATE_FILE = f"{PREFIX}-state.params"
_OPTIMIZER, _PROGRESS = "aux:optimizer_", "aux:progress"


class Resumer:
    """Saves and restores a job's state after each epoch; does nothing where checkpoints are off."""

    def __init__(self, job: Job, keras_network: Any, keeper: Keeper, stopping: EarlyStopping) -> None:
        self._directory = job.checkpoint_directory
        self._job = job
        self._network = keras_network
        self._keeper, self._stopping = keeper, stopping

    def restore(self) -> int:
        """Take up the state that is there; the epoch to go on with, 0 where there is none that fits this job."""
        if self._directory is None or not (self._directory / STATE_FILE).is_file():
            return 0
        try:
            epoch = self._restore(self._directory)
        except (ModelError, OSError) as error:
            self._job.warning(f"The checkpoint in {self._directory} is passed over: {error}")
            return 0
        self._job.info(f"Training goes on after epoch {epoch - 1}, from the checkpoint in {self._directory}")
        return epoch

    def _restore(self, directory: Path) -> int:
        arrays = load_arrays(directory / STATE_FILE)
        optimizer = self._network.optimizer
        optimizer.build(self._network.trainable_variables)
        stored = []
        for number, variable in enumerate(optimizer.variables):
            array = arrays.get(f"{_OPTIMIZER}{number}")
            if array is None or array.size != np.prod(variable.shape):
                raise ModelError(f"it is of another optimizer than {optimizer.name}")
            stored.append((variable, array.reshape(variable.shape)))
        progress = arrays.get(_PROGRESS, np.zeros(0))
        if len(progress) < 4:
            raise ModelError(f"'{STATE_FILE}' does not say how far training was")
        epoch, best, highest, waited, *kept = progress.tolist()
        models = [(int(number), load_arrays(directory / params_file(int(number)))) for number in kept]
        network.set_parameters(self._network, arrays)
        for variable, array in stored:
            variable.assign(array)
        self._keeper.restore(best, models)
        self._stopping.best, self._stopping.waited = highest, int(waited)
        return int(epoch)

    def save(self, epoch: int) -> None:
        """The state after ``epoch``, counted from 0."""
        if self._directory is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        kept = self._keeper.kept
        newest = self._keeper.newest
        if newest is not None and not (self._directory / newest.checkpoint).exists():
            self._write(newest.checkpoint, dict(newest.arrays))
        progress = [epoch + 1, self._keeper.best, self._stopping.best, self._stopping.waited, *kept]
        state = network.parameters(self._network)
        for number, variable in enumerate(self._network.optimizer.variables):
            state[f"{_OPTIMIZER}{number}"] = np.atleast_1d(to_numpy(variable))
        self._write(STATE_FILE, {**state, _PROGRESS: np.array(progress, np.float64)})
        names = {STATE_FILE, *map(params_file, kept)}
        for path in self._directory.glob(f"{PREFIX}-*.params"):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _write(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """In one step, so that a job that is killed meanwhile leaves what was there before."""
        assert self._directory is not None
        temporary = self._directory / f".{name}"
        mxnet_files.save(temporary, arrays)
        temporary.replace(self._directory / name)
