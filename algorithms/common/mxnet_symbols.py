"""Symbol files of MXNet, the graphs beside the parameters of the linear models, without MXNet.

A graph is a list of nodes in the order of computation; each names its operator and the nodes that it reads. ``linear``
and ``factorization_machine`` are the two graphs that SageMaker's users load (``mx.mod.Module.load``,
``gluon.nn.SymbolBlock``). Neither has a label: MXNet would make it a parameter whose shape fixes the batch size, while
``Module.load`` with ``label_names=["out_label"]`` only warns that it is absent.

Source: the JSON that ``mx.sym.Symbol.tojson`` of MXNet 1.9.1 writes.

    >>> graph = Graph()
    >>> data = graph.variable("data")
    >>> json.loads(graph.to_json(graph.add("sigmoid", "out", data)))["heads"]
    [[1, 0, 0]]
"""

from __future__ import annotations

import json
from typing import Any, Literal, TypeAlias

Link: TypeAlias = Literal["_copy", "sigmoid", "softmax"]
"""The operator from scores to predictions, by MXNet's name; ``_copy`` is the identity."""

Source: TypeAlias = "int | tuple[int, int]"
"""The first output of a node, by its number; or of a node that has several, with the number of the output."""

_MXNET_VERSION = 10901  # without it MXNet warns that the file is of an old version


class Graph:
    """A graph under construction. Nodes are known by their number, which ``variable`` and ``add`` return."""

    def __init__(self) -> None:
        self._nodes: list[dict[str, Any]] = []

    def variable(self, name: str, shape: tuple[int, ...] | None = None) -> int:
        """An input or parameter. ``shape`` is needed where no operator implies it."""
        return self.add("null", name, **({"__shape__": shape} if shape is not None else {}))

    def add(self, operator: str, name: str, /, *inputs: Source, **attributes: object) -> int:
        """An operator applied to ``inputs``."""
        sources = [source if isinstance(source, tuple) else (source, 0) for source in inputs]
        node: dict[str, Any] = {"op": operator, "name": name, "inputs": [[*source, 0] for source in sources]}
        if attributes:
            node["attrs"] = {key: str(value) for key, value in attributes.items()}
        self._nodes.append(node)
        return len(self._nodes) - 1

    def to_json(self, *heads: int) -> str:
        """The symbol file of the graph whose results are the nodes ``heads``."""
        document = {
            "nodes": self._nodes,
            "arg_nodes": [number for number, node in enumerate(self._nodes) if node["op"] == "null"],
            "node_row_ptr": list(range(len(self._nodes) + 1)),
            "heads": [[head, 0, 0] for head in heads],
            "attrs": {"mxnet_version": ["int", _MXNET_VERSION]},
        }
        return json.dumps(document, indent=2)


def linear(feature_dim: int, outputs: int, link: Link) -> str:
    """``link(data @ fc0_weight.T + fc0_bias)``, with fc0_weight (outputs, feature_dim) and fc0_bias (outputs,).

    The reshape lets a single row come as a vector of shape (feature_dim,), as some users send it.
    """
    graph = Graph()
    rows = graph.add("Reshape", "rows", graph.variable("data"), shape=(-1, feature_dim))
    weight, bias = graph.variable("fc0_weight"), graph.variable("fc0_bias")
    scores = graph.add("FullyConnected", "fc0", rows, weight, bias, num_hidden=outputs)
    return graph.to_json(graph.add(link, "out", scores))


def factorization_machine(feature_dim: int, num_factors: int, link: Link) -> str:
    """``link(w0 + x w1 + ((x v)^2 - x^2 v^2) summed over factors / 2)`` for the rows x of ``data``.

    Parameters: v (feature_dim, num_factors), w1_weight (feature_dim, 1), w0_weight (1,). The result has shape (n, 1).
    """
    graph = Graph()
    data = graph.variable("data")
    v = graph.variable("v", (feature_dim, num_factors))
    w1 = graph.variable("w1_weight", (feature_dim, 1))
    w0 = graph.variable("w0_weight", (1,))
    linear_part = graph.add("broadcast_add", "linear", graph.add("dot", "xw", data, w1), w0)
    square_of_sum = graph.add("square", "square_of_sum", graph.add("dot", "xv", data, v))
    squares = graph.add("square", "x2", data), graph.add("square", "v2", v)
    sum_of_squares = graph.add("dot", "sum_of_squares", *squares)
    doubled = graph.add("elemwise_sub", "doubled_pairs", square_of_sum, sum_of_squares)
    summed = graph.add("sum", "summed", doubled, axis=1, keepdims=True)
    pairs = graph.add("_mul_scalar", "pairs", summed, scalar=0.5)
    return graph.to_json(graph.add(link, "out", graph.add("elemwise_add", "scores", linear_part, pairs)))
