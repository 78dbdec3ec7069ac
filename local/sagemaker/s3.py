"""Objects of S3 as a job's folders, and a job's folders as objects."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from botocore.response import StreamingBody

from local.sagemaker.errors import JobError

FILE = "file://"
"""Before the path of a folder or file of this machine, where an S3 URI could stand."""

_WEB = re.compile(r"(?:(?P<bucket>[^/]+)\.)?s3[.-](?:dualstack\.)?(?:[a-z0-9-]+\.)?amazonaws\.com(?:\.cn)?", re.I)
"""The host of an object's URL: the bucket is part of it, or the first part of the path."""

_LONGEST_NAME = 255
"""Bytes of a file's name, as Linux's file systems have it."""


class Object(NamedTuple):
    """An object, and the relative path that it gets in a folder.

    A file of this machine, of a ``file://`` address, is one whose bucket is empty and whose key is its path.
    """

    bucket: str
    key: str
    path: str


def _none(_bucket: str, _key: str) -> None:
    """No object is a file that is kept."""


def split(uri: str) -> tuple[str, str]:
    """Bucket and key. SageMaker takes an object's URL as well.

    >>> split("s3://bucket/a/b"), split("https://s3-us-west-2.amazonaws.com/bucket/a"), split("https://b.s3.amazonaws.com/a")
    (('bucket', 'a/b'), ('bucket', 'a'), ('b', 'a'))

    Raises:
        JobError: it is no such URI.
    """
    scheme, _, rest = uri.partition("://")
    host, _, path = rest.partition("/")
    if scheme == "https" and (web := _WEB.fullmatch(host)):
        host, _, path = (web["bucket"], "", path) if web["bucket"] else path.partition("/")
        scheme = "s3"
    if scheme != "s3" or not host:
        raise JobError(f"{uri} is not an S3 URI: expected s3://BUCKET/KEY")
    return host, path


@contextlib.contextmanager
def _asked(uri: str, what: str) -> Iterator[None]:
    """What S3 or its client refuses, as a JobError: a bucket or key that is not there, or no name at all."""
    try:
        yield
    except (ClientError, BotoCoreError, UnicodeError) as error:
        said = error.response["Error"]["Message"] if isinstance(error, ClientError) else " ".join(str(error).split())
        raise JobError(f"{uri} cannot be {what}: {said}") from error


def below(client: Any, uri: str) -> list[Object]:
    """The objects whose keys begin with a prefix, sorted; markers of folders are none. At a ``file://`` address, the
    file, or those below the folder.

    Raises:
        JobError: the bucket is not there.
    """
    if uri.startswith(FILE):
        return _of_machine(uri)
    bucket, prefix = split(uri)
    with _asked(uri, "read"):
        pages = list(client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix))
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    return [Object(bucket, key, _relative(key, prefix)) for key in sorted(keys) if not key.endswith("/")]


def _of_machine(uri: str) -> list[Object]:
    place = Path(unquote(urlsplit(uri).path))
    found = files(place) if place.is_dir() else [(place, place.name)] if place.is_file() else []
    return [Object("", str(file), name) for file, name in found]


def _relative(key: str, prefix: str) -> str:
    """The path below the folder that a prefix names.

    >>> _relative("data/train/a", "data/train"), _relative("data/train/a", "data/tr"), _relative("a/b", "a/b")
    ('a', 'train/a', 'b')
    """
    rest = key[len(prefix) :]
    if rest.startswith("/") or (prefix.endswith("/") and rest):
        return rest.lstrip("/")
    return key[prefix.rstrip("/").rfind("/") + 1 :]


class LocalClient:
    """boto3's client of a server whose objects lie in files of this machine: their contents come from there.

    Args:
        kept: the file with the bytes of a bucket's key; None where there is none.
    """

    def __init__(self, client: Any, kept: Callable[[str, str], Path | None]) -> None:
        self._client, self._kept = client, kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def opened(self, bucket: str, key: str) -> Any:
        """An object's content as a stream; None where it has to be asked for."""
        if (file := self._kept(bucket, key)) is None:
            return None
        try:
            return StreamingBody(file.open("rb"), content_length=None)
        except FileNotFoundError:  # it was deleted meanwhile
            return None


def body(client: Any, bucket: str, key: str) -> Any:
    """An object's content, as a stream that is yet to be read.

    Raises:
        JobError: there is none.
    """
    if not bucket:
        try:
            return StreamingBody(Path(key).open("rb"), content_length=None)
        except OSError as error:
            raise JobError(f"{FILE}{key} cannot be read: {error.strerror}") from error
    if isinstance(client, LocalClient) and (stream := client.opened(bucket, key)) is not None:
        return stream
    with _asked(f"s3://{bucket}/{key}", "read"):
        return client.get_object(Bucket=bucket, Key=key)["Body"]


def download(client: Any, objects: list[Object], folder: Path, kept: Callable[[str, str], Path | None] = _none) -> None:
    """Write objects below ``folder``, which has none of their files yet.

    Args:
        kept: the file of this machine that has the bytes of a bucket's key, and which nobody writes to. It gets a
            second name in the folder, and nothing is copied. None where there is no such file.

    Raises:
        JobError: one cannot be read, or its key is no file in the folder, or that of another object, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for one in dict.fromkeys(objects):
        uri, file = f"s3://{one.bucket}/{one.key}", folder / _checked(one)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if _linked(kept(one.bucket, one.key), file):
                continue
            stream = file.open("xb")
        except (IsADirectoryError, FileExistsError, NotADirectoryError) as error:
            raise JobError(
                f"{uri}: another object has the file {file.relative_to(folder)} or a part of its path already; keys "
                "must differ as files do, for which a//b, a/./b and a/b are one, and not be both a file and a folder"
            ) from error
        with stream, _asked(uri, "read"):
            shutil.copyfileobj(body(client, one.bucket, one.key), stream, 1 << 20)


def _linked(source: Path | None, file: Path) -> bool:
    """Whether ``file`` has become a name of what ``source`` names; not every pair of file systems can."""
    if source is None:
        return False
    try:
        file.hardlink_to(source)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOENT, errno.ENOTSUP):
            return False
        raise
    return True


def _checked(one: Object) -> PurePosixPath:
    """The relative path of an object's file.

    Raises:
        JobError: there can be no such file.
    """
    path = PurePosixPath(one.path)
    if ".." in path.parts or path.is_absolute():
        raise JobError(f"s3://{one.bucket}/{one.key}: the key leads out of the channel's folder")
    if not path.parts or not all(_is_name(part) for part in path.parts):
        raise JobError(
            f"s3://{one.bucket}/{_shown(one.key)}: the key is no file's path: its names, between slashes, have 1 to "
            f"{_LONGEST_NAME} bytes of UTF-8 and no NUL"
        )
    return path


def _shown(key: str) -> str:
    return key.encode(errors="backslashreplace").decode()


def _is_name(part: str) -> bool:
    try:
        return len(part.encode()) <= _LONGEST_NAME and "\0" not in part
    except UnicodeEncodeError:
        return False


def files(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files below a folder, with their relative paths."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file, file.relative_to(folder).as_posix()


def get(client: Any, uri: str) -> tuple[bytes, str | None]:
    """One object's content and media type.

    Raises:
        JobError: there is none.
    """
    bucket, key = split(uri)
    with _asked(uri, "read"):
        answer = client.get_object(Bucket=bucket, Key=key)
        return answer["Body"].read(), answer.get("ContentType")


def put(client: Any, uri: str, content: bytes, media_type: str | None) -> None:
    """Write one object.

    Raises:
        JobError: the bucket is not there.
    """
    bucket, key = split(uri)
    with _asked(uri, "written"):
        client.put_object(Bucket=bucket, Key=key, Body=content, **({"ContentType": media_type} if media_type else {}))


def delete(client: Any, uri: str) -> None:
    """Take one object away, where it is there.

    Raises:
        JobError: the bucket is not there.
    """
    bucket, key = split(uri)
    with _asked(uri, "deleted"):
        client.delete_object(Bucket=bucket, Key=key)


def upload(client: Any, file: Path, uri: str) -> None:
    """Write one object.

    Raises:
        JobError: the bucket is not there.
    """
    bucket, key = split(uri)
    with file.open("rb") as stream, _asked(uri, "written"):
        client.put_object(Bucket=bucket, Key=key, Body=stream)
