"""What is wrong with a stream of records is told alike, compiled and not, whatever the damage."""

import io
import itertools
import math
import struct
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recordio import framing
from recordio.batches import Batch
from recordio.errors import BadMagicError, DataError, RecordError, TruncatedRecordError, ValueRangeError, WidthError
from recordio.record_message import Record
from recordio.record_reader import read_records
from recordio.record_writer import encode_records
from recordio.rows import RowFormat
from tests.golden.recordio.make import FOLDER
from tests.recordio.record_cases import (
    COMPILED,
    LABEL,
    NARROW,
    PLAIN,
    SPARSE,
    UNUSUAL,
    USUAL,
    WIDE,
    entry,
    field,
    floats,
    framed,
    read,
    use,
)

# ---- what is wrong ---------------------------------------------------------------------------------------------------


BROKEN = {
    "nothing in the frame": (b"", RecordError, "found no features at all"),
    "not protobuf": (b"hello", RecordError, "cannot be read as SageMaker's protobuf"),
    "too few features": (
        field(1, entry(field(2, field(1, floats(1))))) + LABEL,
        WidthError,
        "has 1 features, expected 3",
    ),
    "too wide a shape": (
        field(1, entry(field(2, field(3, b"\x04")))) + LABEL,
        WidthError,
        "has 4 features, expected 3",
    ),
    "key out of range": (
        field(1, entry(field(2, PLAIN + field(2, b"\x00\x01\x03") + field(3, b"\x03")))) + LABEL,
        WidthError,
        "the key 3 is out of range",
    ),
    "fewer keys": (
        field(1, entry(field(2, PLAIN + field(2, b"\x00\x01")))) + LABEL,
        RecordError,
        "2 keys for 3 values",
    ),
    "more keys": (
        field(1, entry(field(2, PLAIN + field(2, b"\x00\x01\x02\x02")))) + LABEL,
        RecordError,
        "4 keys for 3",
    ),
    "keys cut": (field(1, entry(field(2, PLAIN + field(2, b"\x00\x01\x82")))) + LABEL, RecordError, "cannot be read"),
    "floats of 11 bytes": (field(1, entry(field(2, field(1, bytes(11))))) + LABEL, RecordError, "cannot be read"),
    "NaN": (field(1, entry(field(2, field(1, floats(1, 2, math.nan))))) + LABEL, ValueRangeError, "feature 2 is nan"),
    "infinite label": (USUAL[:-4] + floats(math.inf), ValueRangeError, "the label is inf"),
    "no label": (field(1, entry(field(2, PLAIN))), RecordError, "has no label['values']"),
    "two labels": (
        field(1, entry(field(2, PLAIN))) + field(2, entry(field(2, field(1, floats(9, 9))))),
        RecordError,
        "has 2 labels, the records before it have 1",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_named_wherever_it_stands(mode, name):
    body, error, text = BROKEN[name]
    before = framed(*[USUAL] * 5)
    with pytest.raises(error) as caught:
        read(before + framed(body, USUAL), labels="required")
    assert str(caught.value).startswith(f"x.pbr: record 5, at byte {len(before)}: ")
    assert text in str(caught.value)


def test_rows_before_a_broken_record_of_a_later_chunk_are_given(mode):
    data = encode_records(WIDE)
    reader = read_records(io.BytesIO(data + b"garbage!"), "x", RowFormat())
    rows = 0
    with pytest.raises(BadMagicError, match=f"x: record {len(WIDE)}, at byte {len(data)}: "):
        for batch in reader:
            rows += len(batch)
    assert rows > len(WIDE) / 2


@pytest.mark.parametrize("data", [encode_records(NARROW[:3], NARROW[:3, 0]), encode_records(SPARSE[:3])])
def test_a_stream_cut_short_is_an_error_at_any_byte(mode, data):
    whole = {len(data) * i // 3 for i in range(4)}
    for stop in range(len(data)):
        try:
            read_rows = sum(len(batch) for batch in read_records(io.BytesIO(data[:stop]), "x", RowFormat()))
        except TruncatedRecordError as error:
            assert "x: record" in str(error)
        else:
            frames_end = list(itertools.accumulate(len(framed(body)) for body in framing.frames(io.BytesIO(data), "x")))
            assert stop in [0, *frames_end], whole
            assert read_rows == [0, *frames_end].index(stop)


def test_a_length_of_gigabytes_takes_no_memory(mode):
    data = framed(USUAL) + framing.MAGIC_BYTES
    tracemalloc.start()
    for word in (0xFFFFFFFF, framing.MAX_LENGTH):
        with pytest.raises(framing.FrameError, match="x.pbr: record 1, at byte 56"):
            read(data + struct.pack("<I", word) + bytes(50))
    assert tracemalloc.get_traced_memory()[1] < 4 * framing.CHUNK
    tracemalloc.stop()


# ---- everything else -------------------------------------------------------------------------------------------------


def outcome(data, rows, mode):
    """The batches of a stream and the error that ended it, in a form that compares."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use(mode, monkeypatch)
        batches: list[Batch] = []
        try:
            for batch in read_records(io.BytesIO(data), "x", rows):
                batches.append(batch)  # noqa: PERF402 - what came before an error counts
        except DataError as error:
            end = (type(error), str(error))
        else:
            end = None
    return [comparable(batch) for batch in batches], end


def comparable(batch):
    """The bytes of a batch. A NaN is a NaN: protobuf's Python messages do not keep which one."""

    def plain(array):
        array = np.where(np.isnan(array), np.float32(np.nan), array)
        return array.shape, array.tobytes()

    features = batch.features
    if sp.issparse(features):
        features = (features.shape, plain(features.data), features.indices.tolist(), features.indptr.tolist())
    else:
        features = plain(features)
    return features, None if batch.labels is None else plain(batch.labels)


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


numbers = {
    "float32_tensor": st.one_of(finite, finite, finite, st.floats(width=32)),
    "float64_tensor": st.one_of(finite, st.floats()),
    "int32_tensor": st.integers(-(2**31), 2**31 - 1),
}


@st.composite
def tensors_of_width(draw, width):
    """A Value that mostly has ``width`` features."""
    kind = draw(st.sampled_from(["float32_tensor", "float32_tensor", *numbers]))
    sparse = width > 6 or draw(st.booleans())
    count = draw(st.integers(0, min(width, 6)) if sparse else st.sampled_from([width] * 9 + [0, width + 1]))
    value = Record().features["values"]
    tensor = getattr(value, kind)
    tensor.values.extend(draw(st.lists(numbers[kind], min_size=count, max_size=count)))
    if sparse:
        top = draw(st.sampled_from([width - 1] * 9 + [width]))
        tensor.keys.extend(draw(st.lists(st.integers(0, top), min_size=count, max_size=count)))
        tensor.shape.extend(draw(st.sampled_from([[width]] * 8 + [[], [1, width], [width + 1]])))
    return value


@st.composite
def streams(draw):
    """Frames of records that are mostly alike and mostly right."""
    width = draw(st.sampled_from([1, 2, 3, 20_000]))
    label_size = draw(st.sampled_from([0, 1, 1, 2]))
    bodies = []
    for _ in range(draw(st.integers(0, 6))):
        record = Record()
        record.features["values"].CopyFrom(draw(tensors_of_width(width)))
        if label_size:
            kind = draw(st.sampled_from(["float32_tensor", "float32_tensor", *numbers]))
            getattr(record.label["values"], kind).values.extend(
                draw(st.lists(numbers[kind], min_size=label_size, max_size=label_size))
            )
        if draw(st.integers(0, 9)) == 0:
            record.uid = draw(st.text(max_size=3))
        if draw(st.integers(0, 9)) == 0:
            record.metadata = "m"
        body = record.SerializeToString()
        if draw(st.integers(0, 19)) == 0:
            body = draw(st.sampled_from(list(UNUSUAL.values())))
        bodies.append(body)
    return bytearray(framed(*bodies))


formats = st.builds(
    RowFormat,
    feature_dim=st.sampled_from([None, None, 3, 20_000]),
    labels=st.sampled_from(["none", "required"]),
    finite=st.booleans(),
)


@pytest.mark.parametrize("mode", [COMPILED])
@settings(deadline=None)
@given(data=streams(), rows=formats)
def test_any_records_are_read_as_message_by_message(mode, data, rows):
    assert outcome(data, rows, mode) == outcome(data, rows, "messages")


@pytest.mark.parametrize("mode", [COMPILED])
@settings(deadline=None)
@given(
    data=streams(),
    rows=formats,
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damaged_records_are_read_or_refused_as_message_by_message(mode, data, rows, changes):
    for at, byte in changes:
        if data:
            data[at % len(data)] = byte
    assert outcome(data, rows, mode) == outcome(data, rows, "messages")


@pytest.mark.parametrize("mode", [COMPILED])
@pytest.mark.parametrize("name", ["dense_float32_labels", "dense_int", "sparse_float32_labels", "sparse_int"])
def test_every_changed_byte_is_read_or_refused_as_message_by_message(mode, name):
    good = (FOLDER / f"{name}.pbr").read_bytes()[:180]
    rows = RowFormat(labels="required" if "labels" in name else "none")
    for at, byte in itertools.product(range(len(good)), (0x01, 0x04, 0x80, 0xFF)):
        data = good[:at] + bytes([good[at] ^ byte]) + good[at + 1 :]
        assert outcome(data, rows, mode) == outcome(data, rows, "messages"), (at, byte)


def test_the_kernel_writes_within_the_arrays_it_is_given():
    kernel = pytest.importorskip("recordio._kernel")
    data = encode_records(NARROW[:4], NARROW[:4, 0])
    frame = len(data) // 4
    assert kernel.first(data, 0, -1, -1) == (frame, 8, False, 8, 1)
    assert kernel.first(data[: frame - 1], 0, -1, -1) is None
    values, targets = np.zeros(17, np.float32), np.zeros(2, np.float32)
    assert kernel.fill(data, 0, len(data), 4, 8, 1, True, values, None, None, targets)[:2] == (2, 2 * frame)
    assert kernel.fill(data, frame, 1, 4, 8, 1, True, values, None, None, targets)[:2] == (1, 2 * frame)
    assert values[16] == 0
    with pytest.raises(ValueError, match="do not fit"):
        kernel.fill(data, 0, len(data), 4, 8, 1, True, values, None, None, None)
    with pytest.raises(ValueError, match="do not fit"):
        kernel.fill(data, 0, len(data), 4, 8, 0, True, values, np.zeros(17, np.int32), np.zeros(4, np.int32), None)
    with pytest.raises(ValueError, match="outside"):
        kernel.first(data, len(data) + 1, -1, -1)
    with pytest.raises(BufferError):
        kernel.fill(data, 0, len(data), 4, 8, 0, True, bytes(64), None, None, None)
