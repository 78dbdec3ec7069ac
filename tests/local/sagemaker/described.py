"""Botocore's descriptions of AWS's services, read before ``oba`` is forked: that is half of what its start takes.

To be imported by the process that forks: all clients of its forks are given what was read.
"""

from __future__ import annotations

import functools

import boto3
import botocore.session

from local.sagemaker import protocol

botocore.session.create_loader = functools.cache(botocore.session.create_loader)
for _service in ("s3", "sts", "iam", "logs", "cloudwatch"):
    boto3.session.Session().client(
        _service, region_name="us-east-1", aws_access_key_id="oba", aws_secret_access_key="oba"
    )
protocol.model("CreateTrainingJob")
