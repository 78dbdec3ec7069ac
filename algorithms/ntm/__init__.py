"""The neural topic model: a network reads a document's word counts and says which topics it is made of.

A variational autoencoder. The encoder gives a normal distribution over K numbers; drawn from it and put through a
softmax they are the document's topic weights z, from which the decoder, softmax(W z + b), must tell its words. What is
minimised is the bound of the negative log likelihood of the words, in nats for each word of a document.

References: Y. Miao, E. Grefenstette, P. Blunsom, "Discovering Discrete Latent Topics with Neural Variational
Inference", ICML 2017. R. Ding, R. Nallapati, B. Xiang, "Coherence-Aware Neural Topic Modeling", EMNLP 2018.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from algorithms.common.engine import PROGRESS, THROUGHPUT, engine, quality, tuning_metric
from algorithms.common.networks import moments
from algorithms.hyperparameters import AUTO, Hyperparameters, Tunable, choice, flag, integer, listing, real
from algorithms.interface import (
    COUNTS,
    CSV,
    FAST_FILE,
    FILE,
    FILES,
    JSON,
    JSON_LINES,
    PLAIN_TEXT,
    RECORDIO,
    Algorithm,
    Channel,
    Column,
    Configuration,
    Job,
    Serving,
)
from algorithms.ntm import model
from algorithms.ntm.fit import train
from algorithms.ntm.model import TOPIC_WEIGHTS, NTMModel
from recordio.quoting import quoted

INFINITY = "Infinity"
RATES = {"adam": 0.005, "rmsprop": 0.005, "adagrad": 0.001, "sgd": 0.001}
"""Learning rates if none is given. SageMaker's default is 0.001, with which Adam and RMSProp end at worse topics: an
NPMI of 0.32 on 20 newsgroups, against 0.38 of adadelta, and 0.40 and 0.39 at these rates."""


@dataclass(frozen=True, kw_only=True)
class NTMHyperparameters(Hyperparameters):
    """See the README's table."""

    feature_dim: int = integer(at_least=1, at_most=1_000_000, help="Size of the vocabulary.")
    num_topics: int = integer(at_least=2, at_most=1000, help="Topics to find.")
    batch_norm: bool = flag(default=False, help="Whether the encoder's layers are batch-normalised.")
    clip_gradient: float | str = real(
        default=INFINITY,
        at_least=1e-3,
        words=(INFINITY, "Inf", "inf"),
        help="Each component of a gradient is cut to minus and plus this.",
    )
    encoder_layers: tuple[str, ...] | str = listing(
        default=AUTO,
        auto=True,
        help="Sizes of the encoder's layers; auto is two layers of 3 x num_topics and 2 x num_topics.",
    )
    encoder_layers_activation: str = choice(
        "sigmoid",
        "tanh",
        "relu",
        default="sigmoid",
        tunable=Tunable(choices=("sigmoid", "tanh", "relu")),
        help="Activation of the encoder's layers.",
    )
    epochs: int = integer(default=50, at_least=1, help="Most passes over the training data.")
    learning_rate: float | None = real(
        default=None,
        at_least=1e-6,
        at_most=1.0,
        tunable=Tunable(1e-4, 0.1),
        help="Step size. Where not given: 0.005 for adam and rmsprop, 0.001 for adagrad and sgd. adadelta has none, "
        "and goes without it, as in MXNet.",
    )
    mini_batch_size: int = integer(
        default=256, at_least=1, at_most=10_000, tunable=Tunable(16, 2048), help="Documents of a step."
    )
    num_patience_epochs: int = integer(
        default=3,
        at_least=1,
        help="Epochs before the present one whose best loss it must better by tolerance; training stops when more "
        "epochs than this in a row do not.",
    )
    optimizer: str = choice(
        "sgd",
        "adam",
        "adagrad",
        "adadelta",
        "rmsprop",
        default="adadelta",
        tunable=Tunable(choices=("sgd", "adam", "adadelta")),
        help="Optimizer, with MXNet's constants.",
    )
    rescale_gradient: float = real(
        default=1.0,
        at_least=1e-3,
        at_most=1.0,
        tunable=Tunable(0.1, 1.0),
        help="Factor on the gradient, which is the sum over the documents of a mini-batch.",
    )
    sub_sample: float = real(
        default=1.0, above=0, at_most=1.0, help="Share of the training data that is drawn for each epoch."
    )
    tolerance: float = real(
        default=1e-3, at_least=1e-6, at_most=0.1, help="Least fall of the loss that counts as one for early stopping."
    )
    weight_decay: float = real(
        default=0.0, at_least=0, at_most=1.0, tunable=Tunable(0.0, 1.0), help="L2 penalty of the weights."
    )
    tuning_objective_metric: str = tuning_metric()
    data_format: str = engine("_data_format", "record")
    num_gpus: str = engine("_num_gpus", "auto")
    num_kv_servers: str = engine("_num_kv_servers", "auto")
    kvstore: str = engine("_kvstore", "auto_gpu")
    log_level: str = engine("_log_level", "info")

    @property
    def rate(self) -> float:
        """The learning rate of the optimizer; for adadelta 1, the factor on its steps."""
        if self.optimizer == "adadelta":
            return 1.0
        return RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    def check(self) -> list[str]:
        """``encoder_layers`` must be whole numbers."""
        if self.encoder_layers == AUTO:
            return []
        return [
            f"Hyperparameter 'encoder_layers': {quoted(size)} is not an integer from 1 to 9,999,999"
            for size in self.encoder_layers
            if not re.fullmatch("[1-9][0-9]{0,6}", size)
        ]

    @property
    def layers(self) -> tuple[int, ...]:
        """Sizes of the encoder's layers."""
        if self.encoder_layers == AUTO:
            return 3 * self.num_topics, 2 * self.num_topics
        return tuple(map(int, self.encoder_layers))

    @property
    def products(self) -> int:
        """Multiplications for one document in the two largest layers, the encoder's first and the decoder."""
        return self.feature_dim * (self.layers[0] + self.num_topics)


class NTM(Algorithm):
    """SageMaker's ``ntm``."""

    name = "ntm"
    title = "AWS/NTM"
    summary = "Finds the topics of a corpus with a variational autoencoder."
    hyperparameters = NTMHyperparameters
    channels = (
        Channel(
            name="train",
            required=True,
            accepts=(RECORDIO, CSV),
            help="Word counts, a row for each document; labels are left out.",
        ),
        Channel(
            name="validation",
            accepts=(RECORDIO, CSV),
            help="Documents on which the loss is measured after each epoch; it decides on early stopping.",
        ),
        Channel(name="test", accepts=(RECORDIO, CSV), help="Documents on which the final model is scored."),
        Channel(
            name="auxiliary",
            accepts=(PLAIN_TEXT,),
            gives=FILES,
            modes=(FILE, FAST_FILE),
            default_type=PLAIN_TEXT,
            help="vocab.txt: the words in the order of their ids, one a line, in UTF-8. With a second .txt file of "
            "word vectors, a word and its numbers a line as in GloVe's files, the topics' WETC is logged too.",
        ),
    )
    columns = (Column(TOPIC_WEIGHTS, "Share of each topic in the document; they sum to 1.", (None,)),)
    metrics = (
        quality("validation:total_loss", each_epoch=True, objective=True),
        quality("train:total_loss", each_epoch=True),
        quality("test:total_loss"),
        PROGRESS,
        THROUGHPUT,
    )
    serving = Serving(accepts=(CSV, JSON, JSON_LINES, RECORDIO))
    several_hosts = True
    configurations = tuple(
        Configuration(
            name=name,
            hyperparameters={"feature_dim": "4", "num_topics": "2", "mini_batch_size": "20", "epochs": "3", **more},
            data=COUNTS,
        )
        for name, more in (
            ("sigmoid", {}),
            (
                "batch-norm",
                {
                    "batch_norm": "true",
                    "encoder_layers": "[5]",
                    "encoder_layers_activation": "relu",
                    "optimizer": "adam",
                },
            ),
        )
    )
    load = staticmethod(model.load)
    recognises = staticmethod(model.recognises)

    @classmethod
    def fit(cls, hyperparameters: NTMHyperparameters, channels: Mapping[str, Any], job: Job) -> NTMModel:
        """Train on ``train``, stop early by ``validation``, score on ``test``, name words by ``auxiliary``.

        Raises:
            ChannelError: the vocabulary or the word vectors cannot be used.
            TrainingDataError: the rows are not word counts, or there are none.
            TrainingStopped: a stop was asked for before a document was trained on.
        """
        return train(hyperparameters, channels, job)

    @classmethod
    def memory(cls, hyperparameters: NTMHyperparameters) -> int:
        """Bytes of the weights, their gradients and the optimizer's moments, in float32."""
        words, topics, layers = hyperparameters.feature_dim, hyperparameters.num_topics, hyperparameters.layers
        sizes = [*zip((words, *layers), layers, strict=False), *2 * [(layers[-1], topics)], (topics, words)]
        return 4 * (2 + moments(hyperparameters.optimizer)) * sum((inputs + 1) * outputs for inputs, outputs in sizes)
