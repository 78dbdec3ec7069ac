"""A small model of each algorithm, made from a few numbers instead of trained where that is possible."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from algorithms import hyperparameters, registry
from tests.algorithms.cases import trained
from tests.algorithms.fakes import FakeJob, MemoryStream

WIDTH = 4
"""Features of a row, or words of a vocabulary."""


def _random(*shape: int) -> np.ndarray:
    """Of one decimal, so that people can follow what is made of them."""
    return np.abs(np.random.default_rng(0).normal(size=shape)).round(1).astype(np.float32)


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
    return fit("xgboost", _random(60, 4), num_round="3", objective="binary:logistic")


def fit(name: str, rows: np.ndarray, **given: str) -> Any:
    """A model of rows with the labels 0 and 1 in turn."""
    algorithm = registry.find(name)
    values = hyperparameters.parse(algorithm.hyperparameters, given)
    labels = (np.arange(len(rows)) % 2).astype(np.float32)
    return algorithm.fit(values, {"train": MemoryStream(rows, labels)}, FakeJob())


def _trained(name: str) -> Any:
    """That of the first of an algorithm's configurations."""
    algorithm = registry.find(name)
    return trained(algorithm, algorithm.configurations[0].name)[0]


MODELS: dict[str, Callable[[], Any]] = {name: partial(_trained, name) for name in registry.ALGORITHMS} | {
    "kmeans": _kmeans, "pca": _pca, "lda": _lda, "linear-learner": _linear_learner,
    "factorization-machines": _factorization_machines, "ntm": _ntm, "image-classification": _image_classification,
    "seq2seq": _seq2seq, "xgboost": _xgboost,
}  # fmt: skip
