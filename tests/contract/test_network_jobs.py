"""Jobs of the networks: a stop before the first update is heard at once; the log holds our lines alone."""

from __future__ import annotations

import itertools
import os
import re
import signal
import time

import pytest

from algorithms import registry
from tests import cpu
from tests.algorithms import samples
from tests.opt_ml import OptMl

pytestmark = pytest.mark.slow

THOROUGH = bool(os.environ.get("OBA_THOROUGH"))
NAMES = ("ntm", "image-classification", "seq2seq") if THOROUGH else ("ntm",)
SECONDS = 15
"""Of processor time: the goal is 5."""


def job(base, name):
    algorithm = registry.find(name)
    first = algorithm.configurations[0]
    opt_ml = OptMl(base).hyperparameters(dict(first.hyperparameters))
    for channel, (content_type, files) in samples.files(algorithm, first).items():
        opt_ml.channel(channel, files, content_type)
    return opt_ml


@pytest.mark.parametrize("name", NAMES)
def test_the_framework_adds_no_line_to_the_log(tmp_path, name):
    outcome = job(tmp_path, name).train(name)
    assert outcome.code == 0, outcome.log
    ours = r"\[\d\d/\d\d/\d{4} .*|#metrics \{.*|Docker entrypoint .*|Running default .*|Process \d+ is a worker\.|"
    assert [line for line in outcome.log.splitlines() if not re.fullmatch(ours, line)] == []


@pytest.mark.parametrize(
    ("number", "after"),
    itertools.product((signal.SIGINT, signal.SIGTERM), (0.2, 3.0))
    if THOROUGH
    else [(signal.SIGINT, 0.2), (signal.SIGTERM, 3.0)],
)
@pytest.mark.parametrize("name", NAMES)
def test_a_stop_before_the_first_update_ends_soon(tmp_path, name, number, after):
    before = cpu.of_children()
    with job(tmp_path, name).start(name) as process:
        begun = list(itertools.takewhile(lambda line: "is a worker" not in line, process.stdout))
        time.sleep(after)
        until_asked = cpu.of_process(process.pid)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=300)
    log = "".join(begun) + rest
    assert process.returncode in (0, 128 + number), log
    assert process.returncode == 0 or f"{number.name}: training was asked to stop" in log
    assert cpu.of_children() - before - until_asked < SECONDS, log
    assert not (tmp_path / "output" / "failure").exists()
