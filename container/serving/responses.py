"""What becomes of an exception while a request is answered: a status and a short text. The one table for serving.

A client's mistake is a 4xx with a sentence that says what to change; what is left is a 500 that says nothing of
the inside, and a traceback in the log.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import BinaryIO

from flask import Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from algorithms.errors import ModelError, PredictionError
from algorithms.interface import Serving
from container.logs import logger
from container.settings import MIB
from recordio.errors import ContentTypeError, DataError, WidthError

LONGEST_TEXT = 1024
"""Characters of an error's text; a message may quote a field of any length."""

LONGEST_DRAINED = 256 * MIB
"""Bytes of an oversized body that are read before it is refused."""


class RequestError(ValueError):
    """A request that is refused before its rows are looked at."""

    status = HTTPStatus.BAD_REQUEST


class EmptyBodyError(RequestError):
    """There is no body. Its status is the algorithm's."""


class UnsupportedTypeError(RequestError):
    """No reader of the algorithm takes the request's Content-Type."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class NotAcceptableError(RequestError):
    """No writer of the algorithm makes what the request's Accept asks for."""

    status = HTTPStatus.NOT_ACCEPTABLE


def describe(error: Exception, serving: Serving) -> tuple[int, str]:
    """Status and text that answer ``error``: those of the nearest class of it below."""
    answers = {
        EmptyBodyError: (serving.empty_status, "" if serving.empty_status == HTTPStatus.NO_CONTENT else str(error)),
        RequestError: (getattr(error, "status", 0), str(error)),
        ContentTypeError: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error)),
        WidthError: (HTTPStatus.BAD_REQUEST, f"{serving.prediction_prefix}{error}"),
        DataError: (serving.unreadable_status, f"{serving.unreadable_prefix}{error}"),
        PredictionError: (HTTPStatus.BAD_REQUEST, f"{serving.prediction_prefix}{error}"),
        ModelError: (HTTPStatus.INTERNAL_SERVER_ERROR, f"Unable to load model: {error}"),
        NotImplementedError: (HTTPStatus.INTERNAL_SERVER_ERROR, str(error)),  # outputs that the model cannot select
        MemoryError: (HTTPStatus.INSUFFICIENT_STORAGE, "not enough memory; send fewer rows at a time"),
        Exception: (HTTPStatus.INTERNAL_SERVER_ERROR, "the request could not be answered; the log says why"),
    }
    status, text = next(answers[kind] for kind in type(error).__mro__ if kind in answers)
    return int(status), text[:LONGEST_TEXT]


def refusal(error: Exception, serving: Serving) -> Response:
    """The response to ``error``, after a line in the log; never with a traceback."""
    if isinstance(error, RequestEntityTooLarge):
        _drain(request.environ["wsgi.input"])
    if isinstance(error, HTTPException) and error.code is not None:
        return _of_http(error)
    status, text = describe(error, serving)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.exception("500: %s", text)
    else:
        logger.warning("%d: %s", status, text)
    return Response(text, status, mimetype="text/plain")


def _drain(body: BinaryIO) -> None:
    """Read what the client still sends: it looks for the answer only when it is done, and a connection that is closed
    before that looks broken to it. What is far beyond every payload limit of SageMaker is cut off all the same."""
    left = LONGEST_DRAINED
    while left > 0 and (piece := body.read(min(left, 1 << 16))):
        left -= len(piece)


def _of_http(error: HTTPException) -> Response:
    """Flask's own refusals (404, 405, 413): its status and headers, with a sentence instead of a page."""
    original = error.get_response()
    text = f"{error.code} {error.name}: {error.description}"
    headers = [
        (name, value) for name, value in original.headers if name.lower() not in ("content-type", "content-length")
    ]
    return Response(text, error.code, headers, mimetype="text/plain")
