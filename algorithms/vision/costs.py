"""Memory and operations that running a graph takes, estimated from the shapes of its arrays, without running it.

A symbol file of a few bytes may state a padding or an input of any size. So a network is checked by these estimates
before it is run for the first time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from algorithms.vision.graph import HEADS, IDENTITIES, Node, count, flag, normalisation, overhang, pair, unfit, window
from algorithms.vision.rearrange import SLICES, SWAPS, is_grouped, joined_axis, parts, reshaped, swapped
from recordio.limits import MOST_NORMALISED_CHANNELS

Shape = tuple[int, ...]

_FLOAT = 4
_POOLED = 32
"""Cost of a number that a pooling reads, in multiplications of a matrix product; measured, rounded."""

_POWER = 32
"""Cost of a power, in a normalisation, in multiplications."""

_ON_GROUPS = SWAPS | IDENTITIES | {"Reshape"}
"""Operators that take channels in groups."""

_LEAST_DEPTH = 16
"""Channels of a convolution that onnxruntime computes at a time: fewer of a group take as long as so many."""

_WINDOW_NUMBERS = 1 << 22
"""Most numbers of windows that are copied side by side at a time."""


class Cost(NamedTuple):
    """Of one node.

    Attributes:
        shape: of the result. scratch: bytes that are needed only meanwhile. operations: multiplications and additions.
    """

    shape: Shape
    scratch: int
    operations: int


def cost(node: Node, weight: Shape | None, inputs: list[Shape]) -> Cost:
    """The cost of computing a node.

    Args:
        weight: the shape of its weight, (out, in, height, width) or (out, in), for a convolution or a dense layer.
        inputs: the shapes of the values that it reads, (height, width, channels) or (outputs,).

    Raises:
        ModelError: the shapes do not fit each other, or the node's attributes do not fit them.
    """
    if any(map(is_grouped, inputs)) and node.operator not in _ON_GROUPS:
        raise unfit(node, f"its input has the shape {inputs[0]}, with channels in groups")
    if node.operator == "Convolution" and weight is not None:
        return _convolution(node, weight, inputs[0])
    if node.operator == "FullyConnected" and weight is not None:
        return _dense(node, weight, inputs[0])
    if node.operator == "Pooling":
        return _pooling(node, inputs[0])
    if node.operator == "Flatten":
        return Cost((math.prod(inputs[0]),), 0, 0)
    if node.operator == "Concat":
        return _joined(node, inputs)
    if node.operator == "LRN":
        return _normalised(node, inputs[0])
    if node.operator in SLICES:
        return _copied(inputs[0], tuple(map(len, parts(node, inputs[0]))))
    if node.operator in SWAPS:
        return _copied(inputs[0], swapped(node, inputs[0]))
    if node.operator == "Reshape":
        return _copied(inputs[0], reshaped(node, inputs[0]))
    try:
        shape = np.broadcast_shapes(*inputs)
    except ValueError:
        shape = ()
    unlike = len(set(inputs)) != 1 and not node.operator.startswith("broadcast_")
    if not shape or unlike or len({len(each) for each in inputs}) != 1:
        raise unfit(node, f"its inputs have the shapes {', '.join(map(str, inputs))}") from None
    if node.operator in HEADS and math.prod(shape) != shape[-1]:
        raise unfit(node, f"its input has the shape {shape} instead of a score for each class")
    if HEADS.get(node.operator) == "softmax" and len(shape) != 1 and not _over_channels(node):
        raise unfit(node, f"its input has the shape {shape}, of which MXNet takes the last axis: flatten it")
    if node.operator in HEADS:
        shape = shape[-1:]
    return Cost(shape, _FLOAT * math.prod(shape), len(inputs) * math.prod(shape))


def _copied(given: Shape, shape: Shape) -> Cost:
    """What is only laid out anew: first the whole as channels of their own."""
    return Cost(shape, _FLOAT * math.prod(given), math.prod(shape))


def _normalised(node: Node, image: Shape) -> Cost:
    """By squares of neighbours; there are zeros beside the channels."""
    if len(image) != 3:
        raise unfit(node, f"its input has the shape {image} instead of height, width and channels")
    height, width, channels = image
    size = normalisation(node).size
    if channels > MOST_NORMALISED_CHANNELS:
        raise unfit(node, f"its input has {channels} channels, and {MOST_NORMALISED_CHANNELS} are the most")
    scratch = _FLOAT * height * width * (2 * channels + size)
    return Cost(image, scratch, math.prod(image) * (size + _POWER))


def _joined(node: Node, inputs: list[Shape]) -> Cost:
    """The cost of concatenating channels, rows or columns."""
    axis = joined_axis(node, inputs[0])
    if len({(*shape[:axis], *shape[axis + 1 :]) for shape in inputs}) != 1 or len(set(map(len, inputs))) != 1:
        raise unfit(node, f"its inputs have the shapes {', '.join(map(str, inputs[:9]))}")
    shape = (*inputs[0][:axis], sum(each[axis] for each in inputs), *inputs[0][axis + 1 :])
    return Cost(shape, 0, math.prod(shape))


def _over_channels(node: Node) -> bool:
    """Whether a softmax is one over channels, wherever their axis stands: it says so, or takes all numbers of a row."""
    if node.operator in ("SoftmaxOutput", "Softmax"):
        return flag(node, "multi_output", False) or not flag(node, "preserve_shape", False)
    return node.operator == "SoftmaxActivation" or node.attributes.get("axis") == "1"


def check_stated(node: Node, name: str, found: int) -> None:
    """Raises ModelError where the symbol states another number of outputs than the weight has."""
    text = node.attributes.get(name)
    if text is not None and text.strip() != str(found):
        raise unfit(node, f"{name} is {text[:40]}, and the weight has {found}")


def _windows(node: Node, sides: tuple[int, int], reach: tuple[int, int], more: tuple[int, int]) -> tuple[int, ...]:
    """Height and width of the result, then of the padded input.

    Args:
        sides: of the input. reach: of a window, dilated. more: lines and columns behind the padding.
    """
    _, stride, pad = window(node)
    padded = tuple(side + 2 * around + end for side, around, end in zip(sides, pad, more, strict=True))
    room = (length - end for length, end in zip(padded, more, strict=True))
    if 0 in reach or 0 in stride or any(each > length for each, length in zip(reach, room, strict=True)):
        raise unfit(
            node, f"a kernel of {reach}, in steps of {stride}, on {sides[0]} x {sides[1]} pixels padded to {padded}"
        )
    rows, columns = ((length - each) // step + 1 for length, each, step in zip(padded, reach, stride, strict=True))
    return rows, columns, *padded


def _convolution(node: Node, weight: Shape, image: Shape) -> Cost:
    if len(weight) < 2:
        raise unfit(node, f"its weight has the shape {weight}")
    filters, depth, *_ = weight
    groups = count(node, "num_group", 1)
    if len(image) != 3 or depth * groups != image[2] or filters % groups:
        in_groups = f", in {groups} groups" if groups != 1 else ""
        raise unfit(node, f"its input has the shape {image}, its weight {weight}{in_groups}")
    check_stated(node, "num_filter", filters)
    kernel, dilation = pair(node, "kernel", 0), pair(node, "dilate", 1)
    reach = tuple((side - 1) * apart + 1 if side and apart else 0 for side, apart in zip(kernel, dilation, strict=True))
    rows, columns, height, width = _windows(node, (image[0], image[1]), (reach[0], reach[1]), (0, 0))
    area = math.prod(weight[2:])
    scratch = _FLOAT * (height * width * image[2] + min(rows * columns * area * image[2], _WINDOW_NUMBERS))
    each = depth if groups == 1 else max(depth, _LEAST_DEPTH)
    return Cost((rows, columns, filters), scratch, rows * columns * filters * area * each)


def _dense(node: Node, weight: Shape, values: Shape) -> Cost:
    if len(weight) != 2 or weight[1] != math.prod(values):
        raise unfit(node, f"its input has the shape {values}, its weight {weight}")
    check_stated(node, "num_hidden", weight[0])
    return Cost((weight[0],), 0, math.prod(weight))


def _pooling(node: Node, image: Shape) -> Cost:
    if len(image) != 3:
        raise unfit(node, f"its input has the shape {image} instead of height, width and channels")
    if flag(node, "global_pool", False):
        return Cost((1, 1, image[2]), 0, math.prod(image))
    (kernel, stride, pad), more = window(node), overhang(node, image[0], image[1])
    rows, columns, height, width = _windows(node, (image[0], image[1]), kernel, more)
    if any(around >= length for length, around in zip(kernel, pad, strict=True)):
        raise unfit(node, f"windows of {kernel}, in steps of {stride}, padded by {pad}, have no pixel in them")
    result = rows * columns * image[2]
    return Cost((rows, columns, image[2]), _FLOAT * height * width * image[2], math.prod(kernel) * _POOLED * result)
