"""The JSON forms of requests, as the developer guide documents them."""

import json

import numpy as np
import pytest
from google.protobuf import json_format

from recordio.content_type import parse
from recordio.errors import EmptyDataError, ParseError, RaggedRowError, ValueRangeError, WidthError
from recordio.readers import RowFormat, decode
from recordio.record_pb2 import Float32Tensor

PLAIN = RowFormat()
GUIDE = """
{
  "instances": [
    {"data": {"features": {"values": [1.5, 16.0, 14.0, 23.0]}}},
    {"data": {"features": {"values": [-2.0, 100.2, 15.2, 9.2]}}}
  ]
}"""
GUIDE_SPARSE = """
{"instances": [
    {"data": {"features": {"keys": [26, 182, 232, 243, 431], "shape": [2000], "values": [1, 1, 1, 4, 1]}}},
    {"data": {"features": {"keys": [0, 182, 232, 243, 431], "shape": [2000], "values": [13, 1, 1, 4, 1]}}}
]}"""


def as_json(instances, rows=PLAIN):
    return decode(json.dumps({"instances": instances}).encode(), parse("application/json"), rows)


def as_lines(instances, rows=PLAIN):
    lines = "\n".join(map(json.dumps, instances)).encode()
    return decode(lines, parse("application/jsonlines"), rows)


def refused(instances, error=ParseError, rows=PLAIN):
    """The message for JSON; JSON Lines refuses the same instances."""
    if instances:
        with pytest.raises(error):
            as_lines(instances, rows)
    with pytest.raises(error) as caught:
        as_json(instances, rows)
    return str(caught.value)


def test_the_guides_dense_request():
    batch = decode(GUIDE.encode(), parse("application/json"), PLAIN)
    np.testing.assert_array_equal(batch.features, np.float32([[1.5, 16, 14, 23], [-2, 100.2, 15.2, 9.2]]))
    assert batch.features.dtype == np.float32
    assert batch.labels is None


def test_the_guides_sparse_request():
    batch = decode(GUIDE_SPARSE.encode(), parse("application/json"), PLAIN)
    assert batch.features.shape == (2, 2000)
    np.testing.assert_array_equal(batch.features.toarray()[:, [0, 26, 243]], [[0, 1, 4], [13, 0, 4]])


@pytest.mark.parametrize("read", [as_json, as_lines])
def test_the_three_forms_mix(read):
    batch = read(
        [
            {"features": [0, 1.5, -2]},
            {"data": {"features": {"values": [3, 4, 5]}}},
            {"data": {"features": {"keys": [2, 0], "shape": [3], "values": [8, 7]}}},
        ]
    )
    np.testing.assert_array_equal(batch.features.toarray(), [[0, 1.5, -2], [3, 4, 5], [7, 0, 8]])
    assert batch.features.nnz == 8  # the zero of a dense row is an entry


@pytest.mark.parametrize("read", [as_json, as_lines])
def test_a_data_element_is_a_vector_or_an_object(read):
    """The guide: "An array containing numeric values is treated as an instance containing a single dense vector", which
    the SDK makes ``{"features": {"values": dataElement}}``; an instance may have a ``configuration``, too."""
    vector = [1.5, 16.0, 14.0, 23.0]
    for element in (
        vector,
        {"values": vector},
        {"keys": [], "values": vector, "shape": []},
        {"values": vector, "shape": [4]},
    ):
        for instance in ({"features": element}, {"configuration": {}, "data": {"features": element}}):
            np.testing.assert_array_equal(read([instance]).features, [vector])
    sparse = {"keys": [3, 1], "shape": [4], "values": [2, 5]}
    for instance in ({"features": sparse}, {"data": {"features": sparse}}):
        assert read([instance]).features.toarray().tolist() == [[0, 5, 0, 2]]


def test_blank_lines_and_carriage_returns_between_json_lines():
    body = b'\n{"features": [1]}\r\n  \n{"features": [2]}\n\n'
    np.testing.assert_array_equal(decode(body, parse("application/jsonlines"), PLAIN).features, [[1], [2]])


def test_an_all_zero_sparse_row_keeps_its_width():
    assert as_json([{"data": {"features": {"keys": [], "shape": [4], "values": []}}}]).features.shape == (1, 4)


def test_the_width_of_the_model_stands_in_for_a_shape():
    sparse = [{"data": {"features": {"keys": [1], "values": [2]}}}]
    assert as_json(sparse, RowFormat(feature_dim=3)).features.toarray().tolist() == [[0, 2, 0]]
    assert "instance 0: a sparse instance needs 'shape'" in refused(sparse)


def test_a_tensor_as_protobuf_writes_it_in_json():
    """Its 64-bit integers, keys and shape, are text there."""
    tensor = Float32Tensor(keys=[7, 2], shape=[10], values=[8, -0.5])
    written = json_format.MessageToDict(tensor)
    assert written["keys"] == ["7", "2"]
    assert as_json([{"data": {"features": written}}]).features.toarray().tolist() == [[0, 0, -0.5, 0, 0, 0, 0, 8, 0, 0]]


def test_a_shape_whose_number_is_text():
    """Clients of factorization machines write it so: ``"shape": ["130"]``."""
    instance = {"data": {"features": {"keys": [2], "shape": ["130"], "values": [8]}}}
    assert as_json([instance]).features.shape == (1, 130)
    instance["data"]["features"]["shape"] = ["13.0"]
    assert 'is ["13.0"]' in refused([instance]).replace("'", "")


def test_null_is_a_missing_value():
    np.testing.assert_array_equal(as_json([{"features": [1, None]}], RowFormat(missing=True)).features, [[1, np.nan]])
    message = refused([{"features": [1, 2]}, {"features": [1, None]}], ValueRangeError)
    assert message == "request, instance 1: value 1 is missing (null)"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39, 10**400])
def test_values_must_be_finite(value):
    message = refused([{"features": [0]}, {"features": [value]}], ValueRangeError, RowFormat(missing=True))
    assert message.startswith("request, instance 1: value 0 is ")
    assert not np.isfinite(as_json([{"features": [value]}], RowFormat(finite=False)).features).any()


@pytest.mark.parametrize("value", ["1", True, [1], {}, ""])
def test_what_is_not_a_number(value):
    message = refused([{"features": [0, 1]}, {"features": [2, value]}])
    assert message.startswith("request, instance 1: value 1 is ")
    assert message.endswith("not a number")


@pytest.mark.parametrize(
    "instance",
    [
        None,
        1,
        [1, 2],
        {},
        {"features": 1},
        {"features": {"value": [1]}},
        {"data": [1]},
        {"data": {"features": 1}},
        {"data": {"features": {}}},
        {"data": {"features": {"values": [], "keys": [], "shape": []}}},
        {"data": {"features": {"values": 1}}},
        {"data": {"features": {"values": [1], "keys": 0, "shape": [2]}}},
        {"data": {"features": {"values": [1], "keys": [0], "shape": 2}}},
        {"data": {"features": {"values": [1], "keys": [0], "shape": [0]}}},
        {"data": {"features": {"values": [1], "keys": [0], "shape": [2, 2]}}},
        {"data": {"features": {"values": [1], "keys": [0], "shape": [2**31]}}},
        {"data": {"features": {"values": [1], "keys": [2], "shape": [2]}}},
        {"data": {"features": {"values": [1], "keys": [-1], "shape": [2]}}},
        {"data": {"features": {"values": [1], "keys": [0.5], "shape": [2]}}},
        {"data": {"features": {"values": [1], "keys": [True], "shape": [2]}}},
        {"data": {"features": {"values": [1], "keys": ["-1"], "shape": [2]}}},
        {"data": {"features": {"values": [1], "keys": ["1.0"], "shape": [2]}}},
        {"data": {"features": {"values": [1, 2], "keys": [1, "1"], "shape": [2]}}},
        {"data": {"features": {"values": [1, 2], "keys": [0], "shape": [2]}}},
        {"data": {"features": {"values": [1, 2], "keys": [1, 1], "shape": [2]}}},
        {"data": {"features": {"values": [1, 2], "shape": [3]}}},
        {"features": []},
    ],
)
def test_a_malformed_instance_is_named(instance):
    assert refused([instance, instance]).startswith("request, instance 0: ")


def test_instances_of_different_widths():
    message = refused([{"features": [1, 2]}, {"features": [1]}], RaggedRowError)
    assert message == "request, instance 1: 1 features, but the instances before it have 2"


def test_width_of_the_model():
    assert "feature_dim is 3" in refused([{"features": [1, 2]}], WidthError, RowFormat(feature_dim=3))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"[]", "a list"),
        (b"{}", "an object with no keys"),
        (b'{"instances": {}}', "an object with instances that are an object"),
        (b'{"projections": []}', "an object with the key 'projections'"),
        (b"1", "'1'"),
        (b"null", "'null'"),
        (b'"x"', "'\"x\"'"),
    ],
)
def test_json_without_instances(body, found):
    with pytest.raises(ParseError) as error:
        decode(body, parse("application/json"), PLAIN)
    assert str(error.value) == f'request: expected {{"instances": [...]}}, found {found}'


def test_no_instances():
    refused([], EmptyDataError)


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"instances": [1]} x'])
@pytest.mark.parametrize("content_type", ["application/json", "application/jsonlines"])
def test_what_is_not_json(body, content_type):
    with pytest.raises(ParseError, match="is not JSON"):
        decode(body, parse(content_type), PLAIN)


def test_the_line_of_what_is_not_json():
    with pytest.raises(ParseError, match="request, line 3: "):
        decode(b'{"features": [1]}\n\n{"features": [1}\n', parse("application/jsonlines"), PLAIN)
