"""The AWS CLI, unmodified, against `oba up`: a job, its model, an endpoint."""

from __future__ import annotations

import json
import subprocess

import pytest

pytest.importorskip("moto")

from tests.interop.environments import AWS_CLI, python_of
from tests.local.sagemaker.client import CSV, KMEANS, ROLE, deployed, ended, request, running

pytestmark = pytest.mark.slow


def test_the_command_line_trains_describes_lists_and_asks(tmp_path):
    aws = [python_of(*AWS_CLI), "-m", "awscli"]  # the script "aws" names the folder in which it was made
    with running(tmp_path / "state") as up:
        environment = {**up.environment, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "AWS_PAGER": ""}

        def run(*arguments: object, code: int = 0) -> str:
            command = [*aws, *map(str, arguments)]
            done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == code, done.stderr
            return done.stdout if code == 0 else done.stderr

        (tmp_path / "rows.csv").write_text(CSV)
        run("s3", "mb", "s3://bucket")
        run("s3", "cp", "rows.csv", "s3://bucket/train/rows.csv")
        (tmp_path / "request.json").write_text(json.dumps(request("job")))
        made = run("sagemaker", "create-training-job", "--cli-input-json", "file://request.json")
        assert json.loads(made)["TrainingJobArn"].endswith(":training-job/job")
        assert ended(up, "job")["TrainingJobStatus"] == "Completed"
        run("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", "job")
        told = json.loads(run("sagemaker", "describe-training-job", "--training-job-name", "job"))
        assert told["TrainingJobStatus"] == "Completed"
        listed = run("sagemaker", "list-training-jobs", "--query", "TrainingJobSummaries[].TrainingJobName")
        assert json.loads(listed) == ["job"]
        place = told["ModelArtifacts"]["S3ModelArtifacts"]
        container = f"Image={KMEANS},ModelDataUrl={place}"
        model = ("--model-name", "m", "--primary-container", container, "--execution-role-arn", ROLE)
        run("sagemaker", "create-model", *model)
        assert deployed(up, "e", m=1)["EndpointStatus"] == "InService"
        asked = ("sagemaker-runtime", "invoke-endpoint", "--endpoint-name", "e", "--content-type", "text/csv")
        run(*asked, "--body", "fileb://rows.csv", "answer.json")
        assert len(json.loads((tmp_path / "answer.json").read_text())["predictions"]) == len(CSV.splitlines())
        refused = run("sagemaker", "describe-training-job", "--training-job-name", "none", code=255)
        assert "(ValidationException) when calling the DescribeTrainingJob operation: Requested resource" in refused
