"""The network as MXNet's symbol file, ``image-classification-symbol.json``.

Its input ``data`` is pixels of shape (n, channels, height, width) in 0 to 255, RGB; the first batch norm takes their
mean off. Its output ``softmax`` is probabilities, its label ``softmax_label``: as ``mx.mod.Module`` names them by
default, so that a checkpoint can be trained on there.
"""

from __future__ import annotations

from algorithms.common.mxnet_symbols import Graph
from algorithms.image_classification.architecture import (
    BATCH_NORM_EPSILON,
    BATCH_NORM_MOMENTUM,
    Architecture,
    resnet,
)

SOFTMAX, SIGMOID = "SoftmaxOutput", "LogisticRegressionOutput"
"""MXNet's heads: of one class an image, of several."""


class GraphOperators:
    """``architecture.Operators`` on the nodes of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def batch_norm(self, x: int, name: str, *, scale: bool = True) -> int:
        """See ``Operators``."""
        parameters = [self._graph.variable(f"{name}_{suffix}") for suffix in ("gamma", "beta")]
        statistics = [self._graph.variable(f"{name}_{suffix}") for suffix in ("moving_mean", "moving_var")]
        options = {"eps": BATCH_NORM_EPSILON, "momentum": BATCH_NORM_MOMENTUM, "fix_gamma": not scale}
        return self._graph.add("BatchNorm", name, x, *parameters, *statistics, **options)

    def relu(self, x: int, name: str) -> int:
        """See ``Operators``."""
        return self._graph.add("Activation", name, x, act_type="relu")

    def convolution(self, x: int, name: str, filters: int, kernel: int, stride: int, pad: int) -> int:
        """See ``Operators``."""
        weight = self._graph.variable(f"{name}_weight")
        options = _window(kernel, stride, pad) | {"num_filter": filters, "no_bias": True}
        return self._graph.add("Convolution", name, x, weight, **options)

    def add(self, x: int, y: int, name: str) -> int:
        """See ``Operators``."""
        return self._graph.add("elemwise_add", name, x, y)

    def max_pool(self, x: int, name: str, kernel: int, stride: int, pad: int) -> int:
        """See ``Operators``."""
        return self._graph.add("Pooling", name, x, **_window(kernel, stride, pad), pool_type="max")

    def average(self, x: int, name: str) -> int:
        """See ``Operators``. MXNet asks for a window even where it is the whole image."""
        pooled = self._graph.add("Pooling", name, x, kernel=(7, 7), global_pool=True, pool_type="avg")
        return self._graph.add("Flatten", "flatten0", pooled)

    def dense(self, x: int, name: str, outputs: int) -> int:
        """See ``Operators``."""
        weight, bias = self._graph.variable(f"{name}_weight"), self._graph.variable(f"{name}_bias")
        return self._graph.add("FullyConnected", name, x, weight, bias, num_hidden=outputs)


def _window(kernel: int, stride: int, pad: int) -> dict[str, object]:
    return {"kernel": (kernel, kernel), "stride": (stride, stride), "pad": (pad, pad)}


def to_json(form: Architecture) -> str:
    """The symbol file of a network."""
    graph = Graph()
    scores = resnet(GraphOperators(graph), graph.variable("data"), form)
    label = graph.variable("softmax_label")
    return graph.to_json(graph.add(SIGMOID if form.multi_label else SOFTMAX, "softmax", scores, label))
