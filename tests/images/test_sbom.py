"""The bill of materials of an image, by CycloneDX's own schema."""

from __future__ import annotations

import json
import shutil
import venv
from importlib import metadata

import pytest

from images import sbom

INSTALLED = ("numpy", "scipy", "flask", "click", "gunicorn")


@pytest.fixture
def environment(tmp_path):
    """One in which a few packages are installed, as far as their metadata goes: ours has two hundred."""
    venv.create(tmp_path, symlinks=True)
    (packages,) = tmp_path.glob("lib/python*/site-packages")
    for name in INSTALLED:
        (about,) = [file for file in metadata.files(name) or () if file.name == "METADATA"]
        shutil.copytree(about.locate().parent, packages / about.parent.name)
    return tmp_path


@pytest.mark.slow
def test_it_is_valid_and_names_what_is_installed(environment):
    from cyclonedx.schema import SchemaVersion  # builds the grammars of addresses, two seconds long
    from cyclonedx.validation.json import JsonStrictValidator

    document = sbom.bill(environment, "libc6:amd64\t2.36-9+deb12u14\ntzdata\t2026b-0+deb12u1\n")
    assert (
        JsonStrictValidator(SchemaVersion.from_version(document["specVersion"])).validate_str(json.dumps(document))
        is None
    )
    versions = {component["name"].lower(): component["version"] for component in document["components"]}
    assert {name: versions[name] for name in INSTALLED} == {name: metadata.version(name) for name in INSTALLED}
    assert versions["libc6"] == "2.36-9+deb12u14"
    numpy = next(component for component in document["components"] if component["name"].lower() == "numpy")
    assert "BSD" in json.dumps(numpy["licenses"])
    packages = {component["purl"] for component in document["components"] if "purl" in component}
    assert {"pkg:deb/debian/libc6@2.36-9+deb12u14?arch=amd64", "pkg:deb/debian/tzdata@2026b-0+deb12u1"} <= packages
    assert "serialNumber" not in document and "timestamp" not in document.get("metadata", {})  # each build has the same
