"""Channels of all kinds: what a FIFO sends, byte for byte, and real jobs on data that are never copied."""

from __future__ import annotations

import gzip
import io
import itertools
import struct
import time

import numpy as np
import pytest

pytest.importorskip("boto3")
pytest.importorskip("moto")

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from container.paths import Paths
from local.sagemaker import pipes
from local.sagemaker.errors import JobError
from tests.local.sagemaker.client import CSV, LONG, ROWS, ended, processes_of, request, trained
from tests.local.sagemaker.test_up import centers

MAGIC = 0xCED7230A
OBJECTS = {
    "manifest": b'{"source-ref": "s3://b/one.png", "class": 1, "class-metadata": {}}\n\n'
    b'{"x": 2, "class": "0", "source-ref": "s3://b/two.png"}\n',
    "one.png": b"first picture",
    "two.png": b"2nd",
    "text": b'{"line": "Call me Ishmael.", "book": ["Moby", "Dick"]}',
    "p/a": b"aaa",
    "p/b": gzip.compress(b"bb") + gzip.compress(b"more"),
    "p/c": b"c",
}


class S3:
    """What of boto3's client is used, with these objects of one bucket."""

    def get_object(self, Bucket: str, Key: str):
        return {"Body": StreamingBody(io.BytesIO(OBJECTS[Key]), None)}

    def get_paginator(self, _name: str):
        return self

    def paginate(self, Bucket: str, Prefix: str):
        return [{"Contents": [{"Key": key} for key in OBJECTS if key.startswith(Prefix)]}]


def channel(uri: str, kind: str = "S3Prefix", names: list[str] | None = None, **more):
    source = {"S3DataType": kind, "S3Uri": uri} | ({"AttributeNames": names} if names else {})
    return {"ChannelName": "train", "DataSource": {"S3DataSource": source}, **more}


def epochs(tmp_path, given, count: int = 1, share: tuple[int, int] = (0, 1)) -> list[bytes]:
    """What somebody reads from the FIFOs of a channel, one after the other."""
    paths = Paths(tmp_path)
    feeder = pipes.Feeder(pipes.content(S3(), given, {"RoleArn": ""}), paths, given, share)
    feeder.start()
    read = []
    for epoch in range(count):
        while not (fifo := paths.data / f"train_{epoch}").exists():
            time.sleep(0.01)
        read.append(fifo.read_bytes())
    feeder.close()
    assert feeder.error is None
    return read


def framed(*records: bytes) -> bytes:
    """MXNet's RecordIO by its definition: magic word, length, body, padding to four bytes."""
    return b"".join(struct.pack("<II", MAGIC, len(one)) + one + bytes(-len(one) % 4) for one in records)


def test_an_augmented_manifest_sends_its_attributes_in_the_channels_order(tmp_path):
    given = channel("s3://b/manifest", "AugmentedManifestFile", ["source-ref", "class"])
    records = [b"first picture", b"1", b"2nd", b"0"]
    wrapped = given | {"RecordWrapperType": "RecordIO"}
    assert epochs(tmp_path / "wrapped", wrapped, 2) == [framed(*records)] * 2
    assert epochs(tmp_path / "plain", given) == [b"".join(records)]
    (second,) = epochs(tmp_path / "second", wrapped, share=(1, 2))
    assert second == framed(b"2nd", b"0")
    text = channel("s3://b/text", "AugmentedManifestFile", ["book", "line"], RecordWrapperType="RecordIO")
    assert epochs(tmp_path / "text", text) == [framed(b'["Moby", "Dick"]', b"Call me Ishmael.")]


@pytest.mark.parametrize(
    ("names", "line", "told"),
    [
        (["class", "box"], b'{"class": 1}', "line 2: there is no attribute 'box', which AttributeNames has"),
        (["source-ref"], b'{"source-ref": 3}', "line 2: 'source-ref' is 3; expected s3://BUCKET/KEY"),
        (["class"], b"[1]", "line 2: expected a JSON object, with class"),
        (["class"], b"{", "line 2 is not JSON"),
        (["class"], b"[" * 100_000, "line 2 is not JSON"),
    ],
)
def test_a_line_that_is_malformed_is_told_before_anything_is_sent(monkeypatch, names, line, told):
    sound = b'{"class": 1, "box": 2, "source-ref": "s3://b/one.png"}\n'
    monkeypatch.setitem(OBJECTS, "bad", sound + line)
    with pytest.raises(JobError, match=f"^s3://b/bad, {told}"):
        pipes.content(S3(), channel("s3://b/bad", "AugmentedManifestFile", names), {})


def test_gzip_is_decompressed_on_the_way_and_each_object_is_one_record(tmp_path):
    given = channel("s3://b/p/", CompressionType="Gzip")
    assert epochs(tmp_path / "plain", given) == [b"aaabbmorec"]
    assert epochs(tmp_path / "wrapped", given | {"RecordWrapperType": "RecordIO"}) == [framed(b"aaa", b"bbmore", b"c")]
    assert epochs(tmp_path / "raw", channel("s3://b/p/")) == [b"aaa" + OBJECTS["p/b"] + b"c"]


def test_a_shuffled_channel_has_all_objects_in_another_order_each_epoch_and_on_all_hosts(tmp_path, monkeypatch):
    for number in range(8):
        monkeypatch.setitem(OBJECTS, f"q/{number}", f"{number}".encode())
    given = channel("s3://b/q/", ShuffleConfig={"Seed": 7})
    whole = epochs(tmp_path / "whole", given, 3)
    assert {bytes(sorted(one)) for one in whole} == {b"01234567"}
    assert len(set(whole)) == 3
    assert epochs(tmp_path / "again", given, 3) == whole
    shares = [epochs(tmp_path / f"host-{rank}", given, 3, (rank, 2)) for rank in range(2)]
    for parts, expected in zip(zip(*shares, strict=True), whole, strict=True):
        assert bytes(itertools.chain.from_iterable(zip(*parts, strict=True))) == expected
    other = given | {"ShuffleConfig": {"Seed": 8}}
    assert epochs(tmp_path / "other", other, 3) != whole


# ---- jobs -----------------------------------------------------------------------------------------------------------

EXPECTED = np.array([part.mean(axis=0) for part in np.split(ROWS, 3)])
EXPECTED = EXPECTED[np.lexsort(EXPECTED.T)]


@pytest.mark.slow
def test_a_job_reads_folders_of_this_machine_gzip_and_shuffled_pipes(up, tmp_path):
    folder = tmp_path / "a b" / "train"
    folder.mkdir(parents=True)
    (folder / "rows.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    np.testing.assert_allclose(centers(up, trained(up, "here", uri=folder.as_uri())), EXPECTED, atol=0.05)
    up.s3.put_object(Bucket="bucket", Key="zipped/rows", Body=gzip.compress(CSV.encode()))
    asked = request("zipped", mode="Pipe", uri="s3://bucket/zipped")
    asked["InputDataConfig"][0] |= {"CompressionType": "Gzip", "ShuffleConfig": {"Seed": 1}}
    up.sagemaker.create_training_job(**asked)
    np.testing.assert_allclose(centers(up, ended(up, "zipped")), EXPECTED, atol=0.05)
    up.sagemaker.create_training_job(**request("nowhere", uri=f"file://{tmp_path}/none"))
    assert "There is no file at file:///" in ended(up, "nowhere")["FailureReason"]


@pytest.mark.slow
def test_fast_file_and_pipe_store_nothing(up, state):
    """FastFile's files are the objects' own, under another name: they stay whole when the objects go."""
    for mode in ("FastFile", "Pipe"):
        up.s3.put_object(Bucket="bucket", Key="unstored/rows.csv", Body=CSV)
        (kept,) = [one for one in (state / "s3" / "bucket").iterdir() if one.suffix != ".json" and is_csv(one)]
        name = f"unstored-{mode}"
        up.sagemaker.create_training_job(**request(name, mode, "s3://bucket/unstored/", HyperParameters=LONG))
        while up.sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] != "Training":
            time.sleep(0.05)
        data = state / "training-jobs" / name / "algo-1" / "input" / "data"
        if mode == "FastFile":
            (file,) = (data / "train").iterdir()
            assert file.stat().st_ino == kept.stat().st_ino
            up.s3.delete_object(Bucket="bucket", Key="unstored/rows.csv")
            assert file.read_text() == CSV
        else:
            assert not [file for file in data.rglob("*") if file.is_file()]
        up.sagemaker.stop_training_job(TrainingJobName=name)
        assert ended(up, name)["TrainingJobStatus"] == "Stopped"
    assert not processes_of(state / "training-jobs")


def is_csv(file) -> bool:
    return file.read_bytes() == CSV.encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "source", "told"),
    [
        (
            "File",
            {"S3DataType": "AugmentedManifestFile", "AttributeNames": ["a"]},
            "if the channel's input mode is Pipe",
        ),
        ("Pipe", {"S3DataType": "AugmentedManifestFile"}, "needs AttributeNames"),
        ("Pipe", {"AttributeNames": ["a"]}, "AttributeNames are for AugmentedManifestFile"),
        ("File", {"S3DataType": "ManifestFile", "S3Uri": "file:///m"}, "a file:// address is a folder or a file"),
        ("File", {"S3Uri": "file:/m"}, "failed to satisfy constraint"),
    ],
)
def test_a_channel_that_cannot_be_is_refused(up, mode, source, told):
    asked = request("refused", mode)
    asked["InputDataConfig"][0]["DataSource"]["S3DataSource"] |= source
    with pytest.raises(up.sagemaker.exceptions.ClientError, match=told):
        up.sagemaker.create_training_job(**asked)


@pytest.mark.slow
def test_files_are_read_only_where_nobody_else_can_ask(tmp_path):
    from tests.local.sagemaker.client import running

    with running(tmp_path / "state", "--host", "0.0.0.0") as up, pytest.raises(ClientError, match="on loopback"):
        up.sagemaker.create_training_job(**request("refused", uri="file:///etc"))
