"""Which epochs' parameters are kept as the model."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from algorithms.common import mxnet_files
from algorithms.image_classification.model import ImageModel, load_arrays, params_file
from algorithms.interface import Job

if TYPE_CHECKING:
    from algorithms.image_classification import ImageClassificationHyperparameters

Parameters = dict[str, np.ndarray]


class Earlier:
    """Checkpoints that are part of the artifact beside the last one, as files in a temporary folder.

    The folder exists as long as this object, which belongs to the model.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def __iter__(self) -> Iterator[Path]:
        return iter(sorted(self._folder.iterdir()))

    def add(self, model: ImageModel) -> None:
        """Write the checkpoint of ``model``."""
        mxnet_files.save(self._folder / model.checkpoint, model.arrays)

    def parameters(self, epoch: int) -> Parameters:
        """The parameters after an epoch, counted from 1."""
        return load_arrays(self._folder / params_file(epoch))


class Keeper:
    """Keeps the epoch that is best on the validation channel, or with ``checkpoint_frequency`` every n-th epoch.

    Attributes:
        best: the highest validation accuracy of an epoch that is kept, without ``checkpoint_frequency``.
        kept: numbers of the epochs that are kept, counted from 1.
        newest: the model of the last of them.
        last: parameters of the last epoch, and its number, counted from 0, while none is kept.

    Each epoch that is kept becomes the artifact of the job at once. Earlier ones wait in a temporary folder.
    """

    def __init__(
        self,
        job: Job,
        symbol: str,
        image_shape: tuple[int, int, int],
        values: ImageClassificationHyperparameters,
    ) -> None:
        self._job = job
        self._symbol = symbol
        self._shape = image_shape
        self._batch = values.mini_batch_size
        self._frequency = values.checkpoint_frequency
        self.best = -1.0
        self.newest: ImageModel | None = None
        self.last: tuple[Parameters, int] | None = None
        self.kept: list[int] = []
        self._earlier = Earlier() if self._frequency else None

    @property
    def has_model(self) -> bool:
        """Whether there are parameters for ``model``."""
        return self.newest is not None or self.last is not None

    def offer(self, parameters: Callable[[], Parameters], epoch: int, accuracy: float) -> None:
        """The parameters after ``epoch``, counted from 0."""
        if self._frequency is None:
            if accuracy > self.best:
                self._job.info(f"Storing the best model with validation accuracy: {accuracy:.6f}")
                self.best = accuracy
                self._keep(parameters(), epoch)
        elif (epoch + 1) % self._frequency == 0:
            self._keep(parameters(), epoch)
        elif self.newest is None:
            self.last = parameters(), epoch

    def model(self) -> ImageModel:
        """The model of the last epoch that was kept; if training ended before there was one, of the last complete
        epoch."""
        if self.newest is None:
            assert self.last is not None
            self._keep(*self.last)
        assert self.newest is not None
        return self.newest

    def restore(self, best: float, models: list[tuple[int, Mapping[str, np.ndarray]]]) -> None:
        """Take up what another run has kept: pairs of the epoch, counted from 1, and its parameters."""
        self.best = best
        for epoch, parameters in models:
            self._keep(dict(parameters), epoch - 1, told=False)

    def parameters(self, epoch: int) -> Parameters:
        """The parameters after an epoch, counted from 1, that is kept or is the last."""
        if self.newest is not None and self.newest.epoch == epoch:
            return dict(self.newest.arrays)
        if self.newest is None:
            assert self.last is not None
            return self.last[0]
        assert self._earlier is not None
        return self._earlier.parameters(epoch)

    def _keep(self, parameters: Parameters, epoch: int, *, told: bool = True) -> None:
        if self._earlier is None:
            self.kept.clear()
        elif self.newest is not None:
            self._earlier.add(self.newest)
        self.kept.append(epoch + 1)
        self.newest = ImageModel(self._symbol, parameters, self._shape, epoch + 1, self._batch, self._earlier or ())
        self._job.save_intermediate(self.newest, self.newest.checkpoint if told else None)
