"""Objects of S3 as a job's folders, and a job's folders as objects."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from local.sagemaker.errors import JobError


class Object(NamedTuple):
    """An object, and the relative path that it gets in a folder."""

    bucket: str
    key: str
    path: str


def split(uri: str) -> tuple[str, str]:
    """Bucket and key.

    >>> split("s3://bucket/a/b")
    ('bucket', 'a/b')

    Raises:
        JobError: it is no such URI.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise JobError(f"{uri} is not an S3 URI: expected s3://BUCKET/KEY")
    return bucket, key


def below(client: Any, uri: str) -> list[Object]:
    """The objects whose keys begin with a prefix, sorted; markers of folders are none.

    Raises:
        JobError: the bucket is not there.
    """
    bucket, prefix = split(uri)
    try:
        pages = list(client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix))
    except ClientError as error:
        raise JobError(f"{uri} cannot be read: {error.response['Error']['Message']}") from error
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    return [Object(bucket, key, _relative(key, prefix)) for key in sorted(keys) if not key.endswith("/")]


def _relative(key: str, prefix: str) -> str:
    """The path below the folder that a prefix names.

    >>> _relative("data/train/a", "data/train"), _relative("data/train/a", "data/tr"), _relative("a/b", "a/b")
    ('a', 'train/a', 'b')
    """
    rest = key[len(prefix) :]
    if rest.startswith("/") or (prefix.endswith("/") and rest):
        return rest.lstrip("/")
    return key[prefix.rstrip("/").rfind("/") + 1 :]


def body(client: Any, bucket: str, key: str) -> Any:
    """An object's content, as a stream that is yet to be read.

    Raises:
        JobError: there is none.
    """
    try:
        return client.get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        raise JobError(f"s3://{bucket}/{key} cannot be read: {error.response['Error']['Message']}") from error


def download(client: Any, objects: list[Object], folder: Path) -> None:
    """Write objects below ``folder``.

    Raises:
        JobError: one cannot be read, or its key leads out of the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for bucket, key, path in objects:
        if ".." in PurePosixPath(path).parts or PurePosixPath(path).is_absolute():
            raise JobError(f"s3://{bucket}/{key}: the key leads out of the channel's folder")
        file = folder / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as stream:
                shutil.copyfileobj(body(client, bucket, key), stream, 1 << 20)
        except (IsADirectoryError, FileExistsError, NotADirectoryError) as error:
            raise JobError(f"s3://{bucket}/{key}: its key, or another's, is both a file and a folder") from error


def files(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files below a folder, with their relative paths."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file, file.relative_to(folder).as_posix()


def upload(client: Any, file: Path, uri: str) -> None:
    """Write one object.

    Raises:
        JobError: the bucket is not there.
    """
    bucket, key = split(uri)
    try:
        with file.open("rb") as stream:
            client.put_object(Bucket=bucket, Key=key, Body=stream)
    except ClientError as error:
        raise JobError(f"{uri} cannot be written: {error.response['Error']['Message']}") from error
