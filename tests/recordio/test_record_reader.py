"""Chunked reading equals message-by-message reading, for good and unusual records, compiled and not."""

import io
import math
import os
import struct
import threading
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

from recordio import framing
from recordio.batches import concatenate
from recordio.record_message import Record
from recordio.record_reader import read_records
from recordio.record_writer import encode_records
from recordio.rows import RowFormat
from tests.golden.recordio.make import CASES, FOLDER
from tests.recordio.record_cases import NARROW, SPARSE, UNUSUAL, USUAL, WIDE, framed, read


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
    data, times = encode_records(NARROW), 10 if mode == "compiled" else 2  # message by message takes long

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


@pytest.mark.parametrize(("missing", "stored"), [(True, [3, 2, 3, 2]), (False, [2, 1, 2, 1])])
def test_zeros_are_stored_in_a_sparse_batch_where_what_is_absent_is_missing(mode, missing, stored):
    """Those of dense records among sparse ones, and those that a sparse record states, of either sign."""
    stated = sp.csr_array((np.float32([-0.0, 5]), [1, 2], [0, 2]), shape=(1, 3))
    features = read((encode_records(np.float32([[0, 1, 2]])) + encode_records(stated)) * 2, missing=missing).features
    assert isinstance(features, sp.csr_array)
    np.testing.assert_array_equal(features.toarray(), [[0, 1, 2], [0, 0, 5]] * 2)
    assert np.diff(features.indptr).tolist() == stored


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
