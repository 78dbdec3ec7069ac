"""A small job and small requests for each algorithm whose data are no rows, for the checks of the contract."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.interface import JSON, JSON_LINES, RECORDIO
from algorithms.seq2seq.vocabulary import Vocabulary
from recordio.framing import frames
from recordio.sequences import Pairs, Ragged, encode


@dataclass(frozen=True)
class Sample:
    """What ``test_contract`` needs to train and ask a model.

    Attributes:
        hyperparameters: the required ones, and what makes the job small.
        channels: makes the channels of a job, as ``fit`` gets them, with their files in the folder it is given.
        requests: pairs of media type and body.
    """

    hyperparameters: dict[str, str]
    channels: Callable[[Path], dict[str, Any]]
    requests: Callable[[], Iterator[tuple[str, bytes]]]


class MemoryRecords:
    """An ``algorithms.interface.RecordStream`` of framed records in memory."""

    parameters: Mapping[str, str] = {}
    folder = None
    wrapped = False

    def __init__(self, body: bytes, media_type: str = RECORDIO, name: str = "train") -> None:
        self.media_type = media_type
        self._body, self._name = body, name

    def records(self) -> Iterator[bytes]:
        return frames(io.BytesIO(self._body), self._name)


# ---- seq2seq: words to be written backwards -------------------------------------------------------------------------

SEQ2SEQ_WORDS = ("a", "b", "c", "d", "e")


def seq2seq_pairs(count: int, seed: int = 0, longest: int = 5) -> Pairs:
    random = np.random.default_rng(seed)
    source = [random.integers(4, 4 + len(SEQ2SEQ_WORDS), random.integers(1, longest + 1)) for _ in range(count)]
    return Pairs(Ragged.of(source), Ragged.of([part[::-1] for part in source]))


def seq2seq_channels(folder: Path, train: Pairs | None = None, validation: Pairs | None = None) -> dict[str, Any]:
    text = Vocabulary.of(SEQ2SEQ_WORDS).to_json()
    for name in ("vocab.src.json", "vocab.trg.json"):
        (folder / name).write_text(text)
    return {
        "train": MemoryRecords(encode(train or seq2seq_pairs(61))),
        "validation": MemoryRecords(encode(validation or seq2seq_pairs(13, 1)), name="validation"),
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

SAMPLES: dict[str, Sample] = {"seq2seq": SEQ2SEQ}
