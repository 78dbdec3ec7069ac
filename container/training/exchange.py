"""Sums and values of all hosts of a job, by XGBoost's communicator: what ``algorithms.interface.Hosts`` promises.

The engine sums arrays bit-identically on all hosts, and knows nothing else that is of use here: values travel as sums
too, each host adding its bytes where the others add zeros. Nothing is pickled.

The engine is bound to the thread that set it up, and in any other thread gives that thread's own values without an
error. It listens on all addresses of the machine for connections that would end the process; the sockets are shut
once the hosts are connected, since losses are noticed in ``meeting.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from container.settings import ConfigurationError
from recordio.quoting import shortened

_ARRAY = "\0array"  # the one key of the JSON object that stands for an array
_DAY = 86_400  # seconds; the engine's time-out cannot tell a slow host from a lost one, so it is as good as none
_HEAD = struct.Struct("<Q")
_MARK = (1 << 17) - 1  # the most of a mark: a hundred of them add up exactly in float32
_PIECE = 3 << 17
"""Bytes for each host that are summed at once: more than the buffers of their sockets hold makes hosts wait for each
other, and takes three times as long."""
_COLLECTIVE = "src/collective/"  # in messages of the engine: the folder of its communicator


class Engine:
    """The connected hosts of a job; one for a process.

    Attributes:
        sums, sent, seconds: how many arrays of sums there were, their bytes, and how long they took, of which the most
            is mostly waiting for the slowest host.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        self.sums = self.sent = 0
        self.seconds = 0.0
        self._thread = threading.get_ident()

    def sum(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """See ``algorithms.interface.Hosts``. Arrays of the same dtype travel together."""
        found: list[np.ndarray] = [np.empty(0)] * len(arrays)
        places: dict[np.dtype, list[int]] = {}
        for place, array in enumerate(arrays):
            places.setdefault(array.dtype, []).append(place)
        for dtype, together in places.items():
            shapes = [arrays[place].shape for place in together]
            what = f"{len(shapes)} arrays of {dtype} with the shapes {', '.join(map(str, shapes))}"
            flat = self._sum([arrays[place].ravel() for place in together], what)
            ends = np.cumsum([arrays[place].size for place in together])
            for place, part in zip(together, np.split(flat, ends[:-1]), strict=True):
                found[place] = part.reshape(arrays[place].shape)
        return found

    def sum_in_place(self, array: np.ndarray) -> None:
        """See ``algorithms.interface.Hosts``."""
        flat = array.reshape(-1)
        self._sum([flat], f"an array of {array.dtype} with the shape {array.shape}", flat)

    def gather(self, value: Any) -> list[Any]:
        """See ``algorithms.interface.Hosts``."""
        mine = encode(value)
        lengths = np.zeros(self.size, np.int64)
        lengths[self.rank] = len(mine)
        ends = np.cumsum(self._sum([lengths], "the lengths of what they gather"))
        together = np.zeros(-(-int(ends[-1]) // 8), np.uint64)
        start = int(ends[self.rank]) - len(mine)
        together.view(np.uint8)[start : start + len(mine)] = np.frombuffer(mine, np.uint8)
        texts = self._sum([together], f"{len(together)} words of what they gather").tobytes()
        return [decode(texts[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    def close(self) -> None:
        """Leave the other hosts: what uses XGBoost from here on is about this host alone."""
        from xgboost import collective

        with contextlib.suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says goodbye to the tracker, which has ended, and to the shut socket
            collective.finalize()

    def _sum(self, parts: Sequence[np.ndarray], what: str, out: np.ndarray | None = None) -> np.ndarray:
        """The sum of the parts, one after the other, in ``out`` where it is given, which may be one of them; ``what``
        says what they are, alike on all hosts.

        A number that stands for ``what`` travels behind the first piece of them. Where hosts add arrays of different
        sizes, the engine gives those with the smaller one a wrong sum without an error; the number is wrong then, too.

        Raises:
            RuntimeError: another host adds something else.
        """
        from xgboost import collective

        if threading.get_ident() != self._thread:
            raise RuntimeError("hosts must be asked from the thread that connected them: others get its own values")
        mark = np.array([zlib.crc32(what.encode()) & _MARK | 1]).astype(parts[0].dtype)
        total = np.empty(sum(map(len, parts)), mark.dtype) if out is None else out
        start, started = 0, time.perf_counter()
        for number, own in enumerate(_pieces(parts, _PIECE * self.size // total.itemsize)):
            given = own if number else [*own, mark]
            piece = collective.allreduce(np.concatenate(given) if len(given) > 1 else given[0], collective.Op.SUM)
            self.sums, self.sent = self.sums + 1, self.sent + piece.nbytes
            if number == 0:
                told, piece = piece[-1], piece[:-1]
                if told != (mark * self.size).astype(mark.dtype)[0]:
                    raise RuntimeError(
                        f"host {self.rank} of {self.size} adds {shortened(what)}, and another host something else"
                    )
            total[start : start + len(piece)] = piece
            start += len(piece)
        self.seconds += time.perf_counter() - started
        return total


def _pieces(parts: Sequence[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """The numbers of the parts, one after the other, ``size`` at a time: a piece of none where there are none.

    >>> [[part.tolist() for part in piece] for piece in _pieces([np.arange(3), np.arange(2)], 2)]
    [[[0, 1]], [[2], [0]], [[1]]]
    """
    piece, room = list[np.ndarray](), size
    for part in parts:
        rest = part
        while len(rest) > room:
            yield [*piece, rest[:room]]
            rest, piece, room = rest[room:], [], size
        piece.append(rest)
        room -= len(rest)
    yield piece


def start_tracker(address: str, size: int) -> tuple[Any, int]:
    """What introduces the hosts to each other, on the leader's address: it and its port. It is needed for no more."""
    from xgboost.tracker import RabitTracker

    tracker = RabitTracker(n_workers=size, host_ip=address, sortby="task")
    tracker.start()
    return tracker, int(tracker.worker_args()["dmlc_tracker_port"])


def stop_tracker(tracker: Any) -> None:
    """It has done its work; that nobody said goodbye to it is an error to it, and to nobody else."""
    with contextlib.suppress(ValueError):  # XGBoostError
        tracker.free()


def connect(address: str, port: int, rank: int, size: int) -> Engine:
    """The engine of this host, when all others have called this too.

    Raises:
        RuntimeError: the engine numbers the hosts otherwise.
    """
    import xgboost
    from xgboost import collective

    before = set(_listening())
    with xgboost.config_context(verbosity=0):
        collective.init(
            dmlc_communicator="rabit",
            dmlc_tracker_uri=address,
            dmlc_tracker_port=port,
            dmlc_task_id=f"{rank:04d}",  # sorted as texts, to give the ranks
            dmlc_timeout=_DAY,
            dmlc_retry=1,
        )
    for descriptor in set(_listening()) - before:
        with _borrowed(descriptor) as listener, contextlib.suppress(OSError):
            if listener.getsockname()[0] == "0.0.0.0":  # not the tracker's
                listener.shutdown(socket.SHUT_RDWR)
    if (collective.get_rank(), collective.get_world_size()) != (rank, size):
        raise RuntimeError(f"host {rank} of {size} got number {collective.get_rank()} from the engine")
    return Engine(rank, size)


def check_engine() -> None:
    """Raises ConfigurationError where the package is not in the image."""
    try:
        import xgboost.collective  # noqa: F401
    except ImportError as error:
        raise ConfigurationError("Training on several hosts needs the package xgboost, which is not here") from error


def is_of_communication(error: BaseException) -> bool:
    """Whether the error says that hosts cannot be reached, of which others know the cause."""
    return type(error).__name__ == "XGBoostError" and _COLLECTIVE in str(error)


def _listening() -> Iterator[int]:
    """The descriptors of this process's listening TCP sockets."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are wanted, not paths
        with contextlib.suppress(OSError):
            if Path("/proc/self/fd", name).readlink().name.startswith("socket:"):
                with _borrowed(int(name)) as one:
                    if one.family == socket.AF_INET and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        yield int(name)


def _borrowed(descriptor: int) -> socket.socket:
    return socket.socket(fileno=os.dup(descriptor))


# ---- values as bytes ------------------------------------------------------------------------------------------------


def encode(value: Any) -> bytes:
    """A value of ``Hosts.gather`` as bytes: a JSON text with its length, then the arrays.

    Raises:
        TypeError: a value is of another type, or an array holds no numbers.

    >>> decode(encode({"a": [1, None, 0.5], "b": np.arange(3)}))
    {'a': [1, None, 0.5], 'b': array([0, 1, 2])}
    """
    arrays: list[np.ndarray] = []

    def plain(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            if part.dtype.hasobject:
                raise TypeError(f"an array of {part.dtype} cannot travel between hosts")
            arrays.append(np.ascontiguousarray(part))
            return {_ARRAY: [len(arrays) - 1, part.dtype.str, part.shape]}
        if isinstance(part, np.generic):
            return part.item()
        if isinstance(part, Mapping):
            return {name: plain(inner) for name, inner in part.items()}
        if isinstance(part, Sequence) and not isinstance(part, str):
            return [plain(inner) for inner in part]
        return part

    head = json.dumps(plain(value)).encode()
    return b"".join([_HEAD.pack(len(head)), head, *(array.tobytes() for array in arrays)])


def decode(text: bytes) -> Any:
    """The value that ``encode`` was given."""
    (length,) = _HEAD.unpack_from(text)
    position = _HEAD.size + length

    def restored(part: dict[str, Any]) -> Any:
        nonlocal position
        if _ARRAY not in part:
            return part
        _, dtype, shape = part[_ARRAY]
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(text, dtype, count, position).reshape(shape).copy()
        position += array.nbytes
        return array

    return json.loads(text[_HEAD.size : position], object_hook=restored)
