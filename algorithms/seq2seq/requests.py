"""Requests to sequences of ids, and hypotheses to answers, in the three formats of SageMaker's endpoint.

application/json             {"instances": [{"data": "so good !", "configuration": {"attention_matrix": "true"}}]}
                             {"predictions": [{"target": "si bon !", "matrix": [[0.9, 0.1, 0.0], ...]}]}
application/jsonlines        {"source": "so good !"} a line; {"target": "si bon !"} a line
application/x-recordio-protobuf   Records with the feature ``source``; Records with the feature ``target``
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from algorithms.errors import PredictionError
from algorithms.interface import JSON, JSON_LINES, RECORDIO
from algorithms.seq2seq.beam import Hypothesis
from algorithms.seq2seq.vocabulary import Vocabulary
from recordio import sequences
from recordio.errors import ParseError

_log = logging.getLogger(__name__)
_DIGITS = 6  # of a weight in a matrix


class Request(NamedTuple):
    """Sources, and which of them are to be answered with a matrix."""

    sources: list[np.ndarray]
    matrix: list[bool]


def read(body: bytes, media_type: str, vocabulary: Vocabulary, longest: int) -> Request:
    """The sources of a request. One of more than ``longest`` tokens is cut there, as in training, and the log says so.

    Raises:
        DataError: the body is not what it claims to be.
        PredictionError: a source is empty, or not of the vocabulary.
    """
    if media_type == RECORDIO:
        found = list(sequences.decode_body(body, "request", targets=False).source)
        for number, ids in enumerate(found):
            outside = ids[(ids < 0) | (ids >= len(vocabulary))]
            if len(outside):
                raise PredictionError(
                    f"record {number}: there is no token {outside[0]}; the tokens are 0 to {len(vocabulary) - 1}"
                )
        request = Request(found, [False] * len(found))
    elif media_type == JSON_LINES:
        lines = [line for line in _text(body).split("\n") if line.strip()]
        texts = [
            _member(_load(line, f"line {number}"), "source", f"line {number}") for number, line in enumerate(lines)
        ]
        request = Request([vocabulary.ids(text) for text in texts], [False] * len(texts))
    else:
        request = _read_json(body, vocabulary)
    if not request.sources:
        raise PredictionError("the request has no sequences")
    for number, ids in enumerate(request.sources):
        if len(ids) == 0:
            raise PredictionError(f"sequence {number} has no tokens; the model takes 1 or more")
    return _cut(request, longest)


def _cut(request: Request, longest: int) -> Request:
    lengths = [len(ids) for ids in request.sources]
    if max(lengths) <= longest:
        return request
    _log.warning(
        "%d of %d sequences are longer than max_seq_len_source, %d; the longest has %d tokens. Only the first %d "
        "tokens of a sequence are translated.",
        sum(length > longest for length in lengths),
        len(lengths),
        longest,
        max(lengths),
        longest,
    )
    return Request([ids[:longest] for ids in request.sources], request.matrix)


def _read_json(body: bytes, vocabulary: Vocabulary) -> Request:
    document = _load(_text(body), "the body")
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list):
        raise ParseError('the body must be a JSON object with a list "instances"')
    request = Request([], [])
    for number, instance in enumerate(instances):
        request.sources.append(vocabulary.ids(_member(instance, "data", f"instance {number}")))
        request.matrix.append(_wants_matrix(instance, f"instance {number}"))
    return request


def _wants_matrix(instance: dict[str, Any], place: str) -> bool:
    configuration = instance.get("configuration")
    if configuration is None:
        return False
    if not isinstance(configuration, dict):
        raise ParseError(f'{place}: "configuration" must be an object')
    value = configuration.get("attention_matrix", "false")
    if value not in ("true", "false", True, False):
        raise ParseError(f'{place}: "attention_matrix" must be "true" or "false"')
    return value in ("true", True)


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


def write(found: Sequence[Hypothesis], request: Request, media_type: str, vocabulary: Vocabulary) -> bytes:
    """The answer.

    Raises:
        PredictionError: a matrix was asked for in a format that has none.
    """
    if any(request.matrix) and media_type != JSON:
        raise PredictionError(f"an attention matrix is given in {JSON} only; the answer is asked for in {media_type}")
    if media_type == RECORDIO:
        return sequences.encode_targets(hypothesis.tokens for hypothesis in found)
    answers: list[dict[str, Any]] = [{"target": vocabulary.text(hypothesis.tokens)} for hypothesis in found]
    for answer, hypothesis, matrix in zip(answers, found, request.matrix, strict=True):
        if matrix:
            answer["matrix"] = np.round(hypothesis.weights.astype(float), _DIGITS).tolist()
    if media_type == JSON_LINES:
        return "".join(f"{json.dumps(answer, ensure_ascii=False)}\n" for answer in answers).encode()
    return json.dumps({"predictions": answers}, ensure_ascii=False).encode()
