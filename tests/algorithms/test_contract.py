"""Every algorithm of the registry against every check; the ids read ``kmeans:one-pass:same_seed_same_model``.

A new algorithm is checked as soon as it is registered: what is declared by itself, training and models for each of
its configurations, on data from ``samples.py``.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from algorithms import hyperparameters, registry
from algorithms.errors import AlgorithmInputError, ModelError, PredictionError, TrainingStopped
from algorithms.factorization_machines import schedule
from algorithms.figures import Sample
from algorithms.interface import ROWS, Configuration
from container.training import charts, dialects
from container.training.channels import row_format
from recordio import content_type
from recordio.batches import Batch
from recordio.errors import DataError
from recordio.readers import ChannelStream
from recordio.sources import FileSource
from tests.algorithms import samples
from tests.algorithms.cases import (
    ROWS_ONLY,
    TRAINS,
    Case,
    lines,
    model_of,
    rows_only,
    same,
    saved,
    trained,
    trains,
)
from tests.algorithms.fakes import FakeJob, on_hosts


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums over threads may be taken in any order; over one they are the same bit for bit."""
    with threadpool_limits(1):
        yield


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Factorization machines make thousands on however few rows; no check asks how good a model is."""
    monkeypatch.setattr(schedule, "SMALL_STEPS", 600)
    monkeypatch.setattr(schedule, "PASSES", 30)


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
def check_hosts_that_train_together_have_one_model(case: Case, tmp_path: Path) -> None:
    """Where an algorithm declares several hosts: the same on each, though one of them has no rows."""
    if not case.algorithm.several_hosts:
        pytest.skip("its jobs have one host")
    rows = case.rows()
    once = {"epochs": "1"} if "epochs" in hyperparameters.fields(case.algorithm.hyperparameters) else {}
    for parts in ([rows[:0], rows], [rows[0::3], rows[1::3], rows[2::3]]):
        models = on_hosts(
            len(parts), lambda hosts, parts=parts: case.fit(parts[hosts.rank], FakeJob(hosts=hosts), **once)
        )
        of_leader, *others = [case.predicted(model) for model in models]
        assert all(same(of_leader, other) for other in others)


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


def check_an_objective_is_logged_unless_the_declaration_says_not(case: Case, tmp_path: Path) -> None:
    """``oba tune`` asks ``unlogged`` before it trains anything, so it must be right both ways."""
    _, job = trained(case.algorithm, case.configuration.name)
    dialect = dialects.find(case.algorithm.log_dialect)(case.algorithm.title, "algo-1")
    written = [line.text.replace("\t", "#011") for event in job.events for line in dialect.event(event)]
    values = case.values()
    chosen = hasattr(values, "eval_metric") or hasattr(values, "eval_metrics")  # what is asked for is logged then
    for metric in case.algorithm.metrics:
        if metric.objective:
            logged = any(re.search(metric.regex, line) for line in written)
            assert logged == (values.unlogged(metric.name) is None) or (chosen and not logged), metric.name


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


CHECKS = {name.removeprefix("check_"): check for name, check in globals().items() if name.startswith("check_")}
NETWORKS = ("ntm", "image-classification", "seq2seq")
"""TensorFlow takes seconds to build each of them: checks that train on their own are run on the first configuration;
the others are trained once for the checks that look at models."""
LEFT_OUT = {
    # (algorithm, check): why it does not apply
    ("factorization-machines", "dense_equals_sparse"): "lazy Adam steps only the factors of what a row has",
    **{
        (name, "hosts_that_train_together_have_one_model"): "its hosts are processes: tests/hosts"
        for name in ("xgboost", *NETWORKS)
    },
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


@pytest.mark.parametrize(("name", "configuration", "check"), list(cases()))
def test_contract(name: str, configuration: Configuration, check: Any, tmp_path: Path) -> None:
    check(Case(registry.find(name), configuration), tmp_path)
