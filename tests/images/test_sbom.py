"""The bill of materials of an image, by CycloneDX's own schema."""

from __future__ import annotations

import json
import shutil
import venv
from importlib import metadata

import pytest

from images import sbom

COPYRIGHT = {  # in the forms that Debian's have
    "libc6": "found in\n`/usr/share/common-licenses/LGPL-2.1'.\n and /usr/share/common-licenses/GPL-2.\n",
    "sed": "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n"
    "License: GPL-3+ and ISC\n\nFiles: lib/*\nLicense: BSD-4-clause-UC \n Redistribution\n\nLicense: GPL-3+ and ISC\n",
    "python3": "PSF LICENSE AGREEMENT\n",
}
INSTALLED = ("numpy", "scipy", "flask", "click", "gunicorn", "protobuf")


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
def test_it_is_valid_and_names_what_is_installed(environment, tmp_path):
    from cyclonedx.schema import SchemaVersion  # builds the grammars of addresses, two seconds long
    from cyclonedx.validation.json import JsonStrictValidator

    for package, text in COPYRIGHT.items():
        (tmp_path / "doc" / package).mkdir(parents=True)
        (tmp_path / "doc" / package / "copyright").write_text(text)
    packages = "libc6:amd64\t2.36-9+deb12u14\ntzdata\t2026b-0+deb12u1\nsed\t4.9-1\npython3\t3.11.2-1+b1\n"
    document = sbom.bill(environment, packages, tmp_path / "doc")
    assert (
        JsonStrictValidator(SchemaVersion.from_version(document["specVersion"])).validate_str(json.dumps(document))
        is None
    )
    versions = {component["name"].lower(): component["version"] for component in document["components"]}
    assert {name: versions[name] for name in INSTALLED} == {name: metadata.version(name) for name in INSTALLED}
    assert versions["libc6"] == "2.36-9+deb12u14"
    licences = {component["name"].lower(): component["licenses"] for component in document["components"]}
    assert all("BSD" in json.dumps(licences[name]) for name in ("numpy", "protobuf"))
    named = {name: [one["license"]["name"] for one in licences[name]] for name in ("libc6", "tzdata", "sed", "python3")}
    assert named == {
        "libc6": ["GPL-2", "LGPL-2.1"],
        "tzdata": ["see /usr/share/doc/tzdata/copyright"],
        "sed": ["BSD-4-clause-UC", "GPL-3+ and ISC"],
        "python3": ["see /usr/share/doc/python3/copyright"],
    }
    packages = {component["purl"] for component in document["components"] if "purl" in component}
    assert {"pkg:deb/debian/libc6@2.36-9+deb12u14?arch=amd64", "pkg:deb/debian/tzdata@2026b-0+deb12u1"} <= packages
    assert "serialNumber" not in document and "timestamp" not in document.get("metadata", {})  # each build has the same
