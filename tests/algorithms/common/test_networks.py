"""Loading Keras: a signal that comes meanwhile is heard afterwards."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
