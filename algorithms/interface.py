"""The one interface of all algorithms: all that the author of a new one must know, and so in one file, long as it is.

An algorithm declares its hyperparameters, channels, output columns and metrics as data, and has two functions:
``fit`` turns streams of batches into a model, ``load`` turns a folder into a model. A model predicts and saves.
Nothing here or below knows of HTTP, of /opt/ml, of SageMaker's JSON files or of environment variables.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np

from algorithms.checkpoints import Checkpoints
from algorithms.errors import PredictionError
from algorithms.events import Event
from algorithms.figures import Figure, Sample
from algorithms.hyperparameters import Hyperparameters
from recordio import content_type
from recordio.batches import Batch
from recordio.shares import Share

# Formats by their standard media type. Other spellings are mapped to these by recordio.content_type.
CSV = content_type.CSV
LIBSVM = content_type.LIBSVM
PARQUET = content_type.PARQUET
RECORDIO = content_type.RECORDIO
JSON = content_type.JSON
JSON_LINES = content_type.JSON_LINES
MODEL = "application/x-sagemaker-model"  # the artifact of an earlier job, to continue from
PLAIN_TEXT = "text/plain"
IMAGE = "application/x-image"  # any kind of image file
JPEG = content_type.JPEG
PNG = "image/png"
IMAGE_RECORDIO = "application/x-recordio"  # MXNet's records of images with their labels

# Input modes.
FILE = "File"
FAST_FILE = "FastFile"
PIPE = "Pipe"

# What ``fit`` is given of a channel.
ROWS = "rows"  # a Stream: batches of rows, decoded by recordio's readers
RECORDS = "records"  # a RecordStream: bytes that the algorithm decodes itself, with recordio's functions
FILES = "files"  # the Path of the channel's folder

# How an algorithm uses the labels of a channel.
LABELS_NONE = "none"  # there are none, and any that are found are left out
LABELS_REQUIRED = "required"

# What a configuration's small data must be.
NUMBERS = "numbers"  # rows of numbers of either sign, many of them 0
COUNTS = "counts"  # rows that say how often each word occurs
IMAGES = "images"
"""Images, each with the number of its class. A model is asked Items, each the bytes of an image's file, or its pixels,
(height, width, channels) uint8."""
TAGGED_IMAGES = "tagged images"  # images, each with a 0 or 1 for every class
TEXTS = "texts"  # what a model of TOKENS is asked: Items, each a text or its tokens' numbers, (n,) integers
TOKENS = "tokens"  # pairs of sequences of token ids, and the two vocabularies


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One input channel.

    Attributes
    ----------
    accepts
        media types that can be read.
    gives
        what ``fit`` gets: ``ROWS``, ``RECORDS`` or ``FILES``. What follows is of use to ``ROWS`` alone.
    modes
        input modes; a pipe can be read only once an epoch, from front to back.
    labels
        ``LABELS_NONE`` or ``LABELS_REQUIRED``.
    default_type
        the media type where the job states none.
    missing_values
        an empty CSV field or Parquet null becomes NaN; elsewhere it is an error.
    non_finite
        NaN and infinity are let through to the algorithm; elsewhere they are an error.
    """

    name: str
    help: str
    required: bool = False
    accepts: tuple[str, ...]
    gives: str = ROWS
    modes: tuple[str, ...] = (FILE, FAST_FILE, PIPE)
    labels: str = LABELS_NONE
    default_type: str = RECORDIO
    missing_values: bool = False
    non_finite: bool = False


@dataclass(frozen=True)
class Column:
    """One named output of a model. ``predict`` returns arrays of floats, or of integers for class numbers that JSON
    answers write without a decimal point, of shape (n,) + shape.

    ``shape`` is () for one number a row (or, where ``help`` says so, one for each class); None stands for a length
    known only when the model is. ``kind`` is ``numbers``, or ``texts``.
    """

    name: str
    help: str
    shape: tuple[int | None, ...] = ()
    kind: str = "numbers"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric that tuning jobs or dashboards read from the log.

    Attributes
    ----------
    name
        as in ``test:msd``.
    regex
        SageMaker's pattern for it; one group, the value.
    maximize
        True for scores, False for losses, None for what is only watched.
    objective
        it may be the objective of a tuning job.
    """

    name: str
    regex: str
    maximize: bool | None = None
    objective: bool = False


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A job that trains in about a second on 61 small rows, images or pairs, one for each predictor type and mode.

    The contract tests, the fuzz suite and ``make image-test`` run all configurations of an algorithm; the data is made
    by ``tests/algorithms/samples.py``.

    Attributes
    ----------
    name
        unique within the algorithm; a part of the tests' ids.
    hyperparameters
        values by their name on the wire, as a job states them. ``feature_dim``, where an algorithm requires it, is the
        width of the data; elsewhere rows have 4 features.
    data
        ``NUMBERS``, ``COUNTS``, ``IMAGES``, ``TAGGED_IMAGES`` or ``TOKENS``.
    classes
        labels are the numbers of so many classes, from 0; None where they are numbers above 0, or where the algorithm
        reads none.
    """

    name: str
    hyperparameters: Mapping[str, str]
    data: str = NUMBERS
    classes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How a model is asked and answers.

    Attributes
    ----------
    accepts
        media types of requests.
    answers
        media types of responses.
    takes
        what ``Model.predict`` is given: a Batch of ``ROWS``, or Items that are ``IMAGES`` or ``TEXTS``.
    dialect
        the family of habits in which SageMaker's containers differ from each other; ``container`` knows them.
    json_key
        the name of the list in a JSON answer.
    missing_values
        an empty CSV field in a request is a missing value (NaN); elsewhere it is an error.
    outputs
        names that a client may select instead of the columns.
    multi_model
        SageMaker's multi-model endpoints take this algorithm.
    memory
        bytes of memory that a model may need while it is loaded, for each byte of its files; measured.
    """

    accepts: tuple[str, ...]
    answers: tuple[str, ...] = (JSON, JSON_LINES, RECORDIO, CSV)
    takes: str = ROWS
    dialect: str = "sagemaker"
    json_key: str = "predictions"
    missing_values: bool = False
    outputs: tuple[str, ...] = ()
    multi_model: bool = False
    memory: int = 3


NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Items:
    """Things to predict from that are no rows of features.

    Attributes
    ----------
    values
        of the kind that ``Serving.takes`` names.
    parameters
        what each of them asks for besides, as a request's own parameters do; empty where none asks.
    """

    values: Sequence[Any]
    parameters: Sequence[Mapping[str, str]] = ()

    def __len__(self) -> int:
        return len(self.values)


class Stream(Protocol):
    """A channel's rows, to be read again and again: each iteration is one epoch.

    In Pipe mode each epoch is a new FIFO, so nothing may be rewound, counted ahead, or iterated more often than the
    ``epochs`` hyperparameter says. Leaving the loop early closes the epoch.
    """

    @property
    def repeats(self) -> bool:
        """It may be iterated more often than the job says, for it is made of files: False in Pipe mode."""
        ...

    def batches(self, size: int | None = None) -> Generator[Batch]:
        """One epoch in batches of ``size`` rows (the last may be shorter), or as they come where it is None.

        Raises
        ------
        recordio.errors.DataError
            the data is not what it claims to be.
        """
        ...


class RecordStream(Protocol):
    """A channel of records that are no rows: images, sequences of tokens.

    Attributes
    ----------
    media_type
        how the records are written; one of those that the channel accepts.
    parameters
        those of the content type, as in ``label-format=class-id``; names in lower case.
    folder
        the channel's files, which may be read in any order and any number of times; None in Pipe mode.
    wrapped
        the job asked for each object of the channel in a record of its own (``RecordWrapperType``).
    share
        the part of the channel that this host takes, where the algorithm reads ``folder`` by itself; what ``records``
        gives is that part already.
    may_be_empty
        other hosts have the rest of the channel, so that having nothing is no error.
    """

    media_type: str
    parameters: Mapping[str, str]
    folder: Path | None
    wrapped: bool
    share: Share
    may_be_empty: bool

    def records(self, *, whole: bool = False) -> Generator[bytes]:
        """One epoch of RecordIO records, without their frames: those of this host's share, or the ``whole`` of what is
        here. In Pipe mode each one is a new FIFO, as for rows.

        Raises
        ------
        recordio.errors.DataError
            the data is no RecordIO.
        """
        ...


class Hosts(Protocol):
    """The hosts that train together, of which one runs this: each has its part of the rows, and all call the same
    functions here in the same order, from the thread that called ``fit``. A host without rows calls them too.

    What differs from host to host (rows left, a stop that was asked for) must be exchanged before it may decide
    whether these are called again.

    Attributes
    ----------
    rank
        the number of this host; 0 leads, and its model is the job's.
    size
        how many there are.
    """

    rank: int
    size: int

    def sum(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """The sums over all hosts, of the same shapes and dtypes (float32, float64 or integers), bit-identical on
        each. Every host must give arrays of the same shapes and dtypes."""
        ...

    def sum_in_place(self, array: np.ndarray) -> None:
        """The same of one array, contiguous, which becomes the sum: large ones need no more memory."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """The values of all hosts, in the order of their ranks. A value is made of None, bool, int, float, str, lists
        (or tuples, which become lists), dicts with str for keys, and arrays of numbers; these may differ in size."""
        ...


class Job(Protocol):
    """All that ``fit`` may ask of the world.

    Lines of the log are made of events by who implements this; an algorithm only names what it measured.

    Attributes
    ----------
    seed
        for all random numbers.
    checkpoints
        to go on from where an interrupted run was.
    checkpoint_directory
        their folder, for an algorithm whose checkpoints other software knows by their names; None where they are off.
    output_directory
        where a job may leave extra files for its user; None where it may not.
    hosts
        those that train together; one of its own where there are no others.
    memory
        bytes that this machine or container has, or this host's share where several run on it; None where that is not
        known.
    owns_process
        nothing else runs in this process, now or after the job: what holds for all of it may be set.
    """

    seed: int
    checkpoints: Checkpoints
    hosts: Hosts
    checkpoint_directory: Path | None
    output_directory: Path | None
    memory: int | None
    owns_process: bool

    @property
    def stop_requested(self) -> bool:
        """A stop was asked for: leave the loop soon, with a usable model or by raising TrainingStopped."""
        ...

    def nothing_to_keep(self) -> AbstractContextManager[None]:
        """A block in which a stop ends the job at once, by TrainingStopped: there is no model yet that it could keep.

        For what takes long before the first update, such as importing a framework and compiling a network.
        """
        ...

    def info(self, message: str) -> None:
        """One line for the log."""
        ...

    def warning(self, message: str) -> None:
        """One line for the log that the user should see."""
        ...

    def report(self, event: Event) -> None:
        """Tell what was measured: for the log, where tuning jobs and dashboards read it, and for the page about the
        job."""
        ...

    def timer(self, name: str) -> AbstractContextManager[None]:
        """Measures a block for the ``#metrics`` line that closes an epoch or the job."""
        ...

    def save_intermediate(self, model: Model, checkpoint: str | None = None) -> None:
        """Make ``model`` the artifact of the job as it stands, replacing an earlier one in one step.

        ``checkpoint`` is the file of it that a log line may name.
        """
        ...


class Model(ABC):
    """A trained model."""

    @property
    def feature_dim(self) -> int | None:
        """Number of features of a row; None where any number will do, or where there are no rows."""
        return None

    @property
    def takes_categories(self) -> bool:
        """Whether some features are categories, given by their numbers from 0 and not by what they are called."""
        return False

    @abstractmethod
    def predict(self, batch: Any, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, Any]:
        """Named values for n >= 0 rows or items. Safe to call from several threads.

        Parameters
        ----------
        batch
            a ``Batch``, or ``Items`` where ``Serving.takes`` says so.
        parameters
            what the request asks for besides, as in ``application/json; verbose=true``; a model leaves out of account
            what it does not know.

        Returns
        -------
            The declared columns, arrays of shape (n, ...); lists of n texts or arrays where lengths differ, with None
            for an item that has no such value.

        Raises
        ------
        PredictionError
            the rows do not fit the model.
        """

    def predict_memory(self, batch: Any) -> int:
        """Bytes of memory that ``predict`` takes besides what the numbers of the batch and of the answer do."""
        return 0

    def check_width(self, batch: Batch) -> None:
        """For ``predict``.

        Raises
        ------
        PredictionError
            rows do not have as many features as the model.
        """
        if self.feature_dim not in (None, batch.feature_dim):
            raise PredictionError(f"rows have {batch.feature_dim} features, but the model has {self.feature_dim}")

    def select(self, batch: Any, outputs: Sequence[str]) -> dict[str, Any]:
        """Named outputs that a client chose instead of the columns, for algorithms with ``Serving.outputs``."""
        raise NotImplementedError(f"{type(self).__name__} has no selectable outputs")

    def figures(self, sample: Sample | None) -> list[Figure]:
        """What the report on the job shows of the model, and of how it does on ``sample``; None where no rows are
        at hand."""
        return []

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write the artifact's files into an existing, empty folder, in the format that SageMaker's users know."""

    def save_as(self, directory: Path, version: tuple[int, ...]) -> None:
        """``save``, in the format of SageMaker's image of that version, where versions differ."""
        self.save(directory)


class Algorithm(ABC):
    """One algorithm: declarations, and two functions. It holds no state; it is never instantiated."""

    name: ClassVar[str]
    """SageMaker's name of it: the ECR repository's, with hyphens."""
    title: ClassVar[str]
    """The name in SageMaker's ``#metrics`` lines (Dimensions.Algorithm)."""
    summary: ClassVar[str]
    """One sentence for help texts."""
    hyperparameters: ClassVar[type[Hyperparameters]]
    channels: ClassVar[tuple[Channel, ...]]
    columns: ClassVar[tuple[Column, ...]]
    metrics: ClassVar[tuple[Metric, ...]]
    serving: ClassVar[Serving]
    configurations: ClassVar[tuple[Configuration, ...]]
    """Small jobs for the tests, every predictor type and mode among them; the first is the plainest."""
    log_dialect: ClassVar[str] = "sagemaker"
    """How the log writes what the algorithm reports: a module of ``container/training/dialects``."""
    several_hosts: ClassVar[bool] = False
    """``fit`` uses ``job.hosts``; elsewhere a job of several hosts is refused."""
    own_checkpoints: ClassVar[str | None] = None
    """Files in ``job.checkpoint_directory`` to go on from, as a pattern; None where ``job.checkpoints`` has them."""

    @classmethod
    @abstractmethod
    def fit(cls, hyperparameters: Any, channels: Mapping[str, Any], job: Job) -> Model:
        """Train. ``channels`` has an entry for each channel that the job configures; ``Channel.gives`` says which.

        Raises
        ------
        TrainingDataError
            the rows cannot be trained on.
        TrainingStopped
            a stop was asked for before there was a model.
        """

    @staticmethod
    @abstractmethod
    def load(directory: Path) -> Model:
        """The model in a folder that ``Model.save``, SageMaker or a user's own code wrote.

        Raises
        ------
        ModelError
            the folder is empty, corrupt, or holds something else.
        """

    @classmethod
    def load_first(cls, directory: Path) -> Model:
        """The first by name of several models in a folder that otherwise answer together.

        Only for algorithms whose folder may hold several, where a server is told not to let them vote; the same as
        ``load`` for the others.
        """
        return cls.load(directory)

    @classmethod
    def loading_memory(cls, directory: Path) -> int:
        """The most bytes of memory that ``load`` takes for a folder, its model included; no file is read whole.

        Raises
        ------
        ModelError
            there is no model.
        OSError
            a file cannot be read.
        """
        return cls.serving.memory * sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())

    @staticmethod
    @abstractmethod
    def recognises(directory: Path) -> bool:
        """Whether the folder looks like a model of this algorithm. Reads headers only; never raises for content."""

    @classmethod
    def feature_dim(cls, hyperparameters: Any) -> int | None:
        """The declared number of features of a row; None where the data decides."""
        return getattr(hyperparameters, "feature_dim", None)

    @classmethod
    def weight_column(cls, hyperparameters: Any) -> bool:
        """Whether the column after the label of CSV and Parquet training data holds instance weights."""
        return False

    @classmethod
    def memory(cls, hyperparameters: Any) -> int:
        """Bytes of memory that training needs at least, as far as the hyperparameters alone tell: the model's arrays,
        their gradients and moments. A job that cannot fit is refused before its data is read; 0 where only the data
        tells."""
        return 0
