"""A gunicorn worker that no slow client can block.

One thread, the loop, watches all connections and reads requests as they arrive, each into a buffer of bounded size.
Only a complete request takes one of the threads that compute; what a client does not read of its answer at once goes
back to the loop. So a client occupies a thread only while its answer is computed, however slowly it sends or reads.
Short requests the loop answers itself (``short``). Parsing a request's head, and WSGI, are gunicorn's own, except for
usual requests (``heads``).

Limits (``recordio.limits``): a head must be complete within HEAD_SECONDS; a body may pause for STALL_SECONDS and take
SAGEMAKER_MODEL_SERVER_TIMEOUT (60 s) altogether; the client may pause reading its answer for STALL_SECONDS. Slower
requests are answered 408. If connections or buffered bytes reach their bounds, idle connections are closed first, then
the oldest incomplete requests (503), so that a new client always gets in. ``GET`` requests have a thread of their own
and do not wait for predictions, but short ones; the loop answers ``/ping`` itself where there is one model.

Chosen by measuring, before usual and short requests were treated as such, which halves what this worker takes
(``python -m benchmarks.serving --workers gthread gevent waitress``; k-means, one row of 8 numbers, CPU of the server
for one request over 1, 8 and 32 connections): this worker 540 to 640 us; gunicorn's gthread 550 to 650; gevent 480 to
570; Waitress 450 to 670. With 1,000 stalled clients beside them: this worker 480 to 560 us; gthread answers nobody;
gevent 470 to 650, with a p99 of 200 to 260 ms at 32 connections (here 37 to 55), as it switches between clients in one
thread, where one long prediction also stops every ping; Waitress 590 to 1,190, as its loop asks each connection in
Python whether it is readable, and a byte now and then keeps a slow client.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import queue
import selectors
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, ClassVar

from gunicorn.http import errors as parsing
from gunicorn.http import wsgi
from gunicorn.http.parser import RequestParser
from gunicorn.workers.base import Worker

from container.logs import logger
from container.serving import connection as bounded
from container.serving import heads
from container.serving.connection import Bounds, Connection, Outbox
from container.serving.direct import BODY, Direct
from container.serving.framing import ChunkedBody, FixedBody, MalformedBodyError
from container.serving.request_memory import MustWaitError, at_once
from container.serving.short import ShortRequests
from container.serving.telemetry import ARRIVED, Metrics
from recordio.limits import HEAD_SECONDS, LONGEST_DRAINED, LONGEST_HEAD, MOST_CONNECTIONS, STALL_SECONDS

_SWEEP_SECONDS = 0.25
_PIECE = 1 << 16
_MOST_ACCEPTED = 64


def _is_chunked(request: Any) -> bool:
    """Whether the body comes in chunks, the only transfer coding that is supported.

    Raises:
        UnsupportedTransferCoding: there is another, such as gzip: answered 501 (RFC 9112, section 6.1).
    """
    values = [value for name, value in request.headers if name == "TRANSFER-ENCODING"]
    for value in values:
        if {coding.strip(" \t").lower() for coding in value.split(",")} - {"chunked", "identity"}:
            raise parsing.UnsupportedTransferCoding(value)
    return bool(values)


class BufferingWorker(Worker):
    """See the module's text. ``bounds`` and ``metrics`` are set by ``with_bounds``."""

    bounds: ClassVar[Bounds]
    metrics: ClassVar[Metrics]

    def init_process(self) -> None:
        """Make what must not be shared with other processes, and run."""
        self._poller = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._returned: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._compute = ThreadPoolExecutor(self.cfg.threads, "compute")
        self._quick = ThreadPoolExecutor(1, "quick")
        self._short = ShortRequests()
        self._accepted_at_once = 1
        self._buffered = 0
        self._lock = threading.Lock()
        self._most_connections = min(MOST_CONNECTIONS, bounded.most_connections())
        self._next_sweep = 0.0
        self._read_until = math.inf  # after a stop, also for requests that begin after it
        super().init_process()

    def run(self) -> None:
        """Serve until a signal or the parent's end."""
        for listener in self.sockets:
            listener.setblocking(False)
            self._poller.register(listener, selectors.EVENT_READ)
        self._direct = self.wsgi if isinstance(self.wsgi, Direct) else None
        self._poller.register(self.PIPE[0], selectors.EVENT_READ)
        while self.alive:
            self._turn()
        self._stop()

    def _stop(self) -> None:
        """Finish open requests: those being answered within ``Bounds.stop``, all others much sooner."""
        self.alive = False
        for listener in self.sockets:
            self._poller.unregister(listener)
            listener.close()
        now = time.monotonic()
        self._read_until = now + bounded.STOP_READ_SECONDS
        for one in self._connections:
            with one.lock:
                busy = one.busy
            if not busy:
                idle = one.began is None and not one.outgoing
                one.deadline = min(
                    one.deadline, now + (bounded.STOP_IDLE_SECONDS if idle else bounded.STOP_READ_SECONDS)
                )
        end = now + self.bounds.stop
        while self._connections and time.monotonic() < end:
            self._turn()
        for one in [*self._connections]:
            self._close(one)
        self._compute.shutdown(wait=False, cancel_futures=True)

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Wait for events, and handle them."""
        for key, events in self._poller.select(_SWEEP_SECONDS if self._connections else 1.0):
            if key.data is None:
                self._serve_own(key.fileobj)
            else:
                self._guarded(self._writable if events & selectors.EVENT_WRITE else self._readable, key.data)
        for _ in range(self._returned.qsize()):  # not those that come meanwhile, or one client could keep the loop
            self._guarded(self._resume, self._returned.get())
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            self._accepted_at_once = 1
            self.notify()
            if self.ppid != os.getppid():
                self.alive = False
            for one in [one for one in self._connections if one.deadline < now and not one.busy]:
                self._guarded(self._expire, one)

    def _serve_own(self, source: Any) -> None:
        if source in self.sockets:
            self._accept(source)
        else:  # woken by a signal or by a thread
            with contextlib.suppress(BlockingIOError):
                os.read(self.PIPE[0], 4096)

    def _guarded(self, step: Any, one: Connection) -> None:
        """Do one step of one connection; an error ends only that connection."""
        if one.closed:
            return
        try:
            step(one)
        except OSError:  # reset, or closed by the other side
            self._close(one)
        except Exception:
            logger.exception("A connection was closed by an error of the server")
            self._close(one)

    def _accept(self, listener: socket.socket) -> None:
        """Accept a connection, or in a crowd twice as many as last time, so that other workers have their share."""
        for _ in range(self._accepted_at_once):
            try:
                sock, address = listener.accept()
            except OSError:  # nobody is left, left again already, or another worker was faster
                return
            sock.setblocking(False)
            one = Connection(sock, address, listener.getsockname(), time.monotonic() + bounded.KEEP_ALIVE_SECONDS)
            self._connections.add(one)
            self._watch(one, selectors.EVENT_READ)
            if len(self._connections) > self._most_connections:
                self._make_room(one)
        self._accepted_at_once = min(2 * self._accepted_at_once, _MOST_ACCEPTED)

    def _watch(self, one: Connection, events: int) -> None:
        if events == one.watched:
            return
        if not one.watched:
            self._poller.register(one.sock, events, one)
        elif not events:
            self._poller.unregister(one.sock)
        else:
            self._poller.modify(one.sock, events, one)
        one.watched = events

    def _close(self, one: Connection) -> None:
        if one.closed:
            return
        self._watch(one, 0)
        if self.alive and self._is_left_to_thread(one):
            return
        one.closed = True
        one.sock.close()
        self._connections.discard(one)
        if not one.busy:
            self._release(one)

    # ---- receiving ---------------------------------------------------------------------------------------------------

    def _readable(self, one: Connection) -> None:
        try:
            data = one.sock.recv(_PIECE)
        except BlockingIOError:
            return
        if not data:
            self._left(one)
            return
        if one.refused:
            return
        with one.lock:
            one.incoming += data
            busy = one.busy
        if busy:
            if len(one.incoming) > LONGEST_HEAD:  # requests sent ahead wait in the kernel
                self._watch(one, 0)
            return
        self._advance(one, time.monotonic())

    def _left(self, one: Connection) -> None:
        """Handle the end of what a client sends; it may still read the answer to its request."""
        if self._is_left_to_thread(one):
            self._watch(one, 0)
        elif one.outgoing:
            one.keep = False
            self._watch(one, selectors.EVENT_WRITE)
        else:
            self._close(one)

    def _is_left_to_thread(self, one: Connection) -> bool:
        """Whether a thread still has the connection, which it then hands back to be closed after the answer."""
        with one.lock:  # it may just find that the connection is to be kept, and nobody would look at that again
            one.keep = one.keep and not one.busy
            return one.busy

    def _advance(self, one: Connection, now: float) -> None:
        """Read what has arrived, up to the end of one request."""
        if one.began is None:
            one.began = now
        if one.request is None:
            while one.incoming.startswith(b"\r\n"):  # some clients send one after a body (RFC 9112, section 2.2)
                del one.incoming[:2]
            if not one.incoming:  # no request has begun
                one.began = None
                return
            end = one.incoming.find(b"\r\n\r\n", 0, LONGEST_HEAD)
            if end < 0:
                one.deadline = min(one.deadline, one.began + HEAD_SECONDS)
                if len(one.incoming) >= LONGEST_HEAD:
                    self._refuse(one, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a head of over {LONGEST_HEAD} B")
                return
            head = bytes(one.incoming[: end + 4])
            del one.incoming[: end + 4]
            if not self._begin(one, head):
                return
        assert one.body is not None
        try:
            whole = one.body.feed(one.incoming)
        except MalformedBodyError as error:
            self._refuse(one, HTTPStatus.BAD_REQUEST, str(error))
            return
        if whole:
            self._dispatch(one)
            return
        one.deadline = min(one.began + self.bounds.seconds, now + STALL_SECONDS, self._read_until)
        self._hold(one, whole=False)
        if one.body is not None and one.body.received > LONGEST_DRAINED and self.bounds.body is not None:
            self._refuse(one, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is over the limit")

    def _begin(self, one: Connection, head: bytes) -> bool:
        """Parse a request's head; False where it was refused."""
        most = self.bounds.body
        if self._direct and (usual := heads.usual(head)) and (most is None or usual.length <= most):
            one.request, one.body = usual, FixedBody(usual.length, most)
            one.steady = self._direct.is_steady(usual.environ.get("CONTENT_TYPE", ""))
            return True
        try:
            request = next(RequestParser(self.cfg, [head], one.address))
            chunked = _is_chunked(request)
            length = next((int(value) for name, value in request.headers if name == "CONTENT-LENGTH"), 0)
        except (parsing.ParseException, StopIteration, ValueError, OSError) as error:
            self._refuse(one, bounded.status_of(error), str(error) or "the request is not HTTP")
            return False
        one.request = request
        one.steady = False
        one.body = ChunkedBody(most) if chunked else FixedBody(length, most)
        if request._expected_100_continue:
            request._expected_100_continue = False  # else gunicorn would say it once more
            if not one.incoming and (chunked or length):
                one.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _hold(self, one: Connection, *, whole: bool) -> None:
        """Count what is buffered, and make room if it is too much, by this connection, too, unless its request is
        complete.

        A body that could never fit is refused as too large: if it were dropped to make room, the client would retry.
        """
        assert one.body is not None
        held = len(one.body.content) + len(one.incoming)
        if len(one.body.content) > self.bounds.buffered:
            text = f"the body takes more than the {self.bounds.buffered} B that the server has memory for"
            self._refuse(one, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
            return
        with self._lock:
            self._buffered += held - one.held
            over = self._buffered > self.bounds.buffered
        one.held = held
        while over and not one.closed and not one.refused:
            self._make_room(one, spared=whole)
            over = self._buffered > self.bounds.buffered

    def _release(self, one: Connection) -> None:
        with self._lock:
            self._buffered -= one.held
        one.held = 0

    def _make_room(self, latest: Connection, *, spared: bool = True) -> None:
        """Drop the connection that is the least loss; not the ``latest``, which just sent something, if it is
        ``spared``."""
        waiting = [
            one for one in self._connections if not one.busy and not one.outgoing and not (spared and one is latest)
        ]
        idle = [one for one in waiting if one.began is None and one.held == 0]
        if idle and len(self._connections) > self._most_connections:
            self._close(min(idle, key=lambda one: one.deadline))
            return
        partial = [one for one in waiting if one.began is not None and not one.refused]
        victim = min(partial, key=lambda one: one.began or 0.0, default=latest)
        self._refuse(victim, HTTPStatus.SERVICE_UNAVAILABLE, "too many requests are incomplete; this one was dropped")
        if len(self._connections) > self._most_connections:
            self._close(victim)

    def _expire(self, one: Connection) -> None:
        if one.began is not None and not one.outgoing and not one.refused:
            self._refuse(one, HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time")
        else:
            self._close(one)

    # ---- computing and answering -------------------------------------------------------------------------------------

    def _dispatch(self, one: Connection) -> None:
        self._hold(one, whole=True)
        if one.refused or one.closed:
            return
        one.busy = True
        one.arrived = time.perf_counter()
        assert one.body is not None
        if self._is_ping(one.request) or (one.steady and self._short.has(len(one.body.content))):
            with contextlib.suppress(MustWaitError), at_once():  # nobody would be heard while the loop waits for memory
                self._answer(one)
                return
        self.metrics.waiting.inc()
        pool = self._quick if one.request.method == "GET" else self._compute
        pool.submit(self._answer_in_thread, one)

    def _is_ping(self, request: Any) -> bool:
        """Whether it asks if there is a model, which takes no time where there is but one."""
        return self._direct is not None and request.method == "GET" and request.path == "/ping"

    def _answer_in_thread(self, one: Connection) -> None:
        self.metrics.waiting.dec()
        self._answer(one)

    def _answer(self, one: Connection) -> None:
        """Compute the answer, and send what the client takes at once.

        Raises:
            MustWaitError: the request is as it was, and a thread has to answer it.
        """
        began = time.thread_time()
        with self.metrics.computing.track_inprogress():
            try:
                answer, keep = self._respond(one)
            except MustWaitError:
                raise
            except Exception:
                logger.exception("500: a request could not be answered")
                answer, keep = bounded.plain_answer(HTTPStatus.INTERNAL_SERVER_ERROR, "the log says why"), False
        if one.steady and one.body is not None:
            self._short.learn(len(one.body.content), time.thread_time() - began)
        sent = 0
        try:
            sent = one.sock.send(answer)
        except BlockingIOError:
            pass
        except OSError:
            keep, answer = False, b""
        self._release(one)
        one.request = one.body = one.began = None
        one.outgoing = memoryview(answer)[sent:]
        one.deadline = time.monotonic() + bounded.KEEP_ALIVE_SECONDS
        with one.lock:
            one.keep = one.keep and keep
            if one.keep and not one.outgoing and not one.incoming and self.alive:
                one.busy = False
                return  # the usual case: the loop has nothing to do until the next request
        self._returned.put(one)  # busy until it is taken: what comes meanwhile must not begin another answer
        with contextlib.suppress(BlockingIOError):  # then the loop is awake anyway
            os.write(self.PIPE[1], b"\0")

    def _respond(self, one: Connection) -> tuple[bytes, bool]:
        """The bytes of the answer, and whether the connection stays open afterwards."""
        assert one.body is not None
        content = bytes(one.body.content)
        if self._direct and isinstance(one.request, heads.Usual):
            answer = self._direct.answer({**one.request.environ, ARRIVED: one.arrived}, content)
            keep = self.alive and one.keep
            return heads.response(*answer, keep=keep), keep
        outbox = Outbox()
        response, environ = wsgi.create(one.request, outbox, one.address, one.local, self.cfg)
        environ[BODY] = content
        environ["wsgi.input"] = io.BytesIO(content)
        environ["wsgi.multithread"] = True
        environ[ARRIVED] = one.arrived

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            if not (self.alive and one.keep):
                response.force_close()
            return response.start_response(status, headers, exc_info)

        parts = self.wsgi(environ, start)
        try:
            for part in parts:
                response.write(part)
            response.close()
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return b"".join(outbox.parts), not response.should_close()

    def _resume(self, one: Connection) -> None:
        """Go on with the rest of an answer, or with the next request if it is sent."""
        one.busy = False
        if one.outgoing:
            one.deadline = time.monotonic() + self._patience
            self._watch(one, selectors.EVENT_WRITE)
        elif not one.keep or not self.alive:
            self._finish(one)
        else:
            self._watch(one, selectors.EVENT_READ)
            if one.incoming:
                self._advance(one, time.monotonic())

    def _writable(self, one: Connection) -> None:
        try:
            sent = one.sock.send(one.outgoing[: 1 << 20])
        except BlockingIOError:
            return
        now = time.monotonic()
        one.outgoing = one.outgoing[sent:]
        one.deadline = now + self._patience
        if not one.outgoing:
            one.deadline = now + bounded.KEEP_ALIVE_SECONDS
            self._resume(one)

    @property
    def _patience(self) -> float:
        """Seconds that a client may pause reading its answer."""
        return STALL_SECONDS if self.alive else bounded.STOP_READ_SECONDS

    def _finish(self, one: Connection) -> None:
        """Close after the last byte, but not while the client still sends, or it could not read the answer."""
        one.sock.shutdown(socket.SHUT_WR)
        one.refused = True
        one.deadline = time.monotonic() + (bounded.LINGER_SECONDS if self.alive else bounded.STOP_IDLE_SECONDS)
        self._watch(one, selectors.EVENT_READ)

    def _refuse(self, one: Connection, status: HTTPStatus, text: str) -> None:
        """Answer an incomplete request with an error, and close."""
        logger.warning("%d: %s", status, text)
        self.metrics.refused.labels(str(status.value)).inc()
        self._release(one)
        one.incoming.clear()
        one.request = one.body = None
        with contextlib.suppress(OSError):  # its answer is small; a client that takes none of it gets none
            one.sock.send(bounded.plain_answer(status, text))
        try:
            self._finish(one)
        except OSError:
            self._close(one)


def with_bounds(bounds: Bounds, metrics: Metrics) -> type[BufferingWorker]:
    """The worker's class, for gunicorn to make workers of."""
    return type("BufferingWorker", (BufferingWorker,), {"bounds": bounds, "metrics": metrics})
