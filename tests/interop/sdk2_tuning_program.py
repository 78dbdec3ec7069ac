"""What a user of the SageMaker Python SDK 2 writes to tune: `python sdk2_tuning_program.py URL`; prints JSON.

Runs in the SDK's own environment, against the SageMaker at URL.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import boto3
import impatient  # noqa: F401 - no long sleep between two looks at a job
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.session import Session
from sagemaker.tuner import (
    CategoricalParameter,
    ContinuousParameter,
    HyperparameterTuner,
    IntegerParameter,
)

ROLE = "arn:aws:iam::123456789012:role/SageMaker"
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/{}:1"


def main(url: str) -> None:
    """Tune, look at the results, tune again from them, tune two algorithms at once."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    boto = boto3.Session(**keys)
    session = Session(boto, sagemaker_client=boto.client("sagemaker", endpoint_url=url), default_bucket="bucket")
    ranges = {
        "epochs": IntegerParameter(1, 10),
        "init_method": CategoricalParameter(["random", "kmeans++"]),
    }
    tuner = HyperparameterTuner(
        estimator(session, "kmeans", k=3, feature_dim=2),
        "test:msd",
        ranges,
        objective_type="Minimize",
        max_jobs=8,
        max_parallel_jobs=1,
        early_stopping_type="Auto",
        random_seed=3,
        base_tuning_job_name="first",
    )
    inputs = {"train": TrainingInput("s3://bucket/train"), "test": TrainingInput("s3://bucket/test")}
    tuner.fit(inputs, wait=False)
    tuner.wait()
    frame = tuner.analytics().dataframe()
    child = tuner.identical_dataset_and_algorithm_tuner()
    child.max_jobs = 2
    child.fit(inputs, job_name="child", wait=False)
    child.wait()
    both = HyperparameterTuner.create(
        estimator_dict={
            "clusters": estimator(session, "kmeans", k=3, feature_dim=2),
            "machines": estimator(
                session, "factorization-machines", feature_dim=2, num_factors=2, predictor_type="regressor"
            ),
        },
        objective_metric_name_dict={"clusters": "test:msd", "machines": "test:rmse"},
        hyperparameter_ranges_dict={
            "clusters": {"epochs": IntegerParameter(1, 9)},
            "machines": {"linear_lr": ContinuousParameter(0.001, 1, scaling_type="Logarithmic")},
        },
        objective_type="Minimize",
        max_jobs=7,
        base_tuning_job_name="both",
    )
    both.fit(
        {"clusters": inputs, "machines": inputs},
        include_cls_metadata={"clusters": False, "machines": False},
        wait=False,
    )
    both.wait()
    refused = None
    try:
        HyperparameterTuner(
            estimator(session, "kmeans", k=3, feature_dim=2), "test:rmse", ranges, objective_type="Minimize"
        ).fit(inputs, wait=False)
    except Exception as error:  # what the user would see
        refused = str(error)
    client = session.sagemaker_client  # from here on boto3 alone
    request = described_request(client, "child")
    client.create_hyper_parameter_tuning_job(HyperParameterTuningJobName="alone", **request)
    client.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="alone")
    while (alone := client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="alone"))[
        "HyperParameterTuningJobStatus"
    ] in ("InProgress", "Stopping"):
        time.sleep(0.1)
    pages = client.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=tuner.latest_tuning_job.name, PaginationConfig={"PageSize": 3}
    )
    listed = [one["TrainingJobName"] for page in pages for one in page["TrainingJobSummaries"]]
    named = client.list_hyper_parameter_tuning_jobs(SortBy="CreationTime")["HyperParameterTuningJobSummaries"]
    described = session.sagemaker_client.describe_hyper_parameter_tuning_job
    print(
        json.dumps(
            {
                "best": tuner.best_training_job(),
                "frame": json.loads(frame.to_json(orient="records")),
                "child": described(HyperParameterTuningJobName="child")["OverallBestTrainingJob"]["TuningJobName"],
                "parent": tuner.latest_tuning_job.name,
                "statuses": [
                    tuner.describe()["HyperParameterTuningJobStatus"],
                    both.describe()["HyperParameterTuningJobStatus"],
                ],
                "counters": tuner.describe()["TrainingJobStatusCounters"],
                "both": sorted(both.analytics().dataframe()["TrainingJobDefinitionName"].unique()),
                "refused": refused,
                "alone": alone["HyperParameterTuningJobStatus"],
                "listed": listed,
                "named": [one["HyperParameterTuningJobName"] for one in named],
            }
        )
    )


def described_request(client: Any, name: str) -> dict[str, Any]:
    """The request of a tuning job, from its description."""
    answer = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    return {key: answer[key] for key in ("HyperParameterTuningJobConfig", "TrainingJobDefinition")}


def estimator(session: Session, name: str, **hyperparameters: object) -> Estimator:
    """An estimator of one of the images."""
    return Estimator(
        IMAGE.format(name),
        ROLE,
        1,
        "ml.m5.large",
        output_path="s3://bucket/out",
        hyperparameters=hyperparameters,
        sagemaker_session=session,
    )


if __name__ == "__main__":
    main(sys.argv[1])
