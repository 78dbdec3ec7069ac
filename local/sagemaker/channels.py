"""The channels of a training job, copied from S3 to a host's folder, or streamed, by their input mode."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, TypeVar

from local.sagemaker import s3
from local.sagemaker.errors import JobError, invalid
from local.sagemaker.s3 import Object
from local.sagemaker.store import Record

AUGMENTED = "AugmentedManifestFile"
_KINDS = ("S3Prefix", "ManifestFile", AUGMENTED)
_OF_PIPES = {"CompressionType": "compression type", "RecordWrapperType": "record wrapper type"}
"""What a channel of files leaves unset, with SageMaker's words for it."""

_T = TypeVar("_T")


def check(job: Record, *, files: bool) -> None:
    """Refuse channels that cannot be provided here.

    Args:
        files: whether ``file://`` addresses may be read.

    Raises:
        AwsError: naming the channel.
    """
    for channel in job.get("InputDataConfig", ()):
        for field, named in _OF_PIPES.items():
            if (given := channel.get(field, "None")) != "None" and (how := mode(job, channel)) != "Pipe":
                raise invalid(
                    f"Invalid {named} for channel {channel['ChannelName']}: {how} mode only supports NONE, got {given} "
                    "instead"
                )
    names = [channel["ChannelName"] for channel in job.get("InputDataConfig", ())]
    if twice := {name for name in names if names.count(name) > 1}:
        raise invalid(f"Channel names must be unique: '{sorted(twice)[0]}' is given twice")
    for channel in job.get("InputDataConfig", ()):
        if problem := _problem(job, channel, files):
            raise invalid(f"Channel '{channel['ChannelName']}': {problem}")


def _problem(job: Record, channel: Record, files: bool) -> str | None:
    if len(channel["DataSource"]) > 1:
        return f"DataSource: {' and '.join(channel['DataSource'])} exclude each other"
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        return "oba up reads S3DataSource only"
    kind, how = source["S3DataType"], mode(job, channel)
    if kind not in _KINDS:
        return f"oba up reads S3DataType {', '.join(_KINDS)}, not {kind}"
    if kind == AUGMENTED and how != "Pipe":
        return f"{AUGMENTED} can only be used if the channel's input mode is Pipe, not {how}"
    if kind == AUGMENTED and not source.get("AttributeNames"):
        return f"{AUGMENTED} needs AttributeNames: the attributes of each line to send, in their order"
    if kind != AUGMENTED and source.get("AttributeNames"):
        return f"AttributeNames are for {AUGMENTED}, not {kind}"
    if not source["S3Uri"].startswith(s3.FILE):
        try:
            s3.split(source["S3Uri"])
        except JobError as error:
            return str(error)
    else:
        if kind != "S3Prefix":
            return f"a file:// address is a folder or a file of data (S3Prefix), not a {kind}"
        if not files:
            return "file:// addresses are read only where oba up listens on loopback"
    return None


def mode(job: Record, channel: Record) -> str:
    """``File``, ``FastFile`` or ``Pipe``."""
    return channel.get("InputMode") or job["AlgorithmSpecification"]["TrainingInputMode"]


def sharded(channel: Record) -> bool:
    """Whether each host gets objects of its own."""
    return channel["DataSource"]["S3DataSource"].get("S3DataDistributionType") == "ShardedByS3Key"


def seed(channel: Record) -> int | None:
    """The seed by which the channel's objects or lines are shuffled; None if they are not."""
    return channel.get("ShuffleConfig", {}).get("Seed")


def shuffled(entries: Sequence[_T], seed: int, epoch: int) -> list[_T]:
    """The entries in the order of an epoch: the same on all hosts, another in each epoch."""
    return random.Random(f"{seed}/{epoch}").sample(entries, len(entries))


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
    if not found and uri.startswith(s3.FILE):
        raise JobError(f"There is no file at {uri}, nor below it")
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
