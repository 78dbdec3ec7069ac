"""Where bytes come from: files, FIFOs and request bodies. The only code that opens input. What is compressed with gzip
is decompressed on the way (``compression.py``).

A source gives, for each epoch, a context manager over an iterator of named binary streams. Each stream is open until
the next is asked for, and leaving the block closes the last one; so a FIFO that is left early lets go of its writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import select
import stat
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast

from recordio.compression import decompressed
from recordio.errors import DataError, EmptyDataError
from recordio.quoting import quoted

_BUFFER_BYTES = 1 << 16
_PIPE_BYTES = 1 << 20  # the most that Linux grants without privileges (fs.pipe-max-size)
_NAMED = 3  # files in a message
_WAIT = 0.05  # seconds between two looks at whether a stop was asked for


class ReadingStopped(Exception):  # noqa: N818 - not an error
    """A stop was asked for while waiting for data."""


class Named(NamedTuple):
    """An open binary stream and the name that error messages give it."""

    name: str
    stream: BinaryIO


Stopped = Callable[[], bool]
"""Says whether waiting for data has become pointless."""


def never() -> bool:
    """No stop is ever asked for."""
    return False


class Source(Protocol):
    """Input that can be read epoch after epoch."""

    @property
    def name(self) -> str:
        """What error messages call the whole of it."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether every epoch gives the same bytes."""
        ...

    def epoch(self, stopped: Stopped = never) -> AbstractContextManager[Iterator[Named]]:
        """The streams of the next epoch.

        Raises
        ------
        EmptyDataError
            there is nothing to open.
        ReadingStopped
            ``stopped()`` became true during a wait.
        """
        ...


class FileSource:
    """All data files below a folder, or one file: SageMaker's File and FastFile modes.

    Sub-folders are read too, in the order of the paths. Skipped are names that begin with a dot or an underscore
    (``.amazon.manifest``, ``_SUCCESS``, ``_temporary/``), empty files (which object stores use as folder markers), and
    what is not a file. Symbolic links are followed, each folder once.
    """

    repeats = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self.name = self._path.name

    def files(self) -> list[Path]:
        """The data files, in the order of reading.

        Raises
        ------
        EmptyDataError
            there are none.
        """
        if self._path.is_file():
            return [self._path]
        if not self._path.is_dir():
            raise EmptyDataError(f"{self._path} does not exist")
        useless: list[str] = []
        found = sorted(_data_files(self._path, useless), key=lambda file: file.relative_to(self._path).as_posix())
        if not found:
            raise EmptyDataError(f"{self._path} has no data files; {_reasons(useless)}")
        return found

    @contextlib.contextmanager
    def epoch(self, stopped: Stopped = never) -> Iterator[Iterator[Named]]:
        """The files, from the first on."""
        with contextlib.closing(self._streams(self.files())) as streams:
            yield streams

    def _streams(self, files: list[Path]) -> Generator[Named, None, None]:
        for file in files:
            inner = file.relative_to(self._path) if file != self._path else Path()
            with _readable(file) as stream:
                name = (self.name / inner).as_posix()
                yield Named(name, decompressed(stream, name))


def _readable(file: Path) -> BinaryIO:
    """The open file.

    Raises
    ------
    DataError
        this user may not read it, which is a matter of who put it there.
    """
    try:
        return file.open("rb", buffering=_BUFFER_BYTES)
    except PermissionError as error:
        raise DataError(f"{file.name[:200]!r} cannot be read: {error.strerror}") from error


def _data_files(root: Path, useless: list[str]) -> Iterator[Path]:
    """The files; of entries that are none, ``useless`` is told the name and the reason."""
    visited: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, onerror=_raise, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            useless.append(f"{_shown(root, folder)} leads to a folder that was read already")
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        useless += [f"{_shown(root, Path(folder, name))} is a hidden folder" for name in folders if _is_hidden(name)]
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in names:
            reason = "a hidden or marker file" if _is_hidden(name) else _not_data(Path(folder, name))
            if reason:
                useless.append(f"{_shown(root, Path(folder, name))} is {reason}")
            else:
                yield Path(folder, name)


def _not_data(file: Path) -> str:
    """Why an entry is no data; empty where it is."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return "a link to what does not exist"
    except OSError as error:  # a link to itself, or through a folder that this user may not enter
        return f"not to be read: {error.strerror}"
    if stat.S_ISREG(status.st_mode):
        return "" if status.st_size else "empty"
    kind = next((name for test, name in _SPECIAL if test(status.st_mode)), "no file")
    return f"{kind}, which File mode does not read"


_SPECIAL = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _shown(root: Path, entry: str | Path) -> str:
    return quoted(Path(entry).relative_to(root).as_posix())


def _reasons(useless: list[str]) -> str:
    """The first few, in words."""
    if not useless:
        return "it is empty"
    more = len(useless) - _NAMED
    return "; ".join(sorted(useless)[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _raise(error: OSError) -> None:
    """A folder that cannot be listed must not be taken for an empty one."""
    raise error


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


class PipeSource:
    """SageMaker's Pipe mode: the FIFO ``<channel>_<epoch>``, a new one for each epoch, counted from 0.

    A FIFO that does not exist yet, or that nobody writes to yet, is waited for. A regular file of that name is read
    as it is.

    Parameters
    ----------
    folder
        where the FIFOs are.
    channel
        the first part of their names.
    stopped
        asked during every wait, besides what ``epoch`` is given.
    patience
        seconds to wait for a FIFO to come into being.
    """

    repeats = False

    def __init__(
        self, folder: str | os.PathLike[str], channel: str, stopped: Stopped = never, patience: float = 600.0
    ) -> None:
        self._folder = Path(folder)
        self._stopped = stopped
        self._patience = patience
        self._next = 0
        self.name = channel

    @contextlib.contextmanager
    def epoch(self, stopped: Stopped = never) -> Iterator[Iterator[Named]]:
        """The next FIFO, whether or not the one before it was read to its end."""
        path = self._folder / f"{self.name}_{self._next}"
        self._next += 1

        def asked() -> bool:
            return stopped() or self._stopped()

        with _open(path, asked, self._patience) as stream:
            yield self._streams(path.name, stream)

    def _streams(self, name: str, stream: BinaryIO) -> Iterator[Named]:
        """The one stream. A generator: whether it is compressed is looked at, and waited for, when it is asked for."""
        yield Named(name, decompressed(stream, name))


def _open(path: Path, stopped: Stopped, patience: float) -> BinaryIO:
    deadline = time.monotonic() + patience
    while True:
        try:
            # O_NONBLOCK: a FIFO opens at once, where it otherwise would not before there is a writer
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            break
        except FileNotFoundError:
            _pause(path, stopped)
            if time.monotonic() > deadline:
                raise EmptyDataError(f"FIFO {path} did not come into being within {patience:g} seconds") from None
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb", buffering=_BUFFER_BYTES)
    with contextlib.suppress(OSError):  # more than the system grants: the usual 64 KiB are only slower
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return cast(BinaryIO, io.BufferedReader(_Fifo(descriptor, path, stopped), _BUFFER_BYTES))


def _pause(path: Path, stopped: Stopped) -> None:
    if stopped():
        raise ReadingStopped(f"stopped while waiting for {path}")
    time.sleep(_WAIT)


class _Fifo(io.RawIOBase):
    """The read end of a FIFO, opened without blocking. Waits end when a stop is asked for."""

    def __init__(self, descriptor: int, path: Path, stopped: Stopped) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._path = path
        self._stopped = stopped
        self._events = select.poll()
        self._events.register(descriptor, select.POLLIN)
        self._met_writer = False

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        # Before the first writer a read would look like the end of the stream; poll tells the two apart, since it
        # reports a hang-up only after a writer has come and gone.
        while True:
            if self._met_writer:
                try:
                    return os.readv(self._descriptor, [target])
                except BlockingIOError:
                    pass
            if self._stopped():
                raise ReadingStopped(f"stopped while waiting for data from {self._path}")
            self._met_writer |= bool(self._events.poll(_WAIT * 1000))

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
