"""The checkpoints of a job in its folder, so that a job that was interrupted goes on where it was.

``<algorithm>-<job>-<number>.checkpoint`` is the state after so many checkpoints; the newest two are kept. ``<job>``
stands for the digest of what a job is: algorithm, version, hyperparameters, channels and their files. Jobs that differ
in any of it may share a folder: none takes up, or removes, the checkpoints of another, and each is told of the others.
Beside them are groups of arrays that several checkpoints share (``….part``) and the count of the log lines written
(``….lines``).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from algorithms.checkpoints import Checkpoint, Join, is_uploading, remove
from algorithms.common.hosts import OneHost
from algorithms.interface import Hosts
from container.logs import logger
from container.training import checkpoint_file, other_hosts
from container.training.checkpoint_file import DamagedCheckpointError
from container.training.identity import DIGITS, RANK, SIZE, Identity, differences, digest
from container.training.other_hosts import Seen

SECONDS = 30.0
"""Between two checkpoints in the midst of an epoch: no more than a minute's work may be lost, the writing included."""

SHARE_OF_TIME = 0.02
"""Of a job's time that writing may take. Checkpoints that take longer are written less often."""

KEPT = 2
_FORMAT = 1
_FOREIGN_TOLD = 3
_NAME = re.compile(rf"[a-z0-9-]+-[0-9a-f]{{{DIGITS}}}-([0-9]{{8}})\.checkpoint")
_PART_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")


# ---- the folder -----------------------------------------------------------------------------------------------------


class Log(Protocol):
    """The log of a job, as far as it is part of a checkpoint."""

    def state(self, *, epoch_over: bool) -> dict[str, Any]:
        """What was measured and written so far; JSON's values."""
        ...

    def resume(self, lines: Path, state: Mapping[str, Any] | None) -> None:
        """Go on from ``state``, or start where it is None, with the file that counts the lines written."""
        ...

    def ends_early(self) -> None:
        """A stop was asked for, and the checkpoint to go on from is written."""
        ...


@dataclass(frozen=True)
class _Kept(Mapping[str, Mapping[str, np.ndarray]]):
    """The groups of a checkpoint that was found, read from their files when they are asked for."""

    paths: Mapping[str, Path]

    def __getitem__(self, name: str) -> Mapping[str, np.ndarray]:
        return checkpoint_file.read(self.paths[name])[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


class CheckpointStore:
    """Implements ``algorithms.checkpoints.Checkpoints`` in a folder.

    Args:
        started: ``time.monotonic()`` of when the job began.
        stopped: whether a stop was asked for; then the next point that is offered is written, whatever it costs.
        hosts: those that train together.
    """

    def __init__(
        self,
        directory: Path,
        who: Identity,
        log: Log,
        *,
        started: float,
        stopped: Callable[[], bool],
        hosts: Hosts | None = None,
    ) -> None:
        self._directory = directory
        self._who: Identity = json.loads(json.dumps(who, default=str))  # as it is when it was read from a file
        self._prefix = f"{who['algorithm']}-{digest(self._who)}"
        self._log = log
        self._stopped = stopped
        self._hosts = hosts or OneHost()
        self._started = self._last = started
        self._spent = self._longest = 0.0
        self._number = self._joined = 0
        self._written: dict[Path, set[str]] = {}  # our whole checkpoints, the newest last, and the parts of each
        self._sound: set[str] = set()  # parts that this run has written, or has gone on from
        self._is_over = False

    @property
    def has_any(self) -> bool:
        """Whether there are checkpoints of this job, of this run or an earlier one."""
        return any(path.is_file() for path in self._ours())

    # ---- finding ----------------------------------------------------------------------------------------------------

    def latest(self, *, alone: bool = False, join: Join | None = None) -> Checkpoint | None:
        """See ``algorithms.checkpoints.Checkpoints``. A damaged one is skipped, for the one before it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for left in self._directory.glob(f".{self._prefix}*"):  # by a run that was killed while writing
            remove(left)
        others = {} if join is None else self._of_other_hosts()
        self._tell_of_others(set(others))
        ours = self._ours()
        self._number = max(map(_number, ours), default=0)
        lines = self._directory / f"{self._prefix}.lines"
        if join is not None and (others or self._hosts.size > 1):
            ours, joined = self._of_any_number(ours, others, alone, join, lines)
            if joined is not None:
                return joined
        elif self._hosts.size > 1 and not alone:
            ours = self._common(ours)
        for path in ours:
            try:
                document, arrays = checkpoint_file.read(path)
                kept = self._checked(document)
            except DamagedCheckpointError as error:
                logger.warning("Checkpoint %s is skipped: %s", path, error)
                continue
            logger.info("Training goes on after %s, from checkpoint %s", document["position"], path)
            self._written[path], self._sound = set(document["parts"]), set(document["parts"])
            self._joined = _joined(document)
            self._log.resume(lines, document["log"])
            return Checkpoint(document["position"], document["state"], arrays, _Kept(kept))
        if self._number:  # none of them can be used: the log starts anew, too
            remove(lines)
        self._log.resume(lines, None)
        return None

    def _common(self, ours: list[Path]) -> list[Path]:
        """The newest whole checkpoint that all hosts have; none where there is no such."""
        told = self._hosts.gather([self._number, [_number(path) for path in self._whole(ours)]])
        self._number = max(number for number, _ in told)  # so that all hosts count alike
        shared = set.intersection(*(set(numbers) for _, numbers in told))
        return [path for path in ours if shared and _number(path) == max(shared)]

    def _of_other_hosts(self) -> dict[Path, Seen]:
        """Whole checkpoints of this job that another number of hosts has written."""
        found = {}
        for path in sorted(self._directory.glob(f"{self._who['algorithm']}-*.checkpoint")):
            if not _NAME.fullmatch(path.name) or path.name.startswith(self._prefix):
                continue
            try:
                document = checkpoint_file.read_document(path)
                _check_form(document)
                who = document["identity"]
                if other_hosts.can_join(who, self._who) and who[SIZE] != self._hosts.size and not document["parts"]:
                    checkpoint_file.read(path)
                    found[path] = Seen(who[SIZE], who[RANK], _number(path), _joined(document))
            except DamagedCheckpointError as error:
                logger.warning("Checkpoint %s is skipped: %s", path, error)
        return found

    def _of_any_number(
        self, ours: list[Path], others: Mapping[Path, Seen], alone: bool, join: Join, lines: Path
    ) -> tuple[list[Path], Checkpoint | None]:
        """Our checkpoints to go on from, of which the newest was read, or what is made of those of another number of
        hosts."""
        own = [
            Seen(self._hosts.size, self._hosts.rank, _number(path), _joined(document))
            for path, document in self._whole(ours).items()
        ]
        gathered = self._hosts.gather([self._number, [list(one) for one in (*others.values(), *own)]])
        told = [[Seen(*one) for one in of_host] for _, of_host in gathered]
        everywhere = max(one.number for of_host in told for one in of_host) if any(told) else 0
        chosen = other_hosts.choose(told, self._hosts.size, alone=alone)
        if chosen is None or chosen.size == self._hosts.size:
            if chosen is None and others:
                told_of = (
                    "Checkpoints of another number of hosts are left alone, as some of their hosts' are missing: %s"
                )
                logger.warning(told_of, ", ".join(map(str, others)))
            if not alone:
                self._number = max(self._number, everywhere, *(number for number, _ in gathered))
            number = None if chosen is None else chosen.numbers.get(self._hosts.rank)
            return [path for path in ours if _number(path) == number], None
        self._number = self._joined = max(everywhere, *(number for number, _ in gathered), 0)
        takers = chosen.takers(told)
        mine = {
            one.rank: path
            for path, one in others.items()
            if one.size == chosen.size
            and one.number == chosen.numbers.get(one.rank)
            and takers[one.rank] == self._hosts.rank
        }
        return [], self._made_of(chosen.size, mine, set(range(chosen.size)) - set(takers), join, lines)

    def _made_of(self, size: int, mine: Mapping[int, Path], absent: set[int], join: Join, lines: Path) -> Checkpoint:
        """The state of another number of hosts as that of these."""
        read = {rank: checkpoint_file.read(path) for rank, path in mine.items()}
        parts = {rank: Checkpoint(one["position"], one["state"], arrays) for rank, (one, arrays) in read.items()}
        made, behind = join(size, parts)
        logs = self._hosts.gather({str(rank): json.dumps(one["log"]) for rank, (one, _) in read.items()})
        log = next((json.loads(of_host[str(behind)]) for of_host in logs if str(behind) in of_host), None)
        remove(lines)  # of a run with as many hosts as now, before that of the others
        self._log.resume(lines, log)
        names = ", ".join(str(path) for path in mine.values()) or "none here"
        logger.info("Training goes on after %s, from checkpoints of %d host(s): %s", made.position, size, names)
        for rank in sorted(absent):
            logger.warning("Of host number %d of %d there is no checkpoint: what it read is read again", rank + 1, size)
        return made

    def _ours(self) -> list[Path]:
        """Our checkpoints, the newest first."""
        found = [path for path in self._directory.glob(f"{self._prefix}-*.checkpoint") if _NAME.fullmatch(path.name)]
        return sorted(found, reverse=True)

    def _whole(self, paths: Iterable[Path]) -> dict[Path, dict[str, Any]]:
        """The documents of those of our checkpoints that are whole."""
        found = {}
        for path in paths:
            try:
                document = checkpoint_file.read(path)[0]
                self._checked(document)
                found[path] = document
            except DamagedCheckpointError as error:
                logger.warning("Checkpoint %s is skipped: %s", path, error)
        return found

    def _checked(self, document: Mapping[str, Any]) -> dict[str, Path]:
        """The files of the groups that the checkpoint shares, all of them whole.

        Raises:
            DamagedCheckpointError: a part of the checkpoint is missing or damaged, or it is another job's.
        """
        _check_form(document)
        if unlike := list(differences(document["identity"], self._who)):
            raise DamagedCheckpointError(f"it is of another job than its name says: {'; '.join(unlike)}")
        kept = {}
        for name in document["parts"]:
            path = self._part(name)
            try:
                checkpoint_file.read(path)
            except DamagedCheckpointError as error:
                raise DamagedCheckpointError(f"its part {path.name}: {error}") from None
            kept[name] = path
        return kept

    def _part(self, name: str) -> Path:
        return self._directory / f"{self._prefix}-{name}.part"

    def _tell_of_others(self, usable: set[Path]) -> None:
        """Warn of checkpoints in the folder that are of other jobs: whose they are, and in what these differ. The
        ``usable`` are of this one with another number of hosts."""
        newest: dict[str, Path] = {}
        for path in sorted(self._directory.glob("*.checkpoint")):
            if _NAME.fullmatch(path.name) and not path.name.startswith(self._prefix) and path not in usable:
                newest[path.name.rpartition("-")[0]] = path
        for number, path in enumerate(newest.values()):
            if number == _FOREIGN_TOLD:
                logger.warning("Checkpoints of %d other jobs are in %s", len(newest) - number, self._directory)
                return
            try:
                document = checkpoint_file.read_document(path)
                _check_form(document)
                if document["identity"] | {RANK: self._who.get(RANK)} == self._who:
                    continue  # another host of this job
                unlike = "; ".join(differences(document["identity"], self._who))
            except DamagedCheckpointError as error:
                unlike = f"it cannot be read: {error}"
            logger.warning("Checkpoint %s is of another job, and is left alone: %s", path, unlike)

    # ---- writing ----------------------------------------------------------------------------------------------------

    def offer(self, make: Callable[[], Checkpoint], *, epoch_over: bool = False, alone: bool = False) -> None:
        """See ``algorithms.checkpoints.Checkpoints``.

        Raises:
            OSError: the disk is full, say.
        """
        if self._is_over:
            return
        now, stopped = time.monotonic(), self._stopped()
        due = stopped or self._is_due(now, epoch_over)
        if not alone and self._hosts.size > 1:
            due, stopped = (bool(count) for count in self._hosts.sum(np.array([int(due), int(stopped)]))[0])
        if not due:
            return
        self._is_over = stopped
        self._write(make(), epoch_over)
        if self._is_over:
            self._log.ends_early()
        self._last = time.monotonic()
        self._spent += self._last - now
        self._longest = max(self._longest, self._last - now)

    def _is_due(self, now: float, epoch_over: bool) -> bool:
        if not epoch_over and now - self._last < SECONDS:
            return False
        return self._spent + self._longest <= SHARE_OF_TIME * (now - self._started)

    def _write(self, checkpoint: Checkpoint, epoch_over: bool) -> None:
        for name in checkpoint.kept:
            if name not in self._sound or not self._part(name).exists():
                checkpoint_file.write(self._part(name), {}, checkpoint.kept[name])
                self._sound.add(name)
        self._number += 1
        path = self._directory / f"{self._prefix}-{self._number:08d}.checkpoint"
        document = {
            "format": _FORMAT,
            "identity": self._who,
            "position": checkpoint.position,
            "state": checkpoint.state,
            "parts": list(checkpoint.kept),
            "log": self._log.state(epoch_over=epoch_over and not checkpoint.reads_again),
        }
        if self._joined:
            document["joined"] = self._joined
        checkpoint_file.write(path, document, checkpoint.arrays)
        self._written[path] = set(checkpoint.kept)
        self._prune()

    def _prune(self) -> None:
        """Remove our files that the newest checkpoints do not need, unless SageMaker is copying them away."""
        while len(self._written) > KEPT:
            del self._written[next(iter(self._written))]
        parts = {self._part(name) for names in self._written.values() for name in names}
        for pattern, needed in (("checkpoint", set(self._written)), ("part", parts)):
            for path in self._directory.glob(f"{self._prefix}-*.{pattern}"):
                if path not in needed and not is_uploading(path):
                    remove(path)


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _joined(document: Mapping[str, Any]) -> int:
    """The highest number that there was when these hosts took up what another number of them had written."""
    number = document.get("joined", 0)
    return number if type(number) is int else 0


_FORM = {"position": str, "state": dict, "parts": list, "log": dict, "identity": dict}


def _check_form(document: Mapping[str, Any]) -> None:
    """See that the document is of the form that is written here.

    Raises:
        DamagedCheckpointError: it is not.
    """
    if document.get("format") != _FORMAT:
        raise DamagedCheckpointError(f"its format is {document.get('format')!r}, and {_FORMAT} is expected")
    if wrong := [name for name, kind in _FORM.items() if not isinstance(document.get(name), kind)]:
        raise DamagedCheckpointError(f"its document has no usable {', '.join(wrong)}")
    if not all(isinstance(name, str) and _PART_NAME.fullmatch(name) for name in document["parts"]):
        raise DamagedCheckpointError("its document names parts as none are named here")
