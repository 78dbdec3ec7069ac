"""What training a network needs at least, by its hyperparameters: counted without making a single array."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from algorithms import hyperparameters, registry
from algorithms.errors import HyperparameterError, TrainingDataError
from algorithms.image_classification.architecture import Architecture
from algorithms.image_classification.architecture import parameter_count as image_parameters
from algorithms.seq2seq import architecture as seq2seq
from algorithms.seq2seq.architecture import parameter_count
from algorithms.seq2seq.fit import _check_memory
from container.training.train import check_memory
from recordio.sequences import Pairs, Ragged
from recordio.shares import Share
from tests.algorithms import samples
from tests.algorithms.test_hostile_artifacts import FORM, image_arrays

GIB = 1 << 30
RECURRENT = {"encoder_type": "rnn", "decoder_type": "rnn", "rnn_attention_type": "mlp"}


def values(algorithm: str, **given: str) -> Any:
    plain = next(iter(samples.configurations(algorithm).values())).hyperparameters
    return hyperparameters.parse(registry.find(algorithm).hyperparameters, {**plain, **given})


@pytest.mark.parametrize(
    ("algorithm", "given"),
    [
        ("image-classification", {"num_classes": "2000000000"}),
        ("image-classification", {"mini_batch_size": "2000000000", "num_training_samples": "2000000000"}),
        ("seq2seq", RECURRENT | {"rnn_num_hidden": "1000000000"}),
        ("seq2seq", {"num_embed_source": "2147483647"}),
        ("seq2seq", {"num_embed_target": "2147483647"}),
        ("seq2seq", {"num_layers_encoder": "2147483647"}),
        ("seq2seq", {"num_layers_decoder": "2147483647"}),
        ("seq2seq", {"num_layers_encoder": "100000"}),
        ("seq2seq", {"encoder_type": "cnn", "decoder_type": "cnn", "num_layers_decoder": "100000"}),
        ("seq2seq", {"encoder_type": "cnn", "decoder_type": "cnn", "cnn_num_hidden": "1000000000"}),
        ("seq2seq", {"encoder_type": "cnn", "max_seq_len_source": "2147483647"}),
        ("seq2seq", {"encoder_type": "cnn", "cnn_kernel_width_encoder": "2147483647"}),
        ("seq2seq", RECURRENT | {"rnn_attention_num_hidden": "1000000000"}),
        ("ntm", {"encoder_layers": "[9999999, 9999999]"}),
        ("ntm", {"encoder_layers": "[9999999]", "feature_dim": "1000000"}),
    ],
)
def test_what_cannot_fit_is_refused_with_both_numbers(algorithm: str, given: dict[str, str]) -> None:
    with pytest.raises(HyperparameterError, match=r"needs at least [\d,]+\.\d GiB of memory, and .* has 8.0 GiB"):
        check_memory(registry.find(algorithm), values(algorithm, **given), 8 * GIB)


@pytest.mark.parametrize("algorithm", ["image-classification", "seq2seq", "ntm"])
def test_small_jobs_pass(algorithm: str) -> None:
    assert 0 < registry.find(algorithm).memory(values(algorithm)) < 64 << 20


@pytest.mark.parametrize(
    ("algorithm", "name", "copies"),
    [("seq2seq", "optimizer_type", 3), ("ntm", "optimizer", 2), ("image-classification", "optimizer", 3)],
)
def test_the_moments_of_the_optimizer_count(algorithm: str, name: str, copies: int) -> None:
    """Beside weights, gradients and, of the networks with one, the model that is kept or the mean."""
    found = registry.find(algorithm)
    plain, rms, adam = (
        found.memory(values(algorithm, **{name: kind}, **({"momentum": "0"} if kind == "sgd" and copies == 3 else {})))
        for kind in ("sgd", "rmsprop", "adam")
    )
    assert adam - rms == rms - plain > 0
    assert plain >= copies * (rms - plain)


def test_the_parameters_of_residual_networks_are_counted() -> None:
    """By the arrays that the symbol file implies, and the number that torchvision states for its ResNet-18: ours has no
    bias in batch norm's place, but means and variances besides, and a batch norm on the pixels."""
    assert image_parameters(FORM) == sum(array.size for array in image_arrays().values())
    published = 11_689_512
    assert abs(image_parameters(Architecture(18, (3, 224, 224), 1000)) / published - 1) < 0.01


@pytest.mark.parametrize("kinds", [("rnn", "rnn"), ("cnn", "cnn"), ("rnn", "cnn"), ("cnn", "rnn")])
@pytest.mark.parametrize("upper", ["true", "false"])
@pytest.mark.parametrize("layers", [(1, 1), (2, 5), (6, 1), (3, 2)])
def test_the_parameters_of_many_layers_are_counted(kinds: tuple[str, str], upper: str, layers: tuple[int, int]) -> None:
    given = {"encoder_type": kinds[0], "decoder_type": kinds[1], "rnn_attention_in_upper_layers": upper}
    given |= {"num_layers_encoder": str(layers[0]), "num_layers_decoder": str(layers[1]), "cnn_num_hidden": "6"}
    form = seq2seq.Architecture.of(values("seq2seq", **given), source_vocabulary=11, target_vocabulary=13)
    listed = 0
    for shape in seq2seq.shapes(form).values():
        size = 1
        for length in shape:
            size *= length
        listed += size
    assert parameter_count(form) == listed


def test_a_batch_whose_scores_cannot_fit_is_refused() -> None:
    """10,000 targets of 9 words, and the symbol that ends each, times 50,000 words, twice in float32: 40 GB."""
    hp = values("seq2seq", batch_size="2147483647")
    shape = seq2seq.Architecture.of(hp, source_vocabulary=9, target_vocabulary=50_000)
    same = Ragged(np.full(90_000, 5, np.int32), np.arange(0, 90_001, 9))
    with pytest.raises(TrainingDataError, match=r"batch of 10000 pairs, .* needs at least 37.\d GiB .* has 8.0 GiB"):
        _check_memory(hp, shape, Pairs(same, same), Share(), 8 * GIB)
    _check_memory(replace(hp, batch_size=64), shape, Pairs(same, same), Share(), 8 * GIB)
