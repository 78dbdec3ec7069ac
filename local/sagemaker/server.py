"""The server: requests to SageMaker go to the operations here, all others to moto."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from xml.sax.saxutils import escape

import click
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Request, Response

from container.settings import ConfigurationError
from local.sagemaker import (
    asynchronous,
    endpoints,
    engines,
    external,
    kept_reads,
    operations,
    page,
    response_stream,
    restart,
    role,
    sdk_defaults,
    uploads,
)
from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import AwsError, refused
from local.sagemaker.processes import Processes
from local.sagemaker.store import Store
from recordio.limits import LARGEST_CALL

_TARGET = "SageMaker."
_INVOKED = re.compile(r"/endpoints/(.*)/(invocations|async-invocations|invocations-response-stream)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9-]{1,63}")
_BACKLOG = 128
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_HOSTS = re.compile(
    r"(127\.0\.0\.1|\[::1\]|([a-z0-9.-]+\.)?localhost|[a-z0-9.-]+\.amazonaws\.com)(:\d+)?", re.IGNORECASE
)
"""What a request for this machine names: a page in the user's browser could reach it under a name of its own."""

_SCOPE = re.compile(r"Credential=[^/,]*/[0-9]*/([a-z0-9-]+)/")
_logger = logging.getLogger("oba.up")


class _Request(Request):
    max_content_length = LARGEST_CALL


class Application:
    """The WSGI application. Other addresses than SageMaker's are moto's.

    Args:
        written: called when moto has done a request, before it is answered.
    """

    def __init__(self, cloud: Cloud, others: Any, written: Callable[[], None], *, only_loopback: bool) -> None:
        self._cloud, self._others, self._written, self._only_loopback = cloud, others, written, only_loopback
        self._key = external.key() if cloud.s3 else None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer one request."""
        if self._only_loopback and not _HOSTS.fullmatch(environ.get("HTTP_HOST", "")):
            return refused(AwsError("AccessDenied", "The Host is none of this machine", 403))(environ, start_response)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if not target and _is_browsing(environ):
            return page.answer(self._cloud, environ["PATH_INFO"])(environ, start_response)
        role.make_asked(environ)
        if (allowed := role.permissions(environ)) is not None:
            return allowed(environ, start_response)
        if self._cloud.s3 and self._key:
            if "/s3/aws4_request" in environ.get("HTTP_AUTHORIZATION", ""):
                return external.refusal(self._cloud.s3)(environ, start_response)
            if (known := role.identity(environ, self._key)) is not None:
                return known(environ, start_response)
        invoked = _INVOKED.fullmatch(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "POST" else None
        if target.startswith(_TARGET) or invoked:
            return self._answered(environ, target, invoked)(environ, start_response)
        return self._of_moto(environ, start_response)

    def _of_moto(self, environ: dict[str, Any], start_response: Any) -> Any:
        environ = kept_reads.without_malformed_range(environ)
        if self._cloud.kept and (sent := kept_reads.answer(environ, self._others, self._cloud.kept)) is not None:
            return sent(environ, start_response)
        try:
            with uploads.received(environ) as upload:
                response = self._others(upload, start_response)
            if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
                self._written()
        except AwsError as error:
            return _refused_by_s3(error)(environ, start_response)
        except OSError as error:
            return _unwritten(error)(environ, _again(start_response))
        return response

    def _answered(self, environ: dict[str, Any], target: str, invoked: re.Match[str] | None) -> Response:
        """The answer to one of SageMaker's requests: to invoke an endpoint, or for the operation ``target``."""
        try:
            if invoked:
                return self._invocation(_Request(environ), invoked[1], invoked[2])
            return self._operation(_Request(environ), target.removeprefix(_TARGET))
        except HTTPException as error:
            return refused(AwsError("SerializationException", error.description or "", error.code or 400))
        except AwsError as error:
            if invoked and error.code == "ValidationException":  # SageMaker Runtime's has a name of its own
                error.code = "ValidationError"
            return refused(error)
        except Exception as error:
            _logger.exception("%s %s", environ["PATH_INFO"], target)
            name = type(error).__name__
            what = f"cannot do it: {error.strerror or name}" if isinstance(error, OSError) else f"failed: {name}"
            return refused(AwsError("InternalFailure", f"oba up {what}; see its log", 500))

    def _operation(self, request: _Request, name: str) -> Response:
        try:
            body = json.loads(request.get_data() or b"{}", parse_constant=_no_number, parse_float=_number)
        except (ValueError, RecursionError) as error:
            raise AwsError("SerializationException", f"The request is not JSON: {error}") from error
        answer = operations.call(self._cloud.at(region_of(request, self._cloud.region)), name, body)
        return Response(json.dumps(answer), content_type="application/x-amz-json-1.1")

    def _invocation(self, request: _Request, name: str, kind: str) -> Response:
        cloud = self._cloud.at(region_of(request, self._cloud.region))
        if not _NAME.fullmatch(name):
            raise AwsError("ValidationException", f"'{name[:100]}' is no endpoint's name: it has letters, digits and -")
        if kind == "async-invocations":
            told, places = asynchronous.invoke(cloud, name, request.get_data(), request.headers)
            return Response(json.dumps(told), 202, places, content_type="application/json")
        streams, asked = kind != "invocations", Headers(request.headers)
        if streams and (accept := asked.pop("X-Amzn-SageMaker-Accept", None)) is not None:
            asked["Accept"] = accept
        answer, variant = endpoints.invoke(cloud, name, request.get_data(), asked)
        headers = {"x-Amzn-Invoked-Production-Variant": variant}
        if (attributes := answer.headers.get("x-amzn-sagemaker-custom-attributes")) is not None:
            headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
        media_type = answer.headers.get("content-type")
        if streams:
            headers["X-Amzn-SageMaker-Content-Type"] = media_type or ""
            return Response(response_stream.encoded(answer.body), 200, headers, content_type=response_stream.MEDIA_TYPE)
        return Response(answer.body, answer.status, headers, content_type=media_type)


def _unwritten(error: OSError) -> Response:
    """What S3 answers where an object cannot be kept."""
    return _refused_by_s3(AwsError("InternalError", f"the state folder cannot be written: {error.strerror}", 500))


def _refused_by_s3(error: AwsError) -> Response:
    text = f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
    return Response(text, error.status, mimetype="text/xml")


def _again(start_response: Any) -> Any:
    """For another answer in place of one that has begun (PEP 3333)."""
    return lambda status, headers, _=None: start_response(status, headers, sys.exc_info())


def _no_number(text: str) -> None:
    """NaN and Infinity are no JSON (RFC 8259), though Python reads them."""
    raise ValueError(f"{text} is no number")


def _number(text: str) -> float:
    """A number with a point or an exponent; a whole one without a point is an integer: R's clients write ``1e+05``."""
    number = float(text)
    if not math.isfinite(number):
        _no_number(text)
    return int(number) if "." not in text and number.is_integer() else number


def _is_browsing(environ: dict[str, Any]) -> bool:
    """Whether a request is for the page: clients of AWS sign theirs, or say so in the query."""
    path, signed = environ["PATH_INFO"], "HTTP_AUTHORIZATION" in environ or environ.get("QUERY_STRING")
    return environ["REQUEST_METHOD"] == "GET" and not signed and (path == "/" or path.startswith(page.PREFIX))


def region_of(request: Request, default: str) -> str:
    """The region for which a request is signed."""
    match = _SCOPE.search(request.headers.get("Authorization", ""))
    return match[1] if match else default


# ---- the process ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a server.

    Attributes:
        host, port: where it listens; port 0 is any that is free.
        state: the folder of the state, which later servers go on with.
        at_once: jobs at a time.
        s3: the address of another S3; None for moto's.
        engine: what runs images; one of ``engines``.
    """

    state: Path
    host: str = "127.0.0.1"
    port: int = 0
    region: str = "us-east-1"
    at_once: int = 1
    s3: str | None = None
    engine: str = "process"


def run(options: Options) -> int:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ConfigurationError: the port or the state folder is in use, or ``s3`` or ``engine`` cannot be.
    """
    with started(options) as cloud:
        restart.recover(cloud)
        click.echo(_told(cloud, options))
        sys.stdout.flush()
        _wait()
        click.echo("Stopped: jobs that ran are failed.", err=True)
        cloud.captures.close()
        cloud.processes.close()
        os._exit(0)  # threads that wait for jobs do not matter any more: the state is on disk
    return 0


@contextlib.contextmanager
def started(options: Options) -> Iterator[Cloud]:
    """A server in threads of this process. All jobs and endpoints end with it.

    Raises:
        ConfigurationError: the port or the state folder is in use.
    """
    if options.s3 is not None:
        external.check(options.s3)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with _held(options.state), contextlib.ExitStack() as stack:
        processes = Processes()
        stack.callback(processes.close)
        server, cloud = _made(options, processes)
        stack.callback(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        role.assume(cloud)
        yield cloud


def _made(options: Options, processes: Processes) -> tuple[BaseWSGIServer, Cloud]:
    os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"  # or any page in the user's browser could ask this server
    from local.sagemaker.kept_objects import KeptObjects
    from local.sagemaker.others import application
    from local.sagemaker.proxy import Authority, Handler

    host, port, state = options.host, options.port, options.state.resolve()
    others = application()
    Handler.authority = Authority(state)
    if options.s3 is not None:
        external.trust_public(Handler.authority.file)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise ConfigurationError(f"--host {host} --port {port}: cannot be listened on: {reason}") from error
    with listening:  # werkzeug would exit where the port is taken
        server = make_server(host, port, others, threaded=True, request_handler=Handler, fd=listening.fileno())
    operations.load()
    objects = KeptObjects(state)
    own = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    cloud = Cloud(
        store=Store(state),
        processes=processes,
        engine=engines.of(options.engine, processes),
        queue=ThreadPoolExecutor(options.at_once),
        at_once=options.at_once,
        url=f"http://{own}:{server.port}",
        folder=state,
        jobs={},
        running={},
        region=options.region,
        s3=options.s3,
        only_here=host in _LOOPBACK,
        kept=None if options.s3 else objects.file,
    )
    server.app = Application(cloud, others, objects.write, only_loopback=host in _LOOPBACK)
    return server, cloud


@contextlib.contextmanager
def _held(state: Path) -> Iterator[None]:
    """The state folder, of one server at a time."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"--state {state}: another oba up uses it; end that one, or give another folder"
            ) from error
        yield


def _wait() -> None:
    """Until a signal."""
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    while not ended.wait(1):
        pass


def _told(cloud: Cloud, options: Options) -> str:
    host, state = options.host, options.state
    defaults = sdk_defaults.written(state)
    lines = [
        f"SageMaker on this machine: {cloud.url}, jobs at a time: {cloud.at_once}, state in {state}. "
        "In the shell of your code:",
        "",
        f"export AWS_ENDPOINT_URL={cloud.url}",
        *([f"export AWS_ENDPOINT_URL_S3={cloud.s3}"] if cloud.s3 else ()),
        f"export AWS_DEFAULT_REGION={cloud.region}",
        *(() if cloud.s3 else (f"export AWS_ACCESS_KEY_ID={role.KEY}", "export AWS_SECRET_ACCESS_KEY=oba")),
        f"export AWS_CA_BUNDLE={state.resolve() / 'ca.pem'}",
        f"export HTTPS_PROXY={cloud.url}",
        *([f"export {sdk_defaults.VARIABLE}={defaults}"] if defaults else ()),
        "",
        "From AWS_CA_BUNDLE on they are for the SageMaker SDKs, which ask sts.REGION.amazonaws.com by name, and tell "
        "Amazon of each call.",
        f"Jobs and endpoints: {cloud.url}/",
        f"S3 is at {cloud.s3}, with the keys of this environment; use the same in your code's."
        if cloud.s3
        else "S3 is moto's; its objects outlive the server in the state folder.",
        "STS, IAM, ECR and CloudWatch are moto's; logs outlive it in the state folder. Ctrl-C ends it all.",
    ]
    if host not in _LOOPBACK:
        lines.append(f"Attention: {host} is not loopback. Whoever reaches it can run jobs here; nobody is asked who.")
    return "\n".join(lines)
