"""The data of a request for ``oba run``: files that stand for S3 prefixes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from container.settings import ConfigurationError
from local import inputs
from local.sagemaker import s3
from local.sagemaker.errors import JobError

Data = Sequence[tuple[str, str]]
"""S3 prefixes, each with the file, folder or pattern that stands for it."""


def missing(channel: str, uri: str) -> str:
    """The message about a channel that has no data."""
    return f"channel '{channel}': no data stand for {uri}; say which do: --data {uri}=PATH"


def at_file_addresses(request: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """A tuning job's request with the ``file://`` addresses of what stands for its S3 prefixes.

    Raises:
        ConfigurationError: naming each channel without data, each unused prefix, and each channel in Pipe mode.
    """
    used: set[str] = set()
    problems: list[str] = []

    def changed(definition: Mapping[str, Any]) -> dict[str, Any]:
        channels = [_at_file(channel, data, used, problems) for channel in definition.get("InputDataConfig", ())]
        default = definition["AlgorithmSpecification"].get("TrainingInputMode")
        problems.extend(
            f"channel '{one['ChannelName']}': oba run tunes in the modes File and FastFile, not Pipe; oba up has all"
            for one in channels
            if one.get("InputMode", default) == "Pipe"
        )
        return {**definition, "InputDataConfig": channels}

    result = dict(request)
    if "TrainingJobDefinition" in request:
        result["TrainingJobDefinition"] = changed(request["TrainingJobDefinition"])
    if "TrainingJobDefinitions" in request:
        result["TrainingJobDefinitions"] = [changed(one) for one in request["TrainingJobDefinitions"]]
    problems += [f"--data {prefix}: no channel of the request is there" for prefix, _ in data if prefix not in used]
    if problems:
        raise ConfigurationError("; ".join(dict.fromkeys(problems)))
    return result


def _at_file(channel: Mapping[str, Any], data: Data, used: set[str], problems: list[str]) -> dict[str, Any]:
    """The channel, its data at a ``file://`` address; ``used`` and ``problems`` grow."""
    name, source = channel["ChannelName"], channel["DataSource"].get("S3DataSource", {})
    uri = source.get("S3Uri", "")
    with contextlib.suppress(JobError):
        uri = f"s3://{'/'.join(s3.split(uri))}"
    if not uri.startswith("s3://"):
        parts = urlsplit(uri)
        if parts.scheme != "file" or not Path(unquote(parts.path)).exists():
            problems.append(f"channel '{name}': there is nothing at '{uri}'; expected file:///PATH or s3://BUCKET/KEY")
        return dict(channel)
    for prefix, text in data:
        rest = _below(uri, prefix)
        if rest is None:
            continue
        used.add(prefix)
        (place, *more) = inputs.found(text, f"--data {prefix}")
        if more:
            problems.append(f"--data {prefix}={text}: a tuning job takes one file or folder, not {len(more) + 1}")
        if not (file := place.resolve() / rest).exists():
            problems.append(f"channel '{name}': there is no {file}, which stands for {uri}")
        return {**channel, "DataSource": {"S3DataSource": {**source, "S3Uri": file.as_uri()}}}
    problems.append(missing(name, uri))
    return dict(channel)


def _below(uri: str, prefix: str) -> str | None:
    """The path of ``uri`` below ``prefix``; None where it is not there.

    >>> _below("s3://b/train/a", "s3://b/train/"), _below("s3://b/train/", "s3://b/train"), _below("s3://b/tr", "s3://b/t")
    ('a', '', None)
    """
    folder = prefix.rstrip("/")
    rest = uri.removeprefix(folder)
    return rest.strip("/") if uri.startswith(folder) and (not rest or rest.startswith("/")) else None
