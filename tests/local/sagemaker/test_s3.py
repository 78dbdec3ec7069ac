"""Objects of S3 as files of a folder."""

from io import BytesIO
from typing import BinaryIO

import pytest

pytest.importorskip("boto3")

from botocore.exceptions import ClientError, ParamValidationError

from container.paths import Paths
from local.sagemaker import s3
from local.sagemaker.checkpoints import Checkpoints
from local.sagemaker.errors import JobError


class Bucket:
    """What of boto3's client is used, with the objects of one bucket."""

    def __init__(self, *keys: str) -> None:
        self.keys = set(keys)

    def put_object(self, Bucket: str, Key: str, Body: BinaryIO) -> None:
        self.keys.add(Key)

    def delete_object(self, Bucket: str, Key: str) -> None:
        self.keys.remove(Key)

    def get_object(self, Bucket: str, Key: str):
        if Key not in self.keys:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": "The key does not exist."}}, "GetObject")
        return {"Body": BytesIO(Key.encode())}

    def get_paginator(self, _name: str):
        return self

    def paginate(self, Bucket: str, Prefix: str):
        if " " in Bucket:
            raise ParamValidationError(report=f'Invalid bucket name\n"{Bucket}"')
        return [{"Contents": [{"Key": key} for key in self.keys if key.startswith(Prefix)]}]


@pytest.mark.parametrize(
    "keys",
    [
        ("p/a.csv", "p//a.csv"),
        ("p/a.csv", "p/./a.csv"),
        ("p/b/a.csv", "p/b/.//a.csv"),
        ("p/a", "p/a/b.csv"),
        ("p/a", "p/a/b/c.csv"),
        ("p/a.csv", "p///a.csv"),
    ],
)
def test_keys_that_are_one_file_are_refused_instead_of_one_losing_its_rows(tmp_path, keys):
    bucket = Bucket(*keys)
    with pytest.raises(JobError, match=r"^s3://b/p/.*: another object has the file "):
        s3.download(bucket, s3.below(bucket, "s3://b/p/"), tmp_path / "channel")


def test_an_object_that_is_named_twice_is_brought_once(tmp_path):
    one = s3.Object("b", "p/a.csv", "a.csv")
    s3.download(Bucket("p/a.csv"), [one, one], tmp_path)
    assert (tmp_path / "a.csv").read_text() == "p/a.csv"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("../x", "leads out of the channel's folder"),
        ("/x", "leads out of the channel's folder"),
        ("n" * 256, "is no file's path"),
        ("a/" + "ä" * 128, "is no file's path"),
        ("a\0b", "is no file's path"),
        (".", "is no file's path"),
        ("\ud800", "is no file's path"),
    ],
)
def test_a_key_that_can_be_no_file_is_refused(tmp_path, path, told):
    with pytest.raises(JobError, match=told):
        s3.download(Bucket(), [s3.Object("b", "key", path)], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_client_refuses_is_the_users_to_mend():
    with pytest.raises(JobError, match='^s3://No Such/x cannot be read: .*Invalid bucket name "No Such"$'):
        s3.below(Bucket(), "s3://No Such/x")


@pytest.mark.parametrize(("uri", "prefix"), [("s3://b", ""), ("s3://b/", ""), ("s3://b/p", "p/"), ("s3://b/p/", "p/")])
def test_a_checkpoint_that_is_gone_is_taken_from_where_it_was_put(tmp_path, uri, prefix):
    bucket, paths = Bucket(f"/{prefix}a", "other"), Paths(tmp_path)
    checkpoints = Checkpoints(bucket, {"CheckpointConfig": {"S3Uri": uri}}, paths)
    paths.checkpoints.mkdir(parents=True)
    for name in ("a", "b"):
        (paths.checkpoints / name).write_text(name)
        checkpoints.store()
    assert bucket.keys == {f"/{prefix}a", "other", f"{prefix}a", f"{prefix}b"}
    (paths.checkpoints / "a").unlink()
    checkpoints.store()
    assert bucket.keys == {f"/{prefix}a", "other", f"{prefix}b"}
