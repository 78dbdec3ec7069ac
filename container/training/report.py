"""The page about a job in its output data: ``/opt/ml/output/data/report.html``, one file, no network needed.

Learning curves come from the very metrics that the log has; the rest is what the model has to show of itself
(``Model.figures``). A page that cannot be made is a line in the log, and never the end of a job that went well.
"""

from __future__ import annotations

import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.common.reservoir import Reservoir
from algorithms.events import Event, FinalScore, Measured
from algorithms.figures import Figure, Lines, Sample
from algorithms.interface import Model
from container.logs import logger
from container.training import charts

FILE = "report.html"
SAMPLE_ROWS = 4096
_SAMPLE_BYTES = 16 << 20
_BEST_SAMPLES = ("test", "validation", "train")  # the first of these that there is: the least known to the model


@dataclass
class History:
    """What a job has measured: for each metric and data set, values by epoch, round or checkpoint; the last ones."""

    curves: dict[str, dict[str, list[tuple[float, float]]]] = field(default_factory=dict)
    finals: dict[tuple[str, str], float] = field(default_factory=dict)
    samples: dict[str, Reservoir] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take the scores of an event into account; those of a batch are for the log alone."""
        match event:
            case Measured(scores, step, None):
                for score in scores:
                    self._add(score.dataset, score.metric, score.value, step)
            case FinalScore(dataset, metric, value):
                self._add(dataset, metric, value, None)

    def _add(self, dataset: str, metric: str, value: float, step: float | None) -> None:
        if step is not None:
            self.curves.setdefault(metric, {}).setdefault(dataset, []).append((step, float(value)))
        self.finals[dataset, metric] = float(value)

    def sample_of(self, channel: str) -> Reservoir:
        """Where rows of a channel are kept as they pass, evenly from all of it; always the same ones."""
        return self.samples.setdefault(channel, Reservoir(np.random.default_rng(0), _SAMPLE_BYTES))

    def sample(self) -> Sample | None:
        """Rows of the data set that the model knows least."""
        for name in _BEST_SAMPLES:
            rows = self.samples[name].rows(SAMPLE_ROWS) if name in self.samples else None
            if rows is not None:
                return Sample(name, rows)
        return None


@dataclass(frozen=True, kw_only=True)
class About:
    """What the page says of the job besides its figures: each a list of (name, value)."""

    algorithm: str
    summary: str
    hyperparameters: Sequence[tuple[str, str]]
    channels: Sequence[tuple[str, str]]
    seconds: float


def write(folder: Path, about: About, history: History, model: Model) -> None:
    """Write the page into ``folder``; where that fails, say so in the log."""
    try:
        figures = _curves(history.curves) + model.figures(history.sample())
        (folder / FILE).write_text(page(about, history.finals, figures, _others(folder)), encoding="utf-8")
    except OSError as error:
        logger.warning("The report could not be written; the model is not affected. %s", error)
    except Exception:
        logger.warning("The report could not be written; the model is not affected.", exc_info=True)


def _curves(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> list[Figure]:
    """One figure a metric, for those that were measured more than once."""
    return [
        Lines(title=metric, x="epoch or round", y="", series=series)
        for metric, series in curves.items()
        if any(len(points) > 1 for points in series.values())
    ]


def _others(folder: Path) -> list[str]:
    """Other files that the job left for its user."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != FILE)


def page(
    about: About, finals: Mapping[tuple[str, str], float], figures: Sequence[Figure], others: Sequence[str]
) -> str:
    """The HTML text."""
    measured = [(f"{dataset}:{metric}", f"{value:.6g}") for (dataset, metric), value in finals.items()]
    links = ", ".join(f'<a href="{html.escape(name)}">{html.escape(name)}</a>' for name in others)
    parts = [
        f"<h1>{html.escape(about.algorithm)}</h1><p>{html.escape(about.summary)} Trained in {about.seconds:.1f} s, "
        f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC.</p>",
        f"<p>Beside this page: {links}.</p>" if links else "",
        f"<section>{_facts('Measured last', measured)}{_facts('Channels', about.channels)}"
        f"{''.join(charts.figure(one) for one in figures)}</section>",
        f"<details><summary>Hyperparameters</summary>"
        f"{charts.table(('name', 'value'), about.hyperparameters)}</details>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(about.algorithm)}: report</title><style>{STYLE}</style>\n<main>{''.join(parts)}</main>\n"
    )


def _facts(title: str, rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    return f"<figure><h3>{html.escape(title)}</h3>{charts.table(('name', 'value'), rows)}</figure>"


def shown(value: Any) -> str:
    """A hyperparameter's value as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)


STYLE = """
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #1d2733; background: #f5f6f8; margin: 0 }
main { max-width: 1060px; margin: 0 auto; padding: 32px 20px 56px }
h1 { font-size: 28px; margin: 0 } h3 { font-size: 16px; margin: 0 0 8px } p { color: #4a5766; margin: 6px 0 }
section { columns: 440px 2; column-gap: 14px; margin: 18px 0 }
figure { background: #fff; border-radius: 10px; box-shadow: 0 1px 3px #1d273322; margin: 0 0 14px; padding: 14px 16px;
         break-inside: avoid }
figure p { font-size: 13px } .wide { column-span: all }
svg { width: 100%; display: block } svg text { font-size: 11px; fill: #4a5766 } .grid { stroke: #e6e9ee }
table { border-collapse: collapse; font-size: 13px } th { text-align: left; font-weight: 500; color: #4a5766 }
td, th { padding: 2px 12px 2px 0; vertical-align: top; overflow-wrap: anywhere }
.bars { width: 100% } .bars td:first-child { white-space: nowrap } .bar { width: 60% }
.bar i { display: block; height: 13px; border-radius: 2px } .number { text-align: right; padding-right: 0 }
.scroll { overflow-x: auto } .cells { border-collapse: separate; border-spacing: 2px; text-align: center }
.cells td { padding: 3px 7px; border-radius: 3px;
            background: color-mix(in srgb, #2f6db3 calc(var(--share) * 75%), #f5f6f8) }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 12px; color: #4a5766; margin-top: 4px }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 6px }
.heat { width: 100%; max-height: 420px; image-rendering: pixelated; border-radius: 4px }
.pictures { display: flex; flex-wrap: wrap; gap: 10px } .pictures img { image-rendering: pixelated; display: block }
.pictures span { font-size: 12px; color: #4a5766 } details { margin-top: 12px } summary { cursor: pointer }
"""
