"""All other services of AWS, by moto. Operations that moto lacks are refused in AWS's form; moto itself sends HTML."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from botocore.model import OperationNotFoundError
from flask import request
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.wrappers import Response

from local.sagemaker.errors import AwsError, refused

_SERVICE = re.compile(r"Credential=[^/,]*/[0-9]*/[a-z0-9-]+/([a-z0-9-]+)/")
_FORM, _CBOR = "application/x-www-form-urlencoded", "rpc-v2-cbor"
_logger = logging.getLogger("oba.up")


def application() -> Callable[[dict[str, Any], Any], Any]:
    """The WSGI application of all services but SageMaker."""
    moto = DomainDispatcherApplication(_backend)

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        try:
            return moto(environ, start_response)
        except NotImplementedError as error:  # as moto says of operations that it lacks
            return _lacking(environ, str(error) or "moto lacks it")(environ, start_response)
        except OperationNotFoundError:
            return _lacking(environ, "the service has none of this name")(environ, start_response)
        except Exception as error:
            _logger.exception("%s", _asked(environ))
            failed = f"oba up failed in moto: {type(error).__name__}; see its log"
            return _refusal(environ, AwsError("InternalFailure", failed, 500))(environ, start_response)

    return answer


def _backend(service: Any) -> Any:
    """moto's application of a service, whose errors come here. Of operations that are addresses moto lacks some
    altogether; what it has and does not find, it says itself.

    Raises:
        NotImplementedError: there is no such service.
    """
    if service is None:
        raise NotImplementedError("moto lacks the service")
    backend = create_backend_app(service)
    backend.config["PROPAGATE_EXCEPTIONS"] = True
    for error in (NotFound, MethodNotAllowed):
        backend.register_error_handler(error, lambda _: _lacking(request.environ, "it has no such address"))
    return backend


def _lacking(environ: dict[str, Any], why: str) -> Response:
    told = f"oba up does not have {_asked(environ)}, which is moto's: {why}"
    return _refusal(environ, AwsError("UnknownOperationException", told))


def _service(environ: dict[str, Any]) -> str:
    match = _SERVICE.search(environ.get("HTTP_AUTHORIZATION", ""))
    return match[1] if match else "AWS"


def _asked(environ: dict[str, Any]) -> str:
    """The operation, or the address where the request does not name one."""
    operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    return f"{_service(environ)}'s {operation or environ['REQUEST_METHOD'] + ' ' + environ['PATH_INFO']}"


def _refusal(environ: dict[str, Any], error: AwsError) -> Response:
    """In the form of the service's protocol: JSON, CBOR, or XML for S3 and for what is asked by forms."""
    if environ.get("HTTP_SMITHY_PROTOCOL") == _CBOR:
        return Response(
            _cbor({"__type": error.code, "message": error.message}), error.status, {"smithy-protocol": _CBOR}
        )
    text = f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
    if environ.get("CONTENT_TYPE", "").startswith(_FORM):
        return Response(f"<ErrorResponse>{text}</ErrorResponse>", error.status, content_type="text/xml")
    if _service(environ) == "s3":
        return Response(text, error.status, content_type="text/xml")
    return refused(error)


def _cbor(members: dict[str, str]) -> bytes:
    """A map of fewer than 24 texts in CBOR (RFC 8949), which CloudWatch's clients read."""
    texts = [text.encode() for pair in members.items() for text in pair]
    return bytes([0xA0 | len(members)]) + b"".join(b"\x79" + len(text).to_bytes(2, "big") + text for text in texts)
