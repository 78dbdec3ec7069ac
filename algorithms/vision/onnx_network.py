"""A symbol file of MXNet in ONNX: its operators, one by one.

The input is ``image``, (rows, channels, height, width) float32, pixels from 0 to 255: a server squeezes an image of any
size to that shape, and so must whoever runs the graph elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from algorithms.common.onnx_graph import Graph as OnnxGraph
from algorithms.errors import ModelError
from algorithms.vision.costs import Shape
from algorithms.vision.graph import (
    EPSILON,
    HEADS,
    IDENTITIES,
    PRODUCTS,
    SCALARS,
    SUMS,
    Graph,
    Node,
    count,
    counts_padding,
    empty_windows,
    flag,
    nonnegative,
    normalisation,
    number,
    overhang,
    pair,
    shares,
    window,
)
from algorithms.vision.rearrange import SLICES, SWAPS, joined_axis, number_in_mxnet, parts, reshaped

IMAGE = "image"
_FLOATS = ("float16", "float32", "float64")
_COMPUTED: dict[str, dict[str, tuple[str, ...]]] = {
    "Cast": {"dtype": _FLOATS},
    "cast": {"dtype": _FLOATS},
    "Dropout": {"mode": ("training",)},
    "Convolution": {"layout": ("None", "NCHW")},
    "Pooling": {
        "layout": ("None", "NCHW"),
        "pool_type": ("max", "avg"),
        "pooling_convention": ("valid", "full"),
    },
    "SliceChannel": {"squeeze_axis": ("False", "0")},
    "LeakyReLU": {"act_type": ("leaky", "prelu", "elu", "selu", "gelu")},
    "SoftmaxActivation": {"mode": ("instance", "channel")},
    "softmax": {"axis": ("-1", "1"), "temperature": ("None", "1", "1.0"), "use_length": ("None", "False", "0")},
}
"""By operator, the attributes that change what it computes, and those values of them that are computed here."""
_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign"}
_SCALED = {"_plus_scalar": "Add", "_minus_scalar": "Sub", "_mul_scalar": "Mul", "_div_scalar": "Div"}
LEAST = float(np.finfo(np.float32).min)
"""What the largest of no numbers is in MXNet."""
SLOPE = 0.25
"""Of MXNet's LeakyReLU, where it states none."""


class Writer:
    """Adds nodes to ``onnx``, each of which reads parameters and the values of nodes before it.

    Args:
        parameters: by MXNet's names without ``arg:`` and ``aux:``.
        shapes: of the value of each node, (height, width, channels) or (outputs,).
    """

    def __init__(
        self,
        onnx: OnnxGraph,
        graph: Graph,
        parameters: Mapping[str, np.ndarray],
        shapes: Mapping[int, Shape],
    ) -> None:
        self._onnx, self._graph, self._parameters, self._shapes = onnx, graph, parameters, shapes

    def head(self, needed: Iterable[int], data: int) -> str:
        """The name of the graph's last value.

        Args:
            needed: the nodes that are computed, in order. data: the input.

        Raises:
            ModelError: a node is none that can be run, or its parameters are not.
        """
        done = {data: IMAGE}
        for at in needed:
            read = self._graph.sources(at)
            shape = self._shapes[read[0]]
            done[at] = self._made(self._graph.nodes[at], shape, *(done[source] for source in read))
        return done[self._graph.head]

    def _made(self, node: Node, shape: Shape, *sources: str) -> str:
        """A node, whose first input has the ``shape``."""
        for name, values in _COMPUTED.get(node.operator, {}).items():
            if (value := node.attributes.get(name, values[0])) not in values:
                raise ModelError(
                    f"node '{node.name[:80]}' ({node.operator}) of the symbol file: {name} is {value[:40]}, and only "
                    f"{' or '.join(values)} can be run here"
                )
        if node.operator not in _MAKERS:
            raise ModelError(f"{node.place} is a '{node.operator[:80]}', which cannot be run here")
        return _MAKERS[node.operator](self, node, shape, *sources)

    def _same(self, node: Node, shape: Shape, source: str) -> str:
        return source

    def _add(self, node: Node, shape: Shape, *sources: str) -> str:
        return self._onnx.add("Sum" if node.operator == "add_n" else "Add", *sources)

    def _multiply(self, node: Node, shape: Shape, x: str, y: str) -> str:
        return self._onnx.add("Mul", x, y)

    def _scaled(self, node: Node, shape: Shape, source: str) -> str:
        return self._onnx.add(_SCALED[node.operator], source, self._onnx.constant(scalar(node)))

    def _concatenate(self, node: Node, shape: Shape, *sources: str) -> str:
        return self._onnx.add("Concat", *sources, axis=number_in_mxnet(joined_axis(node, shape), len(shape)))

    def _probabilities(self, node: Node, shape: Shape, source: str) -> str:
        scores = self._flatten(node, shape, source)
        softmax = HEADS[node.operator] == "softmax"
        return self._onnx.add("Softmax", scores, axis=1) if softmax else self._onnx.sigmoid(scores)

    def _flatten(self, node: Node, shape: Shape, source: str) -> str:
        return self._onnx.add("Flatten", source, axis=1)

    def _swapped(self, node: Node, shape: Shape, source: str) -> str:
        return self._onnx.add("Transpose", source, perm=[0, 2, 1, 3, 4])

    def _parameter(self, node: Node, position: int) -> np.ndarray:
        return self._graph.parameter(self._parameters, node, position)

    def _convolution(self, node: Node, shape: Shape, source: str) -> str:
        kernel, stride, pad = window(node)
        weight = self._parameter(node, 1)
        if weight.ndim != 4 or weight.shape[2:] != kernel:
            raise ModelError(
                f"'{node.name[:80]}_weight' has the shape {weight.shape}, which is none of a kernel of {kernel}"
            )
        inputs = [source, self._onnx.constant(weight)]
        if not flag(node, "no_bias", False):
            inputs.append(self._onnx.constant(self._parameter(node, 2)))
        more: dict[str, Any] = {"group": count(node, "num_group", 1), "dilations": pair(node, "dilate", 1)}
        return self._onnx.add("Conv", *inputs, kernel_shape=kernel, strides=stride, pads=(*pad, *pad), **more)

    def _batch_norm(self, node: Node, shape: Shape, source: str) -> str:
        if node.attributes.get("axis", "1") != "1":
            raise ModelError(f"batch norm '{node.name[:80]}' is over another axis than the channels")
        gamma, beta, mean, variance = (self._parameter(node, position) for position in (1, 2, 3, 4))
        if flag(node, "fix_gamma", True):
            gamma = np.ones_like(gamma)
        epsilon = nonnegative(node, "eps", EPSILON)
        if (variance + epsilon <= 0).any():
            raise ModelError(f"batch norm '{node.name[:80]}' has a variance that is not above 0")
        constants = [self._onnx.constant(array) for array in (gamma, beta, mean, variance)]
        return self._onnx.add("BatchNormalization", source, *constants, epsilon=epsilon)

    def _activation(self, node: Node, shape: Shape, source: str) -> str:
        kind = node.attributes.get("act_type", "")
        if kind not in _ACTIVATIONS:
            raise ModelError(f"the activation '{kind[:80]}' of node '{node.name[:80]}' cannot be run here")
        return self._onnx.add(_ACTIVATIONS[kind], source)

    def _leaky(self, node: Node, shape: Shape, source: str) -> str:
        kind = node.attributes.get("act_type", "leaky")
        if kind == "prelu":
            slopes = self._parameter(node, 1)
            return self._onnx.add("PRelu", source, self._onnx.constant(slopes.reshape(-1, *(1,) * (len(shape) - 1))))
        if kind == "selu":
            return self._onnx.add("Selu", source)
        if kind == "gelu":
            half, one, root = (self._onnx.constant(value) for value in (0.5, 1.0, math.sqrt(2)))
            share = self._onnx.add("Add", self._onnx.add("Erf", self._onnx.add("Div", source, root)), one)
            return self._onnx.add("Mul", self._onnx.add("Mul", source, half), share)
        slope = number(node, "slope", SLOPE)
        return self._onnx.add("LeakyRelu" if kind == "leaky" else "Elu", source, alpha=slope)

    def _clip(self, node: Node, shape: Shape, source: str) -> str:
        return self._onnx.add("Clip", source, *(self._onnx.constant(bound) for bound in bounds(node)))

    def _pooling(self, node: Node, shape: Shape, source: str) -> str:
        average = node.attributes.get("pool_type", "max") == "avg"
        if flag(node, "global_pool", False):
            return self._onnx.add("GlobalAveragePool" if average else "GlobalMaxPool", source)
        if any(empty_windows(node, shape[0], shape[1])):
            return self._pooling_beyond(node, shape, source)
        kernel, stride, pad = window(node)
        more = overhang(node, shape[0], shape[1])
        before, after = pad, (pad[0] + more[0], pad[1] + more[1])
        options: dict[str, Any] = {"count_include_pad": int(counts_padding(node))} if average else {}
        if average and any(more) and counts_padding(node):  # zeros of the padding count, what is behind them does not
            zeros = self._onnx.constant([0, 0, *pad, 0, 0, *pad], np.int64)
            source = self._onnx.add("Pad", source, zeros)
            before, after, options = (0, 0), more, {"count_include_pad": 0}
        name = "AveragePool" if average else "MaxPool"
        return self._onnx.add(name, source, kernel_shape=kernel, strides=stride, pads=(*before, *after), **options)

    def _pooling_beyond(self, node: Node, shape: Shape, source: str) -> str:
        """One with windows that have no pixel in them, which ONNX does not know."""
        average = node.attributes.get("pool_type", "max") == "avg"
        kernel, stride, pad = window(node)
        more = overhang(node, shape[0], shape[1])
        sides = self._onnx.constant([0, 0, *pad, 0, 0, pad[0] + more[0], pad[1] + more[1]], np.int64)
        filled = self._onnx.constant(0.0 if average else LEAST)
        padded = self._onnx.add("Pad", source, sides, filled)
        pooled = self._onnx.add("AveragePool" if average else "MaxPool", padded, kernel_shape=kernel, strides=stride)
        if not average:
            return pooled
        return self._onnx.add("Mul", pooled, self._onnx.constant(shares(node, shape[0], shape[1])))

    def _part(self, node: Node, shape: Shape, source: str) -> str:
        *sides, channels = parts(node, shape)
        taken = [channels, *sides]
        starts, ends, steps = ([getattr(each, name) for each in taken] for name in ("start", "stop", "step"))
        axes = range(1, len(taken) + 1)
        return self._onnx.add(
            "Slice", source, *(self._onnx.constant(each, np.int64) for each in (starts, ends, axes, steps))
        )

    def _reshaped(self, node: Node, shape: Shape, source: str) -> str:
        """Channels in groups, or groups behind each other."""
        height, width, *channels = reshaped(node, shape)
        return self._onnx.add("Reshape", source, self._onnx.constant([0, *channels, height, width], np.int64))

    def _normalised(self, node: Node, shape: Shape, source: str) -> str:
        size, alpha, beta, knorm = normalisation(node)
        return self._onnx.add("LRN", source, size=size, alpha=alpha, beta=beta, bias=knorm)

    def _dense(self, node: Node, shape: Shape, source: str) -> str:
        weight = self._parameter(node, 1)
        bias = np.zeros(len(weight)) if flag(node, "no_bias", False) else self._parameter(node, 2)
        return self._onnx.affine(self._flatten(node, shape, source), weight, bias)


_MAKERS: dict[str, Callable[..., str]] = {
    "BatchNorm": Writer._batch_norm,
    "Convolution": Writer._convolution,
    "FullyConnected": Writer._dense,
    "Flatten": Writer._flatten,
    "Pooling": Writer._pooling,
    "Activation": Writer._activation,
    "LeakyReLU": Writer._leaky,
    "clip": Writer._clip,
    "Concat": Writer._concatenate,
    "LRN": Writer._normalised,
    "Reshape": Writer._reshaped,
    "add_n": Writer._add,
    **dict.fromkeys(SLICES, Writer._part),
    **dict.fromkeys(SWAPS, Writer._swapped),
    **dict.fromkeys(SUMS, Writer._add),
    **dict.fromkeys(PRODUCTS, Writer._multiply),
    **dict.fromkeys(SCALARS, Writer._scaled),
    **dict.fromkeys(HEADS, Writer._probabilities),
    **dict.fromkeys(IDENTITIES, Writer._same),
}
"""By operator, what makes it of a node, the shape of its first input, and its inputs."""


def bounds(node: Node) -> tuple[float, float]:
    """What a ``clip`` keeps values between. Raises ModelError where it is not said."""
    low, high = number(node, "a_min"), number(node, "a_max")
    if low > high:
        raise ModelError(f"{node.place}: a_min is {low:g}, above a_max, {high:g}")
    return low, high


def scalar(node: Node) -> float:
    """The one number of an operator of ``SCALARS``. Raises ModelError where there is none, or a division by 0."""
    value = number(node, "scalar")
    if node.operator == "_div_scalar" and not value:
        raise ModelError(f"{node.place} divides by 0")
    return value
