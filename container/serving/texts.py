"""Sequences in requests and answers, in the three formats of SageMaker's sequence-to-sequence endpoint.

application/json             {"instances": [{"data": "so good !", "configuration": {"attention_matrix": "true"}}]}
                             {"predictions": [{"target": "si bon !", "matrix": [[0.9, 0.1, 0.0], ...]}]}
application/jsonlines        {"source": "so good !"} a line; {"target": "si bon !"} a line
application/x-recordio-protobuf   Records with the feature ``source``; Records with the feature ``target``
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from algorithms.interface import JSON_LINES, RECORDIO, Items
from recordio import sequences
from recordio.errors import ParseError

MATRIX = "attention_matrix"
TOKENS = "tokens"


def read(body: bytes, media_type: str) -> Items:
    """The sources of a request.

    Raises:
        DataError: the body is not what it claims to be.
    """
    if media_type == RECORDIO:
        return Items(list(sequences.decode_body(body, "request", targets=False).source))
    if media_type == JSON_LINES:
        lines = [line for line in _text(body).split("\n") if line.strip()]
        return Items(
            [_member(_load(line, f"line {number}"), "source", f"line {number}") for number, line in enumerate(lines)]
        )
    document = _load(_text(body), "the body")
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list):
        raise ParseError('the body must be a JSON object with a list "instances"')
    values = [_member(instance, "data", f"instance {number}") for number, instance in enumerate(instances)]
    return Items(values, [_configuration(instance, f"instance {at}") for at, instance in enumerate(instances)])


def _configuration(instance: dict[str, Any], place: str) -> dict[str, str]:
    """What an instance asks for besides, as text; true and false may be JSON's own."""
    configuration = instance.get("configuration")
    if configuration is None:
        return {}
    if not isinstance(configuration, dict):
        raise ParseError(f'{place}: "configuration" must be an object')
    wrong = next((name for name, value in configuration.items() if not isinstance(value, (str, bool))), None)
    if wrong is not None:
        raise ParseError(f'{place}: "{wrong[:40]}" in "configuration" must be a text such as "true"')
    return {name: value if isinstance(value, str) else str(value).lower() for name, value in configuration.items()}


def _member(value: Any, name: str, place: str) -> str:
    text = value.get(name) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise ParseError(f'{place} must be a JSON object with a text "{name}"')
    return text


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParseError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None


def _load(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ParseError(f"{place} is nested too deeply") from None
    except ValueError as error:
        raise ParseError(f"{place} is no JSON: {error}") from None


def write(columns: Mapping[str, Any], media_type: str, json_key: str) -> bytes:
    """The answer: tokens in RecordIO, and in JSON everything else that an item has."""
    if media_type == RECORDIO:
        return sequences.encode_targets(columns[TOKENS])
    named = {name: values for name, values in columns.items() if name != TOKENS}
    count = len(columns[TOKENS])
    answers = [
        {name: _plain(values[at]) for name, values in named.items() if values[at] is not None} for at in range(count)
    ]
    if media_type == JSON_LINES:
        text = "".join(f"{json.dumps(answer, ensure_ascii=False)}\n" for answer in answers)
    else:
        text = json.dumps({json_key: answers}, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate stays the escape that JSON has for it


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
