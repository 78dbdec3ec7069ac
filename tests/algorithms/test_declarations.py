"""What every algorithm declares: by itself, and beside SageMaker's documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algorithms import hyperparameters, registry
from algorithms.errors import HyperparameterError
from algorithms.hyperparameters import Field
from algorithms.interface import JSON, Algorithm
from container import describe
from container.serving import dialects as serving_dialects
from container.serving.media import request_type
from container.serving.responses import UnsupportedTypeError
from recordio import content_type
from tests.algorithms import samples
from tests.algorithms.cases import (
    lines,
    strings,
)

SPECIFICATIONS = Path(__file__).resolve().parents[1] / "spec"


def declared_everything_has_a_name_and_help(algorithm: type[Algorithm]) -> None:
    """Users read these texts in help, tables and SageMaker's console."""
    assert registry.ALGORITHMS[algorithm.name]
    assert algorithm.title
    assert algorithm.summary.endswith(".")
    assert algorithm.__doc__
    for thing in (*hyperparameters.fields(algorithm.hyperparameters).values(), *algorithm.channels, *algorithm.columns):
        assert thing.help.strip(), thing


def declared_defaults_are_values_that_would_be_accepted(algorithm: type[Algorithm]) -> None:
    """Users copy them from the tables."""
    for name, field in hyperparameters.fields(algorithm.hyperparameters).items():
        if field.default is None or name in strings(algorithm):
            continue
        hyperparameters.parse(algorithm.hyperparameters, strings(algorithm, **{name: describe.written(field.default)}))


def bad_values(field: Field) -> Iterator[str]:
    """Values that break the declaration; none for a text, which only ``check`` understands."""
    if field.kind in ("integer", "real"):
        yield from ("x", "nan", "inf", "1e999", "", "0x10", "1_0", "1,0", "None")
        yield from (str(end - 1) for end in (field.at_least,) if end is not None)
        yield from (str(end + 1) for end in (field.at_most,) if end is not None)
        yield from (str(end) for end in (field.above, field.below) if end is not None)
    if field.kind == "integer":
        yield "1.5"
    if field.kind == "flag":
        yield from ("maybe", "2", "")
    if field.kind == "choice":
        yield from ("no-such-word", "", field.choices[0].upper() + " ")
    if field.kind == "listing":
        yield from ("", "[", "[]", ",")
    if field.kind == "listing" and field.choices:
        yield "no-such-word"


def declared_bad_values_are_named(algorithm: type[Algorithm]) -> None:
    """Each value that breaks a declaration is refused, in words that name the hyperparameter and the value."""
    for name, field in hyperparameters.fields(algorithm.hyperparameters).items():
        for value in bad_values(field):
            if value in field.words or value.strip() in field.choices:
                continue
            with pytest.raises(HyperparameterError, match=re.escape(f"'{name}': '{value.strip()}' is not ")):
                hyperparameters.parse(algorithm.hyperparameters, strings(algorithm, **{name: value}))


def declared_missing_and_unknown_hyperparameters_are_named(algorithm: type[Algorithm]) -> None:
    """In SageMaker's words, all of them at once."""
    required = [name for name, field in hyperparameters.fields(algorithm.hyperparameters).items() if field.required]
    with pytest.raises(HyperparameterError) as caught:
        hyperparameters.parse(algorithm.hyperparameters, {"no_such": "1"})
    assert "Additional hyperparameters are not allowed ('no_such' was unexpected)" in str(caught.value)
    for name in required:
        assert f"'{name}'" in caught.value.problems[0]


def declared_formats_exist(algorithm: type[Algorithm]) -> None:
    """Every media type is in its one spelling, and each default is among what is accepted."""
    for channel in algorithm.channels:
        assert channel.default_type in channel.accepts
        for media in channel.accepts:
            assert content_type.parse(media).media_type == media
    serving = algorithm.serving
    for dialect in (serving_dialects.find(serving.dialect), serving_dialects.find(serving.dialect, multi_model=True)):
        assert dialect.default_request is None or dialect.default_request in serving.accepts
        assert dialect.default_answer in serving.answers
        assert dialect.default_in_batch is None or dialect.default_in_batch in serving.answers
    assert JSON in serving.answers


def declared_refusals_list_what_requests_take(algorithm: type[Algorithm]) -> None:
    """A 415 names every media type of requests, and no other, unless its words are those of AWS's container."""
    for multi_model in (False, True):
        dialect = serving_dialects.find(algorithm.serving.dialect, multi_model=multi_model)
        with pytest.raises(UnsupportedTypeError) as caught:
            request_type(b"1", "image/tiff", algorithm.serving, dialect)
        named = set(re.findall(r"[a-z]+/[a-z0-9.-]*[a-z0-9]", str(caught.value))) - {"image/tiff"}
        assert named >= set(algorithm.serving.accepts)
        assert named == set(algorithm.serving.accepts) or "{1}" not in dialect.unsupported


def declared_every_pattern_finds_the_metric_in_our_lines(algorithm: type[Algorithm]) -> None:
    """Tuning jobs see a metric only where SageMaker's pattern matches the line that a job writes."""
    for metric in algorithm.metrics:
        found = {match.group(1) for line in lines(algorithm, metric.name) for match in re.finditer(metric.regex, line)}
        assert found & {"0.25", "0.25000", "0.250000", "25.0"}, f"{metric.name}: {metric.regex}"
        assert not metric.objective or metric.maximize is not None, f"{metric.name} has no direction"


def declared_sagemaker_would_take_the_specification(algorithm: type[Algorithm]) -> None:
    """The limits of ``CreateAlgorithm``, as its API reference states them."""
    specification = describe.training_specification(algorithm, "image:1")
    assert len(specification["SupportedHyperParameters"]) <= 100
    assert len(specification["MetricDefinitions"]) <= 40
    assert 1 <= len(specification["TrainingChannels"]) <= 8
    for entry in specification["SupportedHyperParameters"]:
        assert len(entry["Description"]) <= 1024
        assert entry["Description"].isprintable()
        assert entry["Type"] in ("Integer", "Continuous", "Categorical", "FreeText")
        assert ("Range" in entry) == (entry["Type"] != "FreeText")
        values = entry.get("Range", {}).get("CategoricalParameterRangeSpecification", {}).get("Values", ["-"])
        assert 1 <= len(values) <= 30
        assert entry["Type"] != "FreeText" or not entry["IsTunable"]
    for metric in specification["MetricDefinitions"]:
        assert len(metric["Regex"]) <= 500
    names = {metric["Name"] for metric in specification["MetricDefinitions"]}
    assert names >= {metric["MetricName"] for metric in specification["SupportedTuningJobObjectiveMetrics"]}


DECLARED = {name.removeprefix("declared_"): check for name, check in globals().items() if name.startswith("declared_")}


@pytest.mark.parametrize("check", DECLARED.values(), ids=DECLARED)
@pytest.mark.parametrize("name", registry.ALGORITHMS)
def test_declaration(name: str, check: Any) -> None:
    check(registry.find(name))


def test_names_of_configurations_are_unique_and_their_values_valid() -> None:
    for name in registry.ALGORITHMS:
        algorithm = registry.find(name)
        assert len(samples.configurations(name)) == len(algorithm.configurations) > 0
        for configuration in algorithm.configurations:
            samples.parsed(algorithm, configuration)


@pytest.mark.parametrize("name", registry.ALGORITHMS)
def test_every_choice_of_what_is_learned_has_a_configuration(name: str) -> None:
    """A hyperparameter that must be chosen, or that decides which labels fit, has each of its values tried."""
    algorithm = registry.find(name)
    for wire, field in hyperparameters.fields(algorithm.hyperparameters).items():
        if field.kind == "choice" and (field.required or wire in ("algorithm_mode", "booster", "objective")):
            tried = {str(one.hyperparameters.get(wire, field.default)) for one in algorithm.configurations}
            assert tried | UNTRIED >= set(field.choices), wire


UNTRIED = {
    "aft_loss_distribution",  # SageMaker lists it as an objective of XGBoost, which has none of that name
    "stable",  # another name of PCA's regular
}


# ---- parity with SageMaker ------------------------------------------------------------------------------------------


def specification(name: str) -> dict[str, Any]:
    file = SPECIFICATIONS / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"{file.name} is not beside this checkout")
    return json.loads(file.read_text())


_POSITIVE = "zero and negative values have no meaning, and are refused rather than ignored"
DEVIATIONS = {
    # (algorithm, hyperparameter, property): why ours differs
    ("factorization-machines", "eps", "low"): _POSITIVE,
    ("factorization-machines", "epochs", "default"): "one pass leaves a model behind a linear one",
    ("factorization-machines", "rescale_grad", "low"): _POSITIVE,
    ("linear-learner", "binary_classifier_model_selection_criteria", "choices"): "the SDK's class takes names of 2017",
    ("linear-learner", "num_classes", "low"): "1 and 2 have no effect where there are not many classes",
    ("pca", "algorithm_mode", "choices"): "SageMaker's SDK for Spark, and the one for Python of 2017, take one more",
    ("ntm", "learning_rate", "default"): "each optimizer has a rate of its own: Adam's topics are worse with 0.001",
    ("ntm", "sub_sample", "low"): "none of the data is nothing to train on",
    ("xgboost", "base_score", "default"): "XGBoost 2 and later estimate it from the data where it is not given",
    ("xgboost", "prob_buffer_row", "low"): "SageMaker's first image takes 1, and AWS's samples for Kubernetes send it",
}
KINDS = {
    "integer": ("integer",),
    "float": ("real",),
    "categorical": ("choice", "flag"),
    "boolean": ("flag",),
    "json": ("listing", "text"),
    "list": ("listing", "text"),
    "string": ("text", "choice"),
}


def parity(name: str, entry: dict[str, Any], field: Field) -> Iterator[tuple[str, Any, Any]]:
    """(property, SageMaker's, ours) of one hyperparameter, for those properties that can be compared."""
    yield "type", True, field.kind in KINDS[entry["type"]]
    if isinstance(entry["required"], bool):
        yield "required", entry["required"], field.required
    yield "aliases", set(entry["aliases"]), set(field.aliases)
    yield (
        "accepts_auto",
        entry["accepts_auto"] or "auto" in (entry["choices"] or ()),
        field.auto or "auto" in (*field.choices, *field.words),
    )
    if field.kind in ("integer", "real"):
        yield "low", (entry["min"], bool(entry["min_exclusive"])), least(field)
        yield "high", (entry["max"], bool(entry["max_exclusive"])), greatest(field)
    if entry["choices"] is not None and field.kind in ("choice", "listing"):
        yield "choices", {str(choice) for choice in entry["choices"]} - {"auto"}, set(field.choices) - {"auto"}
    yield "default", default(entry["default"]), default(field.default)
    if entry["tunable"] is not None:
        ours = field.tunable
        yield "tunable", (entry["tunable"]["min"], entry["tunable"]["max"]), ours and (ours.low, ours.high)


def default(value: Any) -> Any:
    """Numbers are compared as numbers, everything else as it is written."""
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    return describe.written(tuple(value) if isinstance(value, list) else value)


def least(field: Field) -> tuple[float | None, bool]:
    return (field.above, True) if field.above is not None else (field.at_least, False)


def greatest(field: Field) -> tuple[float | None, bool]:
    return (field.below, True) if field.below is not None else (field.at_most, False)


@pytest.mark.parametrize("name", registry.ALGORITHMS)
def test_every_hyperparameter_of_sagemaker_is_declared_as_there(name: str) -> None:
    declared = hyperparameters.fields(registry.find(name).hyperparameters)
    different = []
    for entry in specification(name)["hyperparameters"]:
        field = declared.get(entry["name"])
        if field is None:
            different.append(f"{entry['name']} is not declared")
            continue
        different += [
            f"{entry['name']} {what}: SageMaker's is {theirs}, ours {ours}"
            for what, theirs, ours in parity(name, entry, field)
            if theirs != ours and (name, entry["name"], what) not in DEVIATIONS
        ]
    assert not different, "\n".join(different)


@pytest.mark.parametrize("name", registry.ALGORITHMS)
def test_hyperparameters_that_only_logs_show_are_accepted(name: str) -> None:
    declared = hyperparameters.fields(registry.find(name).hyperparameters)
    others = [entry["name"] for entry in specification(name)["other_hyperparameters"]]
    assert [other for other in others if other not in declared] == []


@pytest.mark.parametrize("name", registry.ALGORITHMS)
def test_every_channel_of_sagemaker_is_declared_as_there(name: str) -> None:
    declared = {channel.name: channel for channel in registry.find(name).channels}
    for entry in specification(name)["channels"]:
        if entry["content_types"] == ["text/python"]:
            continue  # the user's own training script: script mode is another product
        channel = declared[entry["name"]]
        assert channel.required == entry["required"]
        theirs = {content_type.parse(text).media_type for text in entry["content_types"]}
        assert theirs <= set(channel.accepts), entry["name"]
        assert set(entry["input_modes"]) <= set(channel.modes), entry["name"]


@pytest.mark.parametrize("name", registry.ALGORITHMS)
def test_every_metric_of_sagemaker_is_declared_with_its_pattern(name: str) -> None:
    declared = {metric.name: metric for metric in registry.find(name).metrics}
    directions = {"Maximize": True, "Minimize": False, None: None}
    for entry in specification(name)["metrics"]:
        assert entry["name"] in declared, entry["name"]
        metric = declared[entry["name"]]
        assert (metric.objective, entry["name"]) == (entry["objective"], entry["name"])
        if entry["regex"] is not None:
            assert metric.regex == entry["regex"]
        if entry["objective"]:
            assert metric.maximize == directions[entry["direction"]], entry["name"]
