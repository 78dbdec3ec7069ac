"""`oba run` of one CreateTransformJob request, as pipelines keep it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from tests.local.sagemaker.client import CSV, ROWS, request
from tests.local.sagemaker.forked import oba

pytestmark = pytest.mark.slow


def run(*arguments: object) -> tuple[int, str, str]:
    return oba("run", *arguments)


def transform(uri: str, **more: object) -> dict:
    return {
        "TransformJobName": "alone",
        "ModelName": "of-a-pipeline",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        "TransformOutput": {"S3OutputPath": "s3://answers/here", "Accept": "text/csv", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        "DataProcessing": {"JoinSource": "Input"},
        **more,
    }


def test_one_request_is_answered_with_the_model_that_is_named(tmp_path):
    train, job = tmp_path / "train.json", tmp_path / "transform.json"
    (tmp_path / "rows.csv").write_text(CSV)
    train.write_text(json.dumps(request("alone", uri=(tmp_path / "rows.csv").as_uri())))
    code, _, errors = run(train, "--output", tmp_path / "out")
    assert (code, errors) == (0, "")
    job.write_text(json.dumps(transform("s3://bucket/asked")))
    given = ("--data", f"s3://bucket/asked={tmp_path}/rows.csv", "--output", tmp_path / "answers")
    code, told, errors = run(job, "--model", tmp_path / "out" / "model.tar.gz", *given)
    assert (code, errors) == (0, "")
    answers = tmp_path / "answers" / "rows.csv.out"
    assert told == f"Answers {answers}\n"
    lines = [[float(text) for text in line.split(",")] for line in answers.read_text().splitlines()]
    assert [line[:2] for line in lines] == ROWS.tolist()
    groups = [{line[2] for line in lines[start : start + 40]} for start in range(0, 120, 40)]
    assert [len(group) for group in groups] == [1, 1, 1]
    assert len(set.union(*groups)) == 3
    capture = {"DestinationS3Uri": "s3://elsewhere/captured", "GenerateInferenceId": True}
    job.write_text(json.dumps(transform("s3://bucket/asked", DataCaptureConfig=capture)))
    assert run(job, "--model", tmp_path / "out" / "model.tar.gz", *given)[0] == 0
    assert {line.count(",") for line in answers.read_text().splitlines()} == {5}
    assert "--model says which model it is about" in run(job, *given)[2]
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(b"no archive")
    code, _, errors = run(job, "--model", damaged, *given)
    assert code == 1
    assert "cannot be unpacked" in errors
    assert "Traceback" not in errors
    (tmp_path / "rows.csv").write_text("a,b\nc,d\n")
    code, _, errors = run(job, "--model", tmp_path / "out" / "model.tar.gz", *given)
    assert code == 1
    assert errors.startswith("Failed: ClientError: 1 of 1 files were not transformed.")
