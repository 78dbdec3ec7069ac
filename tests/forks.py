"""Python programs as forks of one process that has imported what they need: a start takes hundredths of a second.

For programs whose results are of interest. How a command starts, and what it imports, only a process of its own shows.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_NUMBER = struct.Struct("i")
_LARGEST = 1 << 20
"""Bytes of a program and its environment."""
_SECONDS = 120
"""Longer than it takes to lend, on a machine that is busy with other things too."""
_OF_JEMALLOC = "jemalloc_bg_thd"
"""A thread that this allocator starts anew in a fork; pyarrow brings it along."""
_VARIABLES = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "MOTO_DISABLE_GLOBAL_CORS": "true"}
"""Of the processes that fork. The last is read when moto is imported, which ``oba up`` does after it has set it."""
ROOT = Path(__file__).resolve().parents[1]
_VARIABLE = "OBA_TEST_FORKS"
_LENDER = os.environ.get(_VARIABLE)
"""The address of the process that started this one and lends its ``place`` of each of ``Forks``, where one does."""
OTHERS: list[int] = []
"""In a process that forks and in its forks: the ``place`` of each of the ``others``."""


class Fork:
    """A running program. Implements what is used here of ``subprocess.Popen``."""

    def __init__(self, status: int) -> None:
        self._status = status
        self.returncode: int | None = None
        self.pid = self._number()

    def _number(self) -> int:
        text = os.read(self._status, _NUMBER.size)
        assert text, "the process that forks has ended"
        return _NUMBER.unpack(text)[0]

    def poll(self) -> int | None:
        """The exit code, negative for the signal that ended it; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The same, once it has ended. Raises subprocess.TimeoutExpired."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def _ended(self, seconds: float | None) -> int | None:
        if self.returncode is None and self._readable(seconds):
            self.returncode = self._number()
            os.close(self._status)
        return self.returncode

    def _readable(self, seconds: float | None) -> bool:
        return bool(select.select([self._status], [], [], seconds)[0])

    def send_signal(self, number: int) -> None:
        """Send it a signal while it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The process that forks. It begins with the first program, and ends with the session of tests. Processes that run
    tests side by side share it.

    Attributes:
        name: by which it is lent.
        others: whose ``place`` its programs may use, as ``OTHERS``.
    """

    def __init__(self, name: str, *modules: str, others: Sequence[Forks] = ()) -> None:
        self.name, self._modules, self.others = name, modules, others
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: socket.socket | None = None
        _ALL[name] = self

    def start(
        self,
        program: str,
        environment: Mapping[str, str],
        output: IO[Any],
        folder: Path = ROOT,
        errors: IO[Any] | None = None,
    ) -> Fork:
        """Run a program in a folder, the checkout's or another, in a process group of its own; its standard output and
        error go to a file, or to one each."""
        return Fork(ask(self.place(), program, environment, [output.fileno(), (errors or output).fileno()], folder))

    def place(self) -> int:
        """The descriptor at which the process is asked."""
        if self._asked is None:
            self._asked = self._begun() if _LENDER is None else self._borrowed(_LENDER)
        return self._asked.fileno()

    def _borrowed(self, address: str) -> socket.socket:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as lender:
            lender.settimeout(_SECONDS)
            lender.connect(address)
            lender.send(self.name.encode())
            _, files, _, _ = socket.recv_fds(lender, 1, 1)
        return socket.socket(fileno=files[0])

    def _begun(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        places = [other.place() for other in self.others]
        program = f"from tests import forks; forks.serve({theirs.fileno()}, {self._modules!r}, {places!r})"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", program],
                cwd=ROOT,
                env={**os.environ, **_VARIABLES},
                pass_fds=[theirs.fileno(), *places],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        return ours

    def close(self) -> None:
        """End the process, where there is one; a borrowed one goes on."""
        if self._asked is not None:
            if self._process is not None:
                self._asked.shutdown(socket.SHUT_RDWR)  # other processes that fork may have it, too
                self._process.wait()
            self._asked.close()
        self._asked = self._process = None


def ask(place: int, program: str, environment: Mapping[str, str], output: Sequence[int], folder: Path) -> int:
    """Have the process at ``place`` fork; where it says the number of the fork, and how that has ended."""
    request = json.dumps({"program": program, "environment": dict(environment), "folder": str(folder)}).encode()
    ours, theirs = os.pipe()
    with socket.socket(fileno=os.dup(place)) as asked:
        socket.send_fds(asked, [request], [*output, theirs])
    os.close(theirs)
    return ours


_ALL: dict[str, Forks] = {}
_lending = contextlib.ExitStack()


def lend() -> None:
    """Lend all that fork, each begun when it is first asked for, to the processes that are started from here on."""
    folder = _lending.enter_context(tempfile.TemporaryDirectory())
    lender = _lending.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    address = str(Path(folder) / "lender")
    lender.bind(address)
    lender.listen()
    thread = threading.Thread(target=_lend, args=(lender,), daemon=True)
    thread.start()
    os.environ[_VARIABLE] = address
    _lending.callback(thread.join)
    _lending.callback(lender.shutdown, socket.SHUT_RDWR)
    _lending.callback(os.environ.pop, _VARIABLE)


def _lend(lender: socket.socket) -> None:
    while True:
        try:
            asking, _ = lender.accept()
        except OSError:  # shut down
            return
        with asking:
            name = asking.recv(_LARGEST).decode()
            socket.send_fds(asking, [b"."], [_ALL[name].place()])


def close() -> None:
    """End all processes that fork, or give back what is borrowed."""
    _lending.close()
    for one in _ALL.values():
        one.close()


JOBS = Forks("jobs", "container.training.train", "xgboost.collective", "scipy.sparse.linalg", "scipy.optimize")
"""For jobs of every algorithm but the networks."""
NETWORKS = Forks("networks", "container.training.train", "tensorflow", "keras", "xgboost.collective")
"""For jobs of networks."""
OF_NETWORKS = ("ntm", "image-classification", "seq2seq")
"""The algorithms of those."""
SERVERS = Forks(
    "servers",
    "container.serving.app",
    "container.serving.direct",
    "container.serving.multi_model",
    "container.serving.server",
    "container.serving.worker",
    "gunicorn.app.base",
    "algorithms.loading",
    "xgboost",
)
"""For servers, but for the client of their metrics: it reads a variable of each server when it is imported."""
IMAGES = Forks("images", "algorithms.vision.augment")
"""For what images take of memory."""
LOCAL = Forks(
    "local",
    "local.commands",
    "local.sagemaker.command",
    "local.sagemaker.kept_objects",
    "local.sagemaker.proxy",
    "local.sagemaker.request_file",
    "local.sagemaker.server",
    "local.sagemaker.transform_file",
    *(f"moto.{service}.responses" for service in ("s3", "sts", "iam", "logs", "cloudwatch")),
    "flask",
    "tests.local.sagemaker.described",
    others=(JOBS, SERVERS),
)
"""For ``oba up`` and ``oba run``."""


# ---- in that process ------------------------------------------------------------------------------------------------


def serve(descriptor: int, modules: Sequence[str], others: Sequence[int]) -> None:
    """Import the modules and fork for each request, until all who ask have ended; ``others`` become ``OTHERS``."""
    from container.imports import without_unused_packages

    OTHERS[:] = others
    with without_unused_packages():  # as in the commands
        for name in modules:
            importlib.import_module(name)
    tasks = Path("/proc/self/task").iterdir()
    threads = [name for task in tasks if (name := (task / "comm").read_text().strip()) != _OF_JEMALLOC]
    assert len(threads) == 1, f"a fork would lose threads that imports have started: {threads}"
    gc.freeze()
    with socket.socket(fileno=descriptor) as asked:
        while True:
            request, files, _, _ = socket.recv_fds(asked, _LARGEST, 3)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not request:
                return
            if not os.fork():
                break
            for file in files:
                os.close(file)
    _be(json.loads(request), *files)


def _be(request: Mapping[str, Any], output: int, errors: int, status: int) -> None:
    """Run the program in a child of this fork, which tells how it ended."""
    if child := os.fork():
        os.close(output)
        os.close(errors)
        os.setpgid(child, child)
        try:
            os.write(status, _NUMBER.pack(child))
        except BrokenPipeError:  # whoever asked has ended meanwhile, and nobody else would end it
            os.killpg(child, signal.SIGKILL)
            os._exit(1)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(BrokenPipeError):  # nobody asks any more
            os.write(status, _NUMBER.pack(ended))
        os._exit(0)
    os.close(status)
    for number, file in ((1, output), (2, errors)):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    exec(compile(request["program"], "<program>", "exec"), {"__name__": "__main__"})
