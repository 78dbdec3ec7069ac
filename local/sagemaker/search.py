"""Search: jobs and endpoints by their properties, as the SDK's `Session.search` and the console ask for them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

from local.sagemaker import endpoints, model_packages, models, training_job, tuning_jobs
from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import invalid
from local.sagemaker.operations import operation
from local.sagemaker.store import Record

_MOST = 100
_ORDERS = {
    "GreaterThan": lambda value, wanted: value > wanted,
    "GreaterThanOrEqualTo": lambda value, wanted: value >= wanted,
    "LessThan": lambda value, wanted: value < wanted,
    "LessThanOrEqualTo": lambda value, wanted: value <= wanted,
}


@operation("Search")
def search(cloud: Cloud, request: Record) -> Record:
    """Resources of one kind that fit an expression, a page of them; there are none of a kind that oba up has not."""
    resource, expression = request["Resource"], request.get("SearchExpression", {})
    found = [record for record in _records(cloud, resource) if _fits(record, expression)]
    by, falling = request.get("SortBy", "LastModifiedTime"), request.get("SortOrder") != "Ascending"
    keyed = [(next(_values(record, by), None), record) for record in found]
    ordered = sorted((pair for pair in keyed if pair[0] is not None), key=lambda pair: _key(pair[0]), reverse=falling)
    found = [record for _, record in ordered] + [record for value, record in keyed if value is None]
    start = int(request.get("NextToken") or "0")
    stop = start + request.get("MaxResults", _MOST)
    more = {"NextToken": str(stop)} if stop < len(found) else {}
    return {"Results": [{resource: record} for record in found[start:stop]], **more}


def _records(cloud: Cloud, resource: str) -> list[Record]:
    if resource == "TrainingJob":
        return cloud.store.all(training_job.KIND)
    if resource == "Endpoint":
        return [
            record | (endpoints.describe(cloud, {"EndpointName": record["Name"]}) or {})
            for record in cloud.store.all(endpoints.KIND)
        ]
    if resource == "HyperParameterTuningJob":
        return [
            (tuning_jobs.describe(cloud, {"HyperParameterTuningJobName": record["Name"]}) or {})
            | {"Tags": record["Tags"]}
            for record in cloud.store.all(tuning_jobs.KIND)
        ]
    if resource == "Model":
        return [_model(cloud, record) for record in cloud.store.all(models.MODEL)]
    if resource == "ModelPackage":
        return [model_packages.described(record) for record in cloud.store.all(model_packages.KIND)]
    if resource == "ModelPackageGroup":
        return [model_packages.described_group(record) for record in cloud.store.all(model_packages.GROUP)]
    return []


def _model(cloud: Cloud, record: Record) -> Record:
    """A model as the dashboard of the console has it, with its endpoints; its own fields find it, too."""
    described = record | {"ModelArn": record["Arn"]}
    names = {"Name": "EndpointName", "Arn": "EndpointArn"}
    fields = (*names, "CreationTime", "LastModifiedTime", "EndpointStatus")
    having = [
        {names.get(key, key): endpoint[key] for key in fields}
        for endpoint in cloud.store.all(endpoints.KIND)
        if any(
            variant["ModelName"] == record["Name"]
            for variant in (*endpoint["Variants"], *(endpoint.get("Shadows") or ()))
        )
    ]
    return described | {"Model": described, "Endpoints": having}


def _fits(record: Record, expression: Record) -> bool:
    tests = [_passes(record, one) for one in expression.get("Filters", ())]
    tests += [_nested(record, one) for one in expression.get("NestedFilters", ())]
    tests += [_fits(record, one) for one in expression.get("SubExpressions", ())]
    return any(tests) if expression.get("Operator") == "Or" and tests else all(tests)


def _nested(record: Record, nested: Record) -> bool:
    """Whether one element of a list passes all filters, whose names begin with the list's."""
    prefix = f"{nested['NestedPropertyName']}."
    filters = [one | {"Name": one["Name"].removeprefix(prefix)} for one in nested["Filters"]]
    return any(
        all(_passes(element, one) for one in filters)
        for found in _at(record, nested["NestedPropertyName"].split("."))
        for element in (found if isinstance(found, list) else [found])
        if isinstance(element, dict)
    )


def _passes(record: Record, test: Record) -> bool:
    operator, wanted = test.get("Operator", "Equals"), test.get("Value", "")
    values = list(_values(record, test["Name"]))
    if operator in ("Exists", "NotExists"):
        return bool(values) == (operator == "Exists")
    if operator in ("NotEquals", "Equals", "In"):
        choices = {one.strip() for one in wanted.split(",")} if operator == "In" else {wanted}
        return any(_text(value) in choices for value in values) != (operator == "NotEquals")
    if operator == "Contains":
        return any(wanted.lower() in _text(value).lower() for value in values)
    return any(_ordered(operator, value, wanted, test["Name"]) for value in values)


def _ordered(operator: str, value: Any, wanted: str, name: str) -> bool:
    try:
        return bool(_ORDERS[operator](float(value), _number(wanted)))
    except ValueError as error:
        raise invalid(f"The filter of '{name}': {operator} compares numbers and times, not '{wanted[:100]}'") from error


def _number(text: str) -> float:
    """A number, or the seconds since 1970 of an ISO 8601 time; UTC where it does not say."""
    try:
        return float(text)
    except ValueError:
        moment = datetime.datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _key(value: Any) -> tuple[bool, Any]:
    return (True, _text(value)) if not isinstance(value, (int, float)) else (False, value)


def _values(record: Record, name: str) -> Iterator[Any]:
    """The values of a property: ``HyperParameters.k``, ``Tags.team``, ``Metrics.train:msd``, a path through lists."""
    first, _, rest = name.partition(".")
    if first == "Metrics":
        yield from (one["Value"] for one in record.get("FinalMetricDataList", ()) if one["MetricName"] == rest)
    elif first == "Tags" and rest:
        yield from (one["Value"] for one in record.get("Tags", ()) if one["Key"] == rest)
    elif first == "HyperParameters" and rest:
        yield from (value for key, value in record.get(first, {}).items() if key == rest)
    else:
        yield from _at(record, name.split("."))


def _at(value: Any, path: list[str]) -> Iterator[Any]:
    if not path:
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _at(one, path)
    elif isinstance(value, dict) and path[0] in value:
        yield from _at(value[path[0]], path[1:])
