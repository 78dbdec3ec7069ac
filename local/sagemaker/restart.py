"""What a server does with the records that an earlier one left in the state folder."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from botocore.exceptions import ClientError

from local.sagemaker import endpoints, s3, tuning_jobs
from local.sagemaker.cloud import Cloud
from local.sagemaker.store import Record
from local.sagemaker.training_job import KIND


def recover(cloud: Cloud) -> None:
    """End the jobs that ran, put the models of jobs back into S3, which forgets, and start the endpoints."""
    for record in cloud.store.all(KIND):
        if record["TrainingJobStatus"] in ("InProgress", "Stopping"):
            now = time.time()
            *before, last = record["SecondaryStatusTransitions"]
            reason = "InternalServerError: oba up was ended while the job ran."
            ended = {"Status": "Failed", "StartTime": now, "StatusMessage": reason}
            cloud.store.update(
                KIND,
                record["Name"],
                TrainingJobStatus="Failed",
                SecondaryStatus="Failed",
                FailureReason=reason,
                TrainingEndTime=now,
                SecondaryStatusTransitions=[*before, last | {"EndTime": now}, ended],
            )
        elif "ModelArtifacts" in record:
            _put_back(cloud.at(record["Region"]), record)
    tuning_jobs.recover(cloud)
    endpoints.recover(cloud)


def _put_back(cloud: Cloud, record: Record) -> None:
    archive: Path = cloud.folder / "training-jobs" / record["Name"] / "model.tar.gz"
    uri = record["ModelArtifacts"]["S3ModelArtifacts"]
    if not archive.is_file() or not uri.endswith(".tar.gz"):
        return
    client, (bucket, _) = cloud.client("s3"), s3.split(uri)
    place = {} if cloud.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": cloud.region}}
    with contextlib.suppress(ClientError):  # it is there already
        client.create_bucket(Bucket=bucket, **place)
    s3.upload(client, archive, uri)
