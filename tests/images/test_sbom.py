"""The bill of materials of an image, by CycloneDX's own schema."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from images import sbom


@pytest.mark.slow
def test_it_is_valid_and_names_what_is_installed():
    document = sbom.bill(Path(sys.prefix), "libc6:amd64\t2.36-9+deb12u14\ntzdata\t2026b-0+deb12u1\n")
    assert (
        JsonStrictValidator(SchemaVersion.from_version(document["specVersion"])).validate_str(json.dumps(document))
        is None
    )
    versions = {component["name"].lower(): component["version"] for component in document["components"]}
    assert versions["numpy"] == metadata.version("numpy")
    assert versions["libc6"] == "2.36-9+deb12u14"
    numpy = next(component for component in document["components"] if component["name"].lower() == "numpy")
    assert "BSD" in json.dumps(numpy["licenses"])
    packages = {component["purl"] for component in document["components"] if "purl" in component}
    assert {"pkg:deb/debian/libc6@2.36-9+deb12u14?arch=amd64", "pkg:deb/debian/tzdata@2026b-0+deb12u1"} <= packages
    assert "serialNumber" not in document and "timestamp" not in document.get("metadata", {})  # each build has the same
