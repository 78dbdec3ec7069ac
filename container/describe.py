"""What the declarations of an algorithm become for people and for SageMaker: help, tables, TrainingSpecification."""

from __future__ import annotations

import json
import math
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from algorithms import hyperparameters
from algorithms.hyperparameters import Field
from algorithms.interface import Algorithm, Channel

_WIDTH = 100
_CATEGORIES = 30  # as many values as CreateAlgorithm takes
_METRICS = 40  # likewise; tuning objectives come first
_INTEGERS = (-(2**31), 2**31 - 1)
_FAMILIES = {
    "ml.c5": ("xlarge", "2xlarge", "4xlarge", "9xlarge", "18xlarge"),
    "ml.m5": ("large", "xlarge", "2xlarge", "4xlarge", "12xlarge", "24xlarge"),
    "ml.r5": ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge"),
    **{
        f"ml.{family}": ("xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge")
        for family in ("c6i", "c7i", "m6i", "m7i", "r6i", "r7i")
    },
}
INSTANCE_TYPES = tuple(f"{family}.{size}" for family, sizes in _FAMILIES.items() for size in sizes)
"""Machines without a GPU and with AVX2, large enough for a job."""


# ---- for people -----------------------------------------------------------------------------------------------------


def help_text(algorithm: type[Algorithm]) -> str:
    """What ``train --help`` prints."""
    lines = [f"{algorithm.name}: {algorithm.summary}", "", "Hyperparameters:"]
    for name, expected, default, text in hyperparameters.table(algorithm.hyperparameters):
        lines += _entry(name, f"{expected}; {_default(default)}", text)
    lines += ["", "Channels:"]
    for channel in algorithm.channels:
        lines += _entry(channel.name, _channel_facts(channel), channel.help)
    serving = algorithm.serving
    lines += ["", "Endpoint:"]
    lines += _entry("POST /invocations", f"takes {', '.join(serving.accepts)}", f"answers {', '.join(serving.answers)}")
    lines += _entry(f"POST /v2/models/{algorithm.name}/infer", "the open inference protocol (KServe V2)", "")
    return "\n".join(lines)


def _entry(name: str, facts: str, text: str) -> list[str]:
    return [
        f"  {name}",
        *textwrap.wrap(facts, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6),
        *textwrap.wrap(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6),
    ]


def _default(default: str) -> str:
    return default if default == "required" else f"default {default}" if default else "no default"


def _channel_facts(channel: Channel) -> str:
    need = "required" if channel.required else "optional"
    return f"{need}; {', '.join(channel.accepts)} (default {channel.default_type}); {', '.join(channel.modes)}"


def tables(algorithm: type[Algorithm]) -> str:
    """The README's tables of one algorithm, in Markdown."""
    parameters = [
        (
            f"`{name}`",
            expected,
            default if default in ("", "required") else f"`{default}`",
            text,
        )
        for name, expected, default, text in hyperparameters.table(algorithm.hyperparameters)
    ]
    channels = [
        (
            f"`{channel.name}`",
            "yes" if channel.required else "no",
            ", ".join(channel.accepts),
            ", ".join(channel.modes),
            channel.help,
        )
        for channel in algorithm.channels
    ]
    columns = [(f"`{column.name}`", column.help) for column in algorithm.columns]
    metrics = [
        (
            f"`{metric.name}`",
            {True: "maximize", False: "minimize", None: ""}[metric.maximize],
            "yes" if metric.objective else "no",
        )
        for metric in algorithm.metrics
    ]
    return "\n\n".join(
        (
            f"### {algorithm.name}",
            algorithm.summary,
            _markdown(("hyperparameter", "value", "default", "meaning"), parameters),
            _markdown(("channel", "required", "content types", "input modes", "meaning"), channels),
            _markdown(("output", "meaning"), columns),
            _markdown(("metric", "direction", "tuning objective"), metrics),
        )
    )


def _markdown(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# ---- for SageMaker --------------------------------------------------------------------------------------------------


def training_specification(algorithm: type[Algorithm], image: str) -> dict[str, Any]:
    """``TrainingSpecification`` of SageMaker's ``CreateAlgorithm``, for an image with this URI."""
    declared = hyperparameters.fields(algorithm.hyperparameters)
    metrics = sorted(algorithm.metrics, key=lambda metric: not metric.objective)[:_METRICS]
    return {
        "TrainingImage": image,
        "SupportedHyperParameters": [_hyperparameter(name, field) for name, field in declared.items()],
        "SupportedTrainingInstanceTypes": list(INSTANCE_TYPES),
        "SupportsDistributedTraining": algorithm.several_hosts,
        "MetricDefinitions": [{"Name": metric.name, "Regex": metric.regex} for metric in metrics],
        "TrainingChannels": [_channel(channel) for channel in algorithm.channels],
        "SupportedTuningJobObjectiveMetrics": [
            {"MetricName": metric.name, "Type": "Maximize" if metric.maximize else "Minimize"}
            for metric in algorithm.metrics
            if metric.objective
        ],
    }


def _channel(channel: Channel) -> dict[str, Any]:
    return {
        "Name": channel.name,
        "Description": channel.help,
        "IsRequired": channel.required,
        "SupportedContentTypes": list(channel.accepts),
        "SupportedCompressionTypes": ["None"],
        "SupportedInputModes": list(channel.modes),
    }


def _hyperparameter(name: str, field: Field) -> dict[str, Any]:
    kind, limits = _type_and_range(field)
    entry: dict[str, Any] = {
        "Name": name,
        "Description": field.help,
        "Type": kind,
        "IsTunable": field.tunable is not None,
        "IsRequired": field.required,
    }
    if limits:
        entry["Range"] = {f"{kind}ParameterRangeSpecification": limits}
    if field.default is not None and not (limits and isinstance(field.default, str) and kind != "Categorical"):
        entry["DefaultValue"] = written(field.default)
    return entry


def _type_and_range(field: Field) -> tuple[str, dict[str, Any] | None]:
    """SageMaker's type of a hyperparameter, and its range.

    SageMaker has no type of a number or the word ``auto``. Such a hyperparameter is a number where it can be tuned,
    at the price that the word cannot be written, only left to the default; elsewhere it is free text.
    """
    if (field.auto or field.words) and field.tunable is None:
        return "FreeText", None
    if field.kind == "flag":
        return "Categorical", {"Values": ["true", "false"]}
    if field.kind == "choice" and len(field.choices) <= _CATEGORIES:
        return "Categorical", {"Values": list(field.choices)}
    if field.kind == "integer":
        low, high = _INTEGERS
        low = math.ceil(field.at_least) if field.at_least is not None else low
        low = math.floor(field.above) + 1 if field.above is not None else low
        high = math.floor(field.at_most) if field.at_most is not None else high
        high = math.ceil(field.below) - 1 if field.below is not None else high
        return "Integer", {"MinValue": str(low), "MaxValue": str(high)}
    if field.kind == "real":
        return "Continuous", dict(zip(("MinValue", "MaxValue"), map(repr, _real_range(field)), strict=True))
    return "FreeText", None


def _real_range(field: Field) -> tuple[float, float]:
    """The closed range of floats that is the declared one, whose ends may be open."""
    low, high = -sys.float_info.max, sys.float_info.max
    low = float(field.at_least) if field.at_least is not None else low
    low = math.nextafter(field.above, math.inf) if field.above is not None else low
    high = float(field.at_most) if field.at_most is not None else high
    high = math.nextafter(field.below, -math.inf) if field.below is not None else high
    return low, high


def written(value: Any) -> str:
    """A value as it stands in hyperparameters.json."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(list(value)) if isinstance(value, tuple) else str(value)
