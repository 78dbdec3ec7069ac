"""The dispatch on content types, and malformed input by the thousand: only DataError may come out of a reader."""

import io
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from recordio import framing
from recordio.batches import concatenate
from recordio.content_type import RECORDIO, parse
from recordio.errors import ContentTypeError, DataError, EmptyDataError, ParseError
from recordio.readers import ChannelStream, RowFormat, decode
from recordio.record_writer import encode_records
from tests.recordio.source_suite import BytesSource

FEATURES = np.float32([[0, 1.5, -2], [3, 0, 0.25], [1, 2, 3]])
LABELS = np.float32([1, 0, 2])


def _csv():
    return b"".join(b"%g,%g,%g,%g\n" % (label, *row) for label, row in zip(LABELS, FEATURES.tolist(), strict=True))


def _libsvm():
    lines = []
    for label, row in zip(LABELS, FEATURES.tolist(), strict=True):
        lines.append(f"{label:g} " + " ".join(f"{i}:{value:g}" for i, value in enumerate(row)))
    return "\n".join(lines).encode()


def _parquet():
    out = io.BytesIO()
    table = {"y": LABELS, **{f"x{i}": FEATURES[:, i] for i in range(3)}}
    pq.write_table(pa.table(table), out)
    return out.getvalue()


def _json():
    return json.dumps({"instances": [{"features": row} for row in FEATURES.tolist()]}).encode()


def _json_sparse():
    sparse = [{"data": {"features": {"keys": [0, 1, 2], "shape": [3], "values": row}}} for row in FEATURES.tolist()]
    return json.dumps({"instances": sparse}).encode()


def _json_lines():
    return b"\n".join(json.dumps({"features": row}).encode() for row in FEATURES.tolist())


BODIES = {
    "text/csv; label_size=1": _csv(),
    "text/csv; label_size=1; charset=utf-16": _csv().decode().encode("utf-16"),
    "text/libsvm": _libsvm(),
    "application/x-parquet": _parquet(),
    "application/x-recordio-protobuf": encode_records(FEATURES, LABELS),
    "application/json": _json(),
    "application/json ": _json_sparse(),
    "application/jsonlines": _json_lines(),
}
CHANNELS = [name for name in BODIES if "json" not in name]
FORMATS = [
    RowFormat(feature_dim=3),
    RowFormat(missing=True, finite=False),
    RowFormat(labels="required"),
    RowFormat(labels="required", weights=True, missing=True),
]


def dense(batch):
    return batch.features.toarray() if batch.is_sparse else batch.features


@pytest.mark.parametrize("content_type", BODIES)
def test_every_format_gives_the_same_rows(content_type):
    batch = decode(BODIES[content_type], parse(content_type), RowFormat(feature_dim=3))
    np.testing.assert_array_equal(dense(batch), FEATURES)
    assert batch.labels is None
    assert batch.features.dtype == np.float32


@pytest.mark.parametrize("content_type", CHANNELS)
def test_channels_and_requests_share_their_readers(content_type):
    rows = RowFormat(labels="required")
    source = BytesSource(BODIES[content_type], "body")
    batch = concatenate(list(ChannelStream(source, parse(content_type), rows).batches(2)))
    np.testing.assert_array_equal(dense(batch), FEATURES)
    np.testing.assert_array_equal(batch.labels, LABELS)


@pytest.mark.parametrize("content_type", BODIES)
def test_an_empty_body(content_type):
    with pytest.raises((EmptyDataError, ParseError)):
        decode(b"", parse(content_type), RowFormat())


def test_a_content_type_without_a_reader():
    with pytest.raises(ContentTypeError, match="'image/png' cannot be read here; what can: text/csv, "):
        decode(b"1", parse("image/png"), RowFormat())
    with pytest.raises(ContentTypeError, match="application/json"):
        ChannelStream(BytesSource(b"1", "body"), parse("application/json"), RowFormat())


def test_a_wrong_label_size_is_refused_before_anything_is_read():
    with pytest.raises(ContentTypeError, match="label_size"):
        ChannelStream(BytesSource(b"", "body"), parse("csv; label_size=0"), RowFormat(labels="required"))


def test_zeros_of_dense_records_are_there_however_far_sparse_ones_are_from_them():
    """XGBoost's requests: what is read together is a few MiB, and there what is absent is missing."""
    dense = np.zeros((framing.CHUNK // 400, 200), np.float32)
    body = encode_records(dense) + encode_records(sp.csr_array((1, 200), dtype=np.float32))
    features = decode(body, parse(RECORDIO), RowFormat(missing=True, finite=False)).features
    assert np.diff(features.indptr).tolist() == [200] * len(dense) + [0]


def test_rows_with_weights_after_rows_without():
    body = b"1 0:1\n" * 500_000 + b"1:2 0:1\n" * 200_000
    stream = ChannelStream(BytesSource(body, "body"), parse("libsvm"), RowFormat(labels="required"))
    with pytest.raises(ParseError, match="weight"):
        list(stream.batches())


def mutations(body, seed, count):
    """Bodies that were cut, spliced, and had bytes changed, added and repeated."""
    rng = random.Random(seed)
    alphabet = b'0123456789.,:;-+eEnaif \t\r\n"\\{}[]#\x00\xff\xfeqidPAR\xce\xd7#\x0a'
    for _ in range(count):
        changed = bytearray(body)
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            at = rng.randrange(len(changed) + 1)
            match rng.randrange(5):
                case 0:
                    changed[at : at + rng.randrange(1, 20)] = b""
                case 1:
                    changed[at:at] = bytes(rng.choice(alphabet) for _ in range(rng.randrange(1, 8)))
                case 2:
                    changed[at : at + 1] = bytes([rng.randrange(256)])
                case 3:
                    changed[at:at] = changed[: rng.randrange(1, 40)]
                case 4:
                    del changed[at:]
            if not changed:
                break
        yield bytes(changed)


@pytest.mark.parametrize("content_type", BODIES)
def test_only_data_errors_come_out_of_a_request(content_type):
    kind = parse(content_type)
    for number, body in enumerate(mutations(BODIES[content_type], content_type, 3000)):
        try:
            batch = decode(body, kind, FORMATS[number % len(FORMATS)])
        except DataError as error:
            assert str(error)
        else:
            assert len(batch) > 0
            assert batch.features.dtype == np.float32


@pytest.mark.parametrize("content_type", CHANNELS)
def test_only_data_errors_come_out_of_a_channel(content_type):
    kind = parse(content_type)
    for number, body in enumerate(mutations(BODIES[content_type], number_of(content_type), 200)):
        stream = ChannelStream(BytesSource(body, "body"), kind, FORMATS[number % len(FORMATS)])
        try:
            assert sum(len(batch) for batch in stream.batches(2)) > 0
        except DataError as error:
            assert str(error)


def number_of(content_type):
    return CHANNELS.index(content_type)
