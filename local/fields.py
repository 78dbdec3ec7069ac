"""Advice about a field of a CSV file that is not a number: a date, a price, a word for a missing value, other text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from recordio.quoting import quoted

DELIMITERS = {";": "semicolon", "\t": "tab", "|": "pipe", " ": "space"}
"""Delimiters other than commas, and their words in a content type."""
FLAGS = {"true": "1", "false": "0"}
"""pandas' columns of truth values, such as those of get_dummies."""

_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+(e[-+]?[0-9]+)?", re.IGNORECASE)
_THOUSANDS = re.compile(
    r"[-+]?[0-9]{1,3}(?P<mark>[ ,.'’\u00a0\u202f])[0-9]{3}((?P=mark)[0-9]{3})*(?P<rest>[,.][0-9]+)?"
)
_MISSING = {"na", "n/a", "#n/a", "#na", "<na>", "null", "none", "nil", "?", "-", "--", ".", "missing"}
_DATE = re.compile(r"([0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{4})([T ][0-9].*)?")
_ISO_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[-+][0-9]{2}:?[0-9]{2})?)?"
)
_DAY_OR_MONTH = re.compile(r"(?P<first>[0-9]{1,2})(?P<mark>[-/.])[0-9]{1,2}[-/.][0-9]{4}.*")
_TIME = re.compile(r"[0-9]{1,3}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?")
_UNIT = re.compile(r"[^\w\s.,+-]?\s*(?P<number>[-+]?[0-9.,]*[0-9])\s*([^\w\s.,+-]+|\s[^\W\d]{1,4})?")


@dataclass(frozen=True)
class Written:
    """The form of the file that the field is from.

    Attributes:
        delimiter: what stands between its fields.
        header: its first line has the names of the columns.
        missing: the algorithm takes missing values, which are empty fields.
        alone: the row has no other field.
    """

    delimiter: str
    header: bool
    missing: bool
    alone: bool


def number(text: str) -> bool:
    """Whether the text is a number, NaN or infinite included."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def finite(text: str) -> bool:
    """Whether the text is a finite number."""
    return number(text) and math.isfinite(float(text))


def value(text: str) -> bool:
    """Whether a field with this text can be read: it is empty, a number, or true or false."""
    return not text or number(text) or text.lower() in FLAGS


def comma(text: str) -> bool:
    """Whether the text is a number with decimal commas, or with commas between thousands."""
    found = _THOUSANDS.fullmatch(text)
    return _DECIMAL_COMMA.fullmatch(text) is not None or (found is not None and "," in text)


def other_delimiter(text: str) -> str:
    """A hint at the delimiter of a line that was read as one field; "" if it has none."""
    for mark, word in DELIMITERS.items():
        if mark in text.strip() and mark != " ":
            return f"; is another delimiter meant? --content-type 'text/csv; delimiter={word}'"
    return ""


def other_charset(names: Sequence[str]) -> str:
    """A hint at the charset of a line that was read as UTF-8; "" if that seems right."""
    text = ",".join(names)
    if "\0" in text:
        charset = _wide_charset(text, names[0])
    elif "\ufffd" in text:
        charset = "latin-1"  # which Excel writes, as it does UTF-16
    else:
        return ""
    return f"; the file is not UTF-8: --content-type 'text/csv; charset={charset}' says what it is"


def _wide_charset(text: str, first: str) -> str:
    """The charset of UTF-16 or UTF-32 that was read as UTF-8, by the zeros in the text and in its first field."""
    size = 32 if "\0\0\0" in text else 16
    if "\ufffd\ufffd" in text[:4]:  # a byte order mark, whose two bytes UTF-8 never has
        return f"utf-{size}"
    # A field has the zeros before the delimiter, too. Of one in quotation marks the zeros of the first mark lead.
    big_endian = first.startswith("\0") and len(first) % 2 == 1
    return f"utf-{size}-{'be' if big_endian else 'le'}"


def refusal(text: str, name: str, written: Written, *, is_label: bool) -> str:
    """Why the text is refused, and what to do about it.

    ``name`` is the column in Python's spelling: a name between quotation marks, or a number.
    """
    for described in (_delimited, _with_commas, _missing, _date, _with_a_unit):
        if said := described(text, name, written, is_label=is_label):
            return f"{quoted(text)} {said}"
    return f"{quoted(text)} is text, and a number is expected; {numbers_of_text(name, is_label=is_label)}"


def numbers_of_text(name: str, *, is_label: bool) -> str:
    """What to do about a column of texts; ``name`` as in ``refusal``."""
    if is_label:
        return f"number the classes from 0, as pandas does: frame[{name}].factorize(sort=True)[0]"
    return (
        "leave the column out, or make numbers of it, a column of each of its values, as pandas does: "
        f"get_dummies(frame, columns=[{name}])"
    )


def numbers_of_dates(name: str, options: str = "", note: str = "") -> str:
    """What to do about a column of dates; ``name`` as in ``refusal``.

    Args:
        options: what pandas is to be told of such dates.
        note: what people are.
    """
    return (
        f"leave the column out, or make numbers of it, such as the days since the first{note}, as pandas does: "
        f"days = to_datetime(frame[{name}]{options}); (days - days.min()).dt.days"
    )


def _delimited(text: str, name: str, written: Written, *, is_label: bool) -> str:
    for mark, word in DELIMITERS.items():
        if mark == " " and not written.alone and _THOUSANDS.fullmatch(text):
            continue
        if mark in text and all(map(number, text.split(mark))):
            to_points = _rewritten(replace(written, delimiter=mark), "decimal=','")
            return (
                f"is no number, and numbers with another delimiter: --content-type 'text/csv; delimiter={word}'. "
                f"Where commas are decimal ones, write points, as pandas does: {to_points}"
            )
    return ""


def _with_commas(text: str, name: str, written: Written, *, is_label: bool) -> str:
    decimal = _DECIMAL_COMMA.fullmatch(text) is not None
    thousands = _THOUSANDS.fullmatch(text)
    if thousands is None or (thousands["mark"] == "." and not thousands["rest"]):
        if not decimal:
            return ""
        return f"has a decimal comma, and a decimal point is expected; as pandas makes it: {_decimal(written)}"
    mark = thousands["mark"]
    options = f"thousands={mark!r}" + ("" if mark.isascii() else ", engine='python'")  # the other engine ignores them
    if (thousands["rest"] or "").startswith(","):
        return (
            "has a decimal comma and a mark of thousands, and a number such as 1234.5 is expected; as pandas makes it: "
            + _rewritten(written, f"decimal=',', {options}")
        )
    return (
        "has a mark of thousands, and a number such as 1234.5 is expected; as pandas makes it: "
        + _rewritten(written, options)
        + (f". If the comma is a decimal one: {_decimal(written)}" if decimal else "")
    )


def _decimal(written: Written) -> str:
    return _rewritten(written, "decimal=','")


def _rewritten(written: Written, options: str) -> str:
    """pandas' expression for the same file with plain numbers, which the same command reads."""
    between = "" if written.delimiter == "," else f", sep={written.delimiter!r}"
    reading, writing = ("", "") if written.header else (", header=None", ", header=False")
    return f"read_csv(FILE, {options}{between}{reading}).to_csv(NEW, index=False{between}{writing})"


def _missing(text: str, name: str, written: Written, *, is_label: bool) -> str:
    if text.lower() not in _MISSING:
        return ""
    said = "is no number, and seems to stand for a missing value; "
    if written.missing and not is_label:
        return said + f"leave the field empty, as pandas does: {_rewritten(written, f'na_values=[{text!r}]')}"
    reading = _rewritten(written, f"na_values=[{text!r}]").partition(".to_csv(")[0]
    if is_label:
        return said + f"leave the row out, as pandas does: frame = {reading}; frame.dropna(subset=[{name}])"
    filled = "frame.fillna(frame.mean(numeric_only=True))"
    return said + f"fill it, as pandas does: frame = {reading}; {filled}, or leave the column out"


def _date(text: str, name: str, written: Written, *, is_label: bool) -> str:
    return text_of_time(text, name)


def text_of_time(text: str, name: str) -> str:
    """What to do about a text that is a date or a time; nothing where it is neither. ``name`` as in ``refusal``."""
    if _DATE.fullmatch(text):
        return f"is a date, and a number is expected; {numbers_of_dates(name, *_date_options(text))}"
    if _TIME.fullmatch(text):
        return (
            "is a time, and a number is expected; make seconds of it, as pandas does: "
            f"to_timedelta(frame[{name}]).dt.total_seconds()"
        )
    return ""


def _date_options(text: str) -> tuple[str, str]:
    """The options that pandas needs for dates of this form, and a note on those for another reading of it."""
    if _ISO_DATE.fullmatch(text):
        return ", format='ISO8601', utc=True", ""  # else all must have as many digits, and the first one's time zone
    found = _DAY_OR_MONTH.fullmatch(text)
    if found is None:
        return "", ""
    if found["mark"] == "." or int(found["first"]) > 12:
        return ", dayfirst=True", ""
    return "", " (with dayfirst=True where the day comes before the month)"


def _with_a_unit(text: str, name: str, written: Written, *, is_label: bool) -> str:
    found = _UNIT.fullmatch(text)
    if found is None or not (number(found["number"]) or comma(found["number"])):
        return ""
    return (
        "is more than a number; take the rest away, as pandas does: "
        f"frame[{name}].str.replace('[^0-9.+-]', '', regex=True).astype(float)"
    )
