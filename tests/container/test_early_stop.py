"""A stop while ``train`` is still importing, before the job has handlers of its own."""

import signal
import subprocess
import sys

import pytest

# A stand-in for a slow import: it shows that it began, and waits for the signal.
_SLOW = """
import sys, time, types
from container import begin

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            print("importing", flush=True)
            time.sleep(600)

sys.meta_path.insert(0, Slow())
begin.train()
"""


@pytest.mark.parametrize("module", ["container.__main__", "container.training.train"])  # the first, and the slowest
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_during_the_imports_is_told_and_ends_with_the_signals_code(number, module):
    command = [sys.executable, "-c", _SLOW, module]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline() not in ("importing\n", ""):
        pass
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "stopped before it began" in out
    assert "Traceback" not in errors
