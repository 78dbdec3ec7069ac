"""The channels of a training job, brought from S3 to a host's folder as its input mode asks for."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from container.paths import Paths
from local.sagemaker import s3
from local.sagemaker.errors import JobError, invalid
from local.sagemaker.s3 import Object
from local.sagemaker.store import Record
from recordio.framing import write_frame

_PAUSE = 0.02
_PIECE = 1 << 20


def check(job: Record) -> None:
    """Refuse what this engine cannot bring.

    Raises:
        AwsError: naming the channel.
    """
    names = [channel["ChannelName"] for channel in job.get("InputDataConfig", ())]
    if twice := {name for name in names if names.count(name) > 1}:
        raise invalid(f"Channel names must be unique: '{sorted(twice)[0]}' is given twice")
    for channel in job.get("InputDataConfig", ()):
        source = channel["DataSource"].get("S3DataSource")
        if source is None:
            raise invalid(f"Channel '{channel['ChannelName']}': oba up reads S3DataSource only")
        if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
            raise invalid(
                f"Channel '{channel['ChannelName']}': oba up reads S3DataType S3Prefix and ManifestFile, "
                f"not {source['S3DataType']}"
            )


def mode(job: Record, channel: Record) -> str:
    """``File``, ``FastFile`` or ``Pipe``."""
    return channel.get("InputMode") or job["AlgorithmSpecification"]["TrainingInputMode"]


def sharded(channel: Record) -> bool:
    """Whether each host gets objects of its own."""
    return channel["DataSource"]["S3DataSource"].get("S3DataDistributionType") == "ShardedByS3Key"


def configuration(job: Record) -> Record:
    """inputdataconfig.json."""
    return {
        channel["ChannelName"]: {
            "TrainingInputMode": mode(job, channel),
            "S3DistributionType": "ShardedByS3Key" if sharded(channel) else "FullyReplicated",
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            "CompressionType": channel.get("CompressionType", "None"),
        }
        | ({"ContentType": channel["ContentType"]} if "ContentType" in channel else {})
        for channel in job.get("InputDataConfig", ())
    }


def objects(client: Any, channel: Record, job: Record) -> list[Object]:
    """All objects of a channel, of all hosts.

    Raises:
        JobError: there are none, or the manifest is malformed.
    """
    source = channel["DataSource"]["S3DataSource"]
    uri = source["S3Uri"]
    found = _listed(client, uri) if source["S3DataType"] == "ManifestFile" else s3.below(client, uri)
    if not found:
        bucket = s3.split(uri)[0]
        raise JobError(
            f'Data download failed:No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure '
            f"that the bucket exists in the selected region, that objects exist under that S3 prefix, and that the "
            f'role "{job["RoleArn"]}" has "s3:ListBucket" permissions on bucket "{bucket}".'
        )
    return found


def _listed(client: Any, uri: str) -> list[Object]:
    """The objects that a manifest names: ``[{"prefix": "s3://bucket/a/"}, "b", "c"]``."""
    try:
        prefix, *names = json.loads(s3.body(client, *s3.split(uri)).read())
        bucket, start = s3.split(prefix["prefix"])
        return [Object(bucket, start + name, name.lstrip("/")) for name in names]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise JobError(f'{uri} is not a manifest: expected [{{"prefix": "s3://…"}}, "key", …]') from error


class Feeder:
    """Writes a channel into the FIFOs ``<channel>_<epoch>``, one after the other, straight from S3.

    Attributes:
        error: why it ended before its reader did; None where it did not.
    """

    def __init__(self, client: Any, found: list[Object], paths: Paths, channel: Record) -> None:
        self._client, self._objects, self._wrapped = client, found, channel.get("RecordWrapperType") == "RecordIO"
        self._folder, self._name = paths.data, channel["ChannelName"]
        self._ended = threading.Event()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin with the first epoch."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def close(self) -> None:
        """The process that reads has ended."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        epoch = 0
        while not self._ended.is_set():
            fifo = self._folder / f"{self._name}_{epoch}"
            os.mkfifo(fifo)
            if (descriptor := self._opened(fifo)) is None:
                return
            with os.fdopen(descriptor, "wb", buffering=0) as stream:
                self._feed(stream)
            epoch += 1

    def _feed(self, stream: BinaryIO) -> None:
        try:
            for piece in self._pieces():
                stream.write(piece)
        except BrokenPipeError:  # a reader that leaves early is no error
            pass
        except Exception as error:  # whatever it is: the reader must not take what came for all there is
            self.error = error
            self._ended.wait()

    def _opened(self, fifo: Path) -> int | None:
        """A descriptor for writing, once somebody reads; None where nobody will any more."""
        while not self._ended.is_set():
            try:
                descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    return None
                time.sleep(_PAUSE)
                continue
            os.set_blocking(descriptor, True)
            return descriptor
        return None

    def _pieces(self) -> Iterator[bytes]:
        for one in self._objects:
            stream = s3.body(self._client, one.bucket, one.key)
            if self._wrapped:
                frame = BytesIO()
                write_frame(frame, stream.read())
                yield frame.getvalue()
            else:
                yield from stream.iter_chunks(_PIECE)
