"""Decoding of image files to pixels, with Pillow. Errors name a file that cannot be decoded, or would take too much
memory.

Formats: JPEG, PNG, BMP, GIF and WebP, and no other that Pillow can read. Grey, palette and CMYK images become RGB,
alpha is dropped, 16 bits become 8, EXIF's orientation is applied, and of an animation the first frame is taken, as
OpenCV reads images for MXNet.

A few bytes can stand for gigabytes of pixels. So the memory for decoding is computed from a file's header before
anything is decoded, and bounded (``MOST_DECODING_BYTES``); ``decoding_and_scaling_bytes`` is that of a server's
request.
"""

from __future__ import annotations

import importlib
import io
import re
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from algorithms.errors import ModelError
from recordio.errors import ImageError
from recordio.limits import (
    MOST_DECODING_AT_ONCE,
    MOST_DECODING_BYTES,
    MOST_IMAGE_PIXELS,
    MOST_IMAGE_SIDE,
    MOST_JPEG_PIXELS,
)
from recordio.room import Room

_KINDS = {
    b"\xff\xd8\xff": ("JPEG", "JpegImagePlugin", "JpegImageFile"),
    b"\x89PNG\r\n\x1a\n": ("PNG", "PngImagePlugin", "PngImageFile"),
    b"BM": ("BMP", "BmpImagePlugin", "BmpImageFile"),
    b"GIF8": ("GIF", "GifImagePlugin", "GifImageFile"),
    b"RIFF": ("WEBP", "WebPImagePlugin", "WebPImageFile"),
}
"""The formats: how a file starts, the format's name, and Pillow's module and class for it."""

FORMATS = tuple(name for name, _, _ in _KINDS.values())

_MODES = {1: "L", 3: "RGB"}

_ORIENTED = 4
"""Bytes for each pixel of the copy that EXIF's orientation needs."""

_WEBP_PIXEL = 16
"""Bytes for each pixel with libwebp: two canvases of its animation decoder, the frame that it returns, and Pillow's."""

_COEFFICIENT = 2
"""Bytes for each coefficient of a JPEG file with several scans, as libjpeg keeps all until the last scan."""

_SCALED = 4
"""Bytes of a pixel of RGB in Pillow."""

_BLOCK_PIXELS = 1 << 20


@cache
def _pillow() -> ModuleType:
    """The package; imported on use, since nothing else needs it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ModelError(
            "images need the package Pillow: pip install 'open-builtin-algorithms[image-classification]'"
        ) from error

    # Pillow's own check, an error from twice this on: WebP and GIF have buffers made already while they are opened.
    Image.MAX_IMAGE_PIXELS = MOST_IMAGE_PIXELS // 2
    return Image


def check_installed() -> None:
    """Raise ModelError where Pillow lacks, without which a model answers no request."""
    _pillow()


def _open(body: bytes) -> Any:
    """The image of a file whose header was read, by the class of its format: ``PIL.Image.open`` would refuse large JPEG
    files that can be decoded smaller, warn of sizes that are allowed here, and read other formats, too."""
    _pillow()
    _, module, name = next(kind for start, kind in _KINDS.items() if body.startswith(start))
    return getattr(importlib.import_module(f"PIL.{module}"), name)(io.BytesIO(body))


def decode(body: bytes, channels: int, where: str, least: tuple[int, int] | None = None) -> Any:
    """A Pillow image of mode RGB, or L for one channel.

    Args:
        where: what errors call it.
        least: width and height that are enough: a much larger JPEG file is decoded smaller, but not smaller than these.

    Raises:
        ImageError: it is no image of a known kind, damaged, cut short, or too large.
        MemoryError: this machine has less memory than that.
    """
    image, coefficients = _opened(body, where)
    if image.format == "JPEG" and least is not None:
        side = max(least)  # EXIF may turn it later
        image.draft(None, (side, side))
    _refuse_above(image, MOST_IMAGE_PIXELS, where)
    needed = coefficients + image.width * image.height * _pixel_bytes(image)
    if needed > MOST_DECODING_BYTES:
        raise ImageError(
            f"{where}: decoding the {image.format} image of {image.width} x {image.height} pixels takes {needed} bytes "
            f"of memory; {MOST_DECODING_BYTES} are the most"
        )
    with _room.of(needed):
        _ask_for(needed)
        return _loaded(image, channels, where)


_room = Room(MOST_DECODING_AT_ONCE)


def decoding_bytes(body: bytes) -> int:
    """The most bytes of memory that ``decode`` takes for a file, by its header; nothing is decoded. 0 for what
    ``decode`` refuses before it decodes.

    A JPEG file that ``decode`` makes smaller at once takes less; this is what it takes as it is, up to the largest that
    is decoded.
    """
    return _reckoned(body)[0]


def decoding_and_scaling_bytes(body: bytes, size: tuple[int, int]) -> int:
    """As ``decoding_bytes``, with what bringing the image to another size, (width, height), takes beside it: rows of
    the new width, as many as there are, or columns of the new height where those would be too many; and the result."""
    decoding, width, height = _reckoned(body)
    rows = size[0] * height
    between = rows if rows <= MOST_IMAGE_PIXELS else width * size[1]
    return decoding + (_SCALED * (between + size[0] * size[1]) if decoding else 0)


def _reckoned(body: bytes) -> tuple[int, int, int]:
    """``decoding_bytes``, and width and height."""
    try:
        image, coefficients = _opened(body, "the image")
    except ImageError:
        return 0, 0, 0
    pixels_decoded = min(image.width * image.height, MOST_IMAGE_PIXELS)
    return coefficients + pixels_decoded * _pixel_bytes(image), image.width, image.height


def pixels(image: Any) -> np.ndarray:
    """The uint8 array (height, width, channels) of an image."""
    array = np.asarray(image)
    return array if array.ndim == 3 else array[:, :, None]


# ---- before decoding ------------------------------------------------------------------------------------------------


def _opened(body: bytes, where: str) -> tuple[Any, int]:
    """The image, of which only the header was read, and the bytes that decoding takes whatever size it is brought to.

    Raises:
        ImageError: it is no image of a known kind, or of more pixels than any that is decoded.
    """
    try:
        _ask_for(_WEBP_PIXEL * _webp_pixels(body))
        image = _open(body)
        is_jpeg = image.format == "JPEG"
        coefficients = _coefficient_bytes(image, body) if is_jpeg else 0
    except MemoryError:
        raise
    except _pillow().DecompressionBombError as error:
        count = re.search(r"[0-9]+", str(error))  # which Pillow tells in its message alone
        size = f"the image has {count[0]} pixels" if count else "the image is too large"
        raise ImageError(f"{where}: {size}; {MOST_IMAGE_PIXELS} are the most that are decoded") from None
    except Exception:  # its decoders raise whatever damaged bytes lead to
        raise ImageError(f"{where}: {len(body)} bytes are no image that can be read: {', '.join(FORMATS)}") from None
    _refuse_above(image, MOST_JPEG_PIXELS if is_jpeg else MOST_IMAGE_PIXELS, where)
    return image, coefficients


def _webp_pixels(body: bytes) -> int:
    """Pixels of the canvas of a WebP file, whose decoder is made already when the file is opened; 0 of another kind,
    and of one that is refused anyway. (RFC 9649, sections 2.5 to 2.7.)"""
    kind, start = body[12:16], body[20:30]
    if body[8:12] != b"WEBP" or len(start) < 10:  # the longest of the three headers
        return 0
    if kind == b"VP8X":
        width, height = (int.from_bytes(start[at : at + 3], "little") + 1 for at in (4, 7))
    elif kind == b"VP8L":
        bits = int.from_bytes(start[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(start[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return width * height if _WEBP_PIXEL * width * height <= MOST_DECODING_BYTES else 0


def _ask_for(count: int) -> None:
    """Raise MemoryError if so many bytes cannot be allocated; libjpeg and libwebp would call the file damaged."""
    np.empty(count, np.uint8)


def _refuse_above(image: Any, most: int, where: str) -> None:
    width, height = image.size
    if width * height > most:
        raise ImageError(f"{where}: the {image.format} image has {width} x {height} pixels; {most} are the most")
    if max(width, height) > MOST_IMAGE_SIDE:
        raise ImageError(
            f"{where}: the {image.format} image has {width} x {height} pixels; {MOST_IMAGE_SIDE} are the most of a side"
        )


def _pixel_bytes(image: Any) -> int:
    """Bytes of memory for each pixel of the decoded image, with what it is converted by; measured."""
    other = {"L": 5, "1": 5, "P": 9, "RGB": 4}.get(image.mode, 8)
    needed = _WEBP_PIXEL if image.format == "WEBP" else other
    return needed + (_ORIENTED if "exif" in image.info else 0)


def _coefficient_bytes(image: Any, body: bytes) -> int:
    """Of a JPEG file with several scans, progressive or a scan for each component; 0 where there is one."""
    components = image.layer
    length = 6 + 2 * len(components)
    one_scan = bytes([0xFF, 0xDA, 0, length, len(components)])  # how the header of a scan of all components starts
    if body.startswith(one_scan, image.fp.tell() - 2 - length) and "progressive" not in image.info:
        return 0
    largest = max(across for _, across, _, _ in components) * max(down for _, _, down, _ in components)
    share = sum(across * down for _, across, down, _ in components) / max(largest, 1)
    return int(image.width * image.height * _COEFFICIENT * share)


# ---- decoding -------------------------------------------------------------------------------------------------------


def _loaded(image: Any, channels: int, where: str) -> Any:
    try:
        image.load()
        return _upright(image if image.mode == _MODES[channels] else _converted(image, _MODES[channels]))
    except MemoryError:
        raise
    except Exception as error:  # its decoders raise whatever damaged bytes lead to
        raise ImageError(f"{where}: the {image.format} image is damaged or cut short: {error}") from None


def _converted(image: Any, mode: str) -> Any:
    if image.mode.startswith("I"):  # 16 bits, where Pillow would cut at 255
        return _pillow().fromarray(_upper_bytes(image)).convert(mode)
    if image.mode == "P":  # through RGB: Pillow warns where the palette has an alpha
        return image.convert("RGBA").convert("RGB").convert(mode)
    return image.convert(mode)


def _upper_bytes(image: Any) -> np.ndarray:
    """The upper eight of the sixteen bits of each pixel, (height, width) uint8, some rows at a time."""
    found = np.empty((image.height, image.width), np.uint8)
    rows = max(1, _BLOCK_PIXELS // image.width)
    for top in range(0, image.height, rows):
        part = image.crop((0, top, image.width, min(top + rows, image.height)))
        found[top : top + rows] = np.asarray(part).astype(np.uint32) >> 8
    return found


def _upright(image: Any) -> Any:
    if "exif" not in image.info:
        return image
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # metadata that makes no sense: the image is as it stands
        return image
