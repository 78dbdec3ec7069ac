"""Requests and answers by botocore's own model of SageMaker's API, whose constraints are checked as AWS checks them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from local.sagemaker.errors import AwsError, invalid

_KINDS: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "blob": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (int, float),
}
_ENVIRONMENT = "EnvironmentMap"
"""The names of the shapes of environment variables end so."""

_SHOWN = 256


@functools.cache
def _service(name: str) -> Any:
    return botocore.session.get_session().get_service_model(name)


def model(operation: str, service: str = "sagemaker") -> OperationModel:
    """The operation as AWS describes it.

    Raises:
        AwsError: there is none of this name.
    """
    if operation not in _service(service).operation_names:
        raise AwsError("UnknownOperationException", f"SageMaker has no operation {operation[:100]}")
    return _service(service).operation_model(operation)


def check(shape: StructureShape, request: Any) -> None:
    """Refuse a request that breaks a constraint of ``shape``.

    Raises:
        AwsError: naming each value and the constraint, in AWS's words.
    """
    problems = list(_problems(shape, request, ""))
    if problems:
        count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected"
        raise invalid(f"{count}: {'; '.join(problems)}")


def answer(operation: OperationModel, record: Mapping[str, Any]) -> dict[str, Any]:
    """Of ``record``, what the operation returns. Absent values are left out, as AWS does."""
    shape = operation.output_shape
    members = shape.members if isinstance(shape, StructureShape) else {}
    return {name: record[name] for name in members if record.get(name) is not None}


# ---- constraints ----------------------------------------------------------------------------------------------------


def _problems(shape: Shape, value: Any, path: str) -> Iterator[str]:
    kinds: Any = _KINDS[shape.type_name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        yield _told(value, path, f"Member must be of type {shape.type_name}")
    elif isinstance(shape, StructureShape):
        yield from _of_structure(shape, value, path)
    elif isinstance(shape, ListShape):
        yield from _of_size(shape, value, len(value), path, "have length")
        for number, one in enumerate(value, 1):
            yield from _problems(shape.member, one, f"{path}.{number}.member")
    elif isinstance(shape, MapShape):
        yield from _of_size(shape, value, len(value), path, "have length")
        for key, one in value.items():
            yield from _problems(shape.key, key, f"{path}.key")
            yield from _problems(shape.value, one, f"{path}.{key}.member")
            if shape.name.endswith(_ENVIRONMENT) and isinstance(one, str) and "\0" in one:
                yield _told(one, f"{path}.{key}.member", "Member must have no NUL: a process is given it")
    elif shape.type_name == "string":
        yield from _of_text(shape, value, path)
    elif shape.type_name in ("integer", "long", "float", "double"):
        yield from _of_size(shape, value, value, path, "have value")


def _of_structure(shape: StructureShape, value: dict[str, Any], path: str) -> Iterator[str]:
    given = {name: one for name, one in value.items() if one is not None}
    for name in shape.required_members:
        if name not in given:
            yield _told(None, _below(path, name), "Member must not be null")
    for name, one in given.items():
        if name in shape.members:
            yield from _problems(shape.members[name], one, _below(path, name))
        else:
            yield f"'{_below(path, name)}' is not a member of {shape.name}: it has {', '.join(shape.members)}"


def _of_text(shape: Shape, value: str, path: str) -> Iterator[str]:
    yield from _of_size(shape, value, len(value), path, "have length")
    if not _is_unicode(value):
        yield _told(value.encode(errors="replace").decode(), path, "Member must be Unicode, without lone surrogates")
    choices = shape.metadata.get("enum")
    if choices and value not in choices:
        yield _told(value, path, f"Member must satisfy enum value set: [{', '.join(choices)}]")
    if shape.name == "S3Uri" and value.startswith("file:///"):
        return  # our own addition; who takes it for data looks whether it may be
    pattern = shape.metadata.get("pattern") if len(value) <= shape.metadata.get("max", len(value)) else None
    if pattern and (compiled := _compiled(pattern)) and not compiled.fullmatch(value):
        yield _told(value, path, f"Member must satisfy regular expression pattern: {pattern}")


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """None for what only Java's regular expressions know."""
    try:
        return re.compile(pattern, re.ASCII)
    except re.error:
        return None


def _of_size(shape: Shape, value: Any, size: float, path: str, what: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield _told(value, path, f"Member must {what} greater than or equal to {low}")
    if high is not None and size > high:
        yield _told(value, path, f"Member must {what} less than or equal to {high}")


def _told(value: Any, path: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{str(value)[:_SHOWN]}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _below(path: str, name: str) -> str:
    """A member's place, as AWS writes it.

    >>> _below("inputDataConfig.1.member", "ChannelName")
    'inputDataConfig.1.member.channelName'
    """
    return f"{path}.{name[0].lower()}{name[1:]}".removeprefix(".")
