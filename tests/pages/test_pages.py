"""Every page that is made for people, in a real browser: on a phone and on a desk, in light and in dark."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from algorithms import registry
from algorithms.figures import Bars, Card, Cards, Heatmap, Lines, Sample
from algorithms.interface import Configuration
from container.training import report
from container.training.report import About, History
from local.tuning import history
from local.tuning.config import Definition
from local.tuning.tuner import Status, Trial
from recordio.batches import Batch
from tests.algorithms import samples
from tests.algorithms.cases import Case
from tests.algorithms.fakes import FakeJob
from tests.container.training.test_report import FIGURES
from tests.pages.browser import Browser
from tests.pages.checks import check

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


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
        far = [(-5.4e6 + 1e5 * number, -7.36e12 + 1e9 * number) for number in range(10)]
        small = [(1e-6 + 1e-8 * number, 1e-6 + 1e-8 * number) for number in range(10)]
        ends = ("-7.36e+06", "-3.21e+06")
        return [
            *FIGURES,
            Lines(title="Far from zero", x="prediction", y="label", series={"": far}, joined=False),
            Lines(title="Near zero", x="round", y="loss", series={"train": small}),
            Heatmap(title="Negative", x="prediction", y="label", values=np.eye(3), rows=ends, columns=ends),
            Cards(
                title="Topics",
                cards=[Card(title="0", share=1.0, words=[("w" * 99, 0.5)], facts="", examples=["w" * 99])],
            ),
            Bars(title="Weights", labels=["feature 11", "f" * 90], values=[-1.234e-05, 8.789e04]),
        ]


def write_everything(folder: Path) -> None:
    history = History()
    history.finals["validation", "binary_classification_cross_entropy_objective"] = -123456.789
    history.finals["test", "binary_classification_cross_entropy_objective"] = 1.23456e-12
    pairs = [("a_hyperparameter_with_a_long_name", "0.123456789012345678901234567890" * 3)]
    about = About(algorithm="everything", summary="All.", hyperparameters=pairs, channels=pairs, seconds=1.0)
    report.write(folder, about, history, Everything())  # type: ignore[arg-type]


def write_tuning(folder: Path) -> None:
    """The page about a tuning job: a number, one over orders of magnitude and a word are searched; one job fails."""
    rng, choices = np.random.default_rng(5), ("adam", "adagrad", "a_word_that_is_long_enough_to_be_in_the_way")
    definition = Definition(ranges=(), metric="validation:objective_loss", maximize=False)
    trials = []
    for number, rate in enumerate(10 ** rng.uniform(-5, 0, 24)):
        tuned = {"learning_rate": repr(float(rate)), "k": str(rng.integers(5, 50)), "optimizer": choices[number % 3]}
        curve = [abs(float(np.log10(rate)) + 2.5) + 1 / step for step in range(1, 9)] if number != 7 else []
        state = {"status": Status.FAILED, "reason": "no rows"} if number == 7 else {"status": Status.COMPLETED}
        trials.append(Trial(number, definition, tuned, print, curve=curve, began=0.0, ended=1.5 + number, **state))
    best = min((one for one in trials if one.curve), key=lambda one: one.curve[-1])
    tuner = SimpleNamespace(trials=trials, best=best)
    history.write(folder, "Tuning of linear-learner", tuner, maximize=False)  # type: ignore[arg-type]
    (folder / history.PAGE).rename(folder / "report.html")


PAGES = [*sorted(registry.ALGORITHMS), "demo", "everything", "tuning"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_can_be_read_by_all(name: str, browser: Browser, axe: str, tmp_path: Path) -> None:
    made = {"demo": write_demo, "everything": write_everything, "tuning": write_tuning}
    made[name](tmp_path) if name in made else write_report(name, tmp_path)
    check(browser, axe, (tmp_path / "report.html").as_uri(), name)
