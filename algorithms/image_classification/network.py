"""The network in Keras, and its parameters under MXNet's names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from algorithms.common.networks import to_numpy
from algorithms.errors import ModelError
from algorithms.image_classification.architecture import (
    BATCH_NORM_EPSILON,
    BATCH_NORM_MOMENTUM,
    Architecture,
    resnet,
)

OWN_NAMES: Mapping[str, str] = MappingProxyType({})
"""Layers have the names that checkpoints have."""


class KerasOperators:
    """``architecture.Operators`` on Keras tensors of shape (n, height, width, channels).

    Args:
        keras: the package.
        decay: weight decay, as a penalty of half of it on the squares of weights and gammas; 0 for none.
        precision: Keras' name of a policy, such as ``mixed_float16``.
    """

    def __init__(self, keras: Any, decay: float, precision: str) -> None:
        self._keras, self._layers = keras, keras.layers
        self._precision = precision
        self._penalty = keras.regularizers.L2(decay / 2) if decay else None
        self._start = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")

    def batch_norm(self, x: Any, name: str, *, scale: bool = True) -> Any:
        """See ``Operators``."""
        from algorithms.image_classification import norms  # which imports Keras

        layer = (norms.BatchNorm if scale else norms.OfPixels)(
            momentum=BATCH_NORM_MOMENTUM,
            epsilon=BATCH_NORM_EPSILON,
            scale=scale,
            gamma_regularizer=self._penalty if scale else None,
            dtype=self._precision,
            name=name,
        )
        return layer(x)

    def relu(self, x: Any, name: str) -> Any:
        """See ``Operators``."""
        return self._layers.Activation("relu", dtype=self._precision, name=name)(x)

    def convolution(self, x: Any, name: str, filters: int, kernel: int, stride: int, pad: int) -> Any:
        """See ``Operators``. With a stride Keras' own padding is not on all sides, hence a layer for it."""
        same = stride == 1 and pad == kernel // 2
        layer = self._layers.Conv2D(
            filters,
            kernel,
            stride,
            "same" if same else "valid",
            use_bias=False,
            kernel_initializer=self._start.clone(),
            kernel_regularizer=self._penalty,
            dtype=self._precision,
            name=name,
        )
        padding = self._layers.ZeroPadding2D(pad, dtype=self._precision, name=f"{name}_pad")
        parts = [layer(padding(part) if pad and not same else part) for part in (x if isinstance(x, list) else [x])]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def add(self, x: Any, y: Any, name: str) -> Any:
        """See ``Operators``."""
        return self._layers.Add(dtype=self._precision, name=name[1:])([x, y])  # a name may not begin with _ here

    def max_pool(self, x: Any, name: str, kernel: int, stride: int, pad: int) -> Any:
        """See ``Operators``. Padding by zeros will do, as a ReLU comes before it: no number is below 0."""
        padded = self._layers.ZeroPadding2D(pad, dtype=self._precision, name=f"{name}_pad")(x)
        return self._layers.MaxPooling2D(kernel, stride, dtype=self._precision, name=name)(padded)

    def average(self, x: Any, name: str) -> Any:
        """See ``Operators``."""
        return self._layers.GlobalAveragePooling2D(dtype=self._precision, name=name)(x)

    def dense(self, x: Any, name: str, outputs: int) -> Any:
        """See ``Operators``. In single precision, whatever the rest is in."""
        layer = self._layers.Dense(
            outputs,
            kernel_initializer=self._start.clone(),
            kernel_regularizer=self._penalty,
            dtype="float32",
            name=name,
        )
        return layer(x)


def build(keras: Any, form: Architecture, decay: float = 0.0, precision: str = "float32") -> Any:
    """The network with random weights: from uint8 pixels (n, height, width, channels) to scores (n, num_classes)."""
    channels, height, width = form.image_shape
    pixels = keras.Input((height, width, channels), dtype="uint8", name="data")
    data = keras.layers.Rescaling(1.0, dtype=precision, name="pixels")(pixels)
    scores = resnet(KerasOperators(keras, decay, precision), data, form)
    return keras.Model(pixels, scores, name=f"resnet{form.num_layers}")


def parameters(network: Any, names: Mapping[str, str] = OWN_NAMES) -> dict[str, np.ndarray]:
    """All parameters as MXNet's checkpoints name and lay them out: ``arg:`` and ``aux:``, float32.

    Args:
        names: what a parameter is called, by what the name of its layer would make it.
    """
    found = {}
    for own, variable in _variables(network):
        array = np.ascontiguousarray(_to_mxnet(to_numpy(variable).astype(np.float32)))
        found[names.get(own, own)] = array
        if own.endswith("_moving_mean"):  # MXNet has a gamma even where it is always 1
            gamma = f"arg:{own[4:].removesuffix('_moving_mean')}_gamma"
            found.setdefault(names.get(gamma, gamma), np.ones_like(array))
    return found


def set_parameters(
    network: Any,
    arrays: Mapping[str, np.ndarray],
    *,
    but: Collection[str] = (),
    names: Mapping[str, str] = OWN_NAMES,
) -> None:
    """Give the network the parameters of a checkpoint, apart from those named in ``but``.

    Raises:
        ModelError: one is missing or has another shape.
    """
    found = []
    for own, variable in _variables(network):
        name = names.get(own, own)
        if name in but:
            continue
        expected = _to_mxnet(np.empty(variable.shape, np.bool_)).shape
        if name not in arrays:
            raise ModelError(f"the checkpoint has no '{name}'; it is of another network than {network.name}")
        if arrays[name].shape != expected:
            raise ModelError(
                f"the checkpoint's '{name}' has the shape {arrays[name].shape}; this network's has {expected}"
            )
        found.append((variable, _to_keras(np.asarray(arrays[name], np.float32))))
    for variable, array in found:  # all of them, or none
        variable.assign(array)


_SUFFIXES = {
    "kernel": ("arg", "weight"),
    "bias": ("arg", "bias"),
    "gamma": ("arg", "gamma"),
    "beta": ("arg", "beta"),
    "moving_mean": ("aux", "moving_mean"),
    "moving_variance": ("aux", "moving_var"),
}


def _variables(network: Any) -> Iterator[tuple[str, Any]]:
    """Every parameter: its name in a checkpoint, and its variable."""
    for layer in network.layers:
        for variable in layer.weights:
            if variable.name in _SUFFIXES:  # not the seeds of random layers
                kind, suffix = _SUFFIXES[variable.name]
                yield f"{kind}:{layer.name}_{suffix}", variable


def _to_mxnet(array: np.ndarray) -> np.ndarray:
    """(height, width, in, out) to (out, in, height, width), and (in, out) to (out, in)."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _to_keras(array: np.ndarray) -> np.ndarray:
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
