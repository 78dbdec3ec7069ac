"""The residual networks, described once: the Keras network and the MXNet graph are both made by ``resnet``.

A unit adds to its input the output of two or three convolutions. Batch norm and ReLU stand before each convolution
("pre-activation"), so that the sum itself passes unchanged from unit to unit. Depths of 18 to 200 are for large images
and have four wide stages; 20 to 110 are for small images and have three narrow stages. Images of more than 32 pixels in
height are first made four times smaller, by a convolution and a pooling. Names and sizes are those of MXNet's networks
of this kind, so that parameters fit both.

References: K. He, X. Zhang, S. Ren, J. Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016. The form in which
MXNet trained it: example/image-classification of apache/mxnet 1.9.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

BATCH_NORM_EPSILON = 2e-5
BATCH_NORM_MOMENTUM = 0.9

LARGE_STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
"""Units of each stage, for large images."""

SMALL_DEPTHS = (20, 32, 44, 56, 110)
"""Six layers more for each unit of every stage, and two besides."""

DEPTHS = (*LARGE_STAGES, *SMALL_DEPTHS)

_FIRST_BOTTLENECK = 50
_SMALL_STEM_HEIGHT = 32


@dataclass(frozen=True)
class Architecture:
    """One network.

    Attributes:
        num_layers: one of ``DEPTHS``.
        image_shape: channels, height, width.
        multi_label: an image may be of several classes, or of none: probabilities do not sum to 1.
    """

    num_layers: int
    image_shape: tuple[int, int, int]
    num_classes: int
    multi_label: bool = False

    @property
    def units(self) -> tuple[int, ...]:
        """Units of each stage."""
        return LARGE_STAGES.get(self.num_layers) or ((self.num_layers - 2) // 6,) * 3

    @property
    def bottleneck(self) -> bool:
        """Units have three convolutions, the middle one narrow."""
        return self.num_layers in LARGE_STAGES and self.num_layers >= _FIRST_BOTTLENECK

    @property
    def filters(self) -> tuple[int, ...]:
        """Width of the first convolution, then of each stage."""
        if self.num_layers not in LARGE_STAGES:
            return (16, 16, 32, 64)
        return (64, 256, 512, 1024, 2048) if self.bottleneck else (64, 64, 128, 256, 512)

    @property
    def large_stem(self) -> bool:
        """Images are made smaller before the first stage."""
        return self.image_shape[1] > _SMALL_STEM_HEIGHT


class Operators(Protocol):
    """The layers that a network is made of. ``x`` and the results are arrays, or what stands for them; ``pad`` is on
    all four sides."""

    def batch_norm(self, x: Any, name: str, *, scale: bool = True) -> Any:
        """Each channel less its mean, over its standard deviation; times gamma where ``scale``; plus beta."""
        ...

    def relu(self, x: Any, name: str) -> Any:
        """max(x, 0)."""
        ...

    def convolution(self, x: Any, name: str, filters: int, kernel: int, stride: int, pad: int) -> Any:
        """Without a bias."""
        ...

    def add(self, x: Any, y: Any, name: str) -> Any:
        """Their sum."""
        ...

    def max_pool(self, x: Any, name: str, kernel: int, stride: int, pad: int) -> Any:
        """The maximum of each window, in which padding does not count."""
        ...

    def average(self, x: Any, name: str) -> Any:
        """The mean of each channel, (n, channels)."""
        ...

    def dense(self, x: Any, name: str, outputs: int) -> Any:
        """A linear layer with a bias."""
        ...


def resnet(ops: Operators, data: Any, form: Architecture) -> Any:
    """The scores of the classes, (n, num_classes), before softmax or sigmoid, of pixels in 0 to 255.

    The first layer is a batch norm of the pixels, which learns their mean and scale; so pixels need no preparation.
    """
    x = ops.batch_norm(data, "bn_data", scale=False)
    if form.large_stem:
        x = ops.convolution(x, "conv0", form.filters[0], 7, 2, 3)
        x = ops.relu(ops.batch_norm(x, "bn0"), "relu0")
        x = ops.max_pool(x, "pooling0", 3, 2, 1)
    else:
        x = ops.convolution(x, "conv0", form.filters[0], 3, 1, 1)
    count = 0
    for stage, units in enumerate(form.units, start=1):
        for unit in range(1, units + 1):
            stride = 2 if unit == 1 and stage > 1 else 1
            branch, shortcut = _unit(ops, x, f"stage{stage}_unit{unit}", form, form.filters[stage], stride, unit == 1)
            x = ops.add(branch, shortcut, f"_plus{count}")
            count += 1
    x = ops.relu(ops.batch_norm(x, "bn1"), "relu1")
    return ops.dense(ops.average(x, "pool1"), "fc1", form.num_classes)


class _Shapes:
    """``Operators`` whose arrays are just numbers of channels, to collect the shape of each parameter."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, ...]] = {}

    def batch_norm(self, x: int, name: str, *, scale: bool = True) -> int:
        names = (f"arg:{name}_gamma", f"arg:{name}_beta", f"aux:{name}_moving_mean", f"aux:{name}_moving_var")
        self.found |= dict.fromkeys(names, (x,))
        return x

    def relu(self, x: int, name: str) -> int:
        return x

    def convolution(self, x: int, name: str, filters: int, kernel: int, stride: int, pad: int) -> int:
        self.found[f"arg:{name}_weight"] = (filters, x, kernel, kernel)
        return filters

    def add(self, x: int, y: int, name: str) -> int:
        return x

    def max_pool(self, x: int, name: str, kernel: int, stride: int, pad: int) -> int:
        return x

    def average(self, x: int, name: str) -> int:
        return x

    def dense(self, x: int, name: str, outputs: int) -> int:
        self.found |= {f"arg:{name}_weight": (outputs, x), f"arg:{name}_bias": (outputs,)}
        return outputs


def parameter_shapes(form: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a checkpoint, by its name there, including the gammas that batch norms do not use."""
    shapes = _Shapes()
    resnet(shapes, form.image_shape[0], form)
    return shapes.found


def parameter_count(form: Architecture) -> int:
    """Numbers in the arrays of a checkpoint.

    >>> parameter_count(Architecture(18, (3, 224, 224), 1000))
    11699892
    """
    return sum(map(math.prod, parameter_shapes(form).values()))


def _unit(
    ops: Operators, x: Any, name: str, form: Architecture, filters: int, stride: int, project: bool
) -> tuple[Any, Any]:
    """The two arrays whose sum a unit is: the output of its convolutions, and its input, or with ``project`` a
    convolution of the input that has the right shape."""
    first = ops.relu(ops.batch_norm(x, f"{name}_bn1"), f"{name}_relu1")
    narrow = filters // 4 if form.bottleneck else filters
    kernels = (
        ((narrow, 1, 1), (narrow, 3, stride), (filters, 1, 1))
        if form.bottleneck
        else (
            (narrow, 3, stride),
            (filters, 3, 1),
        )
    )
    branch = first
    for number, (width, kernel, step) in enumerate(kernels, start=1):
        if number > 1:
            branch = ops.relu(ops.batch_norm(branch, f"{name}_bn{number}"), f"{name}_relu{number}")
        branch = ops.convolution(branch, f"{name}_conv{number}", width, kernel, step, kernel // 2)
    shortcut = ops.convolution(first, f"{name}_sc", filters, 1, stride, 0) if project else x
    return branch, shortcut
