"""Responses as Flask's objects: those of ``request``, and Flask's own errors, without their HTML pages."""

from __future__ import annotations

from flask import Response
from werkzeug.exceptions import HTTPException

from container.serving import request, telemetry


def adapted(response: request.Response) -> Response:
    """The response as Flask's; its rows are counted for the request that Flask is handling."""
    telemetry.count_rows(response.rows)
    return Response(response.body, response.status, dict(response.headers), mimetype=response.media_type)


def of_http(error: HTTPException) -> Response:
    """The response to an error of Flask's own (404, 405, 413): its status and headers, and a sentence instead of
    HTML."""
    original = error.get_response()
    text = f"{error.code} {error.name}: {error.description}"
    headers = [
        (name, value) for name, value in original.headers if name.lower() not in ("content-type", "content-length")
    ]
    return Response(text, error.code, headers, mimetype="text/plain")
