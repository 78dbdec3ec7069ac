"""A symbol file of MXNet run in NumPy: what serves, without a deep learning framework.

One image at a time goes through, as (height, width, channels). A convolution is matrix products: of windows copied side
by side where it has a stride, and else of the rows of the padded image itself, shifted, one product for each position
of the kernel added to the one before. Batch norm, a multiplication and an addition in serving, is taken into the
weights of a convolution before it.

References: K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006 (windows side by side). B. Jacob et al., "Quantization and Training of Neural Networks", CVPR 2018,
section 3.2 (batch norm in the weights).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from algorithms.errors import ModelError
from algorithms.vision.costs import Shape, cost, window_rows
from algorithms.vision.graph import HEADS, Graph, Node, flag, pair, window
from recordio.limits import (
    LEAST_MODEL_MEMORY,
    MODEL_MEMORY_PER_BYTE,
    MOST_NETWORK_OPERATIONS,
    NETWORK_MEMORY_PER_PIXEL,
)

Step = Callable[..., np.ndarray]

_CACHED_BYTES = 1 << 18
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
            return _softmax if HEADS[node.operator] == "softmax" else _sigmoid
        if node.operator in IDENTITIES:
            return _identity
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
            for part in _parts(rows):
                np.multiply(rows[part], scale, out=results[part])
            _finish(results, shift, relu=relu)
            return y

        return normalise

    def _activation(self, node: Node) -> Step:
        kind = node.attributes.get("act_type")
        if kind not in ("relu", "sigmoid"):
            raise ModelError(f"the activation '{kind}' of node '{node.name}' cannot be run here")
        return _relu if kind == "relu" else _sigmoid

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
        return _convolution(np.ascontiguousarray(weight.transpose(2, 3, 1, 0)), bias, stride, pad, relu)

    def _pooling(self, node: Node) -> Step:
        kind = node.attributes.get("pool_type", "max")
        if flag(node, "global_pool", False):
            if kind != "avg":
                raise ModelError(f"the global pooling '{node.name}' is no average, and cannot be run here")
            return lambda x: x.mean(axis=(0, 1))
        kernel, stride, pad = window(node)
        if kind != "max" or node.attributes.get("pooling_convention", "valid") != "valid":
            raise ModelError(f"the pooling '{node.name}' cannot be run here")
        return _max_pool(kernel, stride, pad)


# ---- operators ------------------------------------------------------------------------------------------------------


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


def _identity(x: np.ndarray) -> np.ndarray:
    return x


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    """Without overflow on either side: 1 / (1 + exp(-x)) is (1 + tanh(x / 2)) / 2."""
    return (1 + np.tanh(scores / 2)) / 2


def _parts(rows: np.ndarray) -> list[slice]:
    """So many rows at a time that they stay in the cache from one operation to the next."""
    count = max(1, _CACHED_BYTES // (rows.shape[1] * rows.itemsize))
    return [slice(start, start + count) for start in range(0, len(rows), count)]


def _finish(rows: np.ndarray, shift: np.ndarray, *, relu: bool) -> None:
    """Add ``shift``, (channels,), and take what is positive, in place."""
    for part in _parts(rows):
        rows[part] += shift
        if relu:
            np.maximum(rows[part], 0, out=rows[part])


def _convolution(
    weight: np.ndarray, bias: np.ndarray, stride: tuple[int, int], pad: tuple[int, int], relu: bool
) -> Step:
    """``weight`` has the shape (height, width, in, out). What it takes is computed by ``costs``."""
    if weight.shape[:2] == (1, 1) and pad == (0, 0):
        product = _pointwise(weight[0, 0], stride)
    elif stride == (1, 1):
        product = _shifted(weight, pad)
    else:
        product = _windowed(weight, stride, pad)

    def convolve(x: np.ndarray) -> np.ndarray:
        rows, height, width = product(x)
        _finish(rows, bias, relu=relu)
        whole = rows.reshape(height, -1, rows.shape[1])
        return whole[:, :width]

    return convolve


Product = Callable[[np.ndarray], tuple[np.ndarray, int, int]]
"""From (height, width, in) to rows of the result, (height * at least width, out), its height and its width."""


def _pointwise(weight: np.ndarray, stride: tuple[int, int]) -> Product:
    def multiply(x: np.ndarray) -> tuple[np.ndarray, int, int]:
        x = x[:: stride[0], :: stride[1]]
        return x.reshape(-1, x.shape[2]) @ weight, *x.shape[:2]

    return multiply


def _windowed(weight: np.ndarray, stride: tuple[int, int], pad: tuple[int, int]) -> Product:
    flat = weight.reshape(-1, weight.shape[3])

    def multiply(x: np.ndarray) -> tuple[np.ndarray, int, int]:
        windows = np.lib.stride_tricks.sliding_window_view(_padded(x, pad), weight.shape[:2], (0, 1))
        windows = windows[:: stride[0], :: stride[1]].transpose(0, 1, 3, 4, 2)
        height, width = windows.shape[:2]
        y = np.empty((height * width, flat.shape[1]), np.float32)
        rows = window_rows(width, len(flat))
        for start in range(0, height, rows):
            part = windows[start : start + rows]
            np.matmul(part.reshape(-1, len(flat)), flat, out=y[start * width : (start + len(part)) * width])
        return y, height, width

    return multiply


def _shifted(weight: np.ndarray, pad: tuple[int, int]) -> Product:
    """In the padded image, seen as one long list of pixels, the pixels that one position of the kernel meets are a
    slice. So nothing is copied; what is computed between two rows of the result is left out at the end."""
    from scipy.linalg.blas import sgemm  # NumPy cannot add a product to what is there

    rows, columns, _, filters = weight.shape

    def multiply(x: np.ndarray) -> tuple[np.ndarray, int, int]:
        padded = _padded(x, pad)
        height, width = padded.shape[0] - rows + 1, padded.shape[1]
        pixels = padded.reshape(-1, padded.shape[2])
        count = height * width - columns + 1
        y = np.empty((height * width, filters), np.float32)
        y[count:] = 0
        for row in range(rows):
            for column in range(columns):
                start, more = row * width + column, row + column > 0
                # BLAS counts in columns: its matrices are the transposes of ours, without a copy.
                sgemm(1, weight[row, column].T, pixels[start : start + count].T, more, y[:count].T, overwrite_c=1)
        return y, height, width - columns + 1

    return multiply


def _max_pool(kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]) -> Step:
    def pool(x: np.ndarray) -> np.ndarray:
        padded = _padded(x, pad, -np.inf)
        height = (padded.shape[0] - kernel[0]) // stride[0] + 1
        width = (padded.shape[1] - kernel[1]) // stride[1] + 1
        y = None
        for row in range(kernel[0]):
            for column in range(kernel[1]):
                part = padded[row :: stride[0], column :: stride[1]][:height, :width]
                y = part.copy() if y is None else np.maximum(y, part, out=y)
        assert y is not None
        return y

    return pool


def _padded(x: np.ndarray, pad: tuple[int, int], value: float = 0.0) -> np.ndarray:
    if pad == (0, 0):
        return np.ascontiguousarray(x)
    padded = np.full((x.shape[0] + 2 * pad[0], x.shape[1] + 2 * pad[1], x.shape[2]), value, np.float32)
    padded[pad[0] : pad[0] + x.shape[0], pad[1] : pad[1] + x.shape[1]] = x
    return padded
