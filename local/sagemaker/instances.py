"""One instance of a model: a server for each of its containers, which are asked one after the other, or by their names.

Source: "Inference pipelines" and "Use multi-container endpoints with direct invocation" in Amazon SageMaker's developer
guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from local.sagemaker.cloud import Cloud
from local.sagemaker.errors import invalid
from local.sagemaker.servers import Answer, Place, Server
from local.sagemaker.store import Record

PRIMARY = "primary"
"""SageMaker's name of a model's only container."""


class Containers(NamedTuple):
    """The containers of a model, in the order in which they are asked.

    Attributes:
        direct: whether a request names the one that it is for; else it goes through all of them.
    """

    definitions: Sequence[Record]
    direct: bool = False

    @property
    def names(self) -> list[str]:
        """As requests and logs name them."""
        if len(self.definitions) == 1 and not self.direct:
            return [PRIMARY]
        return [one.get("ContainerHostname", f"container-{number}") for number, one in enumerate(self.definitions, 1)]


class Instance:
    """The servers of a model's containers.

    Args:
        place: of the only server; those of several containers have places of their own below it.
    """

    def __init__(self, cloud: Cloud, containers: Containers, place: Place) -> None:
        self._direct, self._names = containers.direct, containers.names
        self.servers: list[Server] = []
        one = len(containers.definitions) == 1
        try:
            for name, definition in zip(containers.names, containers.definitions, strict=True):
                self.servers.append(Server(cloud, definition, place if one else place.below(name)))
        except Exception:
            self.close()
            raise

    @property
    def many(self) -> bool:
        """Whether a container has many models, one of which a request has to name."""
        return any(server.many for server in self.servers)

    def wait(self) -> None:
        """Until all are healthy. Raises JobError."""
        for server in self.servers:
            server.wait()

    def tell(self, line: str) -> None:
        """Write a line into the log of the first."""
        self.servers[0].tell(line)

    def close(self) -> None:
        """End all."""
        for server in self.servers:
            server.close()

    def named(self, hostname: str | None) -> list[int]:
        """The places of the containers that a request is for.

        Raises:
            AwsError: ``hostname`` is the name of none, or is missing, or is given where all are asked.
        """
        if not self._direct and hostname is None:
            return list(range(len(self.servers)))
        if not self._direct:
            raise invalid("TargetContainerHostname is for models whose InferenceExecutionConfig has Mode Direct only")
        known = ", ".join(self._names)
        if hostname is None:
            raise invalid(f"TargetContainerHostname is missing: the model has Mode Direct, with the containers {known}")
        if hostname not in self._names:
            raise invalid(f"TargetContainerHostname '{hostname}' is none of the model's containers: {known}")
        return [self._names.index(hostname)]

    def invoke(
        self,
        body: bytes,
        headers: Mapping[str, str],
        target: str | None = None,
        seconds: float | None = None,
        hostname: str | None = None,
    ) -> tuple[Answer, str]:
        """The answer of the last container, or the first that is an error, and the name of the container that gave it.

        A container gets the answer of the one before it; ``Accept`` is for the last. ``target`` is the model of those
        that have many.

        Raises:
            AwsError: as ``named``. JobError: the target is not there, or cannot be loaded.
            OSError, http.client.HTTPException: there was no answer.
        """
        places = self.named(hostname)
        for place in places:
            sent = {name: value for name, value in headers.items() if name != "Accept" or place == places[-1]}
            server = self.servers[place]
            answer = server.invoke(body, sent, target if server.many else None, seconds)
            if answer.status >= 400:
                break
            body, headers = answer.body, dict(headers) | {"Content-Type": answer.headers.get("content-type", "")}
        return answer, self._names[place]
