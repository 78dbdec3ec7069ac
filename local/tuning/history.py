"""A tuning job for people: lines as it goes, a table, and a page with pictures that needs nothing else."""

from __future__ import annotations

import csv
import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from algorithms.figures import Bars, Figure, Lines, Table
from container.training import charts
from local.tuning.tuner import Status, Trial, Tuner

PAGE, TABLE, SUMMARY = "tuning.html", "jobs.csv", "tuning.json"
_MOST_CURVES = 6
_WIDE = 100
_STYLE = "p { overflow-wrap: anywhere } .scroll td, .scroll th { white-space: nowrap } .scroll wbr { display: none }"


def line(trial: Trial, total: int, best: Trial | None) -> str:
    """One line about a training job that ended."""
    values = " ".join(f"{name}={short(value)}" for name, value in trial.tuned.items())
    said = f"{trial.definition.metric} {trial.objective:.6g}" if trial.objective is not None else trial.reason
    state = {Status.STOPPED: " (stopped early)" if trial.stopped_early else " (stopped)", Status.FAILED: " (failed)"}
    mark = "  best so far" if trial is best else ""
    return f"[{trial.number + 1}/{total}] {values}  {said}{state.get(trial.status, '')}{mark}"


def short(value: str) -> str:
    """A number with no more digits than help to tell it from its neighbours.

    >>> short("0.0012345678"), short("12345"), short("adam")
    ('0.001235', '12345', 'adam')
    """
    try:
        return f"{float(value):.4g}" if "." in value or "e" in value else value
    except ValueError:
        return value


def write(folder: Path, title: str, tuner: Tuner, *, maximize: bool) -> None:
    """The page, the table as CSV and the best job as JSON."""
    trials = list(tuner.trials)
    (folder / PAGE).write_text(_page(title, trials, tuner.best, maximize=maximize), encoding="utf-8")
    head, rows = _table(trials, tuner.best)
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head[1:], *(row[1:] for row in rows)])
    (folder / SUMMARY).write_text(json.dumps([_as_json(trial) for trial in trials], indent=2) + "\n")


def _as_json(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number + 1,
        "definition": trial.definition.name,
        "status": trial.status.value,
        "stopped_early": trial.stopped_early,
        "hyperparameters": trial.hyperparameters,
        "tuned": trial.tuned,
        "metric": trial.definition.metric,
        "objective": trial.objective,
        "curve": trial.curve,
        "reason": trial.reason,
        "seconds": round(max(0.0, trial.ended - trial.began), 3),
    }


def _table(trials: Sequence[Trial], best: Trial | None) -> tuple[list[str], list[list[str]]]:
    names = list(dict.fromkeys(name for trial in trials for name in trial.tuned))
    metrics = list(dict.fromkeys(trial.definition.metric for trial in trials))
    head = ["", "job", *names, *metrics, "status", "seconds"]
    rows = [
        [
            "best" if trial is best else "",
            str(trial.number + 1),
            *(trial.tuned.get(name, "") for name in names),
            *(
                "" if trial.objective is None or metric != trial.definition.metric else f"{trial.objective:.6g}"
                for metric in metrics
            ),
            "Stopped early" if trial.stopped_early else trial.status.value,
            f"{max(0.0, trial.ended - trial.began):.1f}",
        ]
        for trial in trials
    ]
    return head, rows


def _page(title: str, trials: Sequence[Trial], best: Trial | None, *, maximize: bool) -> str:
    head, rows = _table(trials, best)
    shown = [[short(cell) for cell in row] for row in rows]
    told = "No training job has completed."
    if best is not None:
        values = ", ".join(f"{name}={short(value)}" for name, value in best.tuned.items())
        told = f"The best of {len(trials)} training jobs is job {best.number + 1}: {values}, "
        told += f"{best.definition.metric} {best.objective:.6g}."
    drawn = "".join(charts.figure(one) for one in figures(trials, maximize=maximize))
    content = (
        f"<h1>{html.escape(title)}</h1><p>{html.escape(told)}</p><section>{drawn}</section>"
        f"{charts.figure(Table(title='Training jobs', columns=head, rows=shown))}"
    )
    return charts.document(title, content, _STYLE)


def figures(trials: Sequence[Trial], *, maximize: bool) -> list[Figure]:
    """The objective by job with the best so far; the objective by each hyperparameter; the curves of the best jobs."""
    scored = [trial for trial in trials if trial.objective is not None]
    if not scored:
        return []
    metric = scored[0].definition.metric
    best: list[tuple[float, float]] = []
    for trial in scored:
        value = trial.objective or 0.0
        pick = max if maximize else min
        best.append((trial.number + 1, pick(value, best[-1][1]) if best else value))
    points = [(float(trial.number + 1), trial.objective or 0.0) for trial in scored]
    found: list[Figure] = [
        Lines(title="Best so far", x="job", y=metric, series={metric: best}, whole=True),
        Lines(title="Each job", x="job", y=metric, series={metric: points}, joined=False, whole=True),
    ]
    names = dict.fromkeys(name for trial in scored for name in trial.tuned)
    found += [_by_hyperparameter(name, metric, scored, maximize=maximize) for name in names]
    ranked = sorted(scored, key=lambda trial: (trial.objective or 0.0) * (-1 if maximize else 1))[:_MOST_CURVES]
    if any(_changes(trial.curve) for trial in ranked):
        curves = {f"job {trial.number + 1}": [(n + 1.0, v) for n, v in enumerate(trial.curve)] for trial in ranked}
        found.append(Lines(title="Curves of the best jobs", x="epoch or round", y=metric, series=curves, whole=True))
    return found


def _changes(curve: Sequence[float]) -> bool:
    """Whether there is a curve to see: k-means logs its one score in two lines, in different numbers of digits."""
    return any(not math.isclose(value, curve[0], rel_tol=1e-5) for value in curve)


def _by_hyperparameter(name: str, metric: str, scored: Sequence[Trial], *, maximize: bool) -> Figure:
    """Points over a numeric hyperparameter, over its logarithm where it spans two orders of magnitude; the best result
    of each word of another."""
    having = [trial for trial in scored if name in trial.tuned]
    try:
        points = sorted((float(trial.tuned[name]), trial.objective or 0.0) for trial in having)
        axis, whole = name, all(x.is_integer() for x, _ in points)
        if points[0][0] > 0 and points[-1][0] >= _WIDE * points[0][0]:
            points, axis = [(math.log10(x), y) for x, y in points], f"log10 of {name}"
            whole = False
        return Lines(title=f"{metric} by {name}", x=axis, y=metric, series={metric: points}, joined=False, whole=whole)
    except ValueError:
        words: dict[str, float] = {}
        for trial in having:
            value, word = trial.objective or 0.0, trial.tuned[name]
            words[word] = (max if maximize else min)(value, words.get(word, value))
        return Bars(title=f"Best {metric} by {name}", labels=list(words), values=list(words.values()))
