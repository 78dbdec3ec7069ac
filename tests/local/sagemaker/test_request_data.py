"""Files that stand for the S3 prefixes of a request: what `oba run` makes of `--data`."""

import json

import pytest

pytest.importorskip("moto")

from container.settings import ConfigurationError
from local.sagemaker.request_data import at_file_addresses
from tests.local.sagemaker.client import CSV, request
from tests.local.sagemaker.forked import oba


def tuning(mode="File", **channels):
    """A tuning job's request with channels at these addresses."""
    inputs = [
        {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}
        for name, uri in channels.items()
    ]
    specification = {"TrainingImage": "kmeans", "TrainingInputMode": mode}
    return {"TrainingJobDefinition": {"AlgorithmSpecification": specification, "InputDataConfig": inputs}}


def addresses(changed):
    channels = changed["TrainingJobDefinition"]["InputDataConfig"]
    return [channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in channels]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_prefix_stands_for_itself_and_what_is_below_it(tmp_path, slash):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "x.csv").write_text(CSV)
    given = tuning(train=f"s3://bucket/data{slash}", test="s3://bucket/data/x.csv", other=tmp_path.as_uri())
    changed = at_file_addresses(given, [("s3://bucket/data", str(tmp_path / "a b"))])
    folder = (tmp_path / "a b").as_uri()
    assert addresses(changed) == [folder, f"{folder}/x.csv", tmp_path.as_uri()]
    assert addresses(given)[0].startswith("s3://")


@pytest.mark.parametrize(
    ("given", "data", "told"),
    [
        (
            tuning(train="s3://b/t"),
            [],
            "channel 'train': no data stand for s3://b/t; say which do: --data s3://b/t=PATH",
        ),
        (tuning(train="s3://b/train"), [("s3://b/t", ".")], "--data s3://b/t: no channel of the request is there"),
        (tuning(train="s3://b/t/none"), [("s3://b/t", ".")], "which stands for s3://b/t/none"),
        (tuning(train="file:///no/such/folder"), [], "channel 'train': there is nothing at 'file:///no/such/folder'"),
        (tuning("Pipe", train="s3://b/t"), [("s3://b/t", ".")], "channel 'train': oba run tunes in the modes File"),
        (tuning(train="s3://b/t"), [("s3://b/t", "./*")], "a tuning job takes one file or folder"),
        (tuning(train="s3://b/t"), [("s3://b/t", "no-such")], "--data s3://b/t: there is no no-such"),
    ],
)
def test_what_would_fail_each_trial_is_refused_before_the_first(tmp_path, monkeypatch, given, data, told):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(CSV)
    with pytest.raises(ConfigurationError) as caught:
        at_file_addresses(given, data)
    assert told in str(caught.value)


def told(file, data, tmp_path) -> str:
    """What `oba run` says of a request that it refuses."""
    options = [part for text in data for part in ("--data", text)]
    code, _, errors = oba("run", file, *options, "--output", tmp_path / "out")
    assert code == 1
    return errors


@pytest.mark.slow
def test_a_training_job_without_data_is_refused_by_the_option_that_it_lacks(tmp_path):
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request("alone")))
    assert "say which do: --data s3://bucket/train=PATH" in told(file, [], tmp_path)
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.csv").write_text(CSV)
    twice = told(file, [f"s3://bucket/train={tmp_path}/*/part.csv"], tmp_path)
    assert "part.csv would both be s3://bucket/train/part.csv" in twice
