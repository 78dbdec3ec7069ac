"""What becomes of an exception: a line in the log, the failure file, the exit code. The one table for training.

SageMaker shows the first 1024 characters of the failure file as the job's FailureReason. Its users know two
families: ``ClientError``, on which they can act, and ``AlgorithmError``, which is the algorithm's own fault.
"""

from __future__ import annotations

import contextlib
import errno
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from algorithms.errors import AlgorithmInputError, PredictionError
from container import logs
from container.logs import logger
from recordio.errors import DataError
from recordio.limits import FAILURE_CHARACTERS
from recordio.quoting import shortened

EXIT_CODE = 1


class Family(NamedTuple):
    """Who can act on an error: how the failure file calls it, and how the log does."""

    failure: str
    log: str


CLIENT = Family("ClientError", "Customer Error")
ALGORITHM = Family("AlgorithmError", "Algorithm Error")

_FAMILIES: dict[type[BaseException], Family] = {
    DataError: CLIENT,
    AlgorithmInputError: CLIENT,
    PredictionError: CLIENT,  # rows of a test or validation channel that the model cannot take
    MemoryError: CLIENT,
    BaseException: ALGORITHM,
}
_FAILING = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EREMOTEIO)  # what reading says where a volume is gone
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def family(error: BaseException) -> Family:
    """Whose error it is: that of the nearest class in the table, and the user's where a disk is full or a file cannot
    be read or written."""
    if _disk_full(error) or _is_unreadable(error):
        return CLIENT
    return next(_FAMILIES[kind] for kind in type(error).__mro__ if kind in _FAMILIES)


def problems(error: BaseException) -> list[str]:
    """What went wrong, a line for each problem, escaped; the last ends in the class, as SageMaker's do.

    For what the machine lacks, what to do about it besides.
    """
    lines = list(getattr(error, "problems", ())) or [str(error) or "no message"]
    if _disk_full(error):
        lines = [f"The disk is full: {lines[0]}. Give the job a larger volume (VolumeSizeInGB), or write less"]
    elif isinstance(error, MemoryError):
        lines = [f"Out of memory: {lines[0]}. Use an instance with more memory, a smaller batch, or Pipe mode"]
    lines += getattr(error, "__notes__", ())
    return [logs.tamed(line) for line in (*lines[:-1], f"{lines[-1]} (caused by {type(error).__name__})")]


def report(error: BaseException, file: Path) -> None:
    """Log ``error`` and write the failure file."""
    write(told(error), file)


def told(error: BaseException, host: str | None = None) -> str:
    """Log ``error``, and give the failure file's text: the message, which names the host where there are several.

    For errors of the algorithm's own the traceback follows, as much of its end as SageMaker shows. In the log it is
    whole.
    """
    kind, lines = family(error), problems(error)
    if host is not None:
        lines[0] = f"Host {host}: {lines[0]}"
    trace = "" if kind is CLIENT else "".join(traceback.format_exception(error))
    logs.error(kind.log, lines, trace)
    return _shown(kind, lines, trace)


def write(text: str, file: Path) -> None:
    """Write the failure file, unless there is one already: the first cause is the one to show."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as problem:
        logger.error("The failure file was not written: %s", problem)


def forget(file: Path) -> None:
    """Remove what an earlier run in the same folders has left: the cause to show is this run's."""
    with contextlib.suppress(OSError):
        file.unlink()


def _shown(kind: Family, lines: Sequence[str], trace: str) -> str:
    """The failure file's text: all of it is seen, so a long line is shortened rather than what comes after it cut."""
    room = FAILURE_CHARACTERS - len(f"{kind.failure}: \n")
    message = "\n".join(lines)
    if len(message) > room:
        message = "\n".join(shortened(line, max(room // len(lines) - 1, 100)) for line in lines)
    text, end = f"{kind.failure}: {message}\n", ""
    for line in reversed(trace.splitlines()):
        longer = f"{logs.tamed(line)}\n{end}"
        if len(text) + len(longer) > FAILURE_CHARACTERS:
            break
        end = longer
    return (text + end)[:FAILURE_CHARACTERS]


def _is_unreadable(error: BaseException) -> bool:
    """Whether ``error`` is about a file of the job: it may not be read, has vanished, or lies on a failing disk."""
    return isinstance(error, OSError) and (error.filename is not None or error.errno in _FAILING)


def _disk_full(error: BaseException | None) -> bool:
    """Whether ``error`` is, or was raised because of, a full disk or an exhausted quota."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
