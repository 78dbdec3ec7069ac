"""Every page that is made for people, in a real browser: on a phone and on a desk, in light and in dark."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from algorithms import registry
from algorithms.figures import Sample
from algorithms.interface import Configuration
from container.training import report
from container.training.report import About, History
from recordio.batches import Batch
from tests.algorithms import samples
from tests.algorithms.cases import Case
from tests.algorithms.fakes import FakeJob
from tests.container.training.test_report import FIGURES
from tests.pages.browser import Browser, found

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WIDTHS, SCHEMES = (390, 1200), ("light", "dark")

# What is wrong with a page: wider than the window, or with something that sticks out of its frame without a scroll bar;
# numbers that are broken over lines; labels of a drawing that lie on each other.
PROBLEMS = """(() => {
  const found = [], root = document.documentElement, seen = element => element.getClientRects().length > 0;
  if (root.scrollWidth > root.clientWidth) found.push(`${root.scrollWidth} pixels wide, of ${root.clientWidth}`);
  for (const one of document.querySelectorAll("main *"))
    if (!one.closest(".scroll, .table") && seen(one) && one.getBoundingClientRect().right > root.clientWidth + 1)
      found.push(`sticks out: ${one.outerHTML.slice(0, 120)}`);
  for (const one of document.querySelectorAll("figure > *"))
    if (one.getBoundingClientRect().right > one.parentElement.getBoundingClientRect().right + 1)
      found.push(`wider than its figure: ${one.outerHTML.slice(0, 120)}`);
  for (const one of document.querySelectorAll(".number, .cells td")) {
    const range = document.createRange(); range.selectNodeContents(one);
    if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1)
      found.push(`broken: ${one.textContent}`);
  }
  for (const drawing of document.querySelectorAll("figure > svg:has(.axis)")) {
    const boxes = [...drawing.querySelectorAll("text")].filter(one => one.textContent)
      .map(one => [one.getBoundingClientRect(), one.textContent]);
    boxes.forEach(([a, first], at) => boxes.slice(at + 1).forEach(([b, second]) => {
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
        found.push(`'${first}' lies on '${second}' in '${drawing.querySelector("title").textContent}'`);
    }));
  }
  return found;
})()"""
# Texts of drawings are parts of a picture that has a title; the map of the demo has 1,797 of them.
AXE = """axe.run({exclude: ["svg text"]}, {resultTypes: ["violations"]}).then(result =>
  result.violations.map(one => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map(node => node.html).join(" ")}`))"""


def small(name: str) -> Configuration:
    """Of an algorithm's configurations, the one of most classes that it counts: it has the most to show."""
    every = registry.find(name).configurations
    return next((one for one in every if one.classes == 2), every[0])


def write_report(name: str, folder: Path) -> None:
    """The page about a job of ``name``, as training writes it."""
    case = Case(registry.find(name), small(name))
    job, history = FakeJob(output_directory=folder), History()
    model = case.fit(job=job)
    for event in job.events:
        history.add(event)
    values = sorted(case.configuration.hyperparameters.items())
    channels = [(channel.name, channel.default_type) for channel in case.algorithm.channels]
    about = About(
        algorithm=name, summary=case.algorithm.summary, hyperparameters=values, channels=channels, seconds=1.5
    )
    if samples.has_rows(case.configuration):
        rows = samples.batch(case.algorithm, case.configuration, case.rows())
        history.sample_of("train").add(Batch(rows.features, rows.labels))
        assert isinstance(history.sample(), Sample)
    report.write(folder, about, history, model)


def write_demo(folder: Path) -> None:
    """The demo's page, with labels in place of clusters and pixels in place of projections."""
    spec = importlib.util.spec_from_file_location("demo_page", EXAMPLES / "demo_page.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images, digits = load_digits(return_X_y=True)
    clusters = np.where(np.arange(len(digits)) % 7, digits, (digits + 1) % 10)
    page = module.draw(
        images=images.reshape(-1, 8, 8) / 16,
        digits=digits,
        clusters=clusters,
        positions=images[:, [20, 43]] + images[:, [10, 30]] / 100,
        distance=650.0,
        seconds=1.5,
        held_out=297,
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


class Everything:
    """A model that has one of each kind of figure to show, with names and numbers that are hard to place."""

    def figures(self, sample: Sample | None) -> list[Any]:
        return FIGURES


def write_everything(folder: Path) -> None:
    history = History()
    history.finals["validation", "binary_classification_cross_entropy_objective"] = -123456.789
    history.finals["test", "binary_classification_cross_entropy_objective"] = 1.23456e-12
    pairs = [("a_hyperparameter_with_a_long_name", "0.123456789012345678901234567890" * 3)]
    about = About(algorithm="everything", summary="All.", hyperparameters=pairs, channels=pairs, seconds=1.0)
    report.write(folder, about, history, Everything())  # type: ignore[arg-type]


PAGES = [*sorted(registry.ALGORITHMS), "demo", "everything"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = found()
    if program is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with Browser(program, tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def axe() -> str:
    module = pytest.importorskip("axe_core_python", reason="axe-core-python, with the accessibility rules, is missing")
    return (Path(module.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_can_be_read_by_all(name: str, browser: Browser, axe: str, tmp_path: Path) -> None:
    made = {"demo": write_demo, "everything": write_everything}
    made[name](tmp_path) if name in made else write_report(name, tmp_path)
    for width in WIDTHS:
        for scheme in SCHEMES:
            browser.open(tmp_path / "report.html", width=width, scheme=scheme)
            browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
            where = f"{name}, {width} pixels, {scheme}"
            assert browser.run(PROBLEMS) == [], where
            if width == WIDTHS[0]:
                browser.run(axe + "; 0")
                assert browser.run(AXE) == [], where
            assert browser.errors == [], where
