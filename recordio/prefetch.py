"""Reading ahead of computing: one background thread for a channel, a few for the parsing of text."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_PARSERS = min(4, os.cpu_count() or 1)


def parallel(function: Callable[[T], R], items: Iterable[T], workers: int = _PARSERS) -> Iterator[R]:
    """``map`` in several threads: results in order, and at most ``workers + 1`` items in work or waiting.

    Worth it for functions that let go of the interpreter's lock, as NumPy and Arrow do.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="parse")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Raised:
    """The end of the stream: with the exception that ended it, or none."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(produce: Callable[[Callable[[], bool]], Iterator[T]], depth: int = 2) -> Generator[T]:
    """The items of an iterator that runs in a background thread, at most ``depth`` items ahead.

    Parameters
    ----------
    produce
        makes the iterator, in that thread. It is given a function that says whether the consumer has left, for waits
        that would otherwise never end.
    depth
        bound on the items that wait.

    Leaving the loop (or closing the generator) closes the iterator in its thread and waits for the thread to end.
    An exception in the thread is raised here, after the items before it.
    """
    # One queue for items, and one for the room that is left for more: simple ones wait without Python, of which a
    # bounded queue takes some ten microseconds for each item.
    waiting: queue.SimpleQueue[T | _Raised] = queue.SimpleQueue()
    room: queue.SimpleQueue[None] = queue.SimpleQueue()
    for _ in range(depth):
        room.put(None)
    left = threading.Event()

    def put(item: T | _Raised) -> None:
        room.get()
        waiting.put(item)

    def run() -> None:
        error: BaseException | None = None
        try:
            items = produce(left.is_set)
            try:
                for item in items:
                    put(item)
                    if left.is_set():
                        break
            finally:
                if isinstance(items, Generator):
                    items.close()
        except BaseException as raised:  # it is raised again where the items are used
            error = raised
        put(_Raised(error))

    thread = threading.Thread(target=run, name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _Raised):
            room.put(None)
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        for _ in range(2):  # an item that the thread has in hand, and how it ended
            room.put(None)
        thread.join()
