"""What an image was made from, and how: an in-toto statement with SLSA's provenance as its predicate.

    python images/provenance.py built NAME IMAGE_ID BASE BASE_DIGEST STARTED LOCK
    python images/provenance.py pushed FILE TARGET DIGEST

The first writes ``out/provenance/NAME.json`` about a build that has just ended (``images/build.sh``). The second adds
to such a file what a registry calls the image (``images/push.sh``), whose digest is another: there it is compressed.
The statement is not signed: that is for whoever's key is to be trusted (``cosign attest``, GitHub's attestations).

https://in-toto.io/Statement/v1, https://slsa.dev/spec/v1.0/provenance; docs/images.md describes the build type.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD_TYPE = "urn:open-builtin-algorithms:image:1"
FOLDER = Path("out", "provenance")
PARAMETERS = {"ALGORITHM": "", "DEVICE": "cpu", "PURPOSE": "all", "PLATFORM": "", "BASE_IMAGE": ""}
"""What a caller of ``images/build.sh`` may say, and what it is where nothing is said."""
TOOLS = ("build", "sbom")
"""Lock files of what is used in a build and left out of the image."""


def built(name: str, image: str, base: str, base_digest: str, started: str, lock: str) -> dict[str, Any]:
    """The statement about the image ``name`` with the id ``image``, ``sha256:…``, whose build began at ``started``.

    ``base`` has the digest ``base_digest``, ``sha256:…``; empty where it has none. ``lock`` is the file of packages.
    """
    locks = [lock, *(f"locks/{tool}.lock" for tool in TOOLS)]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": _digest(image)}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {key: os.environ.get(key) or value for key, value in PARAMETERS.items()},
                "resolvedDependencies": [
                    _source(),
                    {"uri": f"docker-image://{base}", **({"digest": _digest(base_digest)} if base_digest else {})},
                    *(_file(file) for file in ("Dockerfile", *locks)),
                ],
            },
            "runDetails": {
                "builder": {"id": os.environ.get("BUILDER") or f"{BUILD_TYPE}:images/build.sh"},
                "metadata": {"startedOn": started, "finishedOn": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")},
            },
        },
    }


def pushed(statement: dict[str, Any], target: str, digest: str) -> dict[str, Any]:
    """The statement with what a registry has as one more subject."""
    others = [subject for subject in statement["subject"] if subject["name"] != target]
    return statement | {"subject": [*others, {"name": target, "digest": _digest(digest)}]}


def _source() -> dict[str, Any]:
    """The revision of the source; a change that was not committed is owned up to."""
    revision = _git("rev-parse", "HEAD")
    address = os.environ.get("SOURCE") or "urn:open-builtin-algorithms"
    uri = {"uri": f"git+{address}" if "://" in address else address}
    if not revision:
        return uri
    changed = bool(_git("status", "--porcelain"))
    return {**uri, "digest": {"gitCommit": revision}, "annotations": {"changed": changed}}


def _git(*arguments: str) -> str:
    """What git prints; empty where there is no git, or no repository."""
    try:
        done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _file(path: str) -> dict[str, Any]:
    return {"name": path, "digest": {"sha256": hashlib.sha256((ROOT / path).read_bytes()).hexdigest()}}


def _digest(text: str) -> dict[str, str]:
    """``sha256:…`` as in-toto writes it; a bare number is SHA-256's."""
    algorithm, _, number = text.rpartition(":")
    return {algorithm or "sha256": number}


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "built":
        file = ROOT / FOLDER / f"{arguments[0].rpartition('/')[2]}.json"
        statement = built(*arguments)
    else:
        file = Path(arguments.pop(0))
        statement = pushed(json.loads(file.read_text()), *arguments)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(statement, indent=1) + "\n")
    print(f"provenance: {file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}")
