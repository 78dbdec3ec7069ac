"""Preparation and augmentation of training images: brought to one size, and on request varied each time.

``crop`` takes a random part and mirrors half of the images; ``crop_color`` also shifts hue, saturation and lightness;
``crop_color_transform`` also rotates, shears and stretches first. Without augmentation the middle is taken.
Ranges are those of SageMaker's documentation, in the units of OpenCV: half degrees of hue, 256ths of the others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from algorithms.vision.decode import decode, pixels
from recordio.errors import ImageError
from recordio.limits import MOST_IMAGE_PIXELS

NONE, CROP, COLOR, TRANSFORM = "none", "crop", "crop_color", "crop_color_transform"
KINDS = (CROP, COLOR, TRANSFORM)

_HUE, _SATURATION, _LIGHTNESS = 36, 50, 50
_ANGLE, _SHEAR, _ASPECT = 10.0, 0.1, 0.25
_OUTSIDE = 127
"""The grey that fills the corners of a rotated image."""


class Preparation:
    """From a file's bytes to pixels of the network's size.

    Args:
        shape: channels, height and width of the network's input.
        resize: pixels of the shorter side before anything is cut; None leaves images as they are.
        kind: one of ``KINDS``, or ``NONE``.
    """

    def __init__(self, shape: tuple[int, int, int], resize: int | None, kind: str = NONE) -> None:
        self.channels, self.height, self.width = shape
        self._resize = resize
        self._kind = kind

    def __call__(self, body: bytes, where: str, random: np.random.Generator) -> np.ndarray:
        """(height, width, channels) uint8.

        Raises:
            ImageError: it cannot be decoded, or is smaller than the network's input.
        """
        return self.varied(self.opened(body, where), random)

    def opened(self, body: bytes, where: str) -> np.ndarray:
        """The pixels of a file, (h, w, channels) uint8, at the size from which parts are taken; always the same.

        Raises:
            ImageError: it cannot be decoded, or is smaller than the network's input.
        """
        image = decode(body, self.channels, where, None if self._resize is None else (self._resize,) * 2)
        if self._resize is not None:
            image = _resized(image, self._resize, where)
        if image.width < self.width or image.height < self.height:
            raise ImageError(
                f"{where}: the image has {image.width} x {image.height} pixels, less than image_shape's {self.width} x "
                f"{self.height}" + ("" if self._resize else "; set the hyperparameter resize")
            )
        return pixels(image)

    def varied(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Such pixels as the network gets them, (height, width, channels) uint8: a part of them, varied."""
        if self._kind == TRANSFORM:
            image = pixels(transformed(_image(image), random))
        free = image.shape[1] - self.width, image.shape[0] - self.height
        left, top = (length // 2 for length in free)
        if self._kind != NONE:
            left, top = (int(random.integers(length + 1)) for length in free)
        found = image[top : top + self.height, left : left + self.width]
        if self._kind != NONE and random.random() < 0.5:
            found = found[:, ::-1]
        return shifted(found, random) if self._kind in (COLOR, TRANSFORM) else found


def _resized(image: Any, shorter: int, where: str) -> Any:
    """The image resized so that its shorter side has ``shorter`` pixels."""
    scale = shorter / min(image.size)
    size = tuple(max(shorter, round(length * scale)) for length in image.size)
    if math.prod(size) > MOST_IMAGE_PIXELS:
        raise ImageError(
            f"{where}: the image has {image.width} x {image.height} pixels, and {size[0]} x {size[1]} with a shorter "
            f"side of {shorter} (resize); {MOST_IMAGE_PIXELS} pixels are the most"
        )
    return _scaled(image, size)


def _scaled(image: Any, size: tuple[int, ...]) -> Any:
    """The image at another size. Pillow changes the width first, of as many rows as there are; where that would take
    much memory, the height goes first."""
    width, height = size
    if width * image.height > MOST_IMAGE_PIXELS:
        image = image.resize((image.width, height), _bilinear())
    return image if image.size == size else image.resize((width, height), _bilinear())


def _bilinear() -> Any:
    from PIL import Image

    return Image.Resampling.BILINEAR


def squeezed(body: bytes, shape: tuple[int, int, int], where: str) -> np.ndarray:
    """A request's image at the network's size, whatever its sides were; (height, width, channels) uint8.

    Raises:
        ImageError: it cannot be decoded.
    """
    channels, height, width = shape
    image = decode(body, channels, where, (width, height))
    return pixels(_scaled(image, (width, height)))


def resized(values: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """``squeezed`` for pixels that are decoded already, (h, w, channels) uint8."""
    channels, height, width = shape
    if values.shape == (height, width, channels):
        return values
    return pixels(_image(values).resize((width, height), _bilinear()))


def _image(values: np.ndarray) -> Any:
    """Pillow's, of pixels (h, w, channels) uint8."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(values[:, :, 0] if values.shape[2] == 1 else values))


def transformed(image: Any, random: np.random.Generator) -> Any:
    """The image rotated, sheared and stretched about its middle, with the same size."""
    from PIL import Image

    angle = math.radians(random.uniform(-_ANGLE, _ANGLE))
    shear = random.uniform(-_SHEAR, _SHEAR)
    aspect = 1 + random.uniform(-_ASPECT, _ASPECT)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    stretch = np.array([[math.sqrt(aspect), shear], [0, 1 / math.sqrt(aspect)]])
    back = np.linalg.inv(turn @ stretch)  # Pillow asks where each pixel of the result comes from
    middle = np.array(image.size) / 2
    offset = middle - back @ middle
    fill = (_OUTSIDE,) * len(image.getbands())
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        (*back[0], offset[0], *back[1], offset[1]),
        Image.Resampling.BILINEAR,
        fillcolor=fill if len(fill) > 1 else fill[0],
    )


def shifted(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(h, w, channels) uint8 with other hue, saturation and lightness, the same shift for all pixels; lightness
    alone for one channel."""
    hue = _drawn(_HUE, random) / 30  # in sixths of the circle
    saturation = _drawn(_SATURATION, random) / 255
    lightness = _drawn(_LIGHTNESS, random) / 255
    if image.shape[2] == 1:
        return np.clip(image + np.float32(255 * lightness), 0, 255).astype(np.uint8)
    return shift_hls(image, hue, lightness, saturation)


def _drawn(most: float, random: np.random.Generator) -> float:
    """A random shift of the documented range, small ones more often: if colours tell classes apart, as in satellite
    images, uniformly distributed shifts cost three to six points of accuracy."""
    return float(random.triangular(-most, 0, most))


def shift_hls(image: np.ndarray, hue: float, lightness: float, saturation: float) -> np.ndarray:
    """The shifts added to each pixel of (height, width, 3) uint8 as hue (sixths of the circle), lightness and
    saturation (of 1), as the module ``colorsys`` defines them; what is grey stays grey.

    >>> shift_hls(np.uint8([[[255, 0, 0], [7, 7, 7]]]), 2, 0, 0).tolist()
    [[[0, 255, 0], [7, 7, 7]]]
    """
    red, green, blue = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / 255
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    chroma = most - least
    safe = np.where(chroma > 0, chroma, 1)
    sixth = np.where(
        most == red, (green - blue) / safe, np.where(most == green, (blue - red) / safe + 2, (red - green) / safe + 4)
    )
    light = (most + least) / 2
    room = 1 - np.abs(2 * light - 1)
    vivid = np.clip(chroma / np.where(room > 0, room, 1) + np.float32(saturation), 0, 1) * (chroma > 0)
    light = np.clip(light + np.float32(lightness), 0, 1)
    chroma = (1 - np.abs(2 * light - 1)) * vivid
    highest = light + chroma / 2
    result = np.empty(image.shape, np.uint8)
    for channel, start in enumerate((5, 3, 1)):
        position = (sixth + np.float32(hue + start)) % 6
        slope = np.clip(np.minimum(position, 4 - position), 0, 1)
        result[:, :, channel] = 255 * (highest - chroma * slope) + 0.5
    return result
