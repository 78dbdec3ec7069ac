"""``oba train --hosts``: several hosts on one machine, started and ended by one command."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from algorithms import registry
from tests.hosts.test_jobs import VALUES, text
from tests.local.toy import oba
from tests.opt_ml import ROOT

pytestmark = pytest.mark.slow

ARGUMENTS = [f"{name}={value}" for name, value in VALUES.items()]


@pytest.fixture
def rows():
    rng = np.random.default_rng(8)
    return (rng.standard_normal((401, 4)) * [5, 3, 1, 0.1] + 7).astype(np.float32)


@contextlib.contextmanager
def running(folder, rows):
    """The command, in a process of its own; it and its hosts are gone afterwards."""
    (folder / "rows.csv").write_bytes(text(rows))
    command = [sys.executable, "-m", "local", "train", "pca", "--train", str(folder / "rows.csv"), *ARGUMENTS]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--output", str(folder / "out"), "--hosts", "2"], cwd=ROOT, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def hosts_of(process):
    """The two hosts, as soon as they have started."""
    until = time.monotonic() + 120
    while len(found := children(process.pid)) < 2:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.01)
    return found


def wait_until_gone(pids):
    until = time.monotonic() + 90
    while alive := [pid for pid in pids if os.path.exists(f"/proc/{pid}/exe")]:  # noqa: PTH110 - not so for zombies
        assert time.monotonic() < until, alive
        time.sleep(0.1)


def test_hosts_of_this_machine(tmp_path, rows, capsys):
    (tmp_path / "rows.csv").write_bytes(text(rows))
    out = tmp_path / "out"
    for _ in range(2):  # the second in the place of the first
        assert oba("train", "pca", "--train", tmp_path / "rows.csv", *ARGUMENTS, "--output", out, "--hosts", 2) == 0
    singular = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(np.sort(registry.find("pca").load(out / "model").s)[::-1], singular[:2], rtol=1e-4)
    shown = capsys.readouterr().out
    names = re.findall(r"All 2 hosts are here: ([\d.]+), ([\d.]+)\.", shown)
    assert len(names) == 2
    assert shown.splitlines()[-1].startswith("Next    oba predict")
    member = names[1][1]
    assert f"#progress_metric: host={member}" in (out / "hosts" / member / "log").read_text()


def test_two_runs_of_oba_at_once_have_nothing_to_do_with_each_other(tmp_path, rows):
    data = [rows, rows[::-1] * 3]
    runs = []
    for number, part in enumerate(data):
        (tmp_path / f"{number}.csv").write_bytes(text(part))
        out = ["--train", tmp_path / f"{number}.csv", "--output", tmp_path / str(number)]
        command = [sys.executable, "-m", "local", "train", "pca", *out, *ARGUMENTS, "--hosts", "2"]
        with (tmp_path / f"{number}.log").open("w") as log:
            runs.append(subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=log, stderr=log))
    try:
        assert [run.wait(240) for run in runs] == [0] * len(runs)
    finally:
        for run in runs:
            run.terminate()
            run.wait()
    for number, part in enumerate(data):
        mean = registry.find("pca").load(tmp_path / str(number) / "model").mean
        np.testing.assert_allclose(np.ravel(mean), part.mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize(("number", "code", "seconds"), [(signal.SIGTERM, 143, 0), (signal.SIGINT, 130, 0.3)])
def test_a_stop_soon_after_the_start_ends_all(tmp_path, rows, number, code, seconds):
    with running(tmp_path, rows) as process:
        hosts = hosts_of(process)
        time.sleep(seconds)
        process.send_signal(number)
        assert process.wait(120) == code
        wait_until_gone(hosts)


def test_the_hosts_end_with_the_command_when_it_is_killed(tmp_path, rows):
    with running(tmp_path, rows) as process:
        hosts = hosts_of(process)
        until = time.monotonic() + 120
        while not (training := [pid for host in hosts for pid in children(host)]):
            assert time.monotonic() < until
        process.kill()
        wait_until_gone([*hosts, *training])


KILLED_AT_ONCE = """
import os, signal
if "OBA_JOB_TOKEN" in os.environ and ("/hosts/" in os.environ["SAGEMAKER_BASE_DIR"]) == {member}:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("member", [True, False], ids=["member", "leader"])
def test_a_host_that_is_killed_before_it_has_met_the_others_is_not_waited_for(tmp_path, rows, monkeypatch, member):
    """They would wait for ten minutes, as it may only be late; but who has started it knows."""
    (tmp_path / "sitecustomize.py").write_text(KILLED_AT_ONCE.format(member=member))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with running(tmp_path, rows) as process:
        assert process.wait(60) == 1
    log, failure = (tmp_path / "log").read_text(), (tmp_path / "out" / "output" / "failure").read_text()
    what = (
        "its process ended by SIGKILL before it had met" if member else "it leads, and its process was ended by SIGKILL"
    )
    assert re.fullmatch(rf"AlgorithmError: Host 127\.\S+ was lost: {what}.*\n", failure)
    assert what in log
    assert not list((tmp_path / "out" / "model").glob("*"))
