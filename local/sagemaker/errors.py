"""Errors of requests, in AWS's form."""

from __future__ import annotations

import json

from werkzeug.wrappers import Response


class AwsError(Exception):
    """An error as AWS's clients raise it: ``code`` becomes the name of the exception.

    Attributes:
        details: further members of the answer's body.
    """

    def __init__(self, code: str, message: str, status: int = 400, **details: object) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.details = code, message, status, details


def invalid(message: str) -> AwsError:
    """A ``ValidationException``."""
    return AwsError("ValidationException", message)


def refused(error: AwsError) -> Response:
    """An error as AWS's clients understand it."""
    body = {"__type": error.code, "message": error.message, "Message": error.message, **error.details}
    headers = {"x-amzn-ErrorType": error.code}
    return Response(json.dumps(body), error.status, headers, content_type="application/x-amz-json-1.1")


class JobError(Exception):
    """A job fails, and its user can act on the reason."""
