"""An image network in ONNX: MXNet's operators, one by one, as ``algorithms.vision.inference`` runs them.

The input is ``image``, (rows, channels, height, width) float32, pixels from 0 to 255: a server squeezes an image of any
size to that shape, and so must whoever runs the graph.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from algorithms.common.onnx_graph import ROWS, Graph
from algorithms.errors import ModelError
from algorithms.image_classification.model import PREDICTION, ImageModel
from algorithms.vision.graph import HEADS, Node, flag, window
from algorithms.vision.inference import IDENTITIES, SUMS

IMAGE = "image"
_EPSILON = 1e-3  # of MXNet's batch norm, where it states none


def network(model: ImageModel) -> onnx.ModelProto:
    """``prediction``, (rows, classes): the probability of each class."""
    model.network  # noqa: B018 - refuses a graph that we could not run ourselves
    graph = Graph()
    parameters = {name.partition(":")[2]: array for name, array in model.arrays.items()}
    writer = _Writer(graph, model.graph.nodes, parameters)
    head = writer.value(model.graph.head)
    return graph.model(
        "image-classification",
        (IMAGE, (ROWS, *model.image_shape)),
        {PREDICTION: (head, "float", writer.classes)},
    )


class _Writer:
    """Adds the nodes that the head depends on, each once."""

    def __init__(self, graph: Graph, nodes: list[Node], parameters: Mapping[str, np.ndarray]) -> None:
        self._graph, self._nodes, self._parameters = graph, nodes, parameters
        self._done: dict[int, str] = {}
        self.classes = 0

    def value(self, head: int) -> str:
        """The name of a node's value. Nodes come after their inputs, so one pass in order is enough."""
        needed, waiting = set(), [head]
        while waiting:
            number = waiting.pop()
            if number not in needed:
                needed.add(number)
                waiting += self._sources(self._nodes[number])
        for number in sorted(needed):
            node = self._nodes[number]
            if node.operator == "null":
                self._done[number] = IMAGE
                continue
            self._done[number] = self._add(node, [self._done[source] for source in self._sources(node)])
        return self._done[head]

    def _sources(self, node: Node) -> tuple[int, ...]:
        return node.inputs if node.operator in SUMS else node.inputs[:1]

    def _add(self, node: Node, sources: list[str]) -> str:
        if node.operator in IDENTITIES:
            return sources[0]
        if node.operator in SUMS:
            return self._graph.add("Add", *sources)
        if node.operator in HEADS:
            softmax = HEADS[node.operator] == "softmax"
            return self._graph.add("Softmax", *sources, axis=1) if softmax else self._graph.add("Sigmoid", *sources)
        if node.operator == "Flatten":
            return self._graph.add("Flatten", *sources, axis=1)
        return getattr(self, f"_{node.operator.lower()}")(node, *sources)

    def _parameter(self, node: Node, position: int) -> np.ndarray:
        return np.asarray(self._parameters[self._nodes[node.inputs[position]].name], np.float32)

    def _convolution(self, node: Node, source: str) -> str:
        kernel, stride, pad = window(node)
        inputs = [source, self._graph.constant(self._parameter(node, 1))]
        if not flag(node, "no_bias", False):
            inputs.append(self._graph.constant(self._parameter(node, 2)))
        return self._graph.add("Conv", *inputs, kernel_shape=kernel, strides=stride, pads=(*pad, *pad))

    def _batchnorm(self, node: Node, source: str) -> str:
        gamma, beta, mean, variance = (self._parameter(node, position) for position in (1, 2, 3, 4))
        if flag(node, "fix_gamma", True):
            gamma = np.ones_like(gamma)
        constants = [self._graph.constant(array) for array in (gamma, beta, mean, variance)]
        epsilon = float(node.attributes.get("eps", _EPSILON))
        return self._graph.add("BatchNormalization", source, *constants, epsilon=epsilon)

    def _activation(self, node: Node, source: str) -> str:
        return self._graph.add({"relu": "Relu", "sigmoid": "Sigmoid"}[node.attributes["act_type"]], source)

    def _pooling(self, node: Node, source: str) -> str:
        if flag(node, "global_pool", False):
            return self._graph.add("GlobalAveragePool", source)
        kernel, stride, pad = window(node)
        return self._graph.add("MaxPool", source, kernel_shape=kernel, strides=stride, pads=(*pad, *pad))

    def _fullyconnected(self, node: Node, source: str) -> str:
        weight = self._parameter(node, 1)
        bias = np.zeros(len(weight)) if flag(node, "no_bias", False) else self._parameter(node, 2)
        if weight.ndim != 2:
            raise ModelError(f"'{node.name}' has a weight of the shape {weight.shape}")
        self.classes = len(weight)
        return self._graph.affine(self._graph.add("Flatten", source, axis=1), weight, bias)
