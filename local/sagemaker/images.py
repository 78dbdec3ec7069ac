"""Which algorithm an image URI means: its repository's name decides, whatever its account, region and tag."""

from __future__ import annotations

import re
from collections.abc import Mapping

from algorithms import registry
from algorithms.interface import Algorithm
from local.sagemaker.errors import invalid
from recordio.quoting import quoted

_FAMILY = "sagemaker-"
"""Before the name of an algorithm in newer repositories, as in sagemaker-xgboost."""

_VERSION = re.compile(r"[0-9]+\.[0-9]+-[0-9]+")
_AMAZON = re.compile(r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/")
_OLDEST = {"xgboost:latest": "0.72-1", "xgboost:1": "0.72-1"}
"""Versions of Amazon's images whose tags are no version (the developer guide, "Docker registry paths"); of other
registries, ``latest`` is what it says."""


def repository(image: str) -> str:
    """The last part of a repository's name.

    >>> repository("683313688378.dkr.ecr.us-east-1.amazonaws.com/mirror/sagemaker-xgboost:1.7-1")
    'sagemaker-xgboost'
    """
    return image.split("@")[0].rpartition("/")[2].partition(":")[0]


def algorithm(image: str) -> str | None:
    """The algorithm's name in the registry; None if the image is of none.

    >>> algorithm("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1")
    'xgboost'
    """
    name = repository(image)
    return next((one for one in (name, name.removeprefix(_FAMILY)) if one in registry.ALGORITHMS), None)


def version(image: str) -> str | None:
    """The version that an image's tag says, on which its answers may depend; None where it says none.

    >>> version("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.0-1-cpu-py3")
    '1.0-1'
    >>> version("811284229777.dkr.ecr.us-east-1.amazonaws.com/xgboost:latest"), version("kmeans:1")
    ('0.72-1', None)
    >>> version("localhost:5000/xgboost:latest")
    """
    named = image.split("@")[0].rpartition("/")[2]
    if match := _VERSION.match(named.partition(":")[2]):
        return match[0]
    return _OLDEST.get(named) if _AMAZON.match(image) else None


def declaration(image: str) -> type[Algorithm] | None:
    """The declaration of the image's algorithm; None if the image is not of this project."""
    name = algorithm(image)
    return registry.find(name) if name else None


def check_no_program(image: str, stated: Mapping[str, str], name: str) -> None:
    """Refuse a program of the user's for an image of an algorithm (``script mode``), where it would be ignored.

    Raises:
        AwsError: ``stated`` has one under ``name``.
    """
    if algorithm(image) and (program := stated.get(name)):
        raise invalid(
            f"{name}: {quoted(program)} is a program of yours (script mode), and the image {image} is a built-in "
            "algorithm's here, which runs none; leave out entry_point, or take another image with --engine docker"
        )


def known() -> str:
    """The names of all algorithms."""
    return ", ".join(sorted(registry.ALGORITHMS))
