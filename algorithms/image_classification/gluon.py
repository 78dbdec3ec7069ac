"""The checkpoints of MXNet's Gluon model zoo, as checkpoints of the network that is trained here.

Gluon's ``resnetNN_v2`` is the same network, layer for layer, but for three things, all of which batch norm's statistics
can say: its epsilon is 1e-5, pixels come to it in 0 to 1, less their mean and over their deviation, and its arrays have
other names. So a converted checkpoint gives the same predictions, of pixels in 0 to 255.

References: python/mxnet/gluon/model_zoo/vision/resnet.py and model_store.py of apache/mxnet 1.9.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from algorithms.errors import ModelError
from algorithms.image_classification.architecture import BATCH_NORM_EPSILON, Architecture, resnet

PUBLISHED = {
    50: "ecdde35339c1aadbec4f547857078e734a76fb49",
    101: "18e93e4f48947e002547f50eabbcc9c83e516aa6",
    152: "f2695542de38cf7e71ed58f02893d82bb409415e",
}
"""SHA-1 of each file of parameters, by the layers of its network; MXNet's own code checks them so. In those of 18 and
34 layers the first unit adds to its input itself, where the network here adds to a convolution of it."""
ADDRESS = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/models/resnet{layers}_v2-{short}.zip"
_EPSILON = 1e-5
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of the three colours over ImageNet, in 0 to 1, as Gluon's users take them off."""
_WHITE = 255.0


def address(layers: int) -> str:
    """Of the archive with the parameters.

    >>> address(50).rpartition("/")[2]
    'resnet50_v2-ecdde353.zip'
    """
    return ADDRESS.format(layers=layers, short=PUBLISHED[layers][:8])


def converted(arrays: Mapping[str, np.ndarray], layers: int) -> dict[str, np.ndarray]:
    """The arrays by the names of MXNet's symbols, float32, from those by Gluon's: of either of its two kinds.

    Raises:
        ModelError: an array is not there.
    """
    nodes = _Nodes()
    resnet(nodes, None, Architecture(layers, (3, 224, 224), 1000))
    by_structure = any("." in name for name in arrays)
    made: dict[str, np.ndarray] = {}
    for (kind, name), theirs in zip(nodes.found, _names(nodes.found, by_structure=by_structure), strict=True):
        separator = "." if by_structure else "_"

        def array(suffix: str, theirs: str = theirs + separator) -> np.ndarray:
            if theirs + suffix not in arrays:
                raise ModelError(f"there is no array '{theirs}{suffix}', as Gluon's network of {layers} layers has")
            return np.asarray(arrays[theirs + suffix], np.float64)

        if kind == _NORM:
            mean, variance = array("running_mean"), array("running_var") + _EPSILON
            if name == "bn_data":
                mean, variance = _WHITE * (_MEAN + _DEVIATION * mean), (_WHITE * _DEVIATION) ** 2 * variance
            made |= {f"arg:{name}_gamma": array("gamma"), f"arg:{name}_beta": array("beta")}
            made |= {f"aux:{name}_moving_mean": mean, f"aux:{name}_moving_var": variance - BATCH_NORM_EPSILON}
        else:
            made[f"arg:{name}_weight"] = array("weight")
            if kind == _DENSE:
                made[f"arg:{name}_bias"] = array("bias")
    return {name: value.astype(np.float32) for name, value in made.items()}


_NORM, _CONVOLUTION, _DENSE = "batchnorm", "conv", "dense"


class _Nodes:
    """``architecture.Operators`` that note the kind and the name of each layer with parameters, in Gluon's order."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def batch_norm(self, x: Any, name: str, *, scale: bool = True) -> None:
        self.found.append((_NORM, name))

    def relu(self, x: Any, name: str) -> None: ...

    def convolution(self, x: Any, name: str, filters: int, kernel: int, stride: int, pad: int) -> None:
        self.found.append((_CONVOLUTION, name))

    def add(self, x: Any, y: Any, name: str) -> None: ...

    def max_pool(self, x: Any, name: str, kernel: int, stride: int, pad: int) -> None: ...

    def average(self, x: Any, name: str) -> None: ...

    def dense(self, x: Any, name: str, outputs: int) -> None:
        self.found.append((_DENSE, name))


_AT_THE_TOP = {
    "bn_data": "features.0",
    "conv0": "features.1",
    "bn0": "features.2",
    "bn1": "features.9",
    "fc1": "output",
}
_BEFORE_STAGES = 4
"""Children of Gluon's ``features`` before the first stage, less one."""


def _names(nodes: list[tuple[str, str]], *, by_structure: bool) -> Iterator[str]:
    """What Gluon calls each layer: ``features.5.0.conv1`` by structure, or ``stage1_conv0``, counted in each stage."""
    counts: Counter[str] = Counter()
    for kind, name in nodes:
        stage, _, rest = name.rpartition("_unit")  # "stage1" and "1_conv1", or nothing and the whole name
        if by_structure:
            unit, _, layer = rest.partition("_")
            child = f"features.{_BEFORE_STAGES + int(stage[5:])}.{int(unit) - 1}" if stage else ""
            yield f"{child}.{'downsample' if layer == 'sc' else layer}" if stage else _AT_THE_TOP[name]
        else:
            prefix = f"{stage}_{kind}" if stage else kind
            yield f"{prefix}{counts[prefix]}"
            counts[prefix] += 1
