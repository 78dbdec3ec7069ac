"""Recovery of the state that an earlier server left in its folder."""

from __future__ import annotations

import time

from local.sagemaker import asynchronous, endpoints, kept_logs, transforms, tuning_jobs
from local.sagemaker.cloud import Cloud
from local.sagemaker.training_job import KIND


def recover(cloud: Cloud) -> None:
    """Give CloudWatch its logs again, end the jobs that ran, start the endpoints and
    answer what they were asked."""
    kept_logs.restore(cloud)
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
    transforms.recover(cloud)
    tuning_jobs.recover(cloud)
    endpoints.recover(cloud)
    asynchronous.recover(cloud)
