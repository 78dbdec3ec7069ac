"""Weights to start from: those of an earlier job, or of a network that was trained on other images.

With ``use_pretrained_model`` they are in the channel ``model``; or in ``/opt/pretrained-models``, put there when an
image is built; or, on a user's machine, in a folder below the home folder. ``resnet-50.params`` for 50 layers is a
checkpoint of MXNet's network of that depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from algorithms.errors import ModelError
from algorithms.image_classification.architecture import Architecture
from algorithms.image_classification.model import image_shape, last_checkpoint, load_arrays

PRETRAINED = Path("/opt/pretrained-models")
OF_USER = Path("~/.cache/open-builtin-algorithms/pretrained")
PUBLISHED = (18, 34, 50, 101, 152, 200)
"""Layers of the networks that MXNet's authors have published, trained on the 1,000 classes of ImageNet."""
ADDRESS = "http://data.mxnet.io/models/imagenet/resnet/{layers}-layers/resnet-{layers}-0000.params"
"""Of those, as MXNet's tutorials name it."""
_LAST_LAYER = "fc1"


class Weights(NamedTuple):
    """``arrays`` by MXNet's names; ``random_layers`` are not taken from them."""

    arrays: Mapping[str, np.ndarray]
    random_layers: tuple[str, ...]


def find(form: Architecture, channel: Path | None, *, pretrained: bool) -> Weights | None:
    """The weights to start from; None where a network starts from random ones. Neither reads data nor imports Keras.

    Args:
        channel: the folder of the channel ``model``, if the job has one.
        pretrained: they are of another task, so that the last layer stays random.

    Raises:
        ModelError: there are no weights where there must be, or they are of another network.
    """
    if pretrained:
        path = _params(channel) if channel is not None else _in_image(form.num_layers)
        return _checked(load_arrays(path), f"'{path.name}'", form, random_layers=(_LAST_LAYER,))
    if channel is None:
        return None
    _check_same(channel, form)
    return _checked(load_arrays(last_checkpoint(channel)), "Channel 'model'", form, random_layers=())


def file_name(num_layers: int) -> str:
    """The name of a checkpoint where training looks for it.

    >>> file_name(50)
    'resnet-50.params'
    """
    return f"resnet-{num_layers}.params"


def check(path: Path, num_layers: int) -> None:
    """See that a file is a checkpoint of MXNet's ResNet of that depth.

    Raises:
        ModelError: it is not.
    """
    layers = _layers(load_arrays(path))
    if layers != num_layers:
        raise ModelError(f"it has {layers} layers with weights, and resnet-{num_layers} has {num_layers}")


def _in_image(num_layers: int) -> Path:
    name = file_name(num_layers)
    for folder in (PRETRAINED, OF_USER.expanduser()):
        if (folder / name).is_file():
            return folder / name
    raise ModelError(
        f"use_pretrained_model is 1, but this image has no {PRETRAINED / name}: put a checkpoint of MXNet's ResNet of "
        f"{num_layers} layers there when the image is built, or give one in the channel 'model'; `oba pretrained "
        f"resnet-{num_layers}` fetches the public one"
    )


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


def _checked(
    arrays: Mapping[str, np.ndarray], what: str, form: Architecture, *, random_layers: tuple[str, ...]
) -> Weights:
    layers = _layers(arrays)
    if layers != form.num_layers:
        raise ModelError(
            f"{what} is of another network, of {layers} layers; num_layers of this job is {form.num_layers}"
        )
    weight = f"arg:{_LAST_LAYER}_weight"
    if _LAST_LAYER not in random_layers and weight in arrays and len(arrays[weight]) != form.num_classes:
        raise ModelError(
            f"{what} has num_classes {len(arrays[weight])}, this job {form.num_classes}; they must be the same"
        )
    return Weights(arrays, random_layers)


def _layers(arrays: Mapping[str, np.ndarray]) -> int:
    """How many layers have weights, those of shortcuts left out: what ``num_layers`` counts."""
    return sum(name.endswith("_weight") and not name.endswith("_sc_weight") for name in arrays)


def _joined(shape: tuple[int, int, int]) -> str:
    return ",".join(map(str, shape))
