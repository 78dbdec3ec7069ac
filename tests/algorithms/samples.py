"""A small job and small requests for each algorithm whose data are no rows, for the checks of the contract."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from algorithms.interface import JSON, JSON_LINES, RECORDIO
from algorithms.seq2seq.vocabulary import Vocabulary
from recordio.framing import frames
from recordio.images import encode_record
from recordio.sequences import Pairs, Ragged, encode


@dataclass(frozen=True)
class Sample:
    """What ``test_contract`` needs to train and ask a model.

    Attributes:
        hyperparameters: the required ones, and what makes the job small.
        channels: makes the channels of a job, as ``fit`` gets them, with their files in the folder it is given.
        requests: pairs of media type and body.
        around: what training happens in.
    """

    hyperparameters: dict[str, str]
    channels: Callable[[Path], dict[str, Any]]
    requests: Callable[[], Iterator[tuple[str, bytes]]]
    around: Callable[[], AbstractContextManager[None]] = nullcontext


@contextmanager
def eagerly() -> Iterator[None]:
    """TensorFlow does not compile: that takes longer than the few steps of a small job."""
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tensorflow.config.run_functions_eagerly(False)


class Records:
    """Implements ``algorithms.interface.RecordStream`` on records in memory, as a pipe gives them, or on a folder."""

    def __init__(
        self,
        records: Sequence[bytes] = (),
        media_type: str = "application/x-recordio",
        folder: Path | None = None,
        **options: Any,
    ) -> None:
        self._records = records
        self.media_type = media_type
        self.folder = folder
        self.parameters: dict[str, str] = options.get("parameters", {})
        self.wrapped: bool = options.get("wrapped", False)
        self.epochs_begun = 0

    def records(self) -> Generator[bytes]:
        self.epochs_begun += 1
        yield from self._records


def picture(label: int, seed: int, size: tuple[int, int] = (18, 16), kind: str = "PNG") -> bytes:
    """A file of a noisy image, red on the left for label 0 and on the right for label 1."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 100, (size[1], size[0], 3))
    half = size[0] // 2
    pixels[:, half * label : half * (label + 1), 0] += 150
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, kind)
    return file.getvalue()


def pictures(count: int) -> list[bytes]:
    """Image records with labels 0 and 1 in turn."""
    return [encode_record(picture(number % 2, number), [number % 2], number) for number in range(count)]


# ---- seq2seq: words to be written backwards -------------------------------------------------------------------------

SEQ2SEQ_WORDS = ("a", "b", "c", "d", "e")


def seq2seq_pairs(count: int, seed: int = 0, longest: int = 5) -> Pairs:
    random = np.random.default_rng(seed)
    source = [random.integers(4, 4 + len(SEQ2SEQ_WORDS), random.integers(1, longest + 1)) for _ in range(count)]
    return Pairs(Ragged.of(source), Ragged.of([part[::-1] for part in source]))


def sequences(pairs: Pairs) -> Records:
    return Records(list(frames(io.BytesIO(encode(pairs)), "train")), RECORDIO)


def seq2seq_channels(folder: Path, train: Pairs | None = None, validation: Pairs | None = None) -> dict[str, Any]:
    text = Vocabulary.of(SEQ2SEQ_WORDS).to_json()
    for name in ("vocab.src.json", "vocab.trg.json"):
        (folder / name).write_text(text)
    return {
        "train": sequences(train or seq2seq_pairs(61)),
        "validation": sequences(validation or seq2seq_pairs(13, 1)),
        "vocab": folder,
    }


def seq2seq_requests() -> Iterator[tuple[str, bytes]]:
    instance = {"data": "a b c", "configuration": {"attention_matrix": "true"}}
    yield JSON, json.dumps({"instances": [{"data": "a b"}, instance, {"data": "what is this"}]}).encode()
    yield JSON_LINES, b'{"source": "a b c d"}\n{"source": "e"}\n'
    yield RECORDIO, encode(Pairs(Ragged.of([[4, 5, 6], [7]]), Ragged.of([[], []])))


SEQ2SEQ = Sample(
    hyperparameters={
        "batch_size": "20",
        "encoder_type": "cnn",  # its graph is made in less time; test_seq2seq_fit.py has the others
        "decoder_type": "cnn",
        "num_embed_source": "8",
        "num_embed_target": "8",
        "rnn_num_hidden": "16",
        "cnn_num_hidden": "16",
        "max_num_epochs": "2",
        "checkpoint_frequency_num_batches": "4",
        "bleu_sample_size": "5",
        "learning_rate": "0.01",
    },
    channels=seq2seq_channels,
    requests=seq2seq_requests,
)


SAMPLES: dict[str, Sample] = {
    "image-classification": Sample(
        {
            "num_classes": "2",
            "num_training_samples": "12",
            "num_layers": "20",
            "image_shape": "3,16,16",
            "mini_batch_size": "8",
            "epochs": "1",
            "learning_rate": "0.01",
        },
        lambda folder: {"train": Records(pictures(12)), "validation": Records(pictures(5))},
        lambda: iter([("image/png", picture(0, 90)), ("image/jpeg", picture(1, 91, (40, 30), "JPEG"))]),
        eagerly,
    ),
    "seq2seq": SEQ2SEQ,
}
