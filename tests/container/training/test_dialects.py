"""Log lines beside those of published logs of SageMaker's own containers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from algorithms.events import (
    Duration,
    FinalScore,
    Measured,
    ModelValues,
    Progress,
    Score,
    StoppingCriterion,
    Throughput,
)
from container.logs import Summary
from container.training import dialects


def lines(dialect, event):
    return [line.text for line in dialects.find(dialect)("AWS/KMeansWebscale", "algo-1").event(event)]


# Lines of published logs, values and all.
@pytest.mark.parametrize(
    ("published", "dialect", "event"),
    [
        (
            "#quality_metric: host=algo-1, train msd <loss>=0.06404909491539001",
            "sagemaker",
            Measured.of("train", "msd", 0.06404909491539001),
        ),
        (
            "#quality_metric: host=algo-1, epoch=0, batch=0 train rmse <loss>=72.23537568255598",
            "sagemaker",
            Measured.of("train", "rmse", 72.23537568255598, step=0, batch=0),
        ),
        (
            "#quality_metric: host=algo-1, epoch=0, train mse <loss>=8319.944473011363",
            "sagemaker",
            Measured.of("train", "mse", 8319.944473011363, step=0),
        ),
        (
            "#quality_metric: host=algo-1, validation binary_f_1.000 <score>=0.994832041344",
            "sagemaker",
            Measured.of("validation", "binary_f_1.000", 0.994832041344, maximize=True),
        ),
        (
            "#test_score (algo-1) : ('rmse', 68.73201116365345)",
            "sagemaker",
            FinalScore("test", "rmse", 68.73201116365345),
        ),
        ("#progress_metric: host=algo-1, completed 5.0 % of epochs", "sagemaker", Progress(1, 20)),
        ("#progress_metric: host=algo-1, completed 100.0 % of epochs", "sockeye", Progress(1, 1)),
        (
            "#throughput_metric: host=algo-1, train throughput=500.0 records/second",
            "sagemaker",
            Throughput(1000, 2.0),
        ),
        (
            "#early_stopping_criteria_metric: host=algo-1, epoch=0, criteria=sampled_accuracy, value=0.943377806704",
            "sagemaker",
            StoppingCriterion(0, "sampled_accuracy", 0.943377806704),
        ),
        (
            "[0]\ttrain-rmse:0.50000\tvalidation-rmse:0.51000",
            "xgboost",
            Measured((Score("train", "rmse", 0.5), Score("validation", "rmse", 0.51)), step=0),
        ),
        (
            "Epoch[0] Batch [20]\tSpeed: 114.186 samples/sec\taccuracy=0.025670",
            "mxnet",
            Throughput(640, 640 / 114.186, 0, 20, (Score("train", "accuracy", 0.02567),)),
        ),
        ("Epoch[0] Validation-accuracy=0.253906", "mxnet", Measured.of("validation", "accuracy", 0.253906, step=0)),
        ("Epoch[4] Time cost=12.500", "mxnet", Duration(4, 12.5)),
        (
            "Checkpoint [1]\tUpdates=1000 Epoch=1 Samples=64000 Time-cost=120.250",
            "sockeye",
            Duration(1, 120.25, {"updates": 1000, "epoch": 1, "samples": 64000}),
        ),
        (
            "Checkpoint [1]\tValidation-perplexity=70.123456",
            "sockeye",
            Measured.of("validation", "perplexity", 70.123456, step=1),
        ),
    ],
)
def test_lines_are_those_of_published_logs(published, dialect, event):
    assert lines(dialect, event) == [published]


def test_each_score_has_its_line_except_for_xgboost():
    event = Measured((Score("train", "a", 1.0), Score("validation", "a", 2.0)), step=3)
    wanted = {"mxnet": 2, "sagemaker": 2, "sockeye": 2, "xgboost": 1}
    assert {name: len(lines(name, event)) for name in wanted} == wanted


def test_a_further_dialect_is_one_class_with_what_it_alone_says():
    class Plain(dialects.Dialect):
        def event(self, event):
            yield dialects.Line(f"seen {event.done}")

    plain = Plain("title", "algo-1")
    assert plain.frame == dialects.find("sagemaker").frame
    assert [line.text for line in plain.event(Progress(1, 4))] == ["seen 1"]
    assert [*plain.worker(checkpoints=True), *plain.saved(Path("a")), *plain.serialized(Path("a"))] == []


def test_sagemakers_pattern_finds_an_xgboost_metric_once_cloudwatch_has_shown_the_tab():
    (line,) = lines("xgboost", Measured((Score("train", "auc", 0.9), Score("validation", "auc", 0.8)), step=12))
    assert re.search(r".*\[[0-9]+\].*#011validation-auc:(\S+)", line.replace("\t", "#011")).group(1) == "0.80000"


def test_metrics_lines_have_no_frame_and_an_empty_line_after_them():
    dialect = dialects.find("sagemaker")("AWS/KMeansWebscale", "algo-1")
    ((text, bare),) = dialect.metrics(1.5, 2.0, {"epochs": Summary.of(3)}, {"epoch": 0})
    assert bare
    assert text == (
        '#metrics {"StartTime": 1.5, "EndTime": 2.0, "Dimensions": {"Algorithm": "AWS/KMeansWebscale", '
        '"Host": "algo-1", "Operation": "training", "epoch": 0}, '
        '"Metrics": {"epochs": {"sum": 3.0, "count": 1, "min": 3, "max": 3}}}\n'
    )


def test_numpy_values_become_json():
    (line,) = lines("sagemaker", ModelValues({"loss": np.float32(0.5)}, 0, 1))
    found = json.loads(line.removeprefix("#metrics "))
    assert (found["Metrics"]["loss"]["sum"], found["Dimensions"]["model"]) == (0.5, 1)
