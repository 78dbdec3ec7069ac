"""JSON inside model artifacts, in which any fault is a ModelError as they may come from anywhere; and models as JSON
for other programs."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from algorithms.errors import ModelError
from algorithms.interface import Model


def read_json(content: str | bytes, name: str) -> Any:
    """The value of a JSON text, as RFC 8259 defines it: NaN and Infinity, which Python also takes, are refused.

    Args:
        name: what errors call it, such as the file's name.

    Raises:
        ModelError: it is not UTF-8 or not JSON, nested too deeply, or has a number that is not finite or has thousands
            of digits.

    >>> read_json('{"shape": [1, 2]}', "a file")
    {'shape': [1, 2]}
    """
    try:
        text = content.decode() if isinstance(content, bytes) else content
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ModelError(f"'{name}' is nested too deeply") from None
    except ValueError as error:  # also what is not UTF-8, and integers of too many digits
        raise ModelError(f"'{name}' is not a JSON document that can be used: {error}") from None


def read_json_file(path: Path) -> Any:
    """``read_json`` of a file.

    Raises:
        ModelError: as ``read_json``, or the file is missing or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the model folder has no readable file '{path.name}': {error.strerror}") from None
    return read_json(content, path.name)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond the range of a double")
    return number


def arrays_as_json(model: Model) -> dict[str, Any]:
    """The fields of a dataclass, or the public attributes of another model, by name, with lists for arrays; those that
    are None are left out."""
    if dataclasses.is_dataclass(model):
        held = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    else:
        held = {name: value for name, value in vars(model).items() if not name.startswith("_")}
    return {name: _as_json(value) for name, value in held.items() if value is not None}


def _as_json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "_asdict"):
        return {name: _as_json(one) for name, one in value._asdict().items()}
    return [_as_json(one) for one in value] if isinstance(value, tuple) else value
