import json
import logging
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from algorithms.errors import TrainingStopped
from algorithms.events import Measured, ModelValues, Progress
from container import logs
from container.training import dialects
from container.training.artifact import Artifact
from container.training.job import PlainOutput, Stop, TrainingJob
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
    for _ in range(2):
        with job.timer("update.time"):
            time.sleep(0.01)
    job.report(Progress(1, 4))
    assert "INFO" in output.text.splitlines()[0]
    assert output.text.splitlines()[0].endswith("#progress_metric: host=algo-1, completed 25.0 % of epochs")
    (line,) = output.metrics()
    assert line["Dimensions"] == {"Algorithm": "Toy", "Host": "algo-1", "Operation": "training", "epoch": 0}
    update = line["Metrics"]["update.time"]
    assert update["count"] == 2
    assert 10 <= update["min"] <= update["max"] <= update["sum"] < 1000  # milliseconds
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_asks_for_a_stop(number, code):
    before = signal.getsignal(number)
    with Stop() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        assert stop.exit_code == code
    assert signal.getsignal(number) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_second_ctrl_c_does_not_wait():
    with Stop():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_does_not_stop_is_interrupted():
    with Stop(grace=0.05), pytest.raises(TrainingStopped, match=re.escape("0.05 seconds")):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


def test_what_is_being_written_is_not_interrupted():
    with Stop(grace=0.05) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        stop.disarm()
        time.sleep(0.1)
        assert stop.requested


# ---- a stop while there is nothing to keep --------------------------------------------------------------------------


def test_a_stop_ends_a_block_with_nothing_to_keep_at_once_and_says_so(caplog):
    caplog.set_level("INFO")
    with Stop() as stop, pytest.raises(TrainingStopped), stop.nothing_to_keep():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert "SIGTERM: training was asked to stop: there is no model yet" in caplog.text


def test_a_stop_before_the_block_is_heard_in_it():
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(TrainingStopped), stop.nothing_to_keep():
            raise AssertionError("not reached")


def test_after_the_block_a_stop_is_a_wish_again(caplog):
    caplog.set_level("INFO")
    with Stop() as stop:
        with stop.nothing_to_keep():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 5
        while "it keeps the model" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop.requested
    assert "it keeps the model that it has, within 90 seconds" in caplog.text


LIBRARY = """
import os, signal, threading
import numpy as np
from container import logs
from container.training.job import Stop

logs.configure()
matrix = np.random.default_rng(0).random((6000, 6000))
with Stop() as stop, stop.nothing_to_keep():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    np.linalg.svd(matrix)  # minutes without an instruction of Python's in between
"""


def test_a_librarys_work_does_not_hold_up_a_stop_for_long():
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", LIBRARY], capture_output=True, text=True, timeout=60)
    assert time.monotonic() - started < 20
    assert done.returncode == 128 + signal.SIGINT
    assert "SIGINT: training was asked to stop: there is no model yet" in done.stdout
