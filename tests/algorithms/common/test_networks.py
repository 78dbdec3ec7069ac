"""Loading Keras: a signal that comes meanwhile is heard afterwards, and notices of libraries are not shown."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from algorithms.common.networks import _without_notices
from algorithms.errors import TrainingStopped
from tests.opt_ml import ROOT

KERAS = """
import os, signal, time, types
os.kill(os.getpid(), signal.{number})
for _ in range(100):
    time.sleep(0.001)
utils = types.SimpleNamespace(set_random_seed=lambda seed: None)
"""
PROGRAM = """
import sys
from algorithms.common.networks import load_keras
from algorithms.errors import TrainingStopped
from container.training.stop import Stop
with Stop() as stop:
    try:
        with stop.nothing_to_keep():
            load_keras(0)
    except TrainingStopped:
        print("stopped", hasattr(sys.modules["keras"], "utils"), stop.exit_code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stop_while_keras_is_imported_comes_when_it_is(tmp_path, number, code):
    (tmp_path / "keras.py").write_text(KERAS.format(number=number))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == [f"stopped True {code}"], done.stderr


def speaking(error: BaseException | None) -> None:
    with _without_notices():
        os.write(2, b"notice\n")
        if error is not None:
            raise error


@pytest.mark.parametrize("stop", [TrainingStopped("no model"), KeyboardInterrupt()])
def test_a_stop_in_the_midst_of_an_import_shows_no_notices(stop: BaseException, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(type(stop)):
        speaking(stop)
    assert capfd.readouterr().err == ""


def test_what_was_said_before_an_import_failed_is_shown(capfd: pytest.CaptureFixture) -> None:
    speaking(None)
    with pytest.raises(ImportError):
        speaking(ImportError("no such library"))
    assert capfd.readouterr().err == "notice\n"
