"""Whole jobs with a folder for checkpoints, in processes of their own, as a platform starts and ends them."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

from algorithms.interface import RECORDIO
from tests import cpu, resuming
from tests.algorithms import samples
from tests.opt_ml import OptMl

pytestmark = pytest.mark.slow

NAME = "factorization-machines"
EPOCHS = 200


def job(base) -> OptMl:
    """One of many short epochs."""
    rows = np.random.default_rng(0).normal(size=(2000, 20)).astype(np.float32)
    values = {"predictor_type": "regressor", "feature_dim": "20", "num_factors": "4", "epochs": str(EPOCHS)}
    opt_ml = OptMl(base).hyperparameters(values | {"mini_batch_size": "50"})
    content = samples.ROW_WRITERS[RECORDIO](rows, rows[:, 0])
    return opt_ml.channel("train", content, RECORDIO)


def stopped(opt_ml: OptMl, number: signal.Signals, after: int) -> tuple[int, float, str]:
    """Exit code, processor seconds that the job went on for, and log of one that gets a signal after so many epochs."""
    log, before, until_asked = [], cpu.of_children(), 0.0
    with opt_ml.start(NAME) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.append(line)
            after -= "#progress_metric" in line
            if after == 0:
                time.sleep(0.05)  # a line that is written is counted in the next microseconds, as a rule
                until_asked = cpu.of_process(process.pid)
                process.send_signal(number)
                after = -1
        process.wait(60)
    return process.returncode, cpu.of_children() - before - until_asked, "".join(log)


def epochs(*logs: str) -> list[str]:
    """The lines about epochs. One may be there twice: of a job killed after it wrote the line and before it said so."""
    found: list[str] = []
    for log in logs:
        lines = [line.split(", ", 1)[1] for line in log.splitlines() if "#progress_metric" in line]
        found += lines[1:] if found[-1:] == lines[:1] else lines
    return found


def test_a_job_that_signals_end_goes_on_and_gives_the_same_model(tmp_path):
    whole = job(tmp_path / "whole")
    undisturbed = whole.train_in_fork(NAME)
    assert undisturbed.code == 0, undisturbed.log
    opt_ml = job(tmp_path / "ml")
    opt_ml.paths.checkpoints.mkdir()
    logs = []
    for number, after, expected in (
        (signal.SIGTERM, 10, 128 + signal.SIGTERM),
        (signal.SIGKILL, 5, -signal.SIGKILL),
        (signal.SIGTERM, 20, 128 + signal.SIGTERM),
    ):
        code, seconds, log = stopped(opt_ml, number, after)
        logs.append(log)
        assert code == expected, log
        assert seconds < 5, log
        assert not opt_ml.paths.failure.exists()
        assert 1 <= len(list(opt_ml.paths.checkpoints.glob("*.checkpoint"))) <= 2
    assert "start the job again, and it goes on" in logs[0]
    last = opt_ml.train_in_fork(NAME)
    assert last.code == 0, last.log
    assert "Training goes on after epoch" in last.log
    assert resuming.artifact(opt_ml) == resuming.artifact(whole)
    assert epochs(*logs, last.log) == epochs(undisturbed.log)


def test_a_finished_job_ends_at_once_and_a_changed_one_starts_anew(tmp_path):
    opt_ml = job(tmp_path)
    opt_ml.paths.checkpoints.mkdir()
    first = opt_ml.train_in_fork(NAME)
    made = resuming.artifact(opt_ml)
    again = opt_ml.train_in_fork(NAME)
    assert (first.code, again.code) == (0, 0)
    assert resuming.artifact(opt_ml) == made
    assert len(epochs(again.log)) < EPOCHS
    values = {"predictor_type": "regressor", "feature_dim": "20", "num_factors": "3", "epochs": "2"}
    other = opt_ml.hyperparameters(values).train_in_fork(NAME)
    assert other.code == 0
    assert len(epochs(other.log)) == 2
    assert "is of another job, and is left alone: hyperparameter epochs was 200 and is 2" in other.log


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path):
    opt_ml = job(tmp_path)
    opt_ml.paths.checkpoints.mkdir(mode=0o500)
    outcome = opt_ml.train_in_fork(NAME)
    assert outcome.code == 1
    assert "checkpoints" in (outcome.failure or "")
