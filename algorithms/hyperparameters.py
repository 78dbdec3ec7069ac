"""Hyperparameters, declared once.

A declaration is a frozen dataclass whose fields are made by ``integer``, ``real``, ``flag``, ``choice``, ``listing``
or ``text``. From it follow: parsing of SageMaker's map of strings (``parse``), the sentences about what is wrong,
the help text and the README's tables (``table``), and SageMaker's ``CreateAlgorithm`` specification
(``container.describe``).

    >>> @dataclass(frozen=True, kw_only=True)
    ... class Example(Hyperparameters):
    ...     k: int = integer(at_least=1, help="Number of clusters.")
    ...     tol: float = real(default=1e-4, at_least=0, at_most=1, help="Least gain of an iteration.")
    >>> parse(Example, {"k": "10"})
    Example(k=10, tol=0.0001)
    >>> parse(Example, {"tol": "2", "q": "1"})
    Traceback (most recent call last):
    ...
    algorithms.errors.HyperparameterError: No value(s) were specified for 'k' which are required hyperparameter(s)
    Additional hyperparameters are not allowed ('q' was unexpected)
    Hyperparameter 'tol': '2' is not a number from 0 to 1
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import re
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from algorithms.errors import HyperparameterError
from recordio.quoting import quoted

AUTO = "auto"
_INTEGER = re.compile(r"[+-]?[0-9]+(\.0+)?")  # "10.0" too: tuners and JSON encoders write whole floats so
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SMALLEST, _LARGEST = 2.0**-125, (2 - 2.0**-23) * 2.0**127
"""The range of float32's normal numbers, except the very smallest, which XGBoost cannot read. SageMaker's engines and
ours compute in float32: 1e-50 would be a rate, a tolerance or a deviation of 0, and 1e50 infinite."""
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Tunable:
    """The range that SageMaker's documentation recommends for tuning."""

    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    scale: str = "Auto"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One hyperparameter: everything that is known of it without seeing a value.

    Attributes:
        kind: ``integer``, ``real``, ``flag``, ``choice``, ``listing`` or ``text``.
        default: the value when none is given; ``required`` fields have none.
        at_least, above, at_most, below: closed and open ends of the range; of the elements for a listing.
        choices: the accepted words; of the elements for a listing.
        also: a regular expression of elements that a listing takes besides its ``choices``.
        auto: the word ``auto`` is accepted besides.
        words: other words accepted besides a number.
        adapted: where the job states none, the data may decide otherwise than the default; a stated one is taken as it
            is, though it be the default.
        name: the name on the wire, where it is not the attribute's (``lambda``).
        aliases: other names on the wire for the same thing.
        when: in words, when the value matters.
        no_effect: set where the hyperparameter is accepted for compatibility only: why it changes nothing.
    """

    kind: str
    help: str
    required: bool = False
    default: Any = None
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    also: str | None = None
    auto: bool = False
    words: tuple[str, ...] = ()
    adapted: bool = False
    name: str | None = None
    aliases: tuple[str, ...] = ()
    when: str | None = None
    tunable: Tunable | None = None
    no_effect: str | None = None

    def expected(self) -> str:
        """What a value must look like, in words."""
        parts = {
            "integer": f"an integer{self._range()}",
            "real": f"a number{self._range()}",
            "flag": "true or false",
            "choice": "one of " + ", ".join(self.choices),
            "listing": "a JSON list or comma-separated list" + self._elements(),
            "text": "text",
        }
        words = ((AUTO,) if self.auto else ()) + self.words
        return " or ".join((parts[self.kind], *words))

    def _elements(self) -> str:
        return f" of {', '.join(self.choices)}" if self.choices else self._range()

    def _range(self) -> str:
        low = f"from {_shown(self.at_least)}" if self.at_least is not None else ""
        low = f"above {_shown(self.above)}" if self.above is not None else low
        high = f"to {_shown(self.at_most)}" if self.at_most is not None else ""
        high = f"below {_shown(self.below)}" if self.below is not None else high
        if low and not high:
            return f" {low.replace('from', 'of at least')}"
        return "".join(f" {end}" for end in (low, high) if end)

    def parse(self, value: str) -> Any:
        """The typed value of ``value``, a string from the wire. Raises ValueError where it is not as expected."""
        if (self.auto and value == AUTO) or value in self.words:
            return value
        return getattr(self, f"_parse_{self.kind}")(value)

    def _parse_integer(self, value: str) -> int:
        if not _INTEGER.fullmatch(value):
            raise ValueError(value)
        return int(self._in_range(int(value.split(".")[0])))

    def _parse_real(self, value: str) -> float:
        if not _REAL.fullmatch(value):
            raise ValueError(value)
        if not _fits_float32(value):
            raise ValueError(value)
        number = float(value)
        if _rounded(number) in (self.above, self.below):
            raise ValueError(value)  # 0.9999999999999999 is not below 1 in float32
        return self._in_range(number)

    def problem(self, value: str) -> str:
        """What is wrong with a ``value`` that ``parse`` refuses, in words."""
        beyond = self.kind == "real" and _REAL.fullmatch(value) and not _fits_float32(value)
        size = f", 0 or from {_SMALLEST:.2g} to {_LARGEST:.2g} in size" if beyond else ""
        near = difflib.get_close_matches(value[:100], self.choices, n=1)
        return f"{quoted(value)} is not {self.expected()}{size}" + (f"; did you mean '{near[0]}'?" if near else "")

    def _parse_flag(self, value: str) -> bool:
        if value.lower() not in _FLAGS:
            raise ValueError(value)
        return _FLAGS[value.lower()]

    def _parse_choice(self, value: str) -> str:
        if value not in self.choices:
            raise ValueError(value)
        return value

    def _parse_text(self, value: str) -> str:
        return value

    def _parse_listing(self, value: str) -> tuple[str, ...]:
        words = tuple(_words(value.strip()))
        if not words or not all(word and self._is_element(word) for word in words):
            raise ValueError(value)
        return words

    def _is_element(self, word: str) -> bool:
        if not self.choices or word in self.choices:
            return True
        return self.also is not None and re.fullmatch(self.also, word) is not None

    def _in_range(self, number: float) -> float:
        outside = (
            (self.at_least is not None and number < self.at_least)
            or (self.above is not None and number <= self.above)
            or (self.at_most is not None and number > self.at_most)
            or (self.below is not None and number >= self.below)
        )
        if outside:
            raise ValueError(number)
        return number


def _rounded(number: float) -> float:
    """The nearest float32."""
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _fits_float32(value: str) -> bool:
    """Whether the number is 0 as written, or one that float32 holds; 1e-400 is 0 to Python alone."""
    is_zero = not re.search("[1-9]", value.lower().partition("e")[0])
    return is_zero or _SMALLEST <= abs(float(value)) <= _LARGEST


def _words(text: str) -> list[str]:
    """The elements of a list, as JSON, between commas, or as the text of a Python list or tuple, which is what the
    SageMaker SDK's generic Estimator writes.

    >>> _words('["msd", "ssd"]') == _words("msd,ssd") == _words("['msd', 'ssd']") == _words("('msd', 'ssd')")
    True
    """
    if text.startswith("["):
        try:
            return [str(item).strip() for item in json.loads(text)]
        except (json.JSONDecodeError, RecursionError):
            text = text.removeprefix("[").removesuffix("]")
    if text.startswith("("):
        text = text.removeprefix("(").removesuffix(")").rstrip().removesuffix(",")  # Python writes (1,) for one element
    return [word.strip().strip("'\"") for word in text.split(",")]


_REQUIRED: Any = object()


def _declare(kind: str, default: Any, options: dict[str, Any]) -> Any:
    required = default is _REQUIRED
    field = Field(kind=kind, required=required, default=None if required else default, **options)
    if required:
        return dataclasses.field(metadata={"hyperparameter": field})
    return dataclasses.field(default=default, metadata={"hyperparameter": field})


def integer(*, default: Any = _REQUIRED, **options: Any) -> Any:
    """A whole number. ``options`` are attributes of ``Field``; without a default it is required."""
    return _declare("integer", default, options)


def real(*, default: Any = _REQUIRED, **options: Any) -> Any:
    """A finite number, kept as a Python float."""
    return _declare("real", default, options)


def flag(*, default: Any = _REQUIRED, **options: Any) -> Any:
    """``true`` or ``false``, in any case; ``1`` and ``0`` too."""
    return _declare("flag", default, options)


def choice(*choices: str, default: Any = _REQUIRED, **options: Any) -> Any:
    """One of the given words."""
    return _declare("choice", default, {"choices": choices, **options})


def listing(*, default: Any = _REQUIRED, **options: Any) -> Any:
    """A list, as JSON text or separated by commas; becomes a tuple of strings."""
    return _declare("listing", default, options)


def text(*, default: Any = _REQUIRED, **options: Any) -> Any:
    """Any text; its meaning is checked in ``check``."""
    return _declare("text", default, options)


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Base of all declarations.

    ``given`` holds the attributes that the job states itself: for messages. What a job does by it asks ``states``.
    ``overruled`` has a sentence for each that it states twice, under two of its names, with two values.
    """

    given: ClassVar[frozenset[str]] = frozenset()
    overruled: ClassVar[tuple[str, ...]] = ()

    def states(self, *attributes: str) -> bool:
        """Whether the job states one of these ``adapted`` hyperparameters."""
        declared = by_attribute(type(self))
        assert all(declared[name].adapted for name in attributes), attributes
        return not self.given.isdisjoint(attributes)

    def check(self) -> list[str]:
        """Sentences about what is wrong between fields that are right one by one; none by default."""
        return []

    def unlogged(self, metric: str, channels: Collection[str] | None = None) -> str | None:
        """Why a job with these values and channels (None: whatever channels) never logs ``metric``, as in
        ``validation:rmse``; None where it does. A tuning job with that objective would train in vain."""
        channel = metric.partition(":")[0]
        return None if channels is None or channel in channels else f"there is no channel '{channel}'"


def by_attribute(declaration: type[Hyperparameters]) -> dict[str, Field]:
    """The declared fields by the attributes that hold their values, in order of declaration."""
    return {item.name: item.metadata["hyperparameter"] for item in dataclasses.fields(declaration)}


def fields(declaration: type[Hyperparameters]) -> dict[str, Field]:
    """The declared fields by their name on the wire, in order of declaration."""
    return {field.name or attribute: field for attribute, field in by_attribute(declaration).items()}


def by_every_name(declaration: type[Hyperparameters]) -> dict[str, Field]:
    """The declared fields by their names and aliases on the wire, such as ``learning_rate`` for XGBoost's ``eta``."""
    return {name: field for wire, field in fields(declaration).items() for name in (wire, *field.aliases)}


def wire_values(values: Hyperparameters) -> dict[str, Any]:
    """The values by their name on the wire, in order of declaration."""
    declared = by_attribute(type(values))
    return {field.name or attribute: getattr(values, attribute) for attribute, field in declared.items()}


def stated_defaults(values: Hyperparameters) -> list[str]:
    """The names on the wire of what the job states at its default, where it does something else without: all that two
    jobs with the same values may differ in."""
    return [
        field.name or name
        for name, field in by_attribute(type(values)).items()
        if field.adapted and name in values.given and getattr(values, name) == field.default
    ]


H = TypeVar("H", bound=Hyperparameters)


def parse(declaration: type[H], strings: Mapping[str, str]) -> H:
    """Typed hyperparameters from SageMaker's map of strings.

    A value that is itself a JSON-encoded string (``"\\"10\\""``, as some SDK classes send) is decoded first. Of two
    values of one hyperparameter, under two of its names, the last is taken, as XGBoost's open container does.

    Raises:
        HyperparameterError: naming every problem there is, not only the first.
    """
    declared = by_attribute(declaration)
    attributes = {
        wire: attribute for attribute, field in declared.items() for wire in (field.name or attribute, *field.aliases)
    }
    given: dict[str, Any] = {}
    unknown, problems, overruled = [], [], []
    for wire, raw in strings.items():
        attribute = attributes.get(wire)
        if attribute is None:
            unknown.append(wire)
        else:
            value = plain(raw)
            try:
                parsed = declared[attribute].parse(value)
                if (before := given.get(attribute, parsed)) != parsed:
                    overruled.append(
                        f"Hyperparameter {quoted(wire)} is given twice, under two of its names, with two values: the "
                        f"last, {_shown(parsed)}, is taken, and {_shown(before)} is not"
                    )
                given[attribute] = parsed
            except (ValueError, TypeError):
                given[attribute] = None
                problems.append(f"Hyperparameter {quoted(wire)}: {declared[attribute].problem(value)}")
    missing = [field.name or name for name, field in declared.items() if field.required and name not in given]
    problems = _whole_map_problems(missing, unknown) + problems
    if problems:
        raise HyperparameterError(problems)
    values = declaration(**given)
    object.__setattr__(values, "given", frozenset(given))
    object.__setattr__(values, "overruled", tuple(overruled))
    if problems := values.check():
        raise HyperparameterError(problems)
    return values


def plain(raw: Any) -> str:
    """``raw`` as the text to parse: white space and one layer of JSON string encoding taken off."""
    value = raw.strip() if isinstance(raw, str) else json.dumps(raw)
    if len(value) >= 2 and value[0] == value[-1] == '"':
        with contextlib.suppress(ValueError):
            value = str(json.loads(value)).strip()
    return value


def _whole_map_problems(missing: Sequence[str], unknown: Sequence[str]) -> list[str]:
    """The two sentences are SageMaker's own wording, which users and their scripts search for."""
    problems = []
    if missing:
        names = ", ".join(f"'{name}'" for name in missing)
        problems.append(f"No value(s) were specified for {names} which are required hyperparameter(s)")
    if unknown:
        names = ", ".join(map(quoted, unknown))
        verb = "was" if len(unknown) == 1 else "were"
        problems.append(f"Additional hyperparameters are not allowed ({names} {verb} unexpected)")
    return problems


def table(declaration: type[Hyperparameters]) -> list[tuple[str, str, str, str]]:
    """Rows of (name, expected value, default, help) for help texts and README tables."""
    rows = []
    for wire, field in fields(declaration).items():
        default = "required" if field.required else "" if field.default is None else _shown(field.default)
        note = f" {field.no_effect}" if field.no_effect else ""
        when = f" (When {field.when}.)" if field.when else ""
        rows.append((wire, field.expected(), default, field.help + when + note))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
