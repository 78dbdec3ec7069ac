"""Chunked reading equals message-by-message reading, for good, unusual and broken records, compiled and not."""

import io
import itertools
import math
import os
import struct
import threading
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recordio import framing, record_reader
from recordio.batches import Batch, concatenate
from recordio.errors import BadMagicError, DataError, RecordError, TruncatedRecordError, ValueRangeError, WidthError
from recordio.framing import write_frame
from recordio.record_message import Record
from recordio.record_reader import read_records
from recordio.record_writer import encode_records
from recordio.rows import RowFormat
from tests.golden.recordio.make import CASES, FOLDER

COMPILED = pytest.param(
    "compiled", marks=pytest.mark.skipif(record_reader.kernel is None, reason="the kernel is not built")
)
MODES = [COMPILED, "messages"]


def use(mode, monkeypatch):
    """Read with the kernel, or message by message."""
    if mode != "compiled":
        monkeypatch.setattr(record_reader, "kernel", None)


@pytest.fixture(params=MODES)
def mode(request, monkeypatch):
    use(request.param, monkeypatch)
    return request.param


def read(data, **rows):
    """All rows of ``data``, as one batch."""
    return concatenate(list(read_records(io.BytesIO(data), "x.pbr", RowFormat(**rows))))


def framed(*bodies):
    out = io.BytesIO()
    for body in bodies:
        write_frame(out, body if isinstance(body, bytes) else body.SerializeToString())
    return out.getvalue()


def dense(features):
    return features.toarray() if sp.issparse(features) else np.asarray(features)


# ---- what the SageMaker SDK writes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_files_of_the_sdk_give_their_rows(mode, name):
    features, labels = CASES[name]
    batch = read((FOLDER / f"{name}.pbr").read_bytes(), labels="none" if labels is None else "required")
    assert batch.is_sparse == sp.issparse(features)
    assert batch.features.dtype == np.float32
    np.testing.assert_array_equal(dense(batch.features), dense(features).astype(np.float32))
    if labels is None:
        assert batch.labels is None
    else:
        assert batch.labels.dtype == np.float32
        np.testing.assert_array_equal(batch.labels, labels.astype(np.float32))


def test_labels_that_are_not_wanted_are_left_out(mode):
    assert read((FOLDER / "dense_float32_labels.pbr").read_bytes()).labels is None


def test_several_labels_a_record_have_a_second_dimension(mode):
    labels = np.float32([[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(read(encode_records(np.eye(3, dtype="f4"), labels), labels="required").labels, labels)


def test_all_zero_sparse_rows_keep_their_width(mode):
    assert read(encode_records(sp.csr_array((4, 300), dtype=np.float32))).features.shape == (4, 300)


# ---- many records ----------------------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(0)
WIDE = RANDOM.normal(size=(3000, 784)).astype(np.float32)
NARROW = RANDOM.normal(size=(40_000, 8)).astype(np.float32)
SPARSE = sp.random_array((6_000, 4000), density=0.01, format="csr", dtype=np.float32, rng=RANDOM)


@pytest.mark.parametrize("features", [WIDE, NARROW, SPARSE], ids=["wide", "narrow", "sparse"])
def test_streams_of_many_chunks_come_back_in_batches_of_bounded_size(mode, features):
    labels = np.arange(features.shape[0], dtype=np.float32)
    data = encode_records(features, labels)
    batches = list(read_records(io.BytesIO(data), "x", RowFormat(labels="required")))
    assert len(batches) == math.ceil(len(data) / framing.CHUNK)
    together = concatenate(batches)
    np.testing.assert_array_equal(together.labels, labels)
    assert (together.features != features).sum() == 0
    for batch in batches:
        if not batch.is_sparse:
            assert batch.features.flags.c_contiguous


def test_a_fifo_is_read_in_large_batches_and_bounded_memory(mode, tmp_path):
    path = tmp_path / "train_0"
    os.mkfifo(path)
    data, times = encode_records(NARROW), 10 if mode == "compiled" else 3  # message by message takes long

    def write():
        with path.open("wb", buffering=0) as fifo:
            for _ in range(times):
                for start in range(0, len(data), 10_007):
                    fifo.write(data[start : start + 10_007])

    writer = threading.Thread(target=write)
    writer.start()
    tracemalloc.start()
    with path.open("rb", buffering=0) as fifo:
        sizes = [len(batch) for batch in read_records(fifo, "train_0", RowFormat())]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    writer.join()
    assert sum(sizes) == times * len(NARROW)
    assert len(sizes) <= times * len(data) / framing.CHUNK * 1.1 + 1
    assert peak < (8 if mode == "compiled" else 12) * framing.CHUNK


def test_leaving_early_lets_the_stream_be_closed(mode):
    with io.BytesIO(encode_records(WIDE)) as stream:
        reader = read_records(stream, "x", RowFormat())
        next(reader)
        reader.close()


def test_batches_do_not_share_memory_with_the_stream(mode):
    data = encode_records(WIDE[:5])
    (batch,) = read_records(io.BytesIO(data), "x", RowFormat())
    assert batch.features.flags.owndata or batch.features.base is not None
    assert not np.may_share_memory(batch.features, np.frombuffer(data, np.uint8))


def test_an_empty_stream_has_no_batches(mode):
    assert list(read_records(io.BytesIO(), "x", RowFormat())) == []


# ---- unusual records ------------------------------------------------------------------------------------------------


def field(number, payload):
    """A protobuf field that holds bytes, by hand."""
    size = len(payload)
    assert size < 1 << 14
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + payload


def entry(value, key=b"values"):
    return field(1, key) + field(2, value)


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


UNPACKED = b"".join(b"\x0d" + floats(value) for value in (1, 2, 3))
PLAIN = field(1, floats(1, 2, 3))
LABEL = field(2, entry(field(2, field(1, floats(9)))))

UNUSUAL = {
    "unpacked": field(1, entry(field(2, UNPACKED))) + LABEL,
    "packed in two pieces": field(1, entry(field(2, field(1, floats(1)) + field(1, floats(2, 3))))) + LABEL,
    "label before features": LABEL + field(1, entry(field(2, PLAIN))),
    "value before key": field(1, field(2, field(2, PLAIN)) + field(1, b"values")) + LABEL,
    "another entry before": field(1, entry(field(2, PLAIN), b"other")) + field(1, entry(field(2, PLAIN))) + LABEL,
    "another entry after": field(1, entry(field(2, PLAIN))) + field(1, entry(field(2, b""), b"other")) + LABEL,
    "the last entry of a name wins": field(1, entry(field(2, field(1, floats(7)))))
    + field(1, entry(field(2, PLAIN)))
    + LABEL,
    "the last kind of tensor wins": field(1, entry(field(3, field(1, bytes(8))) + field(2, PLAIN))) + LABEL,
    "uid": field(1, entry(field(2, PLAIN))) + LABEL + field(3, b"row-1"),
    "texts": field(1, entry(field(2, PLAIN))) + LABEL + field(3, b"1") + field(4, b"{}") + field(5, b"x"),
    "texts first": field(4, b"{}") + field(3, b"1") + field(1, entry(field(2, PLAIN))) + LABEL,
    "text beyond ASCII": field(1, entry(field(2, PLAIN))) + LABEL + field(3, "ü".encode()),
    "unknown fields": b"\x30\x05" + field(1, entry(field(2, PLAIN) + field(15, b"?"))) + LABEL,
    "shape of a dense tensor": field(1, entry(field(2, PLAIN + field(3, b"\x03")))) + LABEL,
    "shape of two dimensions": field(1, entry(field(2, PLAIN + field(3, b"\x03\x01")))) + LABEL,
    "float64": field(1, entry(field(3, field(1, struct.pack("<3d", 1, 2, 3))))) + LABEL,
    "int32": field(1, entry(field(7, field(1, b"\x01\x02\x03")))) + LABEL,
    "long varints": field(1, entry(field(7, field(1, b"\x81\x00\x82\x80\x00\x83\x80\x80\x00")))) + LABEL,
    "long lengths": b"\x0a\x9e\x00\x0a\x86\x00values\x12\x91\x80\x00\x12\x8e\x00" + PLAIN + LABEL,
    "int64 label": field(1, entry(field(2, PLAIN))) + field(2, entry(field(7, field(1, b"\x09")))),
    "float64 label": field(1, entry(field(2, PLAIN))) + field(2, entry(field(3, field(1, struct.pack("<d", 9))))),
    "sparse": field(1, entry(field(2, PLAIN + field(2, b"\x00\x01\x02") + field(3, b"\x03")))) + LABEL,
    "sparse, unsorted": field(
        1, entry(field(2, field(1, floats(3, 1, 2)) + field(2, b"\x02\x00\x01") + b"\x1a\x01\x03"))
    )
    + LABEL,
    "sparse, keys before values": field(1, entry(field(2, field(2, b"\x00\x01\x02") + PLAIN + field(3, b"\x03"))))
    + LABEL,
    "sparse, keys unpacked": field(1, entry(field(2, PLAIN + b"\x10\x00\x10\x01\x10\x02" + field(3, b"\x03")))) + LABEL,
    "sparse, long keys": field(
        1, entry(field(2, PLAIN + field(2, b"\x80\x00\x81\x80\x00\x02") + field(3, b"\x83\x00")))
    )
    + LABEL,
    "sparse, a key twice": field(
        1, entry(field(2, field(1, floats(1, 2, 1, 2)) + field(2, b"\x00\x01\x02\x02") + field(3, b"\x03")))
    )
    + LABEL,
    "sparse, no shape": field(1, entry(field(2, PLAIN + field(2, b"\x00\x01\x02")))) + LABEL,
}
"""Ways to write the features 1, 2, 3 and the label 9."""

USUAL = field(1, entry(field(2, PLAIN))) + LABEL


@pytest.mark.parametrize("name", UNUSUAL)
def test_odd_records_mean_the_same(mode, name):
    for bodies in ([UNUSUAL[name]], [USUAL, UNUSUAL[name], USUAL, USUAL], [UNUSUAL[name], USUAL]):
        batch = read(framed(*bodies), labels="required", feature_dim=3)
        np.testing.assert_array_equal(dense(batch.features), [[1, 2, 3]] * len(bodies))
        np.testing.assert_array_equal(batch.labels, [9] * len(bodies))


def test_records_of_several_parts_are_joined(mode):
    magic = framing.MAGIC_BYTES
    record = Record()
    record.features["values"].float32_tensor.values.extend([1.0, 2.0, struct.unpack("<f", magic)[0], 3.0])
    body = record.SerializeToString()
    at = body.index(magic)
    pad = b"\x1a" + bytes([2 + -(at + 4) % 4]) + b"u" * (2 + -(at + 4) % 4)  # a uid in front aligns the word
    body = pad + body
    at = body.index(magic)
    assert at % 4 == 0
    parts = b"".join(
        magic + struct.pack("<I", flag << 29 | len(part)) + part + bytes(-len(part) % 4)
        for flag, part in ((1, body[:at]), (3, body[at + 4 :]))
    )
    whole = encode_records(np.float32([[5, 6, 7, 8]]))
    batch = read(whole + parts + whole)
    assert batch.features[:, 0].tolist() == [5, 1, 5]
    assert batch.features[1, 2].tobytes() == magic


def test_a_sparse_record_among_dense_ones_makes_its_batch_sparse_with_zeros_stored(mode):
    data = encode_records(np.float32([[0, 1, 2]])) + encode_records(sp.csr_array(np.float32([[0, 0, 5]])))
    features = read(data * 2).features
    assert isinstance(features, sp.csr_array)
    np.testing.assert_array_equal(features.toarray(), [[0, 1, 2], [0, 0, 5]] * 2)
    assert np.diff(features.indptr).tolist() == [3, 1, 3, 1]


def test_keys_come_out_sorted_and_unique(mode):
    messy = sp.csr_array((np.float32([1, 2, 4, 8, 16]), [5, 1, 5, 0, 9], [0, 3, 3, 5]), shape=(3, 10))
    features = read(encode_records(messy)).features
    assert features.has_canonical_format
    assert features.indices.tolist() == [1, 5, 0, 9]
    np.testing.assert_array_equal(features.toarray(), messy.toarray())


def test_more_features_than_an_int32_counts(mode):
    width = 2**40
    record = Record()
    tensor = record.features["values"].float32_tensor
    tensor.values.append(1.5)
    tensor.keys.append(width - 1)
    tensor.shape.append(width)
    features = read(framed(record, record)).features
    assert features.shape == (2, width)
    assert features.indices.tolist() == [width - 1] * 2


def test_a_stream_of_odd_records_only_is_read_in_full_batches(mode, monkeypatch):
    bodies = [UNUSUAL["label before features"]] * 3000
    monkeypatch.setattr(framing, "CHUNK", 1 << 15)
    data = framed(*bodies)
    batches = list(read_records(io.BytesIO(data), "x", RowFormat(labels="required")))
    assert sum(map(len, batches)) == len(bodies)
    assert len(batches) == math.ceil(len(data) / framing.CHUNK)


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
    records, stop, size, sparse, width, labels = kernel.scan(data, 0, len(data), -1, -1)
    assert (records, stop, size, sparse, width, labels) == (4, len(data), 32, 0, 8, 1)
    values, targets = np.zeros(17, np.float32), np.zeros(2, np.float32)
    assert kernel.fill(data, 0, 4, 8, 1, True, values, None, None, targets)[0] == 2
    assert values[16] == 0
    with pytest.raises(ValueError, match="do not fit"):
        kernel.fill(data, 0, 4, 8, 1, True, values, None, None, None)
    with pytest.raises(ValueError, match="do not fit"):
        kernel.fill(data, 0, 4, 8, 0, True, values, np.zeros(17, np.int32), np.zeros(4, np.int32), None)
    with pytest.raises(ValueError, match="outside"):
        kernel.scan(data, len(data) + 1, 1, -1, -1)
    with pytest.raises(BufferError):
        kernel.fill(data, 0, 4, 8, 0, True, bytes(64), None, None, None)
