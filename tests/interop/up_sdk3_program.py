"""What a user of the SageMaker SDK 3 writes, in the environment that `oba up` prints: `python … FOLDER`.

FOLDER has train.csv, labels first; what came is written there as sdk3.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import boto3
import impatient  # noqa: F401 - no long sleep between two looks at a job
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, OutputDataConfig

IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1"


def main(folder: Path) -> None:
    """Train with a job in the cloud."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="sdk3")
    s3.upload_file(str(folder / "train.csv"), "sdk3", "train/train.csv")
    trainer = ModelTrainer(
        training_image=IMAGE,
        role="arn:aws:iam::123456789012:role/SageMaker",
        base_job_name="sdk3",
        compute=Compute(instance_type="ml.m5.large", instance_count=1),
        hyperparameters={"predictor_type": "multiclass_classifier", "num_classes": 10, "mini_batch_size": 100},
        output_data_config=OutputDataConfig(s3_output_path="s3://sdk3/out"),
    )
    channel = InputData(channel_name="train", data_source="s3://sdk3/train/", content_type="text/csv")
    trainer.train(input_data_config=[channel], wait=True, logs=True)
    job = boto3.client("sagemaker").list_training_jobs(NameContains="sdk3")["TrainingJobSummaries"][0]
    (folder / "sdk3.json").write_text(json.dumps({"status": job["TrainingJobStatus"]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
