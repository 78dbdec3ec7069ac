"""The one table from exceptions, while a request is answered, to a status and a short text.

A client's mistake is a 4xx with a sentence that says what to change. Anything else is a 500 that tells nothing of the
program, and a traceback in the log.
"""

from __future__ import annotations

from http import HTTPStatus

from algorithms.errors import ModelError, PredictionError
from container.logs import logger
from container.serving.dialects import Dialect
from recordio.errors import ContentTypeError, DataError, WidthError

LONGEST_TEXT = 1024
"""Most characters of an error's text; a message may quote a field of any length."""


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


def refused(error: Exception, dialect: Dialect) -> tuple[int, str]:
    """The status and text that answer ``error``, after a line in the log: with the traceback where it is the server's
    own fault."""
    status, text = _described(error, dialect)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.exception("500: %s", text)
    else:
        logger.warning("%d: %s", status, text)
    return status, text


def _described(error: Exception, dialect: Dialect) -> tuple[int, str]:
    """The status and text of the nearest class of ``error`` below."""
    answers = {
        EmptyBodyError: (dialect.empty_status, "" if dialect.empty_status == HTTPStatus.NO_CONTENT else str(error)),
        NotAcceptableError: (dialect.not_acceptable_status, str(error)),
        RequestError: (getattr(error, "status", 0), str(error)),
        ContentTypeError: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error)),
        WidthError: (HTTPStatus.BAD_REQUEST, f"{dialect.prediction_prefix}{error}"),
        DataError: (dialect.unreadable_status, f"{dialect.unreadable_prefix}{error}"),
        PredictionError: (HTTPStatus.BAD_REQUEST, f"{dialect.prediction_prefix}{error}"),
        ModelError: (HTTPStatus.INTERNAL_SERVER_ERROR, f"Unable to load model: {error}"),
        NotImplementedError: (HTTPStatus.INTERNAL_SERVER_ERROR, str(error)),  # outputs that the model cannot select
        MemoryError: (HTTPStatus.INSUFFICIENT_STORAGE, "not enough memory; send fewer rows at a time"),
        Exception: (HTTPStatus.INTERNAL_SERVER_ERROR, "the request could not be answered; the log says why"),
    }
    status, text = next(answers[kind] for kind in type(error).__mro__ if kind in answers)
    return int(status), text[:LONGEST_TEXT]
