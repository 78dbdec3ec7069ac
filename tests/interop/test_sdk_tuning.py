"""The unmodified SageMaker SDK 2 tunes: its HyperparameterTuner against our operations, over HTTP.

The training jobs behind them only pretend: what is tried here is what the SDK sends, and what it makes of the answers.
"""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.serving import make_server

from algorithms import registry
from local.tuning.config import TuningError
from local.tuning.service import NotFoundError, TuningJobs
from tests.interop.environments import SDK2, python_of

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("sdk2_tuning_program.py")
PREFIX = "arn:aws:sagemaker:us-east-1:123456789012"


class Pretended:
    """Training jobs of ten epochs, whose objective falls to a level that the hyperparameters decide."""

    def __init__(self) -> None:
        self.requests: dict[str, Any] = {}
        self.stopped: dict[str, threading.Event] = {}

    def create(self, request: dict[str, Any], tuning_job_arn: str) -> None:
        self.requests[request["TrainingJobName"]] = request
        self.stopped[request["TrainingJobName"]] = threading.Event()

    def follow(self, name: str, line: Any) -> tuple[str, str]:
        values = self.requests[name]["HyperParameters"]
        if "linear_lr" in values:
            line(f"#quality_metric: host=algo-1, test rmse <loss>={float(values['linear_lr']) + 1}\n")
            return "Completed", ""
        level = abs(int(values["epochs"]) - 4) + (values.get("init_method") == "random")
        for epoch in range(10):
            line(f"#quality_metric: host=algo-1, test msd <loss>={level + 1 / (epoch + 1)}\n")
            if self.stopped[name].wait(0.15):
                return "Stopped", ""
        return "Completed", ""

    def stop(self, name: str) -> None:
        self.stopped[name].set()


def algorithm_of(image: str) -> Any:
    return registry.find(image.rpartition("/")[2].partition(":")[0])


@pytest.fixture
def server(tmp_path):
    """The address of an endpoint that knows the operations on tuning jobs."""
    jobs = TuningJobs(tmp_path, Pretended(), algorithm_of, PREFIX)
    operations = {
        "CreateHyperParameterTuningJob": jobs.create,
        "DescribeHyperParameterTuningJob": jobs.describe,
        "ListTrainingJobsForHyperParameterTuningJob": jobs.list_training_jobs,
        "ListHyperParameterTuningJobs": jobs.list_jobs,
        "StopHyperParameterTuningJob": jobs.stop,
    }
    app = Flask("sagemaker")

    @app.post("/")
    def answer() -> Any:
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        try:
            return operations[operation](request.get_json(force=True))
        except TuningError as error:
            kind = "ResourceNotFound" if isinstance(error, NotFoundError) else "ValidationException"
            return {"__type": kind, "message": str(error)}, 400

    http = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def test_the_sdks_tuner(server):
    ran = subprocess.run([python_of(*SDK2), PROGRAM, server], capture_output=True, text=True, timeout=900, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout.strip().splitlines()[-1])
    assert found["statuses"] == ["Completed", "Completed"]
    frame = found["frame"]
    assert len(frame) == 8
    done = [row for row in frame if row["TrainingJobStatus"] == "Completed"]
    best = min(done, key=lambda row: row["FinalObjectiveValue"])
    assert found["best"] == best["TrainingJobName"]
    assert {row["TrainingJobStatus"] for row in frame} == {"Completed", "Stopped"}, "none was stopped early"
    assert found["counters"]["Stopped"] == sum(row["TrainingJobStatus"] == "Stopped" for row in frame)
    assert all(1 <= row["epochs"] <= 10 for row in frame)
    assert found["child"] in (found["parent"], "child")
    assert found["both"] == ["clusters", "machines"]
    assert found["alone"] == "Stopped"
    assert set(found["listed"]) == {row["TrainingJobName"] for row in frame}
    assert found["named"] == [found["parent"], "child", found["named"][2], "alone"]
    assert "[test:rmse], isn't valid for the [kmeans] algorithm" in found["refused"]
