import json
import logging
import time

import numpy as np
import pytest

from algorithms.events import Measured, ModelValues, Progress
from container import logs
from container.training import dialects
from container.training.artifact import Artifact
from container.training.job import TrainingJob
from container.training.output import PlainOutput
from container.training.stop import Stop
from recordio.errors import ParseError
from tests.algorithms.fakes import MemoryStream
from tests.container.toy import ToyModel


class Recorder(PlainOutput):
    def __init__(self):
        self.text, self.row_count, self.done = "", 0, None

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def rows(self, count):
        self.row_count += count

    def steps(self, done, total):
        self.done = (done, total)

    def metrics(self):
        return [json.loads(line[9:]) for line in self.text.splitlines() if line.startswith("#metrics")]


@pytest.fixture
def output():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    recorder = Recorder()
    logs.configure(stream=recorder)
    yield recorder
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def job(output, tmp_path):
    return make_job(output, tmp_path)


def make_job(output, folder, style="sagemaker"):
    artifact = Artifact(folder)
    dialect = dialects.find(style)("Toy", "algo-1")
    return TrainingJob(dialect=dialect, seed=0, artifact=artifact, stop=Stop(), output=output)


def test_an_epoch_is_closed_by_its_timers(job, output):
    started = time.monotonic()
    for _ in range(2):
        with job.timer("update.time"):
            time.sleep(0.01)
    most = 1000 * (time.monotonic() - started)  # milliseconds
    job.report(Progress(1, 4))
    assert "INFO" in output.text.splitlines()[0]
    assert output.text.splitlines()[0].endswith("#progress_metric: host=algo-1, completed 25.0 % of epochs")
    (line,) = output.metrics()
    assert line["Dimensions"] == {"Algorithm": "Toy", "Host": "algo-1", "Operation": "training", "epoch": 0}
    update = line["Metrics"]["update.time"]
    assert update["count"] == 2
    assert 10 <= update["min"] <= update["max"] < update["sum"] <= most
    assert line["StartTime"] < line["EndTime"]
    assert output.done == (1, 4)


def test_the_last_line_has_setup_and_total_time(job, output):
    job.close(0.25)
    (line,) = output.metrics()
    assert list(line) == ["StartTime", "EndTime", "Dimensions", "Metrics"]
    assert line["Metrics"]["setuptime"] == {"sum": 250.0, "count": 1, "min": 250.0, "max": 250.0}
    assert list(line["Metrics"]) == ["setuptime", "totaltime"]


def test_values_of_one_model_of_many(job, output):
    job.report(ModelValues({"mse_objective": np.float32(0.5)}, 3, 7))
    (line,) = output.metrics()
    assert (line["Dimensions"]["epoch"], line["Dimensions"]["model"]) == (3, 7)
    assert line["Metrics"]["mse_objective"]["sum"] == 0.5


def test_the_xgboost_style_has_no_metrics_lines(output, tmp_path):
    job = make_job(output, tmp_path, "xgboost")
    with job.timer("update.time"):
        pass
    job.report(Measured.of("train", "rmse", 0.5, step=0))
    job.report(Progress(1, None))
    job.close(1.0)
    assert output.text == "[0]\ttrain-rmse:0.50000\n"
    assert output.done == (1, None)


def test_a_watched_channel_is_counted_epoch_by_epoch(job, output):
    stream = job.watch("train", MemoryStream(np.zeros((25, 2))), "")
    for _ in range(2):
        assert [len(batch) for batch in stream.batches(10)] == [10, 10, 5]
    metas = [(line["Dimensions"]["Meta"], line["Dimensions"].get("epoch")) for line in output.metrics()]
    assert metas == [("init_train_data_iter", None), ("training_data_iter", 0), ("training_data_iter", 1)]
    last = {name: value["sum"] for name, value in output.metrics()[-1]["Metrics"].items()}
    assert (last["Total Records Seen"], last["Number of Records Since Last Reset"], last["Reset Count"]) == (50, 25, 2)
    assert output.row_count == 50


def test_other_channels_are_named_and_have_no_epochs(job, output):
    for _ in job.watch("test", MemoryStream(np.zeros((3, 2))), "").batches():
        pass
    (line,) = output.metrics()
    assert line["Dimensions"]["Meta"] == "test_data_iter"
    assert "epoch" not in line["Dimensions"]


def test_leaving_early_closes_the_channel_at_once(job):
    closed = []

    class Source:
        def batches(self, size=None):
            try:
                yield from MemoryStream(np.zeros((5, 2))).batches(1)
            finally:
                closed.append(True)

    batches = job.watch("train", Source(), "").batches()
    next(batches)
    batches.close()
    assert closed == [True]


def test_an_error_in_the_data_says_how_the_channel_is_read(job):
    class Broken:
        def batches(self, size=None):
            raise ParseError("row 1")
            yield

    with pytest.raises(ParseError) as caught:
        list(job.watch("train", Broken(), "Channel 'train' is read as text/csv.").batches())
    assert caught.value.__notes__ == ["Channel 'train' is read as text/csv."]


def test_an_intermediate_model_becomes_the_artifact(job, tmp_path):
    job.save_intermediate(ToyModel(np.array([1, 2])))
    job.save_intermediate(ToyModel(np.array([3, 4])))
    assert np.frombuffer((tmp_path / "model_algo-1").read_bytes(), np.float32).tolist() == [3, 4]
