"""Pairs of token sequences: the fast path equals the generated message class on records of any kind."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recordio import sequences
from recordio.errors import DataError, EmptyDataError, FrameError, RecordError
from recordio.framing import frames, write_frame
from recordio.record_message import Record
from recordio.sequences import Pairs, Ragged, _decode_message, decode, decode_body, encode, encode_targets

IDS = st.lists(st.one_of(st.integers(0, 200), st.integers(-(2**31), 2**31 - 1)), max_size=40)


def message(source: list[int], target: list[int]) -> Any:
    """As ``list_to_record_bytes`` of SageMaker's example makes it."""
    record = Record()
    record.features["source"].int32_tensor.values.extend(source)
    record.features["target"].int32_tensor.values.extend(target)
    return record


def lists(ragged: Ragged) -> list[list[int]]:
    return [part.tolist() for part in ragged]


@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=20))
def test_records_of_the_example_read_back(pairs: list[tuple[list[int], list[int]]]) -> None:
    found = decode([message(*pair).SerializeToString() for pair in pairs], "train")
    assert lists(found.source) == [source for source, _ in pairs]
    assert lists(found.target) == [target for _, target in pairs]


@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=20))
def test_what_is_encoded_the_message_class_reads(pairs: list[tuple[list[int], list[int]]]) -> None:
    written = encode(Pairs(Ragged.of([s for s, _ in pairs]), Ragged.of([t for _, t in pairs])))
    for body, (source, target) in zip(frames(io.BytesIO(written), "x"), pairs, strict=True):
        record = Record.FromString(body)
        assert list(record.features["source"].int32_tensor.values) == source
        assert list(record.features["target"].int32_tensor.values) == target


@given(st.data(), IDS, IDS)
def test_damaged_records_are_read_as_the_message_class_reads_them(
    data: Any, source: list[int], target: list[int]
) -> None:
    body = bytearray(message(source, target).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        kind = data.draw(st.sampled_from(["change", "cut", "insert"]))
        if kind == "change" and at < len(body):
            body[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del body[at:]
        else:
            body.insert(at, data.draw(st.integers(0, 255)))
    good = message([4, 5], [6]).SerializeToString()
    expected: Any
    found: Any
    try:
        expected = [part.tolist() for part in _decode_message(bytes(body), "x", True)]
    except DataError as error:
        expected = type(error)
    try:
        pairs = decode([good, bytes(body), good], "x")  # among others, which it must not disturb
        assert lists(pairs.source)[::2] == [[4, 5], [4, 5]]
        found = [pairs.source[1].tolist(), pairs.target[1].tolist()]
    except DataError as error:
        found = type(error)
    assert found == expected


def test_numbers_that_are_not_packed_and_other_fields_are_read() -> None:
    unusual = b"\x0a\x0e\x0a\x06source\x12\x04\x3a\x02\x08\x07" + b"\x0a\x0f\x0a\x06target\x12\x05\x3a\x03\x0a\x01\x08"
    unusual += b"\x1a\x02id"  # uid
    found = decode([message([4], [300]).SerializeToString(), unusual], "train")
    assert (lists(found.source), lists(found.target)) == ([[4], [7]], [[300], [8]])


def test_a_request_needs_no_target() -> None:
    record = Record()
    record.features["source"].int32_tensor.values.extend([4, 5])
    stream = io.BytesIO()
    for one in (record, message([6], []), message([7], [8])):
        write_frame(stream, one.SerializeToString())
    found = decode_body(stream.getvalue(), "request", targets=False)
    assert (lists(found.source), lists(found.target)) == ([[4, 5], [6], [7]], [[], [], []])


def test_an_answer_has_a_target_only() -> None:
    (body,) = frames(io.BytesIO(encode_targets([[4, 5]])), "x")
    assert list(Record.FromString(body).features) == ["target"]
    assert list(Record.FromString(body).features["target"].int32_tensor.values) == [4, 5]


def floats(key: str) -> Any:
    record = message([4], [5])
    record.features[key].float32_tensor.values.extend([1.0])
    return record


def without(key: str) -> Any:
    record = message([4], [5])
    del record.features[key]
    return record


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (without("target"), "record 1: has no features\\['target'\\], only 'source'"),
        (without("source"), "record 1: has no features\\['source'\\]"),
        (Record(), "record 1: has no features\\['source'\\], only nothing"),
        (floats("target"), "record 1: features\\['target'\\] holds float32_tensor, expected an int32_tensor"),
    ],
)
def test_what_is_wrong_is_said(record: Any, words: str) -> None:
    with pytest.raises(RecordError, match=f"train: {words}"):
        decode([message([4], [5]).SerializeToString(), record.SerializeToString()], "train")


def test_nothing_and_noise() -> None:
    with pytest.raises(EmptyDataError):
        decode([], "train")
    with pytest.raises(EmptyDataError):
        decode_body(b"", "request")
    with pytest.raises(FrameError):
        decode_body(b"so good!", "request")
    with pytest.raises(RecordError):
        decode([b"\xff\xff\xff"], "train")


def test_many_blocks_are_joined() -> None:
    random = np.random.default_rng(0)
    pairs = Pairs(*(Ragged.of([random.integers(0, 40000, 3) for _ in range(40_000)]) for _ in range(2)))
    found = decode_body(encode(pairs), "train")
    assert np.array_equal(found.source.values, pairs.source.values)
    assert np.array_equal(found.target.offsets, pairs.target.offsets)


def test_without_a_compiler_the_same_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    pairs = Pairs(
        *(Ragged.of([random.integers(0, 2**31, random.integers(0, 9)) for _ in range(200)]) for _ in range(2))
    )
    written = encode(pairs)
    compiled = decode_body(written, "train")
    monkeypatch.setattr(sequences, "kernel", None)
    for found in (compiled, decode_body(written, "train")):
        for side, expected in zip(found, pairs, strict=True):
            assert (side.values.dtype, side.values.tolist()) == (np.int32, expected.values.tolist())
            assert side.offsets.tolist() == expected.offsets.tolist()


@pytest.mark.skipif(sequences.kernel is None, reason="the kernel is not built")
@pytest.mark.parametrize("stops", [[3, 2], [9], [-1], [0, 1, 99]])
def test_records_beyond_the_data_are_refused(stops: list[int]) -> None:
    n = len(stops)
    arrays = np.zeros(n, np.uint8), np.zeros(8, np.int32), np.zeros(8, np.int32), np.zeros((2, n), np.int64)
    with pytest.raises(ValueError, match="follow each other"):
        sequences.kernel.pairs(b"12345678", np.array(stops, np.int64), *arrays)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="fit each other"):
        sequences.kernel.pairs(b"", np.zeros(n + 1, np.int64), *arrays)  # type: ignore[union-attr]
