"""Runs of records that differ in their numbers alone, which the compiled code takes without parsing each."""

import numpy as np
import pytest
import scipy.sparse as sp

from recordio import record_reader
from recordio.errors import DataError
from recordio.record_writer import encode_records
from tests.recordio.record_cases import read

pytestmark = pytest.mark.skipif(record_reader.kernel is None, reason="the compiled code was not built")


def outcome(data, monkeypatch=None):
    """What comes of reading, with the compiled code, or without it where there is a ``monkeypatch``."""
    try:
        if monkeypatch is None:
            batch = read(data)
        else:
            with monkeypatch.context() as without:
                without.setattr(record_reader, "kernel", None)
                batch = read(data)
    except DataError as error:
        return str(error)
    features = batch.features.toarray() if batch.is_sparse else batch.features
    return features.tolist(), np.asarray(batch.labels).tolist()


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_a_changed_byte_in_a_run_means_what_it_means_to_protobuf(kind, monkeypatch):
    random = np.random.default_rng(0)
    features = np.ones((5, 2), np.float32) if kind == "dense" else sp.csr_array(np.eye(5, 9, dtype=np.float32) + 1)
    data = encode_records(features, random.normal(size=5).astype(np.float32))
    size = len(data) // 5
    assert len({data[at : at + 20] for at in range(0, len(data), size)}) == 1  # they are alike
    for at in range(2 * size, 3 * size):
        for flipped in (0x01, 0x08, 0x80):
            changed = bytearray(data)
            changed[at] ^= flipped
            assert outcome(bytes(changed)) == outcome(bytes(changed), monkeypatch), (at, flipped)


@pytest.mark.parametrize("width", [100, 128, 129, 16_384, 16_385, 3_000_000])
def test_keys_of_one_two_and_more_bytes(width, monkeypatch):
    random = np.random.default_rng(width)
    counts = [1, 7, 8, 9, 16, 33, 33, 33, 64, 0, 90]
    keys = [random.choice(width, count, replace=False) for count in counts]
    keys = [np.sort(row) if number % 2 else row for number, row in enumerate(keys)]  # half of them in no order
    indptr = np.cumsum([0, *counts])
    values = random.normal(size=indptr[-1]).astype(np.float32)
    rows = sp.csr_array((values, np.concatenate(keys), indptr), shape=(len(counts), width))
    batch = read(encode_records(rows, np.zeros(len(counts), np.float32)))
    wanted = rows.copy()
    wanted.sum_duplicates()
    assert (batch.features != wanted).nnz == 0
    assert batch.features.has_canonical_format


def test_dense_rows_of_unlike_records_come_in_order():
    """The first record tells how many rows there may be: here it is shorter than the others, then longer."""
    random = np.random.default_rng(1)
    short = random.normal(size=(3_000, 4)).astype(np.float32)
    parts = [encode_records(short[i : i + 1000], np.zeros(1000, np.float32)) for i in range(0, 3000, 1000)]
    wide = encode_records(short.astype(np.float64), np.zeros(3000, np.float32))
    for data, wanted in (
        (parts[0] + wide + parts[1], np.concatenate([short[:1000], short, short[1000:2000]])),
        (wide + b"".join(parts), np.concatenate([short, short])),
    ):
        np.testing.assert_array_equal(read(data).features, wanted)
