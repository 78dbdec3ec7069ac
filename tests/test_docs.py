"""The pages of the documentation name what there is, link what they name, and have all that they should."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
from pathlib import Path

import pytest

from container import settings

ROOT = Path(__file__).resolve().parents[1]


PAGES = sorted(ROOT.glob("docs/*.md")) + sorted(ROOT.glob("algorithms/*/README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_a_page_that_is_named_is_linked(page):
    known = {file.name for file in ROOT.glob("docs/*.md")}
    named = {name for name in re.findall(r"`(?:docs/)?([\w-]+\.md)`", page.read_text()) if name in known}
    assert not named, f"{page} names {named} without a link"


def test_every_page_is_on_the_list_of_the_readme_and_of_the_site():
    pages = {file.name for file in ROOT.glob("docs/*.md")}
    listed = (ROOT / "README.md").read_text().partition("## Pages")[2]
    assert {name for name in pages if f"(docs/{name})" not in listed} == set()
    assert {name for name in pages if name not in (ROOT / "mkdocs.yml").read_text()} == set()
    notebooks = {file.name for file in ROOT.glob("examples/*.ipynb")}
    assert notebooks and {name for name in notebooks if f"(examples/{name})" not in listed} == set()


def test_every_environment_variable_has_its_line():
    source = inspect.getsource(settings)
    variables = set(re.findall(r"\b(?:SAGEMAKER|OBA)_[A-Z_]+\b", source)) | {"ALGORITHM", "MAX_CONTENT_LENGTH"}
    table = (ROOT / "docs" / "serving.md").read_text().partition("## Environment variables")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([A-Z_]{6,})`", table)) == variables


def test_every_figure_of_the_benchmarks_has_its_command():
    """Benchmarks, choices and options that the page names are those of the code; every row of a table names one."""
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    tables, gpu = page.split("## On a GPU")
    rows = [row.strip("| ").split(" | ")[0] for row in re.findall(r"^\| .*", tables, re.M) if "---" not in row][1:]
    rows += [f"`gpu {row.strip('`')}`" for row in re.findall(r"^\| (`--.*?`)", gpu, re.M)]
    rows += re.findall(r"^- .*\((`.*?`)\)[;.]$", tables, re.M)
    assert len(rows) > 25
    for row in rows:
        name, *options = re.fullmatch("`(.+)`", row)[1].split()
        source = (ROOT / "benchmarks" / f"{name}.py").read_text()
        for word in options:
            known = f'"{word}"' in source or word.partition(":")[0] in (ROOT / "benchmarks" / "common.py").read_text()
            assert known or word.isdigit(), row


def test_the_words_of_the_glossary_are_in_order():
    words = re.findall(r"^- \*\*(.+?)\*\*", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    assert len(words) > 30 and words == sorted(words, key=str.lower)


@pytest.mark.parametrize("there", [True, False])
def test_make_bench_leaves_the_gpu_out_where_there_is_none(there, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nexit {0 if there else 9}\n")
    tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = ["make", "--dry-run", "--old-file=.venv/.ready", "bench"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    measured = re.findall(r"-m (benchmarks\S*)", done.stdout)
    assert measured == ["benchmarks", *(["benchmarks.gpu"] if there else [])]
