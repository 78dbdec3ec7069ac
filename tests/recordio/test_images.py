"""Image records, augmented manifests and lists of files: what they hold, and what is wrong with broken ones."""

from __future__ import annotations

import gzip
import io
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import recordio
from recordio.errors import (
    BadMagicError,
    CompressedDataError,
    DataError,
    FrameError,
    ImageError,
    ParseError,
    TruncatedRecordError,
)
from recordio.framing import MAGIC_BYTES, frames, write_frame
from recordio.images import (
    RecordFile,
    decode_record,
    encode_record,
    image_records,
    manifest_records,
    parse_label,
    read_list,
)


def test_a_record_is_laid_out_as_the_format_says() -> None:
    assert encode_record(b"image", [2], 7) == struct.pack("<IfQQ", 0, 2, 7, 0) + b"image"
    assert encode_record(b"image", [1, 0, 1], 7) == struct.pack("<IfQQ3f", 3, 0, 7, 0, 1, 0, 1) + b"image"


@pytest.mark.parametrize("labels", [[3], [0, 1], [0.5] * 40])
def test_what_is_written_is_read(labels: list[float]) -> None:
    record = decode_record(encode_record(b"image", labels, 1 << 40), "here")
    assert (record.labels.tolist(), record.image, record.number) == (labels, b"image", 1 << 40)
    assert record.labels.dtype == np.float32


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "0 bytes is none of an image"),
        (b"x" * 23, "23 bytes is none of an image"),
        (encode_record(b"", [1]), "no image after its header"),
        (encode_record(b"", [1, 2]), "no image after its header"),
        (struct.pack("<IfQQ", 1000, 0, 0, 0) + b"image", "announces 1000 labels, and has 5 bytes"),
        (struct.pack("<IfQQ", 0xFFFFFFFF, 0, 0, 0) + b"image", "announces 4294967295 labels"),
    ],
)
def test_a_record_of_something_else_is_named(body: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=f"a.rec: record 3: .*{reason}"):
        decode_record(body, "a.rec: record 3")


def write(path: Path, bodies: list[bytes]) -> Path:
    with path.open("wb") as file:
        for body in bodies:
            write_frame(file, body)
    return path


def test_a_file_of_records_is_read_in_any_order(tmp_path: Path) -> None:
    bodies = [encode_record(bytes([number]) * (number + 1), [number] * (1 + number % 3)) for number in range(9)]
    records = RecordFile(write(tmp_path / "a.rec", bodies), "train/a.rec")
    assert len(records) == 9
    assert [records.labels[number].tolist() for number in (8, 0, 4)] == [[8] * 3, [0], [4] * 2]
    assert [records.read(number) for number in (5, 2)] == [bytes([5]) * 6, bytes([2]) * 3]


def test_a_record_that_is_cut_at_a_magic_word_is_whole_again(tmp_path: Path) -> None:
    body = encode_record(b"abcd" + MAGIC_BYTES + b"ef", [1, 2])
    first, _, second = body.partition(MAGIC_BYTES)
    frames = b"".join(
        MAGIC_BYTES + struct.pack("<I", flag << 29 | len(part)) + part + bytes(-len(part) % 4)
        for flag, part in ((1, first), (3, second))
    )
    (tmp_path / "a.rec").write_bytes(frames)
    records = RecordFile(tmp_path / "a.rec", "a.rec")
    assert (records.read(0), records.labels[0].tolist()) == (b"abcd" + MAGIC_BYTES + b"ef", [1, 2])


@pytest.mark.parametrize(
    ("spoil", "error", "reason"),
    [
        (lambda good: good[:-5], TruncatedRecordError, "a.rec: record 1, at byte .*ends inside a frame"),
        (lambda good: b"x" + good, BadMagicError, "a.rec: record 0"),
        (lambda good: good + b"....", BadMagicError, "a.rec: record 2"),
        (lambda good: good.replace(struct.pack("<If", 0, 1), struct.pack("<If", 99, 1)), ImageError, "record 1"),
    ],
)
def test_a_broken_file_says_where(
    tmp_path: Path, spoil: Callable[[bytes], bytes], error: type[DataError], reason: str
) -> None:
    path = write(tmp_path / "a.rec", [encode_record(b"image", [label]) for label in (0, 1)])
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(error, match=reason):
        RecordFile(path, "a.rec")


def test_a_stream_of_records_names_each() -> None:
    labelled = list(image_records([encode_record(b"a", [1]), encode_record(b"b", [2])], "train"))
    assert [(one.image, one.labels.tolist(), one.where) for one in labelled] == [
        (b"a", [1], "train: record 0"),
        (b"b", [2], "train: record 1"),
    ]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (b"1", [1]),
        (b'"1"', [1]),
        (b" 2.0\n", [2]),
        (b"[1, 0, 1]", [1, 0, 1]),
        (b'"[0, 2]"', [0, 2]),
        (b'["0", "2"]', [0, 2]),
        (b"[]", []),
    ],
)
def test_a_label_of_a_manifest_is_a_number_or_a_list(text: bytes, labels: list[float]) -> None:
    assert parse_label(text, "here").tolist() == labels


@pytest.mark.parametrize(
    "text", [b"", b"cat", b'"cat"', b"{}", b"[[1]]", b"null", b"true x", b"NaN", b"\xff\xd8", b"[" * 9999]
)
def test_a_label_that_is_none_is_shown(text: bytes) -> None:
    with pytest.raises(ParseError, match="image 4: the label .* is neither a number nor a JSON list"):
        parse_label(text, "train: image 4")


def test_a_manifest_is_image_and_label_in_turn() -> None:
    labelled = list(manifest_records([b"a", b"1", b"b", b"[0, 1]"], "train"))
    assert [(one.image, one.labels.tolist(), one.where) for one in labelled] == [
        (b"a", [1], "train: image 0"),
        (b"b", [0, 1], "train: image 1"),
    ]


def test_a_manifest_in_the_wrong_order_or_without_labels_says_what_to_change() -> None:
    with pytest.raises(ParseError, match="image first"):
        list(manifest_records([b"1", b"\x89PNG"], "train"))
    with pytest.raises(ImageError, match="the last image, number 1, has no label"):
        list(manifest_records([b"a", b"1", b"b"], "train"))


def test_a_list_names_images(tmp_path: Path) -> None:
    (tmp_path / "a.lst").write_text("5\t1\tdogs/1.jpg\n\n1000\t0\tcats/a b.jpg\r\n22\t1\t0\t1\t x.png \n")
    found = read_list(tmp_path / "a.lst", "a.lst")
    assert [(entry.number, entry.labels.tolist(), entry.path) for entry in found] == [
        (5, [1], "dogs/1.jpg"),
        (1000, [0], "cats/a b.jpg"),
        (22, [1, 0, 1], "x.png"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 0 a.jpg", "has 1 columns"),
        ("1\ta.jpg", "has 2 columns"),
        ("x\t0\ta.jpg", "no number"),
        ("1\tdog\ta.jpg", "no number"),
        ("1\tnan\ta.jpg", "no number"),
        ("inf\t1\ta.jpg", "no number"),
        ("1.5\t0\ta.jpg", "not a whole number"),
        ("7\t0\tb.jpg", "the index 7 is that of a.lst: line 1 too"),
        ("1\t0\t/etc/passwd", "relative to the channel"),
        ("1\t0\t../a.jpg", "relative to the channel"),
        ("1\t0\t", "relative to the channel"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "a.lst").write_text(f"7\t0\tgood.jpg\n{line}\n")
    with pytest.raises(ParseError, match=f"a.lst: line 2: .*{reason}"):
        read_list(tmp_path / "a.lst", "a.lst")


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.lst").write_bytes(b"1\t0\t\xff\xfe.jpg")
    with pytest.raises(ParseError, match="a.lst is not text in UTF-8: byte 4"):
        read_list(tmp_path / "a.lst", "a.lst")


def test_a_file_that_is_cut_short_while_it_is_read(tmp_path: Path) -> None:
    """It was mapped into memory, and so killed the process (SIGBUS)."""
    path = write(tmp_path / "a.rec", [encode_record(bytes([i]) * 5000, [i]) for i in range(50)])
    records = RecordFile(path, "train/a.rec")
    with path.open("r+b") as file:
        file.truncate(9000)
    assert records.read(0) == bytes(5000)
    for number in (1, 20, 49):
        with pytest.raises(TruncatedRecordError, match=f"a.rec: record {number}, .* became shorter while it was read"):
            records.read(number)


def test_a_file_that_is_changed_while_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.rec", [encode_record(bytes([i]) * 5000, [i]) for i in range(5)])
    records = RecordFile(path, "train/a.rec")
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(FrameError):
        records.read(3)


def test_nothing_maps_files_into_memory_that_others_may_cut_short() -> None:
    """One map is left: that of an unnamed temporary file, which nobody else can open."""
    root = Path(recordio.__file__).parent
    users = [file.name for file in root.glob("*.py") if re.search(r"mmap\.mmap|memmap|memory_map", file.read_text())]
    assert users == ["parquet.py"]


def test_a_compressed_file_of_records(tmp_path: Path) -> None:
    bodies = [encode_record(b"x" * 100, [i]) for i in range(20)]
    plain = write(tmp_path / "a.rec", bodies)
    packed = tmp_path / "b.rec"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    records = RecordFile(packed, "b.rec")
    assert [label.tolist() for label in records.labels] == [[i] for i in range(20)]
    assert records.read(19) == b"x" * 100
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(CompressedDataError, match="b.rec: the gzip data ends early"):
        RecordFile(packed, "b.rec")


@pytest.mark.parametrize("labels", [1, 5, 119, 122, 123, 124, 125, 400])
@pytest.mark.parametrize("size", [1, 3, 500])
def test_labels_near_the_end_of_what_is_read_of_a_frame(tmp_path: Path, labels: int, size: int) -> None:
    path = write(tmp_path / "a.rec", [encode_record(b"x" * size, np.arange(labels))] * 2)
    records = RecordFile(path, "a.rec")
    assert all(np.array_equal(found, np.arange(labels)) for found in records.labels)
    assert records.read(1) == b"x" * size


def test_images_without_records_in_a_pipe_name_the_wrapper() -> None:
    with pytest.raises(BadMagicError, match="RecordWrapperType RecordIO"):
        list(image_records(frames(io.BytesIO(b"\xff\xd8\xff\xe0" * 100), "train_0"), "train"))


def test_a_label_of_a_list_is_rounded_once() -> None:
    assert parse_label(b"1.0000000596046447753906251", "here").tolist() == [1 + 2.0**-23]
    assert parse_label(b'"16777217.0000000001"', "here").tolist() == [16777218]


def test_a_name_in_a_list_may_have_unicodes_line_separators(tmp_path):
    """im2rec and the operating system end a line at a line feed alone; a carriage return is taken too."""
    names = ["one\u2028half.png", "next\x85line.png", "three.png"]
    file = tmp_path / "train.lst"
    file.write_bytes("\n".join(f"{at}\t0\t{name}" for at, name in enumerate(names)).replace("\n", "\r\n", 1).encode())
    assert [entry.path for entry in read_list(file, "train.lst")] == names
