"""Numbers as colours, and pictures of them that stand in a page themselves."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

_MOST_CELLS = 250
_BLUE, _RED = np.array([208, 146, 76]), np.array([42, 157, 171])  # what the full colour takes from white


def coloured(values: np.ndarray) -> np.ndarray:
    """Colours (height, width, 3) of numbers: from white to blue; where they are of both signs, white is zero, blue
    above and red below it, by one measure. (Where the page is dark, its style makes white black.)"""
    if not signed(values):
        return 255 - _shares(values)[..., None] * _BLUE
    shares = values / np.abs(values).max()
    return 255 - np.where(shares[..., None] > 0, shares[..., None] * _BLUE, -shares[..., None] * _RED)


def grey(values: np.ndarray) -> np.ndarray:
    """Dark for large numbers, (height, width, 3); in colours where they are of both signs."""
    return coloured(values) if signed(values) else np.repeat(255 * (1 - _shares(values)[:, :, None]), 3, axis=2)


def signed(values: np.ndarray) -> bool:
    """Whether there are numbers on both sides of zero."""
    return bool(values.min() < 0 < values.max())


def squeezed(values: np.ndarray) -> np.ndarray:
    """At most so many cells each way as can be told apart: the means of neighbours where there are more."""
    for axis in (0, 1):
        size = values.shape[axis]
        if size > _MOST_CELLS:
            starts = np.linspace(0, size, _MOST_CELLS, endpoint=False).astype(int)
            sums = np.add.reduceat(values, starts, axis=axis)
            counts = np.diff([*starts, size])
            values = sums / (counts[:, None] if axis == 0 else counts)
    return values


def _shares(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / ((high - low) or 1)


def png(pixels: np.ndarray) -> str:
    """A picture, (height, width, 3) from 0 to 255, as a data address (PNG, ISO/IEC 15948)."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in np.clip(pixels, 0, 255).astype(np.uint8))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    )
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()
