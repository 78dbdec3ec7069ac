"""ONNX graphs, node by node, for the ``export.py`` of an algorithm.

Operators are those of ONNX 17 (onnxruntime 1.12 and later) and of ONNX-ML 3, whose trees all runtimes know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPERATORS, ML_OPERATORS, IR_VERSION = 17, 3, 8
ROWS = "rows"  # the name of the dimension that is free
FEATURES = "features"  # the input of models of rows, (rows, d) float32
_TYPES = {"float": TensorProto.FLOAT, "double": TensorProto.DOUBLE, "int64": TensorProto.INT64}
_LARGE = 1024  # bytes of an array that may be kept apart


class Graph:
    """A graph in the making. Values are known by their names, which ``add`` and ``constant`` return.

    Args:
        apart: keep large arrays out of the graph, for a session that is given them by name: they are not copied, and
            the graph stays below the 2 GB of a message of protobuf.

    Attributes:
        arrays: those, by name.
    """

    def __init__(self, *, apart: bool = False) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._apart = apart
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._count = 0

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """One operator's only output."""
        name = self._name(operator.lower())
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """An array that stands in the file."""
        name = self._name("constant")
        array = np.ascontiguousarray(value, dtype) if np.ndim(value) else np.asarray(value, dtype)
        if self._apart and array.nbytes >= _LARGE:
            self.arrays[name] = array
            self._constants.append(_outside(name, array))
        else:
            self._constants.append(numpy_helper.from_array(array, name))
        return name

    def affine(self, rows: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """(n, inputs) to (n, outputs), with a weight (outputs, inputs)."""
        return self.add("Gemm", rows, self.constant(weight), self.constant(bias), transB=1)

    def cast(self, value: str, kind: str) -> str:
        """The same numbers as ``float``, ``double`` or ``int64``."""
        return self.add("Cast", value, to=_TYPES[kind])

    def sigmoid(self, value: str) -> str:
        """1 / (1 + exp(-value)), to a relative rounding. onnxruntime's own ``Sigmoid`` errs by 6e-8 absolutely: of a
        probability of 1e-6 that is 1 in 100, and what is below 1e-8 becomes 0."""
        return self.add("Reciprocal", self.add("Add", self.add("Exp", self.add("Neg", value)), self.constant(1)))

    def reached(self, score: str, threshold: float) -> str:
        """1 from the threshold on, else 0; int64."""
        return self.cast(self.add("GreaterOrEqual", score, self.constant(threshold)), "int64")

    def column(self, values: str) -> str:
        """(n, 1) to (n,)."""
        return self.add("Squeeze", values, self.constant([1], np.int64))

    def model(
        self, algorithm: str, given: tuple[str, Sequence[int | str]], outputs: Mapping[str, tuple[str, str, int | None]]
    ) -> onnx.ModelProto:
        """The whole, checked where it has its arrays.

        Args:
            given: name and shape of the one float32 input, which nodes read by that name.
            outputs: for each name, the value that it is, its type (``float``, ``int64``), and how many numbers there
                are a row; None where it is one, without a dimension of its own.
        """
        ends = [helper.make_node("Identity", [value], [name]) for name, (value, _, _) in outputs.items()]
        described = [
            helper.make_tensor_value_info(name, _TYPES[kind], [ROWS] if width is None else [ROWS, width])
            for name, (_, kind, width) in outputs.items()
        ]
        start = helper.make_tensor_value_info(given[0], TensorProto.FLOAT, list(given[1]))
        graph = helper.make_graph([*self._nodes, *ends], algorithm, [start], described, self._constants)
        operators = [helper.make_opsetid("", OPERATORS), helper.make_opsetid("ai.onnx.ml", ML_OPERATORS)]
        model = helper.make_model(graph, opset_imports=operators, producer_name="oba")
        model.ir_version = IR_VERSION
        if not self._apart:  # the checker looks for files of such arrays
            onnx.checker.check_model(model)
        return model

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"


def _outside(name: str, array: np.ndarray) -> onnx.TensorProto:
    """Says of an array all but its numbers."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    found = TensorProto(name=name, dims=array.shape, data_type=kind, data_location=TensorProto.EXTERNAL)
    found.external_data.add(key="location", value=name)
    return found
