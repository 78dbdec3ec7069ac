"""The model folders of all nine algorithms: a ModelError, or a model that predicts.

An input is the number of a file of the folder, one byte, and what stands in it; the other files are as they were saved.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from algorithms import hyperparameters, registry
from algorithms.errors import ModelError, PredictionError
from algorithms.interface import Algorithm
from recordio.batches import Batch
from recordio.errors import DataError
from tests.algorithms.fakes import FakeJob, MemoryStream
from tests.fuzz.engine import Target

_WIDEST = 10_000  # features of a row that is predicted


def _random(*shape: int) -> np.ndarray:
    return np.abs(np.random.default_rng(0).normal(size=shape)).astype(np.float32)


def _kmeans() -> Any:
    from algorithms.kmeans.model import KMeansModel

    return KMeansModel(_random(3, 4))


def _pca() -> Any:
    from algorithms.pca.model import PCAModel

    return PCAModel(_random(2), _random(4, 2), _random(1, 4))


def _lda() -> Any:
    from algorithms.lda.model import LDAModel

    beta = _random(2, 4)
    return LDAModel(_random(2), beta / beta.sum(axis=1, keepdims=True))


def _linear_learner() -> Any:
    from algorithms.linear_learner.model import LinearModel

    return LinearModel(_random(1, 4), _random(1), "binary_classifier", "logistic")


def _factorization_machines() -> Any:
    from algorithms.factorization_machines.model import FactorizationMachine

    return FactorizationMachine(_random(1), _random(4), _random(4, 2), "binary_classifier")


def _ntm() -> Any:
    from algorithms.ntm.model import Affine, NTMModel

    def affine(outputs: int, inputs: int) -> Affine:
        return Affine(_random(outputs, inputs), _random(outputs))

    return NTMModel((affine(5, 4), affine(3, 5)), "tanh", affine(2, 3), affine(2, 3), affine(4, 2))


def _image_classification() -> Any:
    from algorithms.image_classification.model import ImageModel

    def node(op: str, name: str, inputs: list[int], **attrs: str) -> dict[str, Any]:
        return {"op": op, "name": name, "attrs": attrs, "inputs": [[number, 0, 0] for number in inputs]}

    nodes = [
        node("null", "data", []), node("null", "c_weight", []),
        node("Convolution", "c", [0, 1], kernel="(3, 3)", num_filter="2", pad="(1, 1)", no_bias="True"),
        node("Activation", "r", [2], act_type="relu"),
        node("Pooling", "p", [3], kernel="(2, 2)", stride="(2, 2)", pool_type="max"), node("Flatten", "f", [4]),
        node("null", "fc_weight", []), node("null", "fc_bias", []),
        node("FullyConnected", "fc", [5, 6, 7], num_hidden="2"), node("null", "softmax_label", []),
        node("SoftmaxOutput", "softmax", [8, 9]),
    ]  # fmt: skip
    leaves = [number for number, one in enumerate(nodes) if one["op"] == "null"]
    symbol = {"nodes": nodes, "arg_nodes": leaves, "heads": [[10, 0, 0]], "attrs": {"mxnet_version": ["int", 10901]}}
    arrays = {"arg:c_weight": _random(2, 3, 3, 3), "arg:fc_weight": _random(2, 32), "arg:fc_bias": _random(2)}
    return ImageModel(json.dumps(symbol), arrays, (3, 8, 8), 1, 8)


def _seq2seq() -> Any:
    from algorithms.seq2seq import Seq2Seq
    from algorithms.seq2seq.architecture import Architecture, initial
    from algorithms.seq2seq.model import Seq2SeqModel
    from algorithms.seq2seq.translator import Translator
    from algorithms.seq2seq.vocabulary import Vocabulary

    small = {"num_embed_source": "2", "num_embed_target": "2", "rnn_num_hidden": "2", "cnn_num_hidden": "2"}
    words = Vocabulary.of(["a", "b"])
    values = hyperparameters.parse(
        Seq2Seq.hyperparameters, small | {"max_seq_len_source": "5", "max_seq_len_target": "5"}
    )
    shape = Architecture.of(values, source_vocabulary=len(words), target_vocabulary=len(words))
    arrays = initial(shape, np.random.default_rng(0), kind="xavier", scale=3.0, factor="in")
    return Seq2SeqModel(Translator(shape, arrays, 2.0), words, words, 2)


def _xgboost() -> Any:
    return _fit("xgboost", _random(60, 4), num_round="3", objective="binary:logistic")


def _fit(name: str, rows: np.ndarray, **given: str) -> Any:
    """A model of rows with the labels 0 and 1 in turn."""
    algorithm = registry.find(name)
    values = hyperparameters.parse(algorithm.hyperparameters, given)
    labels = (np.arange(len(rows)) % 2).astype(np.float32)
    return algorithm.fit(values, {"train": MemoryStream(rows, labels)}, FakeJob())


_MODELS: dict[str, Callable[[], Any]] = {
    "kmeans": _kmeans, "pca": _pca, "lda": _lda, "linear-learner": _linear_learner,
    "factorization-machines": _factorization_machines, "ntm": _ntm, "image-classification": _image_classification,
    "seq2seq": _seq2seq, "xgboost": _xgboost,
}  # fmt: skip


def _make(name: str) -> Target:
    algorithm = registry.find(name)
    folder = tempfile.TemporaryDirectory(prefix="fuzz")
    saved, spoiled = Path(folder.name, "saved"), Path(folder.name, "spoiled")
    saved.mkdir()
    _MODELS[name]().save(saved)
    files = sorted(file.name for file in saved.iterdir())
    seeds = [bytes([number]) + (saved / file).read_bytes() for number, file in enumerate(files)]

    def check(data: bytes) -> None:
        _ = folder  # kept until the end
        if not data:
            return
        shutil.rmtree(spoiled, ignore_errors=True)
        shutil.copytree(saved, spoiled)
        (spoiled / files[data[0] % len(files)]).write_bytes(data[1:])
        _load(algorithm, spoiled)

    return Target(seeds, check)


def _load(algorithm: type[Algorithm], folder: Path) -> None:
    algorithm.recognises(folder)
    try:
        model = algorithm.load(folder)
    except ModelError:
        return
    width = getattr(model, "feature_dim", None)
    if isinstance(width, int) and 0 < width <= _WIDEST:
        with np.errstate(all="ignore"), contextlib.suppress(PredictionError, DataError):
            model.predict(Batch(np.zeros((1, width), np.float32)))


def _kernel_of_factorization_machines() -> Target:
    """Training on rows and hyperparameters that the input decides: what the compiled inner loops do with them."""
    from algorithms.factorization_machines.steps import _kernel

    assert _kernel is not None, "there is no compiled code: there was no C compiler"

    def check(data: bytes) -> None:
        numbers = (list(data) + [1] * 4)[:4]
        rows = np.resize(np.frombuffer(data + b"\1", np.uint8), (61, 4)).astype(np.float32) / 64
        given = {"num_factors": str(2 + numbers[0] % 7), "mini_batch_size": str(1 + numbers[1] % 61), "epochs": "1"}
        kind = ("regressor", "binary_classifier")[numbers[2] % 2]
        with np.errstate(all="ignore"):
            _fit("factorization-machines", rows, feature_dim="4", predictor_type=kind, **given)

    return Target([bytes(range(200)), b"\0\0\1" * 30], check)


def _kernel_of_lda() -> Target:
    """The compiled update of topics on arrays that the input decides, whose indices may be out of bounds."""
    from algorithms.lda.belonging import _kernel

    assert _kernel is not None, "there is no compiled code: there was no C compiler"

    def check(data: bytes) -> None:
        numbers = np.frombuffer(bytes((data + bytes(32))[:32]), np.int8)
        rows, topics, words = (1 + int(number) % 5 for number in numbers[:3])
        starts = np.append(0, numbers[3 : 3 + rows]).astype(np.int64)
        columns = numbers[8 : 8 + max(0, int(starts[-1]) % 24)].astype(np.int32)
        values = np.abs(numbers[: len(columns)]).astype(np.float32)
        with contextlib.suppress(ValueError):
            _kernel.divide(
                *(values, columns, starts, _random(rows, topics), _random(words, topics)),
                *(_random(rows)[: rows * (int(numbers[3]) % 2)], _random(rows, topics)),
                *(_random(words, topics)[: words * (int(numbers[4]) % 2)], topics),
            )

    return Target([bytes(32), bytes([1, 2, 2, 2, 5]) + bytes(3) + bytes([0, 1, 2, 0, 1])], check)


MAKERS: dict[str, Callable[[], Target]] = {f"model-{name}": partial(_make, name) for name in _MODELS} | {
    "factorization-machines": _kernel_of_factorization_machines,
    "lda": _kernel_of_lda,
}
