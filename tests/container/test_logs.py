import json
import logging
import re
import sys

import pytest

from container import logs
from container.logs import DataIterator, Summary


@pytest.fixture
def captured(capsys):
    """Lines logged in a style; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def lines(style, write):
        logs.configure(style, sys.stdout)
        write()
        return capsys.readouterr().out

    yield lines
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_frame_of_the_closed_algorithms(captured):
    text = captured("sagemaker", lambda: logs.logger.info("hello"))
    assert re.fullmatch(r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d INFO \d+\] hello\n", text)


def test_the_frame_of_the_xgboost_container(captured):
    text = captured("xgboost", lambda: logs.logger.warning("hello"))
    assert re.fullmatch(r"\[\d{4}-\d\d-\d\d:\d\d:\d\d:\d\d:WARNING\] hello\n", text)


def test_metrics_lines_have_no_frame_and_an_empty_line_after_them(captured):
    line = logs.metrics(1.5, 2.0, {"Algorithm": "AWS/KMeansWebscale", "Host": "algo-1"}, {"epochs": Summary.of(3)})
    text = captured("sagemaker", lambda: logs.bare(line))
    assert text == (
        '#metrics {"StartTime": 1.5, "EndTime": 2.0, "Dimensions": {"Algorithm": "AWS/KMeansWebscale", '
        '"Host": "algo-1"}, "Metrics": {"epochs": {"sum": 3.0, "count": 1, "min": 3, "max": 3}}}\n\n'
    )


# The left sides are lines of published logs of SageMaker's own containers, values and all.
@pytest.mark.parametrize(
    ("published", "ours"),
    [
        (
            "#quality_metric: host=algo-1, train msd <loss>=0.06404909491539001",
            logs.quality("algo-1", "train", "msd", 0.06404909491539001),
        ),
        (
            "#quality_metric: host=algo-1, epoch=0, batch=0 train rmse <loss>=72.23537568255598",
            logs.quality("algo-1", "train", "rmse", 72.23537568255598, epoch=0, batch=0),
        ),
        (
            "#quality_metric: host=algo-1, epoch=0, train mse <loss>=8319.944473011363",
            logs.quality("algo-1", "train", "mse", 8319.944473011363, epoch=0),
        ),
        (
            "#quality_metric: host=algo-1, validation binary_f_1.000 <score>=0.994832041344",
            logs.quality("algo-1", "validation", "binary_f_1.000", 0.994832041344, maximize=True),
        ),
        ("#test_score (algo-1) : ('rmse', 68.73201116365345)", logs.score("algo-1", "test", "rmse", 68.73201116365345)),
        ("#progress_metric: host=algo-1, completed 5.0 % of epochs", logs.progress("algo-1", 1, 20)),
        ("#progress_metric: host=algo-1, completed 100.0 % of epochs", logs.progress("algo-1", 1, 1)),
        (
            "#throughput_metric: host=algo-1, train throughput=500.0 records/second",
            logs.throughput("algo-1", 1000, 2.0),
        ),
        (
            "#early_stopping_criteria_metric: host=algo-1, epoch=0, criteria=sampled_accuracy, value=0.943377806704",
            logs.early_stopping("algo-1", 0, "sampled_accuracy", 0.943377806704),
        ),
        (
            "[0]\ttrain-rmse:0.50000\tvalidation-rmse:0.51000",
            logs.boosting_round(0, [("train-rmse", 0.5), ("validation-rmse", 0.51)]),
        ),
    ],
)
def test_lines_are_those_of_published_logs(published, ours):
    assert ours == published


def test_sagemakers_pattern_finds_an_xgboost_metric_once_cloudwatch_has_shown_the_tab():
    line = logs.boosting_round(12, [("train-auc", 0.9), ("validation-auc", 0.8)]).replace("\t", "#011")
    assert re.search(r".*\[[0-9]+\].*#011validation-auc:(\S+)", line).group(1) == "0.80000"


def test_numpy_values_become_json():
    import numpy as np

    line = logs.metrics(0, 1, {}, {"loss": Summary.of(np.float32(0.5))})
    assert json.loads(line.removeprefix("#metrics "))["Metrics"]["loss"]["sum"] == 0.5


def test_a_data_iterator_counts_epochs_by_hand():
    counts = DataIterator()
    for sizes in ([10, 10, 5], [10]):
        counts.begin()
        for size in sizes:
            counts.add(size)
    sums = {name: summary.total for name, summary in counts.summaries().items()}
    assert sums == {
        "Total Records Seen": 35,
        "Total Batches Seen": 4,
        "Max Records Seen Between Resets": 25,
        "Max Batches Seen Between Resets": 3,
        "Reset Count": 2,
        "Number of Records Since Last Reset": 10,
        "Number of Batches Since Last Reset": 1,
    }
