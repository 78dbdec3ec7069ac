"""Weights to start from: those of an earlier job, or of a network that was trained on other images.

With ``use_pretrained_model`` they are in the channel ``model`` or, put there when an image is built, in
``/opt/pretrained-models``: ``resnet-50.params`` for 50 layers, a checkpoint of MXNet's network of that depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.errors import ModelError
from algorithms.image_classification import network
from algorithms.image_classification.architecture import Architecture
from algorithms.image_classification.model import image_shape, last_checkpoint, load_arrays

PRETRAINED = Path("/opt/pretrained-models")
_LAST_LAYER = "fc1"


def start(keras_network: Any, form: Architecture, channel: Path | None, *, pretrained: bool) -> None:
    """Give the network the weights to start from, where there are any to be used.

    Args:
        channel: the folder of the channel ``model``, if the job has one.
        pretrained: they are of another task, so that the last layer stays random.

    Raises:
        ModelError: there are no weights where there must be, or they are of another network.
    """
    if pretrained:
        path = _params(channel) if channel is not None else _in_image(form.num_layers)
        _set(keras_network, load_arrays(path), f"'{path.name}'", but=(_LAST_LAYER,))
    elif channel is not None:
        _check_same(channel, form)
        _set(keras_network, load_arrays(last_checkpoint(channel)), "Channel 'model'", but=())


def _in_image(num_layers: int) -> Path:
    path = PRETRAINED / f"resnet-{num_layers}.params"
    if not path.is_file():
        raise ModelError(
            f"use_pretrained_model is 1, but this image has no {path}: put a checkpoint of MXNet's ResNet of "
            f"{num_layers} layers there when the image is built, or give one in the channel 'model'"
        )
    return path


def _params(folder: Path) -> Path:
    """The checkpoint in a folder: an artifact's last, or else the only .params file."""
    try:
        return last_checkpoint(folder)
    except ModelError:
        found = sorted(folder.rglob("*.params"))
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise ModelError(f"Channel 'model' must have one .params file, and has {names}") from None
        return found[0]


def _check_same(folder: Path, form: Architecture) -> None:
    shape = image_shape(folder)
    if shape != form.image_shape:
        raise ModelError(
            f"Channel 'model': the earlier model has image_shape {_joined(shape)}, this job "
            f"{_joined(form.image_shape)}; num_layers, image_shape and num_classes must be the same"
        )


def _set(keras_network: Any, arrays: Mapping[str, np.ndarray], what: str, *, but: tuple[str, ...]) -> None:
    expected = network.parameters(keras_network)
    mine, theirs = _layers(expected), _layers(arrays)
    if mine != theirs:
        raise ModelError(f"{what} is of another network, of {theirs} layers; num_layers of this job is {mine}")
    weight = f"arg:{_LAST_LAYER}_weight"
    if _LAST_LAYER not in but and arrays[weight].shape[0] != expected[weight].shape[0]:
        raise ModelError(
            f"{what} has num_classes {arrays[weight].shape[0]}, this job {expected[weight].shape[0]}; "
            "they must be the same"
        )
    network.set_parameters(keras_network, arrays, but=but)


def _layers(arrays: Mapping[str, np.ndarray]) -> int:
    """How many layers have weights, those of shortcuts left out: ``num_layers``, but for the names of MXNet."""
    return sum(name.endswith("_weight") and not name.endswith("_sc_weight") for name in arrays)


def _joined(shape: tuple[int, int, int]) -> str:
    return ",".join(map(str, shape))
