"""The web application: SageMaker's three end points around one model."""

from __future__ import annotations

import contextlib

import flask
from flask import Flask, Response
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from algorithms.interface import JSON
from container.resources import processes
from container.serving import open_inference
from container.serving.flask_responses import adapted, of_http
from container.serving.request import Endpoint, Request, refuse, respond
from container.settings import MIB, Settings


def make_app(endpoint: Endpoint, settings: Settings) -> Flask:
    """A WSGI application that answers with the model of ``endpoint``.

    - ``GET /ping``: 200 and no body. There is a model, or there would be no application.
    - ``POST /invocations``: rows in, predictions out.
    - ``GET /execution-parameters``: how batch transform should send its rows.
    - ``/v2/…``: the open inference protocol, where the model has the algorithm's name.
    """
    app = new_app(settings)
    own_name = endpoint.algorithm.name
    parameters = flask.json.dumps(execution_parameters(settings))

    @app.get("/ping")
    def ping() -> Response:
        return Response(status=200)

    @app.get("/execution-parameters")
    def batch_parameters() -> Response:
        return Response(parameters, mimetype=JSON)

    @app.post("/invocations")
    def invocations() -> Response:
        return invoked(endpoint, settings)

    def lookup(name: str) -> contextlib.nullcontext[Endpoint | None]:
        return contextlib.nullcontext(endpoint if name == own_name else None)

    open_inference.add_routes(app, lookup, own_name)

    @app.errorhandler(Exception)
    def refused(error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.code is not None:
            return of_http(error)
        return adapted(refuse(error, endpoint.dialect))

    return app


def new_app(settings: Settings) -> Flask:
    """An application without routes, which reads bodies up to the allowed length."""
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # a path that is not quite one of ours is unknown, not elsewhere
    if settings.max_payload is not None:
        # A byte more than allowed: of a longer body in chunks Flask silently reads just as many bytes. See body.
        app.config["MAX_CONTENT_LENGTH"] = settings.max_payload + 1
    return app


def invoked(endpoint: Endpoint, settings: Settings) -> Response:
    """The response to the request that Flask is handling, for SageMaker's routes."""
    headers = flask.request.headers
    return adapted(respond(Request(body(settings), headers.get("Content-Type"), headers.get("Accept")), endpoint))


def body(settings: Settings) -> bytes:
    """The body of the request that Flask is handling.

    Raises:
        RequestEntityTooLarge: it is longer than it may be.
    """
    content = flask.request.get_data(cache=False)
    if settings.max_payload is not None and len(content) > settings.max_payload:
        raise RequestEntityTooLarge
    return content


def execution_parameters(settings: Settings) -> dict[str, object]:
    """How batch transform should send its rows, where the transform job itself does not say."""
    parameters: dict[str, object] = {
        "MaxConcurrentTransforms": settings.max_concurrent_transforms or settings.workers or processes(),
        "BatchStrategy": settings.batch_strategy or "MULTI_RECORD",
        "MaxPayloadInMB": 0 if settings.max_payload is None else max(1, settings.max_payload // MIB),
    }
    if settings.local_batch and settings.batch_strategy is None:
        # The SageMaker SDK's local mode refuses SageMaker's own spelling; without a word it takes the same default.
        del parameters["BatchStrategy"]
    return parameters
