"""The examples of a CI with `oba up`: what a runner and Docker Compose would start, started here without them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.server import free_port

pytest.importorskip("moto")
pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "ci"
HERE = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(FOLDER.parents[1])}
TOLD = "120 rows, 3 clusters, each found: s3://ci-data/models/ci-kmeans/output/model.tar.gz\n"


def test_the_workflow_trains_deploys_and_asks(tmp_path):
    (job,) = yaml.safe_load((FOLDER / "workflow.yml").read_text())["jobs"].values()
    (program,) = [step["run"] for step in job["steps"] if step.get("name") == "train and test"]
    assert "oba up >" in program
    program = program.replace("oba up >", f"oba up --port {free_port()} >")
    (tmp_path / "train_and_test.py").write_text((FOLDER / "train_and_test.py").read_text())
    command = ["bash", "-e", "-c", f"trap 'kill $(jobs -p)' EXIT\n{program}"]
    done = subprocess.run(command, cwd=tmp_path, env={**HERE, "HOME": str(tmp_path)}, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (TOLD, 0), done.stderr
    (failed,) = [step["run"] for step in job["steps"] if step.get("if") == "failure()"]
    shown = subprocess.run(["bash", "-e", "-c", failed], cwd=tmp_path, capture_output=True, text=True)
    assert "Ctrl-C" in shown.stdout and "#metrics" in shown.stdout


def test_the_services_of_compose_find_each_other(tmp_path):
    text = (FOLDER / "compose.yaml").read_text()
    text = text.replace("5005", str(free_port())).replace("/state", str(tmp_path / "state"))
    services = yaml.safe_load(text)["services"]

    def command(service: str) -> list[str]:
        shell, option, line = shlex.split(services[service]["command"])
        return [shell, option, line.rpartition("&& ")[2]]

    with subprocess.Popen(
        command("sagemaker"), env={**HERE, "HOME": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            told = ""
            while "Ctrl-C" not in told:
                told += server.stdout.readline()
            given = services["test"]["environment"]
            assert [f"export {name}={value}" for name, value in given.items()] == [
                line for line in told.splitlines() if line.startswith("export")
            ]
            deadline = time.monotonic() + 120
            while subprocess.run(services["sagemaker"]["healthcheck"]["test"][1:], env=HERE).returncode:
                assert time.monotonic() < deadline
            done = subprocess.run(
                command("test"), cwd=FOLDER, env={**HERE, **given}, capture_output=True, text=True, timeout=200
            )
            assert (done.stdout, done.returncode) == (TOLD, 0), done.stderr
        finally:
            server.terminate()
