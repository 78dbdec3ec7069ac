"""Symbol files of MXNet as they are read: nodes, and what their attributes say."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from algorithms.common.documents import read_json
from algorithms.errors import ModelError

_PAIR = re.compile(r"[(\[]\s*([0-9]{1,9})L?\s*,\s*([0-9]{1,9})L?\s*,?\s*[)\]]")  # Python 2 wrote the L

HEADS = {"SoftmaxOutput": "softmax", "softmax": "softmax", "LogisticRegressionOutput": "sigmoid", "sigmoid": "sigmoid"}
"""What a classifier may end in, by MXNet's names."""

IDENTITIES = frozenset({"_copy", "identity", "Cast", "cast", "Dropout", "BlockGrad"})
SUMS = frozenset({"elemwise_add", "_plus", "_Plus", "broadcast_add"})
INPUT = "null"
"""The operator of the input and of parameters."""

EPSILON = 1e-3
"""Of MXNet's batch norm, where it states none."""


@dataclass
class Node:
    """One operator of a graph: ``inputs`` are numbers of nodes before it, ``attributes`` texts."""

    operator: str
    name: str
    inputs: tuple[int, ...]
    attributes: Mapping[str, str]


@dataclass
class Graph:
    """A symbol file: ``nodes`` in the order of computation, ``head`` the number of the last."""

    nodes: list[Node]
    head: int

    @property
    def multi_label(self) -> bool:
        """Whether each class has a probability of its own."""
        return HEADS[self.nodes[self.head].operator] == "sigmoid"

    def sources(self, number: int) -> tuple[int, ...]:
        """The nodes whose values a node reads, parameters and labels left out: the first, or both terms of a sum.

        Raises:
            ModelError: it has too few inputs.
        """
        node = self.nodes[number]
        wanted = 0 if node.operator == INPUT else 2 if node.operator in SUMS else 1
        if len(node.inputs) < wanted:
            raise ModelError(f"node '{node.name[:80]}' of the symbol file lacks inputs")
        return node.inputs[:wanted]

    def reached(self) -> list[int]:
        """All nodes that the head depends on, in order, parameters left out."""
        found, waiting = set(), [self.head]
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                waiting.extend(self.sources(number))
        return sorted(found)

    def parameter(self, parameters: Mapping[str, np.ndarray], node: Node, position: int) -> np.ndarray:
        """The parameter that a node reads as its input ``position``, float32.

        Raises:
            ModelError: there is none.
        """
        if position >= len(node.inputs):
            raise ModelError(f"node '{node.name[:80]}' of the symbol file lacks inputs")
        read = self.nodes[node.inputs[position]]
        name = read.name
        if name not in parameters or read.operator != INPUT:
            raise ModelError(f"the checkpoint has no parameter '{name[:80]}'")
        return np.asarray(parameters[name], np.float32)


def read_graph(text: str, name: str, heads: Container[str] = HEADS) -> Graph:
    """The graph of a symbol file with one output, which is probabilities; or what else ``heads`` give.

    Raises:
        ModelError: it is none.
    """
    document = read_json(text, name)
    try:
        nodes = [_read_node(entry, number) for number, entry in enumerate(document["nodes"])]
        (entry,) = document["heads"]
        head = _first_output(entry)
        operator = nodes[head].operator
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ModelError(f"'{name}' is not a symbol file of MXNet with one output: {error!r}") from None
    if head < 0 or operator not in heads:
        raise ModelError(f"'{name}' ends in '{operator}'; a classifier ends in one of {', '.join(HEADS)}")
    return Graph(nodes, head)


def _read_node(entry: Mapping[str, Any], number: int) -> Node:
    inputs = tuple(map(_first_output, entry["inputs"]))
    if any(not 0 <= source < number for source in inputs):
        raise ValueError(f"node {number} reads nodes that do not come before it")
    attributes: dict[str, Any] = {}
    for key in ("param", "attr", "attrs"):  # before 0.9 an operator's own are "param", "attr" the user's beside them
        attributes |= entry.get(key) or {}
    return Node(str(entry["op"]), str(entry["name"]), inputs, {key: str(value) for key, value in attributes.items()})


def _first_output(source: Sequence[int]) -> int:
    """The number of a node, of whose outputs the first is read: those after it are statistics and masks."""
    number, output, *_ = (*source, 0)
    if output:
        raise ValueError(f"output {output} of node {number} is read, which is not computed")
    return int(number)


def window(node: Node) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Kernel, stride and padding, each of height and width."""
    return pair(node, "kernel", 0), pair(node, "stride", 1), pair(node, "pad", 0)


def pair(node: Node, name: str, default: int) -> tuple[int, int]:
    """An attribute of two numbers, as in ``(3, 3)`` or ``[3, 3]``; () stands for the default.

    Raises:
        ModelError: the attribute is something else.
    """
    text = node.attributes.get(name)
    if text is None or text in ("()", "[]"):
        return default, default
    found = _PAIR.fullmatch(text)
    if found is None:
        raise ModelError(
            f"node '{node.name[:80]}' of the symbol file: {name} is {text[:80]}, not two numbers of 0 or more"
        )
    return int(found[1]), int(found[2])


def flag(node: Node, name: str, default: bool) -> bool:
    """An attribute that is ``True`` or ``False``."""
    text = node.attributes.get(name)
    return default if text is None else text.lower() in ("true", "1")


def nonnegative(node: Node, name: str, default: float) -> float:
    """An attribute that is a number of 0 or more.

    Raises:
        ModelError: the attribute is something else.
    """
    text = node.attributes.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ModelError(
            f"node '{node.name[:80]}' of the symbol file: {name} is {text[:40]}, not a number of 0 or more"
        )
    return value
