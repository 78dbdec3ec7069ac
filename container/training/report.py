"""The page about a job in its output data: ``/opt/ml/output/data/report.html``, one file, no network needed; and
what it shows as data, ``report.json`` beside it.

Learning curves come from the very metrics that the log has; the rest is what the model has to show of itself
(``Model.figures``). A page that cannot be made is a line in the log, and never the end of a job that went well.
"""

from __future__ import annotations

import html
import json
import os
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.common.randomness import draws
from algorithms.common.reservoir import Reservoir
from algorithms.events import Chosen, Event, FinalScore, Measured
from algorithms.feature_names import REPORT, digest
from algorithms.figures import Figure, Lines, Sample, short
from algorithms.interface import Model
from container.logs import logger
from container.training import charts
from recordio.quoting import escaped, shortened

FILE, DATA = "report.html", REPORT
SAMPLE_ROWS = 4096
_SAMPLE_BYTES = 16 << 20
_SETS = ("train", "validation", "test")
_LONGEST_NAME = 100  # of a feature, in characters
_BEST_SAMPLES = ("test", "validation", "train")  # the first of these that there is: the least known to the model


@dataclass
class History:
    """What a job has measured: for each metric and data set, values by epoch, round or checkpoint; the last ones, or
    those of the model that is left."""

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
            case Chosen(step, scores):
                self._choose(step)
                for score in scores:
                    self._add(score.dataset, score.metric, score.value, None)

    def _choose(self, step: float | None) -> None:
        """Leave of the scores of steps those of one of them."""
        for metric, series in self.curves.items():
            for dataset, points in series.items():
                self.finals.pop((dataset, metric), None)
                for at, value in points:
                    if at == step:
                        self.finals[dataset, metric] = value

    def _add(self, dataset: str, metric: str, value: float, step: float | None) -> None:
        if step is not None:
            points = self.curves.setdefault(metric, {}).setdefault(dataset, [])
            if not points or points[-1][0] != step:  # once more, it is told of the model that is left
                points.append((step, float(value)))
        self.finals[dataset, metric] = float(value)

    def sample_of(self, channel: str) -> Reservoir:
        """Where rows of a channel are kept as they pass, evenly from all of it; always the same ones."""
        return self.samples.setdefault(channel, Reservoir(draws("report", 0), _SAMPLE_BYTES))

    def sample(self) -> Sample | None:
        """Rows of the data set that the model knows least."""
        for name in _BEST_SAMPLES:
            rows = self.samples[name].rows(SAMPLE_ROWS) if name in self.samples else None
            if rows is not None:
                return Sample(name, rows)
        return None


@dataclass(frozen=True, kw_only=True)
class About:
    """What the page says of the job besides its figures: each a list of (name, value). ``step`` is what the numbers of
    measurements count."""

    algorithm: str
    summary: str
    hyperparameters: Sequence[tuple[str, str]]
    channels: Sequence[tuple[str, str]]
    seconds: float
    step: str = "epoch"


def write(
    folder: Path,
    about: About,
    history: History,
    model: Model,
    named: Callable[[int], list[str]] | None = None,
    files: Sequence[Path] = (),
) -> None:
    """Write the page into ``folder``; where that fails, say so in the log.

    Args:
        named: says what so many features are called, if it is known.
        files: of the model. Names are told with the digests of these, by which one sees that they are of this model.
    """
    try:
        sample = history.sample()
        names = [] if named is None else named(_width(model, sample))
        if sample is not None and sample.rows.feature_dim == len(names):
            sample = replace(sample, names=[escaped(shortened(name, _LONGEST_NAME)) for name in names])
        figures = _curves(history.curves, about.step) + model.figures(sample)
        (folder / DATA).write_text(data(about, history.finals, figures, names, files), encoding="utf-8")
        text = page(about, history.finals, figures, _others(folder))
        (folder / FILE).write_text(text, encoding="utf-8", errors="backslashreplace")  # a lone surrogate is in no file
    except OSError as error:
        logger.warning("The report could not be written; the model is not affected. %s", error)
    except Exception:
        logger.warning("The report could not be written; the model is not affected.", exc_info=True)


def _width(model: Model, sample: Sample | None) -> int:
    """How many features the model takes; of one that does not say, how many rows have. 0 where there are none."""
    if model.feature_dim is not None:
        return model.feature_dim
    return 0 if sample is None else sample.rows.feature_dim


def _curves(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], step: str) -> list[Figure]:
    """One figure a metric, for those that were measured more than once."""
    return [
        Lines(title=f"Learning curve: {metric}", x=step, y=metric, series=series, whole=True)
        for metric, series in curves.items()
        if any(len(points) > 1 for points in series.values())
    ]


def _others(folder: Path) -> list[str]:
    """Other files that the job left for its user."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != FILE)


def data(
    about: About,
    finals: Mapping[tuple[str, str], float],
    figures: Sequence[Figure],
    names: Sequence[str] = (),
    files: Sequence[Path] = (),
) -> str:
    """All that the page shows except pictures, as JSON: ``algorithm``, ``seconds`` of training, ``hyperparameters``,
    ``channels``, ``scores`` (those of the model), ``features`` (what they are called, where that is known) and with
    them ``model`` (the digests of its files), and ``figures``, each with its ``kind`` and ``title``."""
    named = {"features": list(names), "model": {file.name: digest(file) for file in files}} if names else {}
    told = {
        "algorithm": about.algorithm,
        "seconds": round(about.seconds, 3),
        "hyperparameters": dict(about.hyperparameters),
        "channels": dict(about.channels),
        "scores": {f"{dataset}:{metric}": charts.plain(value) for (dataset, metric), value in finals.items()},
        **named,
        "figures": [charts.as_data(one) for one in figures],
    }
    return json.dumps(told, allow_nan=False) + "\n"


def page(
    about: About, finals: Mapping[tuple[str, str], float], figures: Sequence[Figure], others: Sequence[str]
) -> str:
    """The HTML text."""
    set_ones = [(name, value) for name, value in about.hyperparameters if value]  # XGBoost has some forty that are not
    links = ", ".join(f'<a href="{urllib.parse.quote(os.fsencode(name))}">{html.escape(name)}</a>' for name in others)
    parts = [
        f"<h1>{html.escape(about.algorithm)}</h1><p>{html.escape(about.summary)} Trained in {_seconds(about.seconds)}, "
        f"<time>{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC</time>.</p>",
        f"<p>Beside this page: {links}.</p>" if links else "",
        f"<section>{_scores(finals)}{_channels(about.channels)}"
        f"{''.join(charts.figure(one) for one in figures)}</section>",
        f"<details><summary>Hyperparameters</summary>{charts.table(('name', 'value'), set_ones)}</details>",
    ]
    return charts.document(f"{about.algorithm}: report", "".join(parts))


def _scores(finals: Mapping[tuple[str, str], float]) -> str:
    """Those of the model, a row for each metric and a column for each data set."""
    if not finals:
        return ""
    datasets = sorted({dataset for dataset, _ in finals}, key=_rank)
    metrics = dict.fromkeys(metric for _, metric in finals)
    rows = [
        [metric, *(short(finals[one, metric], 5) if (one, metric) in finals else "" for one in datasets)]
        for metric in metrics
    ]
    return f"<figure class=scores><h2>Scores</h2>{charts.table(('metric', *datasets), rows)}</figure>"


def _rank(dataset: str) -> tuple[int, str]:
    return (_SETS.index(dataset) if dataset in _SETS else len(_SETS), dataset)


def _seconds(seconds: float) -> str:
    return "less than 0.1 s" if seconds < 0.1 else f"{seconds:.1f} s"


def _channels(rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    table = charts.table(("channel", "content type, input mode"), rows)
    return f"<figure class=channels><h2>Channels</h2>{table}</figure>"


def shown(value: Any) -> str:
    """A hyperparameter's value as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
