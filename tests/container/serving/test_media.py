"""Negotiation against the examples of RFC 9110, and written responses against the standard library's parsers."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.interface import CSV, JSON, JSON_LINES, RECORDIO
from container.serving import dialects, media
from container.serving.responses import EmptyBodyError, NotAcceptableError, UnsupportedTypeError
from recordio.errors import ContentTypeError, DataError
from recordio.record_pb2 import Record
from tests.container.fakes import Fake, LikeXGBoost

DIALECTS = {fake: dialects.find(fake.serving.dialect) for fake in (Fake, LikeXGBoost)}
ANSWERS = (JSON, JSON_LINES, RECORDIO, CSV)


def read(body, header, algorithm, feature_dim):
    declared = media.request_type(body, header, algorithm.serving, DIALECTS[algorithm])
    return media.read(body, declared, algorithm.serving, feature_dim)


FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("text/csv", CSV),
        ("TEXT/CSV; header=absent", CSV),
        ("application/jsonlines", JSON_LINES),
        ("application/x-recordio-protobuf", RECORDIO),
        ("recordio-protobuf", RECORDIO),
        ("text/*", CSV),
        ("application/*", JSON),
        ("image/png, text/csv", CSV),
        ("text/csv;q=0.4, application/jsonlines;q=0.9", JSON_LINES),
        ("text/csv ; Q=0.4 , application/jsonlines ; q=0.9", JSON_LINES),
        ("text/csv, application/json", CSV),  # equal: what the client names first
        ("application/json;q=0.5, */*;q=0.5", JSON),
        ("*/*, text/csv", CSV),  # equal: the more specific
        ("*/*;q=0.1, text/csv;q=0.2", CSV),
        ("application/json;q=0, */*", JSON_LINES),  # the most specific range says how welcome an answer is
        ("application/*;q=0.2, text/*;q=0.3, */*;q=1.0, text/csv;q=0.1", JSON),
        ("text/csv;q=nonsense, application/jsonlines;q=0.001", JSON_LINES),
        ("text/csv;q=1.5, application/json", JSON),
        (", ,text/csv,", CSV),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON),  # what Java's HttpURLConnection sends by itself
        ("text/csv;q=.1, application/jsonlines;q=.2", JSON_LINES),
    ],
)
def test_accept_is_negotiated_as_the_standard_says(header, expected):
    assert media.negotiate(header, ANSWERS, JSON) == expected


@pytest.mark.parametrize("header", ["image/png", "text/html, */xml", "text/csv;q=0", "*/*;q=0", "application", "a/b/c"])
def test_what_cannot_be_made_is_not_acceptable(header):
    with pytest.raises(NotAcceptableError) as caught:
        media.negotiate(header, ANSWERS, JSON)
    assert header in str(caught.value)
    assert all(answer in str(caught.value) for answer in ANSWERS)


@pytest.mark.parametrize("header", ["text/csv", "TEXT/CSV; charset=utf-8", "text/*", "image/png, text/csv;q=0.1"])
def test_the_default_answers_what_is_tolerated(header):
    """Issue 993 of aws/sagemaker-python-sdk: a linear learner accepted text/csv, and answered JSON."""
    assert media.negotiate(header, (JSON, JSON_LINES), JSON, (CSV,)) == JSON
    assert media.negotiate(f"{header}, {JSON_LINES};q=0.1", (JSON, JSON_LINES), JSON, (CSV,)) == JSON_LINES


@pytest.mark.parametrize("header", ["image/png", "text/csv;q=0", "text/html"])
def test_what_is_not_tolerated_is_not_acceptable(header):
    with pytest.raises(NotAcceptableError):
        media.negotiate(header, (JSON, JSON_LINES), JSON, (CSV,))


def test_the_default_answers_what_does_not_matter_to_the_client():
    assert media.negotiate("*/*;q=0.3", ANSWERS, CSV) == CSV
    assert media.negotiate("application/*", ANSWERS, CSV) == JSON


@given(st.text())
def test_any_accept_header_is_answered_or_refused(header):
    with contextlib.suppress(NotAcceptableError):
        assert media.negotiate(header, ANSWERS, JSON) in ANSWERS


@given(st.lists(FLOATS, min_size=1, max_size=200))
def test_numbers_come_back_as_they_were(values):
    array = np.array(values, np.float32)
    texts = media.numbers(array)
    np.testing.assert_array_equal(np.array(texts, np.float32), array)
    assert all("." in text or "e" in text for text in texts if math.isfinite(float(text)))


@pytest.mark.parametrize("n", [1, 1000])
def test_numbers_have_no_more_digits_than_needed(n):
    assert set(media.numbers(np.full(n, 0.1, np.float32))) == {"0.1"}
    assert set(media.numbers(np.full(n, 0.1, np.float64))) == {"0.1"}
    assert set(media.numbers(np.full(n, 3, np.float32))) == {"3.0"}
    assert set(media.numbers(np.full(n, 3, np.int64))) == {"3"}
    assert set(media.numbers(np.full(n, -0.0, np.float32))) == {"-0.0"}


@pytest.mark.parametrize("exponent", range(-12, 13))
def test_whole_numbers_look_the_same_in_small_and_large_answers(exponent):
    values = np.full(1000, 10.0**exponent, np.float32)
    assert float(media.numbers(values)[0]) == float(media.numbers(values[:1])[0]) == pytest.approx(10.0**exponent)
    assert media.numbers(values)[0].count(".") <= 1


def columns(n):
    return {
        "total": np.arange(n, dtype=np.float32) / 8,
        "ends": np.arange(2 * n, dtype=np.float32).reshape(n, 2),
    }


def test_documented_forms_of_k_means():
    """The examples of SageMaker's documentation, to the byte."""
    answer = {
        "closest_cluster": np.array([1, 2], np.float32),
        "distance_to_cluster": np.array([3, 5], np.float32),
    }

    def written(media_type):
        return media.write(answer, media_type, Fake.serving, DIALECTS[Fake])

    assert written(JSON) == (
        b'{"predictions": [{"closest_cluster": 1.0, "distance_to_cluster": 3.0}, '
        b'{"closest_cluster": 2.0, "distance_to_cluster": 5.0}]}'
    )
    assert written(JSON_LINES) == (
        b'{"closest_cluster": 1.0, "distance_to_cluster": 3.0}\n{"closest_cluster": 2.0, "distance_to_cluster": 5.0}\n'
    )
    assert written(CSV) == b"1.0,3.0\n2.0,5.0\n"


@pytest.mark.parametrize("n", [0, 1, 3, 500])
def test_every_format_holds_the_same(n):
    answer = columns(n)
    expected = [
        {"total": float(total), "ends": ends.tolist()}
        for total, ends in zip(answer["total"], answer["ends"], strict=True)
    ]
    assert json.loads(media.write(answer, JSON, Fake.serving, DIALECTS[Fake])) == {"predictions": expected}
    lines = media.write(answer, JSON_LINES, Fake.serving, DIALECTS[Fake]).decode().splitlines()
    assert [json.loads(line) for line in lines] == expected
    rows = list(csv.reader(io.StringIO(media.write(answer, CSV, Fake.serving, DIALECTS[Fake]).decode())))
    assert [[float(field) for field in row] for row in rows] == [[row["total"], *row["ends"]] for row in expected]
    found = [
        {"total": record.label["total"].float32_tensor.values[0], "ends": [*record.label["ends"].float32_tensor.values]}
        for record in records_of(media.write(answer, RECORDIO, Fake.serving, DIALECTS[Fake]))
    ]
    assert found == expected


def records_of(body):
    """The messages of a RecordIO body, by the format's definition and Google's parser."""
    messages = []
    while body:
        assert body[:4] == bytes.fromhex("0a23d7ce")
        length = int.from_bytes(body[4:8], "little")
        messages.append(Record.FromString(body[8 : 8 + length]))
        body = body[8 + (length + 3) // 4 * 4 :]
    return messages


@pytest.mark.parametrize("n", [3, 300])
def test_what_is_not_finite_is_written_as_python_does(n):
    values = np.tile(np.array([np.nan, np.inf, -np.inf], np.float32), n // 3)
    body = media.write({"score": values}, JSON, Fake.serving, DIALECTS[Fake])
    assert body.startswith(b'{"predictions": [{"score": NaN}, {"score": Infinity}, {"score": -Infinity}')
    scores = [row["score"] for row in json.loads(body)["predictions"]]
    np.testing.assert_array_equal(scores, values)
    assert media.write({"score": values[:3]}, CSV, Fake.serving, DIALECTS[Fake]) == b"nan\ninf\n-inf\n"


def test_deeper_values_are_flattened_in_c_order():
    cube = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert media.write({"x": cube}, CSV, Fake.serving, DIALECTS[Fake]) == b"0.0,1.0,2.0,3.0\n4.0,5.0,6.0,7.0\n"


def test_xgboost_writes_a_line_a_row_and_lists_in_batch():
    """As its container does: csv.writer outside of batch transform, str() of each prediction in it."""
    scores = {"score": np.array([0.25, 0.5], np.float32)}
    classes = {"score": np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)}
    assert media.write(scores, CSV, LikeXGBoost.serving, DIALECTS[LikeXGBoost]) == b"0.25\n0.5\n"
    assert media.write(scores, CSV, LikeXGBoost.serving, DIALECTS[LikeXGBoost], batch=True) == b"0.25\n0.5\n"
    assert media.write(classes, CSV, LikeXGBoost.serving, DIALECTS[LikeXGBoost]) == b"0.25,0.75\n0.5,0.5\n"
    assert (
        media.write(classes, CSV, LikeXGBoost.serving, DIALECTS[LikeXGBoost], batch=True)
        == b"[0.25, 0.75]\n[0.5, 0.5]\n"
    )


def test_selected_outputs_are_written_as_xgboost_does():
    selected = {
        "label": np.array([1, 0]),
        "pair": np.array([[0.25, 0.75], [0.5, 0.5]]),
        "other": np.array([np.nan, np.nan]),
    }

    def written(media_type, *, batch=False):
        return media.write_selected(selected, media_type, LikeXGBoost.serving, DIALECTS[LikeXGBoost], batch=batch)

    assert written(JSON) == (
        b'{"predictions": [{"label": 1, "pair": [0.25, 0.75], "other": NaN}, '
        b'{"label": 0, "pair": [0.5, 0.5], "other": NaN}]}'
    )
    assert written(CSV) == b'1,"[0.25, 0.75]",nan\n0,"[0.5, 0.5]",nan'
    assert written(CSV, batch=True) == b'1,"[0.25, 0.75]",nan\n0,"[0.5, 0.5]",nan\n'
    assert [len(record.label) for record in records_of(written(RECORDIO))] == [3, 3]


CSV_ROWS = b"1,2,3\n4,5,6\n"


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("text/csv", CSV_ROWS),
        ("text/csv; charset=utf-8", CSV_ROWS),
        ("Text/CSV;label_size=0", CSV_ROWS),
        ("text/csv; label_size=1", b"0,1,2,3\n0,4,5,6\n"),
        ("text/csv", b"1,2,3\r\n4,5,6"),
        ("application/json", b'{"instances": [{"features": [1, 2, 3]}, {"features": [4, 5, 6]}]}'),
        (
            "application/json",
            b'{"instances": [{"data": {"features": {"values": [1, 2, 3]}}}, {"features": [4, 5, 6]}]}',
        ),
        ("application/jsonlines", b'{"features": [1, 2, 3]}\n{"data": {"features": {"values": [4, 5, 6]}}}\n'),
        (
            "application/jsonlines; charset=utf8",
            b'{"data": {"features": {"keys": [0, 1, 2], "shape": [3], "values": [1, 2, 3]}}}\n'
            b'{"data": {"features": {"keys": [2, 1, 0], "shape": [3], "values": [6, 5, 4]}}}',
        ),
    ],
)
def test_requests_are_read(header, body):
    batch = read(body, header, Fake, 3)
    features = batch.features.toarray() if batch.is_sparse else batch.features
    np.testing.assert_array_equal(features, [[1, 2, 3], [4, 5, 6]])


def test_a_missing_content_type_is_the_algorithms_business():
    assert read(b"0:1 2:3", None, LikeXGBoost, 3).features.shape == (1, 3)
    with pytest.raises(UnsupportedTypeError, match="no Content-Type"):
        read(b"1,2,3", None, Fake, 3)


@pytest.mark.parametrize(
    "header", ["image/png", "text/libsvm", "", " ", "text", "text/csv; label_size=0; label_size=1"]
)
def test_unknown_content_types_are_refused(header):
    with pytest.raises(UnsupportedTypeError):
        read(b"1,2,3", header, Fake, 3)


def test_an_unknown_label_size_or_charset_is_refused():
    with pytest.raises(ContentTypeError):
        read(b"1,2,3", "text/csv; label_size=many", Fake, 3)
    with pytest.raises(ContentTypeError):
        read(b"1,2,3", "text/csv; charset=klingon", Fake, 3)


def test_xgboost_takes_label_size_1_without_effect():
    assert read(b"1,2,3", "text/csv;label_size=1", LikeXGBoost, 3).features.shape == (1, 3)
    with pytest.raises(UnsupportedTypeError) as caught:
        read(b"1,2,3", "text/csv; label_size=0", LikeXGBoost, 3)
    assert str(caught.value) == (
        "text/csv; label_size=0 is not an accepted csv ContentType. Optional parameter label_size must be equal to 1"
    )


def test_an_empty_body_is_not_read():
    with pytest.raises(EmptyBodyError):
        read(b"", "text/csv", Fake, 3)


def test_missing_values_are_the_algorithms_business():
    assert np.isnan(read(b"1,,3", "text/csv", LikeXGBoost, 3).features[0, 1])
    with pytest.raises(DataError):
        read(b"1,,3", "text/csv", Fake, 3)


@pytest.mark.parametrize("width", [2, 4, 5])
def test_a_request_of_another_width_is_refused_with_both_widths(width):
    with pytest.raises(DataError, match=rf"{width} features.*3"):
        read(b",".join([b"1"] * width), "text/csv", Fake, 3)


def test_leading_labels_are_left_out_only_where_the_content_type_says_so():
    rows = read(b"9,1,2,3", "text/csv; label_size=1", Fake, 3)
    np.testing.assert_array_equal(rows.features, [[1, 2, 3]])
    with pytest.raises(DataError, match="4 features"):
        read(b"9,1,2,3", "text/csv; label_size=0", Fake, 3)


def test_other_spellings_of_jpeg():
    for spelling in ("application/jpeg", "image/jpg", "IMAGE/JPEG"):
        assert (
            media.request_type(
                b"x", spelling, replace(Fake.serving, accepts=("image/jpeg",)), DIALECTS[Fake]
            ).media_type
            == "image/jpeg"
        )


def test_a_refused_content_type_lists_what_is_taken():
    with pytest.raises(UnsupportedTypeError, match=r"text/csv, application/json, application/jsonlines, "):
        read(b"1", "image/png", Fake, 3)


def test_the_width_of_a_sparse_row_may_be_text():
    body = b'{"instances": [{"data": {"features": {"keys": [2], "shape": ["3"], "values": [5]}}}]}'
    assert read(body, "application/json", Fake, 3).features.toarray().tolist() == [[0, 0, 5]]
