"""Every algorithm of the registry against every check; the ids read ``kmeans:same_seed_same_model``.

A new algorithm is checked as soon as it is registered: its data is made here, and the values of its required
hyperparameters follow from their declarations.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from algorithms import hyperparameters, registry
from algorithms.errors import AlgorithmInputError, HyperparameterError, ModelError, PredictionError, TrainingStopped
from algorithms.figures import Sample
from algorithms.hyperparameters import Field
from algorithms.interface import FILES, JSON, LABELS_REQUIRED, RECORDS, Algorithm
from container import describe, logs
from container.serving import dialects
from container.serving.request import Endpoint, Request, respond
from container.settings import Settings
from container.training import charts
from recordio import content_type
from recordio.batches import Batch
from recordio.errors import DataError
from tests.algorithms.fakes import FakeJob, MemoryStream
from tests.algorithms.samples import SAMPLES

ROWS, WIDTH = 61, 4  # a number of rows that leaves a last batch of one for sizes of 2, 3, 4, 5, 6, 10, 12, 15, 20, 30
SPECIFICATIONS = Path(__file__).resolve().parents[1] / "spec"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums over threads may be taken in any order; over one they are the same bit for bit."""
    with threadpool_limits(1):
        yield


# ---- a small job for any algorithm ----------------------------------------------------------------------------------


def strings(algorithm: type[Algorithm], **more: str) -> dict[str, str]:
    """The least that the algorithm must be told: its required hyperparameters."""
    declared = hyperparameters.fields(algorithm.hyperparameters)
    given = {name: example(name, field) for name, field in declared.items() if field.required}
    if algorithm.name in SAMPLES:
        given |= SAMPLES[algorithm.name].hyperparameters
    elif "mini_batch_size" in declared:
        given["mini_batch_size"] = "20"
    return given | more


def takes_rows(algorithm: type[Algorithm]) -> bool:
    return not any(channel.gives == RECORDS for channel in algorithm.channels)


def example(name: str, field: Field) -> str:
    if name == "feature_dim":
        return str(WIDTH)
    return field.choices[0] if field.kind == "choice" else "2"


def features(seed: int = 0) -> np.ndarray:
    """Two clouds; half of the values are zero, so that sparse rows have something to leave out, and none is negative,
    so that they may be counts of words."""
    random = np.random.default_rng(seed)
    clouds = random.normal(size=(ROWS, WIDTH)) + 4 * (np.arange(ROWS) % 2)[:, None]
    return np.where(random.random((ROWS, WIDTH)) < 0.5, np.abs(clouds), 0).astype(np.float32)


def labels() -> np.ndarray:
    return (np.arange(ROWS) % 2).astype(np.float32)


def channels(algorithm: type[Algorithm], rows: Any = None, **options: Any) -> dict[str, MemoryStream]:
    """A stream for each channel of rows that the algorithm declares."""
    rows = features() if rows is None else rows
    streams = {}
    for channel in algorithm.channels:
        if channel.gives == FILES:
            continue
        known = labels()[: rows.shape[0]] if channel.labels == LABELS_REQUIRED else None
        streams[channel.name] = MemoryStream(rows, known, **options)
    return streams


def fit(algorithm: type[Algorithm], rows: Any = None, job: FakeJob | None = None, **given: str) -> Any:
    values = hyperparameters.parse(algorithm.hyperparameters, strings(algorithm, **given))
    if not takes_rows(algorithm):
        with tempfile.TemporaryDirectory() as folder, SAMPLES[algorithm.name].around():
            return algorithm.fit(values, SAMPLES[algorithm.name].channels(Path(folder)), job or FakeJob())
    return algorithm.fit(values, channels(algorithm, rows), job or FakeJob())


def saved(model: Any, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    model.save(folder)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def answered(algorithm: type[Algorithm], model: Any, body: bytes, media: str) -> bytes:
    endpoint = Endpoint.of(algorithm, model, Settings())
    response = respond(Request(body, media, JSON), endpoint)
    assert response.status == 200, response.body
    return response.body


def predicted(algorithm: type[Algorithm], model: Any, seed: int = 1) -> dict[str, Any]:
    """What the model says of rows that it was not trained on, or of the requests of its sample."""
    if takes_rows(algorithm):
        return model.predict(Batch(features(seed)))
    return {
        f"{media} {number}": np.frombuffer(answered(algorithm, model, body, media), np.uint8)
        for number, (media, body) in enumerate(SAMPLES[algorithm.name].requests())
    }


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


ROWS_ONLY: list[Any] = []


def rows_only(check: Any) -> Any:
    """Marks a check that has a meaning only where channels and requests are rows of features."""
    ROWS_ONLY.append(check)
    return check


# ---- checks of what is declared -------------------------------------------------------------------------------------


def check_everything_has_a_name_and_help(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """Users read these texts in help, tables and SageMaker's console."""
    assert registry.ALGORITHMS[algorithm.name]
    assert algorithm.title
    assert algorithm.summary.endswith(".")
    assert algorithm.__doc__
    for thing in (*hyperparameters.fields(algorithm.hyperparameters).values(), *algorithm.channels, *algorithm.columns):
        assert thing.help.strip(), thing


def check_defaults_are_values_that_would_be_accepted(algorithm: type[Algorithm], tmp_path: Path) -> None:
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


def check_bad_values_are_named(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """Each value that breaks a declaration is refused, in words that name the hyperparameter and the value."""
    for name, field in hyperparameters.fields(algorithm.hyperparameters).items():
        for value in bad_values(field):
            if value in field.words or value.strip() in field.choices:
                continue
            with pytest.raises(HyperparameterError, match=re.escape(f"'{name}': '{value.strip()}' is not ")):
                hyperparameters.parse(algorithm.hyperparameters, strings(algorithm, **{name: value}))


def check_missing_and_unknown_hyperparameters_are_named(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """In SageMaker's words, all of them at once."""
    required = [name for name, field in hyperparameters.fields(algorithm.hyperparameters).items() if field.required]
    with pytest.raises(HyperparameterError) as caught:
        hyperparameters.parse(algorithm.hyperparameters, {"no_such": "1"})
    assert "Additional hyperparameters are not allowed ('no_such' was unexpected)" in str(caught.value)
    for name in required:
        assert f"'{name}'" in caught.value.problems[0]


def check_formats_exist(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """Every media type is in its one spelling, and each default is among what is accepted."""
    for channel in algorithm.channels:
        assert channel.default_type in channel.accepts
        for media in channel.accepts:
            assert content_type.parse(media).media_type == media
    serving = algorithm.serving
    for dialect in (dialects.find(serving.dialect), dialects.find(serving.dialect, multi_model=True)):
        assert dialect.default_request is None or dialect.default_request in serving.accepts
        assert dialect.default_answer in serving.answers
        assert dialect.default_in_batch is None or dialect.default_in_batch in serving.answers
    assert JSON in serving.answers


def check_every_pattern_finds_the_metric_in_our_lines(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """Tuning jobs see a metric only where SageMaker's pattern matches the line that a job writes."""
    for metric in algorithm.metrics:
        found = {match.group(1) for line in lines(metric.name) for match in re.finditer(metric.regex, line)}
        assert found & {"0.25", "0.25000", "0.250000", "25.0"}, f"{metric.name}: {metric.regex}"
        assert not metric.objective or metric.maximize is not None, f"{metric.name} has no direction"


def lines(metric: str) -> Iterator[str]:
    """Every kind of line that can carry a metric called ``dataset:name``, as CloudWatch shows it."""
    dataset, name, *_ = metric.split(":")
    for word in (name, "mse_objective", f"{name.removesuffix('_beta')}_1.000", f"{name}_3"):
        for maximize in (False, True):
            for epoch, batch in ((None, None), (0, None), (0, 0)):
                yield logs.quality("algo-1", dataset, word, 0.25, maximize=maximize, epoch=epoch, batch=batch)
    yield logs.progress("algo-1", 1, 4)
    yield logs.throughput("algo-1", 1, 4.0)
    yield logs.boosting_round(3, [("train-x", 0.5), (f"{dataset}-{name}", 0.25)]).replace("\t", "#011")
    for word in (name, f"{name}_2"):
        yield logs.epoch_score(0, dataset, word, 0.25)
        yield logs.checkpoint_score(1, dataset, word, 0.25).replace("\t", "#011")


def check_sagemaker_would_take_the_specification(algorithm: type[Algorithm], tmp_path: Path) -> None:
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


# ---- checks of training ---------------------------------------------------------------------------------------------


def check_same_seed_same_model(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """Two jobs alike write the same bytes."""
    assert saved(fit(algorithm), tmp_path / "a") == saved(fit(algorithm), tmp_path / "b")


@rows_only
def check_batches_are_not_modified(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """What a reader hands out may be shown to others."""
    for rows in (features(), sp.csr_array(features())):
        before = copy.deepcopy(rows)
        model = fit(algorithm, rows)
        model.predict(Batch(rows))
        difference = rows - before
        assert not (abs(difference).sum() if sp.issparse(rows) else np.any(difference))


@rows_only
def check_a_channel_is_read_no_more_often_than_a_pipe_allows(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """``epochs`` times, or once where there is no such hyperparameter; other channels as often at most."""
    values = hyperparameters.parse(algorithm.hyperparameters, strings(algorithm))
    epochs = getattr(values, "epochs", 1)
    streams = channels(algorithm, epochs_left=epochs)
    algorithm.fit(values, streams, FakeJob())
    assert streams["train"].epochs_begun >= 1


@rows_only
def check_batches_as_a_pipe_gives_them(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """Readers cut where their blocks end. The model does not depend on where."""
    whole = fit(algorithm).predict(Batch(features()))
    values = hyperparameters.parse(algorithm.hyperparameters, strings(algorithm))
    in_pieces = algorithm.fit(values, channels(algorithm, cuts=[1, 7, 30]), FakeJob()).predict(Batch(features()))
    for name in whole:
        np.testing.assert_allclose(in_pieces[name], whole[name], rtol=1e-3, atol=1e-4)


@rows_only
def check_dense_equals_sparse(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """The same numbers give the same model, however they are stored."""
    if any(channel.missing_values for channel in algorithm.channels):
        pytest.skip("what is absent from a sparse row is missing here, and not zero")
    sparse = sp.csr_array(features())
    dense_model, sparse_model = fit(algorithm), fit(algorithm, sparse)
    expected = dense_model.predict(Batch(features()))
    for model, rows in ((dense_model, sparse), (sparse_model, features()), (sparse_model, sparse)):
        found = model.predict(Batch(rows))
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-3, err_msg=name)


@rows_only
def check_a_last_batch_of_one_row(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """61 rows in batches of 20."""
    if "mini_batch_size" not in hyperparameters.fields(algorithm.hyperparameters):
        pytest.skip("its batches have no size")
    assert len(fit(algorithm, mini_batch_size="20").predict(Batch(features()))[algorithm.columns[0].name]) == ROWS


@rows_only
def check_no_rows_are_an_error_of_the_user(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """Files without a row in them."""
    with pytest.raises((AlgorithmInputError, DataError)):
        fit(algorithm, np.zeros((0, WIDTH)))


def check_a_stop_at_once_gives_a_model_or_says_that_there_is_none(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """SIGTERM may come before the first row."""
    job = FakeJob(stop_after=0)
    with contextlib.suppress(TrainingStopped):
        saved(fit(algorithm, job=job), tmp_path / "model")
    assert job.stop_readings, "the wish to stop was never looked at"


def check_only_declared_metrics_are_reported(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """Each final metric in the log is one that a tuning job or dashboard can be told of."""
    job = FakeJob()
    fit(algorithm, job=job)
    final = {(entry["dataset"], entry["metric"]) for entry in job.qualities if entry["epoch"] is None}
    for dataset, metric in final:
        text = logs.quality("algo-1", dataset, metric, 0.25, maximize=True)
        loss = logs.quality("algo-1", dataset, metric, 0.25)
        known = [m for m in algorithm.metrics if re.search(m.regex, text) or re.search(m.regex, loss)]
        assert known, f"{dataset}:{metric} is written, but not declared"


# ---- checks of models -----------------------------------------------------------------------------------------------


def check_saved_and_loaded_predicts_the_same(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """Bit for bit."""
    model = fit(algorithm)
    files = saved(model, tmp_path / "model")
    assert files
    assert algorithm.recognises(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model")
    assert loaded.feature_dim == model.feature_dim
    assert same(predicted(algorithm, loaded), predicted(algorithm, model))
    if takes_rows(algorithm):
        rows = Batch(sp.csr_array(features(1)))
        assert same(loaded.predict(rows), model.predict(rows))
    assert saved(loaded, tmp_path / "again") == files


@rows_only
def check_columns_are_those_declared(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """Names, order and shapes, for no row, one row and many."""
    model = fit(algorithm)
    for count in (0, 1, ROWS):
        for rows in (features()[:count], sp.csr_array(features()[:count])):
            columns = model.predict(Batch(rows))
            assert list(columns) == [column.name for column in algorithm.columns]
            for column in algorithm.columns:
                values = columns[column.name]
                assert values.dtype.kind in "fi"
                assert values.shape[0] == count
                assert len(values.shape) == 1 + len(column.shape)
                for length, declared in zip(values.shape[1:], column.shape, strict=True):
                    assert declared is None or length == declared


def check_what_it_shows_can_be_drawn(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """For the report: with rows to try, dense and sparse, and without."""
    model = fit(algorithm)
    samples: list[Sample | None] = [None]
    if takes_rows(algorithm):
        labelled = any(channel.labels == LABELS_REQUIRED for channel in algorithm.channels)
        known = labels() if labelled else None
        samples += [Sample("test", Batch(rows, known)) for rows in (features(), sp.csr_array(features()))]
    for sample in samples:
        for figure in model.figures(sample):
            assert figure.title in charts.figure(figure)


@rows_only
def check_a_row_is_predicted_alone_as_among_others(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """Batch transform cuts its input anywhere."""
    model = fit(algorithm)
    together = model.predict(Batch(features()))
    for index in (0, ROWS - 1):
        alone = model.predict(Batch(features()[index : index + 1]))
        for name in together:
            np.testing.assert_allclose(alone[name][0], together[name][index], rtol=1e-4, atol=1e-4)


@rows_only
def check_rows_of_another_width_are_refused(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """With both widths in the message."""
    model = fit(algorithm)
    if model.feature_dim is None:
        pytest.skip("it takes rows of any width")
    with pytest.raises(PredictionError, match=rf"(?s){WIDTH + 3}.*{WIDTH}|{WIDTH}.*{WIDTH + 3}"):
        model.predict(Batch(np.zeros((2, WIDTH + 3), dtype=np.float32)))


def check_what_is_no_model_is_refused(algorithm: type[Algorithm], tmp_path: Path) -> None:
    """An empty folder, one of something else, and our own files cut anywhere or filled with noise."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("hello")
    for folder in ("empty", "other"):
        assert not algorithm.recognises(tmp_path / folder)
        with pytest.raises(ModelError):
            algorithm.load(tmp_path / folder)
    files = saved(fit(algorithm), tmp_path / "model")
    for name, content in files.items():
        for broken in (b"", content[: len(content) // 2], content[:-1], b"\x00" * len(content), b"\xff" * 64):
            (tmp_path / "model" / name).write_bytes(broken)
            algorithm.recognises(tmp_path / "model")
            with pytest.raises(ModelError):
                algorithm.load(tmp_path / "model")
        (tmp_path / "model" / name).write_bytes(content)


CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]
CASES = [
    pytest.param(name, check, id=f"{name}:{check.__name__.removeprefix('check_')}")
    for name in registry.ALGORITHMS
    for check in CHECKS
]


SKIPS = {
    # (algorithm, check): why it does not apply
    ("factorization-machines", "dense_equals_sparse"): "lazy Adam steps only the factors of what a row has",
}


@pytest.mark.parametrize(("name", "check"), CASES)
def test_contract(name: str, check: Any, tmp_path: Path) -> None:
    if reason := SKIPS.get((name, check.__name__.removeprefix("check_"))):
        pytest.skip(reason)
    if check in ROWS_ONLY and not takes_rows(registry.find(name)):
        pytest.skip("what it reads are no rows; its own tests check the like")
    check(registry.find(name), tmp_path)


# ---- parity with SageMaker ------------------------------------------------------------------------------------------


def specification(name: str) -> dict[str, Any]:
    file = SPECIFICATIONS / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"{file.name} is not beside this checkout")
    return json.loads(file.read_text())


_POSITIVE = "zero and negative values have no meaning, and are refused rather than ignored"
DEVIATIONS = {
    # (algorithm, hyperparameter, property): why ours differs
    ("factorization-machines", "clip_gradient", "low"): _POSITIVE,
    ("factorization-machines", "eps", "low"): _POSITIVE,
    ("factorization-machines", "rescale_grad", "low"): _POSITIVE,
    ("ntm", "sub_sample", "low"): "none of the data is nothing to train on",
    ("xgboost", "base_score", "default"): "XGBoost 2 and later estimate it from the data where it is not given",
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
