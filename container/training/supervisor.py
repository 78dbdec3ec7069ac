"""The first process of a host, where there are several: starts the one that trains, and ends as all hosts end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from container.logs import logger
from container.paths import Paths
from container.signals import Signals
from container.training import failure, meeting
from container.training.group import Group
from container.training.leader import Leader
from container.training.member import Member
from container.training.trainee import Link, Trainee


def supervise(
    paths: Paths,
    group: Group,
    job: str | None,
    signals: Signals,
    train: Callable[[Link], int],
    *,
    wait: float | None = None,
) -> int:
    """Run ``train`` in a process of its own, as one of the hosts of the job; the exit code, alike on all hosts: as soon
    as the leader has saved the model, or any has failed.

    Args:
        job: what the hosts of this job have in common and no other job has; None where nobody says.
        signals: those that came since the start of the process: all hosts are told of a stop, however early.
        wait: seconds for the others to come; None for ``meeting.PATIENCE``.
    """
    failure.forget(paths.failure)
    before = _identities(paths.model)
    trainee = Trainee.start(train)
    host = (Leader if group.rank == 0 else Member)(group, meeting.token(job), trainee, signals)
    if wait is not None:
        host.patience = wait
    verdict = host.run()
    trainee.kill()
    if verdict.code == failure.EXIT_CODE:
        if group.rank == 0:
            _remove_new(paths.model, before)
        failure.write(verdict.text, paths.failure)
        logger.error("Training has failed on all %d hosts. %s", group.size, verdict.text.partition("\n")[0])
    host.part(verdict)
    return verdict.code


def _identities(folder: Path) -> dict[Path, tuple[int, int]]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def _remove_new(folder: Path, before: Mapping[Path, tuple[int, int]]) -> None:
    """Take away what the job has saved on the way."""
    for file, identity in _identities(folder).items():
        if before.get(file) != identity:
            file.unlink(missing_ok=True)
