"""Tuning jobs of `oba up` as boto3 sees them: a real server process, and real training processes behind it."""

from __future__ import annotations

import os
import signal
import time

import pytest

pytest.importorskip("moto")
pytest.importorskip("optuna")

from tests.local.sagemaker.client import LONG, request, running, with_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def up(state):
    with with_rows(state) as server:
        yield server


def tuning(name: str, jobs: int = 2, hyperparameters: dict[str, str] = LONG, **more):
    """Two at a time; the channel in Pipe mode is read anew in each epoch, so that LONG takes for ever."""
    training = request("unused", mode=more.pop("mode", "Pipe"))
    kept = ("AlgorithmSpecification", "RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")
    channel = training["InputDataConfig"][0]
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "test:msd"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {
                "IntegerParameterRanges": [{"Name": "extra_center_factor", "MinValue": "4", "MaxValue": "8"}]
            },
        },
        "TrainingJobDefinition": {
            **{key: training[key] for key in kept},
            "StaticHyperParameters": hyperparameters,
            "InputDataConfig": [channel, channel | {"ChannelName": "test"}],
            **more,
        },
    }


def described(up, name: str):
    return up.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def until(up, name: str, *statuses: str):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        job = described(up, name)
        if job["HyperParameterTuningJobStatus"] in statuses:
            return job
        time.sleep(0.05)
    raise AssertionError(f"{name} does not become {statuses}: {job}")


def jobs_of(up, name: str):
    listed = up.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    return listed["TrainingJobSummaries"]


def wait_for_training(up, name: str):
    """Until two of its training jobs are in the midst of training."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        names = [one["TrainingJobName"] for one in jobs_of(up, name)]
        jobs = [up.sagemaker.describe_training_job(TrainingJobName=one) for one in names]
        if [one["SecondaryStatus"] for one in jobs] == ["Training"] * 2:
            return names
        time.sleep(0.05)
    raise AssertionError(jobs)


def test_a_tuning_job_that_is_stopped_stops_its_training_jobs(up):
    up.sagemaker.create_hyper_parameter_tuning_job(**tuning("Stopped", jobs=4))
    names = wait_for_training(up, "Stopped")
    time.sleep(1.5)  # or the processes get the signal before they know what to do with it
    with pytest.raises(up.sagemaker.exceptions.ResourceInUse):
        up.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName="Stopped")
    up.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="Stopped")
    job = until(up, "Stopped", "Stopped")
    assert job["TrainingJobStatusCounters"]["Stopped"] == len(jobs_of(up, "Stopped")) == 2
    for name in names:
        training = up.sagemaker.describe_training_job(TrainingJobName=name)
        assert training["TrainingJobStatus"] == "Stopped"
        assert training["TuningJobArn"] == job["HyperParameterTuningJobArn"]
    assert job["HyperParameterTuningJobArn"].endswith(":hyper-parameter-tuning-job/stopped")
    listed = {one["TrainingJobArn"] for one in jobs_of(up, "Stopped")}
    assert listed == {up.sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobArn"] for name in names}
    up.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName="Stopped")
    with pytest.raises(up.sagemaker.exceptions.ResourceNotFound):
        described(up, "Stopped")


def test_what_cannot_be_is_refused(up):
    client = up.sagemaker
    wrong = tuning("wrong")
    wrong["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["MetricName"] = "test:rmse"
    foreign = tuning("foreign")
    foreign["TrainingJobDefinition"]["AlgorithmSpecification"] = {
        "TrainingImage": "me/mine:1",
        "TrainingInputMode": "File",
    }
    without = {key: value for key, value in tuning("without").items() if key != "TrainingJobDefinition"}
    refusals = (
        (wrong, r"\[test:rmse\], isn't valid for the \[kmeans\] algorithm"),
        (foreign, "none that oba up can run"),
        (without, "TrainingJobDefinition"),
        (tuning("n" * 33), "hyperParameterTuningJobName"),
    )
    for one, message in refusals:
        with pytest.raises(client.exceptions.ClientError, match=message):
            client.create_hyper_parameter_tuning_job(**one)
    names = client.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]
    assert not {"wrong", "foreign", "without"} & {one["HyperParameterTuningJobName"] for one in names}


def test_training_jobs_that_are_refused_or_fail_say_why(up):
    bad = tuning("no-data", hyperparameters={"k": "3", "feature_dim": "2"}, mode="File")
    for channel in bad["TrainingJobDefinition"]["InputDataConfig"]:
        channel["DataSource"]["S3DataSource"]["S3Uri"] = "s3://bucket/nothing"
    up.sagemaker.create_hyper_parameter_tuning_job(**bad)
    assert until(up, "no-data", "Failed", "Completed")["HyperParameterTuningJobStatus"] == "Failed"
    assert all("s3://bucket/nothing" in one["FailureReason"] for one in jobs_of(up, "no-data"))
    refused = tuning("refused", CheckpointConfig={"S3Uri": "s3://bucket/c", "LocalPath": "/elsewhere"})
    up.sagemaker.create_hyper_parameter_tuning_job(**refused)
    until(up, "refused", "Failed")
    assert all("/elsewhere" in one["FailureReason"] for one in jobs_of(up, "refused"))


def test_the_next_server_knows_the_tuning_jobs(tmp_path):
    with with_rows(tmp_path) as up:
        short = tuning("done", hyperparameters={"k": "3", "feature_dim": "2"}, mode="File")
        up.sagemaker.create_hyper_parameter_tuning_job(**short)
        before = until(up, "done", "Completed", "Failed")
        up.sagemaker.create_hyper_parameter_tuning_job(**tuning("killed"))
        names = wait_for_training(up, "killed")
        os.kill(up.process.pid, signal.SIGKILL)
    with running(tmp_path) as up:
        after = described(up, "done")
        assert before["HyperParameterTuningJobStatus"] == after["HyperParameterTuningJobStatus"] == "Completed"
        assert after["BestTrainingJob"] == before["BestTrainingJob"]
        killed = described(up, "killed")
        assert killed["HyperParameterTuningJobStatus"] == "Failed"
        assert "ended while the tuning job ran" in killed["FailureReason"]
        assert killed["TrainingJobStatusCounters"]["NonRetryableError"] == 2
        for name in names:
            assert up.sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "Failed"
