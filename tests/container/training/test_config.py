import json
import os
import socket
from pathlib import Path

import pytest

from container.settings import ConfigurationError
from container.training import config, group
from tests.container.toy import Toy, ToyHyperparameters
from tests.opt_ml import OptMl


@pytest.fixture
def opt_ml(tmp_path):
    return OptMl(tmp_path).hyperparameters(feature_dim=2).channel("train", b"1,2\n", "text/csv")


def problems(opt_ml):
    with pytest.raises(ConfigurationError) as caught:
        config.read(opt_ml.paths, Toy)
    return str(caught.value).splitlines()


def test_a_job_in_sagemakers_full_form(opt_ml):
    job = config.read(opt_ml.paths, Toy)
    assert job.hyperparameters == ToyHyperparameters(feature_dim=2)
    assert job.host == "algo-1"
    assert job.checkpoint_directory is None
    train = job.channels["train"]
    assert (train.mode, str(train.content_type), train.stated) == ("File", "text/csv", True)


def test_a_job_as_the_sdks_local_mode_writes_it(tmp_path):
    opt_ml = OptMl(tmp_path, thin=True).hyperparameters(feature_dim="2").channel("train", b"x")
    resources = {"current_host": "algo-1-x7qfz", "hosts": ["algo-1-x7qfz"], "network_interface_name": "eth0"}
    opt_ml.write(opt_ml.paths.resource_config, {**resources, "current_instance_type": "local"})
    job = config.read(opt_ml.paths, Toy)
    assert job.host == "algo-1-x7qfz"
    assert str(job.channels["train"].content_type) == "application/x-recordio-protobuf"
    assert not job.channels["train"].stated


def test_a_job_with_nothing_but_hyperparameters_and_folders(opt_ml):
    opt_ml.paths.input_data_config.unlink()
    opt_ml.paths.resource_config.unlink()
    (opt_ml.paths.data / ".hidden").mkdir()
    job = config.read(opt_ml.paths, Toy)
    assert list(job.channels) == ["train"]
    assert job.host == "algo-1"


@pytest.mark.parametrize("value", ["2", '"2"', " 2 ", 2, "2.0"])
def test_hyperparameters_in_every_encoding_of_the_sdks(opt_ml, value):
    opt_ml.write(opt_ml.paths.hyperparameters, {"feature_dim": value})
    assert config.read(opt_ml.paths, Toy).hyperparameters.feature_dim == 2


def test_absent_values_of_a_channel_mean_what_sagemaker_means(opt_ml):
    entry = {"ContentType": None, "TrainingInputMode": None, "S3DistributionType": None, "RecordWrapperType": None}
    opt_ml.write(opt_ml.paths.input_data_config, {"train": entry})
    assert config.read(opt_ml.paths, Toy).channels["train"].mode == "File"


def test_all_problems_of_all_files_are_reported_together(opt_ml):
    opt_ml.hyperparameters(epochs=0, colour="red")
    opt_ml.channel("validation", b"1,2\n")
    opt_ml.write(opt_ml.paths.resource_config, {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]})
    found = "\n".join(problems(opt_ml))
    assert found.count("\n") == 4
    for part in (
        "No value(s) were specified for 'feature_dim' which are required hyperparameter(s)",
        "Additional hyperparameters are not allowed ('colour' was unexpected)",
        "Hyperparameter 'epochs': '0' is not an integer from 1 to 100",
        "Channel 'validation' is not one of toy: it takes 'train' (required), 'test'",
        "The job runs on 2 hosts (algo-1, algo-2), but toy trains on one: set the instance count to 1",
    ):
        assert part in found


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"ContentType": "image/png"}, "ContentType 'image/png' is not supported; use application/x-recordio"),
        ({"ContentType": "text/csv;;label_size"}, "text/csv;;label_size"),
        ({"TrainingInputMode": "Stream"}, "TrainingInputMode 'Stream' is not supported; use File or FastFile or Pipe"),
        ({"S3DistributionType": "Sharded"}, "S3DistributionType 'Sharded' is not one of FullyReplicated"),
        ({"CompressionType": "Bzip2"}, "CompressionType 'Bzip2' is not one of None, Gzip"),
        ({"RecordWrapperType": "Zip"}, "RecordWrapperType 'Zip' is not one of None, RecordIO"),
        ({"ContentType": "text/csv", "RecordWrapperType": "RecordIO"}, "which is no text/csv any more"),
        ({"ContentType": 7}, "7"),
        ({"TrainingInputMode": ["File"]}, "TrainingInputMode"),
    ],
)
def test_what_a_channel_may_not_say(opt_ml, fields, problem):
    opt_ml.write(opt_ml.paths.input_data_config, {"train": fields})
    (found,) = problems(opt_ml)
    assert found.startswith("Channel 'train': ")
    assert problem in found


def test_recordio_may_be_said_to_be_wrapped_in_recordio(opt_ml):
    entry = {"ContentType": "application/x-recordio-protobuf", "RecordWrapperType": "RecordIO"}
    opt_ml.write(opt_ml.paths.input_data_config, {"train": entry})
    assert config.read(opt_ml.paths, Toy).channels["train"]


def test_a_mode_that_the_channel_does_not_have(opt_ml):
    opt_ml.channel("test", b"1,2\n", "text/csv", TrainingInputMode="FastFile")
    assert problems(opt_ml) == ["Channel 'test': TrainingInputMode 'FastFile' is not supported; use File or Pipe"]


def test_a_channel_without_a_folder_or_without_files(tmp_path):
    opt_ml = OptMl(tmp_path).hyperparameters(feature_dim=2).channel("train", {}, "text/csv").channel("test", {})
    opt_ml.paths.channel("test").rmdir()
    assert problems(opt_ml) == [
        f"Channel 'train' is empty: {opt_ml.paths.channel('train')} has no data files; it is empty",
        f"Channel 'test' is empty: {opt_ml.paths.channel('test')} does not exist",
    ]


def test_hidden_marker_and_empty_files_are_no_data(tmp_path):
    files = {"_SUCCESS": b"x", ".amazon.manifest": b"x", "part-0": b""}
    opt_ml = OptMl(tmp_path).hyperparameters(feature_dim=2).channel("train", files, "text/csv")
    found = problems(opt_ml)[0]
    assert found.endswith(
        "has no data files; '.amazon.manifest' is a hidden or marker file; '_SUCCESS' is a hidden or marker file; "
        "'part-0' is empty"
    )


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        folder = os.open(path.parent, os.O_RDONLY)  # paths of sockets are short
        one.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


USELESS = {
    "FIFO": (os.mkfifo, "'part-0' is a FIFO, which File mode does not read"),
    "socket": (make_socket, "'part-0' is a socket, which File mode does not read"),
    "device": (lambda path: path.symlink_to("/dev/null"), "'part-0' is a device, which File mode does not read"),
    "link to nothing": (lambda path: path.symlink_to("missing"), "'part-0' is a link to what does not exist"),
    "link to itself": (lambda path: path.symlink_to(path.name), "'part-0' is not to be read: Too many levels of"),
    "loop of folders": (lambda path: path.symlink_to("."), "'part-0' leads to a folder that was read already"),
    "hidden folder": (lambda path: path.with_name("_temporary").mkdir(), "'_temporary' is a hidden folder"),
}


@pytest.mark.parametrize("kind", USELESS)
def test_what_is_no_data_is_named_with_the_reason(tmp_path, kind):
    make, reason = USELESS[kind]
    opt_ml = OptMl(tmp_path).hyperparameters(feature_dim=2).channel("train", {}, "text/csv")
    make(opt_ml.paths.channel("train") / "part-0")
    (found,) = problems(opt_ml)
    assert f"Channel 'train' is empty: {opt_ml.paths.channel('train')} has no data files; {reason}" in found


def test_of_many_files_that_are_no_data_the_first_few_are_named(tmp_path):
    files = dict.fromkeys((f"part-{number}" for number in range(9)), b"")
    opt_ml = OptMl(tmp_path).hyperparameters(feature_dim=2).channel("train", files, "text/csv")
    assert problems(opt_ml)[0].endswith("'part-0' is empty; 'part-1' is empty; 'part-2' is empty; and 6 more")


def test_a_required_channel_that_is_missing(tmp_path):
    opt_ml = OptMl(tmp_path).hyperparameters(feature_dim=2).channel("test", b"1,2\n", "text/csv")
    assert problems(opt_ml) == [
        "Channel 'train' is required, and the job has none: toy takes 'train' (required), 'test'"
    ]


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "null", "\xff"])
@pytest.mark.parametrize("name", ["hyperparameters", "input_data_config", "resource_config", "checkpoint_config"])
def test_a_file_that_is_no_json_object_is_named_once(opt_ml, name, text):
    file = getattr(opt_ml.paths, name)
    file.write_bytes(text.encode("latin-1"))
    (found,) = problems(opt_ml)
    assert str(file) in found


@pytest.mark.parametrize("entry", [None, 7, "File", []])
def test_a_channel_that_is_no_object(opt_ml, entry):
    opt_ml.write(opt_ml.paths.input_data_config, {"train": entry})
    assert problems(opt_ml) == [f"Channel 'train': the JSON value {json.dumps(entry)} is not its configuration"]


@pytest.mark.parametrize("hosts", ["algo-1", [1], {"a": 1}])
def test_hosts_that_are_no_list_of_names(opt_ml, hosts):
    opt_ml.write(opt_ml.paths.resource_config, {"hosts": hosts})
    (found,) = problems(opt_ml)
    assert "not a list of names" in found


def test_checkpoints_in_a_linked_folder_are_called_by_its_own_name(opt_ml, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "checkpoints").symlink_to("kept")
    assert config.read(opt_ml.paths, Toy).checkpoint_directory == tmp_path / "kept"


def test_checkpoints_are_kept_where_the_job_says(opt_ml, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    assert config.read(opt_ml.paths, Toy).checkpoint_directory == tmp_path / "checkpoints"
    opt_ml.write(opt_ml.paths.checkpoint_config, {"S3Uri": "s3://b/p", "LocalPath": "/opt/ml/checkpoints/deep"})
    assert config.read(opt_ml.paths, Toy).checkpoint_directory == tmp_path / "checkpoints" / "deep"
    opt_ml.write(opt_ml.paths.checkpoint_config, {"LocalPath": "/elsewhere"})
    assert str(config.read(opt_ml.paths, Toy).checkpoint_directory) == "/elsewhere"
    opt_ml.write(opt_ml.paths.checkpoint_config, {"S3Uri": "s3://b/p"})
    assert config.read(opt_ml.paths, Toy).checkpoint_directory == tmp_path / "checkpoints"
    opt_ml.write(opt_ml.paths.checkpoint_config, {"LocalPath": "here"})
    assert "is not an absolute path" in problems(opt_ml)[0]


@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ({"current_host": "algo-1", "hosts": ["algo-1", "algo-1"]}, "names a host twice"),
        ({"current_host": "algo-3", "hosts": ["algo-1", "algo-2"]}, "is not among hosts"),
        ({"hosts": [f"algo-{number}" for number in range(101)]}, "hosts has 101 names; 100 hosts at most can train"),
    ],
)
def test_hosts_that_cannot_be(opt_ml, resources, problem):
    opt_ml.write(opt_ml.paths.resource_config, resources)
    (found,) = problems(opt_ml)
    assert problem in found
    assert group.find(opt_ml.paths) is None


def test_the_first_of_the_sorted_hosts_leads(opt_ml):
    names = ["algo-2", "algo-10", "algo-1"]
    opt_ml.write(opt_ml.paths.resource_config, {"current_host": "algo-2", "hosts": names})
    hosts = group.find(opt_ml.paths)
    assert hosts is not None
    assert (hosts.hosts, hosts.rank, hosts.size) == (("algo-1", "algo-10", "algo-2"), 2, 3)
