"""The role whose keys ``oba up`` prints, as a notebook on SageMaker has one.

``sagemaker.get_execution_role()`` asks STS who calls and takes nothing else.
"""

from __future__ import annotations

import json
import re
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

from local.sagemaker.cloud import ACCOUNT, Cloud

KEY = "OBA00000000000000000"
"""Twenty capital letters and digits, as AWS's have: moto takes no others for a key."""

NAME = "SageMaker"
_made: set[str] = {NAME}
"""Roles that are here without having been created; one of them that is deleted stays so."""

_SIMULATE = "SimulatePrincipalPolicy"
_LARGEST_FORM = 1 << 20
_LENGTH = re.compile("[0-9]{1,9}")
_ROLE_NAME = re.compile(r"[A-Za-z0-9+=,.@_-]{1,64}")

_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


def assume(cloud: Cloud) -> None:
    """Make the role, and have the key ``KEY`` be one of its sessions."""
    from moto.sts.models import sts_backends

    arn = cloud.client("iam").create_role(RoleName=NAME, AssumeRolePolicyDocument=_TRUST)["Role"]["Arn"]
    cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="oba")
    (session,) = sts_backends[ACCOUNT]["aws"].assumed_roles  # moto makes up the key
    session.access_key_id = KEY


def identity(environ: dict[str, Any], key: str) -> Response | None:
    """The answer to STS's GetCallerIdentity for the holder of ``key``, who has the role as well.

    None where a request asks for something else or is another's; its body can be read as before.
    """
    signature = environ.get("HTTP_AUTHORIZATION", "")
    if "/sts/aws4_request" not in signature or f"Credential={key}/" not in signature:
        return None
    if (asked := _form(environ)) is None or asked.get("Action") != ["GetCallerIdentity"]:
        return None
    text = (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{NAME}/oba</Arn><UserId>AROA:oba</UserId>"
        f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult>"
        "<ResponseMetadata><RequestId>oba</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )
    return Response(text, content_type="text/xml")


def make_asked(environ: dict[str, Any]) -> None:
    """Make the role that IAM's GetRole asks for, where it is not here: code names the roles of its user's account.

    The request's body can be read as before.
    """
    if "/iam/aws4_request" not in environ.get("HTTP_AUTHORIZATION", ""):
        return
    if (asked := _form(environ)) is None or asked.get("Action") != ["GetRole"]:
        return
    from moto.iam.models import iam_backends

    backend, (name, *_) = iam_backends[ACCOUNT]["aws"], asked.get("RoleName", [""])
    if not _ROLE_NAME.fullmatch(name) or name in _made or any(one.name == name for one in backend.get_roles()):
        return
    _made.add(name)
    backend.create_role(name, _TRUST, "/", None, "", [], "3600")


def _form(environ: dict[str, Any]) -> dict[str, list[str]] | None:
    """The fields of a form that is sent; the body can be read again. None where it is no form, or too large."""
    length = environ.get("CONTENT_LENGTH") or ""
    if environ["REQUEST_METHOD"] != "POST" or not _LENGTH.fullmatch(length) or int(length) > _LARGEST_FORM:
        return None
    body = environ["wsgi.input"].read(int(length))
    environ["wsgi.input"] = BytesIO(body)
    return parse_qs(body.decode(errors="replace"))


def permissions(environ: dict[str, Any]) -> Response | None:
    """The answer to IAM's SimulatePrincipalPolicy, which moto lacks: all is allowed, as everything else is here.

    None where a request asks for something else; its body can be read as before.
    """
    if "/iam/aws4_request" not in environ.get("HTTP_AUTHORIZATION", ""):
        return None
    if (asked := _form(environ)) is None or asked.get("Action") != [_SIMULATE]:
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
