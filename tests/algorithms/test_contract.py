"""Every algorithm of the registry against every check; the ids read ``kmeans:one-pass:same_seed_same_model``.

A new algorithm is checked as soon as it is registered: what is declared by itself, training and models for each of
its configurations, on data from ``samples.py``.
"""

from __future__ import annotations

import contextlib
import copy
import functools
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
from algorithms.events import Event, Measured, Progress, Score, Throughput
from algorithms.figures import Sample
from algorithms.hyperparameters import Field
from algorithms.interface import JSON, ROWS, Algorithm, Configuration
from container import describe
from container.serving import dialects as serving_dialects
from container.serving.request import Endpoint, Request, respond
from container.settings import Settings
from container.training import charts, dialects
from container.training.train import row_format
from recordio import content_type
from recordio.batches import Batch
from recordio.errors import DataError
from recordio.readers import ChannelStream
from recordio.sources import FileSource
from tests.algorithms import samples
from tests.algorithms.fakes import FakeJob

SPECIFICATIONS = Path(__file__).resolve().parents[1] / "spec"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums over threads may be taken in any order; over one they are the same bit for bit."""
    with threadpool_limits(1):
        yield


# ---- a small job of any configuration -------------------------------------------------------------------------------


def strings(algorithm: type[Algorithm], **more: str) -> dict[str, str]:
    """The hyperparameters of the first configuration, and more."""
    return {**algorithm.configurations[0].hyperparameters, **more}


class Case:
    """A configuration of an algorithm, with its rows and jobs."""

    def __init__(self, algorithm: type[Algorithm], configuration: Configuration) -> None:
        self.algorithm = algorithm
        self.configuration = configuration

    def rows(self, seed: int = 0, count: int = samples.COUNT) -> np.ndarray:
        """Rows as the configuration wants them, (count, width) float32."""
        return samples.features(self.configuration, count, samples.width(self.algorithm, self.configuration), seed)

    def values(self, **more: str) -> Any:
        """Its typed hyperparameters."""
        return samples.parsed(self.algorithm, self.configuration, **more)

    def fit(self, rows: Any = None, job: FakeJob | None = None, options: Any = None, **more: str) -> Any:
        """A model that no other check sees."""
        with tempfile.TemporaryDirectory() as folder, samples.around(self.configuration):
            channels = samples.channels(self.algorithm, self.configuration, Path(folder), rows, **(options or {}))
            return self.algorithm.fit(self.values(**more), channels, job or FakeJob())

    def predicted(self, model: Any, seed: int = 1) -> dict[str, Any]:
        """What the model says of rows that it was not trained on, or of requests."""
        if samples.has_rows(self.configuration):
            return model.predict(Batch(self.rows(seed)))
        return {
            f"{media} {number}": np.frombuffer(answered(self.algorithm, model, body, media), np.uint8)
            for number, (media, body) in enumerate(samples.requests(self.algorithm, self.configuration))
        }


@functools.cache
def trained(algorithm: type[Algorithm], name: str) -> tuple[Any, FakeJob]:
    """The model of a configuration, trained once for all checks that only look at it, and its job."""
    job = FakeJob()
    return Case(algorithm, samples.configurations(algorithm.name)[name]).fit(job=job), job


def model_of(case: Case) -> Any:
    return trained(case.algorithm, case.configuration.name)[0]


def saved(model: Any, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    model.save(folder)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def answered(algorithm: type[Algorithm], model: Any, body: bytes, media: str) -> bytes:
    endpoint = Endpoint.of(algorithm, model, Settings())
    response = respond(Request(body, media, JSON), endpoint)
    assert response.status == 200, response.body
    return response.body


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


ROWS_ONLY: set[Any] = set()
TRAINS: set[Any] = set()


def rows_only(check: Any) -> Any:
    """Marks a check that has a meaning only where channels and requests are rows of features."""
    ROWS_ONLY.add(check)
    return check


def trains(check: Any) -> Any:
    """Marks a check that trains models of its own."""
    TRAINS.add(check)
    return check


# ---- checks of what is declared -------------------------------------------------------------------------------------


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


def declared_every_pattern_finds_the_metric_in_our_lines(algorithm: type[Algorithm]) -> None:
    """Tuning jobs see a metric only where SageMaker's pattern matches the line that a job writes."""
    for metric in algorithm.metrics:
        found = {match.group(1) for line in lines(algorithm, metric.name) for match in re.finditer(metric.regex, line)}
        assert found & {"0.25", "0.25000", "0.250000", "25.0"}, f"{metric.name}: {metric.regex}"
        assert not metric.objective or metric.maximize is not None, f"{metric.name} has no direction"


def lines(algorithm: type[Algorithm], metric: str) -> Iterator[str]:
    """Every kind of line of the algorithm's dialect that can carry a metric called ``dataset:name``, as CloudWatch
    shows it."""
    dialect = dialects.find(algorithm.log_dialect)(algorithm.title, "algo-1")
    dataset, name, *_ = metric.split(":")
    words = (name, "mse_objective", f"{name.removesuffix('_beta')}_1.000", f"{name}_2", f"{name}_3")
    places = ((None, None), (0, None), (0, 0))
    scores = [Score(dataset, word, 0.25, maximize) for word in words for maximize in (False, True)]
    events: list[Event] = [Measured((score,), *place) for score in scores for place in places]
    for event in (*events, Progress(1, 4), Throughput(1, 4.0)):
        for line in dialect.event(event):
            yield line.text.replace("\t", "#011")


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


# ---- checks of training ---------------------------------------------------------------------------------------------


@trains
def check_same_seed_same_model(case: Case, tmp_path: Path) -> None:
    """Two jobs alike write the same bytes."""
    assert saved(case.fit(), tmp_path / "a") == saved(model_of(case), tmp_path / "b")


@trains
@rows_only
def check_batches_are_not_modified(case: Case, tmp_path: Path) -> None:
    """What a reader hands out may be shown to others."""
    for rows in (case.rows(), sp.csr_array(case.rows())):
        before = copy.deepcopy(rows)
        model = case.fit(rows)
        model.predict(Batch(rows))
        difference = rows - before
        assert not (abs(difference).sum() if sp.issparse(rows) else np.any(difference))


@trains
@rows_only
def check_a_channel_is_read_no_more_often_than_a_pipe_allows(case: Case, tmp_path: Path) -> None:
    """``epochs`` times, or once where there is no such hyperparameter; other channels as often at most."""
    epochs = getattr(case.values(), "epochs", 1)
    streams = samples.channels(case.algorithm, case.configuration, tmp_path, epochs_left=epochs)
    case.algorithm.fit(case.values(), streams, FakeJob())
    assert streams["train"].epochs_begun >= 1


@trains
@rows_only
def check_batches_as_a_pipe_gives_them(case: Case, tmp_path: Path) -> None:
    """Readers cut where their blocks end. The model does not depend on where."""
    whole = model_of(case).predict(Batch(case.rows()))
    in_pieces = case.fit(options={"cuts": [1, 7, 30]}).predict(Batch(case.rows()))
    for name in whole:
        np.testing.assert_allclose(in_pieces[name], whole[name], rtol=1e-3, atol=1e-4)


@trains
@rows_only
def check_files_give_the_model_of_their_rows(case: Case, tmp_path: Path) -> None:
    """The same rows as files, read as a job reads them."""
    streams = {}
    for declared in case.algorithm.channels:
        if declared.gives == ROWS:
            folder = tmp_path / declared.name
            folder.mkdir()
            media, files = samples.files(case.algorithm, case.configuration)[declared.name]
            for name, content in files.items():
                (folder / name).write_bytes(content)
            rows = row_format(case.algorithm, case.values(), declared)
            streams[declared.name] = ChannelStream(FileSource(folder), content_type.parse(media), rows)
    model = case.algorithm.fit(case.values(), streams, FakeJob())
    for name, expected in case.predicted(model_of(case)).items():
        np.testing.assert_allclose(case.predicted(model)[name], expected, rtol=1e-3, atol=1e-4)


@trains
@rows_only
def check_dense_equals_sparse(case: Case, tmp_path: Path) -> None:
    """The same numbers give the same model, however they are stored."""
    sparse = sp.csr_array(case.rows())
    dense_model, sparse_model = model_of(case), case.fit(sparse)
    expected = dense_model.predict(Batch(case.rows()))
    for model, rows in ((dense_model, sparse), (sparse_model, case.rows()), (sparse_model, sparse)):
        found = model.predict(Batch(rows))
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-3, err_msg=name)


@trains
@rows_only
def check_a_last_batch_of_one_row(case: Case, tmp_path: Path) -> None:
    """61 rows in batches of 20, where a job may say so."""
    declared = hyperparameters.fields(case.algorithm.hyperparameters)
    sizes = {"mini_batch_size": "20"} if "mini_batch_size" in declared else {}
    answers = case.fit(**sizes).predict(Batch(case.rows()))
    assert len(answers[case.algorithm.columns[0].name]) == samples.COUNT


@trains
@rows_only
def check_no_rows_are_an_error_of_the_user(case: Case, tmp_path: Path) -> None:
    """Files without a row in them."""
    with pytest.raises((AlgorithmInputError, DataError)):
        case.fit(case.rows(count=0))


@trains
def check_a_stop_at_once_gives_a_model_or_says_that_there_is_none(case: Case, tmp_path: Path) -> None:
    """SIGTERM may come before the first row."""
    job = FakeJob(stop_after=0)
    with contextlib.suppress(TrainingStopped):
        saved(case.fit(job=job), tmp_path / "model")
    assert job.stop_readings, "the wish to stop was never looked at"


def check_only_declared_metrics_are_reported(case: Case, tmp_path: Path) -> None:
    """Each final metric in the log is one that a tuning job or dashboard can be told of."""
    _, job = trained(case.algorithm, case.configuration.name)
    final = {(score.dataset, score.metric) for step, score in job.measured() if step is None}
    for dataset, metric in final:
        written = list(lines(case.algorithm, f"{dataset}:{metric}"))
        known = [one for one in case.algorithm.metrics if any(re.search(one.regex, line) for line in written)]
        assert known, f"{dataset}:{metric} is written, but not declared"


# ---- checks of models -----------------------------------------------------------------------------------------------


def check_saved_and_loaded_predicts_the_same(case: Case, tmp_path: Path) -> None:
    """Bit for bit."""
    model, algorithm = model_of(case), case.algorithm
    files = saved(model, tmp_path / "model")
    assert files
    assert algorithm.recognises(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model")
    assert loaded.feature_dim == model.feature_dim
    assert same(case.predicted(loaded), case.predicted(model))
    if samples.has_rows(case.configuration):
        rows = Batch(sp.csr_array(case.rows(1)))
        assert same(loaded.predict(rows), model.predict(rows))
    assert saved(loaded, tmp_path / "again") == files


@rows_only
def check_columns_are_those_declared(case: Case, tmp_path: Path) -> None:
    """Names, order and shapes, for no row, one row and many; regressors lack the column of classes."""
    model = model_of(case)
    for count in (0, 1, samples.COUNT):
        for rows in (case.rows()[:count], sp.csr_array(case.rows()[:count])):
            columns = model.predict(Batch(rows))
            declared = [column for column in case.algorithm.columns if column.name in columns]
            assert list(columns) == [column.name for column in declared]
            assert len(declared) == len(case.algorithm.columns) or case.configuration.classes is None
            for column in declared:
                values = columns[column.name]
                assert values.dtype.kind in "fi"
                assert np.isfinite(values).all()
                assert values.shape[0] == count
                lengths = (None,) if is_a_number_a_class(case, column.help, values) else column.shape
                assert len(values.shape) == 1 + len(lengths)
                for length, expected in zip(values.shape[1:], lengths, strict=True):
                    assert expected is None or length == expected


def is_a_number_a_class(case: Case, help: str, values: np.ndarray) -> bool:
    """Whether a column has a number for each of several classes, as its help says that it may."""
    return "for each" in help and values.shape[1:] == (case.configuration.classes,)


def check_what_it_shows_can_be_drawn(case: Case, tmp_path: Path) -> None:
    """For the report: with rows to try, dense and sparse, and without."""
    seen: list[Sample | None] = [None]
    if samples.has_rows(case.configuration):
        both = (case.rows(), sp.csr_array(case.rows()))
        seen += [Sample("test", samples.batch(case.algorithm, case.configuration, rows)) for rows in both]
    for sample in seen:
        for figure in model_of(case).figures(sample):
            assert figure.title in charts.figure(figure)


@rows_only
def check_a_row_is_predicted_alone_as_among_others(case: Case, tmp_path: Path) -> None:
    """Batch transform cuts its input anywhere."""
    model = model_of(case)
    together = model.predict(Batch(case.rows()))
    for index in (0, samples.COUNT - 1):
        alone = model.predict(Batch(case.rows()[index : index + 1]))
        for name in together:
            np.testing.assert_allclose(alone[name][0], together[name][index], rtol=1e-4, atol=1e-4)


@rows_only
def check_rows_of_another_width_are_refused(case: Case, tmp_path: Path) -> None:
    """With both widths in the message."""
    model, width = model_of(case), case.rows().shape[1]
    with pytest.raises(PredictionError, match=rf"(?s){width + 3}.*{width}|{width}.*{width + 3}"):
        model.predict(Batch(np.zeros((2, width + 3), dtype=np.float32)))


def check_what_is_no_model_is_refused(case: Case, tmp_path: Path) -> None:
    """An empty folder, one of something else, and our own files cut anywhere or filled with noise."""
    algorithm = case.algorithm
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("hello")
    for folder in ("empty", "other"):
        assert not algorithm.recognises(tmp_path / folder)
        with pytest.raises(ModelError):
            algorithm.load(tmp_path / folder)
    files = saved(model_of(case), tmp_path / "model")
    for name, content in files.items():
        for broken in (b"", content[: len(content) // 2], content[:-1], b"\x00" * len(content), b"\xff" * 64):
            (tmp_path / "model" / name).write_bytes(broken)
            algorithm.recognises(tmp_path / "model")
            with pytest.raises(ModelError):
                algorithm.load(tmp_path / "model")
        (tmp_path / "model" / name).write_bytes(content)


# ---- all of them ----------------------------------------------------------------------------------------------------


DECLARED = {name.removeprefix("declared_"): check for name, check in globals().items() if name.startswith("declared_")}
CHECKS = {name.removeprefix("check_"): check for name, check in globals().items() if name.startswith("check_")}
NETWORKS = ("ntm", "image-classification", "seq2seq")
"""TensorFlow takes seconds to build each of them: checks that train on their own are run on the first configuration;
the others are trained once for the checks that look at models."""
LEFT_OUT = {
    # (algorithm, check): why it does not apply
    ("factorization-machines", "dense_equals_sparse"): "lazy Adam steps only the factors of what a row has",
    ("xgboost", "dense_equals_sparse"): "what is absent from a sparse row is missing, and not zero",
    ("xgboost", "a_last_batch_of_one_row"): "all rows are one batch",
}


def cases() -> Iterator[Any]:
    """Every check of every configuration that it has a meaning for."""
    for name in registry.ALGORITHMS:
        for number, configuration in enumerate(registry.find(name).configurations):
            for title, check in CHECKS.items():
                if (check in ROWS_ONLY and not samples.has_rows(configuration)) or (name, title) in LEFT_OUT:
                    continue
                if check in TRAINS and name in NETWORKS and number:
                    continue
                yield pytest.param(name, configuration, check, id=f"{name}:{configuration.name}:{title}")


@pytest.mark.parametrize("check", DECLARED.values(), ids=DECLARED)
@pytest.mark.parametrize("name", registry.ALGORITHMS)
def test_declaration(name: str, check: Any) -> None:
    check(registry.find(name))


@pytest.mark.parametrize(("name", "configuration", "check"), list(cases()))
def test_contract(name: str, configuration: Configuration, check: Any, tmp_path: Path) -> None:
    check(Case(registry.find(name), configuration), tmp_path)


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


UNTRIED = {"aft_loss_distribution"}  # SageMaker lists it as an objective of XGBoost, which has none of that name


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
    ("factorization-machines", "epochs", "default"): "one pass leaves a model behind a linear one",
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
