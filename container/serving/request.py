"""A request becomes a response: a pure function of its bytes, its content type, what it accepts, and a model.

Nothing here knows of a web framework, or of more than one protocol: SageMaker's routes (``app``), the multi-model
endpoint (``multi_model``) and the open inference protocol (``open_inference``) are adapters around it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from algorithms.answers import answer, selected
from algorithms.interface import CSV, RECORDIO, Algorithm, Model
from container.logs import logger
from container.serving import dialects, media, request_memory, responses
from container.serving.dialects import Dialect
from container.serving.request_memory import MustWaitError, RequestMemory
from container.settings import Settings
from recordio import record_writer
from recordio.batches import Batch

_FEW_ROWS = 64
"""Of a batch with more rows one row is predicted first, to learn how many numbers an answer has for each."""


@dataclass(frozen=True)
class Request:
    """Attributes:
    body: its bytes. content_type, accept: the headers of these names; None where they are absent.
    """

    body: bytes
    content_type: str | None = None
    accept: str | None = None


@dataclass(frozen=True)
class Response:
    """Attributes:
    media_type: of the body. rows: how many were predicted.
    """

    status: int
    body: bytes
    media_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0


@dataclass(frozen=True)
class Endpoint:
    """A model and how it is asked.

    Attributes:
        default_accept: the media type of the answer where the request does not say, instead of the dialect's.
        outputs: selected instead of the model's columns.
        batch: requests are those of a batch transform job.
        memory: lets a request wait until there is memory for it.
        widths: how many numbers the last answer had for each row, by what was asked for.
    """

    algorithm: type[Algorithm]
    model: Model
    dialect: Dialect
    default_accept: str | None = None
    outputs: tuple[str, ...] = ()
    batch: bool = False
    memory: RequestMemory | None = None
    widths: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, algorithm: type[Algorithm], model: Model, settings: Settings) -> Endpoint:
        """The endpoint that the environment describes."""
        return cls(
            algorithm,
            model,
            dialects.find(algorithm.serving.dialect, multi_model=settings.multi_model, version=settings.image_version),
            settings.default_accept,
            settings.inference_outputs,
            settings.batch,
            request_memory.shared(request_memory.workers(settings)),
        )

    def reading(self, body: bytes) -> contextlib.AbstractContextManager[None]:
        """Wait for the memory that parsing ``body`` takes."""
        return self.memory.of(request_memory.of_body(body)) if self.memory else contextlib.nullcontext()

    def predicted(self, batch: Any, parameters: Mapping[str, str]) -> contextlib.AbstractContextManager[dict[str, Any]]:
        """The columns for a batch. It waits for memory for them and the answer, which is held until the block ends."""
        return self._answering(batch, ",".join(parameters), lambda part: answer(self.model, part, parameters))

    def selected(self, batch: Any) -> contextlib.AbstractContextManager[dict[str, Any]]:
        """As ``predicted``, of the outputs that are selected instead."""
        return self._answering(batch, "selected", lambda part: selected(self.model, part, self.outputs))

    @contextlib.contextmanager
    def _answering(self, batch: Any, asked: str, ask: Callable[[Any], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        if self.memory is None:
            yield ask(batch)
            return
        if asked not in self.widths and isinstance(batch, Batch) and len(batch) > _FEW_ROWS:
            self.widths[asked] = request_memory.width(ask(batch.rows(0, 1)))
        needed = request_memory.of_answer(len(batch), self.widths.get(asked, 1)) + self.model.predict_memory(batch)
        with self.memory.of(needed):
            columns = ask(batch)
            if len(batch):
                self.widths[asked] = request_memory.width(columns)
            yield columns


def respond(request: Request, endpoint: Endpoint) -> Response:
    """The response to ``request``, also if anything goes wrong.

    Raises:
        MustWaitError: see there; nothing else.
    """
    started = time.perf_counter()
    try:
        content, media_type, count = _answer(request, endpoint)
    except MustWaitError:
        raise
    except Exception as error:  # the table in ``responses`` has a status for all of them
        return refuse(error, endpoint.dialect)
    logger.info("200: %d rows in %.1f ms", count, 1000 * (time.perf_counter() - started))
    return Response(HTTPStatus.OK, content, media_type, rows=count)


def refuse(error: Exception, dialect: Dialect) -> Response:
    """The response to ``error``, after a line in the log; never with a traceback."""
    status, text = responses.refused(error, dialect)
    return Response(status, text.encode(errors="backslashreplace"))  # a text may quote half of a surrogate pair


def _answer(request: Request, endpoint: Endpoint) -> tuple[bytes, str, int]:
    serving, dialect, model = endpoint.algorithm.serving, endpoint.dialect, endpoint.model
    declared = media.request_type(request.body, request.content_type, serving, dialect)
    with endpoint.reading(request.body):
        batch = media.read(request.body, declared, serving, model.feature_dim)
    if dialect.always_csv and not endpoint.outputs:
        media_type = CSV
    else:
        default = endpoint.default_accept or _default(endpoint, declared.media_type)
        media_type = media.negotiate(request.accept, serving.answers, default, dialect.answered_by_default)
    media.check_writable(batch, media_type)
    if endpoint.outputs:
        with endpoint.selected(batch) as found:
            content = media.write_selected(found, media_type, serving, dialect, batch=endpoint.batch)
    else:
        with endpoint.predicted(batch, media.accept_parameters(request.accept, media_type)) as found:
            content = media.write(found, media_type, serving, dialect, batch=endpoint.batch)
        if dialect.identifies and declared.media_type == media_type == RECORDIO:
            content = record_writer.identified(content, request.body)
    return content, media_type, len(batch)


def _default(endpoint: Endpoint, own: str) -> str:
    """The media type of the answer to a request of media type ``own`` without Accept."""
    dialect = endpoint.dialect
    if dialect.in_kind:
        return own
    return (dialect.default_in_batch if endpoint.batch else None) or dialect.default_answer
