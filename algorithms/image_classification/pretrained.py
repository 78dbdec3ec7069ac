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
from algorithms.image_classification import other_networks
from algorithms.image_classification.architecture import DEPTHS, Architecture, parameter_shapes
from algorithms.image_classification.model import image_shape, last_checkpoint, load_arrays

PRETRAINED = Path("/opt/pretrained-models")
OF_USER = Path("~/.cache/open-builtin-algorithms/pretrained")
PUBLISHED = (18, 34, 50, 101, 152, 200)
"""Layers of the networks that MXNet's authors have published, trained on the 1,000 classes of ImageNet."""
ADDRESS = "http://data.mxnet.io/models/imagenet/resnet/{layers}-layers/resnet-{layers}-0000.params"
"""Of those, as MXNet's tutorials name it."""
_LAST_LAYER = ("arg:fc1_weight", "arg:fc1_bias")


class Weights(NamedTuple):
    """What training starts from.

    Attributes:
        arrays: by MXNet's names. random: names of those that are not taken from them.
        symbol: the symbol file, where the network is of another form than the one described here. file: its name.
        kept: bytes that a step of that network keeps of each image at least.
    """

    arrays: Mapping[str, np.ndarray]
    random: tuple[str, ...]
    symbol: str | None = None
    file: str = ""
    kept: int = 0


def find(form: Architecture, channel: Path | None, *, pretrained: bool) -> Weights | None:
    """The weights to start from; None where a network starts from random ones. Neither reads data nor imports Keras.

    A checkpoint of another form than the network described here starts the network that the symbol file beside it
    says, whatever ``form.num_layers`` is.

    Args:
        channel: the folder of the channel ``model``, if the job has one.
        pretrained: they are of another task, so that the last layer stays random.

    Raises:
        ModelError: there are no weights where there must be, or they are of another network, or of one that cannot be
            trained here.
    """
    if pretrained:
        path = _params(channel) if channel is not None else _in_image(form.num_layers)
    elif channel is not None:
        _check_same(channel, form)
        path = last_checkpoint(channel)
    else:
        return None
    arrays = load_arrays(path)
    symbol = None if _is_ours(arrays) else _symbol(path)
    if symbol is not None:
        start = other_networks.prepared(symbol, arrays, form, pretrained=pretrained)
        return Weights(start.arrays, start.random, start.symbol, symbol.name, start.kept)
    what = f"'{path.name}'" if pretrained else "Channel 'model'"
    return _checked(arrays, what, form, random=_LAST_LAYER if pretrained else ())


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
        f"{num_layers} layers there when the image is built, or give one in channel 'model'; `oba pretrained "
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


def _is_ours(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether they are of the network described here, of whatever depth and for images of whatever size."""
    layers = _layers(arrays)
    if layers not in DEPTHS:
        return False
    small = Architecture(layers, (3, 8, 8), 1)  # what it has, those for large images have too
    expected = parameter_shapes(small).keys() - {"arg:bn_data_gamma"}
    return expected <= arrays.keys()


def _symbol(path: Path) -> Path | None:
    """The symbol file of a checkpoint: ``model-symbol.json`` of ``model.params`` or ``model-0001.params``."""
    names = (f"{stem}-symbol.json" for stem in (path.stem, path.stem.rpartition("-")[0]))
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


def _checked(arrays: Mapping[str, np.ndarray], what: str, form: Architecture, *, random: tuple[str, ...]) -> Weights:
    layers = _layers(arrays)
    if layers != form.num_layers:
        raise ModelError(
            f"{what} is of another network, of {layers} layers; num_layers of this job is {form.num_layers}"
        )
    weight = _LAST_LAYER[0]
    if not random and weight in arrays and len(arrays[weight]) != form.num_classes:
        raise ModelError(
            f"{what} has num_classes {len(arrays[weight])}, this job {form.num_classes}; they must be the same"
        )
    return Weights(arrays, random)


def _layers(arrays: Mapping[str, np.ndarray]) -> int:
    """How many layers have weights, those of shortcuts left out: what ``num_layers`` counts."""
    return sum(name.endswith("_weight") and not name.endswith("_sc_weight") for name in arrays)


def _joined(shape: tuple[int, int, int]) -> str:
    return ",".join(map(str, shape))
