"""LIBSVM text beside scikit-learn's reader and writer, and XGBoost's own loader."""

import io
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from recordio.content_type import parse
from recordio.errors import ParseError, ValueRangeError, WidthError
from recordio.libsvm import read_libsvm
from recordio.readers import RowFormat, concatenate, decode

LIBSVM = parse("text/libsvm")
LABELLED = RowFormat(labels="required")
UNLABELLED = RowFormat()


def read(body, rows=LABELLED):
    """The rows of a body, read as a file and as a request, which must agree."""
    batch = decode(body, LIBSVM, rows)
    streamed = concatenate(list(read_libsvm(io.BytesIO(body), "a.svm", rows, LIBSVM)))
    for name in ("data", "indices", "indptr", "shape"):
        np.testing.assert_array_equal(getattr(streamed.features, name), getattr(batch.features, name))
    for name in ("labels", "weights", "groups"):
        np.testing.assert_array_equal(getattr(streamed, name), getattr(batch, name))
    return batch


def refused(body, error=ParseError, rows=LABELLED):
    """The message with which a file of that body is refused; as a request it is refused too."""
    with pytest.raises(error):
        decode(body, LIBSVM, rows)
    with pytest.raises(error) as caught:
        list(read_libsvm(io.BytesIO(body), "a.svm", rows, LIBSVM))
    return str(caught.value)


def xgboost_matrix(path):
    xgboost = pytest.importorskip("xgboost")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # XGBoost announces the end of its text readers
        return xgboost.DMatrix(f"{path}?format=libsvm", silent=True)


@pytest.mark.parametrize(
    "body",
    [
        b"1 0:2 3:-4\n0 2:1e1\n",
        b"1 0:2 3:-4\n0 2:1e1",
        b"1 0:2 3:-4\r\n0 2:1e1\r\n",
        b"\n 1\t0:2  3:-4 \n\n+0.0 2:10 # 7:7\n# nothing\n",
        b"1 3:-4 0:2\n0 2:+10.\n",
    ],
)
def test_spellings_of_the_same_rows(body):
    batch = read(body)
    np.testing.assert_array_equal(batch.features.toarray(), [[2, 0, 0, -4], [0, 0, 10, 0]])
    np.testing.assert_array_equal(batch.labels, [1, 0])
    assert batch.weights is None
    assert batch.groups is None


@pytest.mark.parametrize("zero_based", [True, False])
def test_what_scikit_learn_writes_is_read(zero_based):
    rows = sp.random_array((200, 40), density=0.2, rng=np.random.default_rng(3), dtype=np.float32).tocsr()
    labels = np.arange(200) % 3
    out = io.BytesIO()
    dump_svmlight_file(rows, labels, out, zero_based=zero_based, comment="written by scikit-learn")
    batch = read(out.getvalue(), RowFormat(labels="required", feature_dim=41))
    offset = 0 if zero_based else 1
    np.testing.assert_array_equal(batch.features.toarray()[:, offset : offset + 40], rows.toarray())
    np.testing.assert_array_equal(batch.labels, labels)


@pytest.mark.parametrize("file", ["a9a/a9a.t", "agaricus/agaricus.txt.train"])
def test_real_files_are_those_that_scikit_learn_and_xgboost_read(shared, file):
    path = shared / "data" / file
    batch = read(path.read_bytes())
    features, labels = load_svmlight_file(str(path), zero_based=True)
    assert (sp.csr_array(features) != batch.features).nnz == 0
    np.testing.assert_array_equal(batch.labels, labels)
    matrix = xgboost_matrix(path)
    assert (matrix.num_row(), matrix.num_col()) == batch.features.shape
    assert (sp.csr_array(matrix.get_data()) != batch.features).nnz == 0


@pytest.mark.parametrize(
    "empty", [b"2 0:3 4: 5:1\n", b"2 0:3 5:1 7:\n", b"2 7:\t0:3 5:1\n", b"2 0:3 5:1 7:", b"2 0:3 5:1 7: # no\n"]
)
def test_a_pair_without_a_value_is_absent(empty):
    """As in AWS's own test data (abalone, several classes): the last feature of some rows is '8:'."""
    whole = read(b"1 0:1 6:2\n2 0:3 5:1\n")
    batch = read(b"1 0:1 6:2\n" + empty)
    np.testing.assert_array_equal(batch.features.toarray(), whole.features.toarray())
    np.testing.assert_array_equal(batch.features.indptr, whole.features.indptr)
    np.testing.assert_array_equal(batch.labels, [1, 2])


@pytest.mark.parametrize("wrong", [b"2: 0:3\n", b"2 :\n", b"2 x:\n", b"2 -1:\n", b"2 qid: 0:1\n", b"2 3::\n"])
def test_what_lacks_more_than_a_value_is_refused(wrong):
    refused(b"1 0:1\n" + wrong)


def test_indices_are_never_shifted():
    """Training and requests give an index one meaning, XGBoost's own, whatever the lowest index at hand."""
    np.testing.assert_array_equal(read(b"1 1:5\n").features.toarray(), [[0, 5]])
    np.testing.assert_array_equal(read(b"1:5\n", RowFormat(feature_dim=2)).features.toarray(), [[0, 5]])
    np.testing.assert_array_equal(read(b"0:5\n", RowFormat(feature_dim=2)).features.toarray(), [[5, 0]])


def test_weights_and_query_ids_are_those_of_xgboost(tmp_path):
    body = b"1:0.5 qid:3 1:2\n0:2 qid:3 2:1\n2:1 qid:7 0:1\n"
    (tmp_path / "a.svm").write_bytes(body)
    matrix, batch = xgboost_matrix(tmp_path / "a.svm"), read(body)
    np.testing.assert_array_equal(batch.weights, [0.5, 2, 1])
    np.testing.assert_array_equal(matrix.get_weight(), batch.weights)
    np.testing.assert_array_equal(batch.groups, [3, 3, 7])
    np.testing.assert_array_equal(np.diff(matrix.get_uint_info("group_ptr")), [2, 1])


def test_explicit_zeros_are_entries_and_absent_features_are_none():
    features = read(b"1 0:0 2:3\n").features
    np.testing.assert_array_equal(features.indices, [0, 2])
    np.testing.assert_array_equal(features.data, [0, 3])


def test_rows_without_features_keep_their_place():
    batch = read(b"1\n0 4:1\n1\n", RowFormat(labels="required", feature_dim=6))
    assert batch.features.shape == (3, 6)
    np.testing.assert_array_equal(batch.labels, [1, 0, 1])
    assert read(b"1\n0\n").features.shape == (2, 0)


def test_a_label_in_a_request_is_left_out():
    for body in (b"0:1.5 3:14\n1:2.0\n", b"1 0:1.5 3:14\n-1 1:2.0\n"):
        batch = read(body, UNLABELLED)
        np.testing.assert_array_equal(batch.features.toarray(), [[1.5, 0, 0, 14], [0, 2, 0, 0]])
        assert batch.labels is None


def test_blocks_are_as_wide_as_their_widest_row():
    body = b"1 1:1\n" * 300_000 + b"1 9:1\n"
    batches = list(read_libsvm(io.BytesIO(body), "a.svm", LABELLED, LIBSVM))
    assert [batches[0].feature_dim, batches[-1].feature_dim] == [2, 10]
    assert concatenate(batches).features.shape == (300_001, 10)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"x 1:1", "'x' is not a label"),
        (b"1:2:3 1:1", "'1:2:3' is not a label"),
        (b"1: 1:1", "'1:' is not a label"),
        (b":1 1:1", "':1' is not a label"),
        (b"1,2,3", "'1,2,3' is not a label"),
        (b"1 5", "'5' has no colon"),
        (b"1 1:x", "the value 'x' of feature 1"),
        (b"1 1: 2", "'2' has no colon"),
        (b"1 1 :2", "'1' has no colon"),
        (b"1 1::2", "the value ':2' of feature 1"),
        (b"1 1:2:3", "the value '2:3' of feature 1"),
        (b"1 :2", "the index '' is not an integer"),
        (b"1 :", "the index '' is not an integer"),
        (b"1 -1:2", "the index '-1' is not an integer from 0"),
        (b"1 1.0:2", "the index '1.0' is not an integer"),
        (b"1 2147483647:1", "the index '2147483647' is not an integer from 0 to 2147483646"),
        (b"1 99999999999999999999:1", "the index '99999999999999999999'"),
        (b"1 3:1 3:2", "'3' appears twice"),
        (b"1 3:1 4:1 3:2", "'3' appears twice"),
        (b"1:2 1:1", "must have a weight"),
        (b"1 qid:1 1:1", "must have a weight (label:weight) and a qid, or none"),
        (b"1 qid:x 1:1", "the query id 'x' is not an integer"),
        (b"1 \xff:1", r"the index '\\xff'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(row, problem):
    message = refused(b"# first\n1 0:1 5:1\n" + row + b"\n1 2:1\n")
    if "must have" not in problem:
        assert message.startswith("a.svm, line 3: ")
    assert problem in message


def test_two_query_ids():
    assert "'qid' appears twice" in refused(b"1 qid:1 qid:2 1:1\n")


def test_index_beyond_feature_dim():
    message = refused(b"1 1:1\n1 4:1\n", WidthError, RowFormat(labels="required", feature_dim=4))
    assert message == "a.svm, line 2: index 4 is beyond feature_dim 4; indices count from 0"


def test_not_a_finite_number():
    assert "line 2: feature 3 is nan" in refused(b"1 1:1\n1 2:1 3:nan\n", ValueRangeError)
    assert "line 2: the label is inf" in refused(b"1 1:1\ninf 3:1\n", ValueRangeError)
    assert "line 1: the weight is nan" in refused(b"1:nan 1:1\n", ValueRangeError)
    loose = RowFormat(labels="required", finite=False)
    assert np.isnan(read(b"1 1:nan\n", loose).features.data[0])
    assert "the label is nan" in refused(b"nan 1:1\n", ValueRangeError, loose)
