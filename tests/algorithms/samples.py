"""Small data for the configurations that the algorithms declare (``algorithms.interface.Configuration``).

``channels`` gives it as ``fit`` gets it, ``files`` as it lies in a job's folders, and ``requests`` as it comes to an
endpoint. All three follow from the declarations alone; whatever declares configurations can be tried so.
"""

from __future__ import annotations

import io
import json
import unittest.mock
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from algorithms import hyperparameters, registry
from algorithms.image_classification.architecture import Architecture
from algorithms.interface import (
    CSV,
    FILES,
    IMAGE,
    IMAGE_RECORDIO,
    IMAGES,
    JPEG,
    JSON,
    JSON_LINES,
    LABELS_REQUIRED,
    LIBSVM,
    NUMBERS,
    PNG,
    RECORDIO,
    ROWS,
    TAGGED_IMAGES,
    TOKENS,
    Algorithm,
    Configuration,
)
from algorithms.seq2seq.vocabulary import Vocabulary
from recordio.batches import Batch
from recordio.framing import frames, write_frame
from recordio.images import encode_record
from recordio.record_writer import encode_records
from recordio.sequences import Pairs, Ragged, encode
from recordio.shares import ALL, Share
from tests.algorithms.fakes import MemoryStream

COUNT, WIDTH = 61, 4  # a number of rows that leaves a last batch of one for sizes of 2, 3, 4, 5, 6, 10, 12, 15, 20, 30


# ---- configurations -------------------------------------------------------------------------------------------------


def configurations(name: str) -> dict[str, Configuration]:
    """The configurations of the algorithm of that name, by their own names."""
    return {configuration.name: configuration for configuration in registry.find(name).configurations}


def parsed(algorithm: type[Algorithm], configuration: Configuration, **more: str) -> Any:
    """The hyperparameters of a configuration, with ``more`` on top."""
    return hyperparameters.parse(algorithm.hyperparameters, {**configuration.hyperparameters, **more})


def labelled(algorithm: type[Algorithm]) -> bool:
    """Whether its channels of rows have labels."""
    return any(channel.gives == ROWS and channel.labels == LABELS_REQUIRED for channel in algorithm.channels)


def has_rows(configuration: Configuration) -> bool:
    """Whether its data are rows of features."""
    return configuration.data not in (IMAGES, TAGGED_IMAGES, TOKENS)


def around(configuration: Configuration) -> AbstractContextManager[None]:
    """What a small job should happen in, so that it takes no longer than it must."""
    return nullcontext() if has_rows(configuration) else eagerly(shallow=True)


_UNITS = vars(Architecture)["units"]
_ONE_UNIT = property(lambda form: (1,))


def one_unit() -> AbstractContextManager[Any]:
    """Residual networks have a single unit, which has every kind of layer."""
    return unittest.mock.patch.object(Architecture, "units", _ONE_UNIT)


@contextmanager
def eagerly(*, shallow: bool = False) -> Iterator[None]:
    """TensorFlow does not compile: that takes longer than the few steps of a small job.

    With ``shallow`` residual networks have a single unit, for tests of what is around a network.
    """
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    units = unittest.mock.patch.object(Architecture, "units", _ONE_UNIT if shallow else _UNITS)
    try:
        with units, warnings.catch_warnings():
            # Of sentences of one word, whose number a compiled network does not know.
            warnings.filterwarnings("ignore", r"(?s).*You are using a softmax over axis -1 .* has size 1")
            yield
    finally:
        tensorflow.config.run_functions_eagerly(False)


# ---- rows -----------------------------------------------------------------------------------------------------------


def width(algorithm: type[Algorithm], configuration: Configuration) -> int:
    """Features of a row."""
    return algorithm.feature_dim(parsed(algorithm, configuration)) or WIDTH


def features(configuration: Configuration, count: int = COUNT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """A cloud for each class (two where there are none), of shape (count, width), float32. Half of the values are
    zero, so that sparse rows have something to leave out; counts are whole, and none is negative."""
    random = np.random.default_rng(seed)
    clouds = random.normal(size=(count, width)) + 4 * (np.arange(count) % (configuration.classes or 2))[:, None]
    if configuration.data != NUMBERS:
        clouds = np.ceil(np.abs(clouds))
    return np.where(random.random((count, width)) < 0.5, clouds, 0).astype(np.float32)


def labels(configuration: Configuration, rows: Any) -> np.ndarray:
    """A label for each of ``features``, (count,) float32: the class of its cloud, or a number above 0."""
    count = rows.shape[0]
    if configuration.classes is not None:
        return (np.arange(count) % configuration.classes).astype(np.float32)
    return (1 + np.asarray(abs(rows).sum(axis=1), np.float32) / 8).astype(np.float32)


def batch(algorithm: type[Algorithm], configuration: Configuration, rows: Any) -> Batch:
    """``rows`` with labels where the algorithm has any."""
    return Batch(rows, labels(configuration, rows) if labelled(algorithm) else None)


def delimited(rows: np.ndarray, known: np.ndarray | None) -> bytes:
    """CSV, the label first where there is one."""
    table = rows if known is None else np.column_stack([known, rows])
    return "".join(",".join(f"{value:.9g}" for value in row) + "\n" for row in table).encode()


def libsvm(rows: np.ndarray, known: np.ndarray | None) -> bytes:
    """LIBSVM with indices from 1; the label is 0 where there is none."""
    lines = []
    for number, row in enumerate(rows):
        pairs = [f"{index + 1}:{value:.9g}" for index, value in enumerate(row) if value]
        lines.append(" ".join([f"{0 if known is None else known[number]:g}", *pairs]) + "\n")
    return "".join(lines).encode()


ROW_WRITERS: dict[str, Callable[[np.ndarray, np.ndarray | None], bytes]] = {
    CSV: delimited,
    LIBSVM: libsvm,
    RECORDIO: encode_records,
    JSON: lambda rows, _: json.dumps({"instances": [{"features": row} for row in rows.tolist()]}).encode(),
    JSON_LINES: lambda rows, _: "".join(json.dumps({"features": row}) + "\n" for row in rows.tolist()).encode(),
}
"""How rows (n, d) and their labels (n,) are written, by media type. JSON is for requests, without labels."""


# ---- records --------------------------------------------------------------------------------------------------------


class Records:
    """Implements ``algorithms.interface.RecordStream`` on records in memory, as a pipe gives them, or on a folder."""

    def __init__(
        self,
        records: Sequence[bytes] = (),
        media_type: str = IMAGE_RECORDIO,
        folder: Path | None = None,
        **options: Any,
    ) -> None:
        self._records = records
        self.media_type = media_type
        self.folder = folder
        self.parameters: dict[str, str] = options.get("parameters", {})
        self.wrapped: bool = options.get("wrapped", False)
        self.share: Share = options.get("share", ALL)
        self.may_be_empty: bool = options.get("may_be_empty", False)
        self.epochs_begun = 0

    def records(self, *, whole: bool = False) -> Generator[bytes]:
        self.epochs_begun += 1
        yield from self._records if whole else self.share.records(self._records, 2 if self.wrapped else 1)


def picture(label: int, seed: int, size: tuple[int, int] = (18, 16), kind: str = "PNG") -> bytes:
    """A file of a noisy image, red on the left for label 0 and on the right for label 1."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 100, (size[1], size[0], 3))
    half = size[0] // 2
    pixels[:, half * label : half * (label + 1), 0] += 150
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, kind)
    return file.getvalue()


def pictures(count: int, *, tagged: bool = False) -> list[bytes]:
    """Image records with labels 0 and 1 in turn; ``tagged`` with a 0 or 1 for each of the two classes."""
    return [
        encode_record(picture(number % 2, number), [1 - number % 2, number % 2] if tagged else [number % 2], number)
        for number in range(count)
    ]


SEQ2SEQ_WORDS = ("a", "b", "c", "d", "e")


def seq2seq_pairs(count: int, seed: int = 0, longest: int = 5) -> Pairs:
    """Words to be written backwards."""
    random = np.random.default_rng(seed)
    source = [random.integers(4, 4 + len(SEQ2SEQ_WORDS), random.integers(1, longest + 1)) for _ in range(count)]
    return Pairs(Ragged.of(source), Ragged.of([part[::-1] for part in source]))


def records_of(stream: bytes) -> list[bytes]:
    return list(frames(io.BytesIO(stream), "train"))


def seq2seq_channels(folder: Path, train: Pairs | None = None, validation: Pairs | None = None) -> dict[str, Any]:
    """The channels of a job, as ``fit`` gets them, with the vocabularies in ``folder``."""
    for name in ("vocab.src.json", "vocab.trg.json"):
        (folder / name).write_text(Vocabulary.of(SEQ2SEQ_WORDS).to_json())
    pairs = {"train": train or seq2seq_pairs(COUNT), "validation": validation or seq2seq_pairs(13, 1)}
    return {**{name: Records(records_of(encode(pairs[name])), RECORDIO) for name in pairs}, "vocab": folder}


# ---- a job's channels and an endpoint's requests --------------------------------------------------------------------


def channels(
    algorithm: type[Algorithm],
    configuration: Configuration,
    folder: Path,
    rows: Any = None,
    count: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The channels of a job, as ``fit`` gets them: all that have rows, or those that are required.

    Args:
        folder: for files. rows: instead of ``features``. count: so many records of each channel, where they are no
            rows. options: of each ``MemoryStream``.
    """
    if has_rows(configuration):
        rows = features(configuration, width=width(algorithm, configuration)) if rows is None else rows
        one = batch(algorithm, configuration, rows)
        return {
            channel.name: MemoryStream(one.features, one.labels, **options)
            for channel in algorithm.channels
            if channel.gives == ROWS
        }
    streams: dict[str, Any] = {}
    for name, (media_type, written) in files(algorithm, configuration).items():
        if next(channel for channel in algorithm.channels if channel.name == name).gives == FILES:
            for file, content in written.items():
                (folder / file).write_bytes(content)
            streams[name] = folder
        else:
            streams[name] = Records(
                [record for content in written.values() for record in records_of(content)][:count], media_type
            )
    return streams


def files(algorithm: type[Algorithm], configuration: Configuration) -> dict[str, tuple[str, dict[str, bytes]]]:
    """The channels of a job as files: of each its content type, and its files' names and contents."""
    if configuration.data == TOKENS:
        pairs = {"train": seq2seq_pairs(COUNT), "validation": seq2seq_pairs(13, 1)}
        vocabulary = Vocabulary.of(SEQ2SEQ_WORDS).to_json().encode()
        return {
            **{name: (RECORDIO, {f"{name}.rec": encode(pairs[name])}) for name in pairs},
            "vocab": (JSON, {"vocab.src.json": vocabulary, "vocab.trg.json": vocabulary}),
        }
    if not has_rows(configuration):
        tagged = configuration.data == TAGGED_IMAGES
        return {
            name: (IMAGE_RECORDIO, {f"{name}.rec": framed(pictures(count, tagged=tagged))})
            for name, count in (("train", 12), ("validation", 5))
        }
    rows = features(configuration, width=width(algorithm, configuration))
    known = labels(configuration, rows) if labelled(algorithm) else None
    written = {}
    for channel in algorithm.channels:
        if channel.gives == ROWS:
            media_type = CSV if CSV in channel.accepts else channel.default_type
            full = "text/csv;label_size=0" if media_type == CSV and known is None else media_type
            written[channel.name] = (full, {"rows": ROW_WRITERS[media_type](rows, known)})
    return written


def framed(records: Sequence[bytes]) -> bytes:
    stream = io.BytesIO()
    for record in records:
        write_frame(stream, record)
    return stream.getvalue()


def requests(algorithm: type[Algorithm], configuration: Configuration) -> list[tuple[str, bytes]]:
    """Requests to a model of the configuration, one or more of each media type that it accepts: (type, body)."""
    if configuration.data == TOKENS:
        return list(_seq2seq_requests())
    if not has_rows(configuration):
        large = picture(1, 91, (40, 30), "JPEG")
        return [(PNG, picture(0, 90)), (JPEG, large), (IMAGE, large)]
    rows = features(configuration, 5, width(algorithm, configuration), seed=1)
    return [(media, ROW_WRITERS[media](rows, None)) for media in algorithm.serving.accepts]


def _seq2seq_requests() -> Iterator[tuple[str, bytes]]:
    instance = {"data": "a b c", "configuration": {"attention_matrix": "true"}}
    yield JSON, json.dumps({"instances": [{"data": "a b"}, instance, {"data": "what is this"}]}).encode()
    yield JSON_LINES, b'{"source": "a b c d"}\n{"source": "e"}\n'
    yield RECORDIO, encode(Pairs(Ragged.of([[4, 5, 6], [7]]), Ragged.of([[], []])))


# ---- by name, for the tests of one algorithm ------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """The first configuration of an algorithm, ready to run.

    Attributes:
        hyperparameters: as a job states them.
        channels: makes the channels of a job, as ``fit`` gets them, with their files in the folder it is given.
        requests: pairs of media type and body.
        around: what training happens in.
    """

    hyperparameters: dict[str, str]
    channels: Callable[[Path], dict[str, Any]]
    requests: Callable[[], list[tuple[str, bytes]]]
    around: Callable[[], AbstractContextManager[None]]


def sample(name: str) -> Sample:
    algorithm = registry.find(name)
    first = algorithm.configurations[0]
    return Sample(
        dict(first.hyperparameters),
        lambda folder: channels(algorithm, first, folder),
        lambda: requests(algorithm, first),
        lambda: around(first),
    )


SAMPLES = {name: sample(name) for name in ("image-classification", "seq2seq")}
"""Of the algorithms whose data are no rows."""
SEQ2SEQ = SAMPLES["seq2seq"]
