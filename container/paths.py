"""Every folder and file of SageMaker's contract by name, below one root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The contract's folders below ``base``. Tests and the local runner pass a folder of their own.

    >>> Paths(Path("/opt/ml")).channel("train").as_posix()
    '/opt/ml/input/data/train'
    """

    base: Path = Path("/opt/ml")

    @property
    def config(self) -> Path:
        """The folder of the JSON files below."""
        return self.base / "input" / "config"

    @property
    def hyperparameters(self) -> Path:
        """The job's hyperparameters, a map of strings."""
        return self.config / "hyperparameters.json"

    @property
    def input_data_config(self) -> Path:
        """The job's channels: content types, input modes."""
        return self.config / "inputdataconfig.json"

    @property
    def resource_config(self) -> Path:
        """The job's hosts."""
        return self.config / "resourceconfig.json"

    @property
    def checkpoint_config(self) -> Path:
        """Where checkpoints go, for jobs that keep them."""
        return self.config / "checkpointconfig.json"

    @property
    def columns(self) -> Path:
        """What the columns of the data are called, for the page about the job; ``oba train`` alone has such a file."""
        return self.config / "columns.json"

    @property
    def data(self) -> Path:
        """The folder of channels: a sub-folder for each in File mode, FIFOs ``<channel>_<epoch>`` in Pipe mode."""
        return self.base / "input" / "data"

    def channel(self, name: str) -> Path:
        """The folder of a channel in File mode."""
        return self.data / name

    @property
    def model(self) -> Path:
        """What becomes model.tar.gz after training, and what is served."""
        return self.base / "model"

    @property
    def models(self) -> Path:
        """The folder of models of a multi-model endpoint."""
        return self.base / "models"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints, where a job keeps them and does not say otherwise."""
        return self.base / "checkpoints"

    @property
    def output(self) -> Path:
        """The folder of the failure file and of ``output_data``."""
        return self.base / "output"

    @property
    def output_data(self) -> Path:
        """Extra files for the user; becomes output.tar.gz."""
        return self.output / "data"

    @property
    def failure(self) -> Path:
        """Why the job failed; SageMaker shows its first 1024 characters."""
        return self.output / "failure"
