"""Jobs killed at random moments, and jobs whose disk is full: a whole model or none, and the next run is whole.

``make test`` kills the light algorithms a few times. ``OBA_THOROUGH=1``, which CI sets, takes the networks too, and
more moments. ``OBA_SEED=7 OBA_KILLS=100 pytest tests/kill`` chooses other moments, and as many as there is time for.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from algorithms import registry
from algorithms.interface import Model
from tests.algorithms import samples
from tests.opt_ml import OptMl, Outcome

pytestmark = pytest.mark.slow

THOROUGH = bool(os.environ.get("OBA_THOROUGH"))
SEED = int(os.environ.get("OBA_SEED", "0"))
KILLS = int(os.environ.get("OBA_KILLS", "6" if THOROUGH else "2"))
NETWORKS = ("ntm", "image-classification", "seq2seq")
ALGORITHMS = [name for name in registry.ALGORITHMS if THOROUGH or name not in NETWORKS]
LATE_MARGIN = 1.2  # some kills come after the job has ended by itself
BARE = "a job that was not killed"


def job(base: Path, name: str, **hyperparameters: str) -> OptMl:
    """The first configuration of the algorithm, with a folder for checkpoints."""
    algorithm = registry.find(name)
    configuration = algorithm.configurations[0]
    opt_ml = OptMl(base).hyperparameters({**configuration.hyperparameters, **hyperparameters})
    for channel, (content_type, files) in samples.files(algorithm, configuration).items():
        opt_ml.channel(channel, files, content_type)
    return opt_ml


@cache
def duration(name: str) -> float:
    """Seconds that the job takes undisturbed, from the start of the process; it must succeed."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        outcome = job(Path(folder) / "ml", name).train(name)
        assert outcome.code == 0, f"{BARE}: {outcome.log}"
        return time.monotonic() - started


def killed(opt_ml: OptMl, name: str, number: signal.Signals, after: float) -> Outcome:
    """The outcome of a job to which the signal is sent ``after`` seconds from its start."""
    with opt_ml.start(name) as process:
        try:
            log, _ = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            log, _ = process.communicate(timeout=300)
    return Outcome(process.returncode, log, opt_ml.paths)


def whole(outcome: Outcome, name: str) -> Model:
    """The model that lies in the folder, which every reader takes."""
    return registry.find(name).load(outcome.paths.model)


def visible(outcome: Outcome) -> list[str]:
    """What a user sees in the model folder; a run that was killed may leave a hidden folder, which the next removes."""
    return [file for file in outcome.model_files if not file.startswith(".")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_killed_job_leaves_a_whole_model_or_none_and_runs_whole_again(tmp_path, name, number):
    moments = random.Random(f"{SEED} {name} {number}")
    for attempt in range(KILLS):
        after = moments.uniform(0, LATE_MARGIN * duration(name))
        told = f"OBA_SEED={SEED}, attempt {attempt}, {number.name} after {after:.3f} s"
        opt_ml = job(tmp_path / str(attempt), name)
        outcome = killed(opt_ml, name, number, after)
        assert outcome.failure is None, f"{told}: {outcome.log}"
        if visible(outcome):
            whole(outcome, name)
        if outcome.code == 0:
            assert visible(outcome), f"{told}: {outcome.log}"
        elif number is signal.SIGTERM:
            # -15: before Python had a handler for it, that is, before anything was begun
            assert outcome.code in (-signal.SIGTERM, 128 + signal.SIGTERM), f"{told}: {outcome.log}"
        again = opt_ml.train(name)
        assert (again.code, again.failure) == (0, None), f"{told}: {again.log}"
        whole(again, name)
        assert [file for file in again.model_files if file.startswith(".")] == [], told


# ---- full disks -----------------------------------------------------------------------------------------------------

WIDE = 3000
"""Features of a model larger than the page that the small disk has."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of one page, mounted on ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def wide_job(base: Path, *, rounds: str = "3") -> tuple[OptMl, str]:
    """A k-means job whose model is a few pages long."""
    rows = samples.features(registry.find("kmeans").configurations[0], 40, WIDE)
    values = {"k": "4", "feature_dim": str(WIDE), "epochs": rounds}
    opt_ml = OptMl(base).hyperparameters(values)
    return opt_ml.channel("train", samples.delimited(rows, None), "text/csv;label_size=0"), "kmeans"


def assert_says_that_the_disk_is_full(outcome: Outcome) -> None:
    assert outcome.code == 1, outcome.log
    assert "No space left on device" in outcome.log
    if outcome.failure is not None:  # it lies on the full disk itself where that is the output folder
        assert outcome.failure.startswith("ClientError: The disk is full: ")
        assert len(outcome.failure.splitlines()[0]) < 1024


def test_a_full_disk_under_the_model_leaves_no_model(tmp_path):
    opt_ml, name = wide_job(tmp_path / "ml")
    with small_disk(opt_ml.paths.model):
        outcome = opt_ml.train(name)
        assert_says_that_the_disk_is_full(outcome)
        assert outcome.failure is not None
        assert outcome.model_files == []
    opt_ml.paths.failure.unlink()
    again = opt_ml.train(name)
    assert again.code == 0, again.log
    whole(again, name)


def test_a_full_disk_under_the_output_still_gives_the_model(tmp_path):
    # The report is of use to people alone: a job does not fail for it. See container.training.report.write.
    opt_ml, name = wide_job(tmp_path / "ml")
    with small_disk(opt_ml.paths.output):
        (opt_ml.paths.output / "filler").write_bytes(bytes(4096))
        outcome = opt_ml.train(name)
    assert outcome.code == 0, outcome.log
    assert "report" in outcome.log
    whole(outcome, name)


def test_a_full_disk_under_tmp_stops_neither_training_nor_its_model(tmp_path):
    opt_ml, name = wide_job(tmp_path / "ml")
    full = tmp_path / "tmp"
    with small_disk(full):
        (full / "filler").write_bytes(bytes(4096))
        outcome = opt_ml.train(name, TMPDIR=str(full))
        assert outcome.code == 0, outcome.log
        assert [file.name for file in full.iterdir()] == ["filler"]
    whole(outcome, name)


@pytest.mark.parametrize("name", ["xgboost", "factorization-machines", *(["ntm"] if THOROUGH else [])])
def test_a_full_disk_under_the_checkpoints_is_named_and_leaves_no_half_of_one(tmp_path, name):
    opt_ml = job(tmp_path / "ml", name)
    opt_ml.paths.checkpoints.mkdir()
    with small_disk(opt_ml.paths.checkpoints):
        (opt_ml.paths.checkpoints / "filler").write_bytes(bytes(4096))
        outcome = opt_ml.train(name)
        assert_says_that_the_disk_is_full(outcome)
        assert outcome.failure is not None
        assert visible(outcome) == []
        assert [file.name for file in opt_ml.paths.checkpoints.rglob("*") if file.is_file()] == ["filler"]
    opt_ml.paths.failure.unlink()
    shutil.rmtree(opt_ml.paths.checkpoints)
    again = opt_ml.train(name)
    assert again.code == 0, again.log
