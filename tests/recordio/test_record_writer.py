"""Writers, against files that the SageMaker SDK wrote and against google's protobuf library."""

import doctest
import io
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recordio import record_writer
from recordio.framing import frames
from recordio.record_message import Record
from recordio.record_writer import encode_columns, encode_records
from tests.golden.recordio.make import CASES, FOLDER


def parsed(data):
    return [Record.FromString(body) for body in frames(io.BytesIO(data), "x")]


def by_messages(features, labels, shape):
    """The records as plain protobuf code writes them, one by one."""
    made = []
    for i in range(features.shape[0]):
        record = Record()
        if sp.issparse(features):
            row = slice(features.indptr[i], features.indptr[i + 1])
            record.features["values"].float32_tensor.values.extend(features.data[row].tolist())
            record.features["values"].float32_tensor.keys.extend(features.indices[row].tolist())
            record.features["values"].float32_tensor.shape.extend(shape)
        else:
            record.features["values"].float32_tensor.values.extend(features[i].tolist())
        if labels is not None:
            record.label["values"].float32_tensor.values.extend(np.atleast_1d(labels[i]).tolist())
        made.append(record.SerializeToString())
    return made


@pytest.mark.parametrize("name", CASES)
def test_bytes_equal_the_sdks(name):
    features, labels = CASES[name]
    assert encode_records(features, labels) == (FOLDER / f"{name}.pbr").read_bytes()


@given(
    features=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=70)),
    label_size=st.sampled_from([None, 0, 1, 2, 40]),  # 0: shape (n,)
)
def test_dense_rows_equal_protobufs_own_bytes(features, label_size):
    shape = (len(features), label_size) if label_size else len(features)
    labels = None if label_size is None else np.ones(shape, np.float32)
    expected = by_messages(features, labels, [])
    assert list(frames(io.BytesIO(encode_records(features, labels)), "x")) == expected


@given(data=st.data(), width=st.sampled_from([1, 127, 128, 129, 20_000, 3_000_000]), label_size=st.integers(0, 2))
def test_sparse_rows_equal_protobufs_own_bytes(data, width, label_size):
    key = st.integers(0, width - 1)
    rows = data.draw(st.lists(st.lists(key, max_size=data.draw(st.sampled_from([3, 60])), unique=True), max_size=8))
    indptr = np.cumsum([0, *map(len, rows)])
    indices = np.array([key for row in rows for key in row], np.int32)
    features = sp.csr_array((np.arange(len(indices), dtype=np.float32), indices, indptr), shape=(len(rows), width))
    labels = np.ones((len(rows), label_size), np.float32) if label_size else None
    expected = by_messages(features, labels, [width])
    for kernel in {record_writer.kernel, None}:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(record_writer, "kernel", kernel)
            assert list(frames(io.BytesIO(encode_records(features, labels)), "x")) == expected


@pytest.mark.skipif(record_writer.kernel is None, reason="the compiled code was not built")
@pytest.mark.parametrize(("type_", "label_type"), [("f4", "f4"), ("f4", ">f8"), ("f8", "f4"), ("f8", None)])
def test_compiled_and_plain_code_write_the_same_sparse_rows(monkeypatch, type_, label_type):
    rng = np.random.default_rng(0)
    features = sp.random_array((500, 40_000), density=0.01, format="csr", rng=rng).astype(type_)
    features = sp.csr_array(sp.vstack([features[7:9], features, sp.csr_array((3, 40_000), dtype=type_)]))
    labels = None if label_type is None else rng.normal(size=(features.shape[0], 3)).astype(label_type)
    compiled = encode_records(features, labels)
    monkeypatch.setattr(record_writer, "kernel", None)
    assert compiled == encode_records(features, labels)


def test_the_compiled_writer_reads_within_its_arrays():
    kernel = pytest.importorskip("recordio._kernel")
    data, indices, bounds = np.ones(3, np.float32), np.arange(3, dtype=np.int32), np.array([0, 2, 3])
    assert kernel.sparse(data, 4, indices, bounds, 9, b"", b"", 99) is not None
    for wrong in ([0, 2, 4], [0, 2, 1], [-1, 2, 3], [5, 5, 5]):
        assert kernel.sparse(data, 4, indices, np.array(wrong), 9, b"", b"", 99) is None
    assert kernel.sparse(data[:2], 4, indices, bounds, 9, b"", b"", 99) is None
    for size, wrong, labels in ((2, bounds, b""), (4, bounds[:1], b""), (4, bounds[:0], b""), (4, bounds, b"123")):
        with pytest.raises(ValueError, match="do not fit"):
            kernel.sparse(data, size, indices, wrong, 9, b"", labels, 99)


def test_float64_and_integers_keep_their_kind():
    sparse = sp.csr_array(np.array([[0.0, 0.1]]))
    assert parsed(encode_records(sparse))[0].features["values"].float64_tensor.values == [0.1]
    mixed = parsed(encode_records(np.float32([[0.5]]), np.array([7])))[0]
    assert mixed.features["values"].float32_tensor.values == [0.5]
    assert mixed.label["values"].int32_tensor.values == [7]


def test_no_rows_are_no_bytes():
    assert encode_records(np.empty((0, 3), np.float32)) == b""
    assert encode_records(sp.csr_array((0, 3), dtype=np.float32), np.empty(0, np.float32)) == b""
    assert encode_columns({"score": np.empty(0)}) == b""


def test_views_and_other_byte_orders_are_written_as_their_values():
    features = np.arange(24, dtype=">f4").reshape(4, 6)[::2, ::3]
    assert encode_records(features) == encode_records(np.float32([[0, 3], [12, 15]]))


def test_sparse_formats_other_than_csr_are_converted():
    features = np.float32([[0, 1], [2, 0]])
    assert encode_records(sp.coo_matrix(features)) == encode_records(sp.csr_array(features))


def test_columns_become_entries_of_the_label_map():
    columns = {
        "closest_cluster": np.array([1, 2]),
        "distance_to_cluster": np.array([0.5, 3.0]),
        "all_distances": np.arange(300.0).reshape(2, 150),
    }
    records = parsed(encode_columns(columns))
    assert len(records) == 2
    for i, record in enumerate(records):
        assert not record.features
        assert set(record.label) == set(columns)
        for name, values in columns.items():
            assert record.label[name].float32_tensor.values == np.atleast_1d(values[i]).tolist()


@pytest.mark.parametrize(
    ("features", "labels", "text"),
    [
        (np.zeros(3, np.float32), None, r"features must have shape \(n, d\), got \(3,\)"),
        (
            np.zeros((3, 2), np.float32),
            np.zeros(2, np.float32),
            r"labels must have shape \(3,\) or \(3, m\), got \(2,\)",
        ),
        (np.zeros((3, 2), np.float16), None, "not float16"),
        (np.zeros((3, 2), np.float32), np.array(["a", "b", "c"]), "float32, float64 or integers"),
        (np.array([[2**31]]), None, "2147483648"),
    ],
)
def test_what_no_record_can_hold_is_refused(features, labels, text):
    with pytest.raises(ValueError, match=text):
        encode_records(features, labels)


def test_columns_must_exist_and_agree_in_length():
    with pytest.raises(ValueError, match="at least one column"):
        encode_columns({})
    with pytest.raises(ValueError, match=r"b must have shape \(2,\)"):
        encode_columns({"a": np.zeros(2), "b": np.zeros(3)})


def test_a_row_too_long_for_a_frame_is_refused(monkeypatch):
    for module in ("record_writer", "framing"):
        monkeypatch.setattr(f"recordio.{module}.MAX_LENGTH", 100)
    for features in (np.zeros((1, 30), np.float32), sp.csr_array(np.ones((1, 30), np.float32))):
        with pytest.raises(ValueError, match="holds at most 100 bytes, (a row needs|got) 1"):
            encode_records(features)


def test_the_readme_tells_the_truth_about_the_format():
    readme = Path(__file__).resolve().parents[2] / "recordio" / "README.md"
    failed, tried = doctest.testfile(str(readme), module_relative=False)
    assert (failed, tried > 10) == (0, True)
