"""CSV files as spreadsheets and pandas write them: a header, the label in any column.

They are rewritten as the algorithms read CSV: rows of numbers, the label first. Where an algorithm reads no CSV, they
become RecordIO-protobuf. Errors about a field that is not a number name its row and column, and what to do about it.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import difflib
import io
import itertools
import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TextIO

from container.settings import ConfigurationError
from local import fields
from recordio.content_type import ContentType
from recordio.quoting import quoted
from recordio.text import no_byte_order_mark

_INDEX = re.compile(r"-?[0-9]{1,9}")
_SHOWN = 8
NAME_THE_LABEL = (
    "if one of the columns is the label, say which: --label NAME, or its number, --label 0 for the first and "
    "--label -1 for the last"
)
_UNCLOSED = "a quotation mark is not closed"
_LOOKED_AT = 1000  # rows of a file that is read as it is


@dataclass(frozen=True)
class Columns:
    """The command's options about the columns of CSV and Parquet files.

    Attributes:
        label: the name of the label's column, or its number, from 0 or (negative) from the end; None for the first.
        header: the first line of a CSV file has the names. A label that is named implies it.
    """

    label: str | None = None
    header: bool = False

    @property
    def given(self) -> bool:
        """Whether there is one of the options."""
        return self.header or self.label is not None

    @property
    def words(self) -> str:
        """The options for ``oba predict`` with a file of the same form."""
        header = " --header" if self.header else ""
        return header + ("" if self.label is None else f" --label {shlex.quote(self.label)}")

    @property
    def named(self) -> bool:
        """Whether the files have headers."""
        return self.header or (self.label is not None and not _INDEX.fullmatch(self.label))


@dataclass(frozen=True, kw_only=True)
class Form:
    """How the text of a file is to be read.

    Attributes:
        what: names the file in messages.
        labelled: the label comes first in the rows that are made; elsewhere a label that is named is left out.
        missing: an empty field is a missing value; elsewhere it is an error.
        like: the names of the columns of an earlier file, whose order these take; None where there is none.
        whose: what messages call that file.
        features: how many the model takes that is asked; None for any number.
    """

    columns: Columns
    what: str
    delimiter: str = ","
    labelled: bool = False
    missing: bool = False
    like: Sequence[str] | None = None
    whose: str = "the first file"
    features: int | None = None


class Table:
    """The rows of one CSV file, in the order that algorithms want; can be iterated once.

    ``names`` are those of its header, None without one; ``label`` that of the label's column, None where one of the two
    is not there.

    Raises:
        ConfigurationError: there is no row, the label's column is not there, a row has another number of fields, or a
            field is no number.
    """

    def __init__(self, text: TextIO, form: Form) -> None:
        self._form = form
        self._lines = csv.reader(text, delimiter=form.delimiter, skipinitialspace=True)
        self._row = 0
        first = next(self._filled(), None)
        if first is None:
            raise ConfigurationError(f"{form.what}: there are no rows")
        self.names = [name.strip() for name in first] if form.columns.named else None
        _check_charset(form, first)
        if self.names is not None and not self.names[0]:
            raise ConfigurationError(
                f"{form.what}: the first column has no name. pandas writes a frame's index so, which is no feature: "
                "frame.to_csv(FILE, index=False) leaves it out"
            )
        if self.names is None and not any(fields.value(field.strip()) for field in first):
            _check_commas(f"{form.what}, line 1", first, form)
            raise ConfigurationError(
                f"{form.what}: the first line has no numbers, but {_listed(first)}. If these are the names of the "
                f"columns, add --header{_beside(first)}"
            )
        self._first = None if self.names is not None else first
        self._width = len(first)
        self._label = self._place()
        self.label = None if self.names is None or self._label is None else self.names[self._label]
        self._order = self._ordered(first)

    def __iter__(self) -> Iterator[list[str]]:
        if self._first is not None:
            yield self._numbers(self._first)
        for row in self._filled():
            yield self._numbers(row)
        if self._row == 0:
            raise ConfigurationError(f"{self._form.what}: there are no rows below the names of the columns")

    def _filled(self) -> Iterator[list[str]]:
        # A request of which all values are missing is answered, too: answers belong to rows by their order.
        asks = self._form.missing and not self._form.labelled
        try:
            yield from _filled(self._lines, least=2 if asks else math.inf)
        except csv.Error as error:
            raise ConfigurationError(f"{self._form.what}, line {self._lines.line_num}: {error}") from error
        except UnicodeError as error:  # of UTF-16 and UTF-32 that do not say the order of their bytes
            raise ConfigurationError(
                f"{self._form.what}: the text is not in the stated charset: {error}{no_byte_order_mark(error)}"
            ) from error

    def _place(self) -> int | None:
        """The label's column; None where there is none."""
        label = self._form.columns.label
        if label is None:
            return 0 if self._form.labelled else None
        if self.names is not None and label in self.names:
            if self.names.count(label) > 1:
                raise ConfigurationError(f"{self._form.what}: two columns are called {quoted(label)}")
            return self.names.index(label)
        if _INDEX.fullmatch(label) and -self._width <= int(label) < self._width:
            return int(label) % self._width
        raise ConfigurationError(f"{self._form.what}: there is no column {quoted(label)}; {self._known(label)}")

    def _known(self, label: str) -> str:
        if self.names is None or _INDEX.fullmatch(label):
            return f"there are {self._width}, from 0 to {self._width - 1}, and -1 is the last"
        if charset := fields.other_charset(self.names):
            return charset.removeprefix("; ")
        if len(self.names) == 1:
            advice = fields.other_delimiter(self.names[0])
            return f"there is one, {quoted(self.names[0])}{advice or ', for the first line is to name the columns'}"
        near = [name for name in self.names if name.lower() == label.lower()]
        near = near or difflib.get_close_matches(label, self.names, n=1)
        return f"did you mean {quoted(near[0])}?" if near else f"there are {_listed(self.names)}"

    def _ordered(self, first: Sequence[str]) -> list[int]:
        """The columns in the order in which they are written: the label, if it is one of them, then the features."""
        features = [column for column in range(self._width) if column != self._label]
        if self._form.like is not None and self.names is not None:
            features = self._like(self._form.like, self.names, features)
        if not features:
            raise ConfigurationError(f"{self._form.what}: there is no column beside the label")
        _check_width(self._form, len(features), first)
        return [self._label, *features] if self._label is not None and self._form.labelled else features

    def _like(self, like: Sequence[str], names: list[str], features: list[int]) -> list[int]:
        """The columns of the features in the order that these names have, the label's aside."""
        wanted, found = [name for name in like if name != self.label], [names[column] for column in features]
        if wanted == found:
            return features
        if len(set(found)) < len(found):
            twice = min(name for name, count in Counter(found).items() if count > 1)
            raise ConfigurationError(
                f"{self._form.what}: two columns are called {quoted(twice)}, and the order is not that of "
                f"{self._form.whose}: which is which cannot be told"
            )
        if sorted(wanted) != sorted(found) or len(set(wanted)) < len(wanted):
            lacking = [name for name in wanted if name not in found]
            more = [name for name in found if name not in wanted]
            raise ConfigurationError(
                f"{self._form.what}: the columns are not those of {self._form.whose}: "
                f"{_listed(lacking) if lacking else 'none'} lacking, {_listed(more) if more else 'none'} added"
                + ("" if lacking or len(more) > 1 else leave_out(more[0]))
            )
        return [names.index(name) for name in wanted]

    def _numbers(self, row: list[str]) -> list[str]:
        self._row += 1
        if len(row) != self._width:
            advice = f"; {_UNCLOSED}" if "\n" in row[0] else fields.other_delimiter(row[0])
            raise ConfigurationError(
                f"{self._place_of_row()}: {len(row)} fields, and {self._width} in the first line"
                + (advice if len(row) == 1 else "")
            )
        ordered = [row[column] for column in self._order]
        if all(map(fields.finite, ordered)):
            return ordered
        return [self._number(field.strip(), column) for field, column in zip(ordered, self._order, strict=True)]

    def _number(self, text: str, column: int) -> str:
        if text.lower() in fields.FLAGS:
            return fields.FLAGS[text.lower()]
        is_label = column == self._label
        if fields.finite(text) or (self._form.missing and not is_label and (not text or _is_nan(text))):
            return text
        place = f"{self._place_of_row()}, {self._called(column)}"
        if not text:
            raise ConfigurationError(
                f"{place}: the field is empty; fill it, or leave the "
                + ("row out, as pandas' dropna does" if is_label else "column out: pandas' fillna, drop")
            )
        if fields.number(text):
            raise ConfigurationError(f"{place}: {quoted(text)} is not a finite number")
        name = quoted(self.names[column]) if self.names else str(column)
        raise _refused(place, text, name, self._form, is_label=is_label, alone=self._width == 1)

    def _place_of_row(self) -> str:
        return f"{self._form.what}, row {self._row} (line {self._lines.line_num})"

    def _called(self, column: int) -> str:
        kind = "label" if column == self._label else "column"
        return f"{kind} {quoted(self.names[column])}" if self.names else f"{kind} {column} (counted from 0)"


def _filled(rows: Iterable[list[str]], least: float = math.inf) -> Iterator[list[str]]:
    """All but those of blank lines, and of delimiters alone where these make fewer than the ``least`` fields."""
    return (row for row in rows if len(row) >= least or any(field.strip() for field in row))


def leave_out(name: str) -> str:
    """Advice about one column too many, as the end of a message."""
    return f"; if that is the label, --label {shlex.quote(name)} leaves it out"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(quoted(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def opened(stream: BinaryIO, content_type: ContentType) -> io.TextIOWrapper:
    """The text of a CSV file. A byte order mark, as Excel writes it, is left out."""
    charset = codecs.lookup(content_type.parameters.get("charset", "utf-8")).name
    charset = "utf-8-sig" if charset == "utf-8" else charset
    return io.TextIOWrapper(stream, charset, errors="replace", newline="")


def header(text: TextIO, delimiter: str) -> list[str]:
    """The names of the columns in the first line that is not blank; [] where there is none that csv could read."""
    with contextlib.suppress(csv.Error, UnicodeError):
        for row in _filled(csv.reader(text, delimiter=delimiter, skipinitialspace=True)):
            return [field.strip() for field in row]
    return []


def _check_width(form: Form, found: int, first: Sequence[str]) -> None:
    """Refuse rows of another number of features than the model takes; ``first`` is the first line.

    Raises:
        ConfigurationError: with both numbers, and what to do where one column more may be the label.
    """
    if form.features in (None, found):
        return
    label = form.columns.label
    beside = "" if label is None else f" beside the label, {quoted(label)}"
    advice = ""
    if label is None and found == (form.features or 0) + 1:
        advice = f"; {NAME_THE_LABEL}"
    elif found == 1:
        advice = fields.other_delimiter(first[0])
    raise ConfigurationError(
        f"{form.what}: rows have {found} column{'' if found == 1 else 's'}{beside}, and the model takes "
        f"{form.features} features{advice}"
    )


def check(text: TextIO, form: Form) -> bool:
    """For files without options about their columns: refuse a first line without numbers, and text in the first rows.
    Readers find the rest, and name line and column.

    Returns:
        Whether the first rows have true and false, which readers do not know.

    Raises:
        ConfigurationError: saying what to do.
    """
    flags = False
    rows = _filled(csv.reader(text, delimiter=form.delimiter, skipinitialspace=True))
    with contextlib.suppress(csv.Error, UnicodeError):  # it is the reader's to say what is wrong
        for number, row in enumerate(itertools.islice(rows, _LOOKED_AT), 1):
            found = [field.strip() for field in row]
            if number == 1:
                _check_charset(form, found)
            if number == 1 and not any(map(fields.value, found)):
                _check_commas(f"{form.what}, line 1", found, form)
                raise ConfigurationError(
                    f"{form.what}: the first line has no numbers, but {_listed(found)}. If these are the names of "
                    "the columns, add --header; with --label NAME, where the label is not the first of them"
                    f"{_beside(found)}"
                )
            for column, field in enumerate(found):
                if not fields.value(field):
                    is_label = form.labelled and column == 0
                    place = f"{form.what}, row {number}, {'label' if is_label else 'column'} {column} (counted from 0)"
                    raise _refused(place, field, str(column), form, is_label=is_label, alone=len(found) == 1)
                flags = flags or field.lower() in fields.FLAGS
            if number == 1:
                _check_width(form, len(found), found)
    return flags


def _check_charset(form: Form, first: Sequence[str]) -> None:
    """Refuse UTF-16 and UTF-32 that was read as UTF-8, of which neither names nor numbers can be told."""
    if any("\0" in field for field in first):
        raise ConfigurationError(f"{form.what}: {fields.other_charset(first).removeprefix('; ')}")


def _beside(found: Sequence[str]) -> str:
    """What else may be wrong if the first line has no numbers: its charset or delimiter."""
    if charset := fields.other_charset(found):
        return charset
    return fields.other_delimiter(found[0]) if len(found) == 1 else ""


def _is_nan(text: str) -> bool:
    return fields.number(text) and math.isnan(float(text))


def _check_commas(place: str, found: Sequence[str], form: Form) -> None:
    """Refuse a first line of numbers that people write with commas, which is no header."""
    line = form.delimiter.join(found)
    for mark, word in fields.DELIMITERS.items():
        parts = [part.strip() for part in line.split(mark)]
        if len(parts) > 1 and mark != form.delimiter and all(fields.value(one) or fields.comma(one) for one in parts):
            raise ConfigurationError(
                f"{place}: {quoted(line)} has another delimiter: --content-type 'text/csv; delimiter={word}'"
            )
    for field in found:
        if fields.comma(field.strip()):
            raise _refused(place, field.strip(), "0", form, is_label=False, alone=len(found) == 1)


def _refused(place: str, text: str, name: str, form: Form, *, is_label: bool, alone: bool) -> ConfigurationError:
    written = fields.Written(form.delimiter, form.columns.named, form.missing, alone)
    return ConfigurationError(f"{place}: {fields.refusal(text, name, written, is_label=is_label)}")
