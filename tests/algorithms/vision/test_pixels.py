"""Images of every kind become the same pixels, or are refused by name; augmentation does what it says."""

from __future__ import annotations

import colorsys
import contextlib
import io
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from algorithms.vision import augment
from algorithms.vision.augment import Preparation, shift_hls, squeezed, transformed
from algorithms.vision.decode import decode, pixels
from recordio.errors import ImageError
from recordio.limits import MOST_IMAGE_PIXELS
from recordio.room import Room

RANDOM = np.random.default_rng(0)
COLORS = np.kron(RANDOM.integers(0, 256, (3, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)  # 24 x 32, in blocks
GREY = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 80


def file(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def rgb(array: np.ndarray = COLORS) -> Image.Image:
    return Image.fromarray(array)


def decoded(body: bytes, channels: int = 3) -> np.ndarray:
    return pixels(decode(body, channels, "here"))


# ---- kinds of images ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_kinds_without_loss_give_the_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decoded(file(rgb(), kind, **options)), COLORS)


def test_jpeg_is_close() -> None:
    assert np.abs(decoded(file(rgb(), "JPEG", quality=95, subsampling=0)).astype(int) - COLORS).mean() < 4


def test_grey_has_three_equal_channels_or_one() -> None:
    body = file(rgb().convert("L"), "PNG")
    found = decoded(body)
    assert found.shape == (24, 32, 3)
    np.testing.assert_array_equal(found[:, :, 0], found[:, :, 2])
    np.testing.assert_array_equal(decoded(body, 1)[:, :, 0], found[:, :, 0])
    assert decoded(file(rgb(), "PNG"), 1).shape == (24, 32, 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "1", "P", "PA"])
def test_alpha_and_palettes_are_no_hindrance(mode: str) -> None:
    image = rgb().convert("RGBA")
    image.putalpha(Image.fromarray(np.full((24, 32), 9, np.uint8)))
    if mode in ("1", "P"):
        image = rgb().convert(mode)
    elif mode == "PA":
        image = image.quantize(16)  # a palette with an alpha
    else:
        image = image.convert(mode)
    found = decoded(file(image, "PNG"))
    assert found.shape == (24, 32, 3)
    if mode == "RGBA":
        np.testing.assert_array_equal(found, COLORS)  # as OpenCV, which leaves the alpha out


def test_cmyk_becomes_rgb() -> None:
    found = decoded(file(rgb().convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found.astype(int) - COLORS).mean() < 12


def test_sixteen_bits_keep_the_upper_eight() -> None:
    found = decoded(file(Image.fromarray(GREY), "PNG"))
    np.testing.assert_array_equal(found, np.repeat((GREY >> 8).astype(np.uint8)[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("orientation", "as_it_was_taken"),
    [(1, lambda x: x), (2, np.fliplr), (3, lambda x: np.rot90(x, 2)), (6, lambda x: np.rot90(x, 3)), (8, np.rot90)],
)
def test_the_orientation_of_exif_is_followed(orientation: int, as_it_was_taken: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decoded(file(rgb(), "PNG", exif=exif)), as_it_was_taken(COLORS))


def test_exif_that_makes_no_sense_is_left_out() -> None:
    found = decoded(file(rgb(), "PNG", exif=b"Exif\x00\x00MM\x00*" + b"\xff" * 40))
    np.testing.assert_array_equal(found, COLORS)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    frames = [Image.fromarray(np.full((24, 32, 3), level, np.uint8)) for level in (10, 200, 100)]
    found = decoded(file(frames[0], kind, save_all=True, append_images=frames[1:], duration=50))
    assert np.abs(found.astype(int) - 10).max() <= 2


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"GIF", b"<svg/>", b"%PDF-1.4", b"\x00" * 999, b"\xff\xd8\xff", file(rgb(), "TIFF"), file(rgb(), "PPM")],
)
def test_what_is_no_image_of_a_known_kind_is_refused(body: bytes) -> None:
    with pytest.raises(ImageError, match=f"here: {len(body)} bytes are no image that can be read: JPEG, PNG"):
        decoded(body)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
def test_an_image_that_is_cut_anywhere_is_refused(kind: str) -> None:
    body = file(rgb(RANDOM.integers(0, 256, (24, 32, 3), np.uint8)), kind)
    for stop in range(0, len(body) // 2, max(1, len(body) // 40)):
        with pytest.raises(ImageError, match="here: "):
            decoded(body[:stop])


def test_noise_in_an_image_never_is_another_error() -> None:
    bodies = [file(rgb(), kind) for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP")]
    for number in range(300):
        random = np.random.default_rng(number)
        body = bytearray(bodies[number % len(bodies)])
        for _ in range(4):
            body[random.integers(len(body))] = random.integers(256)
        with contextlib.suppress(ImageError):
            assert decoded(bytes(body)).dtype == np.uint8


def png(width: int, height: int) -> bytes:
    """The header of a PNG file of that size, and no pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(60000, 60000), (1, MOST_IMAGE_PIXELS + 1), (9000, 9000)])
def test_decompression_bombs_are_refused_before_they_go_off(size: tuple[int, int]) -> None:
    started = time.process_time()
    with pytest.raises(ImageError, match=f"PNG image has {size[0]} x {size[1]} pixels; {MOST_IMAGE_PIXELS} are"):
        decoded(png(*size))
    assert time.process_time() - started < 1


def test_a_large_jpeg_is_decoded_smaller_but_not_too_small() -> None:
    body = file(Image.new("RGB", (2400, 1600), (9, 99, 199)), "JPEG")
    assert decode(body, 3, "here", (100, 100)).size == (300, 200)
    assert decode(body, 3, "here").size == (2400, 1600)


_MEASURED = """
import re, resource, sys
from pathlib import Path
from algorithms.vision.augment import squeezed
from algorithms.vision.decode import decode, decoding_bytes
from recordio.errors import ImageError

def resident(name):
    return int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

small, last, *paths = map(Path, sys.argv[1:])
for channels in (1, 3):
    squeezed(small.read_bytes(), (channels, 32, 32), "here")
    for path in paths:
        body = path.read_bytes()
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before = resident("VmRSS")
        try:
            squeezed(body, (channels, 32, 32), "here")
            refused = "accepted"
        except ImageError:
            refused = "refused"
        print(path.name, refused, resident("VmHWM") - before, decoding_bytes(body))
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (20 << 20), -1))
try:
    decode(last.read_bytes(), 3, "here")
except MemoryError:
    print("MemoryError")
"""


def test_decoding_takes_no_more_memory_than_the_header_says(tmp_path: Path) -> None:
    """The kernel's own count of what a process had at its peak, for each kind; bombs take next to nothing."""

    def written(mode: str, side: int, kind: str, **options: Any) -> str:
        path = tmp_path / f"{mode.replace(';', '-')}{side}.{kind}"
        path.write_bytes(file(Image.new(mode, (side, side)), kind, **options))
        return str(path)

    paths = [written(mode, 2600, "PNG") for mode in ("I;16", "RGBA", "1", "P", "LA")]
    paths += [written("P", 2600, "GIF"), written("L", 2600, "BMP"), written("RGB", 2600, "WEBP", method=0)]
    paths += [written("CMYK", 2600, "JPEG"), written("RGB", 2600, "JPEG", progressive=True)]
    bombs = [written("RGB", 14000, "JPEG", progressive=True), written("RGB", 6400, "WEBP", method=0)]
    around = written("RGB", 16, "PNG"), written("RGB", 4000, "PNG")
    command = [sys.executable, "-c", _MEASURED, *around, *paths, *bombs]
    *measured, memory_error = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert memory_error == "MemoryError"
    assert len(measured) == 2 * len([*paths, *bombs])
    for line in measured:
        name, outcome, taken, said = line.split()
        bomb = name in {Path(path).name for path in bombs}
        assert outcome == ("refused" if bomb else "accepted"), line
        assert int(taken) < (0 if bomb else int(said)) + (8 << 20), line


# ---- preparation ----------------------------------------------------------------------------------------------------


def test_a_request_is_squeezed_whatever_its_sides() -> None:
    found = squeezed(file(rgb(), "PNG"), (3, 10, 50), "request")
    expected = np.asarray(rgb().resize((50, 10), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(found, expected)


def test_the_middle_is_taken_without_augmentation() -> None:
    found = Preparation((3, 10, 20), None)(file(rgb(), "PNG"), "here", RANDOM)
    np.testing.assert_array_equal(found, COLORS[7:17, 6:26])


@pytest.mark.parametrize(("size", "expected"), [((24, 32), (48, 64)), ((32, 24), (64, 48)), ((7, 100), (48, 686))])
def test_resize_is_of_the_shorter_side(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = augment._resized(Image.new("RGB", (size[1], size[0])), 48, "here")
    assert image.size == (expected[1], expected[0])


def test_an_image_that_is_too_small_says_so() -> None:
    with pytest.raises(
        ImageError, match="train: record 3: the image has 32 x 24 pixels, less than .* 32 x 25; set .*resize"
    ):
        Preparation((3, 25, 32), None)(file(rgb(), "PNG"), "train: record 3", RANDOM)


def test_crop_takes_parts_and_mirrors_half_of_them() -> None:
    noise = RANDOM.integers(0, 256, (24, 32, 3), np.uint8)
    body, prepare = file(rgb(noise), "PNG"), Preparation((3, 20, 20), None, augment.CROP)
    places = {
        noise[top : top + 20, left : left + 20][:, ::step].tobytes(): (top, left, step)
        for top in range(5)
        for left in range(13)
        for step in (1, -1)
    }
    found = [places[prepare(body, "here", np.random.default_rng(seed)).tobytes()] for seed in range(400)]
    tops, lefts, steps = zip(*found, strict=True)
    assert set(tops) == set(range(5))
    assert set(lefts) == set(range(13))
    assert 150 < steps.count(-1) < 250


def test_colors_are_shifted_as_the_standard_library_would() -> None:
    hue, lightness, saturation = 0.7, -0.1, 0.15
    found = shift_hls(COLORS, hue, lightness, saturation)
    for row, column in ((0, 0), (9, 9), (23, 31), (16, 8)):
        h, l, s = colorsys.rgb_to_hls(*COLORS[row, column] / 255)  # noqa: E741 - its own names
        moved = (h + hue / 6) % 1, min(max(l + lightness, 0), 1), min(max(s + saturation, 0), 1)
        np.testing.assert_allclose(found[row, column], np.multiply(colorsys.hls_to_rgb(*moved), 255), atol=0.6)


def test_no_shift_changes_nothing_and_grey_stays_grey() -> None:
    np.testing.assert_array_equal(shift_hls(COLORS, 0, 0, 0), COLORS)
    grey = np.repeat(RANDOM.integers(0, 256, (5, 5, 1), np.uint8), 3, axis=2)
    found = shift_hls(grey, 1.0, 0.05, 0.2)
    assert (np.ptp(found, axis=2) == 0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_colors_differ_from_image_to_image_within_their_ranges(channels: int) -> None:
    image = np.full((8, 8, channels), 120, np.uint8)
    levels = [float(augment.shifted(image, np.random.default_rng(seed)).mean()) for seed in range(200)]
    assert min(levels) >= 120 - 51
    assert max(levels) <= 120 + 51
    assert np.ptp(levels) > 80


def test_transforming_keeps_the_middle_and_the_size() -> None:
    image = Image.new("RGB", (41, 31), (0, 0, 0))
    image.paste((250, 250, 250), (18, 13, 23, 18))
    shapes = set()
    for seed in range(20):
        found = transformed(image, np.random.default_rng(seed))
        assert (found.size, found.mode) == (image.size, image.mode)
        assert found.getpixel((20, 15))[0] > 200
        shapes.add(found.tobytes())
    assert len(shapes) == 20
    assert transformed(image.convert("L"), RANDOM).mode == "L"


def test_a_strip_is_not_enlarged_into_gigabytes() -> None:
    """Its shorter side of a pixel made 224 pixels long, its longer one would have 14 million."""
    with pytest.raises(ImageError, match="here: the image has 60000 x 1 pixels, and 13440000 x 224 with"):
        Preparation((3, 224, 224), 224)(file(Image.new("RGB", (60000, 1)), "PNG"), "here", np.random.default_rng(0))


def test_images_decoded_side_by_side_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    room, inside, most = Room(100), 0, 0
    lock = threading.Lock()

    def take(needed: int) -> None:
        nonlocal inside, most
        with room.of(needed):
            with lock:
                inside += needed
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= needed

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [40, 60, 100, 1, 70] * 4))
    assert most <= 100
    assert room._free == 100
