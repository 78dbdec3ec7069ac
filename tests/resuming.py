"""Jobs that are interrupted at chosen checkpoints, in this process, and started again until they are over."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from container import logs
from container.settings import Settings
from container.training import checkpoints, failure, train
from container.training.checkpoints import CheckpointStore
from tests.opt_ml import OptMl

TOLD = re.compile(
    r"#quality_metric|#progress_metric|#early_stopping_criteria|Epoch\[\d+\] (Train|Valid)|Checkpoint \[\d+\]\t[TV]|"
    r"# Finished training epoch|local kmeans attempt|Iter \d+: Short|training_data_iter"
)
"""Lines of which every epoch has its own."""
_CHANGING = re.compile(r"^\[[^\]]*\] |\"(StartTime|EndTime)\": [\d.]+")


class Killed(BaseException):
    """Stands for the end of the process."""


@dataclass
class Run:
    """What a job left: the exit code, its log, and the number of checkpoints that it wrote."""

    code: int | None
    log: str
    writes: int

    @property
    def told(self) -> list[str]:
        """The lines about epochs, without times."""
        return [_CHANGING.sub("", line) for line in self.log.splitlines() if TOLD.search(line)]


class Output(io.StringIO):
    """A log that is kept."""

    def rows(self, count: int) -> None:
        """Not shown."""

    def steps(self, done: int, total: int | None) -> None:
        """Not shown."""


def run(name: str, opt_ml: OptMl, kill: Callable[[int], bool] = lambda writes: False) -> Run:
    """One start of the job. Every checkpoint that is offered is written, and the job ends after the n-th of this start
    where ``kill(n)`` is true."""
    writes = 0

    class Store(CheckpointStore):
        def _write(self, checkpoint, epoch_over):
            nonlocal writes
            super()._write(checkpoint, epoch_over)
            writes += 1
            if kill(writes):
                raise Killed

    output = Output()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "CheckpointStore", Store)
        patch.setattr(checkpoints, "SECONDS", 0.0)
        patch.setattr(checkpoints, "SHARE_OF_TIME", float("inf"))
        patch.setattr(failure, "report", _raised)
        settings = Settings(algorithm=name, base_directory=opt_ml.paths.base)
        try:
            code = train.run(opt_ml.paths, settings, output)
        except Killed:
            code = None
        finally:
            logs.configure()
    return Run(code, output.getvalue(), writes)


def _raised(error: BaseException, _: Path) -> None:
    raise error


def runs(name: str, opt_ml: OptMl, kill: Callable[[int], bool]) -> Iterator[Run]:
    """Starts of the job until one comes to its end."""
    while True:
        one = run(name, opt_ml, kill)
        yield one
        if one.code is not None:
            return
        shutil.rmtree(opt_ml.paths.model)
        opt_ml.paths.model.mkdir()


def artifact(opt_ml: OptMl) -> dict[str, bytes]:
    """The files of the model."""
    folder = opt_ml.paths.model
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
