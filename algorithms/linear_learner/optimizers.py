"""Optimizers that step many models at once: parameters of shape (p, m), one learning rate a column.

Each step works in place and in buffers that are made once, since a step on a small model costs little more than its
passes over memory. ``threshold`` is the proximal step of an l1 penalty: with a step size s for a weight,
w becomes sign(w) max(|w| - s l1, 0), which gives exact zeros (Duchi and Singer, "Efficient Online and Batch Learning
Using Forward Backward Splitting", JMLR 10, 2009).
"""

from __future__ import annotations

import copy
from typing import ClassVar, Protocol, Self

import numpy as np

EPSILON = 1e-8


class Optimizer(Protocol):
    """One step on all parameters. ``time`` counts the steps, where these depend on it."""

    time: int

    def step(self, parameters: np.ndarray, gradient: np.ndarray, rate: np.ndarray) -> np.ndarray:
        """Change ``parameters`` (p, m) in place; ``gradient`` (p, m) may be overwritten; ``rate`` is (p, m) or (m,).

        Returns the step size of each parameter, of a shape that broadcasts to (p, m).
        """
        ...

    def part(self, rows: np.ndarray) -> Self:
        """The same for the parameters in these rows only."""
        ...

    def put(self, rows: np.ndarray, part: Self) -> None:
        """Take over what ``part`` has learned of the parameters in these rows."""
        ...


class _Moments:
    """What an optimizer remembers of each parameter: arrays of shape (p, m)."""

    arrays: ClassVar[tuple[str, ...]]
    buffer: np.ndarray | None = None
    time: int = 0

    def part(self, rows: np.ndarray) -> Self:
        """See ``Optimizer``."""
        part = copy.copy(self)
        for name in self.arrays:
            setattr(part, name, getattr(self, name)[rows])
        if self.buffer is not None:
            part.buffer = np.empty((len(rows), self.buffer.shape[1]), np.float32)
        return part

    def put(self, rows: np.ndarray, part: Self) -> None:
        """See ``Optimizer``."""
        for name in self.arrays:
            getattr(self, name)[rows] = getattr(part, name)
        self.time = part.time


class SGD(_Moments):
    """Stochastic gradient descent with momentum: u = momentum u - rate g; w += u."""

    arrays = ("velocity",)

    def __init__(self, shape: tuple[int, int], momentum: float) -> None:
        self.momentum = np.float32(momentum)
        self.velocity = np.zeros(shape if momentum else (shape[0], 0), np.float32)

    def step(self, parameters: np.ndarray, gradient: np.ndarray, rate: np.ndarray) -> np.ndarray:
        """See ``Optimizer``."""
        gradient *= rate
        if not self.momentum:
            parameters -= gradient
        else:
            self.velocity *= self.momentum
            self.velocity -= gradient
            parameters += self.velocity
        return rate


class Adam(_Moments):
    """Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, in the order of the end of section 2
    (the bias corrections fold into the rate, so epsilon is the paper's epsilon hat)."""

    arrays = ("first", "second")
    buffer: np.ndarray

    def __init__(self, shape: tuple[int, int], beta_1: float, beta_2: float) -> None:
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.first = np.zeros(shape, np.float32)
        self.second = np.zeros(shape, np.float32)
        self.buffer = np.empty(shape, np.float32)
        self.time = 0

    def step(self, parameters: np.ndarray, gradient: np.ndarray, rate: np.ndarray) -> np.ndarray:
        """See ``Optimizer``.

        ``first`` and ``second`` are sums without the paper's factors 1 - beta, which saves two passes over memory:
        m = (1 - beta_1) first and v = (1 - beta_2) second.
        """
        self.time += 1
        correction = np.sqrt(1 - self.beta_2**self.time) / (1 - self.beta_1**self.time)
        root = np.sqrt(1 - self.beta_2)
        self.first *= np.float32(self.beta_1)
        self.first += gradient
        self.second *= np.float32(self.beta_2)
        np.multiply(gradient, gradient, out=self.buffer)
        self.second += self.buffer
        np.sqrt(self.second, out=self.buffer)
        self.buffer += np.float32(EPSILON / root)
        np.divide(rate * np.float32(correction / root), self.buffer, out=self.buffer)
        np.multiply(self.buffer, self.first, out=gradient)
        gradient *= np.float32(1 - self.beta_1)
        parameters -= gradient
        return self.buffer


class RMSProp(_Moments):
    """Tieleman and Hinton's rmsprop (lecture 6e, 2012): n = 0.9 n + 0.1 g^2; w -= rate g / sqrt(n + epsilon)."""

    DECAY = 0.9
    arrays = ("mean_square",)
    buffer: np.ndarray

    def __init__(self, shape: tuple[int, int]) -> None:
        self.mean_square = np.zeros(shape, np.float32)
        self.buffer = np.empty(shape, np.float32)

    def step(self, parameters: np.ndarray, gradient: np.ndarray, rate: np.ndarray) -> np.ndarray:
        """See ``Optimizer``."""
        np.multiply(gradient, gradient, out=self.buffer)
        self.buffer *= np.float32(1 - self.DECAY)
        self.mean_square *= np.float32(self.DECAY)
        self.mean_square += self.buffer
        np.add(self.mean_square, np.float32(EPSILON), out=self.buffer)
        np.sqrt(self.buffer, out=self.buffer)
        np.divide(rate, self.buffer, out=self.buffer)
        gradient *= self.buffer
        parameters -= gradient
        return self.buffer


def threshold(weights: np.ndarray, amount: np.ndarray) -> None:
    """Soft-threshold ``weights`` (p, m) in place by ``amount`` >= 0, of a shape that broadcasts to it."""
    near = np.minimum(weights, amount)
    np.maximum(near, -amount, out=near)
    weights -= near
