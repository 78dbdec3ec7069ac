"""The unmodified SageMaker SDK 2 tunes against `oba up`: its HyperparameterTuner, over real training processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.interop.environments import SDK2, python_of
from tests.server import free_port

pytest.importorskip("moto")

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
SECONDS = 900


def test_the_sdks_tuner_finds_the_best_of_real_jobs_and_deploys_it(tmp_path):
    python = python_of(*SDK2)
    np.save(tmp_path / "rows.npy", load_digits().data.astype(np.float32))
    command = [sys.executable, "-m", "local", "up", "--port", "0", "--state", str(tmp_path / "state")]
    with subprocess.Popen(command, cwd=HERE.parents[1], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        given = {}
        for line in server.stdout:
            if match := re.match(r"export (\w+)=(.*)", line):
                given[match[1]] = match[2]
            if "Ctrl-C" in line:
                break
        environment = {
            "HTTPS_PROXY": f"http://127.0.0.1:{free_port()}",  # the SDK tells Amazon of each call: not from here
            **given,
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        try:
            done = subprocess.run(
                [python, HERE / "up_sdk2_tuning_program.py", tmp_path],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        finally:
            server.terminate()
    assert done.returncode == 0, done.stdout[-5000:]
    found = json.loads((tmp_path / "tuned.json").read_text())
    frame = found["frame"]
    assert found["status"] == "Completed"
    assert [row["TrainingJobStatus"] for row in frame] == ["Completed"] * 4
    best = min(frame, key=lambda row: row["FinalObjectiveValue"])
    assert found["best"] == best["TrainingJobName"]
    assert found["tuning_job_of_best"] == found["arn"]
    assert found["metrics_of_best"]["test:msd"] == pytest.approx(best["FinalObjectiveValue"], rel=1e-9)
    assert found["tags_of_best"] == [{"Key": "team", "Value": "clusters"}]
    assert found["hyperparameters_of_best"]["init_method"].strip('"') == best["init_method"].strip('"')
    assert float(found["hyperparameters_of_best"]["extra_center_factor"]) == best["extra_center_factor"]
    measured = np.mean(np.square(found["distances"]))  # by the deployed model, over the rows of the test channel
    assert measured == pytest.approx(best["FinalObjectiveValue"], rel=1e-4)
