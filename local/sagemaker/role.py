"""Who calls: the keys that are printed are those of a role, as a notebook's on SageMaker are.

``sagemaker.get_execution_role()`` asks STS who calls and takes nothing else.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

from local.sagemaker.cloud import ACCOUNT, Cloud

KEY = "OBA00000000000000000"
"""Twenty capital letters and digits, as AWS's have: moto takes no others for a key."""

NAME = "SageMaker"
_SIMULATE = "SimulatePrincipalPolicy"
_LARGEST_FORM = 1 << 20


def assume(cloud: Cloud) -> None:
    """Make the role, and have the key ``KEY`` be one of its sessions."""
    from moto.sts.models import sts_backends

    allowed = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [allowed]}
    arn = cloud.client("iam").create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="oba")
    (session,) = sts_backends[ACCOUNT]["aws"].assumed_roles  # moto makes up the key
    session.access_key_id = KEY


def permissions(environ: dict[str, Any]) -> Response | None:
    """The answer to IAM's SimulatePrincipalPolicy, which moto lacks: all is allowed, as everything else is here.

    None where a request asks for something else; its body can be read as before.
    """
    is_iam = "/iam/aws4_request" in environ.get("HTTP_AUTHORIZATION", "") and environ["REQUEST_METHOD"] == "POST"
    length = environ.get("CONTENT_LENGTH") or ""
    if not is_iam or not length.isdecimal() or int(length) > _LARGEST_FORM:
        return None
    body = environ["wsgi.input"].read(int(length))
    environ["wsgi.input"] = BytesIO(body)
    asked = parse_qs(body.decode(errors="replace"))
    if asked.get("Action") != [_SIMULATE]:
        return None
    names = [escape(value) for key, (value, *_) in asked.items() if key.startswith("ActionNames.member.")]
    members = "".join(
        f"<member><EvalActionName>{name}</EvalActionName><EvalResourceName>*</EvalResourceName>"
        "<EvalDecision>allowed</EvalDecision></member>"
        for name in names
    )
    text = (
        f'<{_SIMULATE}Response xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><{_SIMULATE}Result>'
        f"<IsTruncated>false</IsTruncated><EvaluationResults>{members}</EvaluationResults></{_SIMULATE}Result>"
        f"<ResponseMetadata><RequestId>oba</RequestId></ResponseMetadata></{_SIMULATE}Response>"
    )
    return Response(text, content_type="text/xml")
