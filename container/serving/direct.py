"""``POST /invocations`` without a web framework in between: two thirds of a small request's time were Flask's.

The answer equals that of the application's own route, header for header: ``request.respond`` makes both, and a test
compares them. All other requests, and those whose body is not in memory as a whole (``BODY``, which ``BufferingWorker``
sets), go through the application.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from werkzeug.utils import get_content_type

from algorithms.interface import ROWS
from container.serving import telemetry
from container.serving.request import Endpoint, Request, respond
from container.serving.telemetry import Metrics

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

BODY = "oba.body"
"""In WSGI's environment: the whole body, as bytes."""

_ROUTE = "/invocations"
_NO_LENGTH = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Direct:
    """A WSGI application around ``app``, whose route of that name has the same ``endpoint``.

    Args:
        most: bytes of the longest body, None for any length; the application refuses longer ones.
    """

    def __init__(self, app: WSGI, endpoint: Endpoint, most: int | None, metrics: Metrics) -> None:
        self._app, self._endpoint, self._metrics = app, endpoint, metrics
        self._most = most

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, by PEP 3333."""
        body = environ.get(BODY)
        if body is None or environ["PATH_INFO"] != _ROUTE or environ["REQUEST_METHOD"] != "POST" or self._over(body):
            return self._app(environ, start)
        status, headers, content = self.answer(environ, body)
        start(status, headers)
        return [content]

    def answer(self, environ: Mapping[str, Any], body: bytes) -> tuple[str, list[tuple[str, str]], bytes]:
        """Status, headers and body of the answer to a request to the route, by its head in WSGI's names.

        Raises:
            MustWaitError: see there.
        """
        began, names = telemetry.began(environ), telemetry.named(environ)
        try:
            asked = Request(body, environ.get("CONTENT_TYPE"), environ.get("HTTP_ACCEPT"))
            answer = respond(asked, self._endpoint)
            headers = [("Content-Type", _content_type(answer.media_type)), *answer.headers.items(), *names.items()]
            if answer.status not in _NO_LENGTH:
                headers.append(("Content-Length", str(len(answer.body))))
            self._metrics.answered(_ROUTE, answer.status, time.perf_counter() - began, answer.rows)
            return f"{int(answer.status)} {HTTPStatus(answer.status).phrase.upper()}", headers, answer.body
        finally:
            telemetry.forget_name()

    def is_steady(self, content_type: str) -> bool:
        """Whether the time that a request takes grows with the bytes of its body, and with nothing else: they are rows,
        and not compressed."""
        return self._endpoint.algorithm.serving.takes == ROWS and "parquet" not in content_type.lower()

    def _over(self, body: bytes) -> bool:
        return self._most is not None and len(body) > self._most


@lru_cache
def _content_type(media_type: str) -> str:
    return get_content_type(media_type, "utf-8")
