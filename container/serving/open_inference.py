"""The open inference protocol (KServe V2) over REST, beside SageMaker's routes on the same port.

Source: the protocol's text, https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol, and
its extension for binary tensors, as Triton and MLServer have them.

A model takes one input, ``features`` (rows, FP32), ``image`` (files in BYTES, or pixels in UINT8 or FP32) or ``source``
(texts in BYTES); a single input may have any name. Its outputs are the model's named values.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any

import flask
import numpy as np
from flask import Flask
from flask import Response as FlaskResponse
from werkzeug.exceptions import HTTPException

from algorithms.interface import IMAGES, JSON, ROWS, TEXTS
from container import distribution
from container.logs import logger
from container.serving import responses, tensors
from container.serving.dialects import Dialect
from container.serving.flask_responses import adapted, of_http
from container.serving.request import Endpoint, Response
from container.serving.tensors import BYTES, Tensor
from recordio.batches import Batch
from recordio.errors import ParseError

HEADER_LENGTH = "Inference-Header-Content-Length"
"""Bytes of the JSON before binary tensors."""

INPUTS = {ROWS: "features", IMAGES: "image", TEXTS: "source"}
VERSION = "1"
_DIALECT = Dialect()

Lookup = Callable[[str], AbstractContextManager[Endpoint | None]]
"""Gives the endpoint of a name, which stays loaded until the block ends; None if there is none."""


class NotFoundError(responses.RequestError):
    """There is no such model or version."""

    status = HTTPStatus.NOT_FOUND


def add_routes(app: Flask, lookup: Lookup, only: str | None = None) -> None:
    """The protocol's routes. The server is live and ready from the start: models are loaded before, or one by one.

    ``only`` is the name of the model where there is but one.
    """
    about = {"name": distribution.NAME, "version": distribution.version(), "extensions": ["binary_tensor_data"]}
    for path, content in (
        ("/v2", about),
        ("/v2/", about),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
    ):
        app.add_url_rule(path, path, partial(_constant, content))
    here = "" if only is None else f"; the model here is '{only}', of version {VERSION}"
    for path, answer, method in (("", _described, "GET"), ("/ready", _ready, "GET"), ("/infer", _inferred, "POST")):
        view = partial(_of_model, lookup, here, answer)
        for prefix in ("/v2/models/<name>", "/v2/models/<name>/versions/<version>"):
            app.add_url_rule(prefix + path, prefix + path, view, methods=[method])


def _constant(content: object) -> FlaskResponse:
    return adapted(_json(content))


def _of_model(
    lookup: Lookup, here: str, answer: Callable[[str, Endpoint], Response], name: str, version: str = VERSION
) -> FlaskResponse:
    """The response of a route of one model.

    Args:
        here: what is added to the refusal of a model that is not there.
    """
    with lookup(name) as endpoint:
        try:
            if endpoint is None or version != VERSION:
                raise NotFoundError(f"there is no model '{name}' of version {version}{here}")
            return adapted(answer(name, endpoint))
        except HTTPException as error:  # of Flask: a body that is too long
            return of_http(error)
        except Exception as error:
            return adapted(_refusal(error))


def _described(name: str, endpoint: Endpoint) -> Response:
    return _json(description(name, endpoint))


def _ready(name: str, endpoint: Endpoint) -> Response:
    return _json({"name": name, "ready": True})


def _inferred(name: str, endpoint: Endpoint) -> Response:
    body = flask.request.get_data(cache=False)
    return infer(name, body, flask.request.headers.get(HEADER_LENGTH), endpoint)


def description(name: str, endpoint: Endpoint) -> dict[str, Any]:
    """The model's inputs and outputs; -1 stands for any length."""
    serving = endpoint.algorithm.serving
    shapes = {ROWS: [-1, endpoint.model.feature_dim or -1], IMAGES: [-1], TEXTS: [-1]}
    datatype = "FP32" if serving.takes == ROWS else BYTES
    return {
        "name": name,
        "versions": [VERSION],
        "platform": endpoint.algorithm.name,
        "inputs": [{"name": INPUTS[serving.takes], "datatype": datatype, "shape": shapes[serving.takes]}],
        "outputs": _outputs(endpoint),
    }


def _outputs(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The outputs as the model gives them for an empty batch of rows, or as declared if it does not take rows."""
    width = endpoint.model.feature_dim
    if endpoint.algorithm.serving.takes == ROWS and width is not None:
        found = tensors.columns(endpoint.model.predict(Batch(np.empty((0, width), np.float32))))
        return [{"name": one.name, "datatype": one.datatype, "shape": [-1, *one.shape[1:]]} for one in found.values()]
    described = []
    for column in endpoint.algorithm.columns:
        ragged = endpoint.algorithm.serving.takes == TEXTS
        shape = [-1] if ragged else [-1, *(length or -1 for length in column.shape)]
        described.append({"name": column.name, "datatype": BYTES if ragged else "FP32", "shape": shape})
    return described


@dataclass(frozen=True)
class _Asked:
    """The outputs that a request asks for: their names (None for all), and which of them in binary form."""

    names: list[str] | None
    binary: dict[str, bool]
    otherwise: bool


def infer(name: str, body: bytes, header_length: str | None, endpoint: Endpoint) -> Response:
    """The response to a request to predict.

    Raises:
        Exception: anything that ``container.serving.responses`` has a status for.
    """
    started = time.perf_counter()
    with endpoint.reading(body):
        document, raw = _split(body, header_length)
        parameters, asked = _parameters(document.get("parameters")), _asked(document)
        batch = tensors.batch(_input(document, raw), endpoint.algorithm.serving, endpoint.model.feature_dim)
        identifier = document.get("id")
        del document
    with endpoint.predicted(batch, parameters) as predicted:
        response = _answered(name, identifier, tensors.columns(predicted), asked)
    logger.info("200: %d rows in %.1f ms", len(batch), 1000 * (time.perf_counter() - started))
    return replace(response, rows=len(batch))


def _answered(name: str, identifier: Any, found: dict[str, Any], asked: _Asked) -> Response:
    """The response with the outputs that a request names, or all."""
    if asked.names is not None:
        missing = next((one for one in asked.names if one not in found), None)
        if missing is not None:
            raise ParseError(f"there is no output '{missing[:100]}'; there are: {', '.join(found)}")
        found = {one: found[one] for one in asked.names}
    return _written(name, identifier, found, asked)


def _split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], bytes | None]:
    """The request's JSON, and the binary tensors after it; None where there is no such part."""
    head, raw = body, None
    if header_length is not None:
        if not header_length.isascii() or not header_length.isdecimal() or int(header_length[:18]) > len(body):
            raise ParseError(
                f"{HEADER_LENGTH}: {header_length[:40]} is not a length within the body's {len(body)} bytes"
            )
        head, raw = body[: int(header_length)], body[int(header_length) :]
    try:
        document = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"the request is no JSON: {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise ParseError('the request must be a JSON object with "inputs"')
    return document, raw


def _input(document: Mapping[str, Any], raw: bytes | None) -> Tensor:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise ParseError('"inputs" must be a list of one tensor')
    size = _parameters(inputs[0].get("parameters")).get("binary_data_size")
    if size is None:
        if raw:
            raise ParseError(f"{len(raw)} bytes follow the JSON, and no input says binary_data_size")
        return tensors.read(inputs[0], None)
    if raw is None or size != str(len(raw)):
        raise ParseError(f"binary_data_size is {size[:20]}, and {len(raw or b'')} bytes follow the JSON")
    return tensors.read(inputs[0], raw)


def _parameters(given: Any) -> dict[str, str]:
    """Parameters as texts; true and false as JSON writes them."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ParseError('"parameters" must be an object')
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}


def _asked(document: Mapping[str, Any]) -> _Asked:
    outputs = document.get("outputs")
    otherwise = _parameters(document.get("parameters")).get("binary_data_output") == "true"
    if outputs is None:
        return _Asked(None, {}, otherwise)
    if not isinstance(outputs, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in outputs
    ):
        raise ParseError('"outputs" must be a list of objects with a "name"')
    binary = {one["name"]: _parameters(one.get("parameters")).get("binary_data") for one in outputs}
    return _Asked(
        list(binary), {name: value == "true" for name, value in binary.items() if value is not None}, otherwise
    )


def _written(name: str, identity: Any, found: Mapping[str, Tensor], asked: _Asked) -> Response:
    described, parts = [], []
    for one in found.values():
        entry: dict[str, Any] = {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)}
        if asked.binary.get(one.name, asked.otherwise):
            parts.append(tensors.to_bytes(one))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = tensors.to_json(one)
        described.append(entry)
    answer: dict[str, Any] = {"model_name": name, "model_version": VERSION, "outputs": described}
    if isinstance(identity, str):
        answer["id"] = identity[:1024]
    response = _json(answer)
    if not parts:
        return response
    headers = {HEADER_LENGTH: str(len(response.body))}
    return Response(HTTPStatus.OK, b"".join([response.body, *parts]), "application/octet-stream", headers)


def _json(content: object, status: int = HTTPStatus.OK) -> Response:
    return Response(status, json.dumps(content).encode(), JSON)


def _refusal(error: Exception) -> Response:
    status, text = responses.refused(error, _DIALECT)
    return _json({"error": text}, status)
