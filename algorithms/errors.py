"""What can be wrong above the bytes of the data, as a tree.

AlgorithmInputError             the user can act on it
├── HyperparameterError         one or more hyperparameters are missing, unknown or out of range
├── ChannelError                a channel is missing, unknown, empty or configured in an unsupported way
├── TrainingDataError           the data was read, but this algorithm cannot be trained on it
├── ModelError                  a model folder is empty, corrupt or of another algorithm
└── ExportError                 a model cannot be written in another program's format
PredictionError                 a request was read, but this model cannot answer it (wrong width, say)
TrainingStopped                 a stop was asked for before there was a model; not an error of anybody
"""

from collections.abc import Sequence


class AlgorithmInputError(ValueError):
    """The user's input cannot be used; the message says what to change."""


class HyperparameterError(AlgorithmInputError):
    """One or more hyperparameters cannot be used. ``problems`` has one sentence for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class ChannelError(AlgorithmInputError):
    """A channel is missing, unknown, empty, or configured in a way that is not supported."""


class TrainingDataError(AlgorithmInputError):
    """The rows were read, but the algorithm cannot be trained on them."""


class ModelError(AlgorithmInputError):
    """A model folder is empty, corrupt, or holds a model of another algorithm."""


class ExportError(AlgorithmInputError):
    """A model cannot be written in another program's format; the message says why."""


class PredictionError(ValueError):
    """A request was read, but the model cannot answer it."""


class TrainingStopped(Exception):  # noqa: N818 - not an error
    """Training was asked to stop before it had a model to save."""
