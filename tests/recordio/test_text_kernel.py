"""The compiled fast path gives what the numpy code gives, to the last bit, or nothing."""

import random

import numpy as np
import pytest

from recordio import text_kernel
from recordio.content_type import parse
from recordio.errors import DataError
from recordio.readers import RowFormat, decode

pytestmark = pytest.mark.skipif(text_kernel.kernel is None, reason="the compiled code was not built")

LOOSE = RowFormat(missing=True, finite=False)


def both(monkeypatch, body, content_type, rows=LOOSE):
    """What is read with the compiled code, and without it: batches, or errors."""
    results = []
    for kernel in (text_kernel.kernel, None):
        with monkeypatch.context() as patch:
            patch.setattr(text_kernel, "kernel", kernel)
            try:
                results.append(decode(body, parse(content_type), rows))
            except DataError as error:
                results.append((type(error), str(error)))
    return results


def equal(first, second):
    if isinstance(first, tuple) or isinstance(second, tuple):
        return first == second
    parts = [(first.labels, second.labels), (first.weights, second.weights), (first.groups, second.groups)]
    if first.is_sparse:
        parts += [(getattr(first.features, n), getattr(second.features, n)) for n in ("data", "indices", "indptr")]
    else:
        parts.append((first.features, second.features))
    return first.features.shape == second.features.shape and all(
        (a is None and b is None) or a.tobytes() == b.tobytes() for a, b in parts
    )


def random_numbers(count, seed):
    """Numbers in all their spellings, most of them hard to round."""
    rng = random.Random(seed)
    for _ in range(count):
        kind = rng.randrange(8)
        if kind == 0:
            yield repr(rng.uniform(-1e3, 1e3))
        elif kind == 1:
            yield f"{np.float32(rng.gauss(0, 1) * 10 ** rng.randint(-12, 12))}"
        elif kind == 2:
            yield str(rng.randint(-(2**70), 2**70) >> rng.randrange(70))
        elif kind == 3:  # half-way between two float32, and its neighbours
            half = (2 * rng.randint(2**23, 2**24 - 1) + 1) * 2.0 ** rng.randint(-40, 20)
            yield f"{np.nextafter(half, rng.choice((-np.inf, half, np.inf))):.{rng.randint(10, 25)}g}"
        elif kind == 4:
            yield f"{rng.randint(0, 99999999)}e{rng.randint(-60, 45)}"
        elif kind == 5:
            yield "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 40))) + "." + "0" * rng.randrange(30)
        elif kind == 6:
            yield "." + "".join(rng.choice("0012345") for _ in range(rng.randint(1, 40)))
        else:
            yield rng.choice("+-") + "0" * rng.randrange(5) + str(rng.randrange(10**6)) + rng.choice(("", ".", "E+2"))


def test_numbers_are_equal_bit_for_bit(monkeypatch):
    for token in random_numbers(4000, 5):
        first, second = both(monkeypatch, token.encode(), "text/csv")
        assert equal(first, second), token


def test_most_numbers_take_the_fast_path():
    tokens = [repr(random.Random(seed).gauss(0, 100)) for seed in range(2000)]
    assert sum(text_kernel.table(token.encode() + b"\n") is not None for token in tokens) > 1990
    assert text_kernel.table("\n".join(map(str, range(10_000))).encode() + b"\n") is not None


def test_numbers_are_read_or_refused_alike(monkeypatch):
    rng = random.Random(6)
    for _ in range(3000):
        token = "".join(rng.choice("0123456789..eE+-- xn_") for _ in range(rng.randint(1, 7))).encode()
        first, second = both(monkeypatch, token, "text/csv")
        assert equal(first, second), token


@pytest.mark.parametrize("content_type", ["text/csv", "text/libsvm"])
@pytest.mark.parametrize("labels", ["none", "required"])
def test_blocks_are_read_or_refused_alike(monkeypatch, content_type, labels):
    rng = random.Random(7)
    separators = ",,,,\n\n  " if content_type == "text/csv" else ":::  \n\t#"
    rows = RowFormat(labels=labels, missing=True, finite=False)
    for _ in range(1500):
        pieces = []
        for _ in range(rng.randint(1, 9)):
            pieces += [rng.choice(("0", "1", "2", "3", "17", "2.5", "-1", "", "qid", "nan")), rng.choice(separators)]
        body = "".join(pieces).encode()
        first, second = both(monkeypatch, body, content_type, rows)
        assert equal(first, second), body


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b"1 0:1 3:2.5 \n0\t1:1\n", RowFormat(labels="required")),
        (b"1:0.5 0:1\n2:2 3:4", RowFormat(labels="required")),
        (b"0:1.5 3:14\n1:2.0\n", RowFormat(feature_dim=7)),
        (b"1 0:1.5 3:14\n-1 1:2.0\n1\n", RowFormat(feature_dim=7)),
    ],
)
def test_plain_libsvm_takes_the_fast_path(monkeypatch, body, rows):
    ended = body if body.endswith(b"\n") else body + b"\n"
    assert text_kernel.sparse_rows(ended, rows.labels == "required") is not None
    assert equal(*both(monkeypatch, body, "text/libsvm", rows))


PLAIN_JSON = [
    (b'{"instances": [{"features": [1.5, -2, 0]}, {"features": [1e-3, 16777217, -0]}]}', False),
    (b' {\t"instances"\r\n:[ { "data":{"features" : {"values":[ 1 , -0.0 ] } } } ] }\n ', False),
    (b'{"features": [1, 2]}\n\n {"data": {"features": {"values": [3, 4.25E+2]}}}\r\n', True),
    (b'{"features":[9007199254740993,123456789012345678901234567890,1.0000000596046447753906251]}', True),
]


@pytest.mark.parametrize(("body", "lines"), PLAIN_JSON)
def test_plain_json_takes_the_fast_path(monkeypatch, body, lines):
    assert text_kernel.instances(body, lines) is not None
    media = "application/jsonlines" if lines else "application/json"
    for rows in (LOOSE, RowFormat(), RowFormat(feature_dim=3), RowFormat(feature_dim=2)):
        assert equal(*both(monkeypatch, body, media, rows))


@pytest.mark.parametrize(
    "row",
    [
        "01",
        "+1",
        "1.",
        ".5",
        "1.e5",
        "1e",
        "- 1",
        "NaN",
        "Infinity",
        "1e39",
        "9" * 400,
        "null",
        '"1"',
        "true",
        "[1]",
        "",
    ]
    + ["1,", ",1", "1 2", "1,,2", "0x1", "1f", "1\0"],
)
def test_numbers_that_are_not_plain_json_are_left_alone(monkeypatch, row):
    body = b'{"instances": [{"features": [%s]}]}' % row.encode()
    assert text_kernel.instances(body, False) is None
    assert text_kernel.instances(b'{"features": [%s]}' % row.encode(), True) is None
    for rows in (LOOSE, RowFormat()):
        assert equal(*both(monkeypatch, body, "application/json", rows))


@pytest.mark.parametrize(
    "body",
    ["", "{}", "[]", '{"instances": []}', '{"instances": [{"features": [1]}]} 1', '{"instances": [{"features": [1]}]}}']
    + ['{"instances": [{"features": [1]}, {"features": [1, 2]}]}', '{"instances": [{"features": [1]},]}']
    + ['{"instances": [{"features": [1]} {"features": [1]}]}', '{"instances": [{"features": [1], "id": 3}]}']
    + ['{"instances": [{"features": [1]}], "verbose": true}', '{"instance": [{"features": [1]}]}']
    + ['{"instances": [{"data": {"features": {"keys": [0], "shape": [2], "values": [1]}}}]}']
    + ['{"instances": [{"data": {"features": {"values": [1]}}]}', '{"instances": [{"features": [1'],
)
def test_what_is_not_plain_json_is_left_alone(monkeypatch, body):
    assert text_kernel.instances(body.encode(), False) is None
    assert equal(*both(monkeypatch, body.encode(), "application/json", RowFormat()))


def test_numbers_of_json_are_equal_bit_for_bit(monkeypatch):
    for token in random_numbers(2000, 6):
        body = f'{{"features": [{token.lstrip("+")}]}}'.encode()
        first, second = both(monkeypatch, body, "application/jsonlines")
        assert equal(first, second), token


def test_quoted_numbers_take_the_fast_path(monkeypatch):
    body = b'"1.5","","-2"\n"",4,"5e-1"\n,"",""\n'
    assert text_kernel.table(body) is not None
    for text in (body, body.replace(b",", b";"), body[:-9], b'""\n' + body, body + b'"",""\n', b'"1"\n""\n"2"\n'):
        for media in ("text/csv", "text/csv; delimiter=;"):
            assert equal(*both(monkeypatch, text, media))


@pytest.mark.parametrize(
    "text", [b"", b"1", b"\n", b"1,2\n3\n", b"1 2\n", b'"1\n', b'" 1"\n', b'""\n', b'"1"2\n', b"nan\n", b"1\r\n"]
)
def test_what_is_not_plain_csv_is_left_alone(text):
    assert text_kernel.table(text) is None


@pytest.mark.parametrize("text", [b"", b"1 1:1", b"\n", b"1 2:1 1:1\n", b"1 1:1 1:1\n", b"1 qid:1 1:1\n", b"1 # 1:1\n"])
def test_what_is_not_plain_libsvm_is_left_alone(text):
    assert text_kernel.sparse_rows(text, True) is None


def test_nothing_is_written_beyond_the_arrays():
    assert text_kernel.kernel.json(b'{"features": [1, 2]}\n\0', True, np.empty(1, np.float32)) is None
    assert text_kernel.kernel.json(b'{"features": [1]}\n', True, np.empty(1, np.float32)) is None  # no zero byte
    assert text_kernel.kernel.json(b'{"features": [1', True, np.empty(9, np.float32)) is None
    assert text_kernel.kernel.csv(b"1,2\n3,4\n", np.empty(3, np.float32)) is None
    empty = [np.empty(0, np.float32)] * 2 + [np.empty(1, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)]
    assert text_kernel.kernel.libsvm(b"1 1:1\n", True, *empty) is None
    empty[2] = np.empty(0, np.int32)
    assert text_kernel.kernel.libsvm(b"1 1:1\n", True, *empty) is None
