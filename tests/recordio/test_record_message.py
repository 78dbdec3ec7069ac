"""The meaning of one Record message: every kind of tensor, and everything that can be wrong."""

import math

import numpy as np
import pytest

from recordio import record_message
from recordio.errors import RecordError, ValueRangeError, WidthError
from recordio.framing import Place
from recordio.record_message import Record
from recordio.rows import RowFormat

PLACE = Place("train.pbr", 3, 160)
KINDS = ["float32_tensor", "float64_tensor", "int32_tensor"]


def record(kind="float32_tensor", values=(), keys=(), shape=(), labels=None, label_kind="float32_tensor"):
    made = Record()
    features = getattr(made.features["values"], kind)
    features.SetInParent()
    features.values.extend(values)
    features.keys.extend(keys)
    features.shape.extend(shape)
    if labels is not None:
        getattr(made.label["values"], label_kind).values.extend(labels)
    return made


def row(made, width=None, **rows):
    return record_message.row(record_message.parse(made.SerializeToString(), PLACE), RowFormat(**rows), width, PLACE)


@pytest.mark.parametrize("kind", KINDS)
def test_dense_tensors_of_every_kind_become_float32(kind):
    found = row(record(kind, [1, -2, 3]))
    assert found.values.dtype == np.float32
    assert (found.values.tolist(), found.keys, found.width, found.labels) == ([1, -2, 3], None, 3, None)


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_tensors_of_every_kind_have_keys_and_the_width_of_their_shape(kind):
    found = row(record(kind, [5, 6], keys=[7, 2], shape=[9]))
    assert (found.values.tolist(), found.keys.tolist(), found.width) == ([5, 6], [7, 2], 9)


def test_an_all_zero_sparse_row_keeps_its_width():
    found = row(record(shape=[300]))
    assert (len(found.values), len(found.keys), found.width) == (0, 0, 300)


def test_the_width_of_a_shape_of_many_dimensions_is_its_product():
    assert row(record(values=[1.0], keys=[783], shape=[28, 28])).width == 784
    assert row(record(values=[1.0] * 6, shape=[2, 3])).width == 6


def test_a_sparse_row_without_a_shape_is_as_wide_as_expected():
    made = record(values=[1.0], keys=[4])
    assert row(made, feature_dim=10).width == 10
    assert row(made, width=7).width == 7
    with pytest.raises(RecordError, match="sparse and has no shape"):
        row(made)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_every_kind(kind):
    assert row(record(values=[1.0], labels=[3], label_kind=kind), labels="required").labels.tolist() == [3]
    assert row(record(values=[1.0], labels=[3, 4], label_kind=kind), labels="required").labels.tolist() == [3, 4]
    assert row(record(values=[1.0], labels=[math.nan])).labels is None


def test_other_entries_and_texts_are_passed_over():
    made = record(values=[1.0, 2.0], labels=[1.0])
    made.features["weight"].float32_tensor.values.append(3.0)
    made.label["other"].bytes.value.append(b"x")
    made.uid, made.metadata, made.configuration = "a", "b", "{}"
    found = row(made, labels="required")
    assert (found.values.tolist(), found.labels.tolist()) == ([1, 2], [1])


def test_byte_strings_are_no_numbers():
    made = Record()
    made.features["values"].bytes.value.extend([b"\xff\xd8", b""])
    with pytest.raises(RecordError, match=r"features\['values'\] holds bytes, expected a tensor of numbers"):
        row(made)


def empty_label():
    made = record(values=[1.0])
    made.label["values"].SetInParent()
    return made


def bad_labels(**fields):
    made = record(values=[1.0], labels=[])
    for name, numbers in fields.items():
        getattr(made.label["values"].float32_tensor, name).extend(numbers)
    return made


@pytest.mark.parametrize(
    ("made", "rows", "error", "text"),
    [
        (Record(), {}, RecordError, "expected features['values'], found no features at all"),
        (record(values=[]), {}, RecordError, "is empty"),
        (record(values=[1.0], keys=[0, 1], shape=[5]), {}, RecordError, "2 keys for 1 values"),
        (record(keys=[0], shape=[5]), {}, RecordError, "1 keys for 0 values"),
        (record(values=[1.0, 2.0], shape=[3]), {}, RecordError, "2 values for the shape [3]"),
        (record(shape=[0]), {}, RecordError, "the shape [0], which is not usable"),
        (record(shape=[2**63]), {}, RecordError, "which is not usable"),
        (record(shape=[2**40, 2**40]), {}, RecordError, "which is not usable"),
        (record(values=[1.0], keys=[5], shape=[5]), {}, WidthError, "the key 5 is out of range: there are 5 features"),
        (record(values=[1.0], keys=[2**64 - 1], shape=[5]), {}, WidthError, "the key 18446744073709551615"),
        (record(values=[1.0, 2.0]), {"feature_dim": 3}, WidthError, "has 2 features, expected 3, as feature_dim says"),
        (record(values=[1.0, 2.0]), {"width": 3}, WidthError, "expected 3, as in the records before it"),
        (record(shape=[4]), {"feature_dim": 3}, WidthError, "has 4 features"),
        (record(values=[1.0, math.nan]), {}, ValueRangeError, "feature 1 is nan; it must be a finite number"),
        (record(values=[math.inf], keys=[8], shape=[9]), {}, ValueRangeError, "feature 8 is inf"),
        (record("float64_tensor", [1e39]), {}, ValueRangeError, "feature 0 is inf"),
        (record(values=[1.0]), {"labels": "required"}, RecordError, "has no label['values'], and labels are required"),
        (empty_label(), {"labels": "required"}, RecordError, "label['values'] holds nothing"),
        (bad_labels(shape=[1]), {"labels": "required"}, RecordError, "label['values'] is empty"),
        (bad_labels(values=[1.0], keys=[0]), {"labels": "required"}, RecordError, "label['values'] is sparse"),
        (bad_labels(values=[1.0], shape=[2]), {"labels": "required"}, RecordError, "1 values for the shape [2]"),
        (record(values=[1.0], labels=[-math.inf]), {"labels": "required"}, ValueRangeError, "the label is -inf"),
        (record(values=[1.0], labels=[1.0, math.nan]), {"labels": "required"}, ValueRangeError, "label 1 is nan"),
        (
            record(values=[math.nan], labels=[math.nan]),
            {"labels": "required", "finite": False},
            ValueRangeError,
            "the label is nan",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(made, rows, error, text):
    with pytest.raises(error) as caught:
        row(made, **rows)
    assert str(caught.value).startswith("train.pbr: record 3, at byte 160: ")
    assert text in str(caught.value)


def test_values_that_are_not_finite_pass_where_allowed():
    found = row(record(values=[math.nan, math.inf, 1.0]), finite=False)
    np.testing.assert_array_equal(found.values, [math.nan, math.inf, 1.0])


def test_features_of_another_name_are_listed():
    made = Record()
    made.features["source"].int32_tensor.values.append(1)
    with pytest.raises(RecordError, match=r"expected features\['values'\], found only 'source'"):
        row(made)


def test_names_that_are_not_text_are_shown_all_the_same():
    body = b"".join(b"\x0a\x05\x0a\x01" + name + b"\x12\x00" for name in (b"\xff", b"a"))
    with pytest.raises(RecordError, match=r"found only 'a', b'\\xff'"):
        record_message.row(record_message.parse(body, PLACE), RowFormat(), None, PLACE)


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05abc", b"id,name"])
def test_bytes_that_are_no_message_are_refused(body):
    with pytest.raises(RecordError, match="record 3, at byte 160: its .* bytes cannot be read as SageMaker's"):
        record_message.parse(body, PLACE)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8"])
def test_a_message_made_of_a_row_gives_the_row_back(dtype):
    values, labels = np.array([3, 0, 7], dtype), np.array([1], dtype)
    found = row(record_message.message(values, labels=labels), labels="required")
    assert (found.values.tolist(), found.labels.tolist()) == ([3, 0, 7], [1])
    found = row(record_message.message(values, keys=np.array([4, 0, 2]), width=5))
    assert (found.values.tolist(), found.keys.tolist(), found.width) == ([3, 0, 7], [4, 0, 2], 5)


def test_a_type_without_a_tensor_is_refused():
    with pytest.raises(ValueError, match="float32, float64 or integers, not float16"):
        record_message.message(np.zeros(2, np.float16))
