"""The hosts of a job. Imports nothing that takes long: it is looked at before anything else of the job is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from container.paths import Paths
from recordio.limits import MOST_HOSTS

_DEFAULT_HOST = "algo-1"
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,255}")  # what a name or an address is made of (RFC 1123, RFC 4007)


@dataclass(frozen=True)
class Group:
    """The hosts that train together.

    Attributes:
        host: the name of this one.
        hosts: the names of all, sorted; the first of them leads.
    """

    host: str
    hosts: tuple[str, ...]

    @property
    def rank(self) -> int:
        """The place of this host among all; the leader's is 0."""
        return self.hosts.index(self.host)

    @property
    def size(self) -> int:
        """Number of hosts."""
        return len(self.hosts)


def find(paths: Paths) -> Group | None:
    """The hosts of the job, before anything else of it is read; None where what the file says cannot be used."""
    problems: list[str] = []
    found = checked(paths, problems)
    return None if problems else found


def checked(paths: Paths, problems: list[str]) -> Group:
    """The hosts, of which there is one where the job does not say; with problems noted, this one alone."""
    resources = read_object(paths.resource_config, problems) or {}
    current = resources.get("current_host")
    hosts = resources.get("hosts") or [current or _DEFAULT_HOST]
    if problem := _problem(hosts, current):
        problems.append(f"{paths.resource_config}: {problem}")
        return Group(_DEFAULT_HOST, (_DEFAULT_HOST,))
    return Group(current or hosts[0], tuple(sorted(hosts)))


def _problem(hosts: Any, current: Any) -> str | None:
    """Why these cannot be the hosts of a job; None where they can."""
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        return f"hosts is {kind(hosts)}, not a list of names"
    if not all(_HOST.fullmatch(host) for host in hosts):
        return f"hosts is {kind(hosts)}, and not all of them are names of hosts"
    if current and current not in hosts:
        return f"current_host {kind(current)} is not among hosts {hosts}"
    if len(set(hosts)) < len(hosts):
        return f"hosts is {kind(hosts)}, and names a host twice"
    if len(hosts) > MOST_HOSTS:
        return f"hosts has {len(hosts)} names; {MOST_HOSTS} hosts at most can train"
    return None


def read_object(file: Path, problems: list[str]) -> dict[str, Any] | None:
    """The JSON object in ``file``; None where there is no file, or (with a problem noted) no object in it."""
    try:
        value = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        problems.append(f"{file} cannot be read: {error.strerror}")
        return None
    except (ValueError, RecursionError) as error:
        problems.append(f"{file} is not JSON: {error}")
        return None
    if not isinstance(value, dict):
        problems.append(f"{file} holds {kind(value)} where a JSON object is expected")
        return None
    return value


def kind(value: Any) -> str:
    """A JSON value in a message."""
    return f"the JSON value {json.dumps(value)[:100]}"
