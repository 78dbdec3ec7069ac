"""Reading and writing records, with AWS's errors if one exists already or is missing."""

from __future__ import annotations

import time

from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import invalid
from local.sagemaker.store import Record


def put_new(cloud: Cloud, kind: str, name: str, record: Record, exists: str, arn: str | None = None) -> str:
    """Write a record that must not be there yet; its ARN, which is ``arn`` where one is given.

    Raises:
        AwsError: it is; ``exists`` is the beginning of the message.
    """
    arn, now = arn or cloud.arn(kind, name), time.time()
    own = {"Name": name, "Arn": arn, "Region": cloud.region, "CreationTime": now, "LastModifiedTime": now}
    with cloud.store.lock:
        if cloud.store.get(kind, name):
            raise invalid(f'{exists} "{arn}".')
        cloud.store.put(kind, name, record | own)
    return arn


def found(cloud: Cloud, kind: str, name: str, what: str) -> Record:
    """A record.

    Raises:
        AwsError: there is none; ``what`` is what AWS calls the kind.
    """
    record = cloud.store.get(kind, name)
    if record is None:
        raise invalid(f'Could not find {what} "{cloud.arn(kind, name)}".')
    return record
