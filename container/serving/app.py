"""The web application: SageMaker's three end points around one model."""

from __future__ import annotations

import time

import flask
from flask import Flask, Response
from werkzeug.exceptions import RequestEntityTooLarge

from algorithms.interface import CSV, JSON, Algorithm, Model, RawModel, Serving
from container.logs import logger
from container.resources import processes
from container.serving import media, responses
from container.settings import MIB, Settings


def make_app(model: Model, algorithm: type[Algorithm], settings: Settings) -> Flask:
    """A WSGI application that answers with ``model``.

    - ``GET /ping``: 200 and no body. There is a model, or there would be no application.
    - ``POST /invocations``: rows in, predictions out.
    - ``GET /execution-parameters``: how batch transform should send its rows.
    """
    app = Flask(__name__, static_folder=None)
    if settings.max_payload is not None:
        # A byte more than allowed: of a body in chunks Flask reads so many and says nothing of the rest. See _body.
        app.config["MAX_CONTENT_LENGTH"] = settings.max_payload + 1
    parameters = flask.json.dumps(execution_parameters(settings))

    @app.get("/ping")
    def ping() -> Response:
        return Response(status=200)

    @app.get("/execution-parameters")
    def batch_parameters() -> Response:
        return Response(parameters, mimetype=JSON)

    @app.post("/invocations")
    def invocations() -> Response:
        return answer(model, algorithm, settings)

    @app.errorhandler(Exception)
    def refuse(error: Exception) -> Response:
        return responses.refusal(error, algorithm.serving)

    return app


def answer(model: Model, algorithm: type[Algorithm], settings: Settings) -> Response:
    """The response to the request that Flask is handling, in the order of XGBoost's container: rows, then Accept.

    Raises:
        Exception: anything that ``container.serving.responses`` turns into a refusal.
    """
    started = time.perf_counter()
    request, serving = flask.request, algorithm.serving
    if isinstance(model, RawModel):
        return _raw_answer(model, serving, settings, started)
    rows = media.read(_body(settings.max_payload), request.content_type, serving, model.feature_dim)
    if settings.inference_outputs:
        columns, write = model.select(rows, settings.inference_outputs), media.write_selected
    else:
        columns, write = model.predict(rows), media.write
    accept = request.headers.get("Accept")
    media_type = media.negotiate(accept, serving.answers, settings.default_accept or serving.default_answer)
    if _is_joined(serving, settings):
        media_type, write = CSV, media.write_joined
    content = write(columns, media_type, serving, batch=settings.batch)
    logger.info("200: %d rows in %.1f ms", len(rows), 1000 * (time.perf_counter() - started))
    return Response(content, mimetype=media_type)


def _is_joined(serving: Serving, settings: Settings) -> bool:
    """Whether the wanted version of the image answers on one line of CSV, whatever Accept says."""
    early = settings.image_version is not None and settings.image_version < serving.joined_csv_before
    return early and not settings.batch and not settings.inference_outputs


def _raw_answer(model: RawModel, serving: Serving, settings: Settings, started: float) -> Response:
    body = _body(settings.max_payload)
    declared = media.request_type(body, flask.request.content_type, serving)
    own = declared.media_type if serving.in_kind else serving.default_answer
    default = settings.default_accept or own
    media_type = media.negotiate(flask.request.headers.get("Accept"), serving.answers, default)
    content, count = model.answer(body, declared.media_type, media_type)
    logger.info("200: %d predictions in %.1f ms", count, 1000 * (time.perf_counter() - started))
    return Response(content, mimetype=media_type)


def _body(limit: int | None) -> bytes:
    body = flask.request.get_data(cache=False)
    if limit is not None and len(body) > limit:
        raise RequestEntityTooLarge
    return body


def execution_parameters(settings: Settings) -> dict[str, object]:
    """How batch transform should send its rows. What the job's owner says in the API goes before this."""
    parameters: dict[str, object] = {
        "MaxConcurrentTransforms": settings.max_concurrent_transforms or settings.workers or processes(),
        "BatchStrategy": settings.batch_strategy or "MULTI_RECORD",
        "MaxPayloadInMB": 0 if settings.max_payload is None else max(1, settings.max_payload // MIB),
    }
    if settings.local_batch and settings.batch_strategy is None:
        # The SageMaker SDK's local mode refuses SageMaker's own spelling; without a word it takes the same default.
        del parameters["BatchStrategy"]
    return parameters
