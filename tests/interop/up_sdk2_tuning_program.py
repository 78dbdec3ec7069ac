"""What a user of the SageMaker SDK 2 writes to tune, in the environment that `oba up` prints: `python … FOLDER`.

FOLDER has rows.npy; what came of it is written there as tuned.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import boto3
import impatient  # noqa: F401 - no long sleep between two looks at a job
import numpy as np
import sagemaker
from sagemaker.tuner import CategoricalParameter, HyperparameterTuner, IntegerParameter

ROLE = "arn:aws:iam::111111111111:role/SageMaker"


def main(folder: Path) -> None:
    """Tune k-means, look at the results, deploy the best model and ask it for the distances of all rows."""
    rows = np.load(folder / "rows.npy")
    session = sagemaker.Session(default_bucket="digits")
    estimator = sagemaker.KMeans(ROLE, 1, "ml.m5.large", k=10, sagemaker_session=session)
    tuner = HyperparameterTuner(
        estimator,
        "test:msd",
        {
            "extra_center_factor": IntegerParameter(4, 8),
            "init_method": CategoricalParameter(["random", "kmeans++"]),
        },
        objective_type="Minimize",
        max_jobs=4,
        max_parallel_jobs=2,
        random_seed=5,
        tags=[{"Key": "team", "Value": "clusters"}],
    )
    records = [estimator.record_set(rows), estimator.record_set(rows, channel="test")]
    tuner.fit(records, mini_batch_size=500)
    predictor = tuner.deploy(1, "ml.m5.large")
    answers = [answer for part in np.array_split(rows, 4) for answer in predictor.predict(part)]
    predictor.delete_endpoint()
    client = boto3.client("sagemaker")
    best = client.describe_training_job(TrainingJobName=tuner.best_training_job())
    found = {
        "status": tuner.describe()["HyperParameterTuningJobStatus"],
        "arn": tuner.describe()["HyperParameterTuningJobArn"],
        "frame": json.loads(tuner.analytics().dataframe().to_json(orient="records")),
        "best": best["TrainingJobName"],
        "tuning_job_of_best": best["TuningJobArn"],
        "metrics_of_best": {one["MetricName"]: one["Value"] for one in best["FinalMetricDataList"]},
        "hyperparameters_of_best": best["HyperParameters"],
        "tags_of_best": client.list_tags(ResourceArn=best["TrainingJobArn"])["Tags"],
        "distances": [answer.label["distance_to_cluster"].float32_tensor.values[0] for answer in answers],
    }
    (folder / "tuned.json").write_text(json.dumps(found, default=float))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
