"""What a training job needs to go on after it was interrupted, and where an algorithm puts it.

An algorithm says at which points it could go on, by ``offer``; whether one is written there is decided by who
implements ``Checkpoints``, which weighs the time that writing takes against the work that an interruption would cost.
A job that finds a checkpoint when it starts (``latest``) must end with the model of one that was never interrupted,
bit for bit: parameters, the optimizer's state, random generators and the place in the data are all part of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import scipy.sparse as sp

from recordio.batches import Features


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run.

    Attributes
    ----------
    position
        how far training is, for the log: ``epoch 3, batch 120``.
    state
        numbers, texts, lists and objects that JSON can hold; keys are texts.
    arrays
        by name; no objects in them.
    kept
        groups of arrays that are the same in many checkpoints, such as the best model so far; each group is written
        once, so a name must stand for the same arrays for the whole run. Only groups whose name is new are asked for,
        one at a time.
    reads_again
        the run that goes on reads the training channel again from the start of its last epoch. It always does so after
        a checkpoint in the midst of an epoch.
    """

    position: str
    state: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    kept: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    reads_again: bool = False


Join = Callable[[int, Mapping[int, Checkpoint]], tuple[Checkpoint, int]]
"""Makes the checkpoint from which this host goes on out of those that another number of hosts has written. It is
given that number, and the checkpoints that this host is to take up, by the ranks of who wrote them. Each is given to
one host, and all hosts call it. The second thing that it returns is the rank whose log lines go on here."""


class Checkpoints(Protocol):
    """The checkpoints of one job."""

    def latest(self, *, alone: bool = False, join: Join | None = None) -> Checkpoint | None:
        """The newest checkpoint of this very job; None where there is none, or checkpoints are off.

        To be called once, before the first line about an epoch: lines that an interrupted run has written after its
        last checkpoint are not written again from here on.

        Parameters
        ----------
        alone
            each of several hosts goes on from its own newest one; otherwise all from the same point.
        join
            the algorithm can go on from what another number of hosts has written, in this way; where it is None, the
            job starts anew. Where ``alone``, a host whose checkpoint nobody has is left out; elsewhere all are there.
        """
        ...

    def offer(self, make: Callable[[], Checkpoint], *, epoch_over: bool = False, alone: bool = False) -> None:
        """A point from which training could go on. ``make`` is called only where a checkpoint is written.

        Parameters
        ----------
        epoch_over
            an epoch, or what stands for one, is over and its lines are written. Other points are in the midst of one;
            where rows come from a pipe, there are no such points.
        alone
            of several hosts, each writes when it likes; otherwise all come to this point together, and all write or
            none.
        """
        ...


class NoCheckpoints:
    """Checkpoints of a job that keeps none."""

    def latest(self, *, alone: bool = False, join: Join | None = None) -> Checkpoint | None:
        """None."""
        return None

    def offer(self, make: Callable[[], Checkpoint], *, epoch_over: bool = False, alone: bool = False) -> None:
        """Nothing is written."""


def open_file(path: Path) -> BinaryIO:
    """A file for reading, whoever has put what in its place.

    Raises
    ------
    OSError
        it is a folder, a FIFO, on which opening would wait for ever, or a device; or it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file but a folder, a FIFO or a device", str(path))
    return os.fdopen(descriptor, "rb")


def make_way(path: Path) -> None:
    """Give what is in the place of a file and is none, which nobody here has made, another name.

    Raises
    ------
    OSError
        it cannot be renamed.
    """
    if path.exists() and not path.is_file():
        path.rename(path.with_name(f"{path.name}.{secrets.token_hex(4)}.unusable"))


@contextlib.contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which gets its name when the block has ended well, in one step.

    Raises
    ------
    OSError
        the disk is full, say; the file is as it was then.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
        make_way(path)
        temporary.replace(path)
    except BaseException:
        remove(temporary)
        raise


def remove(path: Path) -> None:
    """Take a file away; a folder in its place, which nobody here has made, stays."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


_UPLOADING, _UPLOADED = ".sagemaker-uploading", ".sagemaker-uploaded"


def is_uploading(path: Path) -> bool:
    """SageMaker marks files that it is copying away; they must stay until it is done."""
    return path.with_name(path.name + _UPLOADING).exists() and not path.with_name(path.name + _UPLOADED).exists()


# ---- parts of a state -----------------------------------------------------------------------------------------------


def rows_to_arrays(name: str, rows: Features) -> dict[str, np.ndarray]:
    """Rows (n, d), dense or CSR, as arrays whose names start with ``name``."""
    if isinstance(rows, np.ndarray):
        return {name: rows}
    shape = np.array(rows.shape, np.int64)
    return {f"{name}.data": rows.data, f"{name}.indices": rows.indices, f"{name}.indptr": rows.indptr, name: shape}


def rows_from_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> Features:
    """The rows that ``rows_to_arrays`` took apart."""
    if f"{name}.data" not in arrays:
        return arrays[name]
    parts = (arrays[f"{name}.data"], arrays[f"{name}.indices"], arrays[f"{name}.indptr"])
    height, width = arrays[name].tolist()
    return sp.csr_array(parts, shape=(height, width))


OTHER_CODE = ": other code than this wrote it; empty the folder of checkpoints, and the job starts anew"
"""How an error about a checkpoint ends that an earlier build of the same version laid out otherwise."""
