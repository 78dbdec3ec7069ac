"""Operators of MXNet that compute nothing: those that take a part of a value, and those that shuffle channels.

Shapes are (height, width, channels) or (outputs,), as everywhere here, where MXNet's are (n, channels, height, width).
Between the two ``Reshape`` of a shuffle channels stand in groups, (height, width, groups, channels of each).
"""

from __future__ import annotations

import math
import re

from algorithms.vision.graph import Node, count, flag, unfit

SLICES = frozenset({"slice", "slice_axis", "SliceChannel"})
SWAPS = frozenset({"SwapAxis", "transpose"})
_ENTRY = re.compile(r"None|-?[0-9]{1,9}")
_GROUPED = 4
"""Numbers in a shape with channels in groups."""


def parts(node: Node, shape: tuple[int, ...]) -> tuple[range, ...]:
    """What a node of ``SLICES`` takes of each axis of an input of that shape.

    Raises:
        ModelError: its attributes do not say it, or it takes some images of a batch.
    """
    axes = len(shape)
    if node.operator == "SliceChannel":
        axis, pieces = _axis(node, axes, "1"), count(node, "num_outputs", 0)
        length, rest = divmod(shape[axis], pieces)
        if rest or not 0 <= node.output < pieces:
            raise unfit(node, f"output {node.output} of {pieces} equal parts of {shape[axis]}")
        return _along(shape, axis, slice(node.output * length, (node.output + 1) * length))
    if node.operator == "slice_axis":
        return _along(shape, _axis(node, axes, None), slice(_number(node, "begin"), _number(node, "end")))
    stated = {name: _numbers(node, name) for name in ("begin", "end", "step")}
    cuts = [
        slice(*each) for each in zip(*(_padded(node, numbers, axes + 1) for numbers in stated.values()), strict=True)
    ]
    if any(cut.step is not None and cut.step < 1 for cut in cuts):
        raise unfit(node, f"step is {node.attributes['step'][:80]}, and only steps of 1 or more can be run here")
    if cuts[0].start or cuts[0].stop is not None or cuts[0].step not in (None, 1):
        raise unfit(node, "it takes some of the images of a batch")
    in_order = [*cuts[2:], cuts[1]]
    return tuple(range(*cut.indices(side)) for cut, side in zip(in_order, shape, strict=True))


def joined_axis(node: Node, shape: tuple[int, ...]) -> int:
    """The axis of ``shape``, that of an input, along which a ``Concat`` puts its inputs behind each other.

    Raises:
        ModelError: it joins images of a batch, or there is no such axis.
    """
    return _axis(node, len(shape), "1", "dim")


def number_in_mxnet(axis: int, axes: int) -> int:
    """What MXNet and ONNX call an axis of a shape here: channels come after the images of a batch there, last here."""
    return 1 if axis == axes - 1 else axis + 2


def reshaped(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a ``Reshape`` that puts channels into groups, or that puts groups behind each other.

    Raises:
        ModelError: it is none of these, or the groups do not fit the channels.
    """
    turned = flag(node, "reverse", False)
    numbers = [] if turned else _numbers(node, "shape")
    if len(shape) == _GROUPED and numbers in ([0, -3, -2], [0, -3, 0, 0]):
        return *shape[:2], math.prod(shape[2:])
    if len(shape) == _GROUPED - 1 and numbers[:2] == [0, -4] and numbers[4:] in ([-2], [0, 0]):
        groups, each = (number or 0 for number in numbers[2:4])
        groups = shape[2] // max(each, 1) if groups == -1 else groups
        each = shape[2] // max(groups, 1) if each == -1 else each
        if groups > 0 and groups * each == shape[2]:
            return *shape[:2], groups, each
    stated = node.attributes.get("shape", "()")[:80] + (", reversed," if turned else "")
    raise unfit(
        node,
        f"the shape {stated} of {shape}; only (0, -1), and groups of channels, (0, -4, groups, -1, -2) and back "
        "(0, -3, -2), can be run here",
    )


def swapped(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a node of ``SWAPS``: groups of channels and channels of a group change places.

    Raises:
        ModelError: it swaps other axes.
    """
    if node.operator == "SwapAxis":
        fits = sorted((_number(node, "dim1") or 0, _number(node, "dim2") or 0)) == [1, 2]
    else:
        fits = _numbers(node, "axes") == [0, 2, 1, 3, 4]
    if not fits or len(shape) != _GROUPED:
        raise unfit(node, f"its input has the shape {shape}; only groups of channels can be swapped with channels")
    return *shape[:2], shape[3], shape[2]


def is_grouped(shape: tuple[int, ...]) -> bool:
    """Whether channels stand in groups."""
    return len(shape) == _GROUPED


def _along(shape: tuple[int, ...], axis: int, cut: slice) -> tuple[range, ...]:
    return tuple(range(*cut.indices(side)) if at == axis else range(side) for at, side in enumerate(shape))


def _axis(node: Node, axes: int, default: str | None, name: str = "axis") -> int:
    """Of a shape here, by the number of the axis in MXNet."""
    stated = _number(node, name, default)
    found = axes + 1 + stated if stated is not None and stated < 0 else stated
    if found is None or not 1 <= found <= axes:
        raise unfit(node, f"{name} is {stated}, and of an image there are 1 to {axes}")
    return axes - 1 if found == 1 else found - 2


def _padded(node: Node, numbers: list[int | None], length: int) -> list[int | None]:
    if len(numbers) > length:
        raise unfit(node, f"it states {len(numbers)} axes of {length}")
    return numbers + [None] * (length - len(numbers))


def _numbers(node: Node, name: str) -> list[int | None]:
    """An attribute that is some integers or None, as in ``(0, None, -1)``; none where it is not there."""
    text = node.attributes.get(name, "()").strip()
    entries = [entry.strip().removesuffix("L") for entry in text[1:-1].split(",")]
    if text[:1] + text[-1:] not in ("()", "[]") or len(text) > 200:
        raise unfit(node, f"{name} is {text[:80]}, not integers in brackets")
    if entries[-1] == "":
        entries.pop()
    return [_integer(node, name, entry) for entry in entries]


def _number(node: Node, name: str, default: str | None = None) -> int | None:
    text = node.attributes.get(name, default)
    return None if text is None else _integer(node, name, text.strip())


def _integer(node: Node, name: str, text: str) -> int | None:
    if not _ENTRY.fullmatch(text):
        raise unfit(node, f"{name} is {text[:80]}, not an integer or None")
    return None if text == "None" else int(text)
