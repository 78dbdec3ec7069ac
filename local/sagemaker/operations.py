"""The operations by name. A module registers its own:

    @operation("DescribeTrainingJob")
    def describe(cloud: Cloud, request: Record) -> Record: ...

and is named in ``MODULES``. ``request`` has passed the checks of botocore's model; of what is returned, the members of
the operation's output are sent; timestamps are seconds since 1970.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

from local.sagemaker import protocol
from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import AwsError, invalid
from local.sagemaker.store import Record

Operation = Callable[[Cloud, Record], Record | None]
OPERATIONS: dict[str, Operation] = {}
MODULES = ("tags", "training", "model_packages", "models", "endpoints", "transforms", "tuning_jobs", "search")
_TOKEN = re.compile(r"[0-9]{1,9}")
_RESERVED = "aws:"
_PAGE = 10
"""MaxResults of a request that does not state it."""


def operation(name: str) -> Callable[[Operation], Operation]:
    """Register a function as the operation ``name``."""

    def register(function: Operation) -> Operation:
        OPERATIONS[name] = function
        return function

    return register


def load() -> None:
    """Import the modules with operations."""
    for name in MODULES:
        importlib.import_module(f"local.sagemaker.{name}")


def call(cloud: Cloud, name: str, request: Any) -> Record:
    """The answer to a request.

    Raises:
        AwsError: it is refused.
    """
    model = protocol.model(name)
    if name not in OPERATIONS:
        told = f"oba up does not have {name}: docs/local-sagemaker.md lists what there is"
        raise AwsError("UnknownOperationException", told)
    protocol.check(model.input_shape, request)
    _check_tags([tag["Key"] for tag in request.get("Tags") or ()])
    if not _TOKEN.fullmatch(token := request.get("NextToken") or "0"):
        raise invalid(f"NextToken '{token[:40]}' is none that oba up gave")
    return protocol.answer(model, OPERATIONS[name](cloud, _given(request)) or {})


def _check_tags(keys: list[str]) -> None:
    """Refuse keys that no resource can have (the API reference, ``AddTags``)."""
    for key in keys:
        if keys.count(key) > 1:
            raise invalid(f"Tags: the tag key '{key}' is given twice")
        if key.lower().startswith(_RESERVED):
            raise invalid(f"Tags: the tag key '{key}' begins with {_RESERVED}, which is reserved for AWS")


def _given(value: Any) -> Any:
    """What a request gives: a member that is null is as one that is left out, at any depth."""
    if isinstance(value, dict):
        return {key: _given(one) for key, one in value.items() if one is not None}
    return [_given(one) for one in value] if isinstance(value, list) else value


def listed(found: list[Record], request: Record, *, name: str, status: str = "Status") -> tuple[list[Record], Record]:
    """One page of ``found`` by the filters, the order and the place that List operations have in common.

    Args:
        name, status: the fields of a record that NameContains and StatusEquals look at.

    Returns:
        The records, and ``{"NextToken": …}`` where there are more.
    """
    tests: dict[str, Callable[[Record, Any], bool]] = {
        "NameContains": lambda record, value: value.lower() in record[name].lower(),
        "StatusEquals": lambda record, value: value == record[status],
        "CreationTimeAfter": lambda record, value: record["CreationTime"] > value,
        "CreationTimeBefore": lambda record, value: record["CreationTime"] < value,
        "LastModifiedTimeAfter": lambda record, value: record["LastModifiedTime"] > value,
        "LastModifiedTimeBefore": lambda record, value: record["LastModifiedTime"] < value,
    }
    for key, test in tests.items():
        if key in request:
            found = [record for record in found if test(record, request[key])]
    field = {"Name": name, "Status": status}.get(request.get("SortBy", ""), "CreationTime")
    found = sorted(found, key=lambda record: record[field], reverse=request.get("SortOrder") != "Ascending")
    start = int(request.get("NextToken") or "0")
    stop = start + request.get("MaxResults", _PAGE)
    return found[start:stop], {"NextToken": str(stop)} if stop < len(found) else {}
