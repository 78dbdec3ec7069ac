"""Who calls: the keys that are printed are those of a role, as a notebook's on SageMaker are.

``sagemaker.get_execution_role()`` asks STS who calls and takes nothing else.
"""

from __future__ import annotations

import json

from local.sagemaker.cloud import ACCOUNT, Cloud

KEY = "OBA00000000000000000"
"""Twenty capital letters and digits, as AWS's have: moto takes no others for a key."""

NAME = "SageMaker"


def assume(cloud: Cloud) -> None:
    """Make the role, and have the key ``KEY`` be one of its sessions."""
    from moto.sts.models import sts_backends

    trust = {"Version": "2012-10-17", "Statement": []}
    arn = cloud.client("iam").create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="oba")
    (session,) = sts_backends[ACCOUNT]["aws"].assumed_roles  # moto makes up the key
    session.access_key_id = KEY
