"""Tags of resources, which are in the field ``Tags`` of their records."""

from __future__ import annotations

from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import invalid
from local.sagemaker.operations import operation
from local.sagemaker.store import Record

_MOST = 50
"""Of a resource (the API reference, ``AddTags``)."""


def _found(cloud: Cloud, arn: str) -> tuple[str, str, list[dict[str, str]]]:
    kind = arn.rpartition(":")[2].partition("/")[0]
    for record in cloud.store.all(kind):
        if record["Arn"] == arn:
            return kind, record["Name"], record.get("Tags", [])
    raise invalid(f"Could not find resource with ARN {arn}")


@operation("AddTags")
def add(cloud: Cloud, request: Record) -> Record:
    """Add tags; one whose key is there already gets the new value."""
    with cloud.store.lock:
        kind, name, before = _found(cloud, request["ResourceArn"])
        merged = {tag["Key"]: tag for tag in (*before, *request["Tags"])}
        if len(merged) > _MOST:
            raise invalid(f"{request['ResourceArn']} would have {len(merged)} tags: expected {_MOST} at most")
        cloud.store.update(kind, name, Tags=list(merged.values()))
    return {"Tags": list(merged.values())}


@operation("DeleteTags")
def delete(cloud: Cloud, request: Record) -> None:
    """Delete tags by their keys."""
    with cloud.store.lock:
        kind, name, before = _found(cloud, request["ResourceArn"])
        cloud.store.update(kind, name, Tags=[tag for tag in before if tag["Key"] not in request["TagKeys"]])


@operation("ListTags")
def list_tags(cloud: Cloud, request: Record) -> Record:
    """All tags."""
    return {"Tags": _found(cloud, request["ResourceArn"])[2]}
