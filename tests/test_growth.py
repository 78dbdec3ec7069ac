"""The benchmark of growth runs, counts what it says, and draws it."""

import sys
import time
from contextlib import nullcontext
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import common, growth, wide
from tests.algorithms import samples


def burn():
    return float(np.ones(40 << 20, np.uint8).sum())  # 40 MB, which are given back


def test_a_cost_is_the_processors_and_the_memory_that_a_call_takes_at_its_most():
    found = common.apart(common.cost, burn)  # what other tests left in this process may be freed meanwhile
    assert found.result == 40 << 20
    assert 0 < found.seconds < 10
    if sys.platform == "linux":
        assert 40e6 <= found.memory < 60e6
        assert common.apart(common.cost, time.time).memory < 10e6


def test_exponents():
    assert growth.exponent(2, 8) == pytest.approx(1)
    assert growth.exponent(2, 32) == pytest.approx(2)
    assert growth.exponent(5, 5) == 0


@pytest.mark.parametrize("name", growth.CASES)
def test_every_case_trains_at_its_base(name):
    network = growth.CASES[name].algorithm in ("ntm", "image-classification", "seq2seq")
    with samples.eagerly(shallow=True) if network else nullcontext():
        assert growth.trained(name, growth.CASES[name].few()).seconds > 0


def test_a_quick_run_prints_a_table_and_draws_a_plot(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(growth, "apart", lambda run, *arguments: run(*arguments))
    monkeypatch.setattr(sys, "argv", ["growth", "--quick", "--only", "pca", "--page", str(tmp_path / "growth.md")])
    growth.main()
    said = capsys.readouterr().out
    page = (tmp_path / "growth.md").read_text()
    assert "](growth/pca.svg)" in page
    for axis in ("rows", "features", "components"):
        assert f"| {axis}" in said and f"| {axis}" in page
    assert len(list(ElementTree.parse(tmp_path / "growth" / "pca.svg").getroot())) > 10


@pytest.mark.parametrize("case", wide.CASES)
def test_wide_cases_print_a_table(case, monkeypatch):
    monkeypatch.setattr(wide, "apart", lambda run: run())
    said = wide.compared(case, 200)
    assert said.count("| ours") >= 1 or "training" in said
