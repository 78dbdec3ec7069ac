"""Whole jobs of a toy algorithm, run in this process."""

import errno
import io
import logging
import os
import re
import signal
import tarfile

import numpy as np
import pytest

from algorithms import registry
from algorithms.checkpoints import Checkpoint
from algorithms.errors import ChannelError, TrainingDataError, TrainingStopped
from container import extras, resources
from container.settings import Settings
from container.training import channels, train
from tests.container.toy import Toy, ToyModel
from tests.opt_ml import OptMl, Outcome

CSV = b"1,2\n3,4\n5,9\n"


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(registry.ALGORITHMS, "toy", registry.Entry("tests.container.toy:Toy"))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def opt_ml(tmp_path):
    return OptMl(tmp_path).hyperparameters(feature_dim=2).channel("train", CSV, "text/csv")


@pytest.fixture
def run(opt_ml, capsys):
    def run(algorithm="toy"):
        code = train.run(opt_ml.paths, Settings(base_directory=opt_ml.paths.base, algorithm=algorithm))
        return Outcome(code, capsys.readouterr().out, opt_ml.paths)

    return run


def fit_instead(monkeypatch, fit):
    monkeypatch.setattr(Toy, "fit", classmethod(lambda _, values, channels, job: fit(values, channels, job)))


def test_hosts_on_one_machine_share_its_memory(opt_ml, monkeypatch):
    known = []
    fit_instead(monkeypatch, lambda values, channels, job: known.append(job.memory) or ToyModel(np.zeros(2)))
    for here in ("1", "4"):
        variables = {"SAGEMAKER_BASE_DIR": str(opt_ml.paths.base), "ALGORITHM": "toy", "OBA_HOSTS_HERE": here}
        assert train.run(opt_ml.paths, Settings.from_environment(variables)) == 0
    assert known == [resources.memory(), resources.memory() // 4]


def test_a_job_from_its_files_to_its_artifact(run, opt_ml):
    opt_ml.hyperparameters(feature_dim=2, epochs=2).channel("test", b"3,5\n", "text/csv")
    outcome = run()
    assert (outcome.code, outcome.failure, outcome.model_files) == (0, None, ["model_algo-1"])
    assert np.frombuffer((opt_ml.paths.model / "model_algo-1").read_bytes(), np.float32).tolist() == [3, 5]
    frame = r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d INFO \d+\] "
    for line in (
        "Reading default configuration: {'epochs': 1, .*",
        "Merging with provided configuration from .*/input/config/hyperparameters.json: {'feature_dim': '2', .*",
        "Final configuration: {'epochs': '2', .*",
        "Using default worker.",
        "Checkpoint loading and saving are disabled.",
        "#progress_metric: host=algo-1, completed 50.0 % of epochs",
        r"#test_score \(algo-1\) : \('msd', 0.0\)",
        "#quality_metric: host=algo-1, test msd <loss>=0.0",
        "Serializing model to .*/model/model_algo-1",
    ):
        assert re.search(f"^{frame}{line}$", outcome.log, re.MULTILINE), line
    lines = outcome.metrics()
    assert all(line["Dimensions"]["Algorithm"] == "Toy" for line in lines)
    assert [name for line in lines for name in line["Metrics"] if name.endswith("time")] == [
        "update.time",
        "update.time",
        "model.serialize.time",
        "setuptime",
        "totaltime",
    ]
    assert outcome.log.endswith("}\n\n"), "the last line is that of setuptime and totaltime"


def test_two_runs_differ_in_nothing_but_times(run, opt_ml):
    first = run()
    model = (opt_ml.paths.model / "model_algo-1").read_bytes()
    assert run().code == first.code == 0
    assert (opt_ml.paths.model / "model_algo-1").read_bytes() == model


def test_bad_configuration_is_reported_before_any_data_is_read(run, opt_ml):
    opt_ml.hyperparameters(k=3).channel("train", b"not,numbers\n", "text/csv")
    outcome = run()
    assert (outcome.code, outcome.model_files) == (1, [])
    assert outcome.failure == (
        "ClientError: No value(s) were specified for 'feature_dim' which are required hyperparameter(s)\n"
        "Additional hyperparameters are not allowed ('k' was unexpected) (caused by ConfigurationError)\n"
    )
    assert "ERROR" in outcome.log
    assert "Customer Error: No value(s)" in outcome.log


@pytest.mark.parametrize(
    ("name", "text"),
    [(None, "Environment variable ALGORITHM is not set; set it to one of "), ("svm", "there is no algorithm 'svm'")],
)
def test_an_algorithm_that_is_not_named_or_not_there(run, name, text):
    outcome = run(name)
    assert outcome.code == 1
    assert text in outcome.failure
    assert "kmeans" in outcome.failure


def test_an_error_in_the_data_names_file_and_channel(run, opt_ml):
    opt_ml.channel("train", {"a.csv": CSV, "b.csv": b"1,2\n3,oops\n"}, "text/csv")
    outcome = run()
    assert (outcome.code, outcome.model_files) == (1, [])
    assert outcome.failure.startswith("ClientError: ")
    for part in ("b.csv", "oops", "Channel 'train' is read as text/csv."):
        assert part in outcome.failure


def test_a_default_content_type_is_named_as_the_likely_cause(run, opt_ml):
    opt_ml.channel("train", CSV)
    assert "is read as application/x-recordio-protobuf, the default where the job states no" in run().failure


def test_an_error_of_our_own_is_not_blamed_on_the_user(run, monkeypatch):
    fit_instead(monkeypatch, lambda *_: {}["bias"])
    outcome = run()
    assert outcome.code == 1
    assert outcome.failure.startswith("AlgorithmError: 'bias' (caused by KeyError)\nTraceback")


def test_a_library_that_exits_with_0_has_not_succeeded(run, monkeypatch):
    fit_instead(monkeypatch, lambda *_: exit(0))
    assert run().code == 1


def test_an_error_without_errno_is_a_failure_too(run, monkeypatch):
    def fit(*_):
        raise OSError("disk full")

    fit_instead(monkeypatch, fit)
    assert run().code == 1


def test_a_full_disk(run, monkeypatch):
    def save(_, directory):
        (directory / "model_algo-1").write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory / "model_algo-1"))

    monkeypatch.setattr(ToyModel, "save", save)
    outcome = run()
    assert (outcome.code, outcome.model_files) == (1, [])
    assert outcome.failure.startswith("ClientError: The disk is full: ")


def test_a_failed_job_leaves_no_intermediate_model(run, monkeypatch):
    def fit(_, channels, job):
        job.save_intermediate(ToyModel(np.zeros(2)))
        raise ValueError("x")

    fit_instead(monkeypatch, fit)
    outcome = run()
    assert (outcome.code, outcome.model_files) == (1, [])


def stop_in(fit):
    """A ``fit`` that is sent SIGTERM, and then goes on as ``fit``."""

    def stopped(values, channels, job):
        os.kill(os.getpid(), signal.SIGTERM)
        return fit(values, channels, job)

    return stopped


def give_up(values, channels, job):
    assert job.stop_requested
    raise TrainingStopped("no model yet")


def test_a_stop_with_a_model_is_told_of_at_the_end(run, monkeypatch):
    fit_instead(monkeypatch, stop_in(lambda *_: ToyModel(np.zeros(2))))
    outcome = run()
    assert (outcome.code, outcome.failure) == (0, None)
    assert "The model is that of a job that was asked to stop, as far as training came." in outcome.log


def test_a_stop_before_there_is_a_model_leaves_nothing(run, monkeypatch):
    fit_instead(monkeypatch, stop_in(give_up))
    outcome = run()
    assert (outcome.code, outcome.failure, outcome.model_files) == (143, None, [])


def test_a_stop_with_a_model_at_hand_is_a_success(run, monkeypatch):
    fit_instead(monkeypatch, stop_in(lambda *_: ToyModel(np.ones(2))))
    outcome = run()
    assert (outcome.code, outcome.failure, outcome.model_files) == (0, None, ["model_algo-1"])


def test_a_stop_with_a_model_saved_earlier_leaves_that(run, monkeypatch):
    def fit(values, channels, job):
        job.save_intermediate(ToyModel(np.ones(2)))
        return give_up(values, channels, job)

    fit_instead(monkeypatch, stop_in(fit))
    outcome = run()
    assert (outcome.code, outcome.failure, outcome.model_files) == (0, None, ["model_algo-1"])


@pytest.mark.parametrize("kind", ["of an earlier run", "of this run", "of the algorithm's own"])
def test_a_stop_after_a_checkpoint_says_that_the_job_goes_on(run, monkeypatch, opt_ml, kind):
    def checkpointed(values, channels, job):
        job.checkpoints.latest()
        job.checkpoints.offer(lambda: Checkpoint("here"), epoch_over=True)
        if kind == "of the algorithm's own":
            next(job.checkpoint_directory.glob("*.checkpoint")).rename(job.checkpoint_directory / "own-checkpoint.7")
        return give_up(values, channels, job)

    opt_ml.paths.checkpoints.mkdir()
    monkeypatch.setattr(Toy, "own_checkpoints", "**/own-*" if kind == "of the algorithm's own" else None)
    fit_instead(monkeypatch, stop_in(give_up))
    outcome = run()
    assert (outcome.code, "goes on" in outcome.log) == (143, False)
    fit_instead(monkeypatch, stop_in(checkpointed))
    outcome = run()
    if kind == "of an earlier run":
        fit_instead(monkeypatch, stop_in(give_up))
        outcome = run()
    assert (outcome.code, outcome.failure, outcome.model_files) == (143, None, [])
    assert "before there was a model (no model yet): start the job again, and it goes on." in outcome.log


def test_what_a_library_makes_of_a_stop_in_the_midst_of_it_is_a_stop(run, monkeypatch):
    def fit(values, channels, job):
        try:
            with job.nothing_to_keep():
                os.kill(os.getpid(), signal.SIGTERM)
        except TrainingStopped as error:
            raise ImportError("initialization failed") from error

    fit_instead(monkeypatch, fit)
    outcome = run()
    assert (outcome.code, outcome.failure, outcome.model_files) == (143, None, [])
    assert "Traceback" not in outcome.log


def test_to_stop_without_being_asked_is_an_error(run, monkeypatch):
    def fit(*_):
        raise TrainingStopped("why?")

    fit_instead(monkeypatch, fit)
    assert run().code == 1


def test_an_interrupt_at_the_keyboard(run, monkeypatch):
    def fit(*_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    fit_instead(monkeypatch, fit)
    outcome = run()
    assert (outcome.code, outcome.failure, outcome.model_files) == (130, None, [])


def archive(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def test_an_earlier_model_is_unpacked_for_the_algorithm(tmp_path):
    (tmp_path / "model.tar.gz").write_bytes(archive({"model_algo-1": b"m"}))
    with channels.unpacked(tmp_path) as folder:
        assert (folder / "model_algo-1").read_bytes() == b"m"
    assert not folder.exists()


@pytest.mark.parametrize("name", ["churn.tar.gz", "churn-2.tgz"])
def test_an_earlier_model_that_the_user_renamed(tmp_path, name):
    """The archive itself was read as a model, and called damaged."""
    (tmp_path / name).write_bytes(archive({"model_algo-1": b"m"}))
    (tmp_path / ".hidden").touch()
    with channels.unpacked(tmp_path) as folder:
        assert (folder / "model_algo-1").read_bytes() == b"m"


def test_an_earlier_model_that_the_user_unpacked(tmp_path):
    (tmp_path / "model_algo-1").write_bytes(b"m")
    with channels.unpacked(tmp_path) as folder:
        assert folder == tmp_path


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", archive({"model_algo-1": bytes(5000)})[:40], archive({"../../escaped": b"x"})],
    ids=["empty", "noise", "cut", "escaping"],
)
def test_an_archive_that_is_none_or_would_leave_its_folder(tmp_path, content):
    (tmp_path / "channel").mkdir()
    (tmp_path / "channel" / "model.tar.gz").write_bytes(content)
    with (
        pytest.raises(ChannelError, match=r"model\.tar\.gz is not a model archive"),
        channels.unpacked(tmp_path / "channel"),
    ):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["channel"]


def test_what_is_not_supported_is_said_in_a_line_each(run, opt_ml):
    for name in ("debughookconfig.json", "profilerconfig.json"):
        opt_ml.write(opt_ml.paths.config / name, {"CollectionConfigurations": []})
    outcome = run()
    assert outcome.code == 0
    assert "debughookconfig.json: SageMaker Debugger is not supported; training goes on without it" in outcome.log
    assert "profilerconfig.json: SageMaker Profiler is not supported" in outcome.log


def test_of_two_values_of_one_hyperparameter_the_log_says_which_is_taken(run, opt_ml):
    pytest.importorskip("xgboost")
    opt_ml.hyperparameters(num_round=1, nthread=1, learning_rate=0.01, eta=0.2)
    outcome = run("xgboost")
    assert outcome.code == 0
    assert "'eta' is given twice, under two of its names, with two values: the last, 0.2, is taken" in outcome.log


@pytest.mark.parametrize("content", ["[" * 100_000, "{", '{"a": ' * 50_000])
def test_a_malformed_file_of_the_job_is_the_users_error(run, opt_ml, content):
    opt_ml.paths.hyperparameters.write_text(content)
    outcome = run()
    assert outcome.code == 1
    assert outcome.failure.startswith("ClientError: ")
    assert "hyperparameters.json is not JSON" in outcome.failure
    assert "Traceback" not in outcome.log


def test_a_file_that_vanishes_is_the_users_error(run, monkeypatch, opt_ml):
    def fit(values, channels, job):
        (opt_ml.paths.channel("train") / "part-0").unlink()
        for _ in channels["train"].batches():
            pass

    fit_instead(monkeypatch, fit)
    outcome = run()
    assert outcome.code == 1
    assert outcome.failure.startswith("ClientError: ")
    assert "Traceback" not in outcome.log


def test_a_package_that_lacks_is_named_before_anything_is_read(run, monkeypatch):
    declared = ["tensorflow-cpu>=2; extra == 'toy'", "no-such-package>=1; extra == 'toy'"]
    monkeypatch.setitem(registry.ALGORITHMS, "toy", registry.Entry("tests.container.toy:Toy", extra="toy"))
    monkeypatch.setattr(extras.metadata, "requires", lambda _: declared)
    outcome = run()
    assert outcome.code == 1
    assert "needs no-such-package, not installed here" in outcome.failure


def test_a_failure_is_that_of_the_last_run(run, monkeypatch, opt_ml):
    def failing(reason):
        def fit(values, channels, job):
            raise TrainingDataError(reason)

        return fit

    for reason in ("the first", "the second"):
        with monkeypatch.context() as patched:
            fit_instead(patched, failing(reason))
            assert reason in run().failure
    assert run().code == 0
    assert not opt_ml.paths.failure.exists()
