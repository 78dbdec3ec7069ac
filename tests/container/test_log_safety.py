"""What others wrote, quoted in a line of the log or in the failure file, is neither a line of its own nor a metric."""

import io
import logging
import re

import pytest

from algorithms import registry
from algorithms.events import Measured, Score, Throughput
from container import logs
from container.settings import ConfigurationError
from container.training import dialects, failure
from recordio.errors import DataError
from tests.opt_ml import OptMl

ENDS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
METRICS = [
    "#quality_metric: host=algo-1, test msd <loss>=0.000001",
    "#quality_metric: host=algo-1, epoch=0, validation total_loss <loss>=0.000001",
    "#metrics {}",
    "[7]#011validation-rmse:0.000001",
    "[7]\tvalidation-rmse:0.000001",
    "Epoch[0] Validation-accuracy=0.999999",
    "Checkpoint [1]\tValidation-bleu=0.999999",
]
PATTERNS = [
    metric.regex
    for name in registry.ALGORITHMS
    for metric in registry.find(name).metrics
    if not metric.name.startswith("train:progress")
]


@pytest.fixture
def written():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(stream=stream)

    def taken():
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return text

    yield taken
    root.handlers[:] = handlers
    root.setLevel(level)


def assert_harmless(text, lines):
    assert len(text.splitlines()) == lines, text
    assert [pattern for pattern in PATTERNS if re.search(pattern, text.replace("\t", "#011"))] == []
    assert [pattern for pattern in PATTERNS if re.search(pattern, text)] == []
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("end", ENDS, ids=ascii)
def test_a_value_is_neither_a_line_nor_a_metric(end, metric, written, tmp_path):
    value = f"1{end}{metric}{end}\x1b[2J\x00\udcff"
    logs.configuration({}, {"k": value, value: "1"}, tmp_path / value)
    logs.logger.warning("File %s is left out", value)
    logs.logger.info("the words of topic 1: %s", value)
    assert_harmless(written(), 5)
    failure.report(DataError(f"part-0: {value} is not a number"), tmp_path / "failure")
    assert_harmless(written(), 1)
    assert_harmless((tmp_path / "failure").read_text(), 1)


@pytest.mark.parametrize("metric", METRICS)
def test_nor_where_it_is_the_whole_of_a_problem_or_in_a_traceback(metric, written, tmp_path):
    failure.report(ConfigurationError(metric, f"a\n{metric}"), tmp_path / "first")
    assert_harmless(written(), 2)
    try:
        raise RuntimeError(f"x\n{metric}")
    except RuntimeError as error:
        failure.report(error, tmp_path / "second")
        assert_harmless(written().replace("\n", " "), 1)
        logs.logger.warning("no report", exc_info=True)
        assert_harmless(written().replace("\n", " "), 1)
    assert_harmless((tmp_path / "second").read_text().replace("\n", " "), 1)


def test_lines_of_our_own_stay_as_sagemaker_writes_them(written):
    for line in (
        "local kmeans attempt #0. Current mean square distance 0.069973",
        "Total # of parameters: 3",
        "#validation_score (1): 7.118",
        "Zeile: größer, 日本語",
    ):
        logs.logger.info("%s", line)
        assert written().endswith(f"] {line}\n")


@pytest.mark.parametrize(
    ("dialect", "event", "line"),
    [
        ("sagemaker", Measured.of("test", "msd", 0.5), "#quality_metric: host=algo-1, test msd <loss>=0.5"),
        (
            "mxnet",
            Throughput(114186, 1000, 0, 20, (Score("train", "accuracy", 0.02567),)),
            "Epoch[0] Batch [20]\tSpeed: 114.186 samples/sec\taccuracy=0.025670",
        ),
        ("sockeye", Measured.of("validation", "bleu", 0.5, step=1), "Checkpoint [1]\tValidation-bleu=0.500000"),
    ],
)
def test_a_metric_is_what_a_dialect_makes_of_an_event_and_nothing_else(dialect, event, line, written):
    dialects.write(dialects.find(dialect)("Toy", "algo-1").event(event))
    assert written().endswith(f"] {line}\n")
    logs.logger.info("%s", line)
    assert_harmless(written(), 1)


@pytest.mark.parametrize("length", [1_000, 10_000, 1_000_000])
def test_a_long_value_is_shortened_and_what_was_expected_is_still_seen(tmp_path, length):
    opt_ml = OptMl(tmp_path).channel("train", b"1,2\n", "text/csv")
    opt_ml.hyperparameters({"k": "9" * length + "x", "feature_dim": "2", "u" * length: "1"})
    outcome = opt_ml.train_in_fork("kmeans")
    assert outcome.code == 1
    assert len(outcome.log) < 20_000
    assert len(outcome.failure) <= 1024  # as much as SageMaker shows
    assert outcome.failure.startswith("ClientError: Additional hyperparameters are not allowed ('uuu")
    assert f"({length + 1} characters)' is not an integer of at least 1" in outcome.failure


def test_many_problems_are_all_seen_in_part_within_what_sagemaker_shows(tmp_path):
    problems = [f"problem {number}: {'x' * 300}" for number in range(8)]
    failure.report(ConfigurationError(*problems), tmp_path / "failure")
    text = (tmp_path / "failure").read_text()
    assert len(text) <= 1024
    assert [number for number in range(8) if f"problem {number}:" not in text] == []


def test_the_failure_file_is_within_what_sagemaker_shows_and_ends_in_the_cause(tmp_path):
    def deep(depth):
        return deep(depth - 1) if depth else {}["x" * 100]

    try:
        deep(50)
    except KeyError as error:
        failure.report(error, tmp_path / "failure")
    text = (tmp_path / "failure").read_text()
    assert len(text) <= 1024
    assert text.startswith("AlgorithmError: 'xxx")
    assert text.endswith(f"KeyError: '{'x' * 100}'\n")


@pytest.mark.parametrize("name", ["a\n#quality_metric: host=a", "a b", "", "a\u2028", "x" * 256])
def test_a_name_that_no_host_can_have(tmp_path, name):
    opt_ml = OptMl(tmp_path).hyperparameters(k=1, feature_dim=2).channel("train", b"1,2\n", "text/csv")
    opt_ml.write(opt_ml.paths.resource_config, {"current_host": name, "hosts": [name]})
    outcome = opt_ml.train_in_fork("kmeans")
    assert outcome.code == 1
    assert "names of hosts" in outcome.failure
