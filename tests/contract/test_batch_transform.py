"""``local batch`` with real servers: answers to parts of a file are those to the whole."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from local import __main__ as commands
from tests.container.serving.test_media import records_of
from tests.contract.serving_cases import CASES, ROWS, WIDTH, encoded
from tests.server import ROOT, running

SPLITS = {"text/csv": "Line", "application/jsonlines": "Line", "application/x-recordio-protobuf": "RecordIO"}
COPIES = 3


@pytest.fixture
def batch(tmp_path, capfd, monkeypatch):
    """Runs the command in this process; exit code, output files, and its log with that of a server of its own."""
    for name in [name for name in os.environ if name.startswith(("SAGEMAKER_", "ALGORITHM"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(ROOT)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*options):
        arguments = ["batch", "--output", tmp_path / "out", *options]
        code = commands.main([str(argument) for argument in arguments])
        return code, {file.name: file.read_bytes() for file in (tmp_path / "out").glob("*")}, capfd.readouterr().err

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("name", CASES)
def test_answers_to_parts_of_a_file_are_those_to_the_whole(name, batch, tmp_path):
    case = CASES[name]
    (tmp_path / "model").mkdir()
    case.make(tmp_path / "model")
    with running(tmp_path, SAGEMAKER_BATCH="true") as server:
        for content_type in sorted(SPLITS.keys() & set(case.requests)):
            by_line = SPLITS[content_type] == "Line"
            accept = "application/jsonlines" if by_line else content_type
            body = encoded(content_type)
            (tmp_path / "rows").write_bytes((body.removesuffix(b"\n") + b"\n" if by_line else body) * COPIES)
            where = ["--url", f"http://127.0.0.1:{server.port}", "--input", tmp_path / "rows"]
            formats = ["--content-type", content_type, "--accept", accept]
            formats += ["--assemble-with", "Line"] if by_line else []
            split = ["--split-type", SPLITS[content_type]]
            answers = []
            for options in ([], split, [*split, "--batch-strategy", "SingleRecord"]):
                code, files, log = batch(*where, *formats, *options)
                assert code == 0, log
                answers.append(files["rows.out"])
            for answer in answers:
                assert_answers(answer, case, by_line)


def assert_answers(answer, case, by_line):
    """The expected columns, as often as the rows were sent; BLAS rounds a single row otherwise than many."""
    lines = answer.splitlines() if by_line else []
    records = [] if by_line else records_of(answer)
    rows = [json.loads(line) for line in lines]
    if not any(isinstance(row, dict) for row in rows):  # XGBoost's container writes numbers in batch transform
        rows = [{"score": row} for row in rows]
    rows += [{name: list(v.float32_tensor.values) for name, v in record.label.items()} for record in records]
    assert len(rows) == COPIES * len(ROWS)
    for column, expected in case.expected().items():
        found = np.array([row[column] for row in rows]).reshape(COPIES, *expected.shape)
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-5, atol=1e-5)


def test_a_server_of_its_own_in_batch_mode_with_ids_that_the_model_does_not_see(batch, tmp_path):
    case = CASES["xgboost"]
    (tmp_path / "model").mkdir()
    case.make(tmp_path / "model")
    rows = [f"id{number}," + ",".join(f"{value:g}" for value in row) for number, row in enumerate(ROWS)]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    filters = ["--input-filter", "$[1:]", "--join-source", "Input", "--output-filter", "$[0,-1]"]
    formats = ["--split-type", "Line", "--assemble-with", "Line", "--accept", "text/csv"]
    where = ["--model", tmp_path / "model", "--input", tmp_path / "rows.csv"]
    code, files, log = batch(*where, *formats, *filters)
    assert code == 0, log
    assert len(rows[0].split(",")) == WIDTH + 1
    found = dict(line.split(",") for line in files["rows.csv.out"].decode().splitlines())
    expected = next(iter(case.expected().values()))
    assert list(found) == [f"id{number}" for number in range(len(ROWS))]
    np.testing.assert_allclose([float(score) for score in found.values()], expected, rtol=1e-5)


def test_a_bad_record_fails_its_file_and_a_bad_model_the_job(batch, tmp_path):
    (tmp_path / "model").mkdir()
    CASES["kmeans"].make(tmp_path / "model")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.csv").write_text("1,2,3,4\n1,x,3,4\n")
    (tmp_path / "in" / "good.csv").write_text("1,2,3,4\n")
    options = ["--input", tmp_path / "in", "--split-type", "Line", "--assemble-with", "Line"]
    code, files, log = batch("--model", tmp_path / "model", *options)
    assert (code, list(files)) == (1, ["good.csv.out"])
    assert "bad.csv: 400: " in log
    (tmp_path / "model" / "model_algo-1").write_bytes(b"x")
    code, _, log = batch("--model", tmp_path / "model", *options)
    assert (code, "the server did not start" in log) == (1, True)


def test_a_job_that_is_ended_takes_its_server_along(tmp_path):
    (tmp_path / "model").mkdir()
    CASES["kmeans"].make(tmp_path / "model")
    (tmp_path / "rows.csv").write_bytes(b"1,2,3,4\n" * 2_000_000)
    command = [sys.executable, "-m", "local", "batch", "--model", tmp_path / "model"]
    command += ["--input", tmp_path / "rows.csv", "--output", tmp_path / "out"]
    command += ["--split-type", "Line", "--batch-strategy", "SingleRecord"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as job:
        log = ""
        while "200: 1 rows" not in log:
            log += job.stderr.readline()
        job.terminate()
        log += job.stderr.read()  # to its end: nobody writes any more, not the server either
        assert job.wait(60) == 128 + signal.SIGTERM, log
    assert list((tmp_path / "out").iterdir()) == []
