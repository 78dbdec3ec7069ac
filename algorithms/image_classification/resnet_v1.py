"""The ResNets of torchvision and of Keras Applications, as checkpoints of MXNet from which training can start.

They are networks of the first version, with a ReLU after each sum. torchvision's have the stride of a unit in the 3x3
convolution, Keras' in the first one, which has a bias too. Both want pixels prepared otherwise, which the first batch
norm of the symbol does, so that it takes pixels in 0 to 255, RGB, like every network here: it has the statistics of
the pixels that their authors took, and keeps them.

Weights are read from safetensors (timm has torchvision's in that form; PyTorch's own files are pickles, which run what
is in them when they are read) and from Keras' HDF5.

References: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016;
torchvision/models/resnet.py; keras/src/applications/resnet.py.
"""

from __future__ import annotations

import itertools
import math
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from algorithms.common import mxnet_files, safetensors
from algorithms.common.mxnet_symbols import Graph
from algorithms.common.networks import load_keras
from algorithms.errors import ModelError
from algorithms.image_classification import network
from algorithms.image_classification.symbol import SOFTMAX
from algorithms.vision.graph import read_graph
from algorithms.vision.inference import Network
from recordio.limits import LARGEST_CHECKPOINT

_HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLES = (b"PK\x03\x04", b"\x80")  # of PyTorch, in a ZIP or as it is; Keras' models are such a ZIP too
_SUFFIX = re.compile(r"(.+)[._](weight|bias|gamma|beta|running_mean|running_var|moving_mean|moving_var)")
_OF_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_var"}
_KERAS_CONVOLUTIONS = {53: 50, 104: 101, 155: 152}
"""The layers of a network, by its convolutions: those of four shortcuts do not count, the dense layer does."""
_KERAS_FEATURES = 2048
"""What the dense layer of each of them reads."""


class _Origin(NamedTuple):
    """How a library says its networks.

    Attributes:
        layers: patterns of its layers' names, and how they are called here. A unit of theirs is {unit}, of ``base``.
        strided: the convolution of a bottleneck that has the stride. epsilon: of batch norm.
        mean, deviation: of pixels in 0 to 255, RGB, as its networks expect them to be taken off.
    """

    name: str
    layers: tuple[tuple[str, str], ...]
    base: int
    strided: int
    epsilon: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


_TORCHVISION = _Origin(
    "torchvision",
    (
        (r"conv1", "conv0"),
        (r"bn1", "bn0"),
        (r"layer(?P<stage>[1-4])\.(?P<unit>\d{1,3})\.(?P<rest>(conv|bn)[123])", "{rest}"),
        (r"layer(?P<stage>[1-4])\.(?P<unit>\d{1,3})\.downsample\.0", "sc"),
        (r"layer(?P<stage>[1-4])\.(?P<unit>\d{1,3})\.downsample\.1", "sc_bn"),
        (r"fc", "fc1"),
    ),
    0,
    2,
    1e-5,
    (0.485 * 255, 0.456 * 255, 0.406 * 255),
    (0.229 * 255, 0.224 * 255, 0.225 * 255),
)
_KERAS = _Origin(
    "Keras Applications",
    (
        (r"conv1_conv", "conv0"),
        (r"conv1_bn", "bn0"),
        (r"conv(?P<stage>[2-5])_block(?P<unit>\d{1,3})_0_conv", "sc"),
        (r"conv(?P<stage>[2-5])_block(?P<unit>\d{1,3})_0_bn", "sc_bn"),
        (r"conv(?P<stage>[2-5])_block(?P<unit>\d{1,3})_(?P<number>[123])_(?P<rest>conv|bn)", "{rest}{number}"),
        (r"predictions", "fc1"),
    ),
    1,
    1,
    1.001e-5,
    (123.68, 116.779, 103.939),
    (1.0, 1.0, 1.0),
)


def convert(file: Path, folder: Path) -> int:
    """Write ``resnet-<layers>-symbol.json`` and ``-0000.params`` of a file of weights into ``folder``.

    Returns the layers of the network.

    Raises:
        ModelError: the file cannot be read, or is of another network.
        OSError: the folder cannot be written to.
    """
    try:
        if file.stat().st_size > LARGEST_CHECKPOINT:
            raise ModelError(f"'{file.name}' has more than {LARGEST_CHECKPOINT:,} bytes")
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(f"'{file.name}' cannot be read: {error.strerror}") from None
    if content.startswith(_PICKLES):
        raise ModelError(
            f"'{file.name}' is a pickle or an archive, which may run what is in it when it is read; write it anew: in "
            "PyTorch with safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'new.safetensors'), in "
            "Keras with model.save_weights('new.weights.h5')"
        )
    if content.startswith(_HDF5):
        del content
        origin, arrays = _KERAS, _of_keras(file)
    else:
        origin, arrays = _TORCHVISION, safetensors.load(content, file.name)
    found = _renamed(arrays, origin, file.name)
    if origin is _KERAS:  # its networks take BGR
        found["conv0_weight"] = found["conv0_weight"][:, ::-1]
    symbol, arrays = _Checkpoint(found, origin, file.name).written()
    layers = sum(name.endswith("_weight") and not name.endswith("_sc_weight") for name in arrays)
    _put(folder, f"resnet-{layers}", symbol, arrays)
    return layers


def _put(folder: Path, name: str, symbol: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the two files of a checkpoint, whole or not at all; training looks for the one of arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as base:
        parts = Path(base) / "symbol", Path(base) / "arrays"  # no names that training looks for
        parts[0].write_text(symbol)
        mxnet_files.save(parts[1], arrays)
        parts[0].replace(folder / f"{name}-symbol.json")
        parts[1].replace(folder / f"{name}-0000.params")


def _of_keras(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``.h5`` or ``.weights.h5`` file, by Keras' own reader, which puts them into its own network."""
    import h5py  # type: ignore[import-untyped] # comes with Keras

    found: list[Any] = []
    linked: list[str] = []
    try:
        with h5py.File(file, "r") as content:
            content.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
            content.visititems_links(lambda at, to: linked.append(at) if isinstance(to, h5py.ExternalLink) else None)
            linked += [item.name for item in found if item.is_virtual or item.external]
            shapes: list[tuple[int, ...]] = [item.shape or () for item in found]
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"'{file.name}' is not an HDF5 file that can be read: {error}") from None
    if linked:
        raise ModelError(f"'{file.name}' has its '{linked[0][:80]}' in other files, which are not read")
    layers = _KERAS_CONVOLUTIONS.get(sum(len(shape) == 4 for shape in shapes))
    dense = [shape for shape in shapes if len(shape) == 2]
    fits = len(dense) == 1 and dense[0][0] == _KERAS_FEATURES and dense[0][1] > 0
    if layers is None or not fits or 4 * sum(map(math.prod, shapes)) > LARGEST_CHECKPOINT:
        raise ModelError(
            f"'{file.name}' is not of Keras' ResNet50, ResNet101 or ResNet152, with its last layer (include_top)"
        )
    keras = load_keras(0)
    model = getattr(keras.applications, f"ResNet{layers}")(weights=None, classes=dense[0][1])
    try:
        model.load_weights(file)
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise ModelError(f"'{file.name}' is not of Keras' ResNet{layers}: {error}") from None
    return {name[4:]: array for name, array in network.parameters(model).items()}


def _renamed(arrays: Mapping[str, np.ndarray], origin: _Origin, file: str) -> dict[str, np.ndarray]:
    """By the names of the symbol."""
    found = {}
    for name, array in arrays.items():
        parts = _SUFFIX.fullmatch(name)
        layer = _layer(parts[1], origin) if parts else None
        if parts is None or layer is None:
            raise ModelError(
                f"'{file}' has an array '{name[:80]}', which ResNets of {origin.name} do not have; what is converted "
                "are torchvision's ResNets (safetensors) and Keras' ResNet50, ResNet101 and ResNet152; other networks "
                "start training as MXNet's symbol and parameters"
            )
        suffix = _OF_NORM.get(parts[2], parts[2]) if "bn" in layer else parts[2]
        found[f"{layer}_{suffix}"] = array
    return found


def _layer(theirs: str, origin: _Origin) -> str | None:
    for pattern, ours in origin.layers:
        if match := re.fullmatch(pattern, theirs):
            groups = match.groupdict()
            if "stage" not in groups:
                return ours
            stage, unit = int(groups["stage"]) - origin.base, int(groups["unit"]) + 1 - origin.base
            return f"stage{stage}_unit{unit}_{ours.format(**groups)}"
    return None


class _Checkpoint:
    """The graph of a network, made of what its arrays are.

    Args:
        arrays: by the names of the symbol. file: what errors call it.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], origin: _Origin, file: str) -> None:
        self._arrays, self._origin, self._file = arrays, origin, file
        self._graph = Graph()
        self._used: dict[str, np.ndarray] = {}

    def written(self) -> tuple[str, dict[str, np.ndarray]]:
        """The symbol file, and its arrays, ``arg:`` and ``aux:`` before their names.

        Raises:
            ModelError: arrays are missing, too many, or do not fit each other.
        """
        symbol = self._symbol()
        if left := self._arrays.keys() - {name[4:] for name in self._used}:
            raise ModelError(f"'{self._file}' has more than a ResNet: there is no place for '{min(left)}'")
        arrays = {name: mxnet_files.float32(array, f"'{self._file}': {name}") for name, array in self._used.items()}
        try:
            Network(read_graph(symbol, self._file), {name[4:]: array for name, array in arrays.items()}, (3, 224, 224))
        except ModelError as error:
            raise ModelError(f"'{self._file}' is not of a ResNet of {self._origin.name}: {error}") from None
        return symbol, arrays

    def _symbol(self) -> str:
        epsilon, ones = self._origin.epsilon, np.ones(3)
        variance = np.square(self._origin.deviation) - epsilon
        pixels = {"gamma": ones, "beta": 0 * ones, "moving_mean": np.array(self._origin.mean), "moving_var": variance}
        self._arrays = {**self._arrays, **{f"bn_data_{name}": value for name, value in pixels.items()}}
        x = self._norm(self._graph.variable("data"), "bn_data", fix_gamma=True, use_global_stats=True)
        x = self._relu(self._norm(self._convolution(x, "conv0", 2), "bn0"), "relu0")
        window = {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1)}
        x = self._graph.add("Pooling", "pooling0", x, **window, pool_type="max")
        for stage in range(1, 5):
            for unit in itertools.count(1):
                name = f"stage{stage}_unit{unit}"
                if f"{name}_conv1_weight" not in self._arrays:
                    break
                x = self._unit(x, name, 2 if unit == 1 and stage > 1 else 1)
        x = self._graph.add("Pooling", "pool1", x, kernel=(7, 7), global_pool=True, pool_type="avg")
        x = self._graph.add("Flatten", "flatten0", x)
        weight, bias = self._parameter("arg:fc1_weight"), self._parameter("arg:fc1_bias")
        hidden = len(self._used["arg:fc1_weight"])
        x = self._graph.add("FullyConnected", "fc1", x, weight, bias, num_hidden=hidden)
        return self._graph.to_json(self._graph.add(SOFTMAX, "softmax", x, self._graph.variable("softmax_label")))

    def _unit(self, x: int, name: str, stride: int) -> int:
        """A ReLU of a sum: of what convolutions make of ``x``, and of ``x`` or a convolution of it."""
        count = 3 if f"{name}_conv3_weight" in self._arrays else 2
        strided = self._origin.strided if count == 3 else 1
        branch = x
        for number in range(1, count + 1):
            step = stride if number == strided else 1
            branch = self._norm(self._convolution(branch, f"{name}_conv{number}", step), f"{name}_bn{number}")
            if number < count:
                branch = self._relu(branch, f"{name}_relu{number}")
        if f"{name}_sc_weight" in self._arrays:
            x = self._norm(self._convolution(x, f"{name}_sc", stride), f"{name}_sc_bn")
        return self._relu(self._graph.add("elemwise_add", f"{name}_plus", branch, x), f"{name}_relu")

    def _parameter(self, name: str) -> int:
        array = self._arrays.get(name[4:])
        if array is None or array.ndim < (2 if name.endswith("weight") else 1):
            raise ModelError(f"'{self._file}' is not of a ResNet of {self._origin.name}: it lacks '{name[4:]}'")
        self._used[name] = array
        return self._graph.variable(name[4:])

    def _convolution(self, x: int, name: str, stride: int) -> int:
        inputs = [x, self._parameter(f"arg:{name}_weight")]
        if with_bias := f"{name}_bias" in self._arrays:
            inputs.append(self._parameter(f"arg:{name}_bias"))
        filters, *_, side = self._used[f"arg:{name}_weight"].shape
        window = {"kernel": (side, side), "stride": (stride, stride), "pad": (side // 2, side // 2)}
        return self._graph.add("Convolution", name, *inputs, **window, num_filter=filters, no_bias=not with_bias)

    def _norm(self, x: int, name: str, **options: Any) -> int:
        suffixes = ("arg:{}_gamma", "arg:{}_beta", "aux:{}_moving_mean", "aux:{}_moving_var")
        parameters = [self._parameter(suffix.format(name)) for suffix in suffixes]
        options = {"eps": self._origin.epsilon, "momentum": 0.9, "fix_gamma": False} | options
        return self._graph.add("BatchNorm", name, x, *parameters, **options)

    def _relu(self, x: int, name: str) -> int:
        return self._graph.add("Activation", name, x, act_type="relu")
