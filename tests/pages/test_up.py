"""The page of `oba up` in a real browser: empty, then with jobs that ended well and badly, and an endpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("moto")
pytest.importorskip("optuna")

from tests.local.sagemaker import client
from tests.pages.browser import Browser
from tests.pages.checks import check

pytestmark = pytest.mark.slow

LONG_NAME = "a-training-job-with-a-name-as-long-as-the-sdk-makes-2026-11-28"


def fill(up) -> None:
    """A job with curves, one that failed, a tuning job, and an endpoint."""
    client.trained(up, LONG_NAME, HyperParameters={"k": "3", "feature_dim": "2", "epochs": "6"})
    up.sagemaker.create_training_job(**client.request("wrong", HyperParameters={"k": "0", "feature_dim": "2"}))
    assert client.ended(up, "wrong")["TrainingJobStatus"] == "Failed"
    up.sagemaker.create_hyper_parameter_tuning_job(**tuning("searched"))
    found = client.tuned(up, "searched")
    assert found["HyperParameterTuningJobStatus"] == "Completed", found
    artifact = up.sagemaker.describe_training_job(TrainingJobName=LONG_NAME)["ModelArtifacts"]["S3ModelArtifacts"]
    container = {"Image": client.KMEANS, "ModelDataUrl": artifact}
    up.sagemaker.create_model(ModelName="model", ExecutionRoleArn=client.ROLE, PrimaryContainer=container)
    assert client.deployed(up, "asked", model=1.0)["EndpointStatus"] == "InService"


def tuning(name: str) -> dict:
    """Two training jobs, one after the other."""
    training = client.request("unused")
    (channel,) = training["InputDataConfig"]
    kept = ("AlgorithmSpecification", "RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "test:msd"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"IntegerParameterRanges": [{"Name": "epochs", "MinValue": "1", "MaxValue": "3"}]},
        },
        "TrainingJobDefinition": {
            **{key: training[key] for key in kept},
            "StaticHyperParameters": {"k": "3", "feature_dim": "2"},
            "InputDataConfig": [channel, channel | {"ChannelName": "test"}],
        },
    }


def test_the_page_is_whole_and_can_be_read_by_all_and_follows_what_happens(
    browser: Browser, axe: str, tmp_path: Path
) -> None:
    with client.with_rows(tmp_path) as up:
        check(browser, axe, up.url, "oba up, empty")
        fill(up)
        browser.run("again()")  # as it does every three seconds
        for name in (LONG_NAME, "wrong", "searched", "asked", "2 of 2 training jobs; best: epochs="):
            assert name in browser.run("document.querySelector('main').textContent")
        check(browser, axe, up.url, "oba up")
    browser.run("again()")
    assert browser.run("document.querySelector('#state').textContent") == "oba up does not answer: it has ended."
