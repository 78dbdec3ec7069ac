"""A symbol file of MXNet run in NumPy: what serves, without a deep learning framework.

One image at a time goes through, as (height, width, channels); ``operators`` has what is computed. Batch norm, a
multiplication and an addition in serving, is taken into the weights of a convolution before it (B. Jacob et al.,
"Quantization and Training of Neural Networks", CVPR 2018, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from algorithms.errors import ModelError
from algorithms.vision import operators
from algorithms.vision.costs import Shape, cost
from algorithms.vision.graph import HEADS, Graph, Node, flag, pair, window
from algorithms.vision.operators import Step
from recordio.limits import (
    LEAST_MODEL_MEMORY,
    MODEL_MEMORY_PER_BYTE,
    MOST_NETWORK_OPERATIONS,
    NETWORK_MEMORY_PER_PIXEL,
)

IDENTITIES = frozenset({"_copy", "identity", "Cast", "cast", "Dropout", "BlockGrad"})
SUMS = frozenset({"elemwise_add", "_plus", "_Plus", "broadcast_add"})


class Network:
    """The probabilities of a graph's head. Safe to call from several threads.

    Args:
        parameters: by MXNet's names without ``arg:`` and ``aux:``.
        shape: channels, height and width of the input.

    Raises:
        ModelError: the graph has an operator that is not known here, lacks parameters, does not fit them or the shape,
            or asks for more memory or time than a file of that size may.
    """

    def __init__(self, graph: Graph, parameters: Mapping[str, np.ndarray], shape: tuple[int, int, int]) -> None:
        self._head = graph.head
        self._data = next((i for i, node in enumerate(graph.nodes) if node.name == "data"), -1)
        if self._data < 0:
            raise ModelError("the symbol file has no input 'data'")
        most = LEAST_MODEL_MEMORY + MODEL_MEMORY_PER_BYTE * sum(array.nbytes for array in parameters.values())
        most += NETWORK_MEMORY_PER_PIXEL * shape[1] * shape[2]
        compiled = _Compiler(graph, parameters)
        if compiled.free() - {self._data}:
            names = ", ".join(graph.nodes[number].name for number in sorted(compiled.free() - {self._data}))
            raise ModelError(f"the symbol file computes with {names} in a way that cannot be run here")
        sources_of = {number: compiled.sources(number) for number in compiled.needed()}
        last_use = {source: number for number, sources in sources_of.items() for source in sources}
        done_by = {
            number: tuple(source for source in set(sources) if last_use[source] == number)
            for number, sources in sources_of.items()
        }
        self.memory = compiled.judge(sources_of, done_by, {self._data: (*shape[1:], shape[0])}, most)
        self._plan = [
            (number, compiled.step(number), sources, done_by[number]) for number, sources in sources_of.items()
        ]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Probabilities, (num_classes,) float32, of pixels (height, width, channels) in 0 to 255."""
        values = {self._data: np.ascontiguousarray(image, np.float32)}
        for number, step, sources, done in self._plan:
            values[number] = step(*[values[source] for source in sources])
            for source in done:
                del values[source]
        return values[self._head]


class _Compiler:
    """Makes each node of a graph a function of the values of others, with its parameters inside."""

    def __init__(self, graph: Graph, parameters: Mapping[str, np.ndarray]) -> None:
        self._nodes, self._head = graph.nodes, graph.head
        self._parameters = parameters
        self._readers: dict[int, list[int]] = {}
        for number in self._reached():
            for source in self._data_inputs(number):
                self._readers.setdefault(source, []).append(number)
        self._follows: dict[int, int] = {}  # batch norm or ReLU: what is computed together with it
        for number in self._reached():
            joined = self._joined(number)
            if joined is not None:
                self._follows[number] = joined

    def free(self) -> set[int]:
        """The variables whose values are taken as they are, and not as parameters of an operator."""
        return {number for number in self._reached() if self._nodes[number].operator == "null"}

    def needed(self) -> list[int]:
        """The nodes to compute, in order."""
        within = set(self._follows.values())
        return [
            number
            for number in sorted(self._reached())
            if self._nodes[number].operator != "null" and number not in within
        ]

    def sources(self, number: int) -> tuple[int, ...]:
        """The nodes whose values the function of a node takes."""
        return self._data_inputs(self._members(number)[-1])

    def judge(
        self,
        sources_of: Mapping[int, tuple[int, ...]],
        done_by: Mapping[int, tuple[int, ...]],
        shapes: dict[int, Shape],
        most: int,
    ) -> int:
        """Raises ModelError where arrays do not fit each other, or running the graph takes more than ``most`` bytes or
        ``MOST_NETWORK_OPERATIONS``. Returns the bytes that running it takes, weights left out.

        Args:
            sources_of: the nodes to compute, in order, and those that each takes.
            done_by: the nodes whose values are no longer needed after each. shapes: of the input.
        """
        live, operations = 4 * sum(map(math.prod, shapes.values())), 0
        highest = live
        prepared = 0  # a weight is copied for each node that uses it
        for number, sources in sources_of.items():
            node = self._nodes[self._members(number)[-1]]
            weight = None
            if node.operator in ("Convolution", "FullyConnected"):
                weight = self._parameter(node, 1).shape
                prepared += 4 * math.prod(weight)
            step = cost(node, weight, [shapes[source] for source in sources])
            shapes[number] = step.shape
            self._check_vectors(number, step.shape[-1] if step.shape else 0)
            live += 4 * math.prod(step.shape)
            operations += step.operations
            if live + step.scratch + prepared > most or operations > MOST_NETWORK_OPERATIONS:
                raise ModelError(
                    f"the symbol file describes a network that takes {live + step.scratch + prepared} bytes of memory "
                    f"and {operations} operations for an image up to its node '{node.name[:80]}'; for parameters of "
                    f"this size {most} bytes and {MOST_NETWORK_OPERATIONS} operations are the most"
                )
            highest = max(highest, live + step.scratch)
            live -= sum(4 * math.prod(shapes[source]) for source in done_by[number])
        return highest

    def _check_vectors(self, number: int, channels: int) -> None:
        """Raises ModelError where a bias or a batch norm has another number of channels than what it is applied to."""
        positions = {"BatchNorm": (1, 2, 3, 4), "Convolution": (2,), "FullyConnected": (2,)}
        for member in self._members(number):
            node = self._nodes[member]
            if node.operator != "BatchNorm" and flag(node, "no_bias", False):
                continue
            for position in positions.get(node.operator, ()):
                if (shape := self._parameter(node, position).shape) != (channels,):
                    raise ModelError(
                        f"node '{node.name[:80]}' of the symbol file has {channels} channels, and a parameter of the "
                        f"shape {shape}"
                    )

    def _members(self, number: int) -> list[int]:
        """A node, and those before it that are computed together with it, the first of all last."""
        chain = [number]
        while chain[-1] in self._follows:
            chain.append(self._follows[chain[-1]])
        return chain

    def step(self, number: int) -> Step:
        """The function of a node."""
        node = self._nodes[number]
        if number in self._follows:
            return self._chain(number)
        if node.operator in HEADS:
            return operators.softmax if HEADS[node.operator] == "softmax" else operators.sigmoid
        if node.operator in IDENTITIES:
            return operators.identity
        if node.operator in SUMS:
            return np.add
        makers: dict[str, Callable[[Node], Step]] = {
            "BatchNorm": self._batch_norm,
            "Convolution": self._convolution,
            "Activation": self._activation,
            "Pooling": self._pooling,
            "Flatten": lambda _: np.ravel,
            "FullyConnected": self._dense,
        }
        if node.operator not in makers:
            raise ModelError(f"node '{node.name}' of the symbol file is a '{node.operator}', which cannot be run here")
        return makers[node.operator](node)

    def _reached(self) -> set[int]:
        """All nodes that the head depends on."""
        found, waiting = set(), [self._head]
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                waiting.extend(self._data_inputs(number))
        return found

    def _data_inputs(self, number: int) -> tuple[int, ...]:
        """The inputs of a node that are no parameters and no labels: the first, or both terms of a sum."""
        node = self._nodes[number]
        return node.inputs if node.operator in SUMS else node.inputs[:1]

    def _joined(self, number: int) -> int | None:
        """The node that is computed together with ``number``, which alone reads it: the convolution before a batch
        norm, either of both before a ReLU."""
        node = self._nodes[number]
        before = {"BatchNorm": ("Convolution",), "Activation": ("Convolution", "BatchNorm")}.get(node.operator, ())
        if node.operator == "Activation" and node.attributes.get("act_type") != "relu":
            return None
        source = self._data_inputs(number)[0] if node.inputs else number
        alone = len(self._readers.get(source, ())) == 1
        return source if alone and self._nodes[source].operator in before else None

    def _chain(self, number: int) -> Step:
        """Convolution, batch norm and ReLU, or some of them, as one function."""
        nodes = {self._nodes[member].operator: self._nodes[member] for member in self._members(number)}
        relu = "Activation" in nodes
        if "Convolution" in nodes:
            folded = self._scale_and_shift(nodes["BatchNorm"]) if "BatchNorm" in nodes else None
            return self._convolution(nodes["Convolution"], folded, relu=relu)
        return self._batch_norm(nodes["BatchNorm"], relu=relu)

    def _parameter(self, node: Node, position: int) -> np.ndarray:
        """The parameter that a node reads as its input ``position``, float32."""
        if position >= len(node.inputs):
            raise ModelError(f"node '{node.name}' of the symbol file lacks inputs")
        name = self._nodes[node.inputs[position]].name
        if name not in self._parameters:
            raise ModelError(f"the checkpoint has no parameter '{name}'")
        return np.asarray(self._parameters[name], np.float32)

    def _scale_and_shift(self, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """Batch norm as a multiplication and an addition, each (channels,)."""
        gamma, beta, mean, variance = (self._parameter(node, position) for position in (1, 2, 3, 4))
        if flag(node, "fix_gamma", True):
            gamma = np.ones_like(gamma)
        epsilon = _number(node, "eps", 1e-3)
        if (variance + epsilon <= 0).any():
            raise ModelError(f"batch norm '{node.name[:80]}' has a variance that is not above 0")
        scale = gamma / np.sqrt(variance + epsilon)
        return scale, beta - mean * scale

    def _batch_norm(self, node: Node, *, relu: bool = False) -> Step:
        if node.attributes.get("axis", "1") != "1":
            raise ModelError(f"batch norm '{node.name}' is over another axis than the channels")
        scale, shift = self._scale_and_shift(node)

        def normalise(x: np.ndarray) -> np.ndarray:
            y = np.empty_like(x)
            rows, results = x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1])
            for part in operators.parts(rows):
                np.multiply(rows[part], scale, out=results[part])
            operators.finish(results, shift, relu=relu)
            return y

        return normalise

    def _activation(self, node: Node) -> Step:
        kind = node.attributes.get("act_type")
        if kind not in ("relu", "sigmoid"):
            raise ModelError(f"the activation '{kind}' of node '{node.name}' cannot be run here")
        return operators.relu if kind == "relu" else operators.sigmoid

    def _dense(self, node: Node) -> Step:
        weight = np.ascontiguousarray(self._parameter(node, 1).T)
        bias = 0 if flag(node, "no_bias", False) else self._parameter(node, 2)
        return lambda x: x.ravel() @ weight + bias

    def _convolution(
        self, node: Node, folded: tuple[np.ndarray, np.ndarray] | None = None, *, relu: bool = False
    ) -> Step:
        kernel, stride, pad = window(node)
        if node.attributes.get("num_group", "1") != "1" or pair(node, "dilate", 1) != (1, 1):
            raise ModelError(f"the convolution '{node.name}' is in groups or dilated, which cannot be run here")
        weight = self._parameter(node, 1)
        if weight.ndim != 4 or weight.shape[2:] != kernel:
            raise ModelError(
                f"'{node.name}_weight' has the shape {weight.shape}, which is none of a kernel of {kernel}"
            )
        bias = np.zeros(len(weight), np.float32) if flag(node, "no_bias", False) else self._parameter(node, 2)
        if folded is not None:
            scale, shift = folded
            weight, bias = weight * scale[:, None, None, None], bias * scale + shift
        return operators.convolution(np.ascontiguousarray(weight.transpose(2, 3, 1, 0)), bias, stride, pad, relu)

    def _pooling(self, node: Node) -> Step:
        kind = node.attributes.get("pool_type", "max")
        if flag(node, "global_pool", False):
            if kind != "avg":
                raise ModelError(f"the global pooling '{node.name}' is no average, and cannot be run here")
            return lambda x: x.mean(axis=(0, 1))
        kernel, stride, pad = window(node)
        if kind != "max" or node.attributes.get("pooling_convention", "valid") != "valid":
            raise ModelError(f"the pooling '{node.name}' cannot be run here")
        return operators.max_pool(kernel, stride, pad)


def _number(node: Node, name: str, default: float) -> float:
    """A number that an attribute states. Raises ModelError where it is none, or below 0."""
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
