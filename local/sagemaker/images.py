"""Which algorithm an image URI means: its repository's name decides, whatever its account, region and tag."""

from __future__ import annotations

from algorithms import registry
from local.sagemaker.errors import invalid

_FAMILY = "sagemaker-"
"""Before the name of an algorithm in newer repositories, as in sagemaker-xgboost."""


def algorithm(image: str) -> str:
    """The name in the registry.

    Raises:
        AwsError: no algorithm has the name.

    >>> algorithm("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1")
    'xgboost'
    """
    repository = image.split("@")[0].rpartition("/")[2].partition(":")[0]
    for name in (repository, repository.removeprefix(_FAMILY)):
        if name in registry.ALGORITHMS:
            return name
    raise invalid(
        f"The image {image} is none that oba up can run: its repository's name is '{repository}', "
        f"and there are {', '.join(sorted(registry.ALGORITHMS))}"
    )
