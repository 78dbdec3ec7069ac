"""Jobs that are interrupted at chosen checkpoints, in this process, and started again until they are over."""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from algorithms import registry
from container import logs
from container.settings import Settings
from container.training import checkpoints, failure, train
from container.training.checkpoints import CheckpointStore
from tests.algorithms import samples
from tests.opt_ml import OptMl

MORE = {
    "kmeans": {"epochs": "3", "mini_batch_size": "11", "half_life_time_size": "40"},
    "factorization-machines": {"epochs": "4"},
    "ntm": {"epochs": "3", "mini_batch_size": "13", "sub_sample": "0.8"},
    "seq2seq": {"max_num_epochs": "3", "batch_size": "24", "checkpoint_frequency_num_batches": "3"},
    "image-classification": {"epochs": "3"},
    "pca": {},
    "xgboost": {"num_round": "40"},
    "lda": {},
    "linear-learner": {"epochs": "4", "mini_batch_size": "8", "early_stopping_patience": "4", "num_models": "4"},
}
"""What makes the jobs of the configurations long enough to be interrupted, where they are not; ``xgboost`` writes other
checkpoints."""


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
    _forget_networks()

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


def _forget_networks() -> None:
    """A process that starts has none, whereas this one keeps NTM's, of which the first step makes variables."""
    if (network := sys.modules.get("algorithms.ntm.network")) is not None:
        network._graph.cache_clear()


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


def job(base: Path, name: str, configuration: str, more: dict[str, str]) -> OptMl:
    """A job with a folder for checkpoints."""
    algorithm = registry.find(name)
    chosen = next(one for one in algorithm.configurations if one.name == configuration)
    values = {name: value for name, value in {**chosen.hyperparameters, **more}.items() if value}
    opt_ml = OptMl(base).hyperparameters(values)
    for channel, (content_type, files) in samples.files(algorithm, chosen).items():
        opt_ml.channel(channel, files, content_type)
    opt_ml.paths.checkpoints.mkdir()
    return opt_ml
