"""Another server's S3 in place of moto's: `oba up --s3 URL`, with the keys of the user's environment."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import boto3
from botocore.httpsession import get_cert_path
from werkzeug.wrappers import Response

from container.settings import ConfigurationError


def check(url: str) -> None:
    """Refuse what cannot be an S3 server, or has no keys.

    Raises:
        ConfigurationError: naming the option.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"--s3 {url}: expected http://HOST:PORT or https://HOST")
    if boto3.session.Session().get_credentials() is None:
        raise ConfigurationError(f"--s3 {url}: no keys for it; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


def key() -> str:
    """The user's access key."""
    credentials = boto3.session.Session().get_credentials()
    assert credentials is not None  # see check
    return str(credentials.access_key)


def trust_public(bundle: Path) -> None:
    """Have clients that trust ``bundle`` trust the public authorities, too: the S3 server's certificate is of one."""
    bundle.write_bytes(bundle.read_bytes() + Path(get_cert_path(True)).read_bytes())


def refusal(url: str) -> Response:
    """The answer to requests for S3 that came here."""
    told = f"S3 is at {url}: set AWS_ENDPOINT_URL_S3, as oba up prints it"
    return Response(
        f"<Error><Code>InvalidRequest</Code><Message>{escape(told)}</Message></Error>", 400, mimetype="text/xml"
    )
