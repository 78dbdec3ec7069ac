"""The jobs of ``benchmarks.hosts``: of each algorithm one that takes a host of one core about a minute, at scale 1."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from PIL import Image
from sklearn.datasets import load_svmlight_file

from algorithms.seq2seq.vocabulary import Vocabulary
from benchmarks.common import SHARED_DATA, covertype, mnist
from recordio.batches import Batch, Features
from recordio.framing import write_frame
from recordio.images import encode_record
from recordio.record_writer import encode_records
from recordio.sequences import Pairs, Ragged, encode

FILES = 8
RECORDIO = "application/x-recordio-protobuf"
IMAGES = "application/x-recordio"
A_SUM = "a sum"
UNSEEN = 100_000
"""Rows of jobs of factorization machines that are in no file."""


class Step(NamedTuple):
    """What a job does again and again, and how often two hosts do it; None where the sums are counted instead."""

    name: str = A_SUM
    count: int | None = None


SUMMING = Step()


class Job(NamedTuple):
    """An algorithm with its hyperparameters and data.

    Attributes:
        size: of the data, for people. train: the contents of the ``FILES`` files of the channel, made when they are
            asked for. whole: files of other channels, by channel, which each host has. metric: the job's score.
        unseen: rows with their classes, 0 or 1, that are in no file. batch: the hyperparameter that several hosts each
            have, and of which one host needs as much as all of them for steps by as many rows.
        epochs: the hyperparameter that multiplies the steps, where a network is compiled first, which takes longer.
    """

    algorithm: str
    hyperparameters: Mapping[str, Any]
    size: str
    train: Iterable[bytes]
    step: Step = SUMMING
    metric: str = ""
    content_type: str = RECORDIO
    whole: Mapping[str, tuple[str, Mapping[str, bytes]]] = {}
    unseen: Batch | None = None
    batch: str = ""
    epochs: str = ""

    def write(self, folder: Path) -> None:
        """The files of the channel ``train``, in a new folder."""
        folder.mkdir()
        for number, content in enumerate(self.train):
            (folder / f"part-{number}").write_bytes(content)


def _parts(count: int) -> list[np.ndarray]:
    return np.array_split(np.arange(count), FILES)


def _rows(features: Features, labels: np.ndarray | None = None) -> tuple[str, Iterator[bytes]]:
    """Size and files of rows (n, d) with labels (n,) or none."""
    files = (
        encode_records(features[part], None if labels is None else labels[part]) for part in _parts(features.shape[0])
    )
    return f"{features.shape[0]:,} x {features.shape[1]:,}", files


def _batches(rows: int, size: int, epochs: int) -> Step:
    """Of two hosts with half of the rows each."""
    return Step("a batch", epochs * -(-rows // 2 // size))


def _pca(scale: float, random: np.random.Generator) -> Job:
    rows = random.standard_normal((int(600_000 * scale), 2000), np.float32)
    return Job(
        "pca", {"feature_dim": 2000, "num_components": 10, "mini_batch_size": 500}, *_rows(rows), Step("the job", 1)
    )


def _kmeans(scale: float, random: np.random.Generator) -> Job:
    centers = random.uniform(-3, 3, (100, 100))
    count = int(3_000_000 * scale)
    rows = centers[random.integers(100, size=count)].astype(np.float32) + random.standard_normal(
        (count, 100), np.float32
    )
    return Job("kmeans", {"feature_dim": 100, "k": 100, "epochs": 4}, *_rows(rows), Step("the job", 1))


def _lda(scale: float, random: np.random.Generator) -> Job:
    topics = random.dirichlet(np.full(1000, 0.05), 20)
    mixtures = random.dirichlet(np.full(20, 0.1), int(100_000 * scale))
    rows = np.stack([random.multinomial(100, mixture @ topics) for mixture in mixtures]).astype(np.float32)
    return Job("lda", {"feature_dim": 1000, "num_topics": 20, "mini_batch_size": 500}, *_rows(rows))


def _xgboost(scale: float, random: np.random.Generator) -> Job:
    rows = random.standard_normal((int(2_000_000 * scale), 30), np.float32)
    labels = (rows[:, 0] * rows[:, 1] + rows[:, 2] > random.standard_normal(len(rows))).astype(np.float32)
    values = {"num_round": 100, "objective": "binary:logistic", "nthread": 1}
    return Job("xgboost", values, *_rows(rows, labels), Step("a tree", 100))


def _ntm(scale: float, random: np.random.Generator) -> Job:
    rows = random.poisson(0.1, (int(100_000 * scale), 2000)).astype(np.float32)
    epochs = 12
    values = {"feature_dim": 2000, "num_topics": 20, "epochs": epochs, "mini_batch_size": 256}
    values["num_patience_epochs"] = epochs  # all of them
    return Job("ntm", values, *_rows(rows), _batches(len(rows), 256, epochs), epochs="epochs")


def _classes(rows: Features, labels: np.ndarray, step: Step = SUMMING, **values: Any) -> Job:
    kind = "multiclass" if labels.max() > 1 else "binary"
    metric = "multiclass_accuracy" if kind == "multiclass" else "binary_classification_accuracy"
    classes = {"num_classes": int(labels.max()) + 1} if kind == "multiclass" else {}
    given = {"predictor_type": f"{kind}_classifier", **classes, **values}
    return Job("linear-learner", given, *_rows(rows, labels.astype(np.float32)), step, metric)


def _covertype(scale: float, random: np.random.Generator) -> Job:
    data = covertype()
    if data is None:
        raise SystemExit("covertype-20k is not here")
    count = int(len(data.labels) * scale)
    return _classes(data.features[:count], data.labels[:count] - 1)


def _a9a(scale: float, random: np.random.Generator) -> Job:
    rows, labels = load_svmlight_file(str(SHARED_DATA / "a9a" / "a9a"), n_features=123, dtype=np.float32)
    count = int(len(labels) * scale)
    return _classes(sp.csr_array(rows)[:count], labels[:count] > 0)


def _mnist(scale: float, random: np.random.Generator) -> Job:
    data = mnist()
    count = int(len(data.labels) * scale)
    return _classes(data.features[:count], data.labels[:count])


def _linear(scale: float, random: np.random.Generator) -> Job:
    """More than 256 MiB: by mini-batches, of a size that is stated, as the SageMaker Python SDK does."""
    rows = random.standard_normal((int(1_500_000 * scale), 100), np.float32)
    labels = rows @ np.linspace(-1, 1, 100, dtype=np.float32) > random.standard_normal(len(rows)) * 3
    step = _batches(len(rows), 1000, 4) if rows.nbytes > 256 << 20 else SUMMING  # exactly, where they are fewer
    return _classes(rows, labels, step, epochs=4, mini_batch_size=1000)._replace(batch="mini_batch_size")


def _factorization_machines(scale: float, random: np.random.Generator) -> Job:
    """Rows of 20 of ten million features, as sparse as advertisements."""
    width, count = 10_000_000, int(200_000 * scale)
    columns = (width * random.random((count + UNSEEN, 20)) ** 4).astype(np.int32)
    columns.sort(axis=1)
    rows = _marks(columns, width)
    rows.sum_duplicates()
    tastes = random.standard_normal(width).astype(np.float32)
    return _clicks(rows, rows @ tastes > 0, num_factors=8, epochs=5)


def _retail(scale: float, random: np.random.Generator) -> Job:
    """The shape of AWS's published log, 9,284 columns and 64 factors: a user, an item and six words in each row. Which
    users like which items is a product of tastes, beside what users and words add and noise."""
    users, items, width = 4300, 3600, 9284
    count = int(3_000_000 * scale) + UNSEEN
    chosen = random.integers(users, size=count), random.zipf(1.3, count) % items
    words = users + items + np.arange(6) + 6 * random.integers((width - users - items) // 6, size=(count, 6))
    rows = _marks(np.column_stack([chosen[0], users + chosen[1], words]).astype(np.int32), width)
    tastes = random.standard_normal((2, max(users, items), 4))
    liking = np.einsum("nk,nk->n", tastes[0][chosen[0]], tastes[1][chosen[1]])
    liking += rows @ random.standard_normal(width) + random.standard_normal(count)
    return _clicks(rows, liking > 0, num_factors=64, epochs=20)


def _marks(columns: np.ndarray, width: int) -> sp.csr_array:
    """Rows (n, width) that are 1 in these columns (n, m)."""
    count, marks = columns.shape
    parts = np.ones(columns.size, np.float32), columns.ravel(), np.arange(0, columns.size + 1, marks)
    return sp.csr_array(parts, shape=(count, width))


def _clicks(rows: sp.csr_array, labels: np.ndarray, *, num_factors: int, epochs: int) -> Job:
    """Factorization machines of rows (n, d) with classes (n,), of which the last are unseen."""
    count = rows.shape[0] - UNSEEN
    values = {
        "feature_dim": rows.shape[1],
        "num_factors": num_factors,
        "predictor_type": "binary_classifier",
        "epochs": epochs,
        "mini_batch_size": 1000,
    }
    labels = labels.astype(np.float32)
    step = _batches(count, 1000, epochs)
    job = Job(
        "factorization-machines", values, *_rows(rows[:count], labels[:count]), step, "binary_classification_accuracy"
    )
    return job._replace(unseen=Batch(rows[count:], labels[count:]), batch="mini_batch_size")


def _images(scale: float, random: np.random.Generator) -> Job:
    """Noise of 64 x 64 pixels, brighter in one half or the other."""

    def records(count: int) -> bytes:
        stream = io.BytesIO()
        for number in range(count):
            pixels = random.integers(0, 128, (64, 64, 3), np.uint8)
            pixels[:, 32 * (number % 2) :][:, :32] += 100
            picture = io.BytesIO()
            Image.fromarray(pixels).save(picture, "PNG")
            write_frame(stream, encode_record(picture.getvalue(), [number % 2], number))
        return stream.getvalue()

    count = max(int(4000 * scale), 16 * FILES)
    values = {
        "num_layers": 18,
        "image_shape": "3,64,64",
        "num_classes": 2,
        "num_training_samples": count,
        "mini_batch_size": 32,
        "epochs": 2,
    }
    return Job(
        "image-classification",
        values,
        f"{count:,} images, ResNet-18",
        (records(len(part)) for part in _parts(count)),
        _batches(count, 32, 2),
        content_type=IMAGES,
        whole={"validation": (IMAGES, {"images": records(32)})},
        epochs="epochs",
    )


def _seq2seq(scale: float, random: np.random.Generator) -> Job:
    """Sequences of 20 of 2,000 words, to be written backwards."""
    words = [f"w{number}" for number in range(2000)]

    def pairs(count: int) -> bytes:
        source = [random.integers(4, 4 + len(words), 20) for _ in range(count)]
        return encode(Pairs(Ragged.of(source), Ragged.of([one[::-1] for one in source])))

    count, vocabulary = max(int(8000 * scale), 16 * FILES), Vocabulary.of(words).to_json().encode()
    values = {
        "batch_size": 32,
        "max_num_epochs": 2,
        "rnn_num_hidden": 256,
        "num_embed_source": 256,
        "num_embed_target": 256,
        "bleu_sample_size": 8,
    }
    return Job(
        "seq2seq",
        values,
        f"{count:,} pairs of 20 of 2,000 words",
        (pairs(len(part)) for part in _parts(count)),
        _batches(count, 32, 2),
        whole={
            "validation": (RECORDIO, {"pairs": pairs(32)}),
            "vocab": ("application/json", {"vocab.src.json": vocabulary, "vocab.trg.json": vocabulary}),
        },
        epochs="max_num_epochs",
    )


JOBS: dict[str, Callable[[float, np.random.Generator], Job]] = {
    "pca": _pca,
    "kmeans": _kmeans,
    "lda": _lda,
    "xgboost": _xgboost,
    "ntm": _ntm,
    "covertype": _covertype,
    "a9a": _a9a,
    "mnist": _mnist,
    "linear-learner": _linear,
    "factorization-machines": _factorization_machines,
    "retail": _retail,
    "image-classification": _images,
    "seq2seq": _seq2seq,
}
