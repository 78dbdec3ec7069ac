"""Reading of MXNet's symbol files: nodes and their attributes."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

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
"""Operators that a classifier may end in, by MXNet's names."""

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
    "split": "SliceChannel",
    "crop": "slice",
    "swapaxes": "SwapAxis",
    "reshape": "Reshape",
    "flatten": "Flatten",
    "_PlusScalar": "_plus_scalar",
    "_MinusScalar": "_minus_scalar",
    "_MulScalar": "_mul_scalar",
    "_DivScalar": "_div_scalar",
}
"""Other names that MXNet has, or had, for an operator."""
_ACTIVATIONS = frozenset({"relu", "sigmoid", "tanh", "softsign"})
"""Kinds of ``Activation`` that are also operators by themselves."""
_STATISTICS = ("moving_mean", "moving_var")
INPUT = "null"
"""The operator of the input and of parameters."""

EPSILON = 1e-3
"""Of MXNet's batch norm, where it states none."""


@dataclass
class Node:
    """One operator of a graph: ``inputs`` are numbers of nodes before it, ``attributes`` texts, ``output`` which of its
    values this is, where there are several."""

    operator: str
    name: str
    inputs: tuple[int, ...]
    attributes: Mapping[str, str]
    output: int = 0

    @property
    def place(self) -> str:
        """What errors call it."""
        return f"node '{self.name[:80]}' of the symbol file"


def unfit(node: Node, why: str) -> ModelError:
    """The error for a node whose attributes or inputs do not fit each other."""
    return ModelError(f"node '{node.name[:80]}' ({node.operator}) of the symbol file cannot be computed: {why}")


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
            raise ModelError(f"{node.place} lacks inputs")
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
            raise ModelError(f"{node.place} lacks inputs")
        read = self.nodes[node.inputs[position]]
        name = read.name
        if name not in parameters or read.operator != INPUT:
            raise ModelError(f"the checkpoint has no parameter '{name[:80]}'")
        return np.asarray(parameters[name], np.float32)


def read_graph(text: str, name: str, heads: Container[str] | None = HEADS) -> Graph:
    """The graph of a symbol file with one output, which is probabilities; with ``heads`` None, whatever it is.

    Operators of several names have one of them here, and one that splits a value is a node for each part that is read.

    Raises:
        ModelError: it is none.
    """
    document = read_json(text, name)
    try:
        (entry,) = document["heads"]
        nodes, places = _read_nodes(document["nodes"], _source(entry))
        head = places[_source(entry)]
        operator = nodes[head].operator
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ModelError(f"'{name}' is not a symbol file of MXNet with one output: {error!r}") from None
    if heads is not None and operator not in heads:
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
    flat = node.attributes.get("shape", "").replace(" ", "") in ("(0,-1)", "[0,-1]")
    if operator == "Reshape" and flat and not flag(node, "reverse", False):
        return replace(node, operator="Flatten", attributes={})
    if operator == "_contrib_AdaptiveAvgPooling2D" and _is_one(node.attributes.get("output_size", "()")):
        return replace(
            node, operator="Pooling", attributes={"global_pool": "True", "pool_type": "avg", "kernel": "(1, 1)"}
        )
    return replace(node, operator=operator)


def _is_one(size: str) -> bool:
    """Whether a size of pictures, one number or two, is of one pixel; so it is where it is not stated."""
    return size.replace(" ", "") in ("()", "[]", "1", "(1,)", "(1,1)", "[1,1]")


def _read_nodes(
    entries: Sequence[Mapping[str, Any]], head: tuple[int, int]
) -> tuple[list[Node], dict[tuple[int, int], int]]:
    """The nodes, and where among them the outputs of the entries are: an entry that splits a value is a node for each
    of its outputs that is read, of another the first is all there is; those after it are statistics and masks."""
    read: dict[int, set[int]] = {}
    for number, output in (head, *(_source(source) for entry in entries for source in entry["inputs"])):
        read.setdefault(number, set()).add(output)
    nodes, places = list[Node](), dict[tuple[int, int], int]()
    for number, entry in enumerate(entries):
        sources = [_source(source) for source in entry["inputs"]]
        if any(not 0 <= source < number for source, _ in sources):
            raise ValueError(f"node {number} reads nodes that do not come before it")
        outputs = read.get(number, {0})
        is_split = _ALIASES.get(entry["op"], entry["op"]) == "SliceChannel"
        if outputs != {0} and not is_split:
            raise ValueError(f"output {max(outputs)} of node {number} is read, which is not computed")
        node = _read_node(entry, tuple(places[source] for source in sources))
        for output in sorted(outputs):
            places[number, output] = len(nodes)
            nodes.append(replace(node, output=output))
    return nodes, places


def _read_node(entry: Mapping[str, Any], inputs: tuple[int, ...]) -> Node:
    attributes: dict[str, Any] = {}
    for key in ("param", "attr", "attrs"):  # before 0.9 an operator's own are "param", "attr" the user's beside them
        attributes |= entry.get(key) or {}
    return Node(str(entry["op"]), str(entry["name"]), inputs, {key: str(value) for key, value in attributes.items()})


def _source(source: Sequence[int]) -> tuple[int, int]:
    """The number of an entry that is read, and which of its outputs."""
    number, output, *_ = (*source, 0)
    return int(number), int(output)


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
        raise ModelError(f"{node.place}: {name} is {text[:80]}, not two numbers of 0 or more")
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


def empty_windows(node: Node, height: int, width: int) -> tuple[int, int]:
    """The last lines and columns of windows of a pooling that have no pixel in them, as there may be with ``full``:
    their largest number is the least that float32 has, their mean 0."""
    kernel, stride, pad = window(node)
    found = []
    for side, length, step, around, end in zip(
        (height, width), kernel, stride, pad, overhang(node, height, width), strict=True
    ):
        windows = (side + 2 * around + end - length) // step + 1
        with_pixels = -(-(side + around) // step)
        found.append(max(0, windows - with_pixels))
    return found[0], found[1]


def shares(node: Node, height: int, width: int) -> np.ndarray:
    """What the means of an average pooling over pictures that are padded with zeros are multiplied by, (height, width):
    a window's numbers, over those of them that count; 0 where none is a pixel's."""
    kernel, stride, pad = window(node)
    counted = pad if counts_padding(node) else (0, 0)
    found = []
    for axis, (side, end) in enumerate(zip((height, width), overhang(node, height, width), strict=True)):
        counts = np.zeros(pad[axis] + side + pad[axis] + end)
        counts[pad[axis] - counted[axis] : pad[axis] + side + counted[axis]] = 1
        windows = np.lib.stride_tricks.sliding_window_view(counts, kernel[axis])[:: stride[axis]].sum(axis=1)
        found.append(kernel[axis] / np.maximum(windows, 1))
        found[-1][len(windows) - empty_windows(node, height, width)[axis] :] = 0
    return np.outer(*found).astype(np.float32)


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
        raise ModelError(f"{node.place}: {name} is {text[:40]}, not 1 or more")
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
    text, value = _float(node, name, default)
    if not abs(value) < 1e30:  # well within float32
        raise ModelError(f"{node.place}: {name} is {text[:40]}, not a number")
    return value


def nonnegative(node: Node, name: str, default: float) -> float:
    """An attribute that is a number of 0 or more.

    Raises:
        ModelError: the attribute is something else.
    """
    text, value = _float(node, name, default)
    if not 0 <= value < math.inf:
        raise ModelError(f"{node.place}: {name} is {text[:40]}, not a number of 0 or more")
    return value


def _float(node: Node, name: str, default: float | None) -> tuple[str, float]:
    """An attribute's text, and the number that it is; NaN where it is none."""
    text = node.attributes.get(name, str(default))
    try:
        return text, float(text)
    except ValueError:
        return text, math.nan


class Normalisation(NamedTuple):
    """Of an ``LRN``: each number is divided by (knorm + alpha / size * the squares of its neighbours)^beta, the
    neighbours being ``size`` channels with its own in their middle."""

    size: int
    alpha: float
    beta: float
    knorm: float


def normalisation(node: Node) -> Normalisation:
    """What an ``LRN`` states.

    Raises:
        ModelError: it is none that MXNet computes.
    """
    found = Normalisation(
        count(node, "nsize", 0), number(node, "alpha", 1e-4), number(node, "beta", 0.75), number(node, "knorm", 2.0)
    )
    if found.size % 2 == 0 or min(found) <= 0:
        raise ModelError(
            f"node '{node.name[:80]}' (LRN) of the symbol file: nsize is {found.size}, alpha {found.alpha:g}, beta "
            f"{found.beta:g} and knorm {found.knorm:g}; all must be above 0, and nsize is odd"
        )
    return found
