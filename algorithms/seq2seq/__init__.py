"""Sequence to sequence: an encoder reads the tokens of one sequence, a decoder that looks back at it writes another.

Recurrent networks with attention and convolutional networks, as in Sockeye 1.x, on which SageMaker's algorithm is
based: the same layers, names and layouts of parameters, losses and schedules.

References: F. Hieber et al., "Sockeye: A Toolkit for Neural Machine Translation", arXiv 1712.05690, 2017. D. Bahdanau,
K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR 2015. J. Gehring et
al., "Convolutional Sequence to Sequence Learning", ICML 2017.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from algorithms.common.engine import tuning_metric
from algorithms.common.networks import moments
from algorithms.hyperparameters import Hyperparameters, Tunable, choice, flag, integer, real
from algorithms.interface import (
    FAST_FILE,
    FILE,
    FILES,
    JSON,
    JSON_LINES,
    RECORDIO,
    RECORDS,
    TEXTS,
    TOKENS,
    Algorithm,
    Channel,
    Column,
    Configuration,
    Job,
    Metric,
    Serving,
)
from algorithms.seq2seq import model
from algorithms.seq2seq.architecture import Architecture, parameter_count
from algorithms.seq2seq.fit import train
from algorithms.seq2seq.model import Seq2SeqModel
from algorithms.seq2seq.vocabulary import SYMBOLS

_RNN = "encoder_type or decoder_type is rnn"
_CNN = "encoder_type or decoder_type is cnn"
_DROPOUT = Tunable(0.0, 0.5)
BYTES_A_LAYER = 2 << 20
"""Bytes of TensorFlow's graph for each layer, whatever its width: 3 MB were measured for convolutions, 11 MB for
recurrent layers."""
_SIZES = tuple(str(1 << power) for power in range(7, 12))


@dataclass(frozen=True, kw_only=True)
class Seq2SeqHyperparameters(Hyperparameters):
    """See the README's table."""

    batch_size: int = integer(
        default=64,
        at_least=1,
        tunable=Tunable(choices=tuple(str(1 << power) for power in range(4, 12))),
        help="Pairs of an update, on each host.",
    )
    beam_size: int = integer(default=5, at_least=1, help="Hypotheses kept of each sentence when a target is searched.")
    bleu_sample_size: int = integer(
        default=0,
        at_least=-1,
        help="Validation pairs that BLEU is measured on at each checkpoint; -1 for all, 0 for none, or all where "
        "optimized_metric is bleu.",
    )
    bucket_width: int = integer(
        default=10,
        at_least=1,
        help="Step of the lengths by which pairs are put together.",
        when="bucketing_enabled is true",
    )
    bucketing_enabled: bool = flag(default=True, help="Whether a batch has pairs of like lengths.")
    checkpoint_frequency_num_batches: int = integer(
        default=1000, at_least=1, help="Updates between two evaluations on the validation channel."
    )
    checkpoint_threshold: int = integer(
        default=3,
        at_least=1,
        help="Checkpoints without gain in optimized_metric after which training ends, unless max_num_epochs is given.",
    )
    clip_gradient: float = real(
        default=1.0,
        tunable=Tunable(1, 5),
        help="Each number of a gradient is cut to minus and plus this; not if negative.",
    )
    cnn_activation_type: str = choice(
        "glu", "relu", "softrelu", "sigmoid", "tanh", default="glu", help="Activation of the convolutions.", when=_CNN
    )
    cnn_hidden_dropout: float = real(
        default=0.0, at_least=0, at_most=1, tunable=_DROPOUT, help="Dropout before each convolution.", when=_CNN
    )
    cnn_kernel_width_decoder: int = integer(
        default=5, at_least=1, help="Tokens that a convolution of the decoder sees.", when="decoder_type is cnn"
    )
    cnn_kernel_width_encoder: int = integer(
        default=3, at_least=1, help="Tokens that a convolution of the encoder sees.", when="encoder_type is cnn"
    )
    cnn_num_hidden: int = integer(
        default=512, at_least=1, tunable=Tunable(choices=_SIZES), help="Width of the convolutions.", when=_CNN
    )
    decoder_type: str = choice("rnn", "cnn", default="rnn", help="Recurrent with attention, or convolutional.")
    embed_dropout_source: float = real(
        default=0.0, at_least=0, at_most=1, tunable=_DROPOUT, help="Dropout of the source's embeddings."
    )
    embed_dropout_target: float = real(
        default=0.0, at_least=0, at_most=1, tunable=_DROPOUT, help="Dropout of the target's embeddings."
    )
    encoder_type: str = choice("rnn", "cnn", default="rnn", help="Recurrent in both directions, or convolutional.")
    fixed_rate_lr_half_life: int = integer(
        default=10,
        at_least=1,
        tunable=Tunable(10, 30),
        help="Checkpoints after which the learning rate is half.",
        when="lr_scheduler_type is fixed_rate_inv_t or fixed_rate_inv_sqrt_t",
    )
    learning_rate: float = real(
        default=0.0003, tunable=Tunable(0.00005, 0.2), help="Learning rate of the first update."
    )
    loss_type: str = choice("cross-entropy", default="cross-entropy", help="Loss.")
    lr_scheduler_type: str = choice(
        "plateau_reduce",
        "fixed_rate_inv_t",
        "fixed_rate_inv_sqrt_t",
        default="plateau_reduce",
        tunable=Tunable(choices=("plateau_reduce", "fixed_rate_inv_t", "fixed_rate_inv_sqrt_t")),
        help="How the learning rate falls: where optimized_metric stalls, or with time or its square root.",
    )
    max_num_batches: int = integer(default=-1, at_least=-1, help="Most updates; -1 for any number.")
    max_num_epochs: int | None = integer(
        default=None, at_least=1, help="Epochs; where given, training goes on to the last even without gain."
    )
    max_seq_len_source: int = integer(default=100, at_least=1, help="Longer sources are cut to so many tokens.")
    max_seq_len_target: int = integer(default=100, at_least=1, help="Longer targets are cut to so many tokens.")
    min_num_epochs: int = integer(default=0, at_least=0, help="Epochs before training may end for want of gain.")
    momentum: float | None = real(
        default=None, tunable=Tunable(0.5, 0.9), help="Momentum.", when="optimizer_type is sgd"
    )
    num_embed_source: int = integer(
        default=512, at_least=1, tunable=Tunable(256, 512), help="Numbers for each source token."
    )
    num_embed_target: int = integer(
        default=512, at_least=1, tunable=Tunable(256, 512), help="Numbers for each target token."
    )
    num_layers_decoder: int = integer(default=1, at_least=1, tunable=Tunable(1, 10), help="Layers of the decoder.")
    num_layers_encoder: int = integer(
        default=1,
        at_least=1,
        tunable=Tunable(1, 10),
        help="Layers of the encoder; a recurrent one's first goes both ways.",
    )
    optimized_metric: str = choice(
        "perplexity", "accuracy", "bleu", default="perplexity", help="What decides which checkpoint is best."
    )
    optimizer_type: str = choice(
        "adam",
        "sgd",
        "rmsprop",
        default="adam",
        tunable=Tunable(choices=("adam", "sgd", "rmsprop")),
        help="Optimizer.",
    )
    plateau_reduce_lr_factor: float = real(
        default=0.5,
        tunable=Tunable(0.1, 0.5),
        help="What the learning rate is multiplied with.",
        when="lr_scheduler_type is plateau_reduce",
    )
    plateau_reduce_lr_threshold: int = integer(
        default=3,
        at_least=1,
        tunable=Tunable(1, 5),
        help="Checkpoints without gain before that.",
        when="lr_scheduler_type is plateau_reduce",
    )
    rnn_attention_in_upper_layers: bool = flag(
        default=True,
        help="Layers of the decoder above the first see the context too.",
        when="num_layers_decoder is above 1",
    )
    rnn_attention_num_hidden: int | str = integer(
        default="rnn_num_hidden",
        at_least=1,
        words=("rnn_num_hidden",),
        help="Width of the attention; that of the recurrent layers if not given.",
        when="decoder_type is rnn",
    )
    rnn_attention_type: str = choice(
        "dot",
        "fixed",
        "mlp",
        "bilinear",
        default="mlp",
        help="How queries and keys are compared.",
        when="decoder_type is rnn",
    )
    rnn_cell_type: str = choice("lstm", "gru", default="lstm", help="Cell.", when=_RNN)
    rnn_decoder_state_init: str = choice(
        "last",
        "avg",
        "zero",
        default="last",
        help="The decoder starts from the encoded last token, the average, or zeros.",
        when="decoder_type is rnn",
    )
    rnn_first_residual_layer: int = integer(
        default=2,
        at_least=1,
        help="First layer, from 1, whose input is added to its output; the first of all cannot be.",
        when="rnn_residual_connections is true",
    )
    rnn_num_hidden: int = integer(
        default=1024, at_least=2, tunable=Tunable(choices=_SIZES), help="Width of recurrent layers; even.", when=_RNN
    )
    rnn_residual_connections: bool = flag(default=False, help="Inputs of layers are added to outputs.", when=_RNN)
    rnn_decoder_hidden_dropout: float = real(
        default=0.0,
        at_least=0,
        at_most=1,
        tunable=_DROPOUT,
        help="Dropout of the recurrent decoder's output and context.",
        when="decoder_type is rnn",
    )
    training_metric: str = choice(
        "perplexity", "accuracy", default="perplexity", help="What is logged of the training channel."
    )
    weight_decay: float = real(
        default=0.0,
        tunable=Tunable(0, 0.1),
        help="Each update takes this times the learning rate off all weights but biases.",
    )
    weight_init_scale: float = real(
        default=2.34,
        tunable=Tunable(2, 3),
        help="Bound of uniform weights; the square of xavier's is this over the fan.",
    )
    weight_init_type: str = choice(
        "uniform", "xavier", default="xavier", tunable=Tunable(choices=("xavier", "uniform")), help="First weights."
    )
    xavier_factor_type: str = choice(
        "in",
        "out",
        "avg",
        default="in",
        help="Fan: inputs, outputs, or their average.",
        when="weight_init_type is xavier",
    )
    tuning_objective_metric: str = tuning_metric()

    @property
    def copies(self) -> int:
        """Fewest arrays of the network's size at one time: its weights and the optimizer's moments, and with them in
        training the gradients and the running mean of the weights, or in evaluation the mean and the model made of
        it."""
        return 3 + moments(self.optimizer_type, self.momentum)

    def check(self) -> list[str]:
        """Problems of values: sizes that must be even, epochs that are out of order, rates and factors out of range."""
        problems = []
        if self.rnn_num_hidden % 2 and "rnn" in (self.encoder_type, self.decoder_type):
            problems.append(
                f"Hyperparameter 'rnn_num_hidden': {self.rnn_num_hidden} is odd; half of it is for each direction"
            )
        if self.max_num_epochs is not None and self.min_num_epochs > self.max_num_epochs:
            problems.append(
                f"Hyperparameter 'min_num_epochs': {self.min_num_epochs} is more than max_num_epochs, "
                f"{self.max_num_epochs}"
            )
        positive = {"learning_rate": self.learning_rate, "plateau_reduce_lr_factor": self.plateau_reduce_lr_factor}
        problems += [
            f"Hyperparameter '{name}': {value:g} is not above 0" for name, value in positive.items() if value <= 0
        ]
        if self.weight_decay < 0:
            problems.append(f"Hyperparameter 'weight_decay': {self.weight_decay:g} is below 0")
        if self.momentum is not None and not 0 <= self.momentum < 1:
            problems.append(f"Hyperparameter 'momentum': {self.momentum:g} is not from 0 to below 1")
        if self.plateau_reduce_lr_factor > 1:
            problems.append(f"Hyperparameter 'plateau_reduce_lr_factor': {self.plateau_reduce_lr_factor:g} is above 1")
        if self.max_num_batches == 0:
            problems.append("Hyperparameter 'max_num_batches': 0 updates make no model; -1 is for any number")
        dropouts = {field.name for field in dataclasses.fields(self) if "dropout" in field.name}
        problems += [
            f"Hyperparameter '{name}': 1 leaves nothing to learn from"
            for name in sorted(dropouts)
            if getattr(self, name) == 1
        ]
        return problems

    def unlogged(self, metric: str, channels: Collection[str] | None = None) -> str | None:
        """Metrics that are not logged: BLEU, which takes long, unless the job asks for it."""
        if metric != "validation:bleu" or self.optimized_metric == "bleu" or self.bleu_sample_size:
            return super().unlogged(metric, channels)
        return "bleu_sample_size is 0; set it to a number of pairs, or optimized_metric to bleu"


def _metric(name: str, *, maximize: bool) -> Metric:
    """CloudWatch shows the tab of the line as ``#011``."""
    pattern = rf"Checkpoint \[\d+\](?:\t|#011)Validation-{name}=(\S+)"
    return Metric(name=f"validation:{name}", regex=pattern, maximize=maximize, objective=True)


class Seq2Seq(Algorithm):
    """SageMaker's ``seq2seq``."""

    name = "seq2seq"
    title = "seq2seq"
    summary = "Translates sequences of tokens into sequences of tokens."
    hyperparameters = Seq2SeqHyperparameters
    channels = (
        Channel(
            name="train",
            required=True,
            accepts=(RECORDIO,),
            gives=RECORDS,
            modes=(FILE, FAST_FILE),
            help="Records with the features source and target, the ids of tokens: train.rec.",
        ),
        Channel(
            name="validation",
            required=True,
            accepts=(RECORDIO,),
            gives=RECORDS,
            modes=(FILE, FAST_FILE),
            help="The same, held out: val.rec. What is measured there decides which checkpoint is kept.",
        ),
        Channel(
            name="vocab",
            required=True,
            accepts=(JSON,),
            gives=FILES,
            modes=(FILE, FAST_FILE),
            default_type=JSON,
            help="vocab.src.json and vocab.trg.json, from tokens to ids.",
        ),
    )
    columns = (
        Column("target", "The sentence in the target language.", kind="texts"),
        Column("tokens", "The numbers of its tokens.", (None,)),
        Column(
            "matrix", "Attention: a row a target token, a column a source token; where it is asked for.", (None, None)
        ),
    )
    metrics = (
        _metric("perplexity", maximize=False),
        _metric("accuracy", maximize=True),
        _metric("bleu", maximize=True),
    )
    serving = Serving(
        accepts=(JSON, JSON_LINES, RECORDIO), answers=(JSON, JSON_LINES, RECORDIO), takes=TEXTS, dialect="sequences"
    )
    log_dialect = "sockeye"
    several_hosts = True
    configurations = tuple(
        Configuration(
            name=kind,
            hyperparameters={
                "batch_size": "20",
                "encoder_type": kind,
                "decoder_type": kind,
                "num_embed_source": "8",
                "num_embed_target": "8",
                "rnn_num_hidden": "16",
                "cnn_num_hidden": "16",
                "max_num_epochs": "2",
                "checkpoint_frequency_num_batches": "4",
                "bleu_sample_size": "5",
                "learning_rate": "0.01",
            },
            data=TOKENS,
        )
        for kind in ("cnn", "rnn")
    )
    load = staticmethod(model.load)
    recognises = staticmethod(model.recognises)

    @classmethod
    def fit(cls, hyperparameters: Seq2SeqHyperparameters, channels: Mapping[str, Any], job: Job) -> Seq2SeqModel:
        """See ``algorithms.seq2seq.fit``."""
        return train(hyperparameters, channels, job)

    @classmethod
    def memory(cls, hyperparameters: Seq2SeqHyperparameters) -> int:
        """``copies`` of the parameters in float32, with vocabularies of least size, and what TensorFlow keeps of each
        layer."""
        values = hyperparameters
        least = {"source_vocabulary": len(SYMBOLS) + 1, "target_vocabulary": len(SYMBOLS) + 1}
        layers = values.num_layers_encoder + values.num_layers_decoder
        return 4 * values.copies * parameter_count(Architecture.of(values, **least)) + layers * BYTES_A_LAYER
