"""The log lines of a job, one dialect for each family of SageMaker's containers: a module of this folder each.

``Algorithm.log_dialect`` names the module; its class ``Dialect`` writes lines for the events that the algorithm
reports. A further dialect is a further module.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable

from container import logs
from container.training.dialects._base import Dialect, Line

__all__ = ["Dialect", "Line", "find", "names", "write"]


def names() -> list[str]:
    """The dialects that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def find(name: str) -> type[Dialect]:
    """The dialect called ``name``. Raises ModuleNotFoundError where there is none."""
    found: type[Dialect] = importlib.import_module(f"{__name__}.{name}").Dialect
    return found


def write(lines: Iterable[Line]) -> None:
    """Send lines to the log."""
    for line in lines:
        (logs.bare if line.bare else logs.metric)(line.text)
