"""Many models behind one port: the contract of SageMaker's multi-model endpoints (``SAGEMAKER_MULTI_MODEL``).

The platform unpacks each artifact to a folder, and loads, lists, invokes and unloads models by opaque names:

- ``POST /models`` with ``{"model_name": …, "url": folder}``: 409 where the name is taken, 507 where memory is short.
- ``GET /models``, in pages; ``GET /models/{name}``; ``DELETE /models/{name}``; ``POST /models/{name}/invoke``.

All of it happens in one process with threads. Several processes would each have their own models, and a request might
reach one that has not loaded the model. If the process dies, the next one has no models; it answers 404, upon which
the platform loads them again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import flask
from flask import Flask, Response
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from algorithms.errors import AlgorithmInputError
from algorithms.interface import JSON
from algorithms.loading import check_files
from container.logs import logger
from container.resources import memory, return_freed
from container.serving import app, models, open_inference, responses
from container.serving.dialects import Dialect
from container.serving.flask_responses import of_http
from container.serving.request import Endpoint
from container.serving.telemetry import Metrics
from container.settings import MIB, Settings

PAGE = 100
"""Models on one page of the list."""

LONGEST_NAME = 1024
"""Characters of a model's name; SageMaker's are hashes of 32."""


class LoadError(responses.RequestError):
    """The folder cannot be loaded as a model, or the request to load it is malformed."""

    kind = "BadRequestException"


class UnknownModelError(responses.RequestError):
    """No model of that name is loaded."""

    status = HTTPStatus.NOT_FOUND
    kind = "ModelNotFoundException"


class LoadedError(responses.RequestError):
    """A model of that name is loaded already, or being loaded."""

    status = HTTPStatus.CONFLICT
    kind = "ConflictStatusException"


class NoMemoryError(responses.RequestError):
    """The model does not fit beside those that are loaded. The platform then unloads some."""

    status = HTTPStatus.INSUFFICIENT_STORAGE
    kind = "InsufficientMemoryException"


@dataclass
class Entry:
    """A loaded model. ``users`` is the number of requests that it is answering."""

    name: str
    url: str
    size: int
    endpoint: Endpoint
    users: int = 0

    def described(self) -> dict[str, str]:
        """As the contract's answers have it."""
        return {"modelName": self.name, "modelUrl": self.url}


class Store:
    """The loaded models by name, together no larger than ``limit`` bytes. Safe to use from several threads."""

    def __init__(self, settings: Settings, limit: int) -> None:
        self._settings = settings
        self._limit = limit
        self._entries: dict[str, Entry] = {}
        self._pending: dict[str, int] = {}  # being loaded: their sizes count already
        self._changed = threading.Condition()

    def __len__(self) -> int:
        with self._changed:
            return len(self._entries)

    def load(self, name: str, url: str) -> None:
        """Load the folder ``url`` as ``name``.

        Raises:
            LoadedError, NoMemoryError, LoadError: see there; nothing has changed.
        """
        folder = _folder(url, self._settings.base_directory)
        size = self._size(folder)
        self._reserve(name, size)
        entry = None
        try:
            algorithm, model = models.load(folder, self._settings)
            entry = Entry(name, url, size, Endpoint.of(algorithm, model, self._settings))
        except (AlgorithmInputError, OSError) as error:
            raise LoadError(f"Unable to load model: {error}") from error
        except MemoryError as error:
            raise NoMemoryError(f"there is not enough memory to load the model '{name}'") from error
        finally:
            with self._changed:
                del self._pending[name]
                if entry:
                    self._entries[name] = entry
        logger.info("Loaded model %s, one of %s, from %s", name, algorithm.name, url)

    def _size(self, folder: Path) -> int:
        """An estimate of the bytes of memory that the model in ``folder`` needs."""
        try:
            check_files(folder, self._settings.base_directory)
            algorithm = models.find(self._settings.algorithm, folder)
            return algorithm.loading_memory(folder)
        except (AlgorithmInputError, OSError) as error:
            raise LoadError(f"Unable to load model: {error}") from error

    def _reserve(self, name: str, size: int) -> None:
        with self._changed:
            if name in self._entries or name in self._pending:
                raise LoadedError(f"Model {name} is already registered.")
            used = sum(entry.size for entry in self._entries.values()) + sum(self._pending.values())
            if used + size > self._limit:
                raise NoMemoryError(
                    f"the model '{name}' needs about {size / MIB:.1f} MiB of memory; {used / MIB:.1f} of "
                    f"{self._limit / MIB:.1f} MiB are taken (SAGEMAKER_MULTI_MODEL_MEMORY_IN_MB sets the bound)"
                )
            self._pending[name] = size

    def unload(self, name: str) -> None:
        """Unload a model. Returns once no request uses it any more, or after the longest time that a request may
        take."""
        with self._changed:
            entry = self._found(name)
            del self._entries[name]
            self._pending[name] = entry.size  # its memory is not free before the last request is answered
            free = self._changed.wait_for(lambda: entry.users == 0, self._settings.timeout)
            del self._pending[name]
        if free:
            logger.info("Unloaded model %s", name)
        else:  # a client that does not finish its request must not keep the platform waiting
            logger.warning("Unloaded model %s, whose memory %d requests still hold", name, entry.users)

    def get(self, name: str) -> Entry:
        """The model called ``name``."""
        with self._changed:
            return self._found(name)

    @contextmanager
    def using(self, name: str) -> Iterator[Entry]:
        """The model called ``name``, which stays in memory until the block ends."""
        with self._changed:
            entry = self._found(name)
            entry.users += 1
        try:
            yield entry
        finally:
            with self._changed:
                entry.users -= 1
                self._changed.notify_all()

    @contextmanager
    def endpoint(self, name: str) -> Iterator[Endpoint | None]:
        """As ``using``; None where there is no such model."""
        with self._changed:
            known = name in self._entries
        if not known:
            yield None
            return
        with self.using(name) as entry:
            yield entry.endpoint

    def page(self, after: str) -> tuple[list[Entry], str | None]:
        """Models whose names follow ``after``, and the name to go on after, if there are more."""
        with self._changed:
            names = sorted(name for name in self._entries if name > after)
            entries = [self._entries[name] for name in names[:PAGE]]
        return entries, names[PAGE - 1] if len(names) > PAGE else None

    def _found(self, name: str) -> Entry:
        if name not in self._entries:
            raise UnknownModelError(f"Model not found: {name}")
        return self._entries[name]


def make_app(settings: Settings, metrics: Metrics) -> Flask:
    """A WSGI application without models, which are loaded through it, and counted.

    Management answers as Amazon's multi-model-server does, ``{"status": …}`` and
    ``{"code": …, "type": …, "message": …}``; a model's answers are those of its endpoint.
    """
    application = app.new_app(settings)
    store = Store(settings, settings.models_memory or memory() // 2)
    _add_platform(application, store, settings)
    _add_models(application, store, metrics)

    @application.post("/models/<name>/invoke")
    def invoke(name: str) -> Response:
        with store.using(name) as entry:
            try:
                return app.invoked(entry.endpoint, settings)
            except RequestEntityTooLarge as error:
                return of_http(error)

    open_inference.add_routes(application, store.endpoint)

    application.register_error_handler(Exception, _refusal)
    return application


def _add_platform(application: Flask, store: Store, settings: Settings) -> None:
    parameters = app.execution_parameters(settings)

    @application.get("/ping")
    def ping() -> Response:
        return Response(status=200)

    @application.get("/execution-parameters")
    def batch_parameters() -> Response:
        return _json(parameters)

    @application.get("/models")
    def listing() -> Response:
        entries, token = store.page(flask.request.args.get("next_page_token", ""))
        answer: dict[str, Any] = {"models": [entry.described() for entry in entries]}
        return _json(answer | ({"nextPageToken": token} if token is not None else {}))


def _add_models(application: Flask, store: Store, metrics: Metrics) -> None:
    @application.post("/models")
    def load() -> Response:
        with metrics.loading():
            store.load(*_request(_content()))
        metrics.models.set(len(store))
        return _json({"status": "Workers scaled"})

    @application.get("/models/<name>")
    def get(name: str) -> Response:
        return _json(store.get(name).described())

    @application.delete("/models/<name>")
    def unload(name: str) -> Response:
        store.unload(name)
        return_freed()
        metrics.models.set(len(store))
        return _json({"status": f'Model "{name}" unregistered'})


def _json(content: object, status: int = HTTPStatus.OK) -> Response:
    return Response(flask.json.dumps(content, indent=2) + "\n", status, mimetype=JSON)


_HTTP_KINDS = {404: "ResourceNotFoundException", 405: "MethodNotAllowedException"}


def _refusal(error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.code is not None:
        response = of_http(error)
        kind, text = _HTTP_KINDS.get(error.code, "BadRequestException"), f"{error.name}: {error.description}"
        response.set_data(flask.json.dumps({"code": error.code, "type": kind, "message": text}, indent=2) + "\n")
        response.mimetype = JSON
        return response
    status, text = responses.refused(error, Dialect())
    kind = getattr(error, "kind", "InternalServerException")
    return _json({"code": status, "type": kind, "message": text}, status)


def _content() -> Any:
    """The request's JSON, whatever its Content-Type says; None for what is none."""
    try:
        return flask.request.get_json(force=True, silent=True)
    except RecursionError:  # brackets in brackets
        return None


def _request(body: Any) -> tuple[str, str]:
    """``model_name`` and ``url`` of a request to load a model."""
    if not isinstance(body, dict):
        raise LoadError('expected a JSON object with "model_name" and "url"')
    for field in ("model_name", "url"):
        if not isinstance(body.get(field), str) or not body[field]:
            raise LoadError(f'"{field}": expected text, got {flask.json.dumps(body.get(field))[:100]}')
    name = body["model_name"]
    if name in (".", "..") or "/" in name or not name.isprintable() or len(name) > LONGEST_NAME:
        raise LoadError(
            f'"model_name": expected up to {LONGEST_NAME} printable characters without a slash, got {name[:100]!r}'
        )
    return name, body["url"]


def _folder(url: str, root: Path) -> Path:
    """The folder that the platform names. With all links resolved it must be in ``root``, where the platform unpacks
    models (/opt/ml/models): whoever reaches the port must not be able to have other files read."""
    folder = Path(url)
    if "\0" in url or not folder.is_absolute() or ".." in folder.parts:
        raise LoadError(f'"url": expected the absolute path of a folder, without "..", got {url[:200]!r}')
    try:
        there, inside = folder.is_dir(), folder.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # too long a name, characters that no file has, links in a circle
        there, inside = False, True
    if not inside:
        raise LoadError(f'"url": {url[:200]!r} is not in {root}, where models are')
    if not there:
        raise LoadError(f'"url": there is no folder {url[:200]!r}')
    return folder
