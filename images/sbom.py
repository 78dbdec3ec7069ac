"""Print an image's bill of materials as CycloneDX JSON: ``sbom.py ENVIRONMENT DEBIAN_PACKAGES``.

The Python packages and their licences are those that cyclonedx-py finds in ENVIRONMENT. DEBIAN_PACKAGES is a file as
``dpkg-query --show`` writes it; the licences of those lie in the image, at ``/usr/share/doc/*/copyright``. Nothing
depends on the time of the build.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def bill(environment: Path, debian_packages: str) -> dict[str, Any]:
    """The document. ``debian_packages`` has a name and a version a line, with a tab between them."""
    tool, python = Path(sys.executable).with_name("cyclonedx-py"), environment / "bin" / "python"
    printed = subprocess.run(
        [tool, "environment", "--output-reproducible", python], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    document: dict[str, Any] = json.loads(printed)
    document["components"] += [debian(*line.split("\t")) for line in debian_packages.splitlines()]
    return document


def debian(package: str, version: str) -> dict[str, str]:
    """One package of Debian as a component; ``package`` may end in its architecture."""
    name, _, architecture = package.partition(":")
    purl = f"pkg:deb/debian/{name}@{version}" + (f"?arch={architecture}" if architecture else "")
    return {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


if __name__ == "__main__":
    print(json.dumps(bill(Path(sys.argv[1]), Path(sys.argv[2]).read_text()), indent=1))
