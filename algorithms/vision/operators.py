"""The operators of a network on one image, (height, width, channels) float32, in NumPy.

A convolution is matrix products: of windows copied side by side where it has a stride, and else of the rows of the
padded image itself, shifted, one product for each position of the kernel added to the one before.

Reference: K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006 (windows side by side).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from algorithms.vision.costs import window_rows

Step = Callable[..., np.ndarray]
"""The function of a node: from the values of others to its own."""

_CACHED_BYTES = 1 << 18


def identity(x: np.ndarray) -> np.ndarray:
    """The value itself."""
    return x


def relu(x: np.ndarray) -> np.ndarray:
    """What is positive."""
    return np.maximum(x, 0)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities, (classes,), of scores."""
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """Without overflow on either side: 1 / (1 + exp(-x)) is (1 + tanh(x / 2)) / 2."""
    return (1 + np.tanh(scores / 2)) / 2


def parts(rows: np.ndarray) -> list[slice]:
    """So many rows at a time that they stay in the cache from one operation to the next."""
    count = max(1, _CACHED_BYTES // (rows.shape[1] * rows.itemsize))
    return [slice(start, start + count) for start in range(0, len(rows), count)]


def finish(rows: np.ndarray, shift: np.ndarray, *, relu: bool) -> None:
    """Add ``shift``, (channels,), and take what is positive, in place."""
    for part in parts(rows):
        rows[part] += shift
        if relu:
            np.maximum(rows[part], 0, out=rows[part])


def convolution(
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
        finish(rows, bias, relu=relu)
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


def max_pool(kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]) -> Step:
    """The largest of each window."""

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
