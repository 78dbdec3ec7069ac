"""Write today's digest of the base image into the Dockerfile: ``python images/base_digest.py [REGISTRY AUTHORITY]``.

It asks the registry's own API, as ``docker pull`` does, and downloads nothing: the digest is that of the index over all
platforms. https://distribution.github.io/distribution/spec/api/, /spec/auth/token/
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path

DOCKERFILE = Path(__file__).resolve().parent.parent / "Dockerfile"
REGISTRY, AUTHORITY = "https://registry-1.docker.io", "https://auth.docker.io/token?service=registry.docker.io"
IMAGE = re.compile(r"^ARG BASE_IMAGE=(?P<name>[a-z]+):(?P<tag>[\w.-]+)(@sha256:[0-9a-f]{64})?$", re.M)
_INDEX = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
_SECONDS = 60


def digest(name: str, tag: str, registry: str, authority: str) -> str:
    """``sha256:…`` of an official image.

    Raises:
        OSError: the registry cannot be asked. ValueError: it answers without a digest.
    """
    with urllib.request.urlopen(f"{authority}&scope=repository:library/{name}:pull", timeout=_SECONDS) as answer:
        token = json.load(answer)["token"]
    headers = {"Authorization": f"Bearer {token}", "Accept": _INDEX}
    address = f"{registry}/v2/library/{name}/manifests/{tag}"
    request = urllib.request.Request(address, headers=headers, method="HEAD")
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        found: str = answer.headers.get("Docker-Content-Digest") or ""
    if not re.fullmatch("sha256:[0-9a-f]{64}", found):
        raise ValueError(f"{address}: the digest is {found!r}; expected sha256: and 64 digits")
    return found


def refresh(dockerfile: Path, registry: str = REGISTRY, authority: str = AUTHORITY) -> str:
    """Put the digest of today into ``dockerfile``; the whole name of the base image."""
    text = dockerfile.read_text()
    base = IMAGE.search(text)
    if base is None:
        raise ValueError(f"{dockerfile}: expected a line ARG BASE_IMAGE=NAME:TAG@sha256:DIGEST")
    name = f"{base['name']}:{base['tag']}@{digest(base['name'], base['tag'], registry, authority)}"
    dockerfile.write_text(IMAGE.sub(f"ARG BASE_IMAGE={name}", text, count=1))
    return name


if __name__ == "__main__":
    try:
        print(refresh(DOCKERFILE, *sys.argv[1:]))
    except (OSError, ValueError) as error:
        raise SystemExit(f"the Dockerfile is as it was: {error}") from error
