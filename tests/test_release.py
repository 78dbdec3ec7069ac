"""Releases: the version, its tag and what is told of it belong together."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release", ROOT / ".github" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_versions_tag_can_be_released(release):
    release.check(f"v{VERSION}")
    assert release.notes(f"v{VERSION}")


@pytest.mark.parametrize("tag", [VERSION, "v9.9.9", "v", f"v{VERSION}.1"])
def test_another_tag_is_refused(release, tag):
    with pytest.raises(SystemExit, match="pyproject.toml has version"):
        release.check(tag)


def test_a_version_without_a_word_is_refused(release):
    with pytest.raises(SystemExit, match="CHANGELOG.md has no part about 'v0.0.1'"):
        release.notes("v0.0.1")
