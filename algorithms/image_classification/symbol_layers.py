"""The operators of MXNet that training knows, as layers of Keras: ``other_networks`` builds networks of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from algorithms.errors import ModelError
from algorithms.vision.graph import (
    EPSILON,
    PRODUCTS,
    SCALARS,
    SUMS,
    Node,
    count,
    flag,
    nonnegative,
    normalisation,
    number,
    overhang,
    pair,
    shares,
    window,
)
from algorithms.vision.onnx_network import LEAST, SLOPE, bounds, scalar
from algorithms.vision.rearrange import SLICES, SWAPS, joined_axis, parts, reshaped

DENSE = "FullyConnected"
SHARES = {"Dropout": {"p": 0.5}, "BatchNorm": {"momentum": 0.9}}
"""Attributes that only training heeds, and what they are where they are not stated."""


def share(node: Node, name: str) -> float:
    """An attribute that is a share. Raises ModelError where it is none."""
    value = nonnegative(node, name, SHARES[node.operator][name])
    if value >= 1:
        raise ModelError(f"{node.place}: {name} is {value:g}, not below 1")
    return value


class Layers:
    """Each operator on Keras tensors of shape (n, height, width, channels) or (n, outputs).

    Attributes:
        name: of the next layer with parameters. precision: of the next layer. slopes: how many slopes it has, where it
            learns them: 0 for one for each channel.
    """

    def __init__(self, keras: Any, decay: float, precision: str) -> None:
        self._keras, self._layers = keras, keras.layers
        self.name, self.precision, self.slopes = "", precision, 0
        self._penalty = keras.regularizers.L2(decay / 2) if decay else None
        self._start = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")

    def of(self, node: Node, *values: Any) -> Any:
        """What a node, whose operator is one of ``TRAINED``, makes of these tensors."""
        return _LAYERS[node.operator](self, node, *values)

    def _batch_norm(self, node: Node, x: Any) -> Any:
        from algorithms.image_classification import norms  # which imports Keras

        scale = not flag(node, "fix_gamma", True)
        stays = flag(node, "use_global_stats", False)
        layer = (_staying(self._keras) if stays else norms.BatchNorm)(
            momentum=share(node, "momentum"),
            epsilon=nonnegative(node, "eps", EPSILON),
            scale=scale,
            gamma_regularizer=self._penalty if scale else None,
            dtype=self.precision,
            name=self.name,
        )
        return layer(x)

    def _convolution(self, node: Node, x: Any) -> Any:
        kernel, stride, pad = window(node)
        dilation = pair(node, "dilate", 1)
        if any(pad) and max(stride) > 1 and max(dilation) > 1:
            x, pad = self._layers.ZeroPadding2D(pad, dtype=self.precision)(x), (0, 0)
        x, stride, dilation, after = _apart(x, stride, dilation)
        same = stride == dilation == (1, 1) and all(
            side == 2 * around + 1 for side, around in zip(kernel, pad, strict=True)
        )
        if any(pad) and not same:
            x = self._layers.ZeroPadding2D(pad, dtype=self.precision)(x)
        # Each channel by itself: TensorFlow takes one stride there, and a tenth of the time that it takes in groups.
        by_itself = 1 < count(node, "num_group", 1) == x.shape[-1] and stride[0] == stride[1]
        layer = (_depthwise(self._keras) if by_itself else self._layers.Conv2D)(
            int(node.attributes["num_filter"]),
            kernel,
            stride,
            "same" if same else "valid",
            dilation_rate=dilation,
            groups=count(node, "num_group", 1),
            use_bias=not flag(node, "no_bias", False),
            kernel_initializer=self._start.clone(),
            kernel_regularizer=self._penalty,
            dtype=self.precision,
            name=self.name,
        )
        return layer(x)[:, :: after[0], :: after[1]] if max(after) > 1 else layer(x)

    def _dense(self, node: Node, x: Any) -> Any:
        layer = self._layers.Dense(
            int(node.attributes["num_hidden"]),
            use_bias=not flag(node, "no_bias", False),
            kernel_initializer=self._start.clone(),
            kernel_regularizer=self._penalty,
            dtype=self.precision,
            name=self.name,
        )
        return layer(self._flatten(node, x))

    def _flatten(self, node: Node, x: Any) -> Any:
        """MXNet counts positions channel by channel."""
        if len(x.shape) == 4 and (x.shape[1], x.shape[2]) != (1, 1):
            x = self._layers.Permute((3, 1, 2), dtype=self.precision)(x)
        return self._layers.Flatten(dtype=self.precision)(x)

    def _pooling(self, node: Node, x: Any) -> Any:
        average = node.attributes.get("pool_type", "max") == "avg"
        if flag(node, "global_pool", False):
            layers = self._layers
            layer = layers.GlobalAveragePooling2D if average else layers.GlobalMaxPooling2D
            return layer(keepdims=True, dtype=self.precision)(x)
        kernel, stride, pad = window(node)
        sides = x.shape[1], x.shape[2]
        around = [(side, side + end) for side, end in zip(pad, overhang(node, *sides), strict=True)]
        if any(map(any, around)):
            x = self._keras.ops.pad(x, ((0, 0), *around, (0, 0)), constant_values=0.0 if average else LEAST)
        pooled = (self._layers.AveragePooling2D if average else self._layers.MaxPooling2D)(
            kernel, stride, dtype=self.precision
        )(x)
        if not average or (of_pixels := shares(node, *sides)[None, :, :, None]).min() == of_pixels.max() == 1:
            return pooled
        return pooled * of_pixels

    def _activation(self, node: Node, x: Any) -> Any:
        kind = node.attributes["act_type"]
        return self._layers.Activation({"softrelu": "softplus"}.get(kind, kind), dtype=self.precision)(x)

    def _leaky(self, node: Node, x: Any) -> Any:
        activations, kind = self._keras.activations, node.attributes.get("act_type", "leaky")
        if kind == "prelu":
            return _sloped(self._keras)(self.slopes, self._penalty, dtype=self.precision, name=self.name)(x)
        slope = number(node, "slope", SLOPE)
        function = {
            "leaky": lambda values: activations.leaky_relu(values, slope),
            "elu": lambda values: activations.elu(values, slope),
            "selu": activations.selu,
            "gelu": activations.gelu,
        }[kind]
        return self._layers.Activation(function, dtype=self.precision)(x)

    def _clip(self, node: Node, x: Any) -> Any:
        return self._keras.ops.clip(x, *bounds(node))

    def _add(self, node: Node, *values: Any) -> Any:
        if len(values) == 1:
            return values[0]
        if all(value is values[0] for value in values):  # TensorFlow's optimizer takes twice as long for each x + x
            return self._layers.Rescaling(float(len(values)), dtype=self.precision)(values[0])
        return self._layers.Add(dtype=self.precision)(list(values))

    def _multiply(self, node: Node, x: Any, y: Any) -> Any:
        return self._layers.Multiply(dtype=self.precision)([x, y])

    def _scaled(self, node: Node, x: Any) -> Any:
        value = scalar(node)
        by = {"_mul_scalar": (value, 0.0), "_div_scalar": (1 / value if value else 0.0, 0.0)}
        scale, offset = by.get(node.operator, (1.0, -value if node.operator == "_minus_scalar" else value))
        return self._layers.Rescaling(scale, offset, dtype=self.precision)(x)

    def _concatenate(self, node: Node, *values: Any) -> Any:
        axis = 1 + joined_axis(node, tuple(values[0].shape[1:]))
        return self._layers.Concatenate(axis, dtype=self.precision)(list(values)) if len(values) > 1 else values[0]

    def _normalised(self, node: Node, x: Any) -> Any:
        """Sums of neighbours are a product with a matrix of ones beside its diagonal; in float32: squares are large."""
        ops, (size, alpha, beta, knorm) = self._keras.ops, normalisation(node)
        at = np.arange(x.shape[-1])
        near = (np.abs(at[:, None] - at) <= size // 2).astype(np.float32)
        wide = ops.cast(x, "float32")
        scale = knorm + ops.matmul(ops.square(wide), near * np.float32(alpha / size))
        return ops.cast(wide * ops.power(scale, -beta), x.dtype)

    def _part(self, node: Node, x: Any) -> Any:
        taken = parts(node, tuple(x.shape[1:]))
        return x[(slice(None), *(slice(each.start, each.stop, each.step) for each in taken))]

    def _reshaped(self, node: Node, x: Any) -> Any:
        return self._layers.Reshape(reshaped(node, tuple(x.shape[1:])), dtype=self.precision)(x)

    def _swapped(self, node: Node, x: Any) -> Any:
        return self._layers.Permute((1, 2, 4, 3), dtype=self.precision)(x)

    def _dropout(self, node: Node, x: Any) -> Any:
        return self._layers.Dropout(share(node, "p"), dtype=self.precision)(x)


def _apart(
    x: Any, stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Any, tuple[int, int], tuple[int, int], tuple[int, int]]:
    """What a convolution of the stride and the dilation reads and is instead, as Keras has none with both: its input,
    stride and dilation, and the steps in which its result is taken. What both leave out is not read; where numbers are
    left out that another window has, all windows are computed."""
    after = (1, 1)
    if max(stride) > 1 and max(dilation) > 1:
        common = tuple(map(math.gcd, stride, dilation))
        if max(common) > 1:
            x = x[:, :: common[0], :: common[1]]
        stride, dilation = ((each[0] // common[0], each[1] // common[1]) for each in (stride, dilation))
        if max(stride) > 1 and max(dilation) > 1:
            stride, after = (1, 1), stride
    return x, stride, dilation, after


def _depthwise(keras: Any) -> Any:
    """A convolution in as many groups as there are channels, its kernel as of one in groups."""

    class Depthwise(keras.layers.Conv2D):
        def convolution_op(self, inputs: Any, kernel: Any) -> Any:
            by_channel = keras.ops.reshape(kernel, (*self.kernel_size, inputs.shape[-1], -1))
            options = {"padding": self.padding, "dilation_rate": self.dilation_rate}
            return keras.ops.depthwise_conv(inputs, by_channel, self.strides[0], **options)

    return Depthwise


def _sloped(keras: Any) -> Any:
    """A ReLU that multiplies what is below 0 by slopes that it learns."""

    class Sloped(keras.layers.Layer):
        def __init__(self, slopes: int, penalty: Any, **more: Any) -> None:
            super().__init__(**more)
            self._slopes, self._penalty = slopes, penalty

        def build(self, shape: tuple[int, ...]) -> None:
            start = keras.initializers.Constant(SLOPE)
            self.gamma = self.add_weight((self._slopes or shape[-1],), start, name="gamma", regularizer=self._penalty)

        def call(self, values: Any) -> Any:
            return keras.ops.relu(values) - self.gamma * keras.ops.relu(-values)

    return Sloped


def _staying(keras: Any) -> Any:
    """A batch norm that always takes its own statistics and leaves them, while gamma and beta are trained. (A model
    tells each layer anew whether it is trained, whatever the layer was told when it was put there.)"""

    class Staying(keras.layers.BatchNormalization):
        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            return super().call(inputs, training=False)

    return Staying


_LAYERS = {
    "BatchNorm": Layers._batch_norm,
    "Convolution": Layers._convolution,
    DENSE: Layers._dense,
    "Flatten": Layers._flatten,
    "Pooling": Layers._pooling,
    "Activation": Layers._activation,
    "LeakyReLU": Layers._leaky,
    "clip": Layers._clip,
    "Concat": Layers._concatenate,
    "Dropout": Layers._dropout,
    "LRN": Layers._normalised,
    "Reshape": Layers._reshaped,
    "add_n": Layers._add,
    **dict.fromkeys(SLICES, Layers._part),
    **dict.fromkeys(SWAPS, Layers._swapped),
    **dict.fromkeys(SUMS, Layers._add),
    **dict.fromkeys(PRODUCTS, Layers._multiply),
    **dict.fromkeys(SCALARS, Layers._scaled),
}
"""By operator, the layer that is it."""
TRAINED = frozenset(_LAYERS)
