"""The operations of the model registry, which are records only: groups of model packages, versions, their approval.

The store knows the version 2 of the group ``g`` as ``g.2``, which is no name that a request may give.
"""

from __future__ import annotations

from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import AwsError, invalid
from local.sagemaker.operations import listed, operation
from local.sagemaker.records import found, put_new
from local.sagemaker.store import Record

KIND, GROUP = "model-package", "model-package-group"
_CHANGED = (
    *("ModelApprovalStatus", "ModelPackageRegistrationType", "ApprovalDescription", "InferenceSpecification"),
    *("SourceUri", "ModelLifeCycle"),
)
_OF_CONTAINER = ("Image", "ModelDataUrl", "ModelDataSource", "ContainerHostname", "Environment")
_SUMMARY = (
    *("ModelPackageName", "ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn", "ModelPackageDescription"),
    *("CreationTime", "ModelPackageStatus", "ModelApprovalStatus", "ModelLifeCycle", "ModelPackageRegistrationType"),
)


def specified(cloud: Cloud, container: Record) -> list[Record]:
    """The containers that one of CreateModel's stands for: those of its model package, or itself.

    Raises:
        AwsError: there is no such package, or it has no such specification.
    """
    if "ModelPackageName" not in container:
        return [container]
    package = _package(cloud, container["ModelPackageName"])
    wanted = container.get("InferenceSpecificationName")
    named = {one["Name"]: one for one in package.get("AdditionalInferenceSpecifications", ())}
    specification = named.get(wanted) if wanted else package.get("InferenceSpecification")
    if specification is None:
        raise invalid(f"The model package {package['Arn']} has no InferenceSpecification {wanted or ''}".rstrip())
    given = {key: container[key] for key in ("ContainerHostname", "ModelPackageName", "Mode") if key in container}
    environment = container.get("Environment", {})
    return [
        {key: one[key] for key in _OF_CONTAINER if key in one}
        | given
        | {"Environment": one.get("Environment", {}) | environment}
        for one in specification["Containers"]
    ]


def _found(cloud: Cloud, kind: str, name: str) -> Record:
    """The record of a name or an ARN, in which names are in lower case. Raises AwsError."""
    for record in cloud.store.all(kind):
        if record["Arn"] == name:
            return record
    if name.startswith("arn:"):
        raise invalid(f'Could not find {kind.replace("-", " ")} "{name}".')
    return found(cloud, kind, name, kind.replace("-", " "))


# ---- groups ---------------------------------------------------------------------------------------------------------


@operation("CreateModelPackageGroup")
def create_group(cloud: Cloud, request: Record) -> Record:
    """A group without packages."""
    name = request["ModelPackageGroupName"]
    return {"ModelPackageGroupArn": put_new(cloud, GROUP, name, request, "Model Package Group already exists:")}


def _group(cloud: Cloud, name: str) -> Record:
    return _found(cloud, GROUP, name)


def described_group(record: Record) -> Record:
    """A group as its operations answer."""
    own = {"ModelPackageGroupArn": record["Arn"], "ModelPackageGroupStatus": "Completed", "CreatedBy": {}}
    return record | own


@operation("DescribeModelPackageGroup")
def describe_group(cloud: Cloud, request: Record) -> Record:
    """The group of a name or an ARN."""
    return described_group(_group(cloud, request["ModelPackageGroupName"]))


@operation("ListModelPackageGroups")
def list_groups(cloud: Cloud, request: Record) -> Record:
    """Groups, a page of them."""
    page, token = listed(cloud.store.all(GROUP), request, name="Name")
    fields = ("ModelPackageGroupName", "ModelPackageGroupArn", "ModelPackageGroupDescription", "CreationTime")
    groups = [described_group(one) for one in page]
    kept = [{key: one[key] for key in (*fields, "ModelPackageGroupStatus") if key in one} for one in groups]
    return {"ModelPackageGroupSummaryList": kept, **token}


@operation("DeleteModelPackageGroup")
def delete_group(cloud: Cloud, request: Record) -> None:
    """Delete an empty group."""
    with cloud.store.lock:
        group = _group(cloud, request["ModelPackageGroupName"])
        if _versions(cloud, group["Name"]):
            raise AwsError("ConflictException", f"The model package group {group['Arn']} has model packages still")
        cloud.store.delete(GROUP, group["Name"])


# ---- packages -------------------------------------------------------------------------------------------------------


def _versions(cloud: Cloud, group: str) -> list[Record]:
    return [one for one in cloud.store.all(KIND) if one.get("ModelPackageGroupName") == group]


def _package(cloud: Cloud, name: str) -> Record:
    return _found(cloud, KIND, name)


@operation("CreateModelPackage")
def create_package(cloud: Cloud, request: Record) -> Record:
    """A package of its own name, or the next version of a group."""
    if ("ModelPackageName" in request) == ("ModelPackageGroupName" in request):
        raise invalid("Either ModelPackageName or ModelPackageGroupName is required, and not both")
    own = {"ModelPackageStatus": "Completed", "ModelPackageStatusDetails": {"ValidationStatuses": []}}
    if "InferenceSpecification" not in request and (source := _of_source(cloud, request.get("SourceUri", ""))):
        own["InferenceSpecification"] = source
    if "ModelCard" in request:
        own["ModelCard"] = {"ModelCardStatus": "Draft"} | request["ModelCard"]
    exists = "Model Package already exists:"
    if "ModelPackageName" in request:
        return {"ModelPackageArn": put_new(cloud, KIND, request["ModelPackageName"], request | own, exists)}
    with cloud.store.lock:
        group = _group(cloud, request["ModelPackageGroupName"])
        version = group.get("Versions", 0) + 1  # that of a deleted package is not given again
        own |= {
            "ModelPackageGroupName": group["Name"],
            "ModelPackageVersion": version,
            "ModelApprovalStatus": request.get("ModelApprovalStatus", "PendingManualApproval"),
        }
        arn = cloud.arn(KIND, f"{group['Name']}/{version}")
        put_new(cloud, KIND, f"{group['Name']}.{version}", request | own, exists, arn)
        cloud.store.update(GROUP, group["Name"], Versions=version)
    return {"ModelPackageArn": arn}


def _of_source(cloud: Cloud, uri: str) -> Record | None:
    """The specification of the model package or the model whose ARN a ``SourceUri`` is; None where it is none."""
    for package in cloud.store.all(KIND):
        if package["Arn"] == uri:
            return package.get("InferenceSpecification")
    for model in cloud.store.all("model"):
        if model["Arn"] == uri:
            given = [model["PrimaryContainer"]] if "PrimaryContainer" in model else model["Containers"]
            return {"Containers": [{key: one[key] for key in _OF_CONTAINER if key in one} for one in given]}
    return None


def described(record: Record) -> Record:
    """A package as its operations answer."""
    return record | {"ModelPackageArn": record["Arn"], "ModelPackageName": record["Name"].replace(".", "/")}


@operation("DescribeModelPackage")
def describe_package(cloud: Cloud, request: Record) -> Record:
    """The package of a name or an ARN."""
    return described(_package(cloud, request["ModelPackageName"]))


@operation("UpdateModelPackage")
def update_package(cloud: Cloud, request: Record) -> Record:
    """Another approval, other properties."""
    with cloud.store.lock:
        package = _package(cloud, request["ModelPackageArn"])
        changes = {key: request[key] for key in _CHANGED if key in request}
        gone = request.get("CustomerMetadataPropertiesToRemove", ())
        both = package.get("CustomerMetadataProperties", {}) | request.get("CustomerMetadataProperties", {})
        if both:
            changes["CustomerMetadataProperties"] = {key: value for key, value in both.items() if key not in gone}
        if "ModelCard" in request:
            changes["ModelCard"] = package.get("ModelCard", {}) | request["ModelCard"]
        if added := request.get("AdditionalInferenceSpecificationsToAdd"):
            before = package.get("AdditionalInferenceSpecifications", [])
            changes["AdditionalInferenceSpecifications"] = [*before, *added]
        cloud.store.update(KIND, package["Name"], **changes)
    return {"ModelPackageArn": package["Arn"]}


@operation("ListModelPackages")
def list_packages(cloud: Cloud, request: Record) -> Record:
    """Packages without a group, or of one, a page of them; none of a group that is not there, as on AWS."""
    kind = request.get("ModelPackageType", "Versioned" if "ModelPackageGroupName" in request else "Unversioned")
    kinds = {True: ("Versioned", "Both"), False: ("Unversioned", "Both")}
    some = [one for one in cloud.store.all(KIND) if kind in kinds["ModelPackageVersion" in one]]
    if "ModelPackageGroupName" in request:
        name = request["ModelPackageGroupName"]
        group = next((one["Name"] for one in cloud.store.all(GROUP) if name in (one["Arn"], one["Name"])), None)
        some = [one for one in some if group and one.get("ModelPackageGroupName") == group]
    if "ModelApprovalStatus" in request:
        some = [one for one in some if one.get("ModelApprovalStatus") == request["ModelApprovalStatus"]]
    page, token = listed(some, request, name="Name")
    packages = [described(one) for one in page]
    return {"ModelPackageSummaryList": [{key: one[key] for key in _SUMMARY if key in one} for one in packages], **token}


@operation("DeleteModelPackage")
def delete_package(cloud: Cloud, request: Record) -> None:
    """Delete a package; models that were made of it stay."""
    with cloud.store.lock:
        cloud.store.delete(KIND, _package(cloud, request["ModelPackageName"])["Name"])
