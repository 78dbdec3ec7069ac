"""`make demo`: it trains, serves and leaves a page that can be looked at alone."""

from __future__ import annotations

import html
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from algorithms import registry
from local.commands import oba

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo.py"


@pytest.mark.slow
def test_it_leaves_a_page_that_needs_nothing_else(tmp_path, monkeypatch):
    done = subprocess.run([sys.executable, DEMO, tmp_path], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    page = tmp_path / "index.html"
    assert done.stdout.endswith(f"Look at {page}\n")
    text = page.read_text()
    assert text.count('<article style="--colour') == 10
    assert text.count("<text ") == 1797
    pictures = re.findall(r'src="([^"]{0,10})', text)
    assert pictures and all(address.startswith("data:image") for address in pictures)
    links = re.findall(r'href="([^"]+)"', text)
    reports = [link for link in links if link.endswith(".html")]
    assert len(reports) == 2 and all((tmp_path / link).is_file() for link in reports)
    read_on = {(DEMO.parent.parent / link.removeprefix("../../")) for link in links if link not in reports}
    assert len(read_on) == len(registry.ALGORITHMS) and all(file.is_file() for file in read_on)
    right = re.search(r"<b>(\d+)%</b>", text)
    assert right and int(right[1]) >= 70  # scikit-learn's KMeans gets 78 % on the same rows
    commands = re.findall(r"<code>oba (train [^<]+)</code>", text)
    assert len(commands) == len(registry.ALGORITHMS)
    monkeypatch.chdir(tmp_path)
    for command in commands:
        told = CliRunner().invoke(oba, shlex.split(html.unescape(command)))
        assert told.exit_code == 1, told.output  # 2 where more is missing than the data
