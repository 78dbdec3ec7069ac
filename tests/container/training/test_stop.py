"""The wish to stop a job: signals, at any time."""

import os
import re
import resource
import signal
import subprocess
import sys
import time

import pytest

from algorithms.errors import TrainingStopped
from container.training.stop import Stop


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_asks_for_a_stop(number, code):
    before = signal.getsignal(number)
    with Stop() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        assert stop.exit_code == code
    assert signal.getsignal(number) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_second_ctrl_c_does_not_wait():
    with Stop():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_does_not_stop_is_interrupted():
    with Stop(grace=0.05), pytest.raises(TrainingStopped, match=re.escape("0.05 seconds")):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)


def test_what_is_being_written_is_not_interrupted():
    with Stop(grace=0.05) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        stop.disarm()
        time.sleep(0.1)
        assert stop.requested


# ---- a stop while there is nothing to keep --------------------------------------------------------------------------


def test_a_stop_ends_a_block_with_nothing_to_keep_at_once_and_says_so(caplog):
    caplog.set_level("INFO")
    with Stop() as stop, pytest.raises(TrainingStopped), stop.nothing_to_keep():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    assert "SIGTERM: training was asked to stop: there is no model yet" in caplog.text


def test_a_stop_before_the_block_is_heard_in_it():
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(TrainingStopped), stop.nothing_to_keep():
            raise AssertionError("not reached")


def test_after_the_block_a_stop_is_a_wish_again(caplog):
    caplog.set_level("INFO")
    with Stop() as stop:
        with stop.nothing_to_keep():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 60
        while "it ends within" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop.requested
    assert "it ends within 90 seconds, with a model if there is one by then" in caplog.text


LIBRARY = """
import os, signal, threading
import numpy as np
from container import logs
from container.training.stop import Stop

logs.configure()
matrix = np.random.default_rng(0).random((6000, 6000))
with Stop() as stop, stop.nothing_to_keep():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    np.linalg.svd(matrix)  # minutes without an instruction of Python's in between
"""


def test_a_librarys_work_does_not_hold_up_a_stop_for_long():
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", LIBRARY], capture_output=True, text=True, timeout=240)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 20 * (os.cpu_count() or 1)
    assert done.returncode == 128 + signal.SIGINT
    assert "SIGINT: training was asked to stop: there is no model yet" in done.stdout


DEAF = """
import os, signal, time
from container import logs
from container.training.stop import Stop

logs.configure()
with Stop(grace=0.2, last=0.5):
    os.kill(os.getpid(), signal.SIGTERM)
    while True:  # as libraries do that make a warning of whatever is raised in a function of theirs
        try:
            time.sleep(60)
        except Exception:
            print("caught", flush=True)
"""


def test_a_job_that_does_not_hear_the_exception_ends_all_the_same():
    done = subprocess.run([sys.executable, "-c", DEAF], capture_output=True, text=True, timeout=240)
    assert "caught" in done.stdout
    assert done.returncode == 128 + signal.SIGTERM
    assert "Training did not end within 0.7 seconds of being asked to" in done.stdout


def test_a_job_whose_model_is_being_written_may_take_its_time():
    with Stop(grace=0.1, last=0.1) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        stop.disarm()
        time.sleep(0.5)  # the process is still here
