"""CSV beside pyarrow's reader, Python's csv module and values written by hand."""

import csv
import io

import numpy as np
import pyarrow.csv
import pytest

from recordio import text
from recordio.content_type import parse
from recordio.csv_rows import read_csv
from recordio.errors import ContentTypeError, DataError, ParseError, RaggedRowError, ValueRangeError, WidthError
from recordio.readers import RowFormat, concatenate, decode

PLAIN = RowFormat()
LABELLED = RowFormat(labels="required")
GAPS = RowFormat(missing=True)


def read(body, rows=PLAIN, content_type="text/csv"):
    """The rows of a body, read as a file and as a request, which must agree."""
    batch = decode(body, parse(content_type), rows)
    streamed = concatenate(list(read_csv(io.BytesIO(body), "a.csv", rows, parse(content_type))))
    for name in ("features", "labels", "weights"):
        np.testing.assert_array_equal(getattr(streamed, name), getattr(batch, name))
    return batch


def refused(body, error, rows=PLAIN, content_type="text/csv"):
    """The message with which a file of that body is refused; as a request it is refused too."""
    with pytest.raises(error):
        decode(body, parse(content_type), rows)
    with pytest.raises(error) as caught:
        list(read_csv(io.BytesIO(body), "a.csv", rows, parse(content_type)))
    return str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"1,2.5\n-3,4e-1\n",
        b"1,2.5\n-3,.4",
        b"1,2.5\r\n-3,0.4\r\n",
        b"\xef\xbb\xbf1,2.5\n-3,0.4\n",
        b"\n\n1,2.5\n \t\n-3,0.4\n\n\n",
        b" 1 ,\t2.5\n-3 , 0.4 \n",
        b'"1","2.5"\n"-3" , "0.4"\n',
        b"+1,2.5E0\n-3.,00.40\n",
    ],
)
def test_spellings_of_the_same_rows(body):
    np.testing.assert_array_equal(read(body).features, np.float32([[1, 2.5], [-3, 0.4]]))


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig"])
def test_charset_of_the_content_type(charset):
    body = "1,2.5\r\n-3,0.4\r\n".encode(charset)
    assert read(body, content_type=f"text/csv; charset={charset}").features[1, 0] == -3


def test_floats_are_those_of_pyarrow_to_the_last_bit():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((500, 7)) * 10.0 ** rng.integers(-40, 35, (500, 7))
    body = "\n".join(",".join(map(repr, row)) for row in values.tolist()).encode()
    names = [str(i) for i in range(7)]
    table = pyarrow.csv.read_csv(
        io.BytesIO(body),
        pyarrow.csv.ReadOptions(column_names=names),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.float32())),
    )
    expected = np.column_stack([column.to_numpy() for column in table.columns])
    np.testing.assert_array_equal(read(body).features, expected)
    np.testing.assert_allclose(expected, values, rtol=1e-6, atol=1e-45)


def test_what_pythons_csv_module_writes_is_read():
    rng = np.random.default_rng(2)
    values = rng.integers(-99, 99, (20, 5)) / 4
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(values.tolist())
    np.testing.assert_array_equal(read(out.getvalue().encode()).features, values)


def test_blocks_are_cut_between_lines(monkeypatch):
    body = b"".join(b"%d,%d\n" % (i, i * i) for i in range(1000))
    small = list(text.blocks(io.BytesIO(body), "a.csv", parse("csv"), size=100))
    assert len(small) > 50
    assert b"".join(block.text for block in small) == body
    assert [block.line for block in small[:2]] == [1, 1 + small[0].text.count(b"\n")]


def test_a_line_may_be_longer_than_a_block():
    width = 300_000
    body = b"\n".join([b",".join([b"12.25"] * width)] * 2)
    assert len(body) > 3 * text.BLOCK_BYTES
    assert read(body).features.shape == (2, width)


def test_text_without_line_ends_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(text, "LINE_LIMIT", 1000)
    blocks = text.blocks(io.BytesIO(b"1" * 5000), "a.csv", parse("csv"), size=100)
    with pytest.raises(ParseError, match=r"a\.csv: no line end within 1000 bytes"):
        list(blocks)


class TestLabels:
    def test_one_label_where_labels_are_required(self):
        batch = read(b"7,1,2\n8,3,4\n", LABELLED)
        np.testing.assert_array_equal(batch.labels, [7, 8])
        np.testing.assert_array_equal(batch.features, [[1, 2], [3, 4]])

    def test_label_size_of_the_content_type_wins(self):
        batch = read(b"7,1,2\n8,3,4\n", LABELLED, "text/csv; label_size=2")
        np.testing.assert_array_equal(batch.labels, [[7, 1], [8, 3]])
        np.testing.assert_array_equal(batch.features, [[2], [4]])

    def test_labels_that_nobody_needs_are_left_out(self):
        batch = read(b"7,1,2\n", PLAIN, "text/csv; label_size=1")
        assert batch.labels is None
        np.testing.assert_array_equal(batch.features, [[1, 2]])

    @pytest.mark.parametrize(("body", "features"), [(b"1,2\n", [[1, 2]]), (b"7,1,2\n", [[1, 2]])])
    def test_without_label_size_the_width_decides(self, body, features):
        np.testing.assert_array_equal(read(body, RowFormat(feature_dim=2)).features, features)

    def test_the_only_label_size_of_the_algorithm(self):
        only_one = RowFormat(labels="required", label_size=1)
        assert read(b"7,1,2\n", only_one, "text/csv; label_size=1").labels == 7
        message = refused(b"7,1,2\n", ContentTypeError, only_one, "text/csv; label_size=0")
        assert "label_size=0 is not an accepted csv ContentType" in message
        assert "must be equal to 1" in message

    def test_that_label_size_says_nothing_of_requests_without_labels(self):
        rows = RowFormat(feature_dim=2, label_size=1)
        np.testing.assert_array_equal(read(b"1,2\n", rows, "text/csv; label_size=1").features, [[1, 2]])

    def test_no_labels_where_they_are_required(self):
        assert "label_size is 0" in refused(b"1,2\n", ContentTypeError, LABELLED, "text/csv; label_size=0")

    def test_weights_come_after_the_label(self):
        batch = read(b"7,0.5,1,2\n8,2,3,4\n", RowFormat(labels="required", weights=True))
        np.testing.assert_array_equal(batch.labels, [7, 8])
        np.testing.assert_array_equal(batch.weights, [0.5, 2])
        np.testing.assert_array_equal(batch.features, [[1, 2], [3, 4]])

    def test_batches_do_not_share_memory_between_labels_and_features(self):
        batch = read(b"7,1,2\n8,3,4\n", LABELLED)
        assert batch.features.flags.c_contiguous
        assert batch.features.dtype == batch.labels.dtype == np.float32


class TestMissing:
    @pytest.mark.parametrize("body", [b"1,,3\n", b"1, ,3\n", b'1,"",3\n'])
    def test_empty_field(self, body):
        np.testing.assert_array_equal(read(body, GAPS).features, [[1, np.nan, 3]])
        assert refused(body, ValueRangeError) == "a.csv, line 1, column 2: the value is missing"

    def test_first_and_last_field(self):
        np.testing.assert_array_equal(read(b",2\n1,\n", GAPS).features, [[np.nan, 2], [1, np.nan]])

    def test_missing_is_not_nan(self):
        message = refused(b"1,,3\n4,5,nan\n", ValueRangeError, GAPS)
        assert message == "a.csv, line 2, column 3: the value is nan; it must be a finite number"

    def test_nan_and_infinity_where_they_are_allowed(self):
        rows = RowFormat(finite=False)
        np.testing.assert_array_equal(read(b"nan,inf,-Infinity\n", rows).features, [[np.nan, np.inf, -np.inf]])

    @pytest.mark.parametrize("label", [b"", b"nan", b"inf"])
    def test_labels_are_finite_in_any_case(self, label):
        message = refused(
            b"1,2,3\n" + label + b",2,3\n",
            ValueRangeError,
            RowFormat(labels="required", missing=True, finite=False),
        )
        assert message.startswith("a.csv, line 2, column 1")

    def test_numbers_too_large_for_float32_are_infinite(self):
        assert "column 2: the value is inf" in refused(b"1,1e39\n", ValueRangeError)


class TestErrors:
    def test_header(self):
        message = refused(b"age,height\n1,2\n", ParseError)
        assert "a.csv, line 1: 'age,height' looks like a header" in message

    @pytest.mark.parametrize(("row", "width"), [(b"1,2", 2), (b"1,2,3,4", 4)])
    def test_ragged_row(self, row, width):
        message = refused(b"1,2,3\n\n" + row + b"\n1,2,3\n", RaggedRowError)
        assert message == f"a.csv, line 3: {width} fields, but the rows before it have 3"

    def test_rows_of_swapped_widths_are_not_equal_on_average(self):
        refused(b"1,2\n1,2,3\n1\n", RaggedRowError)

    def test_ragged_row_in_a_later_block(self):
        body = b"1,2,3\n" * 400_000
        message = refused(body + b"1,2\n", RaggedRowError)
        assert message == "a.csv, line 400001: 2 fields, but the rows before it have 3"

    def test_a_later_block_of_another_width(self):
        body = b"1,2,3\n" * (text.BLOCK_BYTES // 6 + 1)
        message = refused(body + b"1,2\n" * text.BLOCK_BYTES, RaggedRowError)
        assert message == f"a.csv, line {text.BLOCK_BYTES // 6 + 2}: 2 fields, but the rows before it have 3"

    @pytest.mark.parametrize(
        ("row", "column", "shown"),
        [
            (b"1,x,3", 2, "'x'"),
            (b"1,2,1_000", 3, "'1_000'"),
            (b"1,2,0x10", 3, "'0x10'"),
            (b"1,\xff,3", 2, r"'\\xff'"),
            (b"1,2\x00,3", 2, r"'2\x00'"),
            (b'1,"2,5"', 2, "'\"2'"),
            (b"1,2,3 4", 3, "'3 4'"),
            (b"1,NA,3", 2, "'NA'"),
        ],
    )
    def test_what_is_not_a_number(self, row, column, shown):
        message = refused(b"1,2,3\n" + row + b"\n", ParseError)
        assert message.startswith(f"a.csv, line 2, column {column}: {shown} is not a number")

    def test_another_delimiter(self):
        message = refused(b"1;2;3\n", ParseError)
        assert "'1;2;3' is not a number" in message
        assert "'text/csv; delimiter=semicolon'" in message

    def test_a_decimal_comma_is_not_two_fields(self):
        message = refused(b"1;2\n1,5;2\n", ParseError, content_type="text/csv; delimiter=;")
        assert message == "a.csv, line 2, column 1: '1,5' is not a number"
        refused(b"1,\t2\n", ParseError, content_type="text/csv; delimiter=tab")

    def test_a_header_with_another_delimiter(self):
        assert "looks like a header" in refused(b"age;size\n1;2\n", ParseError, content_type="text/csv; delimiter=;")

    def test_long_fields_are_not_repeated_at_length(self):
        assert len(refused(b"1," + b"x" * 100_000 + b"\n", ParseError)) < 200

    def test_width_that_feature_dim_does_not_say(self):
        message = refused(b"1,2,3\n", WidthError, RowFormat(feature_dim=5))
        assert "3 features, but feature_dim is 5" in message
        assert "label_size" in message

    def test_label_size_is_part_of_the_width(self):
        message = refused(b"1,2,3\n", WidthError, RowFormat(feature_dim=3), "text/csv; label_size=1")
        assert "1 label and 2 features, but feature_dim is 3" in message

    def test_labels_only(self):
        assert "no features" in refused(b"1\n2\n", WidthError, LABELLED)

    def test_gzip(self):
        assert "gzip" in refused(b"\x1f\x8b\x08\x00", ParseError)

    def test_broken_charset(self):
        refused(b"1\x00,\x002", DataError, content_type="text/csv; charset=utf-16-le")

    def test_a_long_run_of_blanks_takes_no_longer_than_other_text(self):
        assert read(b"1," + b" " * 3_000_000 + b"2\n").features.tolist() == [[1, 2]]
        refused(b"1," + b" " * 1_000_000 + b"x\n", ParseError)


@pytest.mark.parametrize(
    ("content_type", "delimiter"),
    [
        ('text/csv; delimiter=";"', ";"),
        ("text/csv;delimiter=;", ";"),
        ("text/csv; delimiter=;; label_size=0", ";"),
        ("text/csv; Delimiter=Semicolon", ";"),
        ("text/csv; delimiter=|", "|"),
        ('text/csv; delimiter="\t"', "\t"),
        ("text/csv; delimiter=\\t", "\t"),
        ('text/csv; delimiter="\\t"', "\t"),
        ("text/csv; delimiter=tab", "\t"),
        ("text/csv; delimiter=space", " "),
        ('text/csv; delimiter=" "', " "),
        ('text/csv; delimiter=","', ","),
    ],
)
def test_delimiters_of_the_content_type(content_type, delimiter):
    table = np.random.default_rng(0).normal(size=(50, 7)).astype("f4")
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(table.tolist()[:25])
    csv.writer(stream, delimiter=delimiter).writerows(table.tolist()[25:])
    body = stream.getvalue().encode()
    np.testing.assert_array_equal(read(body, content_type=content_type).features, table)
    np.testing.assert_array_equal(read(body, content_type=str(parse(content_type))).features, table)


def test_missing_values_between_other_delimiters():
    for delimiter in (";", "|", "\t"):
        body = delimiter.join(["1", "", "3"]).encode()
        found = read(body, GAPS, f'text/csv; delimiter="{delimiter}"')
        np.testing.assert_array_equal(found.features, [[1, np.nan, 3]])


def test_columns_that_are_aligned_with_spaces():
    found = read(b"  1   2.5  3\n 10  -2    3 \n", content_type="text/csv; delimiter=space")
    np.testing.assert_array_equal(found.features, [[1, 2.5, 3], [10, -2, 3]])


@pytest.mark.parametrize("delimiter", ["x", "1", ".", "-", '""', "ab", '":"'])
def test_delimiters_that_cannot_be(delimiter):
    assert "delimiter" in refused(b"1\n", ContentTypeError, content_type=f"text/csv; delimiter={delimiter}")
