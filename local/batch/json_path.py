"""The part of JSONPath that batch transform's filters can use.

    $   .name   ['name']   ['a','b']   [0]   [-1]   [0,2]   [1:3]   .*   [*]

Several names select an object, several indexes, a slice and a wildcard a list. The end of a slice is not part of it,
as in JSONPath (RFC 9535) and in the Java library that SageMaker's guide refers to, though one sentence of the guide
says "inclusive"; what is in use, such as ``$[0:-1]`` for all columns but the last, relies on that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LONGEST = 63
"""Characters of a filter in the CreateTransformJob API."""

_NAME = re.compile(r"\.?\s*(?:\.([^.\[\]*'\",:\s]+)|(\.\*)|\[([^\]]*)\])\s*")
_QUOTED = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)")\s*(,|$)""")
_INTEGER = re.compile(r"\s*(-?\d{1,9})\s*")
_SLICE = re.compile(r"\s*(-?\d{1,9})?\s*:\s*(-?\d{1,9})?\s*")


class PathError(ValueError):
    """A filter is malformed, or selects what is not there."""


@dataclass(frozen=True)
class Path:
    """A filter. ``steps`` are names (tuples of text), indexes (tuples of integers), slices, or None for a wildcard."""

    text: str
    steps: tuple[tuple[str, ...] | tuple[int, ...] | slice | None, ...]

    @property
    def selects_all(self) -> bool:
        """Whether it is ``$``."""
        return not self.steps

    def select(self, document: Any) -> Any:
        """What the filter selects in a JSON document.

        Raises:
            PathError: a name or an index is not there.
        """
        return self._select(document, self.steps)

    def _select(self, value: Any, steps: Sequence[Any]) -> Any:
        if not steps:
            return value
        step, rest = steps[0], steps[1:]
        if step is None:
            if not isinstance(value, dict | list):
                raise PathError(f"{self.text}: there is nothing to choose from in {_shown(value)}")
            return [self._select(item, rest) for item in (value.values() if isinstance(value, dict) else value)]
        if isinstance(step, slice):
            return [self._select(item, rest) for item in self._list(value)[step]]
        if isinstance(step[0], int):
            items = [self._select(self._at(self._list(value), index), rest) for index in step]
            return items[0] if len(step) == 1 else items
        found = {name: self._select(self._member(value, name), rest) for name in step}
        return found[step[0]] if len(step) == 1 else found

    def _list(self, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise PathError(f"{self.text}: an index needs a list, found {_shown(value)}")
        return value

    def _at(self, items: list[Any], index: int) -> Any:
        if not -len(items) <= index < len(items):
            raise PathError(f"{self.text}: there is no index {index} in a list of {len(items)}")
        return items[index]

    def _member(self, value: Any, name: str) -> Any:
        if not isinstance(value, dict):
            raise PathError(f"{self.text}: a name needs a JSON object, found {_shown(value)}")
        if name not in value:
            raise PathError(f"{self.text}: there is no '{name}' in {_shown(value)}")
        return value[name]


def parse(text: str) -> Path:
    """The filter in ``text``.

    >>> parse("$['id','SageMakerOutput']").steps
    (('id', 'SageMakerOutput'),)
    >>> parse("$.instances[1:3].features[0]").select({"instances": [{"features": [n]} for n in range(5)]})
    [1, 2]

    Raises:
        PathError: it is not one of the forms above.
    """
    body = text.strip()
    if len(text) > LONGEST or not body.startswith("$"):
        raise PathError(f"'{text[:LONGEST]}' is not a JSONPath of at most {LONGEST} characters that starts with $")
    steps: list[Any] = []
    at = 1
    while at < len(body):
        match = _NAME.match(body, at)
        if match is None or (body[at] == "." and match[3] is None and body[at : at + 2] == ".."):
            raise PathError(f"'{text}' is not a JSONPath that can be used here; what follows '{body[:at]}' is unknown")
        name, wildcard, inside = match.groups()
        steps.append((name,) if name is not None else None if wildcard else _bracket(text, inside))
        at = match.end()
    return Path(text, tuple(steps))


def _bracket(text: str, inside: str) -> tuple[str, ...] | tuple[int, ...] | slice | None:
    """What stands within brackets."""
    if inside.strip() == "*":
        return None
    if part := _SLICE.fullmatch(inside):
        start, stop = (int(number) if number is not None else None for number in part.groups())
        return slice(start, stop)
    numbers = [_INTEGER.fullmatch(part) for part in inside.split(",")]
    if all(numbers):
        return tuple(int(number[1]) for number in numbers if number)
    names, at = [], 0
    while match := _QUOTED.match(inside, at):
        names.append(match[1] if match[1] is not None else match[2])
        at = match.end()
        if not match[3]:
            return tuple(names)
    raise PathError(
        f"'{text}': [{inside}] is none of [0], [0,2], [1:3], ['name'], ['a','b'] and [*], which can be used here"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
