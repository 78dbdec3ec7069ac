"""The wish to stop a job: signals, and what becomes of them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from algorithms.errors import TrainingStopped
from container.logs import logger
from container.signals import STOPPING

GRACE_SECONDS = 90
"""How long a job may go on after SIGTERM. SageMaker and ``docker stop -t 120`` send SIGKILL after 120 seconds."""

_LAST_SECONDS = 15
"""How long a job may go on after that: a library may have caught the exception that was to end it, or not have come
back to Python's instructions."""

_PATIENCE_SECONDS = 3
"""How long a library's work may go on after a stop was asked for while there is nothing to keep."""

_NO_MODEL = "there was no model yet"


class Stop:
    """A context in which SIGTERM and SIGINT ask for a stop instead of ending the process.

    The training loop sees ``requested`` and ends as it likes. Where it does not, because it waits for a pipe that
    nobody writes or computes for minutes, TrainingStopped is raised in the midst of it after ``grace`` seconds; a
    second Ctrl-C does the same at once, as KeyboardInterrupt. Inside ``nothing_to_keep`` it is raised at once.

    Python calls a handler between two of its own instructions only, which a library's code may be far from. A thread,
    woken by the signal itself, therefore says in the log what happens, and ends the process where it stays inside
    ``nothing_to_keep``, or goes on for ``last`` seconds after ``grace`` is over.

    Attributes:
        signal: the first that came; None where none did.
        insisted: an exception was raised in the midst of something, which may have made another one of it.
        advice: gives what to do after a stop, for the log.
    """

    def __init__(self, grace: float = GRACE_SECONDS, last: float = _LAST_SECONDS) -> None:
        self._grace, self._last = grace, last
        self._previous: dict[int, Any] = {}
        self._kept_nothing = threading.Event()
        self._kept_nothing.set()
        self._without_model = False
        self._ends = threading.Event()
        self._wakeups = -1
        self._watcher: threading.Thread | None = None
        self.signal: int | None = None
        self.insisted = False
        self.advice: Callable[[], str] = str

    @property
    def requested(self) -> bool:
        """A signal came."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that ended because of the signal; of SIGTERM, where another host got it."""
        return 128 + (self.signal or signal.SIGTERM)

    def __enter__(self) -> Stop:
        handlers = {signal.SIGTERM: self._ask, signal.SIGINT: self._ask, signal.SIGALRM: self._insist}
        self._previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        woken, self._wakeups = os.pipe()
        os.set_blocking(self._wakeups, False)
        signal.set_wakeup_fd(self._wakeups, warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, args=(woken,), name="stop", daemon=True)
        self._watcher.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        return self

    def __exit__(self, *_: object) -> None:
        self.disarm()
        signal.set_wakeup_fd(-1)
        os.close(self._wakeups)  # which ends the thread
        if self._watcher:
            self._watcher.join(_PATIENCE_SECONDS)
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def nothing_to_keep(self) -> Iterator[None]:
        """See ``algorithms.interface.Job``."""
        self._kept_nothing.clear()
        try:
            if self.requested:
                self._gave_up()
            yield
        finally:
            self._kept_nothing.set()

    def disarm(self) -> None:
        """Do not interrupt what comes now: the model is being written."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._ends.set()

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
            signal.setitimer(signal.ITIMER_REAL, self._grace)
            signal.signal(signal.SIGINT, self._hurry)
        if not self._kept_nothing.is_set():
            self._gave_up()

    def _gave_up(self) -> NoReturn:
        self._without_model = self.insisted = True
        raise TrainingStopped(_NO_MODEL)

    def _watch(self, woken: int) -> None:
        """Wait for signals; tell of the first that asks for a stop, and see to it that the job ends. See the class."""
        told = False
        with open(woken, "rb", buffering=0) as signals:  # it is a descriptor
            while number := signals.read(1):
                if not told and number[0] in (signal.SIGTERM, signal.SIGINT):
                    told = True
                    self._tell(number[0])
                    most = self._grace + self._last
                    if not self._ends.wait(most):
                        self._end(f"Training did not end within {most:g} seconds of being asked to", 128 + number[0])

    def _tell(self, number: int) -> None:
        name, keeps = signal.Signals(number).name, self._kept_nothing.is_set() and not self._without_model
        what = (
            f"it ends within {self._grace:g} seconds, with a model if there is one by then"
            if keeps
            else "there is no model yet"
        )
        logger.warning("%s: training was asked to stop: %s. A second Ctrl-C ends it at once.", name, what)
        if not keeps and not self._kept_nothing.wait(_PATIENCE_SECONDS):
            self._end("Training was stopped before there was a model, in the midst of a library's work", 128 + number)

    def _end(self, words: str, code: int) -> NoReturn:
        """End the process, whatever it does."""
        logger.warning("%s%s.", words, self.advice())
        os._exit(code)

    def _hurry(self, _number: int, _frame: FrameType | None) -> NoReturn:
        self.insisted = True
        raise KeyboardInterrupt

    def _insist(self, _number: int, _frame: FrameType | None) -> NoReturn:
        self.insisted = True
        raise TrainingStopped(f"training did not end within {self._grace:g} seconds of being asked to")
