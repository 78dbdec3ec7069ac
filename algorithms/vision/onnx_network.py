"""A symbol file of MXNet in ONNX: its operators, one by one.

The input is ``image``, (rows, channels, height, width) float32, pixels from 0 to 255: a server squeezes an image of any
size to that shape, and so must whoever runs the graph elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from algorithms.common.onnx_graph import Graph as OnnxGraph
from algorithms.errors import ModelError
from algorithms.vision.graph import EPSILON, HEADS, IDENTITIES, SUMS, Graph, Node, flag, nonnegative, pair, window

IMAGE = "image"
_FLOATS = ("float16", "float32", "float64")
_COMPUTED: dict[str, dict[str, tuple[str, ...]]] = {
    "Cast": {"dtype": _FLOATS},
    "cast": {"dtype": _FLOATS},
    "Dropout": {"mode": ("training",)},
    "Convolution": {"layout": ("None", "NCHW")},
    "Pooling": {"layout": ("None", "NCHW")},
    "softmax": {"axis": ("-1", "1"), "temperature": ("None", "1", "1.0"), "use_length": ("None", "False", "0")},
}
"""By operator, the attributes that change what it computes, and those values of them that are computed here."""
_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid"}


class Writer:
    """Adds nodes to ``onnx``, each of which reads parameters and the values of nodes before it.

    Args:
        parameters: by MXNet's names without ``arg:`` and ``aux:``.
    """

    def __init__(self, onnx: OnnxGraph, graph: Graph, parameters: Mapping[str, np.ndarray]) -> None:
        self._onnx, self._graph, self._parameters = onnx, graph, parameters

    def head(self, needed: Iterable[int], data: int) -> str:
        """The name of the graph's last value.

        Args:
            needed: the nodes that are computed, in order. data: the input.

        Raises:
            ModelError: a node is none that can be run, or its parameters are not.
        """
        done = {data: IMAGE}
        for number in needed:
            node = self._graph.nodes[number]
            done[number] = self._add(node, [done[source] for source in self._graph.sources(number)])
        return done[self._graph.head]

    def _add(self, node: Node, sources: list[str]) -> str:
        for name, values in _COMPUTED.get(node.operator, {}).items():
            if (value := node.attributes.get(name, values[0])) not in values:
                raise ModelError(
                    f"node '{node.name[:80]}' ({node.operator}) of the symbol file: {name} is {value[:40]}, and only "
                    f"{' or '.join(values)} can be run here"
                )
        if node.operator in IDENTITIES:
            return sources[0]
        if node.operator in SUMS:
            return self._onnx.add("Add", *sources)
        if node.operator in HEADS:
            scores = self._onnx.add("Flatten", *sources, axis=1)
            softmax = HEADS[node.operator] == "softmax"
            return self._onnx.add("Softmax", scores, axis=1) if softmax else self._onnx.sigmoid(scores)
        makers: dict[str, Callable[[Node, str], str]] = {
            "BatchNorm": self._batch_norm,
            "Convolution": self._convolution,
            "Activation": self._activation,
            "Pooling": self._pooling,
            "Flatten": lambda _, source: self._onnx.add("Flatten", source, axis=1),
            "FullyConnected": self._dense,
        }
        if node.operator not in makers:
            raise ModelError(
                f"node '{node.name[:80]}' of the symbol file is a '{node.operator[:80]}', which cannot be run here"
            )
        return makers[node.operator](node, sources[0])

    def _parameter(self, node: Node, position: int) -> np.ndarray:
        return self._graph.parameter(self._parameters, node, position)

    def _convolution(self, node: Node, source: str) -> str:
        kernel, stride, pad = window(node)
        if node.attributes.get("num_group", "1") != "1" or pair(node, "dilate", 1) != (1, 1):
            raise ModelError(f"the convolution '{node.name[:80]}' is in groups or dilated, which cannot be run here")
        weight = self._parameter(node, 1)
        if weight.ndim != 4 or weight.shape[2:] != kernel:
            raise ModelError(
                f"'{node.name[:80]}_weight' has the shape {weight.shape}, which is none of a kernel of {kernel}"
            )
        inputs = [source, self._onnx.constant(weight)]
        if not flag(node, "no_bias", False):
            inputs.append(self._onnx.constant(self._parameter(node, 2)))
        return self._onnx.add("Conv", *inputs, kernel_shape=kernel, strides=stride, pads=(*pad, *pad))

    def _batch_norm(self, node: Node, source: str) -> str:
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

    def _activation(self, node: Node, source: str) -> str:
        kind = node.attributes.get("act_type", "")
        if kind not in _ACTIVATIONS:
            raise ModelError(f"the activation '{kind[:80]}' of node '{node.name[:80]}' cannot be run here")
        return self._onnx.add(_ACTIVATIONS[kind], source)

    def _pooling(self, node: Node, source: str) -> str:
        kind = node.attributes.get("pool_type", "max")
        if flag(node, "global_pool", False):
            if kind != "avg":
                raise ModelError(f"the global pooling '{node.name[:80]}' is no average, and cannot be run here")
            return self._onnx.add("GlobalAveragePool", source)
        kernel, stride, pad = window(node)
        if kind != "max" or node.attributes.get("pooling_convention", "valid") != "valid":
            raise ModelError(f"the pooling '{node.name[:80]}' cannot be run here")
        return self._onnx.add("MaxPool", source, kernel_shape=kernel, strides=stride, pads=(*pad, *pad))

    def _dense(self, node: Node, source: str) -> str:
        weight = self._parameter(node, 1)
        bias = np.zeros(len(weight)) if flag(node, "no_bias", False) else self._parameter(node, 2)
        return self._onnx.affine(self._onnx.add("Flatten", source, axis=1), weight, bias)
