"""Checks of a tuning job, by itself and against the declaration of its algorithm; all problems are told at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from algorithms import hyperparameters
from algorithms.hyperparameters import Field
from algorithms.interface import Algorithm
from container import describe
from local.tuning.config import EPOCHS, GRID, HYPERBAND, STRATEGIES, Definition, TuningConfig, TuningError
from local.tuning.definitions import OBJECTIVE
from local.tuning.ranges import (
    AUTO,
    LINEAR,
    REVERSE_LOGARITHMIC,
    CategoricalRange,
    ContinuousRange,
    IntegerRange,
    Range,
)
from recordio.quoting import quoted

_INSIDE = 1e-6
"""The share of a range between an open end and the first value that is tried."""
_AROUND = 10
"""An automatic range of a hyperparameter without declared ends goes from a tenth of the hint to ten times it."""


def check(config: TuningConfig, algorithms: Mapping[str, type[Algorithm] | None], *, tunable_only: bool) -> None:
    """Refuse a tuning job that cannot be run.

    Args:
        algorithms: of each definition by its name; None where it is an image of somebody else's.
        tunable_only: refuse hyperparameters that SageMaker does not tune, such as ``k`` of k-means, and a Hyperband
            whose greatest number of epochs the first job would have to tell.

    Raises:
        TuningError: naming every problem.
    """
    problems = [*_whole_problems(config)]
    if tunable_only and config.strategy == HYPERBAND and config.resources is None:
        problems.append(
            "MaxResource parameter is not provided and could not be inferred from provided static hyperparameters of "
            f"TrainingJobDefinition: {', '.join(EPOCHS)}"
        )
    for definition in config.definitions:
        problems += _own_problems(definition)
        if (algorithm := algorithms[definition.name]) is not None:
            problems += _declared_problems(definition, algorithm, tunable_only=tunable_only)
    if problems:
        raise TuningError("\n".join(problems))


def _whole_problems(config: TuningConfig) -> list[str]:
    problems = []
    if config.strategy not in STRATEGIES:
        problems.append(f"Strategy '{config.strategy}' is not one of {', '.join(STRATEGIES)}")
    if config.strategy == HYPERBAND and config.early_stopping:
        problems.append("TrainingJobEarlyStoppingType must be Off for the Hyperband strategy, which stops jobs itself")
    if config.strategy == GRID and not all(
        isinstance(one, CategoricalRange) for definition in config.definitions for one in definition.ranges
    ):
        problems.append("The Grid strategy searches categorical ranges only")
    wrong_range = any(one.problems() for definition in config.definitions for one in definition.ranges)
    combinations = None if wrong_range else config.combinations()  # of a range from 6 to 2 there would be -3
    if config.strategy != GRID and combinations is not None and combinations < config.max_jobs:
        problems.append(
            "You don't have enough combinations of hyperparameter ranges. The total number of hyperparameter "
            f"combinations for the provided ranges, [{combinations}], must be equal to or greater than the value of "
            f"MaxNumberOfTrainingJobs, [{config.max_jobs}]. Provide additional ranges."
        )
    if config.strategy != HYPERBAND and config.resources:
        problems.append("StrategyConfig is for the Hyperband strategy only")
    if config.resources and not 1 <= config.resources[0] <= config.resources[1]:
        problems.append(f"MinResource {config.resources[0]} is not from 1 to MaxResource {config.resources[1]}")
    if len({definition.maximize for definition in config.definitions}) > 1:
        problems.append("All training job definitions must have the same objective type, Maximize or Minimize")
    names = [definition.name for definition in config.definitions]
    if len(set(names)) < len(names):
        problems.append("Each training job definition needs a DefinitionName of its own")
    return problems


def _own_problems(definition: Definition) -> list[str]:
    problems = []
    names = [one.name for one in definition.ranges] + list(definition.hints)
    if not names:
        problems.append("At least one hyperparameter range is required")
    problems += [f"'{name}' has two ranges" for name in sorted({name for name in names if names.count(name) > 1})]
    problems += [
        f"'{name}' is both a static hyperparameter and a tunable one; it can be only one of them"
        for name in names
        if name in definition.static
    ]
    for one in definition.ranges:
        problems += one.problems()
    return problems


def _declared_problems(definition: Definition, algorithm: type[Algorithm], *, tunable_only: bool) -> list[str]:
    metrics = [metric.name for metric in algorithm.metrics if metric.objective]
    problems = []
    if definition.metric not in metrics:
        problems.append(
            f"The objective metric for the hyperparameter tuning job, [{definition.metric}], isn't valid for the "
            f"[{algorithm.name}] algorithm. Choose a valid objective metric: {', '.join(metrics) or 'it has none'}."
        )
    elif {metric.name: metric.maximize for metric in algorithm.metrics}[definition.metric] != definition.maximize:
        problems.append(
            f"The objective type for [{definition.metric}] must be "
            + ("Minimize, not Maximize." if definition.maximize else "Maximize, not Minimize.")
        )
    declared = hyperparameters.by_every_name(algorithm.hyperparameters)
    problems += [
        f"Hyperparameter {quoted(name)}: {declared[name].problem(value)}"
        for name, value in definition.static.items()
        if name in declared and not _taken(declared[name], value)
    ]
    for one in definition.ranges:
        if one.name not in declared:
            problems.append(f"Hyperparameter [{one.name}] isn't one of the [{algorithm.name}] algorithm")
        elif tunable_only and declared[one.name].tunable is None:
            tunable = ", ".join(name for name, field in declared.items() if field.tunable)
            problems.append(f"Hyperparameter [{one.name}] isn't tunable; [{algorithm.name}] tunes: {tunable or 'none'}")
        else:
            problems += _range_problems(one, declared[one.name])
    problems += [
        f"AutoParameters: hyperparameter [{name}] isn't one that [{algorithm.name}] tunes"
        for name in definition.hints
        if name not in declared or declared[name].tunable is None
    ]
    return problems


def _range_problems(one: Range, field: Field) -> list[str]:
    """Problems of the ends of ranges, and of listed values, that the declaration does not take."""
    if isinstance(one, ContinuousRange) and field.kind != "real":
        return [f"Hyperparameter [{one.name}] is {field.expected()}: it has no continuous range"]
    if isinstance(one, IntegerRange) and field.kind not in ("integer", "real"):
        return [f"Hyperparameter [{one.name}] is {field.expected()}: it has no integer range"]
    if isinstance(one, CategoricalRange):
        values: Sequence[tuple[str, str]] = [("The value", value) for value in one.values]
    else:
        values = [("MinValue", one.written(one.low)), ("MaxValue", one.written(one.high))]
        if isinstance(one, ContinuousRange):
            values = [("MinValue", repr(one.low)), ("MaxValue", repr(one.high))]
    return [
        f"{what} {quoted(value)} of the range of hyperparameter [{one.name}] isn't valid: expected {field.expected()}"
        for what, value in values
        if not _taken(field, value)
    ]


def check_parent(config: TuningConfig, name: str, parent: TuningConfig) -> None:
    """Refuse a warm start from a tuning job whose results say nothing about this one's, as SageMaker does.

    Source: Amazon SageMaker Developer Guide, "Warm Start Tuning Restrictions".

    Raises:
        TuningError: naming every problem.
    """
    theirs = {one.name: one for one in parent.definitions}
    if problems := [
        f"Warm start from the parent tuning job {name}: {problem}"
        for one in config.definitions
        if one.name in theirs
        for problem in _parent_problems(one, theirs[one.name])
    ]:
        raise TuningError("\n".join(problems))


def _parent_problems(definition: Definition, parent: Definition) -> list[str]:
    problems = []
    if (definition.metric, definition.maximize) != (parent.metric, parent.maximize):
        metrics = [f"[{one.metric}] ({'Maximize' if one.maximize else 'Minimize'})" for one in (definition, parent)]
        problems.append(f"the objective metric {metrics[0]} must be that of the parent, {metrics[1]}")
    kinds = {one.name: type(one) for one in parent.ranges}
    problems += [
        f"the type of the range of hyperparameter [{one.name}] must be that of the parent"
        for one in definition.ranges
        if kinds.get(one.name, type(one)) is not type(one)
    ]
    ours, theirs = (
        len({*(tuned.name for tuned in one.ranges), *one.hints, *one.static} - {OBJECTIVE})  # as Describe adds that
        for one in (definition, parent)
    )
    if ours != theirs:
        told = f"static and tunable hyperparameters must be as many as those of the parent, {theirs}, not {ours}"
        problems.append(told)
    return problems


def _taken(field: Field, value: str) -> bool:
    try:
        field.parse(hyperparameters.plain(value))
    except ValueError:
        return False
    return True


def with_automatic_ranges(definition: Definition, algorithm: type[Algorithm] | None) -> Definition:
    """The definition with ranges in place of its ``AutoParameters``: those that the declaration recommends.

    A hyperparameter that is not tuned, as ``feature_dim``, keeps its hint: with ``autotune`` the SageMaker SDK names
    all of an estimator's hyperparameters.

    Raises:
        TuningError: there is nothing from which a range could be made.
    """
    if not definition.hints:
        return definition
    if algorithm is None:
        raise TuningError("AutoParameters need an algorithm whose hyperparameters are known")
    declared = hyperparameters.fields(algorithm.hyperparameters)
    known = {name: hint for name, hint in definition.hints.items() if name in declared and declared[name].tunable}
    made = tuple(_automatic(name, declared[name], hint) for name, hint in known.items())
    rest = {name: hint for name, hint in definition.hints.items() if name not in known}
    kept = {name: hint for name, hint in rest.items() if name in declared and hint}
    rest = {name: hint for name, hint in rest.items() if name not in kept}
    static = kept | dict(definition.static)
    return dataclasses.replace(definition, ranges=definition.ranges + made, static=static, hints=rest, start=known)


def with_open_ends(definition: Definition, algorithm: type[Algorithm] | None) -> Definition:
    """The definition with continuous ranges that end just inside of an end that the declaration leaves open.

    The ends in SageMaker's specifications of algorithms are closed: it takes a range from 0 for a share above 0, as
    AWS's notebook on distributed tuning has one. On a logarithmic scale such an end stays refused.
    """
    if algorithm is None:
        return definition
    declared = hyperparameters.by_every_name(algorithm.hyperparameters)
    ranges = tuple(
        _inside(one, declared[one.name]) if isinstance(one, ContinuousRange) and one.name in declared else one
        for one in definition.ranges
    )
    return dataclasses.replace(definition, ranges=ranges)


def _inside(one: ContinuousRange, field: Field) -> ContinuousRange:
    step = _INSIDE * (one.high - one.low)
    if one.scaling in (AUTO, LINEAR) and one.low == field.above:
        one = dataclasses.replace(one, low=one.low + step, scaling=LINEAR)  # Auto is linear from 0 on
    if one.scaling != REVERSE_LOGARITHMIC and one.high == field.below:
        one = dataclasses.replace(one, high=one.high - step)
    return one


def _automatic(name: str, field: Field, hint: str) -> Range:
    tunable = field.tunable
    assert tunable is not None
    if tunable.choices or field.kind in ("choice", "flag"):
        return CategoricalRange(name, tunable.choices or field.choices or ("true", "false"))
    if (field.auto and hint == hyperparameters.AUTO) or hint in field.words:
        hint = ""  # a default that is no number, of which nothing can be made
    try:
        around = (float(hint) / _AROUND, float(hint) * _AROUND) if hint else (None, None)
    except ValueError as error:
        raise TuningError(f"AutoParameters: the hint '{hint}' for '{name}' is not a number") from error
    low = tunable.low if tunable.low is not None else around[0]
    high = tunable.high if tunable.high is not None else around[1]
    if low is None or high is None:
        raise TuningError(f"AutoParameters: '{name}' has no recommended range; give it a ValueHint, or a range")
    if field.kind == "integer":
        return IntegerRange(name, int(low), int(high), tunable.scale)
    return ContinuousRange(name, float(low), float(high), tunable.scale)


def tuned_by_default(algorithm: type[Algorithm]) -> dict[str, str]:
    """Every hyperparameter that the algorithm tunes, with its default as the hint: SageMaker's Autotune."""
    declared = hyperparameters.fields(algorithm.hyperparameters)
    return {
        name: "" if field.default is None else describe.written(field.default)
        for name, field in declared.items()
        if field.tunable
    }
