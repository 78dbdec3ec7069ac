"""Checkpoints: the model after a round, in files ``xgboost-checkpoint.<round>`` of which the newest are kept."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import xgboost as xgb

from algorithms.checkpoints import is_uploading, open_file, remove, written
from algorithms.errors import ModelError
from algorithms.interface import Job
from algorithms.xgb.documents import load_booster
from algorithms.xgb.portable import portable

KEPT = 5
_SHARE_OF_TIME = 0.05  # a model grows with each round: saving all of them would cost the square of the rounds
_UNFINISHED = ".xgboost-checkpoint"
_NAME = re.compile(r"xgboost-checkpoint\.([0-9]+)")


class Checkpoints:
    """The checkpoints of one boosting run in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started = time.monotonic()
        self._spent = 0.0
        directory.mkdir(parents=True, exist_ok=True)
        for left in directory.glob(f"{_UNFINISHED}*"):  # by a job that was killed while writing
            remove(left)

    def newest(self, job: Job) -> tuple[xgb.Booster, int] | None:
        """The newest checkpoint that can be read, and its round; None where there is none."""
        for number, path in reversed(self._files()):
            try:
                with open_file(path) as file:
                    return load_booster(file.read(), str(path)), number
            except (ModelError, OSError) as error:
                job.warning(f"Checkpoint {path} is skipped: {error}")
        return None

    def save(
        self, booster: xgb.Booster, number: int, attributes: Callable[[], Mapping[str, str]], *, now: bool = False
    ) -> None:
        """Write the checkpoint of a round, or leave it out while writing takes more than a twentieth of the time.

        Args:
            attributes: gives attributes for the booster in the file; called only if one is written.
            now: write in any case.
        """
        began = time.monotonic()
        if not now and self._spent > _SHARE_OF_TIME * (began - self._started):
            return
        beside = attributes()
        booster.set_attr(**beside)
        with written(self._directory / f"xgboost-checkpoint.{number}") as file:
            file.write(portable(booster))
        booster.set_attr(**dict.fromkeys(beside))
        # Files of later rounds are ones that could not be read.
        for path in [path for round_, path in self._files() if round_ <= number][:-KEPT]:
            if not is_uploading(path):
                remove(path)
        self._spent += time.monotonic() - began

    def _files(self) -> list[tuple[int, Path]]:
        """Round and path of each checkpoint, oldest first."""
        found = ((_NAME.fullmatch(path.name), path) for path in self._directory.iterdir())
        return sorted((int(match[1]), path) for match, path in found if match)
