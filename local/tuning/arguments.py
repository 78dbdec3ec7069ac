"""Ranges as they are written on the command line: ``k=5..50``, ``learning_rate=0.001..1:log``, ``optimizer=sgd,adam``.

>>> from algorithms import registry
>>> split(registry.find("kmeans"), [("k", "5..50"), ("epochs", "3"), ("init_method", "random,kmeans++")])[0]
(IntegerRange(name='k', low=5, high=50, scaling='Auto'), CategoricalRange(name='init_method', values=('random', ...
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import click

from algorithms import hyperparameters
from algorithms.errors import HyperparameterError
from algorithms.hyperparameters import Field
from algorithms.interface import Algorithm, Metric
from local.parameters import did_you_mean
from local.train import any_width
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
_MOST_CORNERS = 256
_SCALES = {"auto": AUTO, "linear": LINEAR, "log": LOGARITHMIC, "reverse-log": REVERSE_LOGARITHMIC}


def split(algorithm: type[Algorithm], pairs: Sequence[tuple[str, str]]) -> tuple[tuple[Range, ...], dict[str, str]]:
    """What is searched, and what stays as it is given.

    Raises:
        click.UsageError: a name is unknown, a name is given twice, or a range is malformed.
    """
    known = hyperparameters.by_every_name(algorithm.hyperparameters)
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
        if low > high:
            raise click.UsageError(f"'{name}={value}': a range is written LOW..HIGH, and {match['low']} is the higher")
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


def _nearest(stated: str, metrics: Iterable[str]) -> str:
    """A suggestion for an unknown metric: those whose names contain it, or those that are spelled alike.

    By spelling alone ``validation:dcg`` would be suggested for ``validation:acc``, as all names share the channel.
    """
    channel, _, part = stated.rpartition(":")
    longer = [name for name in metrics if name.startswith(channel) and part in name.partition(":")[2]]
    if part and 0 < len(longer) <= 6:
        return f"did you mean {' or '.join(map(repr, longer))}?"
    return did_you_mean(stated, metrics)


def objective(
    algorithm: type[Algorithm],
    stated: str | None,
    channels: Sequence[str],
    ranges: Sequence[Range] = (),
    static: Mapping[str, str] = MappingProxyType({}),
) -> Metric:
    """The metric to optimise: the stated one, or the one that the channels and the hyperparameters leave.

    Raises:
        click.UsageError: the algorithm has no such metric, its channel is not given, or there are several that say
            different things.
    """
    metrics = {metric.name: metric for metric in algorithm.metrics if metric.objective}
    if not metrics:
        raise click.UsageError(f"{algorithm.name} has no metric that a search could optimise")
    if stated is not None:
        if stated not in metrics:
            raise click.UsageError(f"{algorithm.name} has no objective '{stated}'; {_nearest(stated, metrics)}")
        if (channel := stated.partition(":")[0]) not in channels:
            raise click.UsageError(f"the objective {stated} needs channel '{channel}': --{channel} PATH")
        return metrics[stated]
    reasons = {name: why_never(algorithm, metric, ranges, static) for name, metric in metrics.items()}
    logged = {name: metric for name, metric in metrics.items() if reasons[name] is None}
    if not logged:
        raise click.UsageError(next(why for why in reasons.values() if why is not None))
    candidates = [metric for name, metric in logged.items() if name.partition(":")[0] in channels]
    if not candidates:
        needed = sorted({name.partition(":")[0] for name in logged})
        options = " or ".join(f"--{channel} PATH" for channel in needed)
        raise click.UsageError(f"give {options}, on which jobs of {algorithm.name} are compared, by {_by(logged)}")
    if (
        len({metric.maximize for metric in candidates}) > 1
        or len({one.name.partition(":")[0] for one in candidates}) > 1
    ):
        first = candidates[0].name
        raise click.UsageError(
            f"say by which metric jobs are compared, as in --objective {first}: "
            f"{_by({metric.name: metric for metric in candidates})}"
        )
    return candidates[0]


def _by(metrics: Mapping[str, Metric]) -> str:
    """Names of metrics, by what is looked for."""
    highest = ", ".join(name for name, metric in metrics.items() if metric.maximize)
    lowest = ", ".join(name for name, metric in metrics.items() if not metric.maximize)
    return " or ".join(f"the {word} of {names}" for word, names in (("highest", highest), ("lowest", lowest)) if names)


def why_never(
    algorithm: type[Algorithm], metric: Metric, ranges: Sequence[Range], static: Mapping[str, str]
) -> str | None:
    """Why no training job of the search can log its objective, by the declaration alone; None if some can.

    All combinations of the ends of ranges and the listed values are tried, unless there are very many.
    """
    if math.prod(len(_ends(one)) for one in ranges) > _MOST_CORNERS:
        return None
    reasons = []
    for values in _corners(algorithm, ranges, {**static, "_tuning_objective_metric": metric.name}):
        try:
            why = hyperparameters.parse(algorithm.hyperparameters, values).unlogged(metric.name)
        except HyperparameterError as error:
            reasons.append(str(error))
            continue
        if why is None:
            return None
        reasons.append(f"the objective {metric.name} is never logged: {why}")
    return reasons[0]


def _corners(
    algorithm: type[Algorithm], ranges: Sequence[Range], static: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    told = any_width(algorithm)
    names = [one.name for one in ranges]
    for values in itertools.product(*(_ends(one) for one in ranges)):
        yield told | dict(static) | dict(zip(names, values, strict=True))


def _ends(one: Range) -> tuple[str, ...]:
    return one.values if isinstance(one, CategoricalRange) else (one.written(one.low), one.written(one.high))
