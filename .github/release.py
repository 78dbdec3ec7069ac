"""What a release is checked by and told as: ``release.py check v0.2.0``, ``release.py notes v0.2.0``."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def check(tag: str) -> None:
    """That ``tag`` names the version of pyproject.toml, and that CHANGELOG.md tells what is in it.

    Raises:
        SystemExit: it does not.
    """
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    if tag != f"v{version}":
        raise SystemExit(f"the tag is '{tag}', but pyproject.toml has version {version}: the tag must be 'v{version}'")
    notes(tag)


def notes(tag: str) -> str:
    """The part of CHANGELOG.md about the version that ``tag`` names.

    Raises:
        SystemExit: there is none.
    """
    version = re.escape(tag.removeprefix("v"))
    found = re.search(rf"^## \[?{version}\b[^\n]*\n(.*?)(?=^## |\Z)", (ROOT / "CHANGELOG.md").read_text(), re.M | re.S)
    if not found:
        raise SystemExit(
            f"CHANGELOG.md has no part about '{tag}': a line '## {tag.removeprefix('v')} - <date>' starts it"
        )
    return found[1].strip()


if __name__ == "__main__":
    what, tag = sys.argv[1:]
    if what == "notes":
        print(notes(tag))
    else:
        check(tag)
