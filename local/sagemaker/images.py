"""Which algorithm an image URI means: its repository's name decides, whatever its account, region and tag."""

from __future__ import annotations

from algorithms import registry
from algorithms.interface import Algorithm

_FAMILY = "sagemaker-"
"""Before the name of an algorithm in newer repositories, as in sagemaker-xgboost."""


def repository(image: str) -> str:
    """The last part of a repository's name.

    >>> repository("683313688378.dkr.ecr.us-east-1.amazonaws.com/mirror/sagemaker-xgboost:1.7-1")
    'sagemaker-xgboost'
    """
    return image.split("@")[0].rpartition("/")[2].partition(":")[0]


def algorithm(image: str) -> str | None:
    """The name in the registry; None where the image is another's.

    >>> algorithm("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1")
    'xgboost'
    """
    name = repository(image)
    return next((one for one in (name, name.removeprefix(_FAMILY)) if one in registry.ALGORITHMS), None)


def declaration(image: str) -> type[Algorithm] | None:
    """What the image's algorithm declares; None where the image is another's."""
    name = algorithm(image)
    return registry.find(name) if name else None


def known() -> str:
    """The names of all algorithms."""
    return ", ".join(sorted(registry.ALGORITHMS))
