"""The operations of endpoints, and the servers behind them: for each variant as many as it has instances."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import logging
import random
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from werkzeug.datastructures import Headers

from local.sagemaker import data_capture, invocation_metrics, models, notifications, without_effect
from local.sagemaker.cloud import ACCOUNT, Cloud
from local.sagemaker.errors import AwsError, JobError, invalid
from local.sagemaker.instances import Instance
from local.sagemaker.job_checks import twice
from local.sagemaker.models import CONFIG
from local.sagemaker.operations import listed, operation
from local.sagemaker.records import found, put_new
from local.sagemaker.servers import Answer, Place
from local.sagemaker.store import Record

KIND = "endpoint"
GROUP = "/aws/sagemaker/Endpoints/"
INVOCATIONS = "invocations"
"""The folder of asynchronous requests that are not answered yet, with a folder for each endpoint."""

_FORWARDED = ("Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes", "X-Amzn-SageMaker-Target-Model")
_HOSTNAME = "X-Amzn-SageMaker-Target-Container-Hostname"
_LACKING = {
    "X-Amzn-SageMaker-Enable-Explanations": "EnableExplanations: oba up has no explainers",
    "X-Amzn-SageMaker-Inference-Component": "InferenceComponentName: oba up has no inference components",
    "X-Amzn-SageMaker-Session-Id": "SessionId: oba up has no stateful sessions",
}
_COPIES = 16
"""Requests at a time that a shadow variant gets; more are left out, as it must not delay the production variant."""
_numbers = itertools.count()
_logger = logging.getLogger("oba.up")


@dataclass
class Variant:
    """A variant that runs.

    Attributes:
        shadow: the variant that gets copies of a part of its requests, by the quotient of the weights.
        copies: for a shadow, limits the requests that it answers at a time.
    """

    name: str
    weight: float
    instances: list[Instance] = field(default_factory=list)
    shadow: Variant | None = None
    copies: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_COPIES))


# ---- servers --------------------------------------------------------------------------------------------------------


def start(cloud: Cloud, endpoint: Record, config: Record) -> None:
    """Start a configuration's servers in the background; those that run until then answer until the new ones do."""
    threading.Thread(target=_start, args=(cloud, endpoint, config), daemon=True).start()


def _start(cloud: Cloud, endpoint: Record, config: Record) -> None:
    name, new = endpoint["Name"], list[Variant]()
    try:
        for variant in config["ProductionVariants"]:
            new.append(_variant(variant))
            _start_variant(cloud, endpoint, config, variant, new[-1])
        for variant in config.get("ShadowProductionVariants") or ():
            new[0].shadow = _variant(variant)
            _start_variant(cloud, endpoint, config, variant, new[0].shadow)
    except Exception as error:  # whatever it is: an endpoint must not stay Creating, nor its servers without it
        if not isinstance(error, (JobError, AwsError)):
            _logger.exception("Endpoint %s", name)
        _close(new)
        last = (new[-1].shadow or new[-1]).name if new else ""
        reason = f"The primary container for production variant {last}: {error}"
        with cloud.store.lock:
            if _is_there(cloud, endpoint):
                status = "InService" if name in cloud.running else "Failed"
                cloud.store.update(KIND, name, EndpointStatus=status, FailureReason=reason)
        return
    with cloud.store.lock:
        before = new
        if _is_there(cloud, endpoint):
            before, cloud.running[name] = cloud.running.get(name, []), new
            if (waiting := cloud.waiting.pop(name, None)) is not None:  # as many as the former servers
                waiting.shutdown(wait=False)
            cloud.store.update(KIND, name, EndpointStatus="InService", FailureReason=None, **_configured(config))
    _close(before)


def _variant(variant: Record) -> Variant:
    return Variant(variant["VariantName"], variant.get("InitialVariantWeight", 1.0))


def _configured(config: Record) -> Record:
    """The fields of a configuration that the record of an endpoint has."""
    return {
        "EndpointConfigName": config["EndpointConfigName"],
        "Variants": config["ProductionVariants"],
        "Shadows": config.get("ShadowProductionVariants"),
        "AsyncInferenceConfig": config.get("AsyncInferenceConfig"),
        "Capture": config.get("DataCaptureConfig"),
    }


def _config_of(record: Record) -> Record:
    """The configuration that an endpoint has, which may be deleted."""
    config = {"EndpointConfigName": record["EndpointConfigName"], "ProductionVariants": record["Variants"]}
    return config | {
        "ShadowProductionVariants": record.get("Shadows"),
        "AsyncInferenceConfig": record.get("AsyncInferenceConfig"),
        "DataCaptureConfig": record.get("Capture"),
    }


def _is_there(cloud: Cloud, endpoint: Record) -> bool:
    """Whether this endpoint still exists, and not another one of its name."""
    record = cloud.store.get(KIND, endpoint["Name"])
    return record is not None and record["Creation"] == endpoint["Creation"]


def _start_variant(cloud: Cloud, endpoint: Record, config: Record, variant: Record, running: Variant) -> None:
    name, containers = endpoint["Name"], models.containers(cloud, variant["ModelName"])
    of_model = without_effect.told(models.MODEL, found(cloud, models.MODEL, variant["ModelName"], "model"))
    notes = [line for line in (without_effect.told(CONFIG, config), of_model) if line]
    for _ in range(variant.get("InitialInstanceCount", 1)):
        if not _is_there(cloud, endpoint):
            raise JobError("the endpoint was deleted")
        number = next(_numbers)
        folder = cloud.folder / "endpoints" / name / f"{running.name}-{number}"
        place = Place(folder, f"{GROUP}{name}", f"{running.name}/i-{number:017x}", notes=notes)
        running.instances.append(Instance(cloud, containers, place))
    for instance in running.instances:
        instance.wait()


def _close(variants: list[Variant]) -> None:
    for variant in variants:
        for instance in (*variant.instances, *(variant.shadow.instances if variant.shadow else ())):
            instance.close()


# ---- operations -----------------------------------------------------------------------------------------------------


@operation("CreateEndpoint")
def create(cloud: Cloud, request: Record) -> Record:
    """Start the servers of a configuration."""
    name = request["EndpointName"]
    config = found(cloud, CONFIG, request["EndpointConfigName"], "endpoint configuration")
    record = request | _configured(config) | {"EndpointStatus": "Creating", "Creation": secrets.token_hex(8)}
    arn = put_new(cloud, KIND, name, record, "Cannot create already existing endpoint")
    start(cloud, record | {"Name": name}, config)
    notifications.test(cloud, config.get("AsyncInferenceConfig"))
    return {"EndpointArn": arn}


@operation("DescribeEndpoint")
def describe(cloud: Cloud, request: Record) -> Record:
    """The endpoint as it is now."""
    record = found(cloud, KIND, request["EndpointName"], "endpoint")
    running = {variant.name: variant for variant in cloud.running.get(record["Name"], [])}
    running |= {variant.shadow.name: variant.shadow for variant in running.values() if variant.shadow}
    both = {"ProductionVariants": record["Variants"], "ShadowProductionVariants": record.get("Shadows") or ()}
    described = {
        kind: [_described(cloud, variant, running.get(variant["VariantName"])) for variant in variants] or None
        for kind, variants in both.items()
    }
    capture = data_capture.described(record.get("Capture"))
    return record | described | {"EndpointArn": record["Arn"], "DataCaptureConfig": capture}


def _described(cloud: Cloud, variant: Record, running: Variant | None) -> Record:
    weight, count = variant.get("InitialVariantWeight", 1.0), variant.get("InitialInstanceCount", 1)
    described = {
        "VariantName": variant["VariantName"],
        "CurrentWeight": running.weight if running else weight,
        "DesiredWeight": weight,
        "CurrentInstanceCount": len(running.instances) if running else 0,
        "DesiredInstanceCount": count,
    }
    if serverless := variant.get("ServerlessConfig"):
        described |= {"CurrentServerlessConfig": serverless, "DesiredServerlessConfig": serverless}
    with contextlib.suppress(AwsError):  # the model is deleted
        images = [one["Image"] for one in models.containers(cloud, variant["ModelName"]).definitions]
        described["DeployedImages"] = [{"SpecifiedImage": image, "ResolvedImage": image} for image in images]
    return described


@operation("UpdateEndpoint")
def update(cloud: Cloud, request: Record) -> Record:
    """Start the servers of another configuration, then end the former ones."""
    config = found(cloud, CONFIG, request["EndpointConfigName"], "endpoint configuration")
    if request.get("RetainAllVariantProperties"):
        excluded = {one["VariantPropertyType"] for one in request.get("ExcludeRetainedVariantProperties", ())}
        config = _retaining(found(cloud, KIND, request["EndpointName"], "endpoint"), config, excluded)
    return _updated(cloud, request["EndpointName"], config)


def _retaining(endpoint: Record, config: Record, excluded: set[str]) -> Record:
    """The configuration with the weights and numbers of instances that the endpoint's variants have by now."""
    fields = {"DesiredWeight": "InitialVariantWeight", "DesiredInstanceCount": "InitialInstanceCount"}
    kept = [field for name, field in fields.items() if name not in excluded]
    now = {
        variant["VariantName"]: {field: variant[field] for field in kept if field in variant}
        for variant in endpoint["Variants"]
    }
    variants = [variant | now.get(variant["VariantName"], {}) for variant in config["ProductionVariants"]]
    return config | {"ProductionVariants": variants}


def _updated(cloud: Cloud, name: str, config: Record) -> Record:
    with cloud.store.lock:
        record = _at_rest(found(cloud, KIND, name, "endpoint"))
        cloud.store.update(KIND, name, EndpointStatus="Updating")
    start(cloud, record, config)
    notifications.test(cloud, config.get("AsyncInferenceConfig"))
    return {"EndpointArn": record["Arn"]}


def _at_rest(endpoint: Record) -> Record:
    """The endpoint, if it is in service, and not being created or updated.

    Raises:
        AwsError: it is not: one that failed can only be deleted (the API reference, ``DescribeEndpoint``).
    """
    if endpoint["EndpointStatus"] == "Failed":
        raise invalid(f'Cannot update failed endpoint "{endpoint["Arn"]}": it can only be deleted.')
    if endpoint["EndpointStatus"] != "InService":
        raise invalid(f'Cannot update in-progress endpoint "{endpoint["Arn"]}".')
    return endpoint


@operation("UpdateEndpointWeightsAndCapacities")
def update_weights(cloud: Cloud, request: Record) -> Record:
    """Other weights take effect at once; other numbers of instances as an update does."""
    record = _at_rest(found(cloud, KIND, request["EndpointName"], "endpoint"))
    desired = {one["VariantName"]: one for one in request["DesiredWeightsAndCapacities"]}
    if name := twice([one["VariantName"] for one in request["DesiredWeightsAndCapacities"]]):
        raise invalid(f"DesiredWeightsAndCapacities: the variant '{name}' is given twice")
    variants: list[Record] = record["Variants"]
    if unknown := desired.keys() - {variant["VariantName"] for variant in variants}:
        raise invalid(f'The variant name(s) "{sorted(unknown)[0]}" is/are not present within endpoint configuration')
    changed = False
    for variant in variants:
        wanted = desired.get(variant["VariantName"], {})
        _check_capacity(variant, wanted)
        if serverless := wanted.get("ServerlessUpdateConfig"):
            variant["ServerlessConfig"] |= serverless
        variant["InitialVariantWeight"] = wanted.get("DesiredWeight", variant.get("InitialVariantWeight", 1.0))
        count = variant.get("InitialInstanceCount", 1)
        variant["InitialInstanceCount"] = wanted.get("DesiredInstanceCount", count)
        changed = changed or variant["InitialInstanceCount"] != count
    if changed:
        return _updated(cloud, record["Name"], _config_of(record))
    with cloud.store.lock:
        for running, variant in zip(cloud.running.get(record["Name"], []), variants, strict=False):
            running.weight = variant["InitialVariantWeight"]
        cloud.store.update(KIND, record["Name"], Variants=variants)
    notifications.test(cloud, record.get("AsyncInferenceConfig"))
    return {"EndpointArn": record["Arn"]}


def _check_capacity(variant: Record, wanted: Record) -> None:
    """Refuse a capacity that the variant cannot have."""
    name = variant["VariantName"]
    if "ServerlessConfig" in variant:
        if "DesiredInstanceCount" in wanted:
            raise invalid(f"Variant {name}: DesiredInstanceCount is for instances; it has a ServerlessConfig")
    elif "ServerlessUpdateConfig" in wanted:
        raise invalid(f"Variant {name}: ServerlessUpdateConfig is for serverless variants; it has instances")
    if wanted.get("DesiredInstanceCount") == 0:
        raise invalid(f"Variant {name}: DesiredInstanceCount 0 is not at least 1")


@operation("DeleteEndpoint")
def delete(cloud: Cloud, request: Record) -> None:
    """End the servers."""
    with cloud.store.lock:
        name = found(cloud, KIND, request["EndpointName"], "endpoint")["Name"]
        cloud.store.delete(KIND, name)
        running = cloud.running.pop(name, [])
        if (waiting := cloud.waiting.pop(name, None)) is not None:
            waiting.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(invocations(cloud, name), ignore_errors=True)
    _close(running)


@operation("ListEndpoints")
def list_endpoints(cloud: Cloud, request: Record) -> Record:
    """Endpoints, a page of them."""
    page, token = listed(cloud.store.all(KIND), request, name="Name", status="EndpointStatus")
    names = {"Name": "EndpointName", "Arn": "EndpointArn"}
    fields = ("Name", "Arn", "EndpointStatus", "CreationTime", "LastModifiedTime")
    return {"Endpoints": [{names.get(key, key): one[key] for key in fields} for one in page], **token}


# ---- InvokeEndpoint -------------------------------------------------------------------------------------------------


def invoke(cloud: Cloud, name: str, body: bytes, headers: Headers) -> tuple[Answer, str]:
    """The answer of one of the endpoint's servers, and its variant.

    Raises:
        AwsError: the request cannot be answered, or the model refused it (``ModelError``, as AWS words it).
    """
    came = time.monotonic()
    endpoint = running(cloud, name)[0]
    if endpoint.get("AsyncInferenceConfig"):
        raise invalid(f"Endpoint {name} is asynchronous: InvokeEndpointAsync is for it")
    variant = chosen(cloud, name, headers.get("X-Amzn-SageMaker-Target-Variant"))
    many = variant.instances[0].many
    for header, told in _LACKING.items():
        if header in headers:
            raise invalid(told)
    target = headers.get("X-Amzn-SageMaker-Target-Model")
    if many and target is None:
        raise invalid("TargetModel is required for an endpoint with many models")
    if not many and target is not None:
        raise invalid("TargetModel is for endpoints with many models only")
    _copy(cloud, endpoint, variant, body, headers)
    try:
        answer, container = _asked(cloud, endpoint, variant, body, headers, came)
    except JobError as error:
        raise invalid(str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise AwsError("ModelNotReadyException", f"No answer from {variant.name}: {error}", 429) from error
    if answer.status >= 400:
        raise _model_error(cloud, name, container, answer)
    return answer, variant.name


def _asked(
    cloud: Cloud, endpoint: Record, variant: Variant, body: bytes, headers: Headers, came: float
) -> tuple[Answer, str]:
    """The answer of one of the variant's instances, which is counted and captured, and the container that gave it.

    Raises:
        AwsError, JobError: it cannot be asked. OSError, http.client.HTTPException: there was no answer.
    """
    instance, name = random.choice(variant.instances), endpoint["Name"]
    sent = {key: headers[key] for key in _FORWARDED if key in headers}
    asked, target = time.monotonic(), headers.get("X-Amzn-SageMaker-Target-Model")
    answer, container = instance.invoke(body, sent, target, hostname=headers.get(_HOSTNAME))
    ended = time.monotonic()
    values = invocation_metrics.of_answer(answer.status, ended - asked, ended - came)
    cloud.metrics.add(cloud.client("cloudwatch"), name, endpoint["EndpointConfigName"], variant.name, values)
    capture, media_type = endpoint.get("Capture"), answer.headers.get("content-type")
    if answer.status >= 400 or not capture:
        return answer, container
    if (line := data_capture.line(capture, headers, body, answer.body, media_type)) is not None:
        cloud.captures.add(cloud.client("s3"), capture, f"{name}/{variant.name}", line, instance.tell)
    return answer, container


def _copy(cloud: Cloud, endpoint: Record, variant: Variant, body: bytes, headers: Headers) -> None:
    """Send a copy of the request to the variant's shadow in the background, if it has one that gets this request."""
    shadow = variant.shadow
    if shadow is None or random.random() * variant.weight >= shadow.weight or not shadow.copies.acquire(blocking=False):
        return

    def ask(shadow: Variant, came: float) -> None:
        try:
            with contextlib.suppress(JobError, AwsError, OSError, http.client.HTTPException):  # its answer is nobody's
                _asked(cloud, endpoint, shadow, body, headers, came)
        finally:
            shadow.copies.release()

    threading.Thread(target=ask, args=(shadow, time.monotonic()), daemon=True).start()


def running(cloud: Cloud, name: str) -> tuple[Record, list[Variant]]:
    """The record and the variants of an endpoint that can answer.

    Raises:
        AwsError: there is none.
    """
    record, variants = cloud.store.get(KIND, name), cloud.running.get(name)
    if record is None or variants is None:
        state = f" is {record['EndpointStatus']}" if record else " not found"
        raise invalid(f"Endpoint {name} of account {ACCOUNT}{state}.")
    return record, variants


def chosen(cloud: Cloud, name: str, wanted: str | None = None) -> Variant:
    """The variant ``wanted``, or one by the weights.

    Raises:
        AwsError: there is none.
    """
    variants = running(cloud, name)[1]
    if wanted is None:
        weights = [variant.weight for variant in variants]
        return random.choices(variants, weights if any(weights) else None)[0]
    for variant in variants:
        if variant.name == wanted:
            return variant
    raise invalid(f"Variant {wanted} not found in endpoint {name}.")


def invocations(cloud: Cloud, name: str) -> Path:
    """The folder of an endpoint's asynchronous requests that are not answered yet."""
    return cloud.folder / INVOCATIONS / name


def _model_error(cloud: Cloud, name: str, container: str, answer: Answer) -> AwsError:
    text = answer.body.decode(errors="replace")
    kind = "client" if answer.status < 500 else "server"
    group = f"{GROUP}{name}"
    return AwsError(
        "ModelError",
        f'Received {kind} error ({answer.status}) from {container} with message "{text}". See the log group {group} '
        "for more information.",
        424,
        OriginalStatusCode=answer.status,
        OriginalMessage=text,
        LogStreamArn=f"arn:aws:logs:{cloud.region}:{ACCOUNT}:log-group:{group}",
    )


def recover(cloud: Cloud) -> None:
    """Start the endpoints of an earlier server again."""
    for record in cloud.store.all(KIND):
        begun = {"EndpointStatus": "Creating", "Creation": secrets.token_hex(8)}
        cloud.store.update(KIND, record["Name"], **begun)
        start(cloud.at(record["Region"]), record | begun, _config_of(record))
