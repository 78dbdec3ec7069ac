"""Symbol files of MXNet as they are read: nodes, and what their attributes say."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from algorithms.common.documents import read_json
from algorithms.errors import ModelError

_COUNT = re.compile(r"[0-9]{1,9}")
_PAIR = re.compile(r"[(\[]\s*([0-9]{1,9})L?\s*,\s*([0-9]{1,9})L?\s*,?\s*[)\]]")  # Python 2 wrote the L

HEADS = {
    "SoftmaxOutput": "softmax",
    "Softmax": "softmax",  # what SoftmaxOutput was called first
    "SoftmaxActivation": "softmax",
    "softmax": "softmax",
    "LogisticRegressionOutput": "sigmoid",
    "sigmoid": "sigmoid",
}
"""What a classifier may end in, by MXNet's names."""

IDENTITIES = frozenset({"_copy", "identity", "Cast", "cast", "Dropout", "BlockGrad"})
SUMS = frozenset({"elemwise_add", "broadcast_add"})
PRODUCTS = frozenset({"elemwise_mul", "broadcast_mul"})
MANY = frozenset({"Concat", "add_n"})
"""Operators of any number of inputs."""
SCALARS = frozenset({"_plus_scalar", "_minus_scalar", "_mul_scalar", "_div_scalar"})
"""Operators of a value and of one number, their attribute ``scalar``."""
_ALIASES = {
    "_plus": "elemwise_add",
    "_Plus": "elemwise_add",
    "_add": "elemwise_add",
    "broadcast_plus": "broadcast_add",
    "_mul": "elemwise_mul",
    "_Mul": "elemwise_mul",
    "ElementWiseSum": "add_n",
    "concat": "Concat",
    "flatten": "Flatten",
    "_PlusScalar": "_plus_scalar",
    "_MinusScalar": "_minus_scalar",
    "_MulScalar": "_mul_scalar",
    "_DivScalar": "_div_scalar",
}
"""Names that MXNet has, or had, for one operator."""
_ACTIVATIONS = frozenset({"relu", "sigmoid", "tanh", "softsign"})
"""Kinds of ``Activation`` that are also operators by themselves."""
_STATISTICS = ("moving_mean", "moving_var")
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
        """The nodes whose values a node reads, parameters and labels left out: the first, both terms of a sum or
        product, or all.

        Raises:
            ModelError: it has too few inputs.
        """
        node = self.nodes[number]
        if node.operator in MANY:
            wanted = max(len(node.inputs), 1)
        else:
            wanted = 0 if node.operator == INPUT else 2 if node.operator in SUMS | PRODUCTS else 1
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


def read_graph(text: str, name: str, heads: Container[str] | None = HEADS) -> Graph:
    """The graph of a symbol file with one output, which is probabilities; with ``heads`` None, whatever it is.

    Operators of several names have one of them here.

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
    if head < 0 or (heads is not None and operator not in heads):
        raise ModelError(f"'{name}' ends in '{operator}'; a classifier ends in one of {', '.join(HEADS)}")
    for number, node in enumerate(nodes[:]):
        if number != head:
            nodes[number] = _by_one_name(node)
        if node.operator == "BatchNorm" and len(node.inputs) == 3:  # before 0.9 files did not have its statistics
            nodes[number].inputs += tuple(range(len(nodes), len(nodes) + len(_STATISTICS)))
            nodes += [Node(INPUT, f"{node.name}_{suffix}", (), {}) for suffix in _STATISTICS]
    return Graph(nodes, head)


def _by_one_name(node: Node) -> Node:
    """The same under the one name of its operator."""
    operator = _ALIASES.get(node.operator, node.operator)
    if operator in _ACTIVATIONS:
        return replace(node, operator="Activation", attributes={"act_type": operator})
    if operator == "Reshape" and node.attributes.get("shape", "").replace(" ", "") in ("(0,-1)", "[0,-1]"):
        return replace(node, operator="Flatten", attributes={})
    if operator == "_contrib_AdaptiveAvgPooling2D" and _is_one(node.attributes.get("output_size", "()")):
        return replace(
            node, operator="Pooling", attributes={"global_pool": "True", "pool_type": "avg", "kernel": "(1, 1)"}
        )
    return replace(node, operator=operator)


def _is_one(size: str) -> bool:
    """Whether a size of pictures, one number or two, is of one pixel; so it is where it is not stated."""
    return size.replace(" ", "") in ("()", "[]", "1", "(1,)", "(1,1)", "[1,1]")


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


def overhang(node: Node, height: int, width: int) -> tuple[int, int]:
    """The lines and columns behind the padding that the last windows of a pooling reach over: none, but in the
    convention ``full``, where the number of windows is rounded up."""
    if node.attributes.get("pooling_convention", "valid") != "full":
        return 0, 0
    kernel, stride, pad = window(node)
    sides = zip((height, width), kernel, stride, pad, strict=True)
    down, right = (-(side + 2 * around - length) % max(step, 1) for side, length, step, around in sides)
    return down, right


def counts_padding(node: Node) -> bool:
    """Whether an average pooling counts the zeros around the picture."""
    return node.attributes.get("count_include_pad", "None").lower() in ("none", "true", "1")


def count(node: Node, name: str, default: int) -> int:
    """An attribute that is an integer of 1 or more.

    Raises:
        ModelError: the attribute is something else.
    """
    text = node.attributes.get(name, str(default)).strip()
    if not _COUNT.fullmatch(text) or not int(text):
        raise ModelError(f"node '{node.name[:80]}' of the symbol file: {name} is {text[:40]}, not 1 or more")
    return int(text)


def flag(node: Node, name: str, default: bool) -> bool:
    """An attribute that is ``True`` or ``False``."""
    text = node.attributes.get(name)
    return default if text is None else text.lower() in ("true", "1")


def number(node: Node, name: str, default: float | None = None) -> float:
    """An attribute that is a finite number.

    Raises:
        ModelError: the attribute is something else, or not there and without a default.
    """
    text = node.attributes.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e30:  # well within float32
        raise ModelError(f"node '{node.name[:80]}' of the symbol file: {name} is {text[:40]}, not a number")
    return value


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
