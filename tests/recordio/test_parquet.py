"""Parquet files as pyarrow and pandas write them."""

import io
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recordio.content_type import parse
from recordio.errors import ParseError, ValueRangeError, WidthError
from recordio.parquet import read_parquet
from recordio.readers import ChannelStream, RowFormat, concatenate
from recordio.sources import FileSource

PARQUET = parse("application/x-parquet")
LABELLED = RowFormat(labels="required")


class Forward(io.RawIOBase):
    """A stream that cannot seek, as a FIFO cannot."""

    def __init__(self, body):
        self._body = io.BytesIO(body)

    def readable(self):
        return True

    def readinto(self, target):
        return self._body.readinto(target)


def written(table, **options):
    out = io.BytesIO()
    pq.write_table(pa.table(table) if isinstance(table, dict) else table, out, **options)
    return out.getvalue()


def read(body, rows=LABELLED):
    """The rows of a file, read as a file and from a FIFO, which must agree."""
    batch = concatenate(list(read_parquet(io.BytesIO(body), "a.parquet", rows, PARQUET)))
    piped = concatenate(list(read_parquet(io.BufferedReader(Forward(body)), "train_0", rows, PARQUET)))
    for name in ("features", "labels", "weights"):
        np.testing.assert_array_equal(getattr(piped, name), getattr(batch, name))
    return batch


def refused(body, error, rows=LABELLED):
    with pytest.raises(error) as caught:
        read(body, rows)
    return str(caught.value)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
def test_label_is_column_0(compression):
    rng = np.random.default_rng(4)
    values = rng.standard_normal((1000, 5)).astype(np.float32)
    table = {f"c{i}": values[:, i] for i in range(5)}
    batch = read(written(table, row_group_size=300, compression=compression))
    np.testing.assert_array_equal(batch.labels, values[:, 0])
    np.testing.assert_array_equal(batch.features, values[:, 1:])
    assert batch.features.flags.c_contiguous


def test_every_type_of_number():
    table = {
        "label": pa.array([1, 0], pa.int8()),
        "a": pa.array([1, 2**40], pa.int64()),
        "b": pa.array([0.5, -0.5], pa.float64()),
        "c": pa.array([True, False]),
        "d": pa.array([1, 2**32 - 1], pa.uint32()),
    }
    expected = np.float32([[1, 0.5, 1, 1], [2**40, -0.5, 0, 2**32 - 1]])
    np.testing.assert_array_equal(read(written(table)).features, expected)


def test_decimals_categories_and_columns_of_nulls_are_numbers():
    """What databases and pandas write: XGBoost's container reads them through pandas."""
    texts = ["0.1", "-12345678901234567.89", "16777217.01", None]
    prices = [None if text is None else Decimal(text) for text in texts]
    table = {
        "y": pa.array([Decimal(1), Decimal(0), Decimal(1), Decimal(0)]),
        "price": pa.array(prices, pa.decimal128(30, 2)),
        "size": pa.DictionaryArray.from_arrays(pa.array([1, 0, None, 1]), pa.array([30, 10])),
        "nothing": pa.nulls(4),
    }
    batch = read(written(table), RowFormat(labels="required", missing=True))
    expected = [[np.nan if text is None else float(text) for text in texts], [10, 30, np.nan, 10], [np.nan] * 4]
    np.testing.assert_array_equal(batch.labels, [1, 0, 1, 0])
    np.testing.assert_array_equal(batch.features, np.float32(expected).T)
    assert "column 'nothing': the value is missing" in refused(written(table), ValueRangeError)


def test_weights_come_after_the_label():
    batch = read(written({"y": [1, 0], "w": [0.5, 2.0], "x": [3, 4]}), RowFormat(labels="required", weights=True))
    np.testing.assert_array_equal(batch.weights, [0.5, 2])
    np.testing.assert_array_equal(batch.features, [[3], [4]])


def test_large_files_come_in_bounded_batches():
    table = {"y": np.zeros(6_000_000, np.float32), "x": np.arange(6_000_000, dtype=np.float32)}
    batches = list(read_parquet(io.BytesIO(written(table)), "a", LABELLED, PARQUET))
    assert max(batch.features.nbytes + batch.labels.nbytes for batch in batches) <= 2**25
    np.testing.assert_array_equal(np.concatenate([batch.features for batch in batches])[:, 0], table["x"])


def test_nulls_are_missing_values():
    body = written({"y": [1, 0], "x": [None, 2.0], "z": [1.0, 2.0]})
    batch = read(body, RowFormat(labels="required", missing=True))
    np.testing.assert_array_equal(batch.features, [[np.nan, 1], [2, 2]])
    assert refused(body, ValueRangeError) == "a.parquet, row 1, column 'x': the value is missing"


def test_nan_and_null_labels():
    loose = RowFormat(labels="required", missing=True, finite=False)
    assert "row 2, column 'y': the value is missing" in refused(
        written({"y": [1, None], "x": [1, 2]}), ValueRangeError, loose
    )
    nan = written({"y": [1, float("nan")], "x": [1, 2]})
    assert "row 2, column 'y': the value is nan" in refused(nan, ValueRangeError, loose)


def test_the_index_that_pandas_writes_is_left_out():
    table = pa.table({"y": [1, 0], "x": [3, 4], "__index_level_0__": [7, 8]})
    metadata = {b"pandas": json.dumps({"index_columns": ["__index_level_0__"]}).encode()}
    assert read(written(table.replace_schema_metadata(metadata))).features.tolist() == [[3], [4]]


def test_columns_of_later_files_are_told_by_their_names(tmp_path):
    """As pyarrow, and so SageMaker's container, reads a folder: each file may have them in an order of its own."""
    (tmp_path / "a.parquet").write_bytes(written({"y": [1, 0], "x": [3, 4], "z": [5, 6]}))
    (tmp_path / "b.parquet").write_bytes(written({"z": [7], "y": [1], "x": [8]}))
    stream = ChannelStream(FileSource(tmp_path), PARQUET, LABELLED)
    expected = pq.read_table(tmp_path).to_pandas().to_numpy()
    for _ in range(2):
        found = concatenate(list(stream.batches()))
        np.testing.assert_array_equal(np.column_stack([found.labels, found.features]), expected)
    assert concatenate(list(stream.batches(2))).features.tolist() == [[3, 5], [4, 6], [8, 7]]
    body = (tmp_path / "a.parquet").read_bytes() + (tmp_path / "b.parquet").read_bytes()
    piped = concatenate(list(read_parquet(io.BufferedReader(Forward(body)), "train_0", LABELLED, PARQUET)))
    np.testing.assert_array_equal(piped.features, expected[:, 1:])
    (tmp_path / "c.parquet").write_bytes(written({"y": [1], "x": [2], "other": [3]}))
    with pytest.raises(ParseError, match="c.parquet: lacks the column 'z', unlike the first file"):
        list(ChannelStream(FileSource(tmp_path), PARQUET, LABELLED).batches())


def test_files_that_follow_each_other_in_a_fifo():
    first, second = written({"y": [1], "x": [2]}), written({"y": [3, 5], "x": [4, 6]})
    batches = list(read_parquet(io.BufferedReader(Forward(first + second)), "train_0", LABELLED, PARQUET))
    assert concatenate(batches).labels.tolist() == [1, 3, 5]
    with pytest.raises(ParseError, match="train_0, file 2 of 2"):
        list(read_parquet(io.BufferedReader(Forward(first + second[:-9] + b"PAR1")), "train_0", LABELLED, PARQUET))


def test_an_empty_fifo_and_an_empty_table_have_no_rows():
    assert list(read_parquet(io.BufferedReader(Forward(b"")), "train_0", LABELLED, PARQUET)) == []
    empty = written({"y": pa.array([], pa.float32()), "x": pa.array([], pa.float32())})
    assert list(read_parquet(io.BytesIO(empty), "a", LABELLED, PARQUET)) == []


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array(["a"]), "string"),
        (pa.array([[1]]), "list"),
        (pa.array([{"a": 1}]), "struct"),
        (pa.array([1], pa.timestamp("s")), "timestamp"),
        (pa.array(["a"]).dictionary_encode(), "dictionary"),
    ],
)
def test_columns_must_be_numbers(column, kind):
    message = refused(written({"y": [1], "city": column}), ParseError)
    assert message.startswith(f"a.parquet: column 'city' is of type {kind}")


def test_width():
    rows = RowFormat(labels="required", feature_dim=3)
    assert "feature_dim is 3" in refused(written({"y": [1], "x": [2]}), WidthError, rows)
    assert "no features" in refused(written({"y": [1]}), WidthError)


@pytest.mark.parametrize("body", [b"1,2,3\n", b"PAR1", b"PAR1PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_what_is_not_parquet(body):
    assert "cannot be read as Parquet" in refused(body, ParseError)


def test_cut_files_are_refused():
    body = written({"y": np.arange(100), "x": np.arange(100)})
    for length in range(1, len(body), 7):
        refused(body[:length], ParseError)


@pytest.mark.parametrize("group_rows", [1, 7, 1000])
def test_row_groups_of_any_size_give_the_same_rows(monkeypatch, group_rows):
    monkeypatch.setattr("recordio.parquet._READ_VALUES", 120)
    monkeypatch.setattr("recordio.parquet._BATCH_VALUES", 60)
    values = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    sink = io.BytesIO()
    pq.write_table(pa.table(dict(zip("abc", values.T, strict=True))), sink, group_rows)
    sink.seek(0)
    read = list(read_parquet(sink, "x", RowFormat(), PARQUET))
    assert max(len(batch) for batch in read) <= 20
    np.testing.assert_array_equal(np.concatenate([batch.features for batch in read]), values)


def test_wide_rows_with_nulls_in_parts(monkeypatch):
    monkeypatch.setattr("recordio.parquet._READ_VALUES", 151 * 40)
    monkeypatch.setattr("recordio.parquet._BATCH_VALUES", 151 * 7)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(100, 151)).astype(np.float32)
    absent = (rng.random(values.shape) < 0.1) & (np.arange(151) % 3 == 1)
    body = written({f"c{i}": pa.array(values[:, i], mask=absent[:, i]) for i in range(151)})
    batch = read(body, RowFormat(labels="required", missing=True))
    np.testing.assert_array_equal(batch.labels, values[:, 0])
    np.testing.assert_array_equal(batch.features, np.where(absent, np.nan, values)[:, 1:])
    row, column = np.argwhere(absent)[0]
    assert refused(body, ValueRangeError) == f"a.parquet, row {row + 1}, column 'c{column}': the value is missing"
    values[93, 140] = np.inf
    body = written({f"c{i}": values[:, i] for i in range(151)})
    assert refused(body, ValueRangeError).startswith("a.parquet, row 94, column 'c140': the value is inf")


def test_a_small_file_of_many_rows_takes_little_memory(tmp_path):
    """Of equal values, a few kilobytes of Parquet say millions."""
    pq.write_table(pa.table({"a": pa.array(np.zeros(3_000_000))}), file := tmp_path / "rows.parquet")
    assert file.stat().st_size < 100_000
    pool, before = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        with file.open("rb") as stream:
            read = read_parquet(stream, "rows", RowFormat(), PARQUET)
            assert sum(map(len, read)) == 3_000_000
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < 16 << 20  # 24 MB at once
