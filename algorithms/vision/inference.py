"""Runs a symbol file of MXNet by onnxruntime, without the framework that trained it.

Images are computed one at a time. What a graph takes is estimated from its shapes before anything is computed.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from algorithms.errors import ModelError
from algorithms.vision.costs import Shape, cost
from algorithms.vision.graph import INPUT, Graph, flag
from algorithms.vision.rearrange import SLICES, SWAPS
from recordio.limits import (
    LEAST_MODEL_MEMORY,
    MODEL_MEMORY_PER_BYTE,
    MOST_NETWORK_OPERATIONS,
    NETWORK_MEMORY_PER_PIXEL,
)

PREDICTION = "prediction"
_VECTORS = {"BatchNorm": (1, 2, 3, 4), "Convolution": (2,), "FullyConnected": (2,)}
"""Inputs of an operator with one number for each channel of its result."""
_BLOCK = 16
"""Channels that onnxruntime keeps together, from a convolution on: fewer take as much memory as so many."""
_PLAIN = SLICES | SWAPS | {"LRN", "Reshape"}
"""Operators whose results do not keep channels together."""
_FATAL = 4  # what onnxruntime logs: its errors come as exceptions too


class Network:
    """The probabilities of a graph's head. Safe to call from several threads, and after a fork.

    Args:
        parameters: by MXNet's names without ``arg:`` and ``aux:``.
        shape: channels, height and width of the input.

    Attributes:
        memory: bytes that an image takes while it is computed, weights left out.
        shapes: of the value of each node that is computed, (height, width, channels) or (outputs,).
        classes: numbers that it gives.

    Raises:
        ModelError: the graph has an operator that is not known here, lacks parameters, does not fit them or the shape,
            or asks for more memory or time than a file of that size may; or onnxruntime is not installed.
    """

    def __init__(self, graph: Graph, parameters: Mapping[str, np.ndarray], shape: tuple[int, int, int]) -> None:
        check_installed()
        self._graph, self._parameters, self._shape = graph, parameters, shape
        named = ((node.operator, node.name) == (INPUT, "data") for node in graph.nodes)
        self._data = next((number for number, is_data in enumerate(named) if is_data), -1)
        if self._data < 0:
            raise ModelError("the symbol file has no input 'data'")
        reached = graph.reached()
        free = {number for number in reached if graph.nodes[number].operator == INPUT} - {self._data}
        if free:
            names = ", ".join(graph.nodes[number].name[:80] for number in sorted(free))
            raise ModelError(f"the symbol file computes with {names} in a way that cannot be run here")
        self._needed = [number for number in reached if number != self._data]
        self.shapes: dict[int, Shape] = {}
        self.memory = self._judged()
        self.classes = math.prod(self.shapes[graph.head])
        model, self._weights = self._written(apart=True)
        self._content = model.SerializeToString()
        self._threads = _blas_threads()
        self._sessions: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Probabilities, (classes,) float32, of pixels (height, width, channels) in 0 to 255."""
        return self._run(self._session(), image)

    def to_onnx(self) -> Any:
        """The whole in ONNX: ``prediction``, (rows, classes), of ``image``, (rows, channels, height, width)."""
        return self._written(apart=False)[0]

    def tried(self) -> np.ndarray:
        """The probabilities of a black image, computed without a thread that a fork would lose.

        Raises:
            ModelError: the graph cannot be computed, or its result is no probability for each class.
        """
        channels, height, width = self._shape
        session = self._made(1)
        if self._threads == 1:  # of a session without threads all processes share the memory
            self._sessions[0] = session
        found = self._run(session, np.zeros((height, width, channels), np.uint8))
        if not np.isfinite(found).all():
            raise ModelError("the network does not give a probability for each class")
        return found

    def _written(self, *, apart: bool) -> tuple[Any, dict[str, np.ndarray]]:
        from algorithms.common import onnx_graph
        from algorithms.vision import onnx_network

        written = onnx_graph.Graph(apart=apart)
        head = onnx_network.Writer(written, self._graph, self._parameters, self.shapes).head(self._needed, self._data)
        given = onnx_network.IMAGE, (onnx_graph.ROWS, *self._shape)
        return written.model("network", given, {PREDICTION: (head, "float", self.classes)}), written.arrays

    def _run(self, session: Any, image: np.ndarray) -> np.ndarray:
        pixels = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
        with _lack_of_memory():
            return session.run([PREDICTION], {session.get_inputs()[0].name: pixels})[0][0]

    def _session(self) -> Any:
        """That of this process: threads do not survive a fork."""
        process = 0 if self._threads == 1 else os.getpid()
        with self._lock:
            if process not in self._sessions:
                self._sessions[process] = self._made(self._threads)
            return self._sessions[process]

    def _made(self, threads: int) -> Any:
        onnxruntime = _runtime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others want the processor
        options.enable_cpu_mem_arena = False  # what an image took is given back
        with _lack_of_memory():
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in self._weights.values()]
            options.add_external_initializers(list(self._weights), values)
            return onnxruntime.InferenceSession(self._content, options, providers=["CPUExecutionProvider"])

    def _judged(self) -> int:
        """Raises ModelError where arrays do not fit each other, or running the graph takes more memory than a file of
        this size may, or more than ``MOST_NETWORK_OPERATIONS``. Returns the bytes that running it takes, weights left
        out, and notes ``shapes``."""
        channels, height, width = self._shape
        most = LEAST_MODEL_MEMORY + MODEL_MEMORY_PER_BYTE * sum(array.nbytes for array in self._parameters.values())
        most += NETWORK_MEMORY_PER_PIXEL * height * width
        last_use = {source: number for number in self._needed for source in self._graph.sources(number)}
        shapes = self.shapes
        shapes[self._data] = (height, width, channels)
        blocked = set[int]()

        def taken(number: int) -> int:
            *sides, depth = shapes[number]
            block = _BLOCK if sides and number in blocked else 1
            return 4 * math.prod(sides) * block * -(-depth // block)

        live, operations = taken(self._data), 0
        highest = live
        prepared = 0  # a parameter is copied for each node that uses it
        for number in self._needed:
            node, sources = self._graph.nodes[number], self._graph.sources(number)
            weight = None
            if node.operator in ("Convolution", "FullyConnected"):
                weight = self._graph.parameter(self._parameters, node, 1).shape
                prepared += 4 * math.prod(weight)
            step = cost(node, weight, [shapes[source] for source in sources])
            if not math.prod(step.shape):
                raise ModelError(f"{node.place} gives no numbers: a shape of {step.shape}")
            shapes[number] = step.shape
            prepared += self._check_vectors(number, step.shape[-1])
            if node.operator == "Convolution" or (blocked.intersection(sources) and node.operator not in _PLAIN):
                blocked.add(number)
            live += taken(number)
            operations += step.operations
            if live + step.scratch + prepared > most or operations > MOST_NETWORK_OPERATIONS:
                raise ModelError(
                    f"the symbol file describes a network that takes {live + step.scratch + prepared} bytes of memory "
                    f"and {operations} operations for an image up to its node '{node.name[:80]}'; for parameters of "
                    f"this size {most} bytes and {MOST_NETWORK_OPERATIONS} operations are the most"
                )
            highest = max(highest, live + step.scratch)
            live -= sum(taken(source) for source in set(sources) if last_use[source] == number)
        return highest

    def _check_vectors(self, number: int, channels: int) -> int:
        """The bytes of a bias or of a batch norm's parameters. Raises ModelError where they have another number of
        channels than what they are applied to."""
        node = self._graph.nodes[number]
        if node.operator != "BatchNorm" and flag(node, "no_bias", False):
            return 0
        is_slope = node.operator == "LeakyReLU" and node.attributes.get("act_type") == "prelu"
        positions = (1,) if is_slope else _VECTORS.get(node.operator, ())
        for position in positions:
            shape = self._graph.parameter(self._parameters, node, position).shape
            if shape != (channels,) and not (is_slope and shape == (1,)):
                raise ModelError(f"{node.place} has {channels} channels, and a parameter of the shape {shape}")
        return 4 * channels * len(positions)


def _blas_threads() -> int:
    """The number of threads of NumPy's BLAS; a limit for it is meant for onnxruntime, too."""
    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


@contextmanager
def _lack_of_memory() -> Iterator[None]:
    """Raise MemoryError where onnxruntime lacks memory: of that, only the text of its error tells."""
    try:
        yield
    except Exception as error:
        if any(words in str(error) for words in ("bad_alloc", "Failed to allocate memory")):
            raise MemoryError("there is not enough memory to compute the network") from None
        raise


def check_installed() -> None:
    """Raise ModelError if onnxruntime is not installed."""
    try:
        import onnx  # noqa: F401 - states them

        _runtime()
    except ImportError as error:
        raise ModelError(
            "networks on images are run by onnxruntime: pip install 'open-builtin-algorithms[image-classification]' "
            f"({error})"
        ) from None


def _runtime() -> ModuleType:
    """onnxruntime, silent. From 1.29 on it tells its makers how it is used, unless it is told not to before it is
    imported; the thread for that would also end each process that forks after it with an abort."""
    os.putenv("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.set_default_logger_severity(_FATAL)
    return onnxruntime
