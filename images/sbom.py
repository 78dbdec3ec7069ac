"""Print an image's bill of materials as CycloneDX JSON: ``sbom.py ENVIRONMENT DEBIAN_PACKAGES``.

The Python packages and their licences are those that cyclonedx-py finds in ENVIRONMENT. DEBIAN_PACKAGES is a file as
``dpkg-query --show`` writes it; the names of their licences are those in ``/usr/share/doc/*/copyright``, which images
keep. Nothing depends on the time of the build.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

DOCUMENTATION = Path("/usr/share/doc")


def bill(environment: Path, debian_packages: str, documentation: Path = DOCUMENTATION) -> dict[str, Any]:
    """The document. ``debian_packages`` has a name and a version a line, with a tab between them."""
    tool, python = Path(sys.executable).with_name("cyclonedx-py"), environment / "bin" / "python"
    printed = subprocess.run(
        [tool, "environment", "--output-reproducible", python], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    document: dict[str, Any] = json.loads(printed)
    _add_stated_licences(document["components"], environment)
    packages = [line.split("\t") for line in debian_packages.splitlines()]
    document["components"] += [debian(name, version, documentation) for name, version in packages]
    return document


def debian(package: str, version: str, documentation: Path = DOCUMENTATION) -> dict[str, Any]:
    """One package of Debian as a component; ``package`` may end in its architecture."""
    name, _, architecture = package.partition(":")
    purl = f"pkg:deb/debian/{name}@{version}" + (f"?arch={architecture}" if architecture else "")
    licences = _licences(documentation / name / "copyright")
    component: dict[str, Any] = {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}
    return component | {"licenses": [{"license": {"name": licence}} for licence in licences]}


def _licences(copyright_file: Path) -> list[str]:
    """The names of licences in a Debian copyright file: its fields, where it is machine-readable
    (https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/), else the licences that Debian has the texts of
    and the file refers to. Where it names neither, the file itself."""
    text = copyright_file.read_text("utf-8", "replace") if copyright_file.is_file() else ""
    fields = re.findall(r"^License:[ \t]*(\S.*?)\s*$", text, re.MULTILINE)
    named = fields or re.findall(r"/usr/share/common-licenses/(\w[\w.+-]*\w)", text)
    return sorted(set(named)) or [f"see {DOCUMENTATION / copyright_file.parent.name / copyright_file.name}"]


def _add_stated_licences(components: list[dict[str, Any]], environment: Path) -> None:
    """What a Python package states in words that cyclonedx-py leaves out, as protobuf's ``License: 3-Clause BSD``."""
    folders = [str(folder) for folder in environment.glob("lib/python*/site-packages")]
    stated = {found.name: found.metadata.get("License") or "" for found in metadata.distributions(path=folders)}
    for component in components:
        first, *_ = stated.get(component["name"], "").splitlines() or [""]  # some have a text of pages there
        if first and not component.get("licenses"):
            component["licenses"] = [{"license": {"name": first}}]


if __name__ == "__main__":
    print(json.dumps(bill(Path(sys.argv[1]), Path(sys.argv[2]).read_text()), indent=1))
