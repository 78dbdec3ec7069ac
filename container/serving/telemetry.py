"""What a platform can observe: metrics at ``GET /metrics``, and an identity for each request.

Metrics are Prometheus', counted by its own client. Several workers serve one port, and a scrape is answered by any of
them: each worker keeps its numbers in memory-mapped files, and the one that is asked adds them up (the client's
multiprocess mode, https://prometheus.github.io/client_python/multiprocess/). A worker that has ended keeps its counts
and loses its gauges.

A request keeps the identity under which it came (``IDENTITIES``), or gets one; its answer and its log lines have it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask
from flask import Flask, Response

from container import logs

IDENTITY = "X-Request-Id"
"""The header of a request's identity: of its answer always."""

IDENTITIES = (IDENTITY, "X-Amzn-RequestId", "X-Amzn-SageMaker-Inference-Id", "X-Amzn-Trace-Id")
"""Headers that name a request; each that came is in the answer too. The first of them is the identity."""

_IDENTITY = re.compile(r"[!-~]{1,256}")  # what may stand in a header and in a line of the log
_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # read by the client when it is imported
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_REFUSALS = (400, 408, 413, 414, 417, 431, 501, 503)  # the statuses of ``BufferingWorker._refuse``
_OTHER = "other"
_STARTED, _NAMED, _ROWS = "started", "named", "rows"

ARRIVED = "oba.arrived"
"""In WSGI's environment: when the request was whole, by ``time.perf_counter``."""

_KEYS = {name: f"HTTP_{name.upper().replace('-', '_')}" for name in IDENTITIES}
"""What WSGI's environment calls the headers."""


@contextmanager
def shared(folders: tuple[Path, ...]) -> Iterator[None]:
    """Let all processes that start within the block share their counts, in files in the first writable one of
    ``folders``. Without such a folder, each worker has only its own. The client must not have been imported yet."""
    place = next((folder for folder in folders if os.access(folder, os.W_OK)), None)
    if place is None:
        yield
        return
    directory, owner = tempfile.mkdtemp(prefix="metrics-", dir=place), os.getpid()
    os.environ[_DIRECTORY] = directory
    try:
        yield
    finally:
        if os.getpid() == owner:  # a worker that ends passes here, too
            del os.environ[_DIRECTORY]
            shutil.rmtree(directory, ignore_errors=True)


class Metrics:
    """The numbers of one server."""

    def __init__(self) -> None:
        import prometheus_client as client

        self._client = client
        self.own = client.CollectorRegistry()
        kept: dict[str, Any] = {"registry": self.own}
        self.requests = client.Counter(
            "oba_requests", "Requests that were answered, by route and status.", ["route", "status"], **kept
        )
        self.seconds = client.Histogram(
            "oba_request_seconds",
            "From a request that has been read whole to its answer.",
            ["route"],
            buckets=_SECONDS,
            **kept,
        )
        self.rows = client.Counter("oba_rows", "Rows, images or texts that were predicted.", **kept)
        self.refused = client.Counter(
            "oba_refused", "Requests refused before they were whole: malformed, slow, too many.", ["status"], **kept
        )
        for status in _REFUSALS:  # from 0 on: the first of a series that was not there is no increase to Prometheus
            self.refused.labels(str(status))
        self.loads = client.Counter("oba_model_loads", "Models loaded, and not loaded.", ["outcome"], **kept)
        self.load_seconds = client.Histogram("oba_model_load_seconds", "Loading a model.", buckets=_SECONDS, **kept)
        self.models = client.Gauge("oba_models", "Models in memory.", multiprocess_mode="livemax", **kept)
        self.waiting = client.Gauge(
            "oba_requests_waiting", "Requests that wait for a thread.", multiprocess_mode="livesum", **kept
        )
        self.computing = client.Gauge(
            "oba_requests_computing", "Requests that are being answered.", multiprocess_mode="livesum", **kept
        )

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Count the model that is loaded within the block, and how long it takes."""
        outcome, started = "error", time.perf_counter()
        try:
            yield
            outcome = "ok"
        finally:
            self.loads.labels(outcome).inc()
            self.load_seconds.observe(time.perf_counter() - started)

    def answered(self, route: str, status: int, seconds: float, rows: int) -> None:
        """Count an answer to a request that was received as a whole ``seconds`` ago."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)
        if rows:
            self.rows.inc(rows)

    def text(self) -> bytes:
        """All numbers in Prometheus' text format, of all workers."""
        registry = self.own
        if _DIRECTORY in os.environ:
            from prometheus_client.multiprocess import MultiProcessCollector

            registry = self._client.CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return self._client.generate_latest(registry)

    @property
    def media_type(self) -> str:
        """Of ``text``."""
        return self._client.CONTENT_TYPE_LATEST

    def forget(self, process: int) -> None:
        """Reset the gauges of a worker that has ended."""
        if _DIRECTORY in os.environ:
            from prometheus_client.multiprocess import mark_process_dead

            mark_process_dead(process)  # type: ignore[no-untyped-call]


def observe(app: Flask, metrics: Metrics) -> None:
    """Count the requests to ``app``, name them, and tell at ``GET /metrics``."""

    @app.get("/metrics")
    def told() -> Response:
        return Response(metrics.text(), content_type=metrics.media_type)

    @app.before_request
    def begin() -> None:
        setattr(flask.g, _STARTED, began(flask.request.environ))
        setattr(flask.g, _NAMED, named(flask.request.environ))

    @app.after_request
    def end(response: Response) -> Response:
        route = flask.request.url_rule.rule if flask.request.url_rule else _OTHER
        seconds = time.perf_counter() - flask.g.get(_STARTED)
        metrics.answered(route, response.status_code, seconds, flask.g.get(_ROWS, 0))
        response.headers.update(flask.g.get(_NAMED))
        return response

    @app.teardown_request
    def forget(_error: BaseException | None) -> None:
        forget_name()


def began(environ: Mapping[str, Any]) -> float:
    """When the request was whole, by ``time.perf_counter``."""
    return environ.get(ARRIVED) or time.perf_counter()


def named(environ: Mapping[str, Any]) -> dict[str, str]:
    """The headers with a request's identity, for its answer; log lines have it from now on.

    They are those of ``IDENTITIES`` in WSGI's environment, or a new ``IDENTITY`` if the request has none.
    """
    found: dict[str, str] = {name: environ[key] for name, key in _KEYS.items() if valid(environ.get(key))}
    found.setdefault(IDENTITY, next(iter(found.values()), "") or uuid.uuid4().hex)
    logs.request_id.set(found[IDENTITY])
    return found


def forget_name() -> None:
    """Leave the identity out of the log lines that follow, as the request is answered."""
    logs.request_id.set("")


def count_rows(rows: int) -> None:
    """The request that Flask is handling had so many rows."""
    setattr(flask.g, _ROWS, rows)


def valid(text: str | None) -> bool:
    """Whether a request may have this identity.

    >>> valid("Root=1-67891233-abcdef012345678912345678"), valid("two\\nlines"), valid("x" * 300), valid(None)
    (True, False, False, False)
    """
    return text is not None and _IDENTITY.fullmatch(text) is not None
