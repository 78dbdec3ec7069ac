"""Ranges as they are written on the command line: ``k=5..50``, ``learning_rate=0.001..1:log``, ``optimizer=sgd,adam``.

>>> from algorithms import registry
>>> split(registry.find("kmeans"), [("k", "5..50"), ("epochs", "3"), ("init_method", "random,kmeans++")])[0]
(IntegerRange(name='k', low=5, high=50, scaling='Auto'), CategoricalRange(name='init_method', values=('random', ...
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from algorithms import hyperparameters
from algorithms.hyperparameters import Field
from algorithms.interface import Algorithm, Metric
from local.parameters import did_you_mean
from local.tuning.ranges import (
    AUTO,
    LINEAR,
    LOGARITHMIC,
    REVERSE_LOGARITHMIC,
    CategoricalRange,
    ContinuousRange,
    IntegerRange,
    Range,
)

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})(?::(?P<scale>[\w-]+))?")
_SCALES = {"auto": AUTO, "linear": LINEAR, "log": LOGARITHMIC, "reverse-log": REVERSE_LOGARITHMIC}


def split(algorithm: type[Algorithm], pairs: Sequence[tuple[str, str]]) -> tuple[tuple[Range, ...], dict[str, str]]:
    """What is searched, and what stays as it is given.

    Raises:
        click.UsageError: a name is unknown, a name is given twice, or a range is malformed.
    """
    declared = hyperparameters.fields(algorithm.hyperparameters)
    known = {name: field for wire, field in declared.items() for name in (wire, *field.aliases)}
    ranges: list[Range] = []
    static: dict[str, str] = {}
    seen: dict[int, str] = {}  # by the declaration, which a name and its aliases share
    for name, value in pairs:
        if name not in known:
            public = [one for one in known if not one.startswith("_")]
            raise click.UsageError(f"{algorithm.name} has no hyperparameter '{name}'; {did_you_mean(name, public)}")
        if (before := seen.get(id(known[name]))) is not None:
            other = "" if before == name else f": it is '{before}' by another name"
            raise click.UsageError(f"hyperparameter '{name}' is given twice{other}")
        seen[id(known[name])] = name
        if (one := _range(name, value, known[name])) is not None:
            ranges.append(one)
        else:
            static[name] = value
    if not ranges:
        raise click.UsageError(
            "there is nothing to search: give at least one hyperparameter a range (NAME=5..50, NAME=0.001..1:log) or "
            "a list (NAME=sgd,adam)"
        )
    return tuple(ranges), static


def _range(name: str, value: str, field: Field) -> Range | None:
    """The range that ``value`` is; None where it is one value."""
    if match := _RANGE.fullmatch(value):
        scale = match["scale"] or "auto"
        if scale not in _SCALES:
            raise click.UsageError(f"'{name}={value}': the scale '{scale}' is not one of {', '.join(_SCALES)}")
        low, high = float(match["low"]), float(match["high"])
        if field.kind == "integer":
            if not (low.is_integer() and high.is_integer()):
                raise click.UsageError(f"'{name}={value}': {name} is {field.expected()}")
            return IntegerRange(name, int(low), int(high), _SCALES[scale])
        return ContinuousRange(name, low, high, _SCALES[scale])
    if "," in value and field.kind not in ("listing", "text"):
        return CategoricalRange(name, tuple(word.strip() for word in value.split(",")))
    if ".." in value and field.kind in ("integer", "real"):
        raise click.UsageError(f"'{name}={value}': a range is written LOW..HIGH, or LOW..HIGH:log")
    return None


def objective(algorithm: type[Algorithm], stated: str | None, channels: Sequence[str]) -> Metric:
    """The metric to optimise: the stated one, or the one that the channels leave.

    Raises:
        click.UsageError: the algorithm has no such metric, its channel is not given, or there are several that say
            different things.
    """
    metrics = {metric.name: metric for metric in algorithm.metrics if metric.objective}
    if not metrics:
        raise click.UsageError(f"{algorithm.name} has no metric that a search could optimise")
    if stated is not None:
        if stated not in metrics:
            raise click.UsageError(f"{algorithm.name} has no objective '{stated}'; {did_you_mean(stated, metrics)}")
        if (channel := stated.partition(":")[0]) not in channels:
            raise click.UsageError(f"the objective {stated} needs the channel '{channel}': --{channel} PATH")
        return metrics[stated]
    candidates = [metric for name, metric in metrics.items() if name.partition(":")[0] in channels]
    if not candidates:
        needed = sorted({name.partition(":")[0] for name in metrics})
        options = " or ".join(f"--{channel} PATH" for channel in needed)
        raise click.UsageError(f"{algorithm.name} is judged by {', '.join(metrics)}: give {options}")
    if (
        len({metric.maximize for metric in candidates}) > 1
        or len({one.name.partition(":")[0] for one in candidates}) > 1
    ):
        raise click.UsageError(f"say what to optimise: --objective {'|'.join(metric.name for metric in candidates)}")
    return candidates[0]
