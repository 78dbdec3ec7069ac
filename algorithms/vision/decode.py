"""Files of images to pixels, with Pillow. What cannot be decoded, or would take too much memory, is refused by name.

Kinds: JPEG, PNG, BMP, GIF and WebP. Grey, palette and CMYK images become RGB, alpha is left out, 16 bits become 8, the
orientation of EXIF is followed, and an animation is its first frame, as OpenCV reads images for MXNet.
"""

from __future__ import annotations

import contextlib
import io
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from recordio.errors import ImageError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
"""Pillow's names of what can be read."""

MOST_PIXELS = 1 << 26
"""Pixels of a decoded image, 200 MB in RGB: more is taken for a decompression bomb."""

MOST_JPEG_PIXELS = 1 << 28
"""Pixels of a JPEG file, which can be decoded smaller than it is."""

_JPEG = ("JPEG", "MPO")  # how Pillow calls the files of some cameras
_MODES = {1: "L", 3: "RGB"}


@cache
def _pillow() -> ModuleType:
    """The package; imported on use, since nothing else needs it. It warns of sizes that are refused here anyway."""
    from PIL import Image, WebPImagePlugin  # noqa: F401 - the one kind that Pillow does not look for by itself

    Image.preinit()
    Image.MAX_IMAGE_PIXELS = None
    return Image


def decode(body: bytes, channels: int, where: str, least: tuple[int, int] | None = None) -> Any:
    """A Pillow image of mode RGB, or L for one channel.

    Args:
        where: what errors call it.
        least: width and height of which no more is needed: a JPEG file that is much larger is decoded smaller, but not
            smaller than these.

    Raises:
        ImageError: it is no image of a known kind, damaged, cut short, or too large.
    """
    try:
        image = _pillow().open(io.BytesIO(body), formats=FORMATS)
    except Exception:  # noqa: BLE001 - its decoders raise whatever damaged bytes lead to
        raise ImageError(f"{where}: {len(body)} bytes are no image that can be read: {', '.join(FORMATS)}") from None
    _refuse_above(image, MOST_JPEG_PIXELS if image.format in _JPEG else MOST_PIXELS, where)
    if least is not None:
        side = max(least)  # EXIF may turn it later
        image.draft(None, (side, side))
    _refuse_above(image, MOST_PIXELS, where)
    try:
        image.load()
        return _upright(image if image.mode == _MODES[channels] else _converted(image, _MODES[channels]))
    except Exception as error:  # noqa: BLE001 - as above
        raise ImageError(f"{where}: the {image.format} image is damaged or cut short: {error}") from None


def pixels(image: Any) -> np.ndarray:
    """The uint8 array (height, width, channels) of an image."""
    array = np.asarray(image)
    return array if array.ndim == 3 else array[:, :, None]


def _refuse_above(image: Any, most: int, where: str) -> None:
    width, height = image.size
    if width * height > most:
        raise ImageError(f"{where}: the {image.format} image has {width} x {height} pixels; {most} are the most")


def _converted(image: Any, mode: str) -> Any:
    if image.mode.startswith("I"):  # 16 bits, where Pillow would cut at 255
        return _pillow().fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert(mode)
    if image.mode == "P":  # through RGB: Pillow warns where the palette has an alpha
        return image.convert("RGBA").convert("RGB").convert(mode)
    return image.convert(mode)


def _upright(image: Any) -> Any:
    if "exif" not in image.info:
        return image
    from PIL import ImageOps

    with contextlib.suppress(Exception):  # metadata that makes no sense: the image is as it stands
        return ImageOps.exif_transpose(image)
    return image
