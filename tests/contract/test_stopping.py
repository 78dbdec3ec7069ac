"""A network that is stopped before its first update says so at once, and ends within seconds."""

from __future__ import annotations

import os
import signal
import time

import pytest

from algorithms import registry
from tests.algorithms import samples
from tests.opt_ml import OptMl

pytestmark = pytest.mark.slow

THOROUGH = bool(os.environ.get("OBA_THOROUGH"))
NAMES = ("ntm", "image-classification", "seq2seq") if THOROUGH else ("ntm",)
SECONDS = 15
"""The goal is 5 on a quiet machine; tests may run beside others."""


@pytest.mark.parametrize("after", [1.5, 4.0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("name", NAMES)
def test_a_stop_before_the_first_update_ends_soon(tmp_path, name, number, after):
    algorithm = registry.find(name)
    first = algorithm.configurations[0]
    opt_ml = OptMl(tmp_path).hyperparameters(dict(first.hyperparameters))
    for channel, (content_type, files) in samples.files(algorithm, first).items():
        opt_ml.channel(channel, files, content_type)
    with opt_ml.start(name) as process:
        time.sleep(after)
        process.send_signal(number)
        asked = time.monotonic()
        log, _ = process.communicate(timeout=60)
    seconds = time.monotonic() - asked
    assert process.returncode in (0, 128 + number), log
    assert process.returncode == 0 or f"{number.name}: training was asked to stop" in log
    assert seconds < SECONDS, log
    assert not opt_ml.paths.failure.exists()
