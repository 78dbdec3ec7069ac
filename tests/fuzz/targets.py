"""What is fuzzed, by name. A target is made in the process that runs it: some import XGBoost."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections.abc import Callable
from pathlib import Path

from tests.fuzz import formats, models, settings
from tests.fuzz.engine import Target

_MAKERS: dict[str, Callable[[], Target]] = {**formats.MAKERS, **settings.MAKERS, **models.MAKERS}
NAMES = tuple(_MAKERS)


def _self_test() -> Target:
    """A target that fails on its tenth input, to see that a failure is told."""
    seen: list[bytes] = []

    def check(data: bytes) -> None:
        seen.append(data)
        assert len(seen) < 10, "this is the tenth"

    return Target([b"1,2"], check)


_MAKERS["self-test"] = _self_test


def make(name: str) -> Target:
    """The target of that name."""
    return _MAKERS[name]()


def use_extensions(folder: Path) -> None:
    """Put the compiled code in a folder (that of the sanitizers, say) in the place of what is installed."""
    from algorithms.common import local_steps
    from algorithms.factorization_machines import steps
    from algorithms.lda import belonging
    from algorithms.xgb import walk
    from recordio import record_reader, record_writer, sequences, text_kernel

    steps._kernel = _extension(folder, "algorithms.factorization_machines._kernel")
    local_steps._keeping = _extension(folder, "algorithms.common._keeping")
    walk._walk = _extension(folder, "algorithms.xgb._walk")
    belonging._kernel = _extension(folder, "algorithms.lda._kernel")
    record_reader.kernel = record_writer.kernel = _extension(folder, "recordio._kernel")
    text_kernel.kernel = _extension(folder, "recordio._text")
    sequences.kernel = _extension(folder, "recordio._sequences")


def _extension(folder: Path, name: str):
    path = folder / f"{name}.so"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
