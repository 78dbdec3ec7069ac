"""The documentation site is built without a warning, links and anchors checked, and has a page for each algorithm."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from algorithms import hyperparameters, registry

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_site_is_whole(tmp_path):
    pytest.importorskip("mkdocs", reason="the site needs mkdocs-material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in registry.ALGORITHMS:
        page = unescape((tmp_path / "algorithms" / name / "index.html").read_text())
        for one in hyperparameters.fields(registry.find(name).hyperparameters):
            assert f"<code>{one}</code>" in page, f"{name}: {one}"
    pages = list(tmp_path.rglob("*.html"))
    loaded = {
        address
        for page in pages
        for address in re.findall(r"<(?:link|script|img)[^>]+(?:href|src)=\"?(https?://[^\" >]+)", page.read_text())
    }
    assert not loaded, "the site asks other servers for something"
