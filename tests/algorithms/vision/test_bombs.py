"""What images may ask for: the memory that decoding takes, as the kernel counts it, beside what is computed before."""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from algorithms.vision import augment, decode
from algorithms.vision.augment import Preparation, squeezed
from algorithms.vision.decode import decoding_bytes
from recordio.errors import ImageError
from recordio.limits import MOST_DECODING_BYTES, MOST_IMAGE_SIDE
from tests import forks

MIB = 1 << 20
SIDE = 2048


def file(mode: str, kind: str, side: int = SIDE, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (side, side)).save(stream, kind, **options)
    return stream.getvalue()


def in_a_child(body: bytes, program: str, tmp_path: Path, *, limit: int | None = None) -> dict[str, Any]:
    """What ``program`` prints as JSON of the bytes ``body``, in a process of its own that has so much address space."""
    path = tmp_path / "image"
    path.write_bytes(body)
    setup = f"""
import io, json, resource
from algorithms.vision import augment, decode
from PIL import Image
small = io.BytesIO()
Image.new("RGB", (8, 8)).save(small, "WEBP")
decode.decode(small.getvalue(), 3, "here")
body = open({str(path)!r}, "rb").read()
def size(name):
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])
"""
    if limit is not None:
        setup += f"ends = size('VmSize') + {limit}\nresource.setrlimit(resource.RLIMIT_AS, (ends, ends))\n"
    with tempfile.TemporaryFile("w+") as output:
        code = forks.IMAGES.start(setup + program, os.environ, output).wait(300)
        output.seek(0)
        told = output.read()
    assert code == 0, told
    return json.loads(told)


MEASURED = """
before = size("VmHWM")
image = decode.decode(body, 3, "here", LEAST)
print(json.dumps({"taken": size("VmHWM") - before, "said": decode.decoding_bytes(body)}))
"""

WITH_EXIF = Image.Exif()
WITH_EXIF[0x0112] = 6


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "PNG", {}),
        ("RGB", "PNG", {"exif": WITH_EXIF}),
        ("P", "PNG", {"exif": WITH_EXIF}),
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("P", "PNG", {}),
        ("1", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGB", "BMP", {}),
        ("P", "GIF", {}),
        ("RGB", "WEBP", {}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("RGB", "JPEG", {}),
        ("CMYK", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True}),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
        ("CMYK", "JPEG", {"progressive": True}),
    ],
)
def test_decoding_takes_no_more_than_was_computed(
    mode: str, kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    found = in_a_child(file(mode, kind, **options), MEASURED.replace("LEAST", "None"), tmp_path)
    assert found["taken"] <= found["said"] + 3 * MIB
    assert found["said"] <= 1.5 * found["taken"]  # and is no wild guess, which would refuse what fits


@pytest.mark.parametrize(("mode", "progressive"), [("RGB", False), ("RGB", True), ("CMYK", True)])
def test_a_jpeg_that_is_decoded_smaller_takes_no_more_than_was_computed(
    mode: str, progressive: bool, tmp_path: Path
) -> None:
    body = file(mode, "JPEG", progressive=progressive)
    found = in_a_child(body, MEASURED.replace("LEAST", "(100, 100)"), tmp_path)
    assert found["taken"] <= found["said"] + 3 * MIB


def test_a_jpeg_of_a_scan_for_each_component_counts_as_progressive() -> None:
    one = file("RGB", "JPEG", 256)
    start = one.index(b"\xff\xda")
    (length,) = struct.unpack_from(">H", one, start + 2)
    apart = one[:start] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + one[start + 2 + length :]
    assert decoding_bytes(apart) > 1.5 * decoding_bytes(one)


# ---- bombs ----------------------------------------------------------------------------------------------------------


def png(width: int, height: int, bits: int, color: int) -> bytes:
    """A whole PNG file of zeros."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer, row = zlib.compressobj(1), bytes(1 + width * bits * {0: 1, 2: 3}[color] // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def webp(width: int, height: int) -> bytes:
    """An extended WebP file that announces a canvas, and has a small image."""
    inner = file("RGB", "WEBP", 16, lossless=True)[12:]
    extended = struct.pack("<4sIB3x", b"VP8X", 10, 0) + (width - 1).to_bytes(3, "little")
    body = b"WEBP" + extended + (height - 1).to_bytes(3, "little") + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(width: int, height: int) -> bytes:
    """A frame that is to be erased again, for which Pillow makes an image as large as it is while it opens the file."""
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\x00\x00" + bytes(6)
    control = b"\x21\xf9\x04\x08\x00\x00\x00\x00"
    return head + control + b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\x00\x02\x02\x44\x01\x00;"


BOMBS = {
    "grey PNG of 16 bits": lambda: png(8192, 8192, 16, 0),
    "WebP": lambda: file("RGB", "WEBP", 8000, lossless=True),
    "canvas of a WebP": lambda: webp(16383, 16383),
    "GIF that is erased": lambda: gif(65535, 65535),
    "progressive JPEG": lambda: file("L", "JPEG", 16384, progressive=True),
    "line": lambda: png(1, 1 << 20, 8, 2),
}
PREPARED = """
try:
    augment.squeezed(body, (3, 224, 224), "here")
except Exception as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error), "peak": size("VmPeak") - size("VmSize")}))
else:
    print(json.dumps({"error": ""}))
"""


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_takes_much_memory_is_refused_before_it_is_taken(bomb: str, tmp_path: Path) -> None:
    body = BOMBS[bomb]()
    assert len(body) < 3 * MIB
    found = in_a_child(body, PREPARED, tmp_path, limit=64 * MIB)
    assert found["error"] == "ImageError", found  # and not MemoryError, with so little of it


def test_what_the_bound_allows_is_decoded_within_it(tmp_path: Path) -> None:
    body = png(8000, 8000, 8, 2)
    assert decoding_bytes(body) <= MOST_DECODING_BYTES
    assert in_a_child(body, PREPARED, tmp_path, limit=decoding_bytes(body) + 64 * MIB)["error"] == ""


def test_too_little_memory_is_a_memory_error_and_not_a_damaged_image(tmp_path: Path) -> None:
    for body in (png(6000, 6000, 8, 2), file("RGB", "WEBP", 4000), file("RGB", "JPEG", 6000, progressive=True)):
        assert in_a_child(body, PREPARED, tmp_path, limit=40 * MIB)["error"] == "MemoryError"


def test_a_photo_of_200_megapixels_passes() -> None:
    body = file("RGB", "JPEG", 14000)
    assert squeezed(body, (3, 64, 64), "here").shape == (64, 64, 3)
    with pytest.raises(ImageError, match=r"14000 x 14000 pixels; \d+ are the most"):
        decode.decode(body, 3, "here")  # at its full size


def test_every_bound_is_named_with_what_came() -> None:
    with pytest.raises(ImageError, match=f"1 x {MOST_IMAGE_SIDE + 1} pixels; {MOST_IMAGE_SIDE} are the most of a side"):
        decode.decode(png(1, MOST_IMAGE_SIDE + 1, 8, 0), 3, "here")
    with pytest.raises(ImageError, match=rf"8192 x 8192 pixels takes \d+ bytes of memory; {MOST_DECODING_BYTES} are"):
        decode.decode(png(8192, 8192, 16, 0), 3, "here")


def test_a_line_is_not_scaled_to_gigabytes() -> None:
    body = png(2, 60000, 8, 2)
    with pytest.raises(ImageError, match="2 x 60000 pixels, and 224 x 6720000 with a shorter side of 224"):
        Preparation((3, 224, 224), 224)(body, "here", np.random.default_rng(0))


def test_the_height_goes_first_where_the_width_would_take_gigabytes() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40000, 3, 3), np.uint8))
    found = np.asarray(augment._scaled(image, (2000, 20)), int)
    expected = np.asarray(image.resize((2000, 20), Image.Resampling.BILINEAR), int)
    assert np.abs(found - expected).max() <= 1


def test_no_other_kind_than_the_named_ones_is_opened() -> None:
    image = Image.new("RGB", (16, 16))
    Image.init()
    for kind in sorted(set(Image.SAVE) - {"JPEG", "PNG", "BMP", "GIF", "WEBP", "MPO"}):
        stream = io.BytesIO()
        try:
            image.save(stream, kind)
        except Exception:  # kinds that this Pillow cannot write, or only in other modes
            continue
        if kind == "DIB" or stream.getvalue().startswith(b"\xff\xd8"):
            continue
        with pytest.raises(ImageError, match="are no image that can be read: JPEG, PNG, BMP, GIF, WEBP"):
            decode.decode(stream.getvalue(), 3, "here")
