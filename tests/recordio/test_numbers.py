"""Decimal text to float32, beside exact fractions: every number is the nearest float32, ties to even."""

import json
import math
import os
import time
from fractions import Fraction

import numpy as np
import pytest

from recordio import text_kernel
from recordio.content_type import parse
from recordio.csv_rows import decode_csv
from recordio.json_rows import decode_json
from recordio.libsvm import decode_libsvm
from recordio.rows import RowFormat
from recordio.text import number

CASES = int(os.environ.get("NUMBER_CASES", 6000))  # 100,000 by hand
ANY = RowFormat(finite=False)


def nearest(text: str) -> float:
    """The float32 nearest to a decimal number, by exact integers: section 4.3.1 of IEEE 754-2019."""
    sign = -1.0 if text.startswith("-") else 1.0
    exact = abs(Fraction(text))
    if not exact:
        return sign * 0.0
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    exponent -= exact < Fraction(2) ** exponent
    unit = Fraction(2) ** max(exponent - 23, -149)
    count, rest = divmod(exact, unit)
    count += rest > unit / 2 or (rest == unit / 2 and count % 2 == 1)
    found = count * unit
    return sign * (math.inf if found >= 2**128 else float(found))


def decimal(value: Fraction) -> tuple[int, int]:
    """Digits and power of ten of a fraction whose denominator is a power of two, exactly."""
    power = value.denominator.bit_length() - 1
    return value.numerator * 5**power, -power


def hard_cases(count: int, seed: int) -> list[str]:
    """Halves between two float32, exact and one digit beside them; subnormals; the edge of overflow; long digits."""
    random = np.random.default_rng(seed)
    cases = []
    for bits in random.integers(0, 0x7F800000, count // 6, dtype=np.uint32).tolist():
        low = np.uint32(bits).view(np.float32)
        half = Fraction(float(low)) + Fraction(2) ** max((bits >> 23) - 127 - 23, -149) / 2
        digits, power = decimal(half)
        extra = int(random.integers(1, 40))
        cases += [f"{digits * 10**extra + change}e{power - extra}" for change in (0, 1, -1)]
        text = f"{digits}{'0' * extra}1"
        cases.append(f"{text[0]}.{text[1:]}E{len(str(digits)) - 1 + power:+d}")
        cases.append(f"0.{'0' * extra}{str(digits)[:18]}e{len(str(digits)) + power + extra}")
        cases.append(f"-{float(low):.{int(random.integers(6, 25))}e}")
    cases += [f"{random.integers(1, 10**18)}e{random.integers(-70, 45)}" for _ in range(count // 10)]
    return cases


EDGES = [
    "1.0000000596046447753906251",
    "1.000000059604644775390625",
    "16777217.0000000001",
    "16777217",
    "1.000000178813934326171875" + "0" * 4000 + "1",
    "340282356779733661637539395458142568447.9999",
    "340282356779733661637539395458142568448",
    "340282356779733661637539395458142568448.0001",
    "7.006492321624085354618e-46",
    "7.0064923216240853546186479164495806564013097093825788587853e-46",
    "000000000000000000000000000000000000001.5",
    "9" * 121 + "e-80",
    "-0.0",
]


def same(found: np.ndarray, texts: list[str]) -> None:
    """Bit for bit, so that -0 and 0 differ."""
    wanted = np.array([nearest(text) for text in texts], np.float32)
    wrong = np.flatnonzero(np.asarray(found, np.float32).view(np.uint32) != wanted.view(np.uint32))
    assert not len(wrong), [(texts[i][:60], found[i], wanted[i]) for i in wrong[:3]]


@pytest.fixture(params=["compiled", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(text_kernel, "kernel", None)
    elif text_kernel.kernel is None:
        pytest.skip("the compiled code was not built: there was no C compiler")
    return str(request.param)


TEXTS = hard_cases(CASES, seed=1) + EDGES


def test_csv_numbers_are_the_nearest(way: str) -> None:
    (batch,) = decode_csv("\n".join(TEXTS).encode(), ANY, parse("text/csv"))
    same(batch.features[:, 0], TEXTS)


def test_libsvm_numbers_are_the_nearest(way: str) -> None:
    body = "\n".join(f"0:{text}" for text in TEXTS).encode()
    (batch,) = decode_libsvm(body, ANY, parse("text/libsvm"))
    same(batch.features.data, TEXTS)


def test_json_numbers_are_the_nearest(way: str) -> None:
    texts = [text.lower() for text in TEXTS if not text.startswith("00")]
    (batch,) = decode_json(b'{"instances":[{"features":[%s]}]}' % ",".join(texts).encode(), ANY, parse("json"))
    same(batch.features[0], texts)


def test_huge_integers_of_json_are_the_nearest(way: str) -> None:
    random = np.random.default_rng(2)
    texts = [
        str((int(m) * 2 + 1) * 2 ** int(e) + int(d))
        for m, e, d in random.integers([2**23, 0, -1], [2**24, 80, 2], (200, 3))
    ]
    (batch,) = decode_json(b'{"instances":[{"features":[%s]}]}' % ",".join(texts).encode(), ANY, parse("json"))
    same(batch.features[0], texts)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-99999999999999999999", 0),
        ("0e99999999999999999999", 0),
        ("1" + "0" * 200_000 + "e-200000", 1),
        ("0." + "0" * 200_000 + "1e200001", 1),
        ("-1e99999999999999999999", -np.inf),
    ],
)
def test_an_endless_exponent(way: str, text: str, value: float) -> None:
    (batch,) = decode_csv(text.encode(), ANY, parse("text/csv"))
    assert batch.features[0, 0] == value == number(text.encode())


TIE_AND_ONE = "1.000000178813934326171875" + "0" * 1_500_000 + "1"


@pytest.mark.parametrize("text", [TIE_AND_ONE, "1" * 1_500_000, "1e" + "1" * 1_500_000, "0" * 1_500_000 + "1"])
def test_a_number_of_a_million_digits_takes_no_time(way: str, text: str) -> None:
    """Linear in the length: quadratic time took a minute, with the interpreter's lock held."""
    started = time.process_time()
    for media, body, decoder in (
        ("text/csv", text.encode(), decode_csv),
        ("text/libsvm", b"0:" + text.encode(), decode_libsvm),
        (
            "application/json",
            json.dumps({"instances": [{"features": ["@"]}]}).replace('"@"', text).encode(),
            decode_json,
        ),
    ):
        if media == "application/json" and text.startswith("00"):
            continue  # no number of JSON
        (batch,) = decoder(body, ANY, parse(media))  # type: ignore[operator]
        value = batch.features.data if batch.is_sparse else batch.features
        assert float(np.ravel(value)[0]) == (
            1.0000002384185791015625 if text is TIE_AND_ONE else 1 if text[0] == "0" else np.inf
        )
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "text", ["1" * 1_500_000 + "x", "1" * 700_000 + "." + "1" * 700_000 + "x", "1e" + "1" * 1_500_000 + "x"]
)
def test_what_is_no_number_is_refused_as_fast(way: str, text: str) -> None:
    started = time.process_time()
    for body, media, decoder in (
        (text, "text/csv", decode_csv),
        ("0:" + text, "text/libsvm", decode_libsvm),
        (text + ":1", "text/libsvm", decode_libsvm),
    ):
        with pytest.raises(ValueError, match="not (a|an) (number|integer)|a header"):
            list(decoder(body.encode(), ANY, parse(media)))  # type: ignore[operator]
    assert time.process_time() - started < 1


def test_an_index_with_many_leading_zeros(way: str) -> None:
    (batch,) = decode_libsvm(b"0" * 200 + b"7:1.5", ANY, parse("text/libsvm"))
    assert batch.features.indices.tolist() == [7]


def test_tokens_need_a_line_end_after_them() -> None:
    if text_kernel.kernel is None:
        pytest.skip("the compiled code was not built: there was no C compiler")
    starts, ends, values = np.array([0]), np.array([1]), np.zeros(1, np.float32)
    assert text_kernel.kernel.tokens(b"1\n", starts, ends, "f", values, 0) == 1
    assert text_kernel.kernel.tokens(b"1,2", starts, ends, "f", values, 0) == 0
