"""`serve`: gunicorn around the application.

The model is loaded once, before the workers fork, so that they share its memory. XGBoost allows that as long as
nothing is predicted before the fork, since its threads would not survive it. Each worker computes with its share of the
CPUs; requests whose bodies are still on the way take none of its threads (``container.serving.worker``).
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from algorithms.errors import AlgorithmInputError
from container import logs
from container.logs import logger
from container.paths import Paths
from container.resources import memory, processes, return_large_blocks, sleep_soon
from container.serving import request_memory, telemetry
from container.serving.telemetry import Metrics
from container.settings import Settings
from container.training import dialects
from recordio.limits import LONGEST_HEAD

THREADS = 4
"""Most threads of a worker. Connections that are idle or slow need none."""

STOP_SECONDS = 20
"""Seconds that a stop waits for requests; SageMaker kills the container 30 seconds after it asked it to stop."""

BUFFERED_SHARE = 8
"""The memory divided by this is for requests that are being received, in all workers. For those that are being answered
see ``request_memory``."""

LARGE_BLOCK = 8 << 20
"""Bytes of memory that a request gives back when it is answered; smaller blocks are kept for the next. Pillow's have 16
MB, and the largest arrays of a usual network 3."""

SHARED_MEMORY = Path("/dev/shm")
"""Where workers show that they are alive: a slow disk must not make them look hung."""

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""Signals that ask for a stop."""

FAILURE = 1


def run(paths: Paths, settings: Settings) -> int:
    """Serve the model in ``paths`` until SIGTERM, SIGINT or SIGQUIT; the exit code of the process.

    0: stopped as asked. 1: there is nothing to serve, or nowhere to listen, and the log says why; a server that could
    answer nothing but errors would only hide that until SageMaker's health check gives up minutes later.
    """
    started = time.perf_counter()
    logs.configure(structured=settings.structured_logs)
    if (problem := _cannot_listen(settings)) is not None:
        logs.error("Customer Error", [problem])
        return FAILURE
    return_large_blocks(LARGE_BLOCK)
    workers = request_memory.workers(settings)
    if settings.multi_model and (settings.workers or 1) > 1:
        logger.warning("SAGEMAKER_MODEL_SERVER_WORKERS=%d is left out: many models need one worker", settings.workers)
    # Before NumPy is imported: its BLAS reads the variable once. More threads than CPUs would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processes() // workers)))
    sleep_soon()
    with telemetry.shared((SHARED_MEMORY, Path(tempfile.gettempdir()))):
        metrics = telemetry.Metrics()
        try:
            application = _load(paths, settings, metrics)
        except AlgorithmInputError as error:
            logs.error("Customer Error", getattr(error, "problems", None) or [str(error)])
            return FAILURE
        seconds = time.perf_counter() - started
        logger.info("Serving on %s with %d workers; loaded in %.2f s", _bound(settings), workers, seconds)
        return _serve(application, settings, workers, metrics)


def _cannot_listen(settings: Settings) -> str | None:
    """Why nothing can listen where the settings say; None where it can. Gunicorn would try five times, with two lines
    of its own for each."""
    family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
        try:
            probe.bind((settings.address, settings.port))
        except OSError as error:
            return f"cannot listen on {_bound(settings)}: {error.strerror}; choose another address or port"
    return None


def _bound(settings: Settings) -> str:
    address = f"[{settings.address}]" if ":" in settings.address else settings.address
    return f"{address}:{settings.port}"


def _load(paths: Paths, settings: Settings, metrics: Metrics) -> Any:
    from algorithms.loading import unpacked
    from container.serving import app, direct, models  # they import NumPy: see run
    from container.serving.request import Endpoint

    if settings.multi_model:
        return _many(settings, metrics)
    place = paths.model.resolve()  # the user's own path, where a command has linked it
    with unpacked(place) as folder, metrics.loading():
        algorithm, model = models.load(folder, settings, place)
    metrics.models.set(1)
    logs.configure(dialects.find(algorithm.log_dialect).frame, structured=settings.structured_logs)
    logger.info("The model in %s is one of %s", place, algorithm.name)
    endpoint = Endpoint.of(algorithm, model, settings)
    application = app.make_app(endpoint, settings)
    telemetry.observe(application, metrics)
    return direct.Direct(application, endpoint, settings.max_payload, metrics)


def _many(settings: Settings, metrics: Metrics) -> Any:
    from container.serving import models
    from container.serving import multi_model as many

    if settings.algorithm is not None:
        algorithm = models.named(settings.algorithm)
        models.check(algorithm, settings)
        logs.configure(dialects.find(algorithm.log_dialect).frame, structured=settings.structured_logs)
    application = many.make_app(settings, metrics)
    telemetry.observe(application, metrics)
    return application


def _serve(application: Any, settings: Settings, workers: int, metrics: Metrics) -> int:
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):
        def load_config(self) -> None:
            for name, value in options(settings, workers, metrics).items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            return application

    os.register_at_fork(after_in_parent=_hear_stops)
    try:
        Server().run()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else FAILURE
    return 0


def options(settings: Settings, workers: int, metrics: Metrics) -> dict[str, Any]:
    """Gunicorn's options."""
    from container.serving import worker
    from container.serving.connection import Bounds

    largest = (settings.max_payload or 0) + LONGEST_HEAD  # with what a client has sent after it
    bounds = Bounds(
        body=settings.max_payload,
        buffered=max(largest, memory() // BUFFERED_SHARE // workers),
        seconds=settings.timeout,
        stop=min(settings.timeout, STOP_SECONDS),
    )
    return {
        "bind": _bound(settings),
        "workers": workers,
        "worker_class": worker.with_bounds(bounds, metrics),
        "threads": max(THREADS, 2 * processes()) if settings.multi_model else THREADS,
        "timeout": settings.timeout,
        "graceful_timeout": min(settings.timeout, STOP_SECONDS),
        "preload_app": True,
        "pre_fork": _hold_stops,
        "post_worker_init": _hear_stops,
        "child_exit": lambda _arbiter, ended: metrics.forget(ended.pid),
        "worker_tmp_dir": str(SHARED_MEMORY) if os.access(SHARED_MEMORY, os.W_OK) else None,
        "control_socket_disable": True,
        "loglevel": "warning",
    }


def _hold_stops(_arbiter: Any = None, _worker: Any = None) -> None:
    """Let stops wait until a new worker can hear them.

    A worker starts with its parent's signal handlers, which do nothing there: a stop in its first milliseconds would be
    lost, and the parent would wait for it until `STOP_SECONDS` are over.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def _hear_stops(_worker: Any = None) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
